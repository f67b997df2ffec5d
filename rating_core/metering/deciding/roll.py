"""Customers by number: what is known of a name is worked out once, not with every batch of it.

Senders repeat their customers. A `Roll` numbers the names that a process has seen; their shards and
keyed hashes stand in columns, so that splitting, joining and deciding batches costs no step in
Python per name (ADR 36). Nothing is decided by a roll: it is a cache of pure functions.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from rating_core.jit import kernel
from rating_core.metering.deciding.key_table import ABSENT, KeyTable
from rating_core.metering.deciding.keyed_hash import Hashed, HashKey

ROLL_NAMES = 1 << 19
"""Names that a roll holds at most, about 100 bytes each and 128 of text; then it begins anew."""


def _wider(column: NDArray[Any], size: int) -> NDArray[Any]:
    if size <= column.shape[0]:
        return column
    wider = np.zeros((max(size, 2 * column.shape[0]), *column.shape[1:]), column.dtype)
    wider[: column.shape[0]] = column
    return wider


@kernel
def _json_size(ends: NDArray[np.int64], numbers: NDArray[np.int32]) -> int:
    size = 1 + max(numbers.size, 1)
    for index in range(numbers.size):
        number = numbers[index]
        size += ends[number] - (ends[number - 1] if number > 0 else 0)
    return size


@kernel
def _write_json(
    text: NDArray[np.uint8],
    ends: NDArray[np.int64],
    numbers: NDArray[np.int32],
    out: NDArray[np.uint8],
) -> None:
    position = 0
    for index in range(numbers.size):
        out[position] = ord(",") if index else ord("[")
        position += 1
        number = numbers[index]
        for offset in range(ends[number - 1] if number > 0 else 0, ends[number]):
            out[position] = text[offset]
            position += 1
    out[0] = ord("[")
    out[out.size - 1] = ord("]")


class RollPage:
    """The names of a roll between two beginnings. Number 0 is the empty name, which nobody has."""

    __slots__ = (
        "_table",
        "hash_key",
        "hashes",
        "json",
        "json_ends",
        "marks",
        "names",
        "shard_count",
        "shards",
    )

    def __init__(self, hash_key: HashKey, shard_count: int) -> None:
        self.hash_key, self.shard_count = hash_key, shard_count
        self.names: list[str] = []
        self.shards: NDArray[np.int32] = np.zeros(0, np.int32)
        self.hashes: NDArray[np.uint64] = np.zeros((0, 2), np.uint64)
        self.marks: NDArray[np.int32] = np.zeros(0, np.int32)
        """−1 for every name, between calls of `merged`."""
        self.json: NDArray[np.uint8] = np.zeros(0, np.uint8)
        """The names as JSON strings, one after the other; ``json_ends[i]`` is where name i ends."""
        self.json_ends: NDArray[np.int64] = np.zeros(0, np.int64)
        self._table = KeyTable()

    def find(self, hashes: NDArray[np.uint64]) -> NDArray[np.int32]:
        """Return the number of each name, by its hash uint64[n, 2]; ABSENT for one not here."""
        return self._table.find(hashes)

    def add(self, names: Sequence[str], shards: Sequence[int], hashes: NDArray[np.uint64]) -> None:
        """Number names that are not here yet, each once."""
        first, last = len(self.names), len(self.names) + len(names)
        self.shards, self.hashes = _wider(self.shards, last), _wider(self.hashes, last)
        self.marks = _wider(self.marks, last)
        self.shards[first:last] = shards
        self.hashes[first:last] = hashes
        self.marks[first:last] = -1
        begin = int(self.json_ends[first - 1]) if first else 0
        texts = [json.dumps(name, ensure_ascii=False).encode() for name in names]
        text = np.frombuffer(b"".join(texts), np.uint8)
        self.json, self.json_ends = (
            _wider(self.json, begin + text.size),
            _wider(self.json_ends, last),
        )
        self.json[begin : begin + text.size] = text
        self.json_ends[first:last] = begin + np.cumsum([len(each) for each in texts])
        self.names += names
        self._table.insert(hashes)


class RollNames(Sequence[str], Hashed):
    """Names of one page by their numbers, int32[c]: a dictionary of customers of a batch."""

    __slots__ = ("numbers", "page")

    def __init__(self, page: RollPage, numbers: NDArray[np.int32]) -> None:
        self.page, self.numbers = page, numbers

    def __len__(self) -> int:
        return int(self.numbers.size)

    @overload
    def __getitem__(self, at: int) -> str: ...

    @overload
    def __getitem__(self, at: slice) -> RollNames: ...

    def __getitem__(self, at: int | slice) -> str | RollNames:
        if isinstance(at, slice):
            return RollNames(self.page, self.numbers[at])
        return self.page.names[int(self.numbers[at])]

    def __iter__(self) -> Iterator[str]:
        return map(self.page.names.__getitem__, self.numbers.tolist())

    def take(self, places: NDArray[np.int32] | NDArray[np.int64]) -> RollNames:
        """Return the names at these places."""
        return RollNames(self.page, self.numbers[places])

    def json(self) -> bytes:
        """Return the names as one JSON list, UTF-8, without blanks."""
        page, numbers = self.page, self.numbers
        out = np.empty(_json_size(page.json_ends, numbers), np.uint8)
        _write_json(page.json, page.json_ends, numbers, out)
        return out.tobytes()

    def hashes(self, hash_key: HashKey) -> NDArray[np.uint64] | None:
        """Return uint64[c, 2], the hash of each name, or None if they are of another key."""
        return self.page.hashes[self.numbers] if self.page.hash_key == hash_key else None


class Roll:
    """Numbers names; ``shard_of`` and ``valid`` are asked once for each name."""

    def __init__(
        self,
        hash_key: HashKey,
        shard_count: int,
        shard_of: Callable[[str, int], int],
        valid: Callable[[str], bool],
        most: int = ROLL_NAMES,
    ) -> None:
        self._shard_of, self._valid, self._most = shard_of, valid, most
        self._page = self._begun(hash_key, shard_count)

    def _begun(self, hash_key: HashKey, shard_count: int) -> RollPage:
        page = RollPage(hash_key, shard_count)
        page.add([""], [self._shard_of("", shard_count)], hash_key.hash_names([""]))
        return page

    def names_of(self, names: Sequence[str]) -> RollNames:
        """Return the names by number; 0, the empty name, for one that no customer can have."""
        hashes = self._page.hash_key.hash_names(names)
        return self._numbered(hashes, names.__getitem__)

    def names_in(self, data: NDArray[np.uint8], spans: NDArray[np.int64]) -> RollNames:
        """As `names_of`, for UTF-8 texts that stand in ``data`` at ``spans``, int64[n, 2]."""
        hashes = self._page.hash_key.hash_spans(data, spans)

        def text(place: int) -> str:
            return data[spans[place, 0] : spans[place, 1]].tobytes().decode()

        return self._numbered(hashes, text)

    def _numbered(self, hashes: NDArray[np.uint64], text: Callable[[int], str]) -> RollNames:
        page = self._page
        numbers = page.find(hashes)
        places = np.flatnonzero(numbers == ABSENT)
        if not places.size:
            return RollNames(page, numbers)
        names = {text(place): place for place in places.tolist()}
        new = {name: place for name, place in names.items() if self._valid(name)}
        if len(page.names) + len(new) > self._most and len(page.names) > 1:
            # Batches that wait keep the page that they were numbered by.
            self._page = self._begun(page.hash_key, page.shard_count)
            return self._numbered(hashes, text)
        shards = [self._shard_of(name, page.shard_count) for name in new]
        page.add(list(new), shards, hashes[list(new.values())])
        return RollNames(page, np.maximum(page.find(hashes), 0))


@kernel
def _merge(
    numbers: NDArray[np.int32],
    word_ends: NDArray[np.int64],
    columns: NDArray[np.int32],
    row_ends: NDArray[np.int64],
    marks: NDArray[np.int32],
    distinct: NDArray[np.int32],
    places: NDArray[np.int32],
    codes: NDArray[np.int32],
) -> int:
    """Write the numbers without repetition, and each row's place among them; return how many."""
    count = 0
    for index in range(numbers.size):
        number = numbers[index]
        if marks[number] < 0:
            marks[number] = count
            distinct[count] = number
            count += 1
        places[index] = marks[number]
    for index in range(count):
        marks[distinct[index]] = -1
    row, first = 0, 0
    for batch in range(row_ends.size):
        while row < row_ends[batch]:
            codes[row] = places[first + columns[row]]
            row += 1
        first = word_ends[batch]
    return count


def merged(
    columns: Sequence[tuple[Sequence[str], NDArray[np.int32]]],
) -> tuple[RollNames, NDArray[np.int32]] | None:
    """Return one dictionary of the names of all columns, and all rows' codes into it.

    ``None`` where not all names are of one page: they are merged as texts then.
    """
    names = [words for words, _ in columns if isinstance(words, RollNames)]
    page = names[0].page if names else None
    if page is None or len(names) < len(columns) or any(each.page is not page for each in names):
        return None
    numbers = np.concatenate([each.numbers for each in names])
    rows = np.concatenate([column for _, column in columns])
    distinct, places = np.empty(numbers.size, np.int32), np.empty(numbers.size, np.int32)
    codes = np.empty(rows.size, np.int32)
    count = _merge(
        numbers,
        np.cumsum([each.numbers.size for each in names]),
        rows,
        np.cumsum([column.size for _, column in columns]),
        page.marks,
        distinct,
        places,
        codes,
    )
    return RollNames(page, distinct[:count].copy()), codes
