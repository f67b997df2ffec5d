"""Slices: what a line is made of, and that slices always add up to it (S4.3)."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

import pytest

from rating_core.catalog import (
    Aggregation,
    BillingPeriod,
    Charge,
    ChargeModel,
    Commitment,
    Meter,
    Plan,
    Rounding,
    Tier,
)
from rating_core.compile import compile_plans
from rating_core.counter import BandCount, SeriesCounter
from rating_core.explain import CUT_SCALE, SliceMismatchError, exact_decimal, explain_lines
from rating_core.pipeline import rate_statement
from rating_core.statement import Line, Slice, SliceKind
from rating_core.units import RoundingMode, RoundingStage

METER = Meter("units", Aggregation.SUM, scale=1)
TIERS = (
    Tier(Decimal(10), Decimal(2), Decimal(1), Decimal(5)),
    Tier(None, Decimal(1), Decimal("0.5"), Decimal(7)),
)


def _explained(charges, value: int, **keys) -> list[Line]:
    """Return the lines for ``value`` tenths of a unit, after checking that slices add up."""
    events = keys.pop("events", 1)
    bands = keys.pop("bands", {})
    plan = Plan("plan", "USD", BillingPeriod.MONTH, charges, meters=(METER,), **keys)
    counters = [SeriesCounter("units", None, value, events, bands)]
    statement = rate_statement(plan, counters)
    for line in statement.lines:
        total = sum(Fraction(piece.amount) for piece in line.slices)
        assert total == Fraction(statement.amount(line.amount))
    return list(statement.lines)


def _charge(model: ChargeModel, **keys) -> Charge:
    return Charge("c", model, meter="units", **keys)


def _slices(charge: Charge, value: int, **keys) -> tuple[Slice, ...]:
    return _explained((charge,), value, **keys)[0].slices


def test_slices_of_a_flat_fee():
    """A flat fee is one slice, its amount."""
    fee = Charge("c", ChargeModel.FLAT_FEE, amount=Decimal(49))
    assert _slices(fee, 0) == (Slice(SliceKind.FEE, Decimal(49)),)


def test_slices_of_units_above_the_included_ones():
    """Included units are a slice of amount 0, the others quantity × price; no usage, no slice."""
    charge = _charge(
        ChargeModel.PER_UNIT, unit_price=Decimal("0.5"), included_units=Decimal("2.25")
    )
    included = Slice(SliceKind.INCLUDED, Decimal(0), quantity=Decimal("2.25"))
    units = Slice(
        SliceKind.UNITS, Decimal("0.375"), quantity=Decimal("0.75"), unit_price=Decimal("0.5")
    )
    assert _slices(charge, 30)[:2] == (included, units)
    assert _slices(charge, 20) == (Slice(SliceKind.INCLUDED, Decimal(0), quantity=Decimal(2)),)
    assert _slices(charge, 0) == ()


def test_slices_of_tiers():
    """Graduated: each entered tier; volume and stairstep: the tier reached; each with its price."""
    first, second = TIERS
    assert _slices(_charge(ChargeModel.GRADUATED, tiers=TIERS), 125) == (
        Slice(SliceKind.TIER, Decimal(25), 0, Decimal(10), first.unit_price, None, Decimal(5)),
        Slice(
            SliceKind.TIER, Decimal("9.5"), 1, Decimal("2.5"), second.unit_price, None, Decimal(7)
        ),
    )
    assert _slices(_charge(ChargeModel.VOLUME, tiers=TIERS), 125) == (
        Slice(
            SliceKind.TIER, Decimal("19.5"), 1, Decimal("12.5"), second.unit_price, None, Decimal(7)
        ),
    )
    assert _slices(_charge(ChargeModel.STAIRSTEP, tiers=TIERS), 100) == (
        Slice(SliceKind.TIER, Decimal(5), 0, Decimal(10), flat_fee=Decimal(5)),
    )
    assert _slices(_charge(ChargeModel.GRADUATED_PERCENTAGE, tiers=TIERS), 100) == (
        Slice(SliceKind.TIER, Decimal("5.1"), 0, Decimal(10), percent=Decimal(1), flat_fee=5),
    )


def test_slice_of_the_flat_fee_at_zero_usage():
    """With the key set, no usage bills the first tier's flat fee, shown as that tier (S3.2)."""
    for model in (ChargeModel.GRADUATED, ChargeModel.VOLUME, ChargeModel.STAIRSTEP):
        (piece,) = _slices(_charge(model, tiers=TIERS, flat_fee_at_zero_usage=True), 0)
        assert (piece.tier, piece.quantity, piece.amount) == (0, 0, 5)
        assert _slices(_charge(model, tiers=TIERS), 0) == ()


def test_slices_of_packages():
    """Started packages × price."""
    charge = _charge(
        ChargeModel.PACKAGE, package_size=Decimal("2.5"), package_price=Decimal("1.10")
    )
    assert _slices(charge, 51) == (
        Slice(SliceKind.PACKAGE, Decimal("3.30"), None, Decimal(3), Decimal("1.10")),
    )


