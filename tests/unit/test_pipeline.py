"""Rows and statements: order of steps, ranges, stages, and what callers may pass in."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from fractions import Fraction

import pytest

from rating_core.catalog import (
    Aggregation,
    BillingPeriod,
    Charge,
    ChargeModel,
    Commitment,
    CommitmentOrder,
    Meter,
    Plan,
    Rounding,
    Tier,
    UsageEntry,
)
from rating_core.compile import compile_plans
from rating_core.counter import BandCount, SeriesCounter
from rating_core.errors import OutOfRange
from rating_core.pipeline import charge_inputs, rate_statement, rate_statements
from rating_core.reference import reference_statement
from rating_core.statement import LineKind
from rating_core.units import INT64_MAX, INT64_MIN, RoundingMode, RoundingStage

METERS = (
    Meter("tokens", Aggregation.SUM, dimensions=("model",)),
    Meter("payments", Aggregation.SUM, scale=2),
    Meter("calls", Aggregation.COUNT),
)
BY_STATEMENT = Rounding(stage=RoundingStage.STATEMENT)


def _plan(*charges: Charge, **keys) -> Plan:
    return Plan("plan", "USD", BillingPeriod.MONTH, charges, meters=METERS, **keys)


def _per_unit(charge_id: str, price: str, **keys) -> Charge:
    keys.setdefault("meter", "tokens")
    return Charge(charge_id, ChargeModel.PER_UNIT, unit_price=Decimal(price), **keys)


def _fee(charge_id: str, amount: str, **keys) -> Charge:
    return Charge(charge_id, ChargeModel.FLAT_FEE, amount=Decimal(amount), **keys)


def _tokens(value: int, events: int = 1) -> list[SeriesCounter]:
    return [SeriesCounter("tokens", None, value, events)]


def _lines(plan: Plan, counters) -> dict[tuple[str, LineKind], int]:
    return {(line.id, line.kind): line.amount for line in rate_statement(plan, counters).lines}


def _amounts(plan: Plan, value: int) -> dict[str, Decimal]:
    return rate_statement(plan, _tokens(value)).amount_by_id()


def test_published_example():
    """The example of S2: fee, tiered usage above the included units, a commitment's discount."""
    tiers = (
        Tier(Decimal(10_000_000), Decimal("0.0000025")),
        Tier(None, Decimal("0.000002"), flat_fee=Decimal(5)),
    )
    usage = Charge(
        "input",
        ChargeModel.GRADUATED,
        meter="tokens",
        included_units=Decimal(1_000_000),
        tiers=tiers,
        minimum_amount=Decimal(0),
        maximum_amount=Decimal(10_000),
    )
    commitment = Commitment("annual", Decimal(50_000), ("input",), Decimal(20))
    statement = rate_statement(
        _plan(_fee("platform", "49.00"), usage, commitments=(commitment,)), _tokens(1_500_000)
    )
    assert statement.amount(statement.total) == Decimal("50.00")
    assert statement.amount_by_id() == {
        "platform": Decimal("49.00"),
        "input": Decimal("1.25"),
        "annual": Decimal("-0.25"),
    }


def test_order_of_a_charges_steps():
    """Discount before maximum before minimum; each line is the difference of rounded amounts."""
    charge = _per_unit(
        "c",
        "0.015",
        discount_percent=Decimal(50),
        maximum_amount=Decimal("1.005"),
        minimum_amount=Decimal("0.5"),
    )
    plan = _plan(charge)
    assert _lines(plan, _tokens(1)) == {
        ("c", LineKind.MODEL): 2,
        ("c", LineKind.DISCOUNT): -1,
        ("c", LineKind.MINIMUM): 49,
    }
    assert _lines(plan, _tokens(1_000)) == {
        ("c", LineKind.MODEL): 1500,
        ("c", LineKind.DISCOUNT): -750,
        ("c", LineKind.MAXIMUM): -649,
    }
    assert _lines(plan, _tokens(0)) == {("c", LineKind.MODEL): 0, ("c", LineKind.MINIMUM): 50}


def test_plan_bounds_see_everything():
    """The plan's maximum, then its minimum, act on all lines before them, flat fees included."""
    plan = _plan(
        _fee("fee", "10"),
        _per_unit("c", "1"),
        maximum_amount=Decimal("20.005"),
        minimum_amount=Decimal(15),
    )
    assert _lines(plan, _tokens(90))[("plan-maximum", LineKind.PLAN_MAXIMUM)] == 2001 - 10_000
    assert _lines(plan, _tokens(1))[("plan-minimum", LineKind.PLAN_MINIMUM)] == 400
    assert rate_statement(plan, _tokens(7)).total == 1700
    assert len(rate_statement(plan, _tokens(7)).lines) == 2


