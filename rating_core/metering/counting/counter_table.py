"""The columns of all counters of a shard, and how they are read: fields of hashes, states (S6)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rating_core.catalog import Aggregation
from rating_core.counter import BandCount
from rating_core.jit import kernel
from rating_core.metering.batch import DimensionSet
from rating_core.metering.counting.cells import EVENTS, VALUE, VERSION, Cells
from rating_core.metering.counting.counter_names import field_name, order_number, period_text
from rating_core.metering.counting.series_state import SeriesState
from rating_core.metering.deciding.key_table import ABSENT, KeyTable
from rating_core.metering.deciding.records_entry import EntryMeter

ADDITIVE = (Aggregation.SUM, Aggregation.COUNT)


@kernel
def _plain_series(
    parts: NDArray[np.int32],
    after: NDArray[np.int64],
    part_rows: NDArray[np.int64],
    series: NDArray[np.int64],
    additive: NDArray[np.bool_],
    simple: NDArray[np.bool_],
    changed: NDArray[np.int64],
) -> int:
    """Find the series changed in parts that hold nothing but sums and counts; return how many.

    Of each: place of its part in ``parts``, value, events, meter, dimension set.
    """
    count = 0
    for place in range(parts.size):
        first = count
        simple[place] = parts[place] >= 0
        row = part_rows[parts[place], 2] - 1 if simple[place] else -1
        while row >= 0:
            if series[row, 8] != 0 or not additive[series[row, 1]]:
                simple[place] = False
                count = first
                break
            if series[row, VERSION] > after[place]:
                changed[count, 0] = place
                changed[count, 1] = series[row, VALUE]
                changed[count, 2] = series[row, EVENTS]
                changed[count, 3] = series[row, 1]
                changed[count, 4] = series[row, 2]
                count += 1
            row = series[row, 3]
    return count


@dataclass(slots=True)
class Words:
    """Meters and dimension sets by number, and their fields' names."""

    numbers: dict[EntryMeter, int]
    meters: list[EntryMeter]
    dimension_sets: dict[DimensionSet, int]
    fields: dict[tuple[int, int], tuple[str, str]]


