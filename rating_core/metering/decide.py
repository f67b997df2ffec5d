"""Deciding usage records: one status each, by the precedence of S7.3, without a loop in Python.

Passes over columns work out all that a row needs by itself: its quantity in the meter's scale, its
period, its keys, what earlier entries know of its id. One last pass goes through the rows in order,
because there a row depends on those before it: equal ids, sums, numbers of series.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from rating_core.catalog import Aggregation, Meter
from rating_core.metering.batch import (
    DimensionSet,
    RecordBatch,
    RecordStatus,
    RejectReason,
    Word,
    as_int64,
    compact,
    take_ids,
)
from rating_core.metering.calls import SECOND_US, Bands
from rating_core.metering.entry import EntryMeter, RecordsEntry
from rating_core.metering.id_index import slots_for
from rating_core.metering.judge import judge_rows, settle_rows
from rating_core.metering.key_table import KeyTable
from rating_core.metering.keyed_hash import HashKey
from rating_core.metering.row_keys import RowKeys, dimension_text, key_rows, mark_bad_ids

FUTURE_US = 60 * SECOND_US
"""An event time later than this after now is IN_FUTURE (S7.3)."""
DIMENSIONS_MAX = 8
DIMENSION_VALUE_BYTES_MAX = 255
_SET_MAX = DIMENSIONS_MAX * (DIMENSION_VALUE_BYTES_MAX + 64)
"""Letters of the largest dimension set that is worth remembering."""

_ACCEPTED = int(RecordStatus.ACCEPTED)

MeterOf = Callable[[str], Meter | None]


@dataclass(frozen=True, slots=True)
class _Dimensions:
    """One dimension set, prepared: sorted non-empty pairs, their bytes, the names it uses.

    ``names`` is ``None`` for a set that no meter can take (S6.1).
    """

    pairs: DimensionSet
    text: bytes
    names: frozenset[str] | None


def _prepared(dimensions: DimensionSet) -> _Dimensions:
    """Return a prepared set; only sets of a size that can be counted are remembered."""
    if len(dimensions) > DIMENSIONS_MAX or sum(len(n) + len(v) for n, v in dimensions) > _SET_MAX:
        return _prepare(dimensions)
    return _remembered(dimensions)


def _prepare(dimensions: DimensionSet) -> _Dimensions:
    pairs = tuple(sorted(pair for pair in dimensions if pair[1]))
    names = frozenset(name for name, _ in dimensions)
    fits = len(names) == len(dimensions) <= DIMENSIONS_MAX
    for _, value in pairs:
        try:
            fits = fits and len(value.encode()) <= DIMENSION_VALUE_BYTES_MAX
        except UnicodeEncodeError:
            fits = False
    return _Dimensions(pairs, dimension_text(pairs), names if fits else None)


_remembered = lru_cache(maxsize=1 << 16)(_prepare)


@dataclass(frozen=True, slots=True, eq=False)
class Provisional:
    """What a decided batch leaves for the next one to see, while its entry is in flight (P1).

    Absolute values after the entry: of the newest staged entry that holds a key they are in force.
    """

    ids: NDArray[np.uint64]
    parts: KeyTable
    series_count: NDArray[np.int64]
    series: KeyTable
    value: NDArray[np.int64]
    exists: NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class StagedRecords:
    """The entry of a decided batch, its keys, and what later decisions must see of it."""

    entry: RecordsEntry
    keys: RowKeys
    provisional: Provisional


@dataclass(frozen=True, slots=True, eq=False)
class Limits:
    """What bounds acceptance: now (µs), the oldest event time that is not taken, most series."""

    now: int
    oldest: int
    max_series: int


@dataclass(frozen=True, slots=True, eq=False)
class _Rows:
    """What a row needs by itself. ``unusable``: its payload has no form in the meter's scale."""

    words: NDArray[np.int64]
    amounts: NDArray[np.int64]
    early: NDArray[np.uint8]
    late: NDArray[np.uint8]
    unusable: NDArray[np.bool_]


