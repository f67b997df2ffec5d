"""Columns of an entry in the least width that holds them: one pass to measure, one to write."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rating_core.jit import kernel

ALIGNMENT = 8
"""Every column begins at a multiple of this, bytes."""
_UNSIGNED = ((1 << 8, "|u1", 1), (1 << 16, "<u2", 2), (1 << 32, "<u4", 4))


@kernel
def _measure(columns: NDArray[np.int64], bounds: NDArray[np.int64]) -> None:
    for column in range(columns.shape[0]):
        low = high = columns[column, 0]
        for row in range(columns.shape[1]):
            low = min(low, columns[column, row])
            high = max(high, columns[column, row])
        bounds[column, 0] = low
        bounds[column, 1] = high


@kernel
def _write(
    columns: NDArray[np.int64],
    layout: NDArray[np.int64],
    bytes_1: NDArray[np.uint8],
    bytes_2: NDArray[np.uint16],
    bytes_4: NDArray[np.uint32],
    bytes_8: NDArray[np.int64],
) -> None:
    for column in range(columns.shape[0]):
        width, base = layout[column, 0], layout[column, 1]
        first = layout[column, 2] // width
        for row in range(columns.shape[1]):
            value = columns[column, row] - base
            if width == 1:
                bytes_1[first + row] = value
            elif width == 2:
                bytes_2[first + row] = value
            elif width == 4:
                bytes_4[first + row] = value
            else:
                bytes_8[first + row] = value


def _width(low: int, high: int) -> tuple[str, int, int]:
    """Return dtype, width in bytes and base of a column with these bounds."""
    for limit, dtype, width in _UNSIGNED:
        if high - low < limit:
            return dtype, width, low
    return "<i8", 8, 0


def pack_columns(
    names: list[str], columns: NDArray[np.int64]
) -> tuple[list[list[object]], NDArray[np.uint8]]:
    """Return what an entry tells of its columns, and their bytes (docs/reference/log-format.md).

    ``columns`` int64[k, n], n ≥ 1. Each is told as [name, dtype, n, base, offset]; base is added to
    every value of an unsigned column.
    """
    count = columns.shape[1]
    bounds = np.empty((len(names), 2), np.int64)
    _measure(columns, bounds)
    descriptors: list[list[object]] = []
    layout = []
    offset = 0
    for name, (low, high) in zip(names, bounds.tolist(), strict=True):
        dtype, width, base = _width(low, high)
        descriptors.append([name, dtype, count, base, offset])
        layout.append((width, base, offset))
        offset += -(-count * width // ALIGNMENT) * ALIGNMENT
    packed = np.zeros(offset, np.uint8)
    _write(
        columns,
        np.array(layout, np.int64),
        packed,
        packed.view(np.uint16),
        packed.view(np.uint32),
        packed.view(np.int64),
    )
    return descriptors, packed
