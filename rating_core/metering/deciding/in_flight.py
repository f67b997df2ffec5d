"""What entries in flight add to committed counters, for decisions that must see both (P1, P4)."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from rating_core.metering.contracts.account import FINALIZE_PERIODS, LEDGER_KINDS
from rating_core.metering.contracts.bulk_statement import row_entry
from rating_core.metering.contracts.directory import Directory, DirectoryView
from rating_core.metering.contracts.recount import apply_recount
from rating_core.metering.contracts.subscription import RECOUNT
from rating_core.metering.contracts.subscription_calls import Counted
from rating_core.metering.counters import Counters
from rating_core.metering.counting.counter_dump import dump_counters, load_counters
from rating_core.metering.counting.customer_counters import CustomerCounters
from rating_core.metering.deciding.key_table import ABSENT
from rating_core.metering.deciding.records_entry import RecordsEntry
from rating_core.metering.deciding.row_keys import RowKeys, customer_part_key
from rating_core.metering.deciding.standing import StagedRecords
from rating_core.metering.log.entry import ControlEntry
from rating_core.metering.log.protocol import EMPTY_TOKEN
from rating_core.metering.sequencing.producers import ProducerEntry
from rating_core.metering.shard_state import Folds

_RECENT_ROWS = 20_000
"""Most records that are kept after their commit, below a megabyte a shard."""
_RECENT_TOKENS = 1_024
"""Of how many entries the token is remembered."""


def add_entry(
    counters: Counters,
    directory: Directory,
    entry: RecordsEntry,
    keys: RowKeys,
    version: int,
    controls: Sequence[ControlEntry],
) -> None:
    """Add an entry's records to counters; ``controls`` are staged on top of the directory."""
    clamped = bool(controls) or directory.clamped
    counters.add(
        entry,
        keys,
        version,
        number_of=lambda customer: directory.numbers.get(customer, ABSENT),
        bands_of=partial(directory.bands_of, staged=controls) if clamped else None,
    )


def apply_control(folds: Folds, entry: ControlEntry, version: int) -> None:
    """Put one committed control entry in force; raises what it raises that does not fit (P5)."""
    folds.directory.apply(entry)
    if entry.kind in LEDGER_KINDS:
        folds.ledger.apply(entry, version)
    recount = entry.facts.get(RECOUNT)
    if recount is not None:
        customer = entry.facts["customer"]
        number = folds.directory.numbers[customer]
        contract = folds.directory.contract(customer)
        key = folds.hash_key
        apply_recount(folds.counters, key, customer, number, contract, recount, version)


def entry_of_customer(
    entry: RecordsEntry | ControlEntry | ProducerEntry, customer: str
) -> RecordsEntry | ControlEntry | None:
    """Return what an entry says about one customer, or about all; ``None`` if nothing."""
    if isinstance(entry, RecordsEntry):
        rows = entry.rows_of(customer)
        return entry.take(rows) if rows.size else None
    if isinstance(entry, ControlEntry) and entry.kind == FINALIZE_PERIODS:
        return row_entry(entry, customer)
    if isinstance(entry, ControlEntry):
        named = entry.facts.get("customer", customer)
        return entry if named == customer else None
    return None


class RecentEntries:
    """The entries committed last, kept for a moment: changes dated back look for them (S8.6).

    Whoever counts a customer anew has read the log up to a version, whose token tells whether it
    was this log (P5); the records that came since are here, so that records which never pause
    cannot keep a change from being made. What is forgotten costs a refusal, and decides nothing.
    """

    def __init__(self, version: int = 0, token: bytes = EMPTY_TOKEN) -> None:
        self._entries: deque[tuple[int, RecordsEntry]] = deque()
        self._rows = 0
        self._known_from = version
        self._tokens = {version: token}

    def knows(self, version: int, token: bytes) -> bool:
        """Whether the log had that token at ``version``, as far as is remembered (P5)."""
        return self._tokens.get(version) == token

    def passed(self, version: int, token: bytes) -> None:
        """Note the token of an entry that was committed; old ones go."""
        self._tokens[version] = token
        if len(self._tokens) > _RECENT_TOKENS:
            del self._tokens[next(iter(self._tokens))]

    def note(self, entry: RecordsEntry, version: int) -> None:
        """Take the records of an entry that was committed at ``version``; old ones go."""
        self._entries.append((version, entry))
        self._rows += len(entry)
        while self._rows > _RECENT_ROWS and len(self._entries) > 1:
            self._known_from, gone = self._entries.popleft()
            self._rows -= len(gone)

    def newer(self, head: int, staged: Sequence[object], version: int) -> list[RecordsEntry] | None:
        """Return the records after ``version``, committed and staged; ``None`` if some are gone.

        ``staged``: the entries in flight behind version ``head``, each to become the next one.
        """
        if version < self._known_from:
            return None
        committed = [entry for at, entry in self._entries if at > version]
        flying = [
            entry.entry
            for at, entry in enumerate(staged, head + 1)
            if at > version and isinstance(entry, StagedRecords)
        ]
        return committed + flying