def _meter_table(
    meters: Sequence[Meter | None], scales: Sequence[int], kinds: Sequence[int]
) -> NDArray[np.int64]:
    """Return int64[m, 5]: whether known, multiplier, divisor, whether it counts records, kind."""
    table = np.zeros((len(meters), 5), np.int64)
    table[:, 4] = kinds
    for index, (meter, scale) in enumerate(zip(meters, scales, strict=True)):
        if meter is not None:
            table[index, :4] = (
                1,
                10 ** max(0, meter.scale - scale),
                10 ** max(0, scale - meter.scale),
                meter.aggregation is Aggregation.COUNT,
            )
    return table


def _numbered(words: Iterable[Word]) -> tuple[list[Word], list[int]]:
    """Return the distinct words in order of appearance, and the number of each word."""
    numbers: dict[Word, int] = {}
    codes = [numbers.setdefault(word, len(numbers)) for word in words]
    return list(numbers), codes


def _fitting(
    meters: Sequence[Meter | None], dimensions: Sequence[_Dimensions]
) -> tuple[NDArray[np.bool_], list[int], list[int]]:
    """Return whether meters declare all that dimension sets name (S6.1), by kinds of both.

    bool[k, j] for kinds of meters and of sets, the kind of each meter and of each set. Not a table
    of all meters and sets: both dictionaries are the sender's, and their product has no bound.
    """
    declared, meter_kinds = _numbered(
        None if meter is None else frozenset(meter.dimensions) for meter in meters
    )
    known: frozenset[str] = frozenset().union(*(names for names in declared if names))
    # Sets that fit no meter here are one kind, however many there are.
    named, set_kinds = _numbered(
        d.names if d.names is not None and d.names <= known else None for d in dimensions
    )
    table = [
        [names is not None and among is not None and names <= among for names in named]
        for among in declared
    ]
    return np.array(table, np.bool_), meter_kinds, set_kinds


def _clamped(
    profiles: Sequence[Bands], rows: NDArray[np.int64], meters: Sequence[str]
) -> NDArray[np.bool_]:
    """Return bool[p, m]: whether a plan clamps the meter; renumbers the profiles in ``rows``."""
    if not rows[:, 4].any():
        return np.zeros((1, len(meters)), np.bool_)
    used, rows[:, 4] = np.unique(rows[:, 4], return_inverse=True)
    return np.array(
        [[bool(profiles[profile].get(name)) for name in meters] for profile in used.tolist()],
        np.bool_,
    )


