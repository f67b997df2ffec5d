"""Billing calendars against zoneinfo and datetime, in ordinary and in odd zones (S8.1)."""

from __future__ import annotations

import io
from datetime import UTC, date, datetime, timedelta
from importlib import resources
from itertools import pairwise
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rating_core.calendar import BillingCalendar
from rating_core.catalog import BillingPeriod
from rating_core.period import DAY_US, HOUR_US, PERIOD_CODES, calendar_end, calendar_start
from rating_core.zone import UTC_ZONE, ZoneTable
from rating_server.zones import zone_table

ODD = {
    "Europe/Berlin": "an hour forward and back at one in the morning, UTC",
    "America/New_York": "the same, west of Greenwich",
    "Australia/Lord_Howe": "half an hour forward and back",
    "Pacific/Apia": "30 December 2011 never was",
    "Asia/Kathmandu": "five hours and three quarters ahead",
    "America/Sao_Paulo": "midnight did not exist where summer time began, and was twice at its end",
    "Asia/Beirut": "midnight does not exist where summer time begins",
    "Africa/Casablanca": "standard time in Ramadan only",
    "America/St_Johns": "clocks once changed at one minute past midnight",
    "Africa/Monrovia": "44 minutes and 30 seconds behind until 1972",
}
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)
INSTANTS = st.integers(0, 4_700_000_000 * 1_000_000)
"""1970 to 2118."""


def zone_of(name):
    """Return the zone of the pinned package, whatever the machine has."""
    file = resources.files("tzdata").joinpath("zoneinfo", *name.split("/"))
    return ZoneInfo.from_file(io.BytesIO(file.read_bytes()), key=name)


ZONES = {name: zone_of(name) for name in ODD}


def local(name, instant):
    """Return what zoneinfo says the local clock shows at an instant, µs."""
    return (EPOCH + instant * MICROSECOND).astimezone(ZONES[name]).replace(tzinfo=None)


def first_day(period, day, anchor, first_month):
    """Return the first day of the period that holds a day, from the rule, with dates alone."""
    if period is BillingPeriod.DAY:
        return day
    if period is BillingPeriod.WEEK:
        return day - timedelta(days=day.weekday())
    length = {BillingPeriod.MONTH: 1, BillingPeriod.QUARTER: 3, BillingPeriod.YEAR: 12}[period]
    month = day.year * 12 + day.month - 1
    while (month - first_month) % length or anchored(month, anchor) > day:
        month -= 1
    return anchored(month, anchor)