@dataclass(frozen=True, slots=True)
class InFlight:
    """Committed folds, and the staged entries on top of them, oldest first."""

    folds: Folds
    records: Sequence[StagedRecords]
    controls: Sequence[ControlEntry]

    def staged_counters(self, customer: str) -> Counters | None:
        """Return what the records in flight of a customer add, ``None`` where there are none."""
        # Asked for about single customers: folding their staged records on a copy keeps this
        # simple. Of all parts: earlier ones move the level that a later one begins with (S6.4).
        scratch = None
        for earlier in self.records:
            rows = earlier.entry.rows_of(customer)
            if rows.size:
                scratch = Counters() if scratch is None else scratch
                entry, keys = earlier.entry.take(rows), earlier.keys.take(rows)
                add_entry(scratch, self.folds.directory, entry, keys, 1, self.controls)
        return scratch

    def recounted(self) -> Counters | None:
        """Return what staged changes have counted anew, alone; ``None`` where none has (S8.6)."""
        if not any(RECOUNT in entry.facts for entry in self.controls):
            return None
        scratch = Counters()
        self._recount(scratch)
        return scratch

    def _recount(self, counters: Counters) -> None:
        view = DirectoryView(self.folds.directory, self.controls)
        for entry in self.controls:
            if RECOUNT in entry.facts:
                customer = entry.facts["customer"]
                number = self.folds.directory.numbers.get(customer, ABSENT)
                contract, facts = view.contract(customer), entry.facts[RECOUNT]
                apply_recount(counters, self.folds.hash_key, customer, number, contract, facts, 1)

    def customers(self) -> frozenset[str]:
        """Return the customers that staged entries name."""
        names = {name for earlier in self.records for name in earlier.entry.customers}
        for entry in self.controls:
            names |= {entry.facts["customer"]} if "customer" in entry.facts else set()
            names.update(entry.facts.get("customers", ()))
        return frozenset(names)

    def customer_counters(self, customer: str) -> CustomerCounters:
        """Return the counters of a customer, part by part (P4)."""
        committed = self.folds.counters
        if any(RECOUNT in entry.facts for entry in self.controls):
            # Rare beyond words, and so done on a copy: a statement while a change is in flight.
            committed = Counters()
            load_counters(committed, dump_counters(self.folds.counters))
            self._recount(committed)
        return CustomerCounters(
            committed,
            self.staged_counters(customer),
            self.folds.directory.numbers.get(customer, ABSENT),
            partial(customer_part_key, self.folds.hash_key, customer),
        )

    def counted(
        self,
        customer: str,
        recent: RecentEntries,
        entries: Sequence[object],
        head: tuple[int, bytes],
    ) -> Counted:
        """Return what is known of when a customer was counted (S8.6).

        ``entries``: all in flight behind ``head``, version and token of what is committed.
        """
        number = self.folds.directory.numbers.get(customer)
        last, version, staged = None, 0, False
        if number is not None:
            last, version = self.folds.counters.last_counted(number)
        for earlier in self.records:
            instants = earlier.entry.words[1, earlier.entry.rows_of(customer)]
            if instants.size:
                staged = True
                last = int(instants.max()) if last is None else max(last, int(instants.max()))
        newer = partial(recent.newer, head[0], entries)
        return Counted(last, version, staged, newer, head, recent.knows)
