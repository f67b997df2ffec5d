"""A batch cut into one batch a shard: one sort of rows, one gather a column, then slices."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rating_core.jit import kernel


@kernel
def split_rows(
    codes: NDArray[np.int32],
    shards: NDArray[np.int32],
    order: NDArray[np.int64],
    begins: NDArray[np.int64],
    words: NDArray[np.int32],
    word_begins: NDArray[np.int64],
    renumbered: NDArray[np.int32],
) -> None:
    """Sort rows and the words that they use by shard, both stably.

    ``codes`` int32[n]: the word of each row; ``shards`` int32[c]: the shard of each word. Writes
    ``order`` int64[n], rows by shard; ``begins`` int64[s + 1], where each shard's rows begin;
    ``words`` int32[c] and ``word_begins`` int64[s + 1], the same of the words in use; and
    ``renumbered`` int32[n], along ``order``, each row's word counted among its shard's.
    """
    count = begins.size - 1
    place = np.full(shards.size, -1, np.int32)
    for row in range(codes.size):
        place[codes[row]] = 0
        begins[shards[codes[row]] + 1] += 1
    for word in range(shards.size):
        if place[word] == 0:
            word_begins[shards[word] + 1] += 1
    for shard in range(count):
        begins[shard + 1] += begins[shard]
        word_begins[shard + 1] += word_begins[shard]
    free, word_free = begins.copy(), word_begins.copy()
    for word in range(shards.size):
        if place[word] == 0:
            shard = shards[word]
            place[word] = np.int32(word_free[shard] - word_begins[shard])
            words[word_free[shard]] = word
            word_free[shard] += 1
    for row in range(codes.size):
        word = codes[row]
        target = free[shards[word]]
        free[shards[word]] += 1
        order[target] = row
        renumbered[target] = place[word]
