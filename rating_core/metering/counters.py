"""Committed counters: one counter hash per customer and billing period, one row per series (S6).

Everything is int64 in dense columns; keyed hashes find the rows. Values are folds of the log, so
nothing here decides: overflow was ruled out when the records were decided (S1.2).

The bands of a percentage charge with clamps (S3.4) need no check of their own: quantities are ≥ 0
there, so a band's sum never exceeds its series' value.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rating_core.catalog import Aggregation
from rating_core.counter import BandCount, SeriesCounter
from rating_core.jit import kernel
from rating_core.metering.batch import DimensionSet
from rating_core.metering.calls import Bands
from rating_core.metering.counter_names import field_name
from rating_core.metering.entry import RecordsEntry
from rating_core.metering.key_table import ABSENT, KeyTable
from rating_core.metering.row_keys import RowKeys
from rating_core.metering.snapshot import pack_state, unpack_state

_TOUCHED_LEAST = 1024


def grown(column: NDArray[np.int64], size: int) -> NDArray[np.int64]:
    """Return a column of at least ``size`` rows with the same content; new rows are 0."""
    if size <= column.shape[0]:
        return column
    wider: NDArray[np.int64] = np.zeros(
        (max(size, 2 * column.shape[0]), *column.shape[1:]), column.dtype
    )
    wider[: column.shape[0]] = column
    return wider


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
def _add(
    amounts: NDArray[np.int64],
    series_rows: NDArray[np.int32],
    part_rows: NDArray[np.int32],
    version: int,
    series: NDArray[np.int64],
    parts: NDArray[np.int64],
    touched: NDArray[np.int32],
) -> int:
    count = 0
    for row in range(amounts.size):
        index = series_rows[row]
        series[index, 4] += amounts[row]
        series[index, 5] += 1
        series[index, 6] = version
        part = part_rows[row]
        if parts[part, 4] != version:
            parts[part, 4] = version
            touched[count] = part
            count += 1
    return count


@kernel
def _add_bands(
    amounts: NDArray[np.int64],
    series_rows: NDArray[np.int32],
    series: NDArray[np.int64],
    bands: NDArray[np.int64],
) -> None:
    for row in range(amounts.size):
        index = series_rows[row]
        quantity = amounts[row]
        for band in range(series[index, 7], series[index, 7] + series[index, 8]):
            if bands[band, 0] and quantity <= bands[band, 1]:
                bands[band, 4] += 1
            elif bands[band, 2] and quantity >= bands[band, 3]:
                bands[band, 5] += 1
            else:
                bands[band, 6] += quantity


@dataclass(slots=True)
class _Words:
    """Meters and dimension sets by number, and their fields' names."""

    meters: dict[tuple[str, Aggregation, int], int]
    meter_ids: list[str]
    dimension_sets: dict[DimensionSet, int]
    fields: dict[tuple[int, int], tuple[str, str]]


