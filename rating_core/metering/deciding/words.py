"""Dictionaries of batches: words in order, and columns of codes into them."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from rating_core.metering.deciding.roll import RollNames, merged

Word = TypeVar("Word", bound=Hashable)


def _used(
    count: int, codes: NDArray[np.int32]
) -> tuple[NDArray[np.int64] | None, NDArray[np.int32]]:
    """Return which of ``count`` words the codes use, None for all, and codes that fit them."""
    if count == 1:
        return None, codes
    used = np.zeros(count, np.bool_)
    used[codes] = True
    kept = np.flatnonzero(used)
    if kept.size == count:
        return None, codes
    renumbered = (np.cumsum(used, dtype=np.int32) - np.int32(1)).astype(np.int32)
    return kept, renumbered[codes]


def compact(
    words: Sequence[Word], codes: NDArray[np.int32]
) -> tuple[list[Word], NDArray[np.int32]]:
    """Return the words that ``codes`` (n ≥ 1) uses, in their order, and codes that fit them."""
    kept, codes = _used(len(words), codes)
    return list(words) if kept is None else [words[index] for index in kept.tolist()], codes


def compact_names(
    names: Sequence[str], codes: NDArray[np.int32]
) -> tuple[Sequence[str], NDArray[np.int32]]:
    """Return what `compact` does; names of a roll stay numbers."""
    if not isinstance(names, RollNames):
        return compact(names, codes)
    kept, codes = _used(len(names), codes)
    return names if kept is None else names.take(kept), codes


def merge_names(
    columns: Sequence[tuple[Sequence[str], NDArray[np.int32]]],
) -> tuple[Sequence[str], NDArray[np.int32]]:
    """Return one dictionary of the names of all columns, and the codes of all rows into it."""
    by_number = merged(columns)
    if by_number is not None:
        return by_number
    names: dict[str, int] = {}
    codes = merge_words(names, columns)
    return list(names), np.concatenate(codes)


def merge_words(
    merged: dict[Word, int], columns: Sequence[tuple[Sequence[Word], NDArray[np.int32]]]
) -> list[NDArray[np.int32]]:
    """Return the codes of each column in one dictionary of all their words, ``merged``."""
    found: list[NDArray[np.int32]] = []
    known: Sequence[Word] = ()
    mapping = np.zeros(0, np.int32)
    for words, codes in columns:
        # Batches of one sender mostly name the same words in the same order.
        if words != known:
            for word in words:
                merged.setdefault(word, len(merged))
            mapping = np.array([merged[word] for word in words], np.int32)
            known = words
        same = len(known) == len(merged) and not found
        found.append(codes if same else mapping[codes])
    return found
