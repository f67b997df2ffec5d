"""Time zones, read from the pinned PyPI package `tzdata`, never from the machine's files (S8.1).

A table holds what the package states up to the year 2200, by when every present rule will have
changed; the log keeps the table that a subscription was made with.
"""

from __future__ import annotations

import io
import re
import struct
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from importlib import resources
from zoneinfo import ZoneInfo

from rating_core.zone import UTC_NAME, UTC_ZONE, ZoneTable, compressed

_HEADER = struct.Struct(">4sc15x6I")
_NAME = re.compile(r"[A-Za-z0-9_+-]{1,30}(/[A-Za-z0-9_+-]{1,30}){0,2}", re.ASCII)
_SECOND_US = 1_000_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FIRST_SECOND = int((datetime(1900, 1, 1, tzinfo=UTC) - _EPOCH).total_seconds())
_LAST = datetime(2200, 1, 1, tzinfo=UTC)
_STEP = timedelta(days=7)
"""No rule for the future changes the clock twice within so many days."""


@lru_cache(maxsize=1024)
def zone_table(name: str) -> ZoneTable | None:
    """Return the table of an IANA time zone, ``None`` if there is none of that name."""
    if name == UTC_NAME:
        return UTC_ZONE
    data = _file(name)
    if data is None:
        return None
    seconds, offsets = _stated(data)
    if b"," in data[data.rindex(b"\n", 0, -1) :]:  # the rule for the time after them (RFC 8536)
        _go_on(ZoneInfo.from_file(io.BytesIO(data), key=name), seconds, offsets)
    return compressed(
        name,
        [second * _SECOND_US for second in seconds],
        [offset * _SECOND_US for offset in offsets],
    )


def _file(name: str) -> bytes | None:
    """Return the file of a zone; names that only a path could have are none."""
    if not _NAME.fullmatch(name):
        return None
    file = resources.files("tzdata").joinpath("zoneinfo", *name.split("/"))
    try:
        data = file.read_bytes()
    except OSError:
        return None
    return data if data.startswith(b"TZif") else None


def _stated(data: bytes) -> tuple[list[int], list[int]]:
    """Return the transitions that a file lists, in seconds, and one offset more (RFC 8536)."""
    _, _, utc_count, wall_count, leap_count, times, types, letters = _HEADER.unpack_from(data)
    # The first block has 32-bit times, for old readers; the second all of them in 64 bits.
    position = _HEADER.size + times * 5 + types * 6 + letters
    position += leap_count * 8 + wall_count + utc_count
    *_, times, types, letters = _HEADER.unpack_from(data, position)
    position += _HEADER.size
    instants = struct.unpack_from(f">{times}q", data, position)
    kinds = struct.unpack_from(f">{times}B", data, position + times * 8)
    records = position + times * 9
    by_kind = [struct.unpack_from(">i", data, records + kind * 6)[0] for kind in range(types)]
    seconds, offsets = [], [by_kind[0]]
    for instant, kind in zip(instants, kinds, strict=True):
        if instant <= _FIRST_SECOND:
            offsets = [by_kind[kind]]
        else:
            seconds.append(instant)
            offsets.append(by_kind[kind])
    return seconds, offsets


def _go_on(zone: ZoneInfo, seconds: list[int], offsets: list[int]) -> None:
    """Append the transitions up to the year 2200 that a zone's rule makes."""
    instant = _EPOCH + timedelta(seconds=max([_FIRST_SECOND, *seconds[-1:]]))
    held = _offset(zone, instant)
    while instant < _LAST:
        following = instant + _STEP
        offset = _offset(zone, following)
        if offset != held:
            seconds.append(_change(zone, instant, following))
            offsets.append(offset)
        instant, held = following, offset


def _offset(zone: ZoneInfo, instant: datetime) -> int:
    shift = instant.astimezone(zone).utcoffset()
    return 0 if shift is None else int(shift.total_seconds())


def _change(zone: ZoneInfo, before: datetime, after: datetime) -> int:
    """Return the second at which the one change of offset between two instants happens."""
    low = int((before - _EPOCH).total_seconds())
    high = int((after - _EPOCH).total_seconds())
    held = _offset(zone, before)
    while high - low > 1:
        middle = (low + high) // 2
        if _offset(zone, _EPOCH + timedelta(seconds=middle)) == held:
            low = middle
        else:
            high = middle
    return high
