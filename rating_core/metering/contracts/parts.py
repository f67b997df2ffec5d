"""Periods and parts of a subscription: its calendar, cut by start, end and plan changes (S8).

Everything that counts, closes, shows or prices takes borders from here. Instants are int µs.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise

from rating_core.calendar import BillingCalendar
from rating_core.catalog import BillingPeriod
from rating_core.contract.usage import PlanRef
from rating_core.metering.calls import Phase, Subscription
from rating_core.metering.counting.series_state import Span
from rating_core.zone import UTC_NAME, UTC_ZONE

_YEAR_MONTHS = 12


@dataclass(frozen=True, slots=True)
class PartSpan:
    """One part of a period: [start, end) on one plan (S8.2).

    ``full_start``, ``full_end``: the full period around it, uncut. ``share_by_second`` and
    ``share_by_day``: its length ÷ that of the full period, by the clock and in local days, a day
    belonging to the part in which it begins (S8.4); hours, in which no day needs to begin, are
    shared by the clock. ``window_start``: where the year of a `tier_window` began (S8.5).
    """

    start: int
    end: int
    full_start: int
    full_end: int
    plan_ref: PlanRef
    share_by_second: Fraction
    share_by_day: Fraction
    window_start: int

    @property
    def span(self) -> Span:
        """What weighted sums and buckets need of the part (S6.4)."""
        return Span(self.start, self.end, self.full_end - self.full_start)


@dataclass(frozen=True, slots=True)
class PeriodSpan:
    """A billing period of a subscription: [start, end), its parts in order, one at least.

    ``number`` counts the subscription's periods from 0; ``last``: the subscription ends with it.
    """

    start: int
    end: int
    number: int
    last: bool
    parts: tuple[PartSpan, ...]


def calendar_of(subscription: Subscription) -> BillingCalendar:
    """Return the calendar of a subscription; ValueError if its zone's table is not at hand."""
    zone = subscription.zone
    if zone is None:
        if subscription.time_zone != UTC_NAME:
            raise ValueError(f"the table of {subscription.time_zone} is not at hand")
        zone = UTC_ZONE
    return BillingCalendar.of_subscription(
        subscription.billing_period, zone, subscription.anchor_day, subscription.start_time
    )


def period_at(subscription: Subscription, instant: int) -> PeriodSpan:
    """Return the billing period that holds an instant (S8.1).

    ValueError if the subscription does not hold it.
    """
    if not subscription.holds(instant):
        raise ValueError("the subscription does not hold that instant")
    calendar = calendar_of(subscription)
    full_start, full_end = calendar.bounds(instant)
    start, end = max(full_start, subscription.start_time), full_end
    last = subscription.end_time is not None and subscription.end_time <= full_end
    if subscription.end_time is not None:
        end = min(end, subscription.end_time)
    number = calendar.number(instant) - calendar.number(subscription.start_time)
    parts = tuple(
        _part(subscription, calendar, phase, max(start, begin), min(end, until))
        for phase, begin, until in phase_spans(subscription)
        if begin < end and until > start
    )
    return PeriodSpan(start, end, number, last, parts)


def part_at(subscription: Subscription, instant: int) -> PartSpan:
    """Return the part that holds an instant (S8.2); ValueError as `period_at`."""
    parts = period_at(subscription, instant).parts
    return next(part for part in parts if instant < part.end)


def periods_from(subscription: Subscription, instant: int, until: int) -> Iterator[PeriodSpan]:
    """Yield the periods that reach into [instant, until), in order (S8.1)."""
    at = max(instant, subscription.start_time)
    while at < until and subscription.holds(at):
        period = period_at(subscription, at)
        yield period
        at = period.end


def phase_spans(subscription: Subscription) -> Iterator[tuple[Phase, int, int]]:
    """Yield each phase with the bounds of what it is in force for; the last may have no end.

    No end stands as an instant beyond every calendar.
    """
    ends = [phase.start_time for phase in subscription.phases[1:]]
    ends.append(NEVER if subscription.end_time is None else subscription.end_time)
    for phase, end in zip(subscription.phases, ends, strict=True):
        yield phase, phase.start_time, end


NEVER = 1 << 62
"""An instant after all others."""


def spans_from(subscription: Subscription, instant: int, until: int) -> Iterator[Span]:
    """Yield the parts that reach into [instant, until) as spans, in order (S8.2)."""
    calendar = calendar_of(subscription)
    for _, begin, end in phase_spans(subscription):
        low, high = max(begin, instant), min(end, until)
        if low >= high:
            continue
        borders = calendar.starts(low, high - 1).tolist()
        for full_start, full_end in pairwise(borders):
            yield Span(max(full_start, begin), min(full_end, end), full_end - full_start)


def _part(
    subscription: Subscription, calendar: BillingCalendar, phase: Phase, start: int, end: int
) -> PartSpan:
    full_start, full_end = calendar.bounds(start)
    by_second = by_day = Fraction(1)
    if (start, end) != (full_start, full_end):
        by_second = by_day = Fraction(end - start, full_end - full_start)
        if subscription.billing_period is not BillingPeriod.HOUR:
            days = calendar.days_between(full_start, full_end)
            by_day = Fraction(calendar.days_between(start, end), days)
    return PartSpan(
        start=start,
        end=end,
        full_start=full_start,
        full_end=full_end,
        plan_ref=phase.plan_ref,
        share_by_second=by_second,
        share_by_day=by_day,
        window_start=max(phase.start_time, year_start(subscription, calendar, start)),
    )


def year_start(subscription: Subscription, calendar: BillingCalendar, instant: int) -> int:
    """Return where the subscription's year around an instant begins (S8.5).

    A year holds whole periods: the first begins with the subscription, each later one with the
    period that holds the anniversary of its start.
    """
    start = subscription.start_time
    years = max(0, (instant - start) // _SHORTEST_YEAR_US + 1)
    while years > 0:
        begin, _ = calendar.bounds(calendar.months_after(start, _YEAR_MONTHS * years))
        if begin <= instant:
            return max(begin, start)
        years -= 1
    return start


_SHORTEST_YEAR_US = 364 * 86_400 * 1_000_000
"""Less than any year, also if the clock jumps in it."""