class CounterTable:
    """All committed counters of a shard.

    Columns of ``parts``: customer number, period start, last series + 1, number of series, version
    of the last change, whether a meter of it keeps buckets, number of values ever seen, latest
    event time ever counted. Of ``series`` and ``buckets``: see cells.py; the first four are part,
    meter, dimension set, next series of the part or −1; for buckets series, start, next bucket of
    the series + 1. Of a series also first band, number of bands, last bucket + 1. Of ``bands``:
    whether there is a floor,
    floor_max, whether there is a ceiling, ceiling_min, events at the floor, events at the ceiling,
    sum between.
    """

    def __init__(self) -> None:
        self.part_table = KeyTable()
        self.series_table = KeyTable()
        self.bucket_table = KeyTable()
        self.parts: NDArray[np.int64] = np.zeros((16, 8), np.int64)
        self.series = Cells(10)
        self.buckets = Cells(7)
        self.bands: NDArray[np.int64] = np.zeros((0, 7), np.int64)
        self.band_count = 0
        self.band_charges: dict[int, tuple[str, ...]] = {}
        self.words = Words({}, [], {}, {})
        self.dimension_sets: list[DimensionSet] = []
        self.levels: dict[int, dict[tuple[int, int], list[int]]] = {}
        """Rows of weighted_sum series by customer number, then meter and dimension set (S6.4)."""
        self.touched: list[NDArray[np.int32]] = []
        self.touched_count = 0
        self._folded = 0

    def enter_levels(self, rows: list[int]) -> None:
        """Enter new series of weighted_sum meters among those whose level is carried (S6.4)."""
        for row in rows:
            part, meter, dimensions = self.series.rows[row, :3].tolist()
            levels = self.levels.setdefault(int(self.parts[part, 0]), {})
            levels.setdefault((meter, dimensions), []).append(row)

    def all_changed(self) -> None:
        """Take every hash for changed, as after a snapshot was loaded (P7)."""
        self.touched = [np.arange(self.part_table.count, dtype=np.int32)]
        self.touched_count = self.part_table.count

    def part_row(self, part_key: NDArray[np.uint64]) -> int:
        """Return the row of one hash, ABSENT if nothing was ever counted in it."""
        return int(self.part_table.find(part_key)[0])

    def part_version(self, row: int) -> int:
        """Return the version of the last change of one hash."""
        return int(self.parts[row, 4])

    def part(self, row: int) -> tuple[int, int]:
        """Return (customer number, period start) of one hash; a row never changes its meaning."""
        customer, start = self.parts[row, :2].tolist()
        return customer, start

    def parts_from(self, customer: int, since: int) -> list[int]:
        """Return the rows of a customer's hashes whose part begins at ``since`` or later."""
        held = self.parts[: self.part_table.count]
        rows: list[int] = np.flatnonzero((held[:, 0] == customer) & (held[:, 1] >= since)).tolist()
        return rows

    def with_buckets(self, rows: list[int]) -> list[int]:
        """Return those parts of which a meter keeps buckets, so that they have a second hash."""
        kept = self.parts[rows, 5] != 0
        return [row for row, keeps in zip(rows, kept.tolist(), strict=True) if keeps]

    def _series_of(self, part: int) -> Iterator[int]:
        row = ABSENT if part == ABSENT else int(self.parts[part, 2]) - 1
        while row != ABSENT:
            yield row
            row = int(self.series.rows[row, 3])

    def fields(self, part: int, after: int) -> list[tuple[str, int]]:
        """Return the fields of one hash that changed after version ``after``, sorted by name.

        ``part`` is the row of the hash, as `part_row` and `changed_parts` give it.
        """
        found: list[tuple[str, int]] = []
        for row in self._series_of(part):
            version, first, count = self.series.rows[row, VERSION : VERSION + 3].tolist()
            if version <= after:
                continue
            meter, texts = self._texts(row)
            found += self._cell_fields(meter, texts, self.series, row, after)
            cells = self.bands[first : first + count, 4:].tolist()
            for charge, cell in zip(self.band_charges.get(row, ()), cells, strict=True):
                floor, ceiling, between = cell
                found += (
                    (field_name(*texts, "floor", charge), floor),
                    (field_name(*texts, "ceiling", charge), ceiling),
                    (field_name(*texts, "between", charge), between),
                )
        return sorted(found)

    def plain_fields(
        self, parts: Sequence[int], after: Sequence[int]
    ) -> list[list[tuple[str, int]] | None]:
        """Return what `fields` does for many hashes; None for those that it must be asked for.

        It need not be for known parts that hold sums and counts without bands only. ``after``: for
        each of ``parts`` a version.
        """
        rows = np.array(parts, np.int32)
        found: list[list[tuple[str, int]] | None] = [None] * len(parts)
        simple = np.empty(rows.size, np.bool_)
        most = int(self.parts[rows[rows != ABSENT], 3].sum())
        changed = np.empty((most, 5), np.int64)
        count = _plain_series(
            rows,
            np.array(after, np.int64),
            self.parts,
            self.series.rows,
            np.array([meter.aggregation in ADDITIVE for meter in self.words.meters], np.bool_),
            simple,
            changed,
        )
        for place in np.flatnonzero(simple).tolist():
            found[place] = []
        many = set()
        for place, value, events, meter, dimensions in changed[:count].tolist():
            names = self.words.fields.get((meter, dimensions))
            if names is None:
                texts = self.words.meters[meter].id, self.dimension_sets[dimensions]
                names = field_name(*texts, "value"), field_name(*texts, "events")
                self.words.fields[meter, dimensions] = names
            fields = found[place]
            if fields is None:
                continue
            if fields:
                many.add(place)
            fields += ((names[1], events), (names[0], value))
        for place in many:
            found[place] = sorted(found[place] or ())
        return found

    def bucket_fields(self, part: int, after: int) -> list[tuple[str, int]]:
        """Return the fields of one hash of buckets that changed after ``after``, sorted by name."""
        found: list[tuple[str, int]] = []
        for row in self._series_of(part):
            if self.series.rows[row, VERSION] <= after:
                continue
            meter, texts = self._texts(row)
            for bucket in self._buckets_of(row):
                start, version = self.buckets.rows[bucket, [1, VERSION]].tolist()
                if version > after:
                    suffix = (period_text(start),)
                    found += self._cell_fields(meter, texts, self.buckets, bucket, after, suffix)
        return sorted(found)

    def _texts(self, row: int) -> tuple[EntryMeter, tuple[str, DimensionSet]]:
        _, number, dimensions = self.series.rows[row, :3].tolist()
        meter = self.words.meters[number]
        return meter, (meter.id, self.dimension_sets[dimensions])

    def _cell_fields(
        self,
        meter: EntryMeter,
        texts: tuple[str, DimensionSet],
        cells: Cells,
        cell: int,
        after: int,
        suffix: tuple[str, ...] = (),
    ) -> Iterator[tuple[str, int]]:
        value, events = cells.rows[cell, VALUE : EVENTS + 1].tolist()
        if suffix:
            names = field_name(*texts, "value", *suffix), field_name(*texts, "events", *suffix)
        else:
            key = int(cells.rows[cell, 1]), int(cells.rows[cell, 2])
            known = self.words.fields.get(key)
            names = known or (field_name(*texts, "value"), field_name(*texts, "events"))
            self.words.fields[key] = names
        yield names[0], value
        yield names[1], events
        if meter.aggregation is Aggregation.WEIGHTED_SUM:
            yield field_name(*texts, "moment", *suffix), cells.moment(cell)
        latest = cells.latest(cell)
        if latest is not None:
            yield field_name(*texts, "time", *suffix), latest[0]
            yield field_name(*texts, "order", *suffix), order_number(latest[1])
        for text, count in cells.values_of(cell, after):
            yield field_name(*texts, "seen", text, *suffix), count

    def _buckets_of(self, series_row: int) -> Iterator[int]:
        row = int(self.series.rows[series_row, 9]) - 1
        while row != ABSENT:
            yield row
            row = int(self.buckets.rows[row, 2]) - 1

    def _state(self, meter: EntryMeter, row: int, cells: Cells, cell: int) -> SeriesState:
        dimensions = self.dimension_sets[int(self.series.rows[row, 2])]
        value, events = cells.rows[cell, VALUE : EVENTS + 1].tolist()
        moment = cells.moment(cell) if meter.aggregation is Aggregation.WEIGHTED_SUM else 0
        return SeriesState(
            meter,
            dimensions,
            value,
            events,
            moment=moment,
            latest=cells.latest(cell),
            values=dict(cells.values_of(cell)),
        )

    def states(self, part: int, customer: int, start: int) -> list[SeriesState]:
        """Return the state of each series of one period, and of each level carried into it (S6.4).

        ``part``: its row, or ABSENT; ``customer``: its number; ``start``: of the period, µs.
        """
        found: dict[tuple[int, int], SeriesState] = {}
        for row in self._series_of(part):
            meter, _ = self._texts(row)
            state = self._state(meter, row, self.series, row)
            first, count = self.series.rows[row, 7:9].tolist()
            cells = self.bands[first : first + count, 4:].tolist()
            charges = self.band_charges.get(row, ())
            state.bands = {c: BandCount(*cell) for c, cell in zip(charges, cells, strict=True)}
            found[int(self.series.rows[row, 1]), int(self.series.rows[row, 2])] = state
        for (number, dimensions), rows in self.levels.get(customer, {}).items():
            opening = self._level_before(rows, start)
            if opening:
                carried = SeriesState(self.words.meters[number], self.dimension_sets[dimensions])
                found.setdefault((number, dimensions), carried).opening = opening
        return list(found.values())

    def series_rows(self, part: int) -> dict[tuple[str, DimensionSet], int]:
        """Return the row of each series of one period by meter and dimensions."""
        return {self._texts(row)[1]: row for row in self._series_of(part)}

    def bucket_starts(self, series_row: int) -> list[tuple[int, int]]:
        """Return (start in µs, row) of each bucket of a series, sorted."""
        column = self.buckets.rows[:, 1]
        return sorted((int(column[bucket]), bucket) for bucket in self._buckets_of(series_row))

    def bucket_value(self, bucket: int) -> int:
        """Return the value of the bucket in row ``bucket``: of a weighted_sum, its changes."""
        return int(self.buckets.rows[bucket, VALUE])

    def bucket_state(self, series: SeriesState, bucket: int) -> SeriesState:
        """Return the state of the bucket in row ``bucket``, one of those of ``series``."""
        row = int(self.buckets.rows[bucket, 0])
        return self._state(series.meter, row, self.buckets, bucket)

    def _level_before(self, rows: list[int], start: int) -> int:
        """Return the sum of all changes of a series in periods before ``start``."""
        table = self.series.rows
        return sum(int(table[row, VALUE]) for row in rows if self.parts[table[row, 0], 1] < start)
