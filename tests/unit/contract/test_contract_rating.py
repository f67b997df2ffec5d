"""Contracts in time, worked out by hand: what the random contracts of the laws do not reach."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest

from rating_core.catalog import (
    BillingPeriod,
    Charge,
    ChargeModel,
    Commitment,
    CreditPlacement,
    Installment,
    Payment,
    Rollover,
    Rounding,
    TierWindow,
    Timing,
)
from rating_core.contract.rate import rate_contract
from rating_core.contract.smoothing import equal_parts
from rating_core.contract.usage import (
    Booked,
    Carry,
    PeriodUsage,
)
from rating_core.contract.values import Grant, GrantKind, Promotion, PromotionKind
from rating_core.errors import OutOfRange
from rating_core.pipeline import is_priced_by_rows, rate_statement, rate_statements
from rating_core.statement import LineKind, SliceKind

HOUR = 3_600_000_000
DAY = 24 * HOUR
MONTHS = [0, 31 * DAY, 59 * DAY, 90 * DAY, 120 * DAY]
"""First instants of January to May 1970."""

USAGE = Charge("usage", ChargeModel.PER_UNIT, meter="calls", unit_price=Decimal(1))
FEE = Charge("fee", ChargeModel.FLAT_FEE, amount=Decimal(31))


def _grant(grant_id: str, amount: int, **facts: object) -> Grant:
    return Grant(grant_id, Decimal(amount), GrantKind.BONUS, 0, **facts)


def test_a_commitment_that_the_next_plan_lacks_is_closed_there(made):
    """A plan change at a period's start closes a term in that period's statement (S5.3)."""
    quarterly = Commitment(
        "quarterly",
        Decimal(300),
        ("usage",),
        term=BillingPeriod.QUARTER,
        true_up_at_term_end=True,
    )
    prepaid = replace(quarterly, id="paid", amount=Decimal(90), payment=Payment.PREPAID)
    installments = (Installment(Decimal(30), period=0), Installment(Decimal(60), period=2))
    prepaid = replace(prepaid, schedule=installments)
    for commitment, january, february in ((quarterly, 50, 310), (prepaid, 30, 120)):
        plan = made.plan(commitments=(commitment,))
        first, second = made.sums(made.month(plan, 0, 50), made.month(made.plan(id="other"), 1, 60))
        assert sum(first.values()) == january
        # 60 of usage, and what January left of the fee
        assert sum(second.values()) == february


def test_what_is_left_over_and_unpaid_keeps_its_discount_only(made):
    """A rollover without true-up frees no usage: it goes on at the commitment's discount."""
    roll = Commitment("roll", Decimal(80), ("usage",), Decimal(20), rollover=Rollover(Decimal(1)))
    plan = made.plan(commitments=(roll,))
    first, second = made.sums(made.month(plan, 0, 60), made.month(plan, 1, 200))
    # 100 of list a month; January leaves 40, so that February has 140 at 20 % off
    assert first["roll"] == Decimal("-12.00")
    assert second["roll"] == Decimal("-28.00")


def test_credits_after_the_total_leave_it_and_lower_what_is_due(made):
    """With `after_total` credits are no lines of the total (S10.2)."""
    plan = made.plan(credits=CreditPlacement.AFTER_TOTAL)
    (rated,) = rate_contract(made.contract(made.month(plan, 0, 8), grants=(_grant("g", 5),)))
    statement = rated.statement
    assert (statement.total, statement.amount_due) == (800, 300)
    assert [line.id for line in statement.lines] == ["usage"]
    assert [line.amount for line in statement.credit_lines] == [-500]
    assert statement.credit_lines[0].slices[0].label == "0.00 left"


