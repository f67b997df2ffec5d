"""Exact sets of values with a count each: what a unique_count counts (S6.3), and retracts (S7.6).

A value's key is the hash of its text under the key of its cell, so one table serves all series and
all buckets. The texts are kept: they are what unions over series, hashes and snapshots need.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rating_core.jit import kernel
from rating_core.metering.batch import DimensionSet
from rating_core.metering.deciding.key_table import KeyTable
from rating_core.metering.deciding.keyed_hash import hash_bytes
from rating_core.metering.log.snapshot import Arrays

CELL, WORD, NEXT, COUNT, VERSION = range(5)
"""Columns of a value: its cell, its text's number, next value of the cell + 1, records, version."""


@dataclass(frozen=True, slots=True, eq=False)
class ValueRows:
    """The records that name a value: their rows, int64[k], and which word of ``texts`` it is."""

    rows: NDArray[np.int64]
    words: NDArray[np.int64]
    texts: list[str]

    def keys(self, cell_keys: NDArray[np.uint64]) -> NDArray[np.uint64]:
        """Return uint64[k, 2], the key of each record's value in its cell, of keys uint64[n, 2]."""
        encoded = [text.encode(errors="surrogatepass") for text in self.texts]
        ends = np.zeros(len(encoded) + 1, np.int64)
        ends[1:] = np.cumsum([len(text) for text in encoded])
        out = np.empty((self.rows.size, 2), np.uint64)
        text = np.frombuffer(b"".join(encoded), np.uint8)
        _value_keys(cell_keys, self.rows, self.words, text, ends, out)
        return out


@kernel
def _value_keys(
    cells: NDArray[np.uint64],
    rows: NDArray[np.int64],
    words: NDArray[np.int64],
    text: NDArray[np.uint8],
    ends: NDArray[np.int64],
    out: NDArray[np.uint64],
) -> None:
    for index in range(rows.size):
        high, low = cells[rows[index], 0], cells[rows[index], 1]
        if high == 0 and low == 0:
            out[index, 0] = high
            out[index, 1] = low
        else:
            word = words[index]
            begin, end = ends[word], ends[word + 1]
            out[index, 0], out[index, 1] = hash_bytes(high, low, text, begin, end)


def value_rows(
    attributes_counted: Sequence[str],
    meter: NDArray[np.int32],
    attribute_sets: Sequence[DimensionSet],
    attribute_set: NDArray[np.int32] | None,
) -> ValueRows:
    """Return which records name a value of the attribute that their meter counts.

    ``attributes_counted[m]`` is that attribute's name, "" for a meter that counts none. A record
    without the attribute, or with an empty one, names no value.
    """
    nothing = ValueRows(np.zeros(0, np.int64), np.zeros(0, np.int64), [])
    if attribute_set is None or not any(attributes_counted):
        return nothing
    counting = np.array([bool(name) for name in attributes_counted])
    rows = np.flatnonzero(counting[meter])
    if not rows.size:
        return nothing
    # Pairs that occur, not all there could be: both dictionaries are the sender's.
    pairs = meter[rows].astype(np.int64) * len(attribute_sets) + attribute_set[rows]
    distinct, pair_of = np.unique(pairs, return_inverse=True)
    numbers: dict[str, int] = {}
    words = np.empty(distinct.size, np.int64)
    for index, pair in enumerate(distinct.tolist()):
        code, attributes = divmod(pair, len(attribute_sets))
        value = dict(attribute_sets[attributes]).get(attributes_counted[code], "")
        words[index] = numbers.setdefault(value, len(numbers)) if value else -1
    of_row = words[pair_of]
    named = of_row >= 0
    return ValueRows(rows[named], of_row[named], list(numbers))