def anchored(month, anchor):
    """Return the anchor day of a month, or its last."""
    following = date((month + 1) // 12, (month + 1) % 12 + 1, 1)
    return min(
        date(month // 12, month % 12 + 1, 1) + timedelta(anchor - 1), following - timedelta(1)
    )


@given(st.sampled_from(sorted(ODD)), INSTANTS)
@settings(max_examples=300, derandomize=True, deadline=None)
def test_tables_hold_what_the_zones_say(name, instant):
    """A table gives the offset that zoneinfo gives, at any instant to the year 2118."""
    shift = (EPOCH + instant * MICROSECOND).astimezone(ZONES[name]).utcoffset()
    assert zone_table(name).offset_at(instant) == shift // MICROSECOND


@given(
    st.sampled_from(sorted(ODD)),
    INSTANTS,
    st.sampled_from([p for p in BillingPeriod if p is not BillingPeriod.HOUR]),
    st.integers(1, 31),
    st.integers(0, 11),
)
@settings(max_examples=600, derandomize=True, deadline=None)
def test_periods_begin_where_the_local_calendar_says(name, instant, period, anchor, month):
    """Periods of days and more: the first instant at which the local clock shows their first day.

    Found by walking zoneinfo's clock around the border: what is shown before is an earlier day.
    """
    length = {BillingPeriod.QUARTER: 3, BillingPeriod.YEAR: 12}.get(period, 1)
    if period in (BillingPeriod.DAY, BillingPeriod.WEEK):
        anchor = 1
    calendar = BillingCalendar(period, zone_table(name), anchor, month % length)
    start, end = calendar.bounds(instant)
    assert start <= instant < end
    for border in (start, end):
        shown = local(name, border)
        begun = first_day(period, shown.date(), anchor, month % length)
        # The border shows the first day itself, or, where that day never was, the next one.
        assert (shown.date() - begun).days <= 1
        assert first_day(period, local(name, border - 1).date(), anchor, month % length) < begun
        assert shown.time().hour < 2
    assert calendar.bounds(start) == calendar.bounds(end - 1) == (start, end)
    assert calendar.bounds(end)[0] == end
    assert calendar.number(end) == calendar.number(start) + 1 == calendar.number(end - 1) + 1


@given(st.sampled_from(sorted(ODD)), INSTANTS)
@settings(max_examples=400, derandomize=True, deadline=None)
def test_hours_begin_at_full_hours_of_the_local_clock(name, instant):
    """An hour begins at a full local hour, or where the clock jumps over one; numbers rise by 1."""
    calendar = BillingCalendar(BillingPeriod.HOUR, zone_table(name))
    start, end = calendar.bounds(instant)
    assert start <= instant < end
    assert end - start <= 2 * HOUR_US
    shown, before = local(name, start), local(name, start - 1)
    jumped = shown - before > timedelta(hours=0, microseconds=1)
    assert (shown.minute, shown.second, shown.microsecond) == (0, 0, 0) or jumped
    assert calendar.number(end) == calendar.number(start) + 1
    assert calendar.bounds(end)[0] == end


@given(
    st.sampled_from([*sorted(ODD), "UTC"]),
    INSTANTS,
    st.integers(0, 500 * DAY_US),
    st.sampled_from(list(BillingPeriod)),
    st.integers(1, 31),
)
@settings(max_examples=300, derandomize=True, deadline=None)
def test_borders_in_bulk_are_those_one_by_one(name, low, length, period, anchor):
    """`starts` gives the very borders that `bounds` gives when it walks from period to period."""
    if period is BillingPeriod.HOUR:
        length //= 100
    calendar = BillingCalendar(period, zone_table(name), anchor)
    borders = calendar.starts(low, low + length).tolist()
    assert borders[0] <= low < borders[1]
    assert borders[-2] <= low + length < borders[-1]
    assert all(calendar.bounds(start) == (start, end) for start, end in pairwise(borders))


@given(INSTANTS, st.sampled_from(list(BillingPeriod)))
@settings(max_examples=300, derandomize=True, deadline=None)
def test_utc_without_anchor_is_the_plain_calendar(instant, period):
    """The fast path of plain customers and the general calendar have the same borders."""
    calendar = BillingCalendar(period)
    code = PERIOD_CODES[period]
    start = int(calendar_start(code, instant))
    assert calendar.code == code
    assert calendar.bounds(instant) == (start, int(calendar_end(code, start)))


@given(st.sampled_from(sorted(ODD)), INSTANTS, st.lists(st.integers(0, 40 * DAY_US), max_size=5))
@settings(max_examples=200, derandomize=True, deadline=None)
def test_days_of_pieces_add_up(name, start, lengths):
    """A day counts once, in the piece in which it begins; a day that never was counts nowhere."""
    calendar = BillingCalendar(BillingPeriod.MONTH, zone_table(name))
    cuts = np.cumsum([start, *lengths]).tolist()
    pieces = [calendar.days_between(first, last) for first, last in pairwise(cuts)]
    assert sum(pieces) == calendar.days_between(cuts[0], cuts[-1])
    days = BillingCalendar(BillingPeriod.DAY, zone_table(name)).starts(cuts[0], cuts[-1])
    assert sum(pieces) == int(((days >= cuts[0]) & (days < cuts[-1])).sum())


def at(text):
    """Return an instant, µs."""
    return (datetime.fromisoformat(text) - EPOCH) // MICROSECOND


@pytest.mark.parametrize(
    ("anchor", "months"),
    [
        (31, ["01-31", "02-28", "03-31", "04-30", "05-31"]),
        (30, ["01-30", "02-28", "03-30", "04-30", "05-30"]),
        (29, ["01-29", "02-28", "03-29", "04-29", "05-29"]),
    ],
)
def test_an_anchor_day_is_remembered(anchor, months):
    """31 → 28 → 31: a short month cuts the day once, and the next one has it again."""
    calendar = BillingCalendar(BillingPeriod.MONTH, UTC_ZONE, anchor)
    starts = calendar.starts(at(f"2026-{months[0]}T00:00Z"), at(f"2026-{months[-2]}T00:00Z"))
    assert starts.tolist() == [at(f"2026-{day}T00:00Z") for day in months]


def test_quarters_and_years_start_in_the_month_of_the_start_if_anchored():
    """Without an anchor they are the calendar's; with one they are counted from the start month."""
    start = at("2026-02-20T08:00Z")
    for period, anchor, first, last in (
        (BillingPeriod.QUARTER, None, "2026-01-01", "2026-04-01"),
        (BillingPeriod.QUARTER, 10, "2026-02-10", "2026-05-10"),
        (BillingPeriod.QUARTER, 25, "2025-11-25", "2026-02-25"),
        (BillingPeriod.YEAR, None, "2026-01-01", "2027-01-01"),
        (BillingPeriod.YEAR, 20, "2026-02-20", "2027-02-20"),
    ):
        calendar = BillingCalendar.of_subscription(period, UTC_ZONE, anchor, start)
        assert calendar.bounds(start) == (at(f"{first}T00:00Z"), at(f"{last}T00:00Z"))


def test_a_day_that_never_was_has_no_period():
    """Apia went from 29 to 31 December 2011: two neighbouring days, and 30 days in the month."""
    zone = zone_table("Pacific/Apia")
    days = BillingCalendar(BillingPeriod.DAY, zone)
    start, end = days.bounds(at("2011-12-30T09:00Z"))
    assert (local("Pacific/Apia", start).day, local("Pacific/Apia", end).day) == (29, 31)
    assert days.number(end) - days.number(start) == 1
    months = BillingCalendar(BillingPeriod.MONTH, zone)
    assert months.days_between(*months.bounds(start)) == 30


def test_days_of_23_and_25_hours():
    """Where summer time begins a day has 23 hours, where it ends 25, and as many hour periods."""
    zone = zone_table("Europe/Berlin")
    hours = BillingCalendar(BillingPeriod.HOUR, zone)
    days = BillingCalendar(BillingPeriod.DAY, zone)
    for day, length in (("2026-03-29", 23), ("2026-10-25", 25), ("2026-06-01", 24)):
        start, end = days.bounds(at(f"{day}T10:00Z"))
        assert (end - start) // HOUR_US == length
        assert hours.number(end) - hours.number(start) == length


@pytest.mark.parametrize(
    "name", ["Mars/Olympus", "../etc/passwd", "", "europe", "leapseconds", "."]
)
def test_what_is_no_zone_has_no_table(name):
    """Names that the package lacks, or that are no zones, give nothing."""
    assert zone_table(name) is None


def test_a_table_survives_the_log_and_names_its_content():
    """Facts give the same table back; another offset has another digest; disorder is refused."""
    table = zone_table("Australia/Lord_Howe")
    assert ZoneTable.from_facts(table.to_facts()) == table
    other = ZoneTable(table.name, table.transitions, (*table.offsets[:-1], 0))
    assert other.digest != table.digest
    for transitions, offsets in (((0, 0), (0, 0, 0)), ((5, 3), (0, 0, 0)), ((1,), (0,))):
        with pytest.raises(ValueError, match=r"zone|transitions"):
            ZoneTable("x", transitions, offsets)
