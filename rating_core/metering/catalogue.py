"""The state machine of the catalogue: meters and plan versions, both immutable (DESIGN §6, §8).

It has a log of its own, so all servers create in the same order. What exists never changes, so a
server's view can miss what is new but can never be wrong.

Documents are already validated at the edge (S2); what depends on the state, that meters exist and
are equal, is checked again here, in the order of the log.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

from rating_core.catalog import Meter
from rating_core.errors import LogCorrupt, PlanInvalid, SnapshotInvalid
from rating_core.metering.calls import ControlAnswer, StateDigest, canonical_json
from rating_core.metering.catalogue_calls import (
    MOVE_AHEAD_US,
    CreateMeter,
    CreatePlan,
    Document,
    FinishMove,
    GetMeter,
    GetPlan,
    ListMeters,
    ListMoves,
    ListPlans,
    StoredMeter,
    StoredPlan,
    version_for,
)
from rating_core.metering.contracts.controls import replayed
from rating_core.metering.log.archive import SnapshotName
from rating_core.metering.log.entry import ControlEntry, decode_body, encode_control
from rating_core.metering.log.protocol import EMPTY_TOKEN, Decision
from rating_core.metering.log.snapshot import (
    GetHead,
    Snapshot,
    TakeSnapshot,
    pack_state,
    unpack_state,
)
from rating_core.plan.document import meter_from_document
from rating_core.plan.output import meter_to_document

_KIND = "catalogue"
_CREATE_METER = "create_meter"
_CREATE_PLAN = "create_plan"
_FINISH_MOVE = "finish_move"
_KINDS = (_CREATE_METER, _CREATE_PLAN, _FINISH_MOVE)
_Made = tuple[Document, Document]
_MUST_STAY = ("currency", "billing_period", "rounding")
"""What versions must have in common between which a subscription moves (S8.6)."""


class Catalogue:
    """The catalogue's state machine, a `Machine` (protocol.py)."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Return to the empty log: version 0, EMPTY_TOKEN, now 0, nothing staged."""
        self.version = 0
        self.token = EMPTY_TOKEN
        self.now = 0
        self.meters: dict[str, Meter] = {}
        """Committed meters by id."""
        self.plans: dict[tuple[str, int], StoredPlan] = {}
        """Committed plan versions by (plan id, version)."""
        self._latest: dict[str, int] = {}
        self._moves: dict[tuple[str, int], None] = {}
        """Versions that standing subscriptions still move to (S8.6)."""
        self._meter_times: dict[str, int] = {}
        self._requests: dict[str, tuple[str, ControlAnswer]] = {}
        self._staged: deque[tuple[ControlEntry, int]] = deque()

    def decide(self, calls: Sequence[object], now: int) -> Decision:
        """Decide one call of this module; changes nothing. TypeError for other calls."""
        (call,) = calls
        if not isinstance(call, CreateMeter | CreatePlan | FinishMove):
            raise TypeError(f"the catalogue does not take {type(call).__name__}")
        now = max(now, self.now, *(staged_now for _, staged_now in self._staged))
        fingerprint = call.fingerprint()
        answer = replayed(self._earlier(call.request_id), fingerprint)
        if answer is not None:
            return Decision((answer,), None)
        try:
            kind, facts, value = self._decided(call, now)
        except _RefusalError as refused:
            return Decision((ControlAnswer(False, refused.reason, refused.value),), None)
        if not kind:
            return Decision((ControlAnswer(True, "", value),), None)
        staged = ControlEntry(kind, call.request_id, fingerprint, facts, value)
        return Decision((ControlAnswer(True, "", value),), encode_control(staged), staged)

    def _decided(
        self, call: CreateMeter | CreatePlan | FinishMove, now: int
    ) -> tuple[str, Document, Document]:
        """Return kind and facts of the entry, and the answer's value; no kind for no change."""
        meters = dict(self.meters)
        for entry, _ in self._staged:
            meters.update(_new_meters(entry))
        if isinstance(call, CreateMeter):
            return _CREATE_METER, *_meter_created(call.document, meters, now)
        if isinstance(call, CreatePlan):
            earlier = self._provisional_versions(str(call.document.get("id")))
            _check_times(call, earlier, now)
            return _CREATE_PLAN, *_plan_created(call, meters, len(earlier) + 1, now)
        key = (call.plan_id, call.version)
        versions = self._provisional_versions(call.plan_id)
        if not any(plan.version == call.version and plan.moves for plan in versions):
            raise _RefusalError("PLAN_NOT_FOUND")
        facts = {"plan_id": call.plan_id, "version": call.version, "meters": []}
        finished = [e.facts for e, _ in self._staged if e.kind == _FINISH_MOVE]
        known = key in self.plans and key not in self._moves
        return "" if known or facts in finished else _FINISH_MOVE, facts, {}

    def _earlier(self, request_id: str) -> tuple[str, ControlAnswer] | None:
        for entry, _ in self._staged:
            if request_id and entry.request_id == request_id:
                return entry.fingerprint, ControlAnswer(True, "", entry.value)
        return self._requests.get(request_id)

    def _provisional_versions(self, plan_id: str) -> list[StoredPlan]:
        """Return all versions of a plan, those of staged entries too, in order."""
        versions = [self.plans[plan_id, n + 1] for n in range(self._latest.get(plan_id, 0))]
        return versions + [
            stored_plan_of(entry.facts)
            for entry, _ in self._staged
            if entry.kind == _CREATE_PLAN and entry.facts["plan"]["id"] == plan_id
        ]

    def stage(self, decision: Decision, now: int) -> None:
        """Put the decision's entry on top of the staged ones (P1)."""
        if not isinstance(decision.staged, ControlEntry):
            raise TypeError("only a decision with an entry can be staged")
        self._staged.append((decision.staged, now))

    def unstage(self) -> None:
        """Drop every staged entry (P2)."""
        self._staged.clear()

    def confirm(self, version: int, token: bytes) -> None:
        """Make the oldest staged entry committed, as (version, token)."""
        entry, now = self._staged.popleft()
        self._commit(entry, now, version, token)

    def apply(self, body: bytes, now: int, version: int, token: bytes) -> None:
        """Apply an entry read from the log; LogCorrupt if it cannot be or does not fit (P5)."""
        if self._staged:
            raise ValueError("entries are applied only when nothing is staged")
        entry = decode_body(body)
        if not isinstance(entry, ControlEntry) or entry.kind not in _KINDS:
            raise LogCorrupt("not an entry of the catalogue")
        self._commit(entry, now, version, token)

    def _commit(self, entry: ControlEntry, now: int, version: int, token: bytes) -> None:
        facts = entry.facts
        try:
            meters = _new_meters(entry)
            time = 0 if entry.kind == _FINISH_MOVE else int(facts["create_time"])
            if entry.kind == _CREATE_PLAN:
                self._enter(stored_plan_of(facts))
            elif entry.kind == _FINISH_MOVE:
                del self._moves[str(facts["plan_id"]), int(facts["version"])]
        except (KeyError, TypeError, ValueError, PlanInvalid) as error:
            raise LogCorrupt(f"entry of the catalogue does not fit: {error}") from error
        self.meters.update(meters)
        self._meter_times.update(dict.fromkeys(meters, time))
        if entry.request_id:
            self._requests[entry.request_id] = (
                entry.fingerprint,
                ControlAnswer(True, "", entry.value),
            )
        self.version, self.token, self.now = version, token, max(now, self.now)

    def _enter(self, plan: StoredPlan) -> None:
        if plan.version != self._latest.get(plan.plan_id, 0) + 1:
            raise LogCorrupt("a plan version out of order")
        key = (plan.plan_id, plan.version)
        self.plans[key] = plan
        self._latest[plan.plan_id] = plan.version
        if plan.moves:
            self._moves[key] = None

    def query(self, question: object) -> object:
        """Answer a question of this module, StateDigest, GetHead or TakeSnapshot."""
        if isinstance(question, GetMeter):
            meter = self.meters.get(question.meter_id)
            return None if meter is None else StoredMeter(meter, self._meter_times[meter.id])
        if isinstance(question, ListMeters):
            return tuple(
                StoredMeter(meter, self._meter_times[name])
                for name, meter in sorted(self.meters.items())
            )
        if isinstance(question, GetPlan):
            latest = self._latest.get(question.plan_id, 0)
            if question.start is not None and not question.version:
                versions = [self.plans[question.plan_id, n + 1] for n in range(latest)]
                return version_for(versions, question.start)
            return self.plans.get((question.plan_id, question.version or latest))
        if isinstance(question, ListPlans):
            wanted = question.plan_id
            return tuple(
                plan for key, plan in sorted(self.plans.items()) if wanted in (None, key[0])
            )
        if isinstance(question, ListMoves):
            return tuple(self.plans[key] for key in self._moves)
        if isinstance(question, StateDigest):
            return self._digest()
        if isinstance(question, GetHead):
            return SnapshotName(self.version, self.token)
        if isinstance(question, TakeSnapshot):
            return self.snapshot()
        raise TypeError(f"the catalogue does not answer {type(question).__name__}")

    def _digest(self) -> bytes:
        document = {
            "log": [self.version, self.token.hex(), self.now],
            "meters": {
                name: [meter_to_document(meter), self._meter_times[name]]
                for name, meter in self.meters.items()
            },
            "plans": [_plan_row(plan) for _, plan in sorted(self.plans.items())],
            "moves": list(self._moves),
            "requests": {
                name: [fingerprint, answer.value]
                for name, (fingerprint, answer) in self._requests.items()
            },
        }
        return hashlib.sha256(canonical_json(document)).digest()

    def snapshot(self) -> Snapshot:
        """Return the committed state as bytes (P10)."""
        document = {
            "meters": [
                [meter_to_document(m), self._meter_times[m.id]] for m in self.meters.values()
            ],
            "plans": [_plan_row(plan) for plan in self.plans.values()],
            "moves": list(self._moves),
            "requests": [[n, mark, answer.value] for n, (mark, answer) in self._requests.items()],
        }
        sections = {"catalogue": pack_state(document, {})}
        return Snapshot(_KIND, self.version, self.token, self.now, sections)

    def restore(self, snapshot: Snapshot) -> None:
        """Become the state of a snapshot; SnapshotInvalid if it is not one of a catalogue."""
        self.reset()
        if snapshot.kind != _KIND or list(snapshot.sections) != ["catalogue"]:
            raise SnapshotInvalid("not a snapshot of the catalogue")
        document, _ = unpack_state(snapshot.sections["catalogue"])
        for tree, time in document["meters"]:
            meter = meter_from_document(tree)
            self.meters[meter.id], self._meter_times[meter.id] = meter, time
        for row in document["plans"]:
            self._enter(StoredPlan(*row))
        self._moves = dict.fromkeys(document["moves"])
        for name, mark, value in document["requests"]:
            self._requests[name] = (mark, ControlAnswer(True, "", value))
        self.version, self.token, self.now = snapshot.version, snapshot.token, snapshot.now

    def joins(self, first: object, call: object) -> bool:  # noqa: ARG002 - signature of Machine
        """Whether two calls may share an entry: never here."""
        return False

    def size(self, call: object) -> int:
        """Return about how many bytes of entry the call will need."""
        if isinstance(call, CreateMeter | CreatePlan):
            return 2 * len(canonical_json(call.document))
        return 0

    def hurries(self, call: object) -> bool:  # noqa: ARG002 - signature of Machine
        """Whether a small call may overtake larger ones: nobody is promised an order here."""
        return True

    def changed_hashes(self, after: int) -> Sequence[str]:  # noqa: ARG002 - signature of Machine
        """Return nothing: the catalogue has no counters."""
        return ()

    def hash_fields(self, key: str, after: int) -> Sequence[tuple[str, int]]:  # noqa: ARG002 - signature of Machine
        """Return nothing: the catalogue has no counters."""
        return ()

    def fields_of(self, hashes: Sequence[tuple[str, int]]) -> Sequence[Sequence[tuple[str, int]]]:
        """Return nothing for each: the catalogue has no counters."""
        return [()] * len(hashes)

    def folded(self, mark: int) -> None:
        """Do nothing: the catalogue has no counters."""