@pytest.mark.parametrize(
    ("mode", "lines"),
    [
        (RoundingMode.HALF_UP, (-3, 2)),
        (RoundingMode.HALF_EVEN, (-2, 2)),
        (RoundingMode.UP, (-3, 2)),
        (RoundingMode.DOWN, (-2, 1)),
    ],
)
def test_modes_are_symmetric_in_sign(mode, lines):
    """−2.5 and 1.5 units round away, to even, or towards zero as their mode says (S1.3)."""
    plan = _plan(
        _fee("five", "5"),
        _per_unit("usage", "1.5"),
        rounding=Rounding(mode, 0),
        commitments=(Commitment("saving", Decimal(1000), ("five",), Decimal(50)),),
    )
    amounts = _lines(plan, _tokens(1))
    assert amounts[("saving", LineKind.COMMITMENT)] == lines[0]
    assert amounts[("usage", LineKind.MODEL)] == lines[1]


def test_commitment_used_up_true_up_and_overage():
    """Covered usage at its discount, the fee once it is used up, overage at its factor (S5.2)."""
    commitment = Commitment(
        "c", Decimal(80), ("usage",), Decimal(20), overage_factor=Decimal("1.5")
    )
    plan = _plan(_per_unit("usage", "1"), commitments=(commitment,))
    assert _amounts(plan, 50)["c"] == Decimal("-10.00")
    assert _amounts(plan, 100)["c"] == Decimal("-20.00")
    assert _amounts(plan, 110)["c"] == Decimal("-15.00")
    due = replace(plan, commitments=(replace(commitment, true_up=True),))
    assert _amounts(due, 50)["c"] == Decimal("30.00")
    assert _amounts(due, 110)["c"] == Decimal("-15.00")


def test_several_commitments_share_the_usage():
    """Each sees what earlier ones left; cover is attributed to the first charge first (S5.4)."""
    commitments = (
        Commitment("a", Decimal(90), ("x", "y"), Decimal(10), overage_factor=Decimal(9)),
        Commitment("b", Decimal(40), ("x",), Decimal(20), overage_factor=Decimal(2)),
    )
    plan = _plan(_per_unit("x", "1"), _per_unit("y", "1"), commitments=commitments)
    # a covers 100 of 120: 60 of x and 40 of y; nothing of x is left for b
    assert _amounts(plan, 60) == {
        "x": Decimal("60.00"),
        "y": Decimal("60.00"),
        "a": Decimal("-10.00"),
        "b": Decimal("0.00"),
    }
    best = replace(plan, commitment_order=CommitmentOrder.BEST_SAVING_FIRST)
    # b covers 50 of x; a covers the other 10 of x and 60 of y, and is not used up
    assert _amounts(best, 60)["b"] == Decimal("-10.00")
    assert _amounts(best, 60)["a"] == Decimal("-7.00")
    # a applies last: 200 − 50 left for it, 100 covered, 50 at nine times the price
    assert _amounts(best, 100)["a"] == Decimal("390.00")


def test_overage_factor_with_twelve_decimals():
    """A factor with the finest denominator is applied exactly before the line is rounded."""
    commitment = Commitment("c", Decimal(0), ("usage",), overage_factor=Decimal("1.000000000001"))
    plan = _plan(_per_unit("usage", "1"), commitments=(commitment,), rounding=Rounding(scale=12))
    assert _amounts(plan, 7)["c"] == Decimal("0.000000000007")


def test_statement_stage_distributes_missing_units():
    """Lines are cut, and missing units go to the largest remainders, ties in line order (S1.4)."""
    plan = _plan(_fee("a", "0.004"), _fee("b", "0.006"), _fee("c", "0.006"), rounding=BY_STATEMENT)
    statement = rate_statement(plan, [])
    assert [line.amount for line in statement.lines] == [0, 1, 1]
    tied = _plan(*(_fee(name, "0.005") for name in "abc"), rounding=BY_STATEMENT)
    assert [line.amount for line in rate_statement(tied, []).lines] == [1, 1, 0]


def test_statement_stage_with_negative_lines():
    """Negative lines are cut towards −∞ too, so that the lines still add up to the total (S1.4)."""
    plan = _plan(
        _per_unit("x", "0.013", discount_percent=Decimal(30)),
        rounding=BY_STATEMENT,
        commitments=(Commitment("c", Decimal(100), ("x",), Decimal(10)),),
    )
    # 0.013 − 0.0039 − 0.00091 = 0.00819; cut 1, −1, −1; the total, 1, lacks 2 units
    lines = _lines(plan, _tokens(1))
    assert lines == {
        ("x", LineKind.MODEL): 1,
        ("c", LineKind.COMMITMENT): 0,
    }
    assert rate_statement(plan, _tokens(1)).total == 1


def test_inputs_add_the_series_that_match():
    """A charge's quantity is the sum over matching series; a series without dimensions matches."""
    large = _per_unit("large", "1", where=(("model", ("large", "xl")),))
    none = _per_unit("none", "1", where=(("model", ("",)),))
    counters = [
        SeriesCounter("tokens", (("model", "large"),), 5, 1),
        SeriesCounter("tokens", (("model", "xl"),), 7, 1),
        SeriesCounter("tokens", (("model", "small"),), 100, 1),
        SeriesCounter("tokens", (), 1000, 1),
        SeriesCounter("tokens", None, 20_000, 1),
        SeriesCounter("calls", None, 9, 9),
    ]
    plan = _plan(_fee("fee", "1"), large, none, _per_unit("all", "1"))
    assert charge_inputs(plan, counters).tolist() == [20_012, 21_000, 21_112]
    assert charge_inputs(plan, []).tolist() == [0, 0, 0]


