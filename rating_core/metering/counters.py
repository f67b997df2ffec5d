"""Committed counters: one counter hash per customer and billing period, one row per series (S6).

Everything is int64 in dense columns; keyed hashes find the rows. Values are folds of the log, so
nothing here decides: overflow was ruled out when the records were decided (S1.2).

The bands of a percentage charge with clamps (S3.4) need no check of their own: quantities are ≥ 0
there, so a band's sum never exceeds its series' value.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from rating_core.catalog import Aggregation, BillingPeriod, BucketLength
from rating_core.jit import kernel
from rating_core.metering.calls import Bands
from rating_core.metering.counting.cells import VALUE, Additions, grown
from rating_core.metering.counting.counter_table import ADDITIVE, CounterTable
from rating_core.metering.deciding.key_table import ABSENT
from rating_core.metering.deciding.keyed_hash import hash_words
from rating_core.metering.deciding.records_entry import RecordsEntry
from rating_core.metering.deciding.row_keys import RowKeys
from rating_core.period import PERIOD_CODES, calendar_start

BUCKET_CODES = {
    None: -1,
    BucketLength.HOUR: PERIOD_CODES[BillingPeriod.HOUR],
    BucketLength.DAY: PERIOD_CODES[BillingPeriod.DAY],
}
"""Number of each bucket length, as kernels take it; −1 for no buckets."""
_NOTHING = np.zeros(0, np.int64)
"""Stands for no amounts to add, and for a sign of 1 in every row."""
_TOUCHED_LEAST = 1024


@kernel
def _link_series(
    first: int, last: int, series: NDArray[np.int64], parts: NDArray[np.int64]
) -> None:
    for row in range(first, last):
        part = series[row, 0]
        series[row, 3] = parts[part, 2] - 1
        parts[part, 2] = row + 1
        parts[part, 3] += 1


@kernel
def _link_buckets(
    first: int, last: int, buckets: NDArray[np.int64], series: NDArray[np.int64]
) -> None:
    for row in range(first, last):
        owner = buckets[row, 0]
        buckets[row, 2] = series[owner, 9]
        series[owner, 9] = row + 1


@kernel
def _add(
    amounts: NDArray[np.int64],
    instants: NDArray[np.int64],
    series_rows: NDArray[np.int32],
    part_rows: NDArray[np.int32],
    version: int,
    series: NDArray[np.int64],
    parts: NDArray[np.int64],
    touched: NDArray[np.int32],
) -> int:
    """Add amounts to series, where there are any, and mark the parts; return how many are new."""
    count = 0
    for row in range(part_rows.size):
        if amounts.size:
            index = series_rows[row]
            series[index, 4] += amounts[row]
            series[index, 5] += 1
            series[index, 6] = version
        part = part_rows[row]
        if instants[row] > parts[part, 7]:
            parts[part, 7] = instants[row]
        if parts[part, 4] != version:
            parts[part, 4] = version
            touched[count] = part
            count += 1
    return count


@kernel
def _bucket_starts(
    codes: NDArray[np.int64],
    instants: NDArray[np.int64],
    period_starts: NDArray[np.int64],
    out: NDArray[np.int64],
) -> None:
    for row in range(codes.size):
        out[row] = max(calendar_start(codes[row], instants[row]), period_starts[row])


@kernel
def _bucket_keys(
    series: NDArray[np.uint64], starts: NDArray[np.uint64], out: NDArray[np.uint64]
) -> None:
    zero = np.uint64(0)
    for row in range(starts.size):
        high, low = series[row, 0], series[row, 1]
        out[row, 0], out[row, 1] = hash_words(high, low, starts[row], zero, zero, zero)


@kernel
def _add_bands(
    amounts: NDArray[np.int64],
    signs: NDArray[np.int64],
    series_rows: NDArray[np.int32],
    series: NDArray[np.int64],
    bands: NDArray[np.int64],
) -> None:
    for row in range(amounts.size):
        index = series_rows[row]
        quantity = amounts[row]
        sign = signs[row] if signs.size else 1
        for band in range(series[index, 7], series[index, 7] + series[index, 8]):
            if bands[band, 0] and quantity <= bands[band, 1]:
                bands[band, 4] += sign
            elif bands[band, 2] and quantity >= bands[band, 3]:
                bands[band, 5] += sign
            else:
                bands[band, 6] += sign * quantity


class Counters(CounterTable):
    """All committed counters of a shard; the columns are those of `CounterTable`."""

    def provisional(
        self, parts: NDArray[np.uint64], series: NDArray[np.uint64]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_]]:
        """Return (number of series of each part, value of each series, whether it exists)."""
        part_rows = self.part_table.find(parts)
        series_rows = self.series_table.find(series)
        known = series_rows != ABSENT
        # Row −1 reads the last row; what it reads is masked.
        return (
            np.where(part_rows != ABSENT, self.parts[part_rows, 3], 0),
            np.where(known, self.series.rows[series_rows, VALUE], 0),
            known,
        )

    def moments(self, series: NDArray[np.uint64]) -> NDArray[np.int64]:
        """Return int64[k, 2]: the moment of each series as a pair, 0 for one that is new (S6.4)."""
        return self.series.moments(self.series_table.find(series))

    def seen(
        self, parts: NDArray[np.uint64], values: NDArray[np.uint64]
    ) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Return (number of values ever seen in each part, whether each value is one of them)."""
        rows = self.part_table.find(parts)
        return np.where(rows != ABSENT, self.parts[rows, 6], 0), self.series.values.knows(values)

    def add(
        self,
        entry: RecordsEntry,
        keys: RowKeys,
        version: int,
        number_of: Callable[[str], int],
        bands_of: Callable[[str, int], Bands] | None,
    ) -> None:
        """Add an entry's records at ``version``.

        ``number_of``: the number of a customer; ``bands_of``: the bands of its plan at the
        start of a part, or ``None`` where no plan has any (S3.4). Both are asked for what is new.
        """
        meters, dimension_sets = self._intern(entry)
        part_rows = self._open_parts(entry, keys, number_of)
        series_before = self.series_table.count
        series_rows, made_by = self.series_table.insert(keys.series)
        if made_by.size:
            self._open_series(series_before, made_by, part_rows, entry, meters, dimension_sets)
            if bands_of is not None:
                self._open_bands(series_before, entry, made_by, bands_of)
        touched = np.empty(min(len(entry), self.part_table.count), np.int32)
        simple, signs = plain(entry), _NOTHING
        amounts = amounts_of(entry) if simple else _NOTHING
        rows = self.series.rows
        instants, parts = entry.words[1], self.parts
        count = _add(amounts, instants, series_rows, part_rows, version, rows, parts, touched)
        if not simple:
            additions = Additions.of(entry)
            signs = additions.signs
            new = self.series.fold(additions, keys.series, series_rows, entry.words[2], version)
            np.add.at(self.parts[:, 6], part_rows[new], 1)
            self._add_to_buckets(additions, keys.series, series_rows, part_rows, version)
        if self.band_count:
            _add_bands(amounts_of(entry), signs, series_rows, self.series.rows, self.bands)
        self.touched.append(touched[:count])
        self.touched_count += count
        if self.touched_count > max(_TOUCHED_LEAST, 4 * self.part_table.count):
            self._keep_touched(0)

    def _open_parts(
        self, entry: RecordsEntry, keys: RowKeys, number_of: Callable[[str], int]
    ) -> NDArray[np.int32]:
        rows, first = self.part_table.insert(keys.parts)
        if first.size:
            count = self.part_table.count
            self.parts = grown(self.parts, count)
            made = self.parts[count - first.size : count]
            made[:, 0] = [
                number_of(entry.customers[code]) for code in entry.codes[0, first].tolist()
            ]
            made[:, 1] = made[:, 7] = entry.words[2, first]
        return rows

    def _open_series(
        self,
        before: int,
        made_by: NDArray[np.int64],
        part_rows: NDArray[np.int32],
        entry: RecordsEntry,
        meters: NDArray[np.int64],
        dimension_sets: NDArray[np.int64],
    ) -> None:
        count = self.series_table.count
        self.series.grow(count)
        made = self.series.rows[before:count]
        made[:, 0] = part_rows[made_by]
        made[:, 1] = meters[entry.codes[1, made_by]]
        made[:, 2] = dimension_sets[entry.codes[2, made_by]]
        _link_series(before, count, self.series.rows, self.parts)
        weighted = [meter.aggregation is Aggregation.WEIGHTED_SUM for meter in entry.meters]
        if any(weighted):
            places = np.flatnonzero(np.array(weighted)[entry.codes[1, made_by]])
            self.enter_levels((before + places).tolist())

    def _add_to_buckets(
        self,
        additions: Additions,
        series_keys: NDArray[np.uint64],
        series_rows: NDArray[np.int32],
        part_rows: NDArray[np.int32],
        version: int,
    ) -> None:
        entry = additions.entry
        lengths = np.array([BUCKET_CODES[meter.buckets] for meter in entry.meters], np.int64)
        lengths = lengths[entry.codes[1]]
        rows = np.flatnonzero(lengths >= 0)
        if not rows.size:
            return
        self.parts[part_rows[rows], 5] = 1
        starts, keys = np.empty(rows.size, np.int64), np.empty((rows.size, 2), np.uint64)
        instants, periods = entry.words[1, rows], entry.words[2, rows]
        _bucket_starts(lengths[rows], instants, periods, starts)
        _bucket_keys(series_keys[rows], starts.view(np.uint64), keys)
        before = self.bucket_table.count
        bucket_rows, first = self.bucket_table.insert(keys)
        if first.size:
            self.buckets.grow(self.bucket_table.count)
            made = self.buckets.rows[before : self.bucket_table.count]
            made[:, 0] = series_rows[rows[first]]
            made[:, 1] = starts[first]
            _link_buckets(before, self.bucket_table.count, self.buckets.rows, self.series.rows)
        self.buckets.fold(additions.take(rows), keys, bucket_rows, starts, version)

    def _intern(self, entry: RecordsEntry) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        words = self.words
        meters = []
        for meter in entry.meters:
            number = words.numbers.get(meter)
            if number is None:
                number = words.numbers[meter] = len(words.meters)
                words.meters.append(meter)
            meters.append(number)
        dimension_sets = []
        for dimensions in entry.dimension_sets:
            number = words.dimension_sets.get(dimensions)
            if number is None:
                number = words.dimension_sets[dimensions] = len(self.dimension_sets)
                self.dimension_sets.append(dimensions)
            dimension_sets.append(number)
        return np.array(meters, np.int64), np.array(dimension_sets, np.int64)

    def _open_bands(
        self,
        first_row: int,
        entry: RecordsEntry,
        made_by: NDArray[np.int64],
        bands_of: Callable[[str, int], Bands],
    ) -> None:
        for row, record in enumerate(made_by.tolist(), first_row):
            customer, meter = entry.codes[:2, record].tolist()
            bands = bands_of(entry.customers[customer], int(entry.words[2, record]))
            charges = bands.get(entry.meters[meter].id)
            if not charges:
                continue
            self.open_bands(row, charges)

    def open_bands(self, row: int, charges: Mapping[str, tuple[int | None, int | None]]) -> None:
        """Give the series in ``row`` empty bands, of these charges only (S3.4)."""
        begin = self.band_count
        self.band_count += len(charges)
        self.bands = grown(self.bands, self.band_count)
        for band, (floor_max, ceiling_min) in enumerate(charges.values(), begin):
            self.bands[band, 0] = floor_max is not None
            self.bands[band, 1] = floor_max or 0
            self.bands[band, 2] = ceiling_min is not None
            self.bands[band, 3] = ceiling_min or 0
        self.series.rows[row, 7] = begin
        self.series.rows[row, 8] = len(charges)
        self.band_charges[row] = tuple(charges)

    def touch(self, part: int, version: int) -> None:
        """Mark a hash as changed at ``version`` (P7)."""
        self.parts[part, 4] = version
        self.touched.append(np.array([part], np.int32))
        self.touched_count += 1

    def _keep_touched(self, mark: int) -> NDArray[np.int32]:
        """Drop the parts last changed at or before ``mark``, and repetitions; return the rest."""
        if not self.touched:
            return np.zeros(0, np.int32)
        rows: NDArray[np.int32] = np.unique(np.concatenate(self.touched))
        rows = rows[self.parts[rows, 4] > mark]
        self.touched = [rows]
        self.touched_count = rows.size
        return rows

    def changed_parts(self, after: int) -> list[int]:
        """Return the rows of the hashes changed after version ``after``; see `part`."""
        if after < self._folded:
            # Redis lost its last fold: what was forgotten is found by looking at all (P8).
            rows = np.arange(self.part_table.count, dtype=np.int32)
        else:
            rows = self._keep_touched(0)
        found: list[int] = rows[self.parts[rows, 4] > after].tolist()
        return found

    def folded(self, mark: int) -> None:
        """Forget which hashes changed at or before ``mark`` (P8)."""
        self._folded = max(self._folded, mark)
        self._keep_touched(mark)

    def last_counted(self, customer: int) -> tuple[int | None, int]:
        """Return the latest event time ever counted for a customer's number, and at what version.

        ``None`` and 0 before the first record. What was moved elsewhere since counts too (S8.6).
        """
        parts = self.parts[: self.part_table.count]
        parts = parts[parts[:, 0] == customer]
        return (int(parts[:, 7].max()), int(parts[:, 4].max())) if len(parts) else (None, 0)

    def part_versions(self) -> list[tuple[int, int, int]]:
        """Return (customer number, period start, version of the last change) of all hashes."""
        rows = self.parts[: self.part_table.count, [0, 1, 4]].tolist()
        return sorted((customer, start, version) for customer, start, version in rows)


def plain(entry: RecordsEntry) -> bool:
    """Whether all records of an entry do is to add to sums and counts, nothing taken back."""
    return entry.retraction is None and all(
        meter.aggregation in ADDITIVE and meter.buckets is None for meter in entry.meters
    )


def amounts_of(entry: RecordsEntry) -> NDArray[np.int64]:
    """Return what each record adds to its series' value: its quantity, or 1 to a count (S6.3)."""
    counts = [meter.aggregation is Aggregation.COUNT for meter in entry.meters]
    quantities: NDArray[np.int64] = entry.words[0]
    if not any(counts):
        return quantities
    return np.where(np.array(counts)[entry.codes[1]], np.int64(1), quantities)