def test_a_general_grant_leaves_a_narrow_one_what_it_covers(made):
    """The general grant pays first, and the narrow one still finds its charge to pay for."""
    plan = made.plan(replace(USAGE, id="a"), replace(USAGE, id="b", unit_price=Decimal(2)))
    general = _grant("general", 8, priority=1)
    narrow = _grant("narrow", 9, covers=("a",))
    other = _grant("other", 9, covers=("a", "b"), priority=60)
    grants = (narrow, other, general)
    (rated,) = rate_contract(made.contract(made.month(plan, 0, 8), grants=grants))
    assert rated.booked.draws == (("general", 800), ("narrow", 800), ("other", 800))
    assert rated.statement.total == 0


def test_a_void_grant_pays_no_more_from_its_instant_on(made):
    """A void counts at the instant that is looked at, whatever period is priced (S10.1)."""
    grant = _grant("g", 5, void_time=MONTHS[1])
    period = made.month(made.plan(), 0, 8)
    totals = [
        rate_contract(made.contract(period, grants=(grant,), now=now))[0].statement.total
        for now in (MONTHS[1] - 1, MONTHS[1], 0)
    ]
    assert totals == [300, 800, 800]


def test_a_correction_statement_carries_late_usage_of_the_last_period(made):
    """After the last period there is only what it lacks; without anything there is none (S9.3)."""
    plan, lines = made.plan(), {"usage": 800}
    booked = Booked(lines, 800, (("g", 300),), Carry())
    period = made.month(plan, 0, 5, booked=booked, last=True)
    usage = made.contract(period, grants=(_grant("g", 3),), drawn={"g": 300}, correction=True)
    (rated,) = rate_contract(usage)
    assert rated.statement.amount_by_id() == {"late": Decimal("-3.00"), "g": Decimal("3.00")}
    assert rated.statement.period.correction
    assert rated.rebooked[0] == replace(
        booked, lines={"usage": 500}, total_before_credits=500, draws=()
    )
    assert rated.drawn == {"g": 0}
    late = rated.statement.lines[0].slices[0]
    assert (late.line_id, late.period_start, late.label) == (
        "usage",
        0,
        "usage: 8.00 booked, 5.00 now",
    )
    settled = replace(period, booked=rated.rebooked[0])
    assert rate_contract(replace(usage, periods=(settled,), drawn=rated.drawn)) == ()


def test_finalised_periods_come_first(made):
    """A contract without periods, or with an open one before a finalised one, is refused."""
    plan = made.plan()
    booked = Booked({}, 0, (), Carry())
    for periods in ((), (made.month(plan, 0), made.month(plan, 1, booked=booked))):
        with pytest.raises(ValueError, match="period"):
            rate_contract(made.contract(*periods))


def test_fees_fall_due_by_their_timing(made):
    """A fee in advance is due when its period, or its part, begins; all else when it ends."""
    late_fee = replace(FEE, id="tail", timing=Timing.IN_ARREARS)
    shared = replace(FEE, id="shared", prorate=True)
    plan = made.plan(FEE, late_fee, shared, USAGE)
    other = replace(plan, id="other")
    middle = 10 * DAY
    parts = (made.part(0, middle, plan, 1), made.part(middle, MONTHS[1], other, 2))
    (rated,) = rate_contract(made.contract(PeriodUsage(0, MONTHS[1], 0, parts)))
    due = [(line.id, line.part, line.due_time, line.amount) for line in rated.statement.lines]
    assert due == [
        ("fee", 0, 0, 3100),
        ("shared", 0, 0, 1000),
        ("usage", 0, MONTHS[1], 100),
        ("tail", 1, MONTHS[1], 3100),
        ("shared", 1, middle, 2100),
        ("usage", 1, MONTHS[1], 200),
    ]
    assert rated.statement.plan_id == "other"
    assert [part.plan_id for part in rated.statement.period.parts] == ["api", "other"]
    assert rated.statement.lines[1].slices[0].label == "10/31 of the period"


