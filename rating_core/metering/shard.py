"""The state machine of a usage shard: ids, counters, subscriptions as folds of one log (DESIGN §6).

Pure and deterministic: the instant comes in as an argument, and whoever applies the same entries
under the same hash key has the same state. Committed state changes in `_commit` alone, which runs
live (`confirm`) and on reading (`apply`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from rating_core.errors import IndexFull, LogCorrupt
from rating_core.metering.batch import RecordBatch
from rating_core.metering.calls import (
    Control,
    GetBuckets,
    GetCounters,
    GetSettings,
    GetSubscriptions,
    RecordAnswer,
    RecordCall,
    StateDigest,
)
from rating_core.metering.contracts.bulk_finalize import decide_bulk
from rating_core.metering.contracts.contract_state import contract_answer, contract_state
from rating_core.metering.contracts.contract_usage import PlanOf, no_plan
from rating_core.metering.contracts.controls import decide_control
from rating_core.metering.contracts.directory import Directory, DirectoryView
from rating_core.metering.contracts.finalize import ContractState
from rating_core.metering.contracts.ledger import Ledger
from rating_core.metering.contracts.ledger_calls import (
    FinalizePeriods,
    GetAccount,
    GetContract,
    LedgerCall,
)
from rating_core.metering.contracts.line_names import LineNames
from rating_core.metering.contracts.subscription_calls import Counted, Standing
from rating_core.metering.counters import Counters
from rating_core.metering.counting.counter_hashes import CounterHashes
from rating_core.metering.deciding.decide import FUTURE_US, Limits, MeterOf, RecordDecision
from rating_core.metering.deciding.in_flight import (
    InFlight,
    RecentEntries,
    add_entry,
    apply_control,
    entry_of_customer,
)
from rating_core.metering.deciding.keyed_hash import HashKey
from rating_core.metering.deciding.records_entry import RecordsEntry
from rating_core.metering.deciding.row_keys import RowKeys, entry_keys
from rating_core.metering.deciding.standing import StagedRecords, standing_before
from rating_core.metering.id_index import IdIndex
from rating_core.metering.log.archive import SnapshotName
from rating_core.metering.log.entry import ControlEntry, decode_body, encode_control, encode_records
from rating_core.metering.log.grouping import call_hurries, call_size, calls_join
from rating_core.metering.log.protocol import EMPTY_TOKEN, Decision
from rating_core.metering.log.snapshot import GetHead, Snapshot, TakeSnapshot
from rating_core.metering.sequencing.producers import (
    GetProducer,
    ProducerEntry,
    Producers,
    ProducerView,
)
from rating_core.metering.sequencing.sequenced import (
    ProducerCall,
    SequencedDecision,
    Staged,
    facts_of,
)
from rating_core.metering.shard_state import (
    Folds,
    buckets_answer,
    counters_answer,
    restored_folds,
    state_digest,
    take_snapshot,
)
from rating_core.units import INT64_MIN

DEFAULT_MAX_IDS = 100_000_000
_UNFIT = (LookupError, TypeError, ValueError, AttributeError, ArithmeticError)
"""What a control entry raises that does not fit the state."""


class UsageShard:
    """One shard's state machine, a `Machine` (protocol.py).

    ``hash_key``: 16 random bytes of the store; two machines compare equal only under one key.
    ``meter_of`` looks a meter up in the catalogue; meters are immutable. ``max_ids``: beyond so
    many remembered ids `decide` raises IndexFull rather than forget one (P15). ``plan_of`` returns
    a plan version if it is at hand; `apply` needs none. ``ids``: the index, whose closed pieces may
    be moved elsewhere; `reset` makes a new one.
    """

    sequenced_decision = SequencedDecision
    joins = staticmethod(calls_join)
    size = staticmethod(call_size)
    hurries = staticmethod(call_hurries)

    def __init__(
        self,
        hash_key: bytes,
        meter_of: MeterOf,
        max_ids: int = DEFAULT_MAX_IDS,
        plan_of: PlanOf = no_plan,
    ) -> None:
        self.hash_key = HashKey(hash_key)
        self._meter_of = meter_of
        self._plan_of = plan_of
        self.max_ids = max_ids
        self.reset()

    def reset(self) -> None:
        """Return to the empty log: version 0, EMPTY_TOKEN, now 0, nothing staged."""
        self.version, self.token, self.now = 0, EMPTY_TOKEN, 0
        self.ids = IdIndex()
        self._recent = RecentEntries()
        self._counters = Counters()
        self._directory = Directory(self.hash_key)
        self._hashes = CounterHashes()
        self._producers = Producers()
        self._ledger = Ledger(self._directory.numbers)
        self._staged: deque[tuple[Staged, int]] = deque()

    # --- deciding --------------------------------------------------------------------------------

    def decide(self, calls: Sequence[object], now: int) -> Decision:
        """Decide record calls together, or one control call, at instant ``now`` (µs).

        Changes nothing. IndexFull if accepting would exceed the most ids (P15); TypeError for calls
        that are not this machine's.
        """
        now = max(now, self.now, *(staged_now for _, staged_now in self._staged))
        batches = [call.batch for call in calls if isinstance(call, RecordCall)]
        if len(batches) == len(calls):
            return self._decide_records(batches, now)
        numbered = [call for call in calls if isinstance(call, ProducerCall)]
        if len(numbered) == len(calls):
            return self._decide_sequenced(numbered, now)
        (call,) = calls
        if isinstance(call, FinalizePeriods):
            version = self.version + len(self._staged) + 1
            answer, entry = decide_bulk(call, self._in_flight(), now, self._plan_of, version)
            return Decision((answer,), None if entry is None else encode_control(entry), entry)
        if not isinstance(call, Control):
            raise TypeError(f"a usage shard does not take {type(call).__name__}")
        remembered = all(self.ids.remembers_all(now, window) for window in self._view().windows())
        view, controls = self._view(), self._staged_controls()
        names = LineNames(self._directory, self._ledger, controls, self._plan_of)
        standing = Standing(self._counted, names)
        answer, entry = decide_control(call, view, now, remembered, standing, self._contract)
        return Decision((answer,), None if entry is None else encode_control(entry), entry)

    def _view(self) -> DirectoryView:
        return DirectoryView(self._directory, self._staged_controls())

    def _staged_controls(self) -> list[ControlEntry]:
        return [entry for entry, _ in self._staged if isinstance(entry, ControlEntry)]

    def _staged_records(self) -> list[StagedRecords]:
        return [entry for entry, _ in self._staged if isinstance(entry, StagedRecords)]

    def _decide_records(self, batches: Sequence[RecordBatch], now: int) -> Decision:
        outcome, result = self._settle(RecordBatch.concatenate(batches), now, named=True)
        answers = []
        begin = 0
        for part in batches:
            end = begin + len(part)
            answers.append(RecordAnswer(outcome[0, begin:end], outcome[1, begin:end]))
            begin = end
        if result is None:
            return Decision(tuple(answers), None)
        in_flight = sum(len(earlier.keys.identities) for earlier in self._staged_records())
        known = self.ids.count
        if self.ids.stopped or known + in_flight + len(result.entry) > self.max_ids:
            limit = "its memory is full" if self.ids.stopped else f"at most {self.max_ids}"
            raise IndexFull(f"the shard remembers {known} ids, {limit}")
        return Decision(tuple(answers), encode_records(result.entry), result)

    def _decide_sequenced(self, calls: Sequence[ProducerCall], now: int) -> Decision:
        """Decide calls of producers; their records take no room in the id index (P12)."""
        facts = (fact for entry, _ in self._staged for fact in facts_of(entry))
        decision = self.sequenced_decision(calls, ProducerView(self._producers, facts))
        return decision.run(lambda batch: self._settle(batch, now, named=False))

    def _settle(
        self, batch: RecordBatch, now: int, *, named: bool
    ) -> tuple[NDArray[np.uint8], StagedRecords | None]:
        """Return uint8[2, n], status and reason of each record, and what is to be staged."""
        if not len(batch):
            return np.zeros((2, 0), np.uint8), None
        controls = self._staged_controls()
        settings = DirectoryView(self._directory, controls).settings()
        oldest = INT64_MIN if settings.floor is None else settings.floor
        if settings.window_us is not None:
            oldest = max(oldest, now - settings.window_us)
        hashes = self.hash_key.hash_names(batch.customers)
        limits = Limits(now, oldest, settings.max_series, settings.max_values)
        rows = self._directory.rows_of(
            batch.customers, hashes, controls, batch.event_time, (oldest, now + FUTURE_US)
        )
        decision = RecordDecision(
            batch, self.hash_key, hashes, self._meter_of, rows, limits, named=named
        )
        staged = self._staged_records()
        if named:
            for earlier in staged:
                decision.find(earlier.provisional.find_ids)
            decision.find(self.ids.find)
        return decision.settle(
            standing_before(
                self._counters,
                decision.distinct,
                staged,
                weighted=decision.weighted,
                recounted=self._in_flight().recounted() if controls else None,
            )
        )

    def _contract(self, call: LedgerCall, now: int) -> ContractState | None:
        staged = [
            (entry, version)
            for version, (entry, _) in enumerate(self._staged, self.version + 1)
            if isinstance(entry, ControlEntry)
        ]
        version = self.version + len(self._staged) + 1
        name = call.customer, call.subscription_id
        return contract_state(self._in_flight(), staged, *name, now, self._plan_of, version)

    def _counted(self, customer: str) -> Counted:
        staged = [entry for entry, _ in self._staged]
        head = self.version, self.token
        return self._in_flight().counted(customer, self._recent, staged, head)

    def _in_flight(self) -> InFlight:
        return InFlight(self._folds(), self._staged_records(), self._staged_controls())

    # --- staging and committing ------------------------------------------------------------------

    def stage(self, decision: Decision, now: int) -> None:
        """Put the decision's entry on top of the staged ones (P1)."""
        entry = decision.staged
        if not isinstance(entry, StagedRecords | ControlEntry | ProducerEntry):
            raise TypeError("only a decision with an entry can be staged")
        self._staged.append((entry, now))

    def unstage(self) -> None:
        """Drop every staged entry; committed state was never touched by them (P2)."""
        self._staged.clear()

    def confirm(self, version: int, token: bytes) -> None:
        """Make the oldest staged entry committed, as (version, token)."""
        entry, now = self._staged.popleft()
        if isinstance(entry, StagedRecords):
            self._commit(entry.entry, entry.keys, now, version, token)
        else:
            self._commit(entry, None, now, version, token)

    def apply(self, body: bytes, now: int, version: int, token: bytes) -> None:
        """Apply an entry read from the log; LogCorrupt if it cannot be or does not fit (P5)."""
        if self._staged:
            raise ValueError("entries are applied only when nothing is staged")
        entry = decode_body(body)
        keys = None
        if isinstance(entry, RecordsEntry):
            hashes = self.hash_key.hash_names(entry.customers)
            if not self._directory.knows(hashes):
                raise LogCorrupt("records of a customer without a subscription")
            keys = entry_keys(self.hash_key, hashes, entry)
        self._commit(entry, keys, now, version, token)

    def apply_of(self, customer: str, body: bytes, now: int, version: int) -> None:
        """Apply what an entry of the log says about one customer, and the settings; for the past.

        The machine then answers questions about that customer, and nothing else.
        """
        entry = entry_of_customer(decode_body(body), customer)
        if entry is None:
            return
        keys = None
        if isinstance(entry, RecordsEntry):
            keys = entry_keys(self.hash_key, self.hash_key.hash_names(entry.customers), entry)
        self._commit(entry, keys, now, version, EMPTY_TOKEN)

    def _commit(
        self,
        entry: RecordsEntry | ControlEntry | ProducerEntry,
        keys: RowKeys | None,
        now: int,
        version: int,
        token: bytes,
    ) -> None:
        """Change committed state: the one function for live, recovery and tests."""
        now = max(now, self.now)
        if isinstance(entry, ControlEntry):
            try:
                apply_control(self._folds(), entry, version)
            except _UNFIT as error:
                raise LogCorrupt(f"control entry does not fit: {error}") from error
        elif isinstance(entry, ProducerEntry):
            self._producers.apply(entry.facts)
        elif keys is not None:
            if entry.producers:
                self._producers.apply(entry.producers)
            else:
                self.ids.insert(keys.identities, now, self._directory.settings.window_us)
            add_entry(self._counters, self._directory, entry, keys, version, ())
            self._recent.note(entry, version)
        self.ids.expire(now, self._directory.settings.window_us)
        self._recent.passed(version, token)
        self.version, self.token, self.now = version, token, now

    # --- reading ---------------------------------------------------------------------------------

    def query(self, question: object) -> object:
        """Answer a question of `calls`, GetHead or TakeSnapshot, on committed state."""
        if isinstance(question, GetCounters):
            return counters_answer(question, self._folds(), self.version, self.token)
        if isinstance(question, GetBuckets):
            return buckets_answer(question, self._folds(), self.version, self.token)
        if isinstance(question, GetContract | GetAccount):
            log = self.version, self.token
            return contract_answer(question, self._folds(), self._plan_of, *log)
        if isinstance(question, GetSubscriptions):
            if question.customer is None:
                return tuple(self._directory.subscriptions)
            return self._directory.contract(question.customer)
        if isinstance(question, GetSettings):
            return self._directory.settings
        if isinstance(question, GetProducer):
            return self._producers.state(question.producer)
        if isinstance(question, StateDigest):
            return state_digest(self.version, self.token, self.now, self._folds())
        if isinstance(question, GetHead):
            return SnapshotName(self.version, self.token)
        if isinstance(question, TakeSnapshot):
            return self.snapshot()
        raise TypeError(f"a usage shard does not answer {type(question).__name__}")

    # --- snapshots (P10) -------------------------------------------------------------------------

    def _folds(self) -> Folds:
        producers, ledger = self._producers, self._ledger
        return Folds(self.hash_key, self._directory, self.ids, self._counters, producers, ledger)

    def snapshot(self) -> Snapshot:
        """Return the committed state as bytes, named by version and token (P10)."""
        return take_snapshot(self.version, self.token, self.now, self._folds())

    def restore(self, snapshot: Snapshot) -> None:
        """Become the state of a snapshot, nothing staged; SnapshotInvalid if it cannot be (P10).

        It must have been made under this hash key. After an error the state is the empty log's.
        """
        self.reset()
        folds = restored_folds(snapshot, self.hash_key)
        self._directory, self.ids, self._counters = folds.directory, folds.ids, folds.counters
        self._producers, self._ledger = folds.producers, folds.ledger
        self.version, self.token, self.now = snapshot.version, snapshot.token, snapshot.now
        self._recent = RecentEntries(self.version, self.token)

    def changed_hashes(self, after: int) -> Sequence[str]:
        """Return the keys of counter hashes changed by committed entries after ``after`` (P7)."""
        return self._hashes.changed(self._folds(), after)

    def hash_fields(self, key: str, after: int) -> Sequence[tuple[str, int]]:
        """Return the fields of a hash that changed after version ``after``, absolute (P7)."""
        return self._hashes.fields(self._folds(), key, after)

    def fields_of(self, hashes: Sequence[tuple[str, int]]) -> Sequence[Sequence[tuple[str, int]]]:
        """Return `hash_fields` of many hashes at once, each with the version that it stands at."""
        return self._hashes.fields_of(self._folds(), hashes)

    def folded(self, mark: int) -> None:
        """Forget which hashes changed at or before ``mark``: all reflect it (P8)."""
        self._counters.folded(mark)