def test_slices_of_events():
    """The percent of the sum, the fixed fee, and the events at the minimum and the maximum."""
    charge = _charge(
        ChargeModel.PERCENTAGE,
        percent=Decimal(10),
        fixed_fee_per_event=Decimal("0.30"),
        min_per_event=Decimal("0.50"),
        max_per_event=Decimal(2),
    )
    bands = {"c": BandCount(floor_events=2, ceiling_events=1, between_sum=100)}
    slices = _slices(charge, 1000, events=6, bands=bands)
    assert [(piece.label, piece.quantity, piece.amount) for piece in slices] == [
        ("percent", 10, 1),
        ("fixed fee", 3, Decimal("0.90")),
        ("at minimum", 2, 1),
        ("at maximum", 1, 2),
    ]


def test_slices_of_adjustments():
    """Discount, maximum and minimum show what they take or add, and their bound or percent."""
    charge = _charge(
        ChargeModel.PER_UNIT,
        unit_price=Decimal(1),
        discount_percent=Decimal("12.5"),
        maximum_amount=Decimal(5),
        minimum_amount=Decimal(1),
    )
    lines = _explained((charge,), 100, maximum_amount=Decimal(3), minimum_amount=Decimal(2))
    shown = [(line.kind, line.slices[0].amount, line.slices[0].label) for line in lines[1:]]
    assert shown == [
        ("discount", Decimal("-1.25"), "discount"),
        ("maximum", Decimal("-3.75"), "maximum 5"),
        ("plan_maximum", Decimal(-2), "maximum 3"),
    ]
    lines = _explained((charge,), 0, minimum_amount=Decimal(2))
    assert [line.slices[0].label for line in lines[1:]] == ["minimum 1", "minimum 2"]


def test_slices_of_commitments():
    """Covered list usage at its discount, what the true-up adds, the overage at its factor."""
    usage = _charge(ChargeModel.PER_UNIT, unit_price=Decimal(1))
    commitment = Commitment(
        "year", Decimal(8), ("c",), Decimal(20), overage_factor=Decimal(2), true_up=True
    )
    below = _explained((usage,), 50, commitments=(commitment,))[1].slices
    assert [(piece.kind, piece.quantity, piece.amount) for piece in below] == [
        (SliceKind.COMMITTED, 5, -1),
        (SliceKind.TRUE_UP, None, 4),
    ]
    above = _explained((usage,), 150, commitments=(commitment,))[1].slices
    assert [(piece.kind, piece.quantity, piece.amount) for piece in above] == [
        (SliceKind.COMMITTED, 10, -2),
        (SliceKind.OVERAGE, 5, 5),
    ]


def test_the_residue_of_rounding_is_a_slice():
    """What rounding adds is one slice of its own; without any there is none (S4.3)."""
    charge = _charge(ChargeModel.PER_UNIT, unit_price=Decimal("0.0625"))
    (units, residue) = _slices(charge, 10)
    assert (units.amount, residue.kind) == (Decimal("0.0625"), SliceKind.ROUNDING)
    assert residue.amount == Decimal("-0.0025")
    assert len(_slices(charge, 80)) == 1


def test_numbers_without_a_finite_expansion():
    """A commitment of 100 at 15 % covers 117.647…; its slices are cut, and still add up."""
    usage = _charge(ChargeModel.PER_UNIT, unit_price=Decimal(1))
    commitment = Commitment("year", Decimal(100), ("c",), Decimal(15))
    for stage in RoundingStage:
        rounding = Rounding(RoundingMode.HALF_UP, 2, stage)
        line = _explained((usage,), 2000, commitments=(commitment,), rounding=rounding)[1]
        assert line.amount == -1765
        assert line.slices[0].quantity == exact_decimal(Fraction(100) / Fraction(85, 100))
        assert line.slices[-1].kind is SliceKind.ROUNDING


def test_residue_of_two_roundings_in_one_line():
    """With half_even 4.5 → 1.5 is booked as 4 → 2: a residue of a whole unit is no error."""
    charge = _charge(ChargeModel.PER_UNIT, unit_price=Decimal("4.5"), maximum_amount=Decimal("1.5"))
    lines = _explained((charge,), 10, rounding=Rounding(RoundingMode.HALF_EVEN, 0))
    assert [line.amount for line in lines] == [4, -2]
    assert [piece.amount for piece in lines[1].slices] == [-3, 1]


def test_an_amount_that_cannot_be_explained():
    """A booked amount beyond rounding is an error of ours, not a residue."""
    plan = Plan(
        "plan",
        "USD",
        BillingPeriod.MONTH,
        (_charge(ChargeModel.PER_UNIT, unit_price=Decimal(1)),),
        meters=(METER,),
    )
    slots = compile_plans([plan]).layouts[0]
    assert explain_lines(plan, [10], slots, [101])[0].slices[-1].amount == Decimal("0.01")
    with pytest.raises(SliceMismatchError, match=r"line c \(model\): 102 units booked"):
        explain_lines(plan, [10], slots, [102])


def test_exact_decimals():
    """Finite expansions are exact at any length, others cut towards zero."""
    assert exact_decimal(Fraction(1, 8)) == Decimal("0.125")
    assert exact_decimal(Fraction(-7, 2**40 * 5**3)) * 2**40 * 125 == -7
    assert exact_decimal(Fraction(10**40)) == 10**40
    assert exact_decimal(Fraction(-1, 3)) == Decimal("-0." + "3" * CUT_SCALE)
    assert exact_decimal(Fraction(0)) == 0
