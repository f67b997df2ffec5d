"""Cells: the numbers that records are folded into, for series and for time buckets alike (S6.3).

Every aggregation is integer state that does not depend on the order of arrival, so a fold of the
log is one whatever the log's order is, and a retraction takes out exactly what was added (S7.6).

A row of ``rows`` begins with four columns of its owner; then value, events, version of the last
change. A row of ``cold`` is touched by other meters than sum and count only.

| aggregation | value | beside it |
|---|---|---|
| sum, count | sum of amounts | |
| max | greatest quantity | |
| latest | quantity of the latest record | its event time and order key |
| unique_count | number of values with a record | the values, each with its number of records |
| weighted_sum | net change of the level | moment: Σ change × time since the cell began, 128 bits |
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rating_core.catalog import Aggregation, Meter
from rating_core.int128 import (
    add_wide,
    multiply_signed,
    pair_value,
    subtract_wide,
    words_of,
)
from rating_core.jit import kernel
from rating_core.metering.counting.unique_values import UniqueValues, ValueRows, value_rows
from rating_core.metering.deciding.records_entry import EntryMeter, RecordsEntry
from rating_core.metering.log.snapshot import Arrays

SUM, COUNT, MAX, LATEST, UNIQUE_COUNT, WEIGHTED_SUM = range(6)
AGGREGATION_CODES = {
    Aggregation.SUM: SUM,
    Aggregation.COUNT: COUNT,
    Aggregation.MAX: MAX,
    Aggregation.LATEST: LATEST,
    Aggregation.UNIQUE_COUNT: UNIQUE_COUNT,
    Aggregation.WEIGHTED_SUM: WEIGHTED_SUM,
}
"""Number of each aggregation, as kernels take it."""
VALUE, EVENTS, VERSION = 4, 5, 6
MOMENT_HIGH, MOMENT_LOW, TIME = range(3)
"""Columns of ``cold``."""


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
def _fold_rows(
    kinds: NDArray[np.int64],
    quantities: NDArray[np.int64],
    offsets: NDArray[np.int64],
    signs: NDArray[np.int64],
    cells: NDArray[np.int32],
    version: int,
    rows: NDArray[np.int64],
    cold: NDArray[np.int64],
) -> None:
    for row in range(kinds.size):
        cell, kind, quantity = cells[row], kinds[row], quantities[row]
        back = signs[row] < 0
        if kind in (SUM, WEIGHTED_SUM):
            if back:
                rows[cell, 4] -= quantity
            else:
                rows[cell, 4] += quantity
        elif kind == COUNT:
            rows[cell, 4] += signs[row]
        elif kind == MAX and (rows[cell, 5] == 0 or quantity > rows[cell, 4]):
            rows[cell, 4] = quantity
        if kind == WEIGHTED_SUM:
            high, low = multiply_signed(quantity, offsets[row])
            if back:
                high, low = subtract_wide(cold[cell, 0], cold[cell, 1], high, low)
            else:
                high, low = add_wide(cold[cell, 0], cold[cell, 1], high, low)
            cold[cell, 0] = high
            cold[cell, 1] = low
        rows[cell, 5] += signs[row]
        rows[cell, 6] = version


@dataclass(frozen=True, slots=True, eq=False)
class Additions:
    """An entry's records as cells take them, n rows; made once for series and buckets.

    ``kinds``: aggregation codes; ``signs``: −1 for a retraction, else 1; ``named``: which values
    the records name.
    """

    kinds: NDArray[np.int64]
    signs: NDArray[np.int64]
    quantities: NDArray[np.int64]
    event_times: NDArray[np.int64]
    named: ValueRows
    entry: RecordsEntry

    @staticmethod
    def of(entry: RecordsEntry) -> Additions:
        """Return the additions of an entry."""
        codes = np.array([AGGREGATION_CODES[meter.aggregation] for meter in entry.meters], np.int64)
        signs = np.ones(len(entry), np.int64)
        if entry.retraction is not None:
            signs[entry.retraction] = -1
        return Additions(
            codes[entry.codes[1]],
            signs,
            np.ascontiguousarray(entry.words[0]),
            entry.words[1],
            named_values(entry.meters, entry.codes[1], entry.attribute_sets, entry.attribute_set),
            entry,
        )

    def take(self, rows: NDArray[np.int64]) -> Additions:
        """Return the additions of ``rows``, ascending."""
        places = np.full(self.kinds.size, -1, np.int64)
        places[rows] = np.arange(rows.size)
        kept = places[self.named.rows] >= 0
        named = ValueRows(places[self.named.rows[kept]], self.named.words[kept], self.named.texts)
        return Additions(
            self.kinds[rows],
            self.signs[rows],
            self.quantities[rows],
            self.event_times[rows],
            named,
            self.entry.take(rows),
        )


def named_values(
    meters: Sequence[Meter | EntryMeter | None],
    codes: NDArray[np.int32],
    attribute_sets: Sequence[tuple[tuple[str, str], ...]],
    attribute_set: NDArray[np.int32] | None,
) -> ValueRows:
    """Return which records name a value that a unique_count meter counts."""
    counted = [
        meter.of if meter and meter.aggregation is Aggregation.UNIQUE_COUNT else ""
        for meter in meters
    ]
    return value_rows(counted, codes, attribute_sets, attribute_set)


class Cells:
    """One table of cells: ``rows`` int64[n, width], and what other meters keep beside it."""

    def __init__(self, width: int) -> None:
        self.rows: NDArray[np.int64] = np.zeros((16, width), np.int64)
        self.orders: dict[int, bytes] = {}
        """Order key of the latest record of each cell that has one (S6.3)."""
        self.values = UniqueValues()
        self._cold: NDArray[np.int64] = np.zeros((0, 3), np.int64)
        self._heads: NDArray[np.int64] = np.zeros(0, np.int64)

    def grow(self, count: int) -> None:
        """Make room for ``count`` cells."""
        self.rows = grown(self.rows, count)

    def take(self, count: int) -> tuple[Callable[[], dict[str, Any]], Arrays]:
        """Return document, to be made later, and arrays of the first ``count`` cells (P10)."""
        texts, arrays = self.values.dump()
        orders = list(self.orders.items())

        def document() -> dict[str, Any]:
            return {"orders": [[cell, order.hex()] for cell, order in orders], "texts": texts}

        cold = min(count, self._cold.shape[0])
        held = {"rows": self.rows[:count], "cold": self._cold[:cold], "heads": self._heads[:cold]}
        return document, arrays | held

    def load(self, document: dict[str, Any], arrays: Arrays) -> None:
        """Take what `take` gave, into an empty table."""
        self.rows = grown(arrays["rows"], 16)
        self._cold, self._heads = arrays["cold"], arrays["heads"]
        self.orders = {cell: bytes.fromhex(order) for cell, order in document["orders"]}
        self.values.load(document["texts"], arrays)

    def fold(
        self,
        additions: Additions,
        keys: NDArray[np.uint64],
        cells: NDArray[np.int32],
        origins: NDArray[np.int64],
        version: int,
    ) -> NDArray[np.int64]:
        """Fold records into their cells; return the rows, of n, that named a new value.

        ``keys`` uint64[n, 2] and ``cells`` int32[n] name each record's cell, ``origins`` int64[n]
        when that cell begins, µs.
        """
        if self._cold.shape[0] < self.rows.shape[0]:
            self._cold = grown(self._cold, self.rows.shape[0])
            self._heads = grown(self._heads, self.rows.shape[0])
        _fold_rows(
            additions.kinds,
            additions.quantities,
            additions.event_times - origins,
            additions.signs,
            cells,
            version,
            self.rows,
            self._cold,
        )
        self._fold_latest(additions, cells)
        named = additions.named
        if not named.rows.size:
            return named.rows
        return self.values.count(
            named, named.keys(keys), cells, additions.signs, version, self.rows, VALUE, self._heads
        )

    def _fold_latest(self, additions: Additions, cells: NDArray[np.int32]) -> None:
        rows = np.flatnonzero(additions.kinds == LATEST)
        if not rows.size:
            return
        # Only records at the greatest time of their cell can win: mostly one for each cell.
        order = np.lexsort((additions.event_times[rows], cells[rows]))
        rows = rows[order]
        of_row, times = cells[rows], additions.event_times[rows]
        last = np.append(of_row[1:] != of_row[:-1], True)
        greatest = times[last][np.cumsum(last) - last]
        rows = rows[times == greatest]
        for row, key in zip(rows.tolist(), additions.entry.orders(rows.tolist()), strict=True):
            cell, time = int(cells[row]), int(additions.event_times[row])
            known = self.orders.get(cell)
            if known is None or (time, key) > (int(self._cold[cell, TIME]), known):
                self.orders[cell] = key
                self._cold[cell, TIME] = time
                self.rows[cell, VALUE] = additions.quantities[row]

    def put(
        self,
        cell: int,
        value: tuple[int, int],
        moment: int,
        latest: tuple[int, bytes] | None,
        values: Mapping[str, int],
        version: int,
    ) -> None:
        """Set all that a cell holds; ``value`` is its value and number of events (S8.6)."""
        self.rows[cell, VALUE : VERSION + 1] = *value, version
        self.orders.pop(cell, None)
        if cell < self._cold.shape[0]:
            time = 0
            if latest is not None:
                time, self.orders[cell] = latest
            self._cold[cell] = *reversed(words_of(moment, 2)), time
            self.values.put(int(self._heads[cell]), values, version)

    def moments(self, cells: NDArray[np.int32]) -> NDArray[np.int64]:
        """Return int64[k, 2], the moment of each cell as a pair; 0 for ABSENT (−1)."""
        out = np.zeros((cells.size, 2), np.int64)
        known = (cells >= 0) & (cells < self._cold.shape[0])
        out[known] = self._cold[cells[known], MOMENT_HIGH : MOMENT_LOW + 1]
        return out

    def moment(self, cell: int) -> int:
        """Return the moment of a weighted_sum's cell: Σ change × time since it began."""
        if cell >= self._cold.shape[0]:
            return 0
        high, low = self._cold[cell, MOMENT_HIGH : MOMENT_LOW + 1].tolist()
        return pair_value(high, low)

    def latest(self, cell: int) -> tuple[int, bytes] | None:
        """Return event time and order key of a latest's cell, ``None`` before its first record."""
        order = self.orders.get(cell)
        return None if order is None else (int(self._cold[cell, TIME]), order)

    def values_of(self, cell: int, after: int = -1) -> Iterator[tuple[str, int]]:
        """Yield (value, records) of a unique_count's cell that changed after version ``after``."""
        if cell < self._cold.shape[0]:
            yield from self.values.of_cell(int(self._heads[cell]), after)
