"""The words of batches, made ready for deciding: sets of dimensions, and tables of meters.

Senders repeat themselves, so what was made lately is kept, if it is small enough to be worth it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from rating_core.catalog import Meter
from rating_core.metering.batch import DimensionSet
from rating_core.metering.counting.cells import AGGREGATION_CODES
from rating_core.metering.deciding.row_keys import dimension_text
from rating_core.metering.deciding.words import Word

DIMENSIONS_MAX = 8
DIMENSION_NAME_BYTES_MAX = 64
DIMENSION_VALUE_BYTES_MAX = 255
_CONTROL = re.compile("[\\x00-\\x1f\\x7f]")
_FEW_WORDS = 16
"""Batches that name no more meters or sets find their tables made."""
_SET_MAX = DIMENSIONS_MAX * (DIMENSION_VALUE_BYTES_MAX + DIMENSION_NAME_BYTES_MAX)
"""Letters of the largest dimension set that is worth remembering."""


@dataclass(frozen=True, slots=True)
class PreparedSet:
    """One dimension set, prepared: sorted non-empty pairs, their bytes, the names it uses.

    ``names`` is ``None`` for a set that no meter can take (S6.1).
    """

    pairs: DimensionSet
    text: bytes
    names: frozenset[str] | None


def prepared(dimensions: DimensionSet) -> PreparedSet:
    """Return a prepared set; only sets of a size that can be counted are remembered."""
    if len(dimensions) > DIMENSIONS_MAX or sum(len(n) + len(v) for n, v in dimensions) > _SET_MAX:
        return _prepare(dimensions)
    return _remembered(dimensions)


def _prepare(dimensions: DimensionSet) -> PreparedSet:
    pairs = tuple(sorted(pair for pair in dimensions if pair[1]))
    names = frozenset(name for name, _ in dimensions)
    fits = len(names) == len(dimensions) <= DIMENSIONS_MAX
    for name, value in dimensions:
        fits = fits and not _CONTROL.search(name)
        try:
            fits = fits and 0 < len(name.encode()) <= DIMENSION_NAME_BYTES_MAX
            fits = fits and len(value.encode()) <= DIMENSION_VALUE_BYTES_MAX
        except UnicodeEncodeError:
            fits = False
    return PreparedSet(pairs, dimension_text(pairs), names if fits else None)


_remembered = lru_cache(maxsize=1 << 16)(_prepare)


def _meter_table(
    meters: Sequence[Meter | None], scales: Sequence[int], kinds: Sequence[int]
) -> NDArray[np.int64]:
    """Return int64[m, 5]: whether known, multiplier, divisor, aggregation code, kind."""
    table = np.zeros((len(meters), 5), np.int64)
    table[:, 4] = kinds
    for index, (meter, scale) in enumerate(zip(meters, scales, strict=True)):
        if meter is not None:
            table[index, :4] = (
                1,
                10 ** max(0, meter.scale - scale),
                10 ** max(0, scale - meter.scale),
                AGGREGATION_CODES[meter.aggregation],
            )
    return table


def _numbered(words: Iterable[Word]) -> tuple[list[Word], list[int]]:
    """Return the distinct words in order of appearance, and the number of each word."""
    numbers: dict[Word, int] = {}
    codes = [numbers.setdefault(word, len(numbers)) for word in words]
    return list(numbers), codes


def _fitting(
    meters: Sequence[Meter | None], sets: Sequence[frozenset[str] | None]
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
        names if names is not None and names <= known else None for names in sets
    )
    table = [
        [names is not None and among is not None and names <= among for names in named]
        for among in declared
    ]
    return np.array(table, np.bool_), meter_kinds, set_kinds


Tables = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_]]


def _tables(
    meters: tuple[Meter | None, ...],
    scales: tuple[int, ...],
    sets: tuple[frozenset[str] | None, ...],
) -> Tables:
    fitting, meter_kinds, set_kinds = _fitting(meters, sets)
    table = _meter_table(meters, scales, meter_kinds)
    return table, np.array(set_kinds, np.int64), fitting


_known_tables = lru_cache(maxsize=1 << 8)(_tables)


def word_tables(
    meters: tuple[Meter | None, ...],
    scales: tuple[int, ...],
    sets: tuple[frozenset[str] | None, ...],
) -> Tables:
    """Return what `judge_rows` needs of meters and sets: meters int64[m, 5], the kind of each set,
    and bool[k, j], which kinds fit (S6.1). Not to be changed.
    """
    few = max(len(meters), len(sets)) <= _FEW_WORDS
    return (_known_tables if few else _tables)(meters, scales, sets)
