"""Frames of a spool's files: how they are written, and how a damaged file is read. Sans I/O.

A segment is a row of frames. A frame is a head of 32 bytes, little-endian, and its body:
magic `RWSP`, kind u8, 3 zero bytes, record count u32, batch number u64, body length u32, CRC-32 of
the body, CRC-32 of the 28 bytes before.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum

MAGIC = b"RWSP"
_HEAD = struct.Struct("<4sB3xIQII")
_CRC = struct.Struct("<I")
HEAD_BYTES = _HEAD.size + _CRC.size


class Kind(IntEnum):
    """What a frame holds."""

    SEGMENT = 1
    """First of a file: JSON about the spool."""
    RECORD = 2
    """One record of the batch that gets this number; the count is its place in it, from 0."""
    BATCH = 3
    """A whole batch; its single records before it are void."""
    ANSWERED = 4
    """The batch of this number has the status of each record. No body."""
    OFFSET = 5
    """Sequence of a producer's batch = this number + the batch's (P12). No body."""
    EPOCH = 6
    """A writer of this epoch has opened the producer's spool (P12). No body."""


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame: its body lies at ``start`` … ``stop`` of the file."""

    kind: Kind
    number: int
    count: int
    start: int
    stop: int


@dataclass(frozen=True, slots=True)
class Reading:
    """What a file holds. ``end``: where a write broke off, or the file's size."""

    frames: tuple[Frame, ...]
    damaged: tuple[tuple[int, int], ...]
    """Ranges of bytes that are no frames, though bytes after them, or all of theirs, are there."""
    end: int


def frame_bytes(kind: Kind, number: int, count: int, body: bytes = b"") -> bytes:
    """Return a frame as bytes."""
    head = _HEAD.pack(MAGIC, kind, count, number, len(body), zlib.crc32(body))
    return head + _CRC.pack(zlib.crc32(head)) + body


def _head_at(data: bytes, at: int) -> tuple[Frame, int] | None:
    """Return the frame whose intact head lies at an offset, and its body's CRC."""
    if at + HEAD_BYTES > len(data) or not data.startswith(MAGIC, at):
        return None
    (crc,) = _CRC.unpack_from(data, at + _HEAD.size)
    if crc != zlib.crc32(data[at : at + _HEAD.size]):
        return None
    _, kind, count, number, size, body_crc = _HEAD.unpack_from(data, at)
    start = at + HEAD_BYTES
    return Frame(Kind(kind), number, count, start, start + size), body_crc


def _frame_at(data: bytes, at: int) -> Frame | None:
    found = _head_at(data, at)
    if found is None or found[0].stop > len(data):
        return None
    frame, crc = found
    return frame if zlib.crc32(data[frame.start : frame.stop]) == crc else None


def _broken_off(data: bytes, at: int) -> bool:
    """Whether what lies here is the beginning of a frame whose writing broke off."""
    if len(data) - at < HEAD_BYTES:
        rest = data[at:]
        return MAGIC.startswith(rest[: len(MAGIC)]) or not any(rest)
    found = _head_at(data, at)
    # A machine that crashed may leave a file longer than what was written, with zeros.
    return found[0].stop > len(data) if found is not None else not any(data[at:])


def _frames_after(data: bytes, at: int) -> Iterator[tuple[int, Frame]]:
    """Yield (offset, frame) of every intact frame that begins at or after an offset."""
    place = data.find(MAGIC, at)
    while place >= 0:
        frame = _frame_at(data, place)
        if frame is not None:
            yield place, frame
        place = data.find(MAGIC, place + 1 if frame is None else frame.stop)


def read_frames(data: bytes, *, last: bool) -> Reading:
    """Return the frames of a file. ``last``: it was being written, so that its end may be torn.

    Whatever is damaged is reported, and reading goes on behind it; only the beginning of a frame
    at the very end of the last file, which no call has returned for, is cut.
    """
    frames: list[Frame] = []
    damaged: list[tuple[int, int]] = []
    at = 0
    for place, frame in _frames_after(data, 0):
        if place > at:
            damaged.append((at, place))
        frames.append(frame)
        at = frame.stop
    if at < len(data) and not (last and _broken_off(data, at)):
        damaged.append((at, len(data)))
        at = len(data)
    return Reading(tuple(frames), tuple(damaged), at)
