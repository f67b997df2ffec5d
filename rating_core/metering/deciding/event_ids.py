"""Columns of event ids: texts one after the other in bytes, and where each ends."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rating_core.jit import kernel
from rating_core.kernels.lookup import copy_bytes, word_view


def as_int64(values: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return ``values`` writable, aligned and contiguous; a copy only if needed.

    Kernels are compiled per kind of array: one kind everywhere means one compilation.
    """
    if values.dtype == np.int64 and values.flags.carray:
        return values
    return np.array(values, dtype=np.int64, order="C")


@kernel
def ids_size(ends: NDArray[np.int64], rows: NDArray[np.int64]) -> int:
    """Return the bytes of the event ids of ``rows``."""
    size = 0
    for index in range(rows.size):
        row = rows[index]
        size += ends[row] - (ends[row - 1] if row > 0 else 0)
    return size


@kernel
def copy_ids(
    source: NDArray[np.uint8],
    ends: NDArray[np.int64],
    rows: NDArray[np.int64],
    out: NDArray[np.uint8],
    out_ends: NDArray[np.int64],
) -> None:
    """Copy the event ids of ``rows`` to ``out``, which must fit them, and write their ends."""
    view, into = word_view(source), word_view(out)
    position = 0
    for index in range(rows.size):
        row = rows[index]
        begin = ends[row - 1] if row > 0 else 0
        position = copy_bytes(into, position, view, begin, ends[row] - begin)
        out_ends[index] = position


def take_ids(
    event_ids: bytes, ends: NDArray[np.int64], rows: NDArray[np.int64]
) -> tuple[bytes, NDArray[np.int64]]:
    """Return the event ids of ``rows``, concatenated, and their ends."""
    if not event_ids:  # numbered batches have none (P12)
        return b"", np.zeros(rows.size, np.int64)
    ends = as_int64(ends)
    out = np.empty(ids_size(ends, rows), np.uint8)
    out_ends = np.empty(rows.size, np.int64)
    copy_ids(np.frombuffer(event_ids, np.uint8), ends, rows, out, out_ends)
    return out.tobytes(), out_ends
