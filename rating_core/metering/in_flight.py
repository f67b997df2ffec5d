"""What entries in flight add to committed counters, for decisions that must see both (P1, P4)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from rating_core.counter import SeriesCounter
from rating_core.metering.counters import Counters
from rating_core.metering.directory import Directory
from rating_core.metering.entry import ControlEntry
from rating_core.metering.key_table import ABSENT
from rating_core.metering.records_entry import RecordsEntry
from rating_core.metering.row_keys import RowKeys, customer_part_key
from rating_core.metering.series_state import SeriesState, Span, counters_of, merged_states
from rating_core.metering.shard_state import Folds
from rating_core.metering.standing import StagedRecords
from rating_core.metering.subscription_calls import Counted


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


def rows_of_customer(entry: RecordsEntry, customer: str) -> NDArray[np.int64]:
    """Return the rows of one customer's records in an entry."""
    codes = [code for code, name in enumerate(entry.customers) if name == customer]
    return np.flatnonzero(np.isin(entry.codes[0], codes))


@dataclass(frozen=True, slots=True)
class InFlight:
    """Committed folds, and the staged entries on top of them, oldest first."""

    folds: Folds
    records: Sequence[StagedRecords]
    controls: Sequence[ControlEntry]

    def states(self, customer: str, start: int) -> list[SeriesState]:
        """Return the state of each series of the part that begins at ``start``, µs."""
        number = self.folds.directory.numbers.get(customer, ABSENT)
        committed = self.folds.counters
        states = committed.states(self.folds.part_row(customer, start), number, start)
        if not self.records:
            return states
        # A close is rare: folding its customer's staged records on a copy keeps this path
        # simple. Those of earlier parts too: they move the level that this one begins with.
        scratch = Counters()
        for earlier in self.records:
            rows = rows_of_customer(earlier.entry, customer)
            if rows.size:
                entry, keys = earlier.entry.take(rows), earlier.keys.take(rows)
                add_entry(scratch, self.folds.directory, entry, keys, 1, self.controls)
        row = scratch.part_row(customer_part_key(self.folds.hash_key, customer, start))
        return merged_states(states, scratch.states(row, number, start))

    def series(self, customer: str, span: Span) -> tuple[SeriesCounter, ...]:
        """Return the counters of one part (P4)."""
        return counters_of(self.states(customer, span.start), span)

    def counted(self, customer: str) -> Counted:
        """Return what is known of when a customer was counted (S8.6)."""
        number = self.folds.directory.numbers.get(customer)
        last, version, staged = None, 0, False
        if number is not None:
            last, version = self.folds.counters.last_counted(number)
        for earlier in self.records:
            instants = earlier.entry.words[1, rows_of_customer(earlier.entry, customer)]
            if instants.size:
                staged = True
                last = int(instants.max()) if last is None else max(last, int(instants.max()))
        return Counted(last, version, staged)
