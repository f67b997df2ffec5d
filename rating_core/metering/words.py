"""Dictionaries of batches: words in order, and columns of codes into them."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

Word = TypeVar("Word", bound=Hashable)


def compact(
    words: Sequence[Word], codes: NDArray[np.int32]
) -> tuple[list[Word], NDArray[np.int32]]:
    """Return the words that ``codes`` (n ≥ 1) uses, in their order, and codes that fit them."""
    if len(words) == 1:
        return list(words), codes
    used = np.zeros(len(words), np.bool_)
    used[codes] = True
    kept = np.flatnonzero(used)
    if kept.size == len(words):
        return list(words), codes
    renumbered = (np.cumsum(used, dtype=np.int32) - np.int32(1)).astype(np.int32)
    return [words[index] for index in kept.tolist()], renumbered[codes]


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