class RecordDecision:
    """Decides one batch step by step; `shard` feeds in what committed and staged state know."""

    def __init__(
        self,
        batch: RecordBatch,
        hash_key: HashKey,
        customer_hashes: NDArray[np.uint64],
        meter_of: MeterOf,
        customer_rows: NDArray[np.int64],
        profiles: Sequence[Bands],
        limits: Limits,
        *,
        named: bool = True,
    ) -> None:
        """``named``: whether records have event ids; those of numbered batches have none (P12)."""
        count = len(batch)
        self._batch = batch
        self._meters = [meter_of(name) for name in batch.meters]
        self._dimensions = [_prepared(pairs) for pairs in batch.dimension_sets]
        self._limits = limits
        self._ends = as_int64(batch.event_id_ends)
        self._codes = np.empty((3, count), np.int32)
        self._codes[0], self._codes[1] = batch.customer, batch.meter
        self._codes[2] = batch.dimension_set
        self._nameless = batch.malformed.astype(np.bool_)
        if named:
            text = np.frombuffer(batch.event_ids, np.uint8)
            mark_bad_ids(text, self._ends, batch.event_ids.isascii(), self._nameless)
        self._rows = self._judge(customer_rows, profiles)
        if not named:
            self._rows.early[self._nameless] = RejectReason.MALFORMED
        self.keys = key_rows(
            hash_key,
            customer_hashes,
            batch.meters,
            [prepared.text for prepared in self._dimensions],
            self._codes,
            batch.event_ids,
            self._ends,
            self._rows.words,
            self._nameless,
            self._rows.early != 0,
            named=named,
        )
        ids = self.keys.identities.shape[0]
        self.found = np.zeros(ids, np.bool_)
        self.payloads = np.zeros(ids, np.uint64)
        self._parts, self._series = KeyTable(count), KeyTable(count)
        self._part_rows, part_first = self._parts.insert(self.keys.parts)
        self._series_rows, series_first = self._series.insert(self.keys.series)
        self.part_keys = self.keys.parts[part_first]
        self.series_keys = self.keys.series[series_first]

    def _judge(self, customers: NDArray[np.int64], profiles: Sequence[Bands]) -> _Rows:
        batch = self._batch
        count = len(batch)
        given = np.empty((2, count), np.int64)
        given[0], given[1] = batch.quantity, batch.event_time
        flags = np.zeros((2, count), np.bool_)
        if batch.out_of_range is not None:
            flags[0] = batch.out_of_range
        if batch.imprecise is not None:
            flags[1] = batch.imprecise
        rows = _Rows(
            np.empty((3, count), np.int64),
            np.empty(count, np.int64),
            np.empty(count, np.uint8),
            np.empty(count, np.uint8),
            np.empty(count, np.bool_),
        )
        clamped = _clamped(profiles, customers, batch.meters)
        fitting, meter_kinds, set_kinds = _fitting(self._meters, self._dimensions)
        judge_rows(
            self._codes,
            given,
            flags,
            customers,
            _meter_table(self._meters, batch.scales, meter_kinds),
            np.array(set_kinds, np.int64),
            fitting,
            clamped,
            (self._limits.now + FUTURE_US, self._limits.oldest),
            rows.words,
            rows.amounts,
            rows.early,
            rows.late,
            rows.unusable,
        )
        return rows

    def settle(
        self,
        series_count: NDArray[np.int64],
        value: NDArray[np.int64],
        exists: NDArray[np.bool_],
    ) -> tuple[NDArray[np.uint8], StagedRecords | None]:
        """Return uint8[2, n], status and reason of each record, and what is to be staged.

        The arguments tell, for `part_keys` and `series_keys`, what stands before this batch; they
        are changed to what stands after it.
        """
        rows = self._rows
        outcome = np.zeros((2, len(self._batch)), np.uint8)
        ids = np.zeros((slots_for(self.found.size, 8), 3), np.uint64)
        settle_rows(
            self.keys.identities,
            self.found,
            self.payloads,
            rows.amounts,
            rows.early,
            rows.late,
            rows.unusable,
            self._part_rows,
            self._series_rows,
            series_count,
            value,
            exists,
            self._limits.max_series,
            ids,
            outcome,
        )
        accepted = np.flatnonzero(outcome[0] == _ACCEPTED)
        if not accepted.size:
            return outcome, None
        provisional = Provisional(ids, self._parts, series_count, self._series, value, exists)
        return outcome, StagedRecords(
            self._entry(accepted), self._accepted_keys(accepted), provisional
        )

    def _accepted_keys(self, accepted: NDArray[np.int64]) -> RowKeys:
        return self.keys if accepted.size == len(self._batch) else self.keys.take(accepted)

    def _entry(self, accepted: NDArray[np.int64]) -> RecordsEntry:
        batch, codes, words, ends = self._batch, self._codes, self._rows.words, self._ends
        event_ids = batch.event_ids
        if accepted.size != len(batch):
            codes, words = codes[:, accepted], words[:, accepted]
            event_ids, ends = take_ids(event_ids, ends, accepted)
        columns = np.empty_like(codes)
        customers, columns[0] = compact(batch.customers, codes[0])
        meters, columns[1] = compact(self._meters, codes[1])
        prepared, columns[2] = compact(self._dimensions, codes[2])
        return RecordsEntry(
            customers=customers,
            meters=[EntryMeter(m.id, m.aggregation, m.scale) for m in meters if m is not None],
            dimension_sets=[dimensions.pairs for dimensions in prepared],
            codes=columns,
            event_ids=event_ids,
            ends=ends,
            words=np.ascontiguousarray(words),
        )
