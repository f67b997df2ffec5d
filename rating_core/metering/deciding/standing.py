"""What stands before a batch is decided, and what a decided batch leaves for the next (P1)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rating_core.jit import kernel
from rating_core.metering.counters import Counters
from rating_core.metering.deciding.judge import Uncommon
from rating_core.metering.deciding.key_table import ABSENT, KeyTable
from rating_core.metering.deciding.records_entry import RecordsEntry
from rating_core.metering.deciding.row_keys import RowKeys


@kernel
def _find_ids(
    slots: NDArray[np.int32],
    held: NDArray[np.uint64],
    identities: NDArray[np.uint64],
    found: NDArray[np.bool_],
    payloads: NDArray[np.uint64],
) -> None:
    mask = slots.size - 1
    for row in range(identities.shape[0]):
        high, low = identities[row, 0], identities[row, 1]
        if found[row] or (high == 0 and low == 0):
            continue
        slot = np.int64(low & np.uint64(mask))
        while slots[slot] != 0:
            other = slots[slot] - 1
            if held[other, 0] == high and held[other, 1] == low:
                found[row] = True
                payloads[row] = held[other, 2]
                break
            slot = (slot + 1) & mask


@dataclass(frozen=True, slots=True, eq=False)
class Provisional:
    """What a decided batch leaves for the next one to see, while its entry is in flight (P1).

    Absolute values after the entry: of the newest staged entry that holds a key they are in force.
    ``ids``: the slots of `settle_rows`, of rows in ``identities`` uint64[n, 3].
    """

    ids: NDArray[np.int32]
    identities: NDArray[np.uint64]
    parts: KeyTable
    series_count: NDArray[np.int64]
    series: KeyTable
    value: NDArray[np.int64]
    exists: NDArray[np.bool_]
    values: KeyTable
    uncommon: Uncommon

    def find_ids(
        self,
        identities: NDArray[np.uint64],
        found: NDArray[np.bool_],
        payloads: NDArray[np.uint64],
    ) -> None:
        """Set ``found`` and ``payloads`` of the ids, uint64[n, 3], that the batch used up."""
        _find_ids(self.ids, self.identities, identities, found, payloads)


@dataclass(frozen=True, slots=True, eq=False)
class BatchKeys:
    """The distinct periods, series and values of a batch, each uint64[k, 2]; see `RowKeys`."""

    parts: NDArray[np.uint64]
    series: NDArray[np.uint64]
    values: NDArray[np.uint64]


@kernel
def _overlay(
    parts: NDArray[np.int32],
    rows: NDArray[np.int32],
    seen_count: NDArray[np.int64],
    seen_value: NDArray[np.int64],
    seen_exists: NDArray[np.bool_],
    series_count: NDArray[np.int64],
    value: NDArray[np.int64],
    exists: NDArray[np.bool_],
) -> None:
    for index in range(parts.size):
        if parts[index] >= 0:
            series_count[index] = seen_count[parts[index]]
    for index in range(rows.size):
        if rows[index] >= 0:
            value[index] = seen_value[rows[index]]
            exists[index] = seen_exists[rows[index]]


@dataclass(frozen=True, slots=True, eq=False)
class Standing:
    """What stands before a batch, for its `BatchKeys`.

    Number of series of each period; value of each series and whether it exists; number of values
    ever seen in each period, whether each value is one of them; moment of each series, a pair.
    """

    series_count: NDArray[np.int64]
    value: NDArray[np.int64]
    exists: NDArray[np.bool_]
    value_count: NDArray[np.int64]
    value_seen: NDArray[np.bool_]
    moments: NDArray[np.int64]

    def overlaid(self, seen: Provisional, keys: BatchKeys) -> Standing:
        """Return what stands after a staged entry too."""
        parts, rows = seen.parts.find(keys.parts), seen.series.find(keys.series)
        more = seen.uncommon
        value_count, value_seen, moments = self.value_count, self.value_seen, self.moments
        if value_count.size and more.value_count.size:
            value_count = np.where(parts != ABSENT, more.value_count[parts], value_count)
            # The staged batch also knows the values that it asked for and then did not take.
            at = seen.values.find(keys.values)
            value_seen = value_seen | ((at != ABSENT) & more.value_seen[at])
        if moments.size and more.moments.size:
            moments = np.where((rows != ABSENT)[:, None], more.moments[rows], moments)
        series_count, value = self.series_count.copy(), self.value.copy()
        exists = self.exists.copy()
        _overlay(
            parts, rows, seen.series_count, seen.value, seen.exists, series_count, value, exists
        )
        return Standing(series_count, value, exists, value_count, value_seen, moments)


@dataclass(frozen=True, slots=True, eq=False)
class StagedRecords:
    """The entry of a decided batch, its keys, and what later decisions must see of it."""

    entry: RecordsEntry
    keys: RowKeys
    provisional: Provisional


def standing_before(
    counters: Counters,
    keys: BatchKeys,
    staged: Sequence[StagedRecords],
    *,
    weighted: bool,
    recounted: Counters | None = None,
) -> Standing:
    """Return what stands before a batch: committed, overlaid by staged entries, newest last.

    ``weighted``: whether the batch has records of weighted_sum meters. ``recounted``: what staged
    changes dated back have counted anew; no staged record of their customers stands before them.
    """
    series_count, value, exists = counters.provisional(keys.parts, keys.series)
    if recounted is not None:
        parts, sums, known = recounted.provisional(keys.parts, keys.series)
        series_count = np.maximum(series_count, parts)
        value, exists = np.where(known, sums, value), exists | known
    value_count, value_seen = np.zeros(0, np.int64), np.zeros(0, np.bool_)
    if keys.values.size:
        value_count, value_seen = counters.seen(keys.parts, keys.values)
    moments = counters.moments(keys.series) if weighted else np.zeros((0, 2), np.int64)
    if weighted and recounted is not None:
        moments = np.where(known[:, None], recounted.moments(keys.series), moments)
    standing = Standing(series_count, value, exists, value_count, value_seen, moments)
    for earlier in staged:
        standing = standing.overlaid(earlier.provisional, keys)
    return standing