@kernel
def _count(
    value_of: NDArray[np.int32],
    signs: NDArray[np.int64],
    version: int,
    values: NDArray[np.int64],
    cells: NDArray[np.int64],
    value_column: int,
) -> None:
    for index in range(value_of.size):
        row = value_of[index]
        cell = values[row, 0]
        before = values[row, 3]
        after = before + signs[index]
        values[row, 3] = after
        values[row, 4] = version
        cells[cell, value_column] += np.int64(after > 0) - np.int64(before > 0)


@kernel
def _link(first: int, last: int, values: NDArray[np.int64], heads: NDArray[np.int64]) -> None:
    for row in range(first, last):
        cell = values[row, 0]
        values[row, 2] = heads[cell]
        heads[cell] = row + 1


class UniqueValues:
    """The values of all cells of one table of counters."""

    def __init__(self) -> None:
        self._table = KeyTable()
        self._values: NDArray[np.int64] = np.zeros((16, 5), np.int64)
        self._numbers: dict[str, int] = {}
        self._texts: list[str] = []

    def dump(self) -> tuple[list[str], Arrays]:
        """Return the texts, and keys and columns of all values, for a snapshot (P10)."""
        held = self._values[: self._table.count]
        return list(self._texts), {"value_keys": self._table.keys(), "values": held}

    def load(self, texts: list[str], arrays: Arrays) -> None:
        """Take what `dump` gave, into an empty table."""
        self._table.insert(arrays["value_keys"])
        self._values = arrays["values"]
        self._texts = list(texts)
        self._numbers = {text: number for number, text in enumerate(texts)}

    def knows(self, keys: NDArray[np.uint64]) -> NDArray[np.bool_]:
        """Return bool[k]: which keys, uint64[k, 2], were ever counted."""
        return np.asarray(self._table.find(keys) >= 0)

    def count(
        self,
        named: ValueRows,
        keys: NDArray[np.uint64],
        cell_rows: NDArray[np.int32],
        signs: NDArray[np.int64],
        version: int,
        cells: NDArray[np.int64],
        value_column: int,
        heads: NDArray[np.int64],
    ) -> NDArray[np.int64]:
        """Count the records' values; return the rows, of n, whose value is new to its cell.

        ``cell_rows`` int32[n] and ``signs`` int64[n] are of all records; the number of values with
        a record is kept in column ``value_column`` of ``cells``; lists of values begin at
        ``heads``.
        """
        rows, before = named.rows, self._table.count
        found, first = self._table.insert(keys)
        after = self._table.count
        if first.size:
            if after > self._values.shape[0]:
                wider = np.zeros((max(after, 2 * self._values.shape[0]), 5), np.int64)
                wider[:before] = self._values[:before]
                self._values = wider
            made = self._values[before:after]
            made[:, CELL] = cell_rows[rows[first]]
            made[:, WORD] = [
                self._number(named.texts[word]) for word in named.words[first].tolist()
            ]
            _link(before, after, self._values, heads)
        _count(found, signs[rows], version, self._values, cells, value_column)
        return rows[first]

    def _number(self, text: str) -> int:
        number = self._numbers.setdefault(text, len(self._texts))
        if number == len(self._texts):
            self._texts.append(text)
        return number

    def put(self, head: int, counts: Mapping[str, int], version: int) -> None:
        """Set the number of records of each value of the list at ``head``, 0 if not named.

        LookupError for a value that the list lacks.
        """
        left = dict(counts)
        while head:
            row = self._values[head - 1]
            row[3:5] = left.pop(self._texts[int(row[WORD])], 0), version
            head = int(row[2])
        if left:
            raise LookupError("values of a cell that were never counted there")

    def of_cell(self, head: int, after: int = -1) -> Iterator[tuple[str, int]]:
        """Yield (value, number of records) of the list that begins at ``head``.

        Only what changed after version ``after``; a value whose records were all retracted has 0.
        """
        while head:
            _, word, head_next, count, version = self._values[head - 1].tolist()
            if version > after:
                yield self._texts[word], count
            head = head_next