def test_promotions_of_a_window_take_from_the_period_alone(made):
    """Half off one month of a window of a year stays taken, and no other month gets it."""
    windowed = replace(USAGE, tier_window=TierWindow.YEAR, maximum_amount=Decimal(400))
    plan = made.plan(windowed)
    half = Promotion("half", PromotionKind.PERCENT_OFF, Decimal(50), 0, periods=1)
    periods, seen = [], 0
    for number, count in enumerate((100, 200, 300)):
        period = made.month(plan, number, count)
        (part,) = period.parts
        part = replace(part, window=made.calls(seen), window_start=0)
        periods.append(replace(period, parts=(part,)))
        seen += count
    sums = made.sums(*periods, promotions=(half,))
    # 100 - 50; 200; the window's 600 - 50 are cut to 400, of which 250 are booked
    assert [sum(statement.values()) for statement in sums] == [50, 200, 150]


def test_units_go_first_to_the_earliest_statements():
    """Equal parts differ by a unit at most, the larger ones first (S10.4)."""
    assert equal_parts(1_000, 3) == [334, 333, 333]
    assert equal_parts(2, 3) == [1, 1, 0]


def test_a_quote_of_what_rows_cannot_price_is_that_of_the_first_period(made):
    """Smoothing and prepayment need a contract; the quote is its first statement (S5.6, S10.4)."""
    smoothed = made.plan(replace(USAGE, smoothing_periods=4))
    prepaid = Commitment(
        "paid",
        Decimal(90),
        ("usage",),
        term=BillingPeriod.QUARTER,
        payment=Payment.PREPAID,
        true_up_at_term_end=True,
        schedule=(
            Installment(Decimal(50), at=MONTHS[1]),
            Installment(Decimal(40), at=MONTHS[2]),
        ),
    )
    for plan, total in ((smoothed, 25), (made.plan(commitments=(prepaid,)), 60)):
        assert not is_priced_by_rows(plan)
        statement = rate_statement(plan, made.calls(100))
        assert statement.total == total * 100
        assert statement.period is None
        assert rate_statements(plan, [made.calls(100)]) == [statement]


def test_what_does_not_fit_is_refused(made):
    """An amount, a sum of lines or a spread remainder beyond int64 is OUT_OF_RANGE (S1.2)."""
    huge = replace(FEE, amount=Decimal(10**15 - 1))
    for plan in (
        made.plan(huge, rounding=Rounding(scale=6)),
        made.plan(*(replace(huge, id=f"fee-{n}") for n in range(100)), rounding=Rounding(scale=2)),
    ):
        with pytest.raises(OutOfRange):
            rate_contract(made.contract(made.month(plan, 0)))


def test_every_kind_of_line_and_slice_of_a_contract_is_made(made):
    """One contract shows what the others show one by one: each step has its line and its why."""
    plan = made.plan(
        replace(USAGE, included_units=Decimal(10), smoothing_periods=2),
        commitments=(
            Commitment(
                "paid",
                Decimal(50),
                ("usage",),
                payment=Payment.PREPAID,
                true_up=True,
                rollover=Rollover(Decimal(1)),
            ),
        ),
    )
    half = Promotion("half", PromotionKind.ALLOWANCE_MULTIPLIER, Decimal(2), 0)
    off = Promotion("off", PromotionKind.AMOUNT_OFF, Decimal(5), 0)
    grants, promotions = (_grant("g", 100),), (half, off)
    usage = made.contract(
        made.month(plan, 0, 40), made.month(plan, 1, 100), grants=grants, promotions=promotions
    )
    kinds, slices = set(), {}
    for rated in rate_contract(usage):
        for line in rated.statement.lines:
            kinds.add(line.kind)
            slices.update({piece.kind: piece.label for piece in line.slices})
    assert kinds == {
        LineKind.MODEL,
        LineKind.PROMOTION,
        LineKind.SMOOTHING,
        LineKind.COMMITMENT,
        LineKind.PREPAYMENT,
        LineKind.CREDIT,
    }
    assert slices[SliceKind.INCLUDED] == "10 × 2"
    assert slices[SliceKind.ADJUSTMENT] == "5 off usage"
    assert slices[SliceKind.ROLLED_OVER] == "left over by an earlier term"
    assert {SliceKind.PUT_OFF, SliceKind.FALLS_DUE, SliceKind.PREPAID} <= set(slices)
