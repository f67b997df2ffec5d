"""Instants as text: RFC 3339 with any finer digits cut, to microseconds UTC and back (S1.5)."""

from __future__ import annotations

import re

from rating_core.period import DAY_US, INSTANT_MAX, INSTANT_MIN, month_number, month_start_days
from rating_core.plan.fields import FaultList, Place, shown

_SECOND_US = 1_000_000
_FORM = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)[Tt ](\d\d):(\d\d):(\d\d)(?:\.(\d{1,32}))?(?:[Zz]|([+-])(\d\d):(\d\d))",
    re.ASCII,
)


def parse_instant(text: str) -> int:
    """Return the instant that an RFC 3339 text states, µs UTC; digits finer than µs are cut (S1.5).

    The offset (`Z`, `+02:00`) must be stated. ValueError for another form, a date or time that does
    not exist, a leap second, or an instant outside the years 1 to 9999.
    """
    match = _FORM.fullmatch(text)
    if match is None:
        raise ValueError("not an instant")
    year, month, day, hour, minute, second = (int(match[group]) for group in range(1, 7))
    if not (year and 1 <= month <= 12 and hour < 24 and minute < 60 and second < 60):
        raise ValueError("no such date or time")
    first = int(month_start_days(year * 12 + month - 1))
    if not 1 <= day <= int(month_start_days(year * 12 + month)) - first:
        raise ValueError("no such day")
    seconds = hour * 3600 + minute * 60 + second
    if match[8]:
        offset_hour, offset_minute = int(match[9]), int(match[10])
        if offset_hour > 23 or offset_minute > 59:
            raise ValueError("no such offset")
        offset = offset_hour * 3600 + offset_minute * 60
        seconds -= offset if match[8] == "+" else -offset
    micros = int((match[7] or "").ljust(6, "0")[:6])
    instant = (first + day - 1) * DAY_US + seconds * _SECOND_US + micros
    if not INSTANT_MIN <= instant <= INSTANT_MAX:
        raise ValueError("outside the years 1 to 9999")
    return instant


def format_instant(instant: int) -> str:
    """Return the RFC 3339 text of an instant in µs: UTC, `Z`, no decimals that are zero."""
    days, rest = divmod(instant, DAY_US)
    number = int(month_number(days))
    day = days - int(month_start_days(number)) + 1
    seconds, micros = divmod(rest, _SECOND_US)
    decimals = f".{micros:06d}".rstrip("0").rstrip(".") if micros else ""
    clock = f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}"
    return f"{number // 12:04d}-{number % 12 + 1:02d}-{day:02d}T{clock}{decimals}Z"


def read_instant(value: object, place: Place, faults: FaultList) -> int | None:
    """Return the instant at ``place`` of a document in µs, or ``None`` after noting a fault."""
    if not isinstance(value, str):
        faults.add(place, "WRONG_TYPE", f"expected an instant as text, got {shown(value)}")
        return None
    try:
        return parse_instant(value)
    except ValueError as error:
        message = f"expected an instant such as 2026-01-31T00:00:00Z, got {shown(value)} ({error})"
        faults.add(place, "NOT_AN_INSTANT", message)
        return None
