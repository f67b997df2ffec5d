"""Calendar billing periods in UTC (S8.1): hours, days, weeks from Monday, months, quarters, years.

Instants are int microseconds since 1970-01-01T00:00Z; every period is half-open, [start, end)
(S1.5). Exact for instants of the years 1–9999; arithmetic on integers only, so that one function
serves single instants, whole columns and other kernels.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rating_core.catalog import BillingPeriod
from rating_core.jit import kernel

HOUR_US = 3_600_000_000
DAY_US = 24 * HOUR_US
INSTANT_MIN = -62_135_596_800_000_000
"""The first instant of year 1."""
INSTANT_MAX = 253_402_300_799_999_999
"""The last microsecond of year 9999."""

_HOUR, _DAY, _WEEK, _MONTH, _QUARTER, _YEAR = range(6)
PERIOD_CODES = {
    BillingPeriod.HOUR: _HOUR,
    BillingPeriod.DAY: _DAY,
    BillingPeriod.WEEK: _WEEK,
    BillingPeriod.MONTH: _MONTH,
    BillingPeriod.QUARTER: _QUARTER,
    BillingPeriod.YEAR: _YEAR,
}
"""Number of each period length, as kernels take it."""

_MONTHS_OF = (0, 0, 0, 1, 3, 12)
_ERA_DAYS = 146_097
_ERA_YEARS = 400
_EPOCH_SHIFT = 719_468
"""Days from 0000-03-01, where an era of 400 years begins, to 1970-01-01."""


@kernel
def month_number(days: int) -> int:
    """Return year × 12 + month − 1 of a day, given as days since 1970-01-01."""
    shifted = days + _EPOCH_SHIFT
    era = shifted // _ERA_DAYS
    day = shifted - era * _ERA_DAYS
    year = (day - day // 1460 + day // 36524 - day // 146_096) // 365
    day_of_year = day - (365 * year + year // 4 - year // 100)
    # Years begin in March here, so that a leap day is the last of its year.
    march_month = (5 * day_of_year + 2) // 153
    return (era * _ERA_YEARS + year) * 12 + march_month + 2


@kernel
def month_start_days(number: int) -> int:
    """Return the first day of a month, given as year × 12 + month − 1, in days since 1970-01-01."""
    march_number = number - 2
    year = march_number // 12
    march_month = march_number - year * 12
    era = year // _ERA_YEARS
    year -= era * _ERA_YEARS
    day = year * 365 + year // 4 - year // 100 + (153 * march_month + 2) // 5
    return era * _ERA_DAYS + day - _EPOCH_SHIFT


@kernel
def calendar_start(code: int, instant: int) -> int:
    """Return the start of the calendar period of ``code`` that holds ``instant``, µs (S8.1)."""
    if code == _HOUR:
        return instant - instant % HOUR_US
    days = instant // DAY_US
    if code == _WEEK:
        days -= (days + 3) % 7
    elif code != _DAY:
        number = month_number(days)
        days = month_start_days(number - number % _MONTHS_OF[code])
    return days * DAY_US


@kernel
def calendar_end(code: int, start: int) -> int:
    """Return the end of the calendar period of ``code`` that starts at ``start``, µs (S8.1)."""
    if code == _HOUR:
        return start + HOUR_US
    if code == _DAY:
        return start + DAY_US
    if code == _WEEK:
        return start + 7 * DAY_US
    return month_start_days(month_number(start // DAY_US) + _MONTHS_OF[code]) * DAY_US


@kernel
def _starts(code: int, instants: NDArray[np.int64], out: NDArray[np.int64]) -> None:
    for row in range(instants.size):
        out[row] = calendar_start(code, instants[row])


def period_bounds(
    period: BillingPeriod, instant_us: int, subscription_start: int | None = None
) -> tuple[int, int]:
    """Return (start, end) of the period that holds an instant, µs, half-open (S8.1).

    With ``subscription_start``, a subscription that starts inside a calendar period makes a first
    stub period: the start is the later of the two.
    """
    code = PERIOD_CODES[period]
    start = int(calendar_start(code, instant_us))
    end = int(calendar_end(code, start))
    return start if subscription_start is None else max(start, subscription_start), end


def period_starts(period: BillingPeriod, instants: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the start of the calendar period that holds each instant, int64[n] µs (S8.1)."""
    out = np.empty(instants.shape, np.int64)
    _starts(PERIOD_CODES[period], instants, out)
    return out
