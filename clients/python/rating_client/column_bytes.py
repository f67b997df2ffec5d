"""Columns of integers, in whatever form callers have them, as lists and as bytes on the wire."""

from __future__ import annotations

import sys
from array import array
from collections.abc import Sequence
from typing import Any

from ratewright.columns import int64_bytes

_INT64_BYTES = 8
_LITTLE = sys.byteorder == "little"
_INTEGER_FORMATS = frozenset("bBhHiIlLqQnN")


def _view(column: Any, what: str) -> memoryview:
    """Return a column with the buffer protocol as a view; TypeError if it holds no integers."""
    view = memoryview(column)
    if view.ndim != 1 or view.format.lstrip("@=<") not in _INTEGER_FORMATS:
        raise TypeError(f"{what}: expected one dimension of integers, got format {view.format!r}")
    return view


def integers(column: Any, start: int, stop: int, what: str) -> list[int]:
    """Return rows of a column as a list: a list, a tuple, or anything with the buffer protocol."""
    if isinstance(column, list):
        return column[start:stop]
    if isinstance(column, tuple | range):
        return list(column[start:stop])
    return _view(column, what)[start:stop].tolist()


def int64_column(column: Any, start: int, stop: int, what: str) -> bytes:
    """Return rows of a column as little-endian int64; ValueError for a number beyond 64 bits."""
    if not isinstance(column, list | tuple | range):
        view = _view(column, what)
        if view.itemsize == _INT64_BYTES and view.format.lstrip("@=<") in "lq" and _LITTLE:
            return view[start:stop].tobytes()
    try:
        return int64_bytes(array("q", integers(column, start, stop, what)))
    except OverflowError as error:
        raise ValueError(f"{what}: out of range, expected 64 bits") from error


def index_bytes(index: list[int]) -> bytes:
    """Return an index column as little-endian 32-bit numbers."""
    column = array("I", index)
    if not _LITTLE:
        column.byteswap()
    return column.tobytes()


def row_count(column: Any) -> int:
    """Return the number of rows of a column."""
    return len(column)


def compact(index: list[int], size: int, what: str) -> tuple[Sequence[int], list[int]]:
    """Return the dictionary entries that are used, and the index into those."""
    used = list(dict.fromkeys(index))
    if used and not (min(used) >= 0 and max(used) < size):
        raise ValueError(f"{what}: an index is outside the dictionary of {size}")
    if len(used) == size:
        return range(size), index
    # In order of appearance: sorting took a third of the time where most rows name another entry.
    place = dict(zip(used, range(len(used)), strict=True))
    return used, list(map(place.__getitem__, index))
