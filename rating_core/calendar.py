"""The billing calendar of a subscription: period borders in its time zone, from its anchor (S8.1).

A calendar knows nothing of where a subscription starts or ends, or of plans: `metering.parts` cuts
its periods by those. Periods are numbered without gaps, and half-open, [start, end) (S1.5).
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from rating_core.catalog import BillingPeriod
from rating_core.period import (
    DAY_US,
    HOUR_US,
    INSTANT_MIN,
    PERIOD_CODES,
    month_number,
    month_start_days,
)
from rating_core.units import INT64_MAX
from rating_core.zone import UTC_ZONE, ZoneTable

ANCHOR_DAY_DEFAULT = 1
ANCHOR_DAY_MAX = 31
_MONTHS = {BillingPeriod.MONTH: 1, BillingPeriod.QUARTER: 3, BillingPeriod.YEAR: 12}
_WEEK_SHIFT = 3
"""1970-01-01 was a Thursday: days + 3 are a multiple of 7 on Mondays."""


@dataclass(frozen=True, slots=True)
class BillingCalendar:
    """The borders of one period length in one zone.

    ``anchor_day``, 1–31: day on which months, quarters and years start, the month's last where it
    has fewer. ``first_month``: month, counted from January = 0, from which quarters and years are
    counted, less than their length. Hours, days and weeks have no anchor: hours begin where the
    local clock shows a full hour (or skips it), so that a day of 25 hours has 25 of them.
    """

    period: BillingPeriod
    zone: ZoneTable = UTC_ZONE
    anchor_day: int = ANCHOR_DAY_DEFAULT
    first_month: int = 0

    def __post_init__(self) -> None:
        if not 1 <= self.anchor_day <= ANCHOR_DAY_MAX:
            raise ValueError("anchor_day: expected 1 to 31")
        if not 0 <= self.first_month < max(1, _MONTHS.get(self.period, 0)):
            raise ValueError("first_month: expected less than the period's months")

    @staticmethod
    def of_subscription(
        period: BillingPeriod, zone: ZoneTable, anchor_day: int | None, start: int
    ) -> BillingCalendar:
        """Return the calendar of a subscription that starts at ``start``, µs.

        ``anchor_day`` is ``None`` if none was given: quarters and years then begin in January,
        otherwise in the month of the start.
        """
        months = _MONTHS.get(period)
        if months is None or anchor_day is None:
            return BillingCalendar(period, zone)
        first = month_number(zone.local(start) // DAY_US) % months
        return BillingCalendar(period, zone, anchor_day, int(first))

    @property
    def code(self) -> int | None:
        """Number of the period length if `period.calendar_start` gives the same borders (UTC)."""
        plain = self.anchor_day == ANCHOR_DAY_DEFAULT and not self.first_month
        utc = not self.zone.transitions and self.zone.offsets == (0,)
        return PERIOD_CODES[self.period] if plain and utc else None

    def bounds(self, instant: int) -> tuple[int, int]:
        """Return (start, end) of the period that holds an instant, µs."""
        index = self._index(instant)
        return self._start(index), self._next_start(index)

    def number(self, instant: int) -> int:
        """Return the number of the period that holds an instant; neighbours differ by 1."""
        index = self._index(instant)
        if self.period is BillingPeriod.DAY:
            return index - bisect_right(self.zone.skipped_days, index)
        return index

    def starts(self, low: int, high: int) -> NDArray[np.int64]:
        """Return the borders around [low, high], rising: one at or before it, one after it, µs."""
        first, last = self._index(low), self._index(high) + 1
        while self._start(last) <= high:
            last += 1
        if self.period is BillingPeriod.HOUR:
            starts, numbers = _hour_columns(self.zone)
            count = np.arange(first, last + 1, dtype=np.int64)
            run = np.searchsorted(numbers, count, side="right") - 1
            return starts[run] + (count - numbers[run]) * HOUR_US
        if self.period in _MONTHS:
            days = np.array([self._day(index) for index in range(first, last + 1)], np.int64)
        elif self.period is BillingPeriod.WEEK:
            days = np.arange(first, last + 1, dtype=np.int64) * 7 - _WEEK_SHIFT
        else:
            days = np.arange(first, last + 1, dtype=np.int64)
        # A day that never was begins with the next one.
        borders: NDArray[np.int64] = np.unique(self.zone.instants_of(days * DAY_US))
        return borders

    def days_between(self, start: int, end: int) -> int:
        """Return how many local days begin in [start, end) (S8.4)."""
        first, last = self._days_begun(start), self._days_begun(end)
        skipped = self.zone.skipped_days
        return last - first - sum(first <= day < last for day in skipped)

    def months_after(self, instant: int, months: int) -> int:
        """Return the instant ``months`` later by the local calendar and clock, µs.

        The day of the month is kept, or is the month's last where it has fewer.
        """
        local = self.zone.local(instant)
        days, time = local // DAY_US, local % DAY_US
        month = int(month_number(days))
        day = days - int(month_start_days(month)) + 1
        return self.zone.instant_of(_day_of_month(month + months, day) * DAY_US + time)

    def _days_begun(self, instant: int) -> int:
        """Return the first local day that begins at or after an instant."""
        day = self.zone.local(instant) // DAY_US - 1
        while self.zone.instant_of(day * DAY_US) < instant:
            day += 1
        return day

    def _index(self, instant: int) -> int:
        if self.period is BillingPeriod.HOUR:
            return _hour_index(self.zone, instant)
        days = self.zone.local(instant) // DAY_US
        months = _MONTHS.get(self.period)
        if months is not None:
            index = (int(month_number(days)) - self.first_month) // months
        elif self.period is BillingPeriod.WEEK:
            index = (days + _WEEK_SHIFT) // 7
        else:
            index = days
        # The anchor may lie ahead; and where the clock goes back over midnight, the local date
        # falls back into the period before, which has ended.
        while self._start(index) > instant:
            index -= 1
        while self._start(index + 1) <= instant:
            index += 1
        return index

    def _day(self, index: int) -> int:
        """Return the first local day of a period, in days since 1970-01-01."""
        months = _MONTHS.get(self.period)
        if months is not None:
            return _day_of_month(index * months + self.first_month, self.anchor_day)
        return index * 7 - _WEEK_SHIFT if self.period is BillingPeriod.WEEK else index

    def _start(self, index: int) -> int:
        if self.period is BillingPeriod.HOUR:
            return _hour_start(self.zone, index)
        return self.zone.instant_of(self._day(index) * DAY_US)

    def _next_start(self, index: int) -> int:
        start, following = self._start(index), index + 1
        while self._start(following) <= start:
            following += 1
        return self._start(following)


def _day_of_month(month: int, day: int) -> int:
    """Return a day of a month (year × 12 + month − 1), cut to its length, since 1970-01-01."""
    first, following = int(month_start_days(month)), int(month_start_days(month + 1))
    return min(first + day, following) - 1


@lru_cache(maxsize=256)
def _hour_runs(zone: ZoneTable) -> tuple[list[int], list[int]]:
    """Return the runs of hours that are 3,600 s apart: first start of each, and its number.

    A run ends where the offset changes. A full hour that the clock skips begins where it jumps.
    """
    starts, numbers = [INSTANT_MIN - (INSTANT_MIN + zone.offsets[0]) % HOUR_US], [0]
    limits = [*zone.transitions[1:], INT64_MAX]
    for index, instant in enumerate(zone.transitions):
        before, after = instant + zone.offsets[index], instant + zone.offsets[index + 1]
        begun = numbers[-1] - (starts[-1] - instant) // HOUR_US
        full = instant + -after % HOUR_US
        if full != instant and -(-before // HOUR_US) * HOUR_US < after:
            starts.append(instant)
            numbers.append(begun)
            begun += 1
        if full < limits[index]:
            starts.append(full)
            numbers.append(begun)
    return starts, numbers


@lru_cache(maxsize=256)
def _hour_columns(zone: ZoneTable) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    starts, numbers = _hour_runs(zone)
    return np.array(starts, np.int64), np.array(numbers, np.int64)


def _hour_index(zone: ZoneTable, instant: int) -> int:
    starts, numbers = _hour_runs(zone)
    run = max(0, bisect_right(starts, instant) - 1)
    index = numbers[run] + (instant - starts[run]) // HOUR_US
    # Between a jump and the next full hour the hour before the jump goes on.
    return index if run + 1 == len(numbers) else min(index, numbers[run + 1] - 1)


def _hour_start(zone: ZoneTable, index: int) -> int:
    starts, numbers = _hour_runs(zone)
    run = max(0, bisect_right(numbers, index) - 1)
    return starts[run] + (index - numbers[run]) * HOUR_US