class Counters:
    """All committed counters of a shard.

    Columns of ``_parts``: customer number, period start, last series + 1, number of series, version
    of the last change. Of ``_series``: part, meter, dimension set, next series of the part or −1,
    value, events, version of the last change, first band, number of bands. Of ``_bands``: whether
    there is a floor, floor_max, whether there is a ceiling, ceiling_min, events at the floor,
    events at the ceiling, sum between.
    """

    def __init__(self) -> None:
        self._part_table = KeyTable()
        self._series_table = KeyTable()
        self._parts: NDArray[np.int64] = np.zeros((16, 5), np.int64)
        self._series: NDArray[np.int64] = np.zeros((16, 9), np.int64)
        self._bands: NDArray[np.int64] = np.zeros((0, 7), np.int64)
        self._band_count = 0
        self._band_charges: dict[int, tuple[str, ...]] = {}
        self._words = _Words({}, [], {}, {})
        self._dimension_sets: list[DimensionSet] = []
        self._touched: list[NDArray[np.int32]] = []
        self._touched_count = 0
        self._folded = 0

    def provisional(
        self, parts: NDArray[np.uint64], series: NDArray[np.uint64]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_]]:
        """Return (number of series of each part, value of each series, whether it exists)."""
        part_rows = self._part_table.find(parts)
        series_rows = self._series_table.find(series)
        known = series_rows != ABSENT
        # Row −1 reads the last row; what it reads is masked.
        return (
            np.where(part_rows != ABSENT, self._parts[part_rows, 3], 0),
            np.where(known, self._series[series_rows, 4], 0),
            known,
        )

    def add(
        self,
        entry: RecordsEntry,
        keys: RowKeys,
        version: int,
        number_of: Callable[[str], int],
        bands_of: Callable[[str], Bands] | None,
    ) -> None:
        """Add an entry's records at ``version``.

        ``number_of``: the number of a customer; ``bands_of``: the bands of a customer's plan, or
        ``None`` where no plan has any (S3.4). Both are asked for what is new only.
        """
        codes = entry.codes
        meters, dimension_sets = self._intern(entry)
        amounts = amounts_of(entry)
        series_before = self._series_table.count
        part_rows, part_first = self._part_table.insert(keys.parts)
        series_rows, series_first = self._series_table.insert(keys.series)
        part_count, series_count = self._part_table.count, self._series_table.count
        if part_first.size:
            self._parts = grown(self._parts, part_count)
            made = self._parts[part_count - part_first.size : part_count]
            made[:, 0] = [
                number_of(entry.customers[code]) for code in codes[0, part_first].tolist()
            ]
            made[:, 1] = entry.words[2, part_first]
        if series_first.size:
            self._series = grown(self._series, series_count)
            made = self._series[series_before:series_count]
            made[:, 0] = part_rows[series_first]
            made[:, 1] = meters[codes[1, series_first]]
            made[:, 2] = dimension_sets[codes[2, series_first]]
            _link_series(series_before, series_count, self._series, self._parts)
            if bands_of is not None:
                self._open_bands(series_before, entry, series_first, bands_of)
        touched = np.empty(min(len(entry), part_count), np.int32)
        count = _add(amounts, series_rows, part_rows, version, self._series, self._parts, touched)
        if self._band_count:
            _add_bands(amounts, series_rows, self._series, self._bands)
        self._touched.append(touched[:count])
        self._touched_count += count
        if self._touched_count > max(_TOUCHED_LEAST, 4 * part_count):
            self._keep_touched(0)

    def _intern(self, entry: RecordsEntry) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        words = self._words
        meters = []
        for meter in entry.meters:
            key = (meter.id, meter.aggregation, meter.scale)
            number = words.meters.get(key)
            if number is None:
                number = words.meters[key] = len(words.meter_ids)
                words.meter_ids.append(meter.id)
            meters.append(number)
        dimension_sets = []
        for dimensions in entry.dimension_sets:
            number = words.dimension_sets.get(dimensions)
            if number is None:
                number = words.dimension_sets[dimensions] = len(self._dimension_sets)
                self._dimension_sets.append(dimensions)
            dimension_sets.append(number)
        return np.array(meters, np.int64), np.array(dimension_sets, np.int64)

    def _open_bands(
        self,
        first_row: int,
        entry: RecordsEntry,
        made_by: NDArray[np.int64],
        bands_of: Callable[[str], Bands],
    ) -> None:
        for row, record in enumerate(made_by.tolist(), first_row):
            customer, meter = entry.codes[:2, record].tolist()
            charges = bands_of(entry.customers[customer]).get(entry.meters[meter].id)
            if not charges:
                continue
            begin = self._band_count
            self._band_count += len(charges)
            self._bands = grown(self._bands, self._band_count)
            for band, (floor_max, ceiling_min) in enumerate(charges.values(), begin):
                self._bands[band, 0] = floor_max is not None
                self._bands[band, 1] = floor_max or 0
                self._bands[band, 2] = ceiling_min is not None
                self._bands[band, 3] = ceiling_min or 0
            self._series[row, 7] = begin
            self._series[row, 8] = len(charges)
            self._band_charges[row] = tuple(charges)

    def _keep_touched(self, mark: int) -> NDArray[np.int32]:
        """Drop the parts last changed at or before ``mark``, and repetitions; return the rest."""
        if not self._touched:
            return np.zeros(0, np.int32)
        rows: NDArray[np.int32] = np.unique(np.concatenate(self._touched))
        rows = rows[self._parts[rows, 4] > mark]
        self._touched = [rows]
        self._touched_count = rows.size
        return rows

    def changed_parts(self, after: int) -> list[int]:
        """Return the rows of the hashes changed after version ``after``; see `part`."""
        if after < self._folded:
            # Redis lost its last fold: what was forgotten is found by looking at all (P8).
            rows = np.arange(self._part_table.count, dtype=np.int32)
        else:
            rows = self._keep_touched(0)
        found: list[int] = rows[self._parts[rows, 4] > after].tolist()
        return found

    def part(self, row: int) -> tuple[int, int]:
        """Return (customer number, period start) of one hash; a row never changes its meaning."""
        customer, start = self._parts[row, :2].tolist()
        return customer, start

    def folded(self, mark: int) -> None:
        """Forget which hashes changed at or before ``mark`` (P8)."""
        self._folded = max(self._folded, mark)
        self._keep_touched(mark)

    def part_row(self, part_key: NDArray[np.uint64]) -> int:
        """Return the row of one hash, ABSENT if nothing was ever counted in it."""
        return int(self._part_table.find(part_key)[0])

    def _series_of(self, part: int) -> Iterator[int]:
        row = ABSENT if part == ABSENT else int(self._parts[part, 2]) - 1
        while row != ABSENT:
            yield row
            row = int(self._series[row, 3])

    def fields(self, part: int, after: int) -> list[tuple[str, int]]:
        """Return the fields of one hash that changed after version ``after``, sorted by name.

        ``part`` is the row of the hash, as `part_row` and `changed_parts` give it.
        """
        found: list[tuple[str, int]] = []
        for row in self._series_of(part):
            _, meter, dimensions, _, value, events, version, first, count = self._series[
                row
            ].tolist()
            if version <= after:
                continue
            names = self._words.fields.get((meter, dimensions))
            texts = self._words.meter_ids[meter], self._dimension_sets[dimensions]
            if names is None:
                names = field_name(*texts, "value"), field_name(*texts, "events")
                self._words.fields[meter, dimensions] = names
            found += ((names[0], value), (names[1], events))
            cells = self._bands[first : first + count, 4:].tolist()
            for charge, cell in zip(self._band_charges.get(row, ()), cells, strict=True):
                floor, ceiling, between = cell
                found += (
                    (field_name(*texts, "floor", charge), floor),
                    (field_name(*texts, "ceiling", charge), ceiling),
                    (field_name(*texts, "between", charge), between),
                )
        return sorted(found)

    def series(self, part_key: NDArray[np.uint64]) -> tuple[SeriesCounter, ...]:
        """Return the counters of one hash, sorted by meter and dimensions."""
        found = []
        for row in self._series_of(self.part_row(part_key)):
            _, meter, dimensions, _, value, events, _, first, count = self._series[row].tolist()
            charges = self._band_charges.get(row, ())
            cells = self._bands[first : first + count, 4:].tolist()
            found.append(
                SeriesCounter(
                    meter=self._words.meter_ids[meter],
                    dimensions=self._dimension_sets[dimensions],
                    value=value,
                    events=events,
                    bands={c: BandCount(*cell) for c, cell in zip(charges, cells, strict=True)},
                )
            )
        return tuple(sorted(found, key=lambda s: (s.meter, s.dimensions or ())))

    def dump(self) -> bytes:
        """Return all of it as the section of a snapshot (P10)."""
        words = self._words
        document = {
            "meters": [[*key[:1], key[1].value, key[2], n] for key, n in words.meters.items()],
            "dimension_sets": self._dimension_sets,
            "band_charges": [[row, *charges] for row, charges in self._band_charges.items()],
        }
        arrays = {
            "part_keys": self._part_table.keys(),
            "series_keys": self._series_table.keys(),
            "parts": self._parts[: self._part_table.count],
            "series": self._series[: self._series_table.count],
            "bands": self._bands[: self._band_count],
        }
        return pack_state(document, arrays)

    def load(self, section: bytes) -> None:
        """Take what `dump` gave, into empty counters. Every hash counts as changed (P7)."""
        document, arrays = unpack_state(section)
        self._part_table.insert(arrays["part_keys"])
        self._series_table.insert(arrays["series_keys"])
        self._parts = grown(arrays["parts"], 16)
        self._series = grown(arrays["series"], 16)
        self._bands = arrays["bands"]
        self._band_count = self._bands.shape[0]
        words = self._words
        for meter, aggregation, scale, number in document["meters"]:
            words.meters[meter, Aggregation(aggregation), scale] = number
            words.meter_ids.append(meter)
        for number, pairs in enumerate(document["dimension_sets"]):
            dimensions = tuple((name, value) for name, value in pairs)
            words.dimension_sets[dimensions] = number
            self._dimension_sets.append(dimensions)
        for row, *charges in document["band_charges"]:
            self._band_charges[row] = tuple(charges)
        self._touched = [np.arange(self._part_table.count, dtype=np.int32)]
        self._touched_count = self._part_table.count

    def part_versions(self) -> list[tuple[int, int, int]]:
        """Return (customer number, period start, version of the last change) of all hashes."""
        rows = self._parts[: self._part_table.count, [0, 1, 4]].tolist()
        return sorted((customer, start, version) for customer, start, version in rows)