class _RefusalError(Exception):
    def __init__(self, reason: str, **value: object) -> None:
        self.reason = reason
        self.value = value
        super().__init__(reason)


def _read_meter(document: object) -> Meter:
    try:
        return meter_from_document(document)
    except PlanInvalid as error:
        raise _RefusalError("PLAN_INVALID") from error


def _meter_created(document: Document, meters: Mapping[str, Meter], now: int) -> _Made:
    meter = _read_meter(document)
    existing = meters.get(meter.id)
    if existing is not None:
        raise _RefusalError("ALREADY_EXISTS" if meter.counts_like(existing) else "METER_MISMATCH")
    stored = meter_to_document(meter)
    return {"meters": [stored], "create_time": now}, {"meter": stored, "create_time": now}


def _check_times(call: CreatePlan, earlier: Sequence[StoredPlan], now: int) -> None:
    """Refuse a move that comes too soon, or from versions that cannot be moved from (S8.6)."""
    if call.existing_effective_time is None:
        return
    # Not before the moves to earlier versions, so that nobody moves back.
    moves = [plan.existing_effective_time or 0 for plan in earlier]
    earliest = max(now + MOVE_AHEAD_US, *moves, 0)
    if call.existing_effective_time < earliest:
        raise _RefusalError("EFFECTIVE_TOO_SOON", earliest=earliest)
    for key in _MUST_STAY:
        if any(plan.document.get(key) != call.document.get(key) for plan in earlier):
            raise _RefusalError(f"{key.upper()}_DIFFERS")


