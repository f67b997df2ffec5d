"""The state machine of the catalogue: meters and plan versions, both immutable (DESIGN §6, §8).

It has a log of its own, so all servers create in the same order. What exists never changes, so a
server's view can miss what is new but can never be wrong.

Documents are trees of dict, list and str, already validated at the edge (S2); what depends on the
state, that meters exist and are equal, is checked again here, in the order of the log.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rating_core.catalog import Meter
from rating_core.errors import LogCorrupt, PlanInvalid, SnapshotInvalid
from rating_core.metering.archive import SnapshotName
from rating_core.metering.calls import Control, ControlAnswer, StateDigest, canonical_json
from rating_core.metering.controls import replayed
from rating_core.metering.entry import ControlEntry, decode_body, encode_control
from rating_core.metering.protocol import EMPTY_TOKEN, Decision
from rating_core.metering.snapshot import GetHead, Snapshot, TakeSnapshot, pack_state, unpack_state
from rating_core.plan_document import meter_from_document
from rating_core.plan_output import meter_to_document

__all__ = [
    "Catalogue",
    "ControlAnswer",
    "CreateMeter",
    "CreatePlan",
    "GetMeter",
    "GetPlan",
    "ListMeters",
    "ListPlans",
    "StateDigest",
    "StoredMeter",
    "StoredPlan",
]

_KIND = "catalogue"
_CREATE_METER = "create_meter"
_CREATE_PLAN = "create_plan"

Document = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateMeter(Control):
    """Create a meter from its document (S2).

    The answer's value is `{"meter", "create_time"}`. Reasons of refusal: ALREADY_EXISTS,
    METER_MISMATCH (one of that id exists and counts otherwise), PLAN_INVALID.
    """

    document: Document


@dataclass(frozen=True, slots=True, kw_only=True)
class CreatePlan(Control):
    """Create the next version of a plan: the last + 1, the first is 1; versions are immutable.

    Meters that stand in the document whole and do not exist are created in the same entry. The
    answer's value is `{"plan", "version", "create_time", "created_meters"}`. Reasons of refusal:
    UNKNOWN_METER, METER_MISMATCH, PLAN_INVALID.
    """

    document: Document


@dataclass(frozen=True, slots=True)
class GetMeter:
    """Ask for a meter: `StoredMeter`, or ``None``."""

    meter_id: str


@dataclass(frozen=True, slots=True)
class ListMeters:
    """Ask for all meters: a tuple of `StoredMeter`, sorted by id."""


@dataclass(frozen=True, slots=True)
class GetPlan:
    """Ask for a plan version: `StoredPlan`, or ``None``; version 0 is the latest."""

    plan_id: str
    version: int = 0


@dataclass(frozen=True, slots=True)
class ListPlans:
    """Ask for all versions of a plan, or of all plans: a tuple of `StoredPlan`, sorted."""

    plan_id: str | None = None


@dataclass(frozen=True, slots=True)
class StoredMeter:
    """A meter and when it was created (µs)."""

    meter: Meter
    create_time: int


@dataclass(frozen=True, slots=True)
class StoredPlan:
    """A plan version: its document with the meters it names, and when it was created (µs)."""

    plan_id: str
    version: int
    document: Document
    create_time: int


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
        self._meter_times: dict[str, int] = {}
        self._requests: dict[str, tuple[str, ControlAnswer]] = {}
        self._staged: deque[tuple[ControlEntry, int]] = deque()

    def decide(self, calls: Sequence[object], now: int) -> Decision:
        """Decide one CreateMeter or CreatePlan; changes nothing. TypeError for other calls."""
        (call,) = calls
        if not isinstance(call, CreateMeter | CreatePlan):
            raise TypeError(f"the catalogue does not take {type(call).__name__}")
        now = max(now, self.now, *(staged_now for _, staged_now in self._staged))
        fingerprint = call.fingerprint()
        answer = replayed(self._earlier(call.request_id), fingerprint)
        if answer is not None:
            return Decision((answer,), None)
        meters = dict(self.meters)
        for entry, _ in self._staged:
            meters.update(_new_meters(entry))
        try:
            if isinstance(call, CreateMeter):
                kind, facts, value = _CREATE_METER, *_meter_created(call.document, meters, now)
            else:
                version = self._provisional_version(str(call.document.get("id"))) + 1
                kind, facts, value = (
                    _CREATE_PLAN,
                    *_plan_created(call.document, meters, version, now),
                )
        except _RefusalError as refused:
            return Decision((ControlAnswer(False, refused.reason),), None)
        staged = ControlEntry(kind, call.request_id, fingerprint, facts, value)
        return Decision((ControlAnswer(True, "", value),), encode_control(staged), staged)

    def _earlier(self, request_id: str) -> tuple[str, ControlAnswer] | None:
        for entry, _ in self._staged:
            if request_id and entry.request_id == request_id:
                return entry.fingerprint, ControlAnswer(True, "", entry.value)
        return self._requests.get(request_id)

    def _provisional_version(self, plan_id: str) -> int:
        staged = [
            int(entry.facts["version"])
            for entry, _ in self._staged
            if entry.kind == _CREATE_PLAN and entry.facts["plan"]["id"] == plan_id
        ]
        return max(staged, default=self._latest.get(plan_id, 0))

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
        if not isinstance(entry, ControlEntry) or entry.kind not in (_CREATE_METER, _CREATE_PLAN):
            raise LogCorrupt("not an entry of the catalogue")
        self._commit(entry, now, version, token)

    def _commit(self, entry: ControlEntry, now: int, version: int, token: bytes) -> None:
        facts = entry.facts
        try:
            meters, time = _new_meters(entry), int(facts["create_time"])
            if entry.kind == _CREATE_PLAN:
                plan_id, number = str(facts["plan"]["id"]), int(facts["version"])
                if number != self._latest.get(plan_id, 0) + 1:
                    raise LogCorrupt("a plan version out of order")
                self.plans[plan_id, number] = StoredPlan(plan_id, number, facts["plan"], time)
                self._latest[plan_id] = number
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
            version = question.version or self._latest.get(question.plan_id, 0)
            return self.plans.get((question.plan_id, version))
        if isinstance(question, ListPlans):
            wanted = question.plan_id
            return tuple(
                plan for key, plan in sorted(self.plans.items()) if wanted in (None, key[0])
            )
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
            "plans": [
                [*key, plan.document, plan.create_time] for key, plan in sorted(self.plans.items())
            ],
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
            "plans": [
                [plan.plan_id, plan.version, plan.document, plan.create_time]
                for plan in self.plans.values()
            ],
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
        for plan_id, version, tree, time in document["plans"]:
            self.plans[plan_id, version] = StoredPlan(plan_id, version, tree, time)
            self._latest[plan_id] = max(version, self._latest.get(plan_id, 0))
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

    def changed_hashes(self, after: int) -> Sequence[str]:  # noqa: ARG002 - signature of Machine
        """Return nothing: the catalogue has no counters."""
        return ()

    def hash_fields(self, key: str, after: int) -> Sequence[tuple[str, int]]:  # noqa: ARG002 - signature of Machine
        """Return nothing: the catalogue has no counters."""
        return ()

    def folded(self, mark: int) -> None:
        """Do nothing: the catalogue has no counters."""


class _RefusalError(Exception):
    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(reason)


def _read_meter(document: object) -> Meter:
    try:
        return meter_from_document(document)
    except PlanInvalid as error:
        raise _RefusalError("PLAN_INVALID") from error


def _meter_created(
    document: Document, meters: Mapping[str, Meter], now: int
) -> tuple[Document, Document]:
    meter = _read_meter(document)
    existing = meters.get(meter.id)
    if existing is not None:
        raise _RefusalError("ALREADY_EXISTS" if meter.counts_like(existing) else "METER_MISMATCH")
    stored = meter_to_document(meter)
    return {"meters": [stored], "create_time": now}, {"meter": stored, "create_time": now}


def _plan_created(
    document: Document, meters: Mapping[str, Meter], version: int, now: int
) -> tuple[Document, Document]:
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
    facts = {"plan": document, "version": version, "create_time": now, "meters": created}
    value = {
        "plan": document,
        "version": version,
        "create_time": now,
        "created_meters": [meter["id"] for meter in created],
    }
    return facts, value


def _new_meters(entry: ControlEntry) -> dict[str, Meter]:
    meters = [meter_from_document(document) for document in entry.facts["meters"]]
    return {meter.id: meter for meter in meters}
