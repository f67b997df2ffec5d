"""Columns of fixed-width numbers in and out of messages without a step per number.

A packed `sfixed64` field is, on the wire, its key, its length, and the little-endian values in one
piece. So a column is cut out of a message's bytes as a view, the small rest is parsed as usual, and
a column is added by appending its bytes: protobuf messages concatenate. What is not packed in one
piece, though legal, is left to protobuf.
"""

from __future__ import annotations

import sys
from array import array
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from enum import IntEnum

Buffer = bytes | memoryview

_FIELDS_MAX = 32_768
"""Messages of more fields are left to protobuf: cutting takes Python about 1 µs a field."""
_VARINT_BITS_MAX = 63
COLUMN_KEY = b"\x0a"
"""Key of field 1, length-delimited: the values of a column message."""


class _Wire(IntEnum):
    """How a field's value is laid out, the lowest three bits of its key."""

    VARINT = 0
    FIXED64 = 1
    LENGTH = 2
    FIXED32 = 5


@dataclass(frozen=True, slots=True)
class CutMessage:
    """A message's bytes without some of its length-delimited fields, and these as views.

    ``fields`` holds the pieces of each field number asked for, in order.
    """

    rest: bytes
    fields: dict[int, list[memoryview]]


def cut_fields(data: Buffer, numbers: Collection[int]) -> CutMessage | None:
    """Return ``data`` cut; None if that is better left to protobuf.

    That is: bytes that are no message, groups, very many fields.
    """
    view = memoryview(data)
    fields: dict[int, list[memoryview]] = {number: [] for number in numbers}
    rest: list[memoryview] = []
    size, position, kept = len(view), 0, 0
    try:
        for _ in range(_FIELDS_MAX):
            if position >= size:
                break
            start = position
            key, position = _varint(view, position)
            length = 0
            match key & 7:
                case _Wire.VARINT:
                    _, position = _varint(view, position)
                case _Wire.FIXED64:
                    length = 8
                case _Wire.LENGTH:
                    length, position = _varint(view, position)
                case _Wire.FIXED32:
                    length = 4
                case _:
                    return None
            position += length
            if position > size:
                return None
            if key & 7 == _Wire.LENGTH and key >> 3 in fields:
                fields[key >> 3].append(view[position - length : position])
                rest.append(view[kept:start])
                kept = position
        else:
            return None
    except IndexError:
        return None
    rest.append(view[kept:])
    return CutMessage(b"".join(rest), fields)


def column_values(column: memoryview, read: Callable[[bytes], Iterable[int]]) -> memoryview:
    """Return the bytes of a column message's values, little-endian, 8 each.

    ``read`` parses the column as protobuf does, for one that is not packed in one piece.
    """
    cut = cut_fields(column, (1,))
    if cut is not None and not cut.rest and len(cut.fields[1]) <= 1:
        values = cut.fields[1][0] if cut.fields[1] else column[:0]
        if len(values) % 8 == 0:
            return values
    return memoryview(int64_bytes(array("q", read(bytes(column)))))


def field_bytes(number: int, pieces: Sequence[Buffer]) -> list[Buffer]:
    """Return the pieces of a length-delimited field: its key, its length, and ``pieces``."""
    length = sum(len(piece) for piece in pieces)
    return [encode_varint(number << 3 | _Wire.LENGTH) + encode_varint(length), *pieces]


def column_field(number: int, values: Buffer) -> list[Buffer]:
    """Return the pieces of a column message in a field; ``values`` are its values' bytes."""
    if not len(values):
        return field_bytes(number, [])
    return field_bytes(number, [COLUMN_KEY + encode_varint(len(values)), values])


def encode_varint(value: int) -> bytes:
    """Return a number ≥ 0 in protobuf's variable length."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def int64_bytes(values: array[int]) -> bytes:
    """Return an array's values as little-endian bytes."""
    if sys.byteorder == "big":
        values = values[:]
        values.byteswap()
    return values.tobytes()


def _varint(view: memoryview, position: int) -> tuple[int, int]:
    """Return (value, position after it); IndexError for bytes that end, or never do."""
    value = view[position]
    position += 1
    if value < 0x80:
        return value, position
    value &= 0x7F
    for shift in range(7, _VARINT_BITS_MAX + 1, 7):
        part = view[position]
        position += 1
        value |= (part & 0x7F) << shift
        if part < 0x80:
            return value, position
    raise IndexError("a number of more than 10 bytes")