def _plan_created(call: CreatePlan, meters: Mapping[str, Meter], version: int, now: int) -> _Made:
    document = call.document
    items = document.get("meters", [])
    if not isinstance(document.get("id"), str) or not isinstance(items, list):
        raise _RefusalError("PLAN_INVALID")
    created: list[Document] = []
    for item in items:
        if isinstance(item, str):
            if item not in meters:
                raise _RefusalError("UNKNOWN_METER")
            continue
        meter = _read_meter(item)
        existing = meters.get(meter.id)
        if existing is None:
            created.append(meter_to_document(meter))
        elif not meter.counts_like(existing):
            raise _RefusalError("METER_MISMATCH")
    common = {
        "plan": document,
        "version": version,
        "create_time": now,
        "effective_time": call.effective_time,
        "existing_effective_time": call.existing_effective_time,
    }
    return {**common, "meters": created}, {
        **common,
        "created_meters": [meter["id"] for meter in created],
    }


def stored_plan_of(facts: Mapping[str, Any]) -> StoredPlan:
    """Return the plan version of an entry's facts, or of the value of CreatePlan's answer."""
    return StoredPlan(
        str(facts["plan"]["id"]),
        int(facts["version"]),
        facts["plan"],
        int(facts["create_time"]),
        facts.get("effective_time"),  # before plans had times, entries had none
        facts.get("existing_effective_time"),
    )


def _plan_row(plan: StoredPlan) -> list[object]:
    return [
        plan.plan_id,
        plan.version,
        plan.document,
        plan.create_time,
        plan.effective_time,
        plan.existing_effective_time,
    ]


def _new_meters(entry: ControlEntry) -> dict[str, Meter]:
    meters = [meter_from_document(document) for document in entry.facts["meters"]]
    return {meter.id: meter for meter in meters}