def merged_series(
    first: tuple[SeriesCounter, ...], second: tuple[SeriesCounter, ...]
) -> tuple[SeriesCounter, ...]:
    """Return the sums of two sets of counters of one period, sorted by meter and dimensions."""
    merged = {(counter.meter, counter.dimensions or ()): counter for counter in first}
    for more in second:
        key = more.meter, more.dimensions or ()
        known = merged.get(key)
        if known is None:
            merged[key] = more
            continue
        bands = {
            charge: BandCount(
                known.bands[charge].floor_events + band.floor_events,
                known.bands[charge].ceiling_events + band.ceiling_events,
                known.bands[charge].between_sum + band.between_sum,
            )
            for charge, band in more.bands.items()
        }
        merged[key] = SeriesCounter(
            *key, known.value + more.value, known.events + more.events, bands
        )
    return tuple(counter for _, counter in sorted(merged.items(), key=lambda item: item[0]))


def amounts_of(entry: RecordsEntry) -> NDArray[np.int64]:
    """Return what each record adds to its series' value: its quantity, or 1 to a count (S6.3)."""
    counts = [meter.aggregation is Aggregation.COUNT for meter in entry.meters]
    quantities: NDArray[np.int64] = entry.words[0]
    if not any(counts):
        return quantities
    return np.where(np.array(counts)[entry.codes[1]], np.int64(1), quantities)
