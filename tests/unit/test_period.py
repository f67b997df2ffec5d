"""Calendar periods against the standard library's calendar (S8.1)."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from rating_core.catalog import BillingPeriod
from rating_core.period import INSTANT_MAX, INSTANT_MIN, period_bounds, period_starts

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)


def micros(moment):
    return (moment - EPOCH) // MICROSECOND


def expected_start(period, moment):
    day = moment.replace(hour=0, minute=0, second=0, microsecond=0)
    return {
        BillingPeriod.HOUR: moment.replace(minute=0, second=0, microsecond=0),
        BillingPeriod.DAY: day,
        BillingPeriod.WEEK: day - timedelta(days=day.weekday()),
        BillingPeriod.MONTH: day.replace(day=1),
        BillingPeriod.QUARTER: day.replace(day=1, month=(day.month - 1) // 3 * 3 + 1),
        BillingPeriod.YEAR: day.replace(day=1, month=1),
    }[period]


@pytest.mark.parametrize("period", list(BillingPeriod))
def test_starts_agree_with_the_calendar_over_all_years(period):
    """Starts of random instants of the years 1–9999, and of both ends, are the calendar's."""
    generator = random.Random(8)
    instants = [generator.randint(INSTANT_MIN, INSTANT_MAX) for _ in range(400)]
    instants += [INSTANT_MIN, INSTANT_MAX, -1, 0, 1]
    found = period_starts(period, np.array(instants, np.int64)).tolist()
    assert found == [
        micros(expected_start(period, EPOCH + timedelta(microseconds=instant)))
        for instant in instants
    ]


@pytest.mark.parametrize("period", list(BillingPeriod))
def test_periods_are_gapless_and_half_open(period):
    """The end of a period is the start of the next; its last microsecond is still inside."""
    generator = random.Random(9)
    for _ in range(100):
        start, end = period_bounds(period, generator.randint(INSTANT_MIN, INSTANT_MAX - 10**14))
        assert period_bounds(period, end - 1) == (start, end)
        assert period_bounds(period, start) == (start, end)
        assert period_bounds(period, end)[0] == end


def test_leap_days_end_their_month():
    """29 February exists in 2000 and 2024, not in 1900 and 2100."""
    for year, days in ((1900, 28), (2000, 29), (2024, 29), (2100, 28)):
        start, end = period_bounds(
            BillingPeriod.MONTH, micros(datetime(year, 2, 10, 7, tzinfo=UTC))
        )
        assert end - start == timedelta(days=days) // MICROSECOND


def test_a_start_inside_a_period_makes_a_stub():
    """The first period begins with the subscription, the next with the calendar."""
    subscribed = micros(datetime(2026, 1, 20, 12, tzinfo=UTC))
    february = micros(datetime(2026, 2, 1, tzinfo=UTC))
    march = micros(datetime(2026, 3, 1, tzinfo=UTC))
    assert period_bounds(BillingPeriod.MONTH, subscribed + 5, subscribed) == (subscribed, february)
    assert period_bounds(BillingPeriod.MONTH, february, subscribed) == (february, march)
