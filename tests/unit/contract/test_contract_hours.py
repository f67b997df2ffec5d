"""Hours and calendars of contracts, worked out by hand (S5.3, S5.5, S8.1)."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

from rating_core.calendar import BillingCalendar
from rating_core.catalog import (
    BillingPeriod,
    Charge,
    ChargeModel,
    Commitment,
    Tier,
)
from rating_core.contract.commitments.term import term_end
from rating_core.contract.facts import from_facts, to_facts
from rating_core.contract.rate import needs_calendar, rate_contract
from rating_core.contract.usage import (
    ContractUsage,
    HourUsage,
    PeriodUsage,
)
from rating_core.contract.values import Promotion, PromotionKind
from rating_core.statement import LineKind
from rating_core.zone import ZoneTable

HOUR = 3_600_000_000
DAY = 24 * HOUR
MONTHS = [0, 31 * DAY, 59 * DAY, 90 * DAY, 120 * DAY]
"""First instants of January to May 1970."""

USAGE = Charge("usage", ChargeModel.PER_UNIT, meter="calls", unit_price=Decimal(1))


def test_hours_are_terms_of_their_own_and_idle_ones_true_up(made):
    """Hours of 15, none and 6 against 10 an hour: 15, 10 (idle), 10; the usage before any full
    hour of the part stays at list.
    """
    hourly = Commitment(
        "hourly", Decimal(10), ("usage",), term=BillingPeriod.HOUR, true_up_at_term_end=True
    )
    plan = made.plan(commitments=(hourly,))
    hours = tuple(
        HourUsage(start, end, made.calls(count))
        for start, end, count in (
            (HOUR // 2, HOUR, 4),
            (HOUR, 2 * HOUR, 15),
            (3 * HOUR, 4 * HOUR, 6),
        )
    )
    part = made.part(HOUR // 2, 4 * HOUR, plan, 25, hours=hours)
    period = PeriodUsage(part.start, part.end, 0, (part,))
    assert made.sums(period) == [{"usage": Decimal("25.00"), "hourly": Decimal("14.00")}]
    # at 3:30 two hours have ended, one of them idle: only that one is trued up
    assert made.sums(period, now=3 * HOUR + HOUR // 2)[0]["hourly"] == Decimal("10.00")
    (line,) = [
        line
        for rated in rate_contract(made.contract(period))
        for line in rated.statement.lines
        if line.kind is LineKind.COMMITMENT
    ]
    assert [piece.label for piece in line.slices if piece.label] == [
        "2 of 3 hours below the commitment"
    ]


def test_hours_see_the_tiers_of_the_whole_part(made):
    """An hour's list amount is F(up to its end) − F(up to its start): tiers fill up over hours."""
    tiers = (Tier(Decimal(10), Decimal(2)), Tier(None, Decimal(1)))
    charge = Charge("usage", ChargeModel.GRADUATED, meter="calls", tiers=tiers)
    hourly = Commitment("hourly", Decimal(8), ("usage",), Decimal(50), term=BillingPeriod.HOUR)
    plan = made.plan(charge, commitments=(hourly,))
    hours = tuple(HourUsage(n * HOUR, (n + 1) * HOUR, made.calls(10)) for n in range(2))
    part = made.part(0, 2 * HOUR, plan, 20, hours=hours)
    # 16 of list are covered an hour: 20 -> 8 + 4, then 10 -> 5
    assert made.sums(PeriodUsage(0, 2 * HOUR, 0, (part,)))[0]["hourly"] == Decimal("-13.00")


def test_an_hour_is_covered_once(made):
    """Of two hourly commitments the second sees what the first left of each hour."""
    first = Commitment("first", Decimal(5), ("usage",), Decimal(50), term=BillingPeriod.HOUR)
    second = replace(first, id="second", amount=Decimal(20), discount_percent=Decimal(0))
    period_wide = replace(first, id="wide", term=None, amount=Decimal(3))
    hours = tuple(HourUsage(n * HOUR, (n + 1) * HOUR, made.calls(10 + 8 * n)) for n in range(2))
    for commitments, expected in (
        ((first, second), {"first": "-10.00", "second": "0.00"}),
        # the wide one covers 6 of the first hour, which leaves 4 and 18
        ((period_wide, first), {"wide": "-3.00", "first": "-7.00"}),
    ):
        part = made.part(0, 2 * HOUR, made.plan(commitments=commitments), 28, hours=hours)
        sums = made.sums(PeriodUsage(0, 2 * HOUR, 0, (part,)))[0]
        assert {name: str(sums[name]) for name in expected} == expected


def test_a_term_holds_whole_periods_of_the_contracts_calendar():
    """A term ends where the period begins that holds its anniversary; at least one period on."""
    monthly = BillingCalendar(BillingPeriod.MONTH)
    assert term_end(BillingPeriod.QUARTER, 0, monthly) == MONTHS[3]
    assert term_end(BillingPeriod.QUARTER, 14 * DAY, monthly) == MONTHS[3]
    assert term_end(None, 14 * DAY, monthly) == MONTHS[1]
    daily = BillingCalendar(BillingPeriod.DAY)
    assert term_end(BillingPeriod.WEEK, DAY, daily) == 8 * DAY
    assert term_end(BillingPeriod.MONTH, DAY, daily) == 32 * DAY


def test_the_calendar_of_a_contract_counts_its_terms_and_promotions(made):
    """In a zone and from an anchor, terms and promotions end by that calendar, also read back."""
    zone = ZoneTable("Europe/Berlin", (MONTHS[3] + HOUR,), (HOUR, 2 * HOUR))
    calendar = BillingCalendar(BillingPeriod.MONTH, zone, anchor_day=15)
    bounds = [calendar.bounds(number * 31 * DAY) for number in range(1, 6)]
    term = Commitment(
        "term", Decimal(50), ("usage",), term=BillingPeriod.QUARTER, true_up_at_term_end=True
    )
    off = Promotion("off", PromotionKind.AMOUNT_OFF, Decimal(1), bounds[0][0] + DAY, periods=2)
    plan = made.plan(commitments=(term,))
    periods = tuple(
        PeriodUsage(start, end, number, (made.part(start, end, plan, 10),))
        for number, (start, end) in enumerate(bounds)
    )
    usage = ContractUsage(
        "acme",
        "main",
        bounds[0][0],
        bounds[0][1],
        periods,
        promotions=(off,),
        calendar=calendar,
    )
    assert needs_calendar(periods, ())
    assert needs_calendar((), (off,))
    assert not needs_calendar((made.month(made.plan(), 0),), ())
    sums = [rated.statement.amount_by_id() for rated in rate_contract(usage)]
    assert [one["term"] for one in sums] == [0, 0, 22, 0, 0]
    assert [one.get("off", 0) for one in sums] == [-1, -1, 0, 0, 0]
    read = from_facts(ContractUsage, to_facts(usage), lambda _: plan)
    assert rate_contract(read) == rate_contract(usage)