def test_inputs_of_percentage_charges():
    """Without clamps events and sum; with clamps the events between, their sum, and the bands'."""
    plain = Charge("plain", ChargeModel.PERCENTAGE, meter="payments", percent=Decimal(1))
    clamped = replace(plain, id="clamped", max_per_event=Decimal(2))
    counters = [
        SeriesCounter("payments", None, 900, 9, {"clamped": BandCount(2, 3, 400)}),
        SeriesCounter("payments", None, 100, 1),
    ]
    plan = _plan(plain, clamped)
    assert charge_inputs(plan, counters).tolist() == [10, 1000, 0, 0, 5, 400, 2, 3]


def test_inputs_beyond_int64_are_refused():
    """A sum over series that does not fit int64 is OutOfRange, never wrapped (S1.2)."""
    plan = _plan(_per_unit("x", "1"))
    counters = [SeriesCounter("tokens", None, INT64_MAX, 1), SeriesCounter("tokens", None, 1, 1)]
    with pytest.raises(OutOfRange, match="the usage of charge x does not fit 64 bits"):
        charge_inputs(plan, counters)


def test_usage_below_int64_prices_as_zero():
    """A negative quantity prices as 0, however many series make it, in the reference too (S3.2)."""
    plan = _plan(_per_unit("units", "1", minimum_amount=Decimal(3)), _fee("base", "5"))
    low = SeriesCounter("tokens", (("model", "a"),), INT64_MIN, 1)
    counters = [low, replace(low, dimensions=(("model", "b"),))]
    assert rate_statement(plan, counters).total == 800
    weighted = replace(plan.meters[0], id="disk", aggregation=Aggregation.WEIGHTED_SUM)
    wide = replace(
        plan,
        meters=(*METERS, weighted),
        charges=(_per_unit("space", "1", meter="disk"), _fee("base", "5")),
    )
    for level, total in ((Fraction(-(1 << 90), 3), 500), (Fraction(7, 2), 900)):
        assert rate_statement(wide, [replace(low, meter="disk", exact=level)]).total == total
    with pytest.raises(OutOfRange, match="charge space"):
        rate_statement(wide, [replace(low, meter="disk", exact=Fraction(1 << 90))])
    entries = [UsageEntry(Decimal(INT64_MIN), (("model", name),)) for name in "ab"]
    assert reference_statement(plan, {"tokens": entries}).total == 800


def test_unpriced_meters_are_named():
    """Meters with events that no charge uses are named, sorted; without events they are not."""
    plan = _plan(_per_unit("x", "1"))
    counters = [
        SeriesCounter("payments", None, 5, 1),
        SeriesCounter("calls", None, 1, 1),
        SeriesCounter("tokens", None, 1, 1),
        SeriesCounter("unused", None, 0, 0),
    ]
    assert rate_statement(plan, counters).unpriced_meters == ("calls", "payments")


def test_statements_of_many_equal_statements_of_one():
    """Pricing many customers in one call, or with compiled plans at hand, changes nothing."""
    plan = _plan(_per_unit("x", "0.015"), _fee("fee", "1"))
    many = [_tokens(value) for value in (0, 1, 99, 12345)]
    compiled = compile_plans([_plan(_fee("other", "2"), _per_unit("y", "1")), plan])
    assert rate_statements(plan, many) == [rate_statement(plan, one) for one in many]
    assert rate_statements(plan, many) == [rate_statement(plan, one, compiled) for one in many]
    with pytest.raises(ValueError, match="not in tuple"):
        rate_statement(replace(plan, id="unknown"), [], compiled)


def test_negative_usage_prices_as_nothing():
    """A negative quantity or sum costs 0; a fixed fee per event is still due (S3.2)."""
    models = [
        _per_unit("per-unit", "1"),
        Charge("package", ChargeModel.PACKAGE, meter="tokens", package_price=Decimal(3)),
        *(
            Charge(model.value, model, meter="tokens", tiers=(Tier(None, Decimal(1), Decimal(1)),))
            for model in (
                ChargeModel.GRADUATED,
                ChargeModel.VOLUME,
                ChargeModel.STAIRSTEP,
                ChargeModel.GRADUATED_PERCENTAGE,
            )
        ),
        Charge(
            "percentage",
            ChargeModel.PERCENTAGE,
            meter="tokens",
            percent=Decimal(1),
            fixed_fee_per_event=Decimal("0.30"),
        ),
    ]
    for value in (-1, INT64_MIN):
        amounts = rate_statement(_plan(*models), _tokens(value, events=2)).amount_by_id()
        assert amounts.pop("percentage") == Decimal("0.60")
        assert not any(amounts.values())
