"""Columns cut out of a protobuf message's bytes, without a step in Python per field or number.

A packed column is, on the wire, its key, its length and its values in one piece; all else of the
message, dictionaries above all, is copied together, for protobuf to parse. Where a message states
a column in another legal way, all of it is left to protobuf.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rating_core.jit import kernel

LEFT = -1
"""The message is better left to protobuf: malformed, or a column that is not one packed piece."""

_VARINT_BYTES_MAX = 10
_FIXED64, _LENGTH, _FIXED32 = 1, 2, 5


@kernel
def _varint(data: NDArray[np.uint8], position: int, end: int) -> tuple[np.uint64, int]:
    """Return (value, position after it); the position is LEFT for bytes that end, or never do."""
    value = np.uint64(0)
    for count in range(_VARINT_BYTES_MAX):
        if position >= end:
            return value, LEFT
        byte = np.uint64(data[position])
        position += 1
        value |= (byte & np.uint64(0x7F)) << np.uint64(7 * count)
        if byte < np.uint64(0x80):
            return value, position
    return value, LEFT


@kernel
def cut_columns(data: NDArray[np.uint8], spans: NDArray[np.int64], rest: NDArray[np.uint8]) -> int:
    """Find the length-delimited fields whose numbers ``spans`` wants, and copy all others.

    ``spans``: int64[k, 2], the row of a wanted field number holds 0, 0, all other rows −1; begin
    and end of the field's bytes are written there. ``rest`` has the size of ``data``. Returns how
    much of it is used, or LEFT.
    """
    size = data.size
    position = used = 0
    while position < size:
        start = position
        key, position = _varint(data, position, size)
        if position == LEFT:
            return LEFT
        number, kind = np.int64(key >> np.uint64(3)), np.int64(key & np.uint64(7))
        begin = position
        if kind == 0:
            _, position = _varint(data, position, size)
        elif kind == _FIXED64:
            position += 8
        elif kind == _FIXED32:
            position += 4
        elif kind == _LENGTH:
            length, begin = _varint(data, position, size)
            if begin == LEFT or length > np.uint64(size):
                return LEFT
            position = int(begin + np.int64(length))
        else:
            return LEFT
        if position == LEFT or position > size:
            return LEFT
        if 0 < number < spans.shape[0] and spans[number, 0] >= 0:
            if kind != _LENGTH or spans[number, 1] > 0:
                return LEFT
            spans[number, 0] = begin
            spans[number, 1] = position
        else:
            for offset in range(start, position):
                rest[used] = data[offset]
                used += 1
    return used


@kernel
def _find_texts(data: NDArray[np.uint8], number: int, spans: NDArray[np.int64]) -> int:
    size = data.size
    position = count = 0
    while position < size:
        key, begin = _varint(data, position, size)
        if begin == LEFT:
            return LEFT
        kind = np.int64(key & np.uint64(7))
        if kind == 0:
            _, position = _varint(data, begin, size)
        elif kind == _FIXED64:
            position = begin + 8
        elif kind == _FIXED32:
            position = begin + 4
        elif kind == _LENGTH:
            length, begin = _varint(data, begin, size)
            if begin == LEFT or length > np.uint64(size):
                return LEFT
            position = int(begin + np.int64(length))
        else:
            return LEFT
        if position == LEFT or position > size:
            return LEFT
        if np.int64(key >> np.uint64(3)) == number and kind == _LENGTH:
            spans[count, 0] = begin
            spans[count, 1] = position
            count += 1
    return count


def find_texts(data: NDArray[np.uint8], number: int) -> NDArray[np.int64] | None:
    """Return where the texts of a repeated field stand in a message, int64[k, 2]: begin and end.

    ``None`` for a message that is better left to protobuf.
    """
    spans = np.empty((data.size // 2 + 1, 2), np.int64)
    count = _find_texts(data, number, spans)
    return None if count == LEFT else spans[:count]


@kernel
def _read_varints(data: NDArray[np.uint8], out: NDArray[np.int64]) -> int:
    position = count = 0
    while position < data.size:
        if data[position] < np.uint8(0x80):
            # Lengths of ids are, nearly always, one byte.
            out[count] = np.int64(data[position])
            position += 1
        else:
            value, position = _varint(data, position, data.size)
            if position == LEFT:
                return LEFT
            # As protobuf reads an int32: the lowest 32 bits, with their sign.
            low = np.int64(value & np.uint64(0xFFFFFFFF))
            out[count] = low - (low >> 31 << 32)
        count += 1
    return count


def read_varints(data: NDArray[np.uint8]) -> NDArray[np.int64] | None:
    """Return the numbers of a packed int32 column, int64[n]; None if the bytes are none."""
    out = np.empty(data.size, np.int64)
    count = _read_varints(data, out)
    return None if count == LEFT else out[:count]
