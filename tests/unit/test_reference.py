"""The reference: its functions read as the rules, its limits where the rules put them."""

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
    CountedAt,
    Meter,
    Plan,
    Rounding,
    Tier,
    Usage,
    UsageEntry,
)
from rating_core.errors import OutOfRange
from rating_core.pipeline import rate_statement
from rating_core.reference import (
    commitment_amount,
    covered_at_most,
    graduated_amount,
    package_amount,
    percentage_amount,
    reference_statement,
    stairstep_amount,
    volume_amount,
)
from rating_core.statement import LineKind, Statement
from rating_core.units import INT64_MAX, RoundingMode, RoundingStage
from rating_core.usage import counters_from_usage

TIERS = (
    Tier(Decimal(10), unit_price=Decimal(1), flat_fee=Decimal(2)),
    Tier(unit_price=Decimal("0.5"), flat_fee=Decimal(3)),
)
UNITS = Meter("units", Aggregation.SUM)
PER_UNIT = Charge("usage", ChargeModel.PER_UNIT, meter="units", unit_price=Decimal(1))


def plan(*charges: Charge, stage: RoundingStage = RoundingStage.LINE, scale: int = 2) -> Plan:
    """Return a plan of charges on one meter of whole units."""
    rounding = Rounding(RoundingMode.HALF_UP, scale, stage)
    return Plan("plan", "USD", BillingPeriod.MONTH, charges, rounding, (UNITS,))


def units(*quantities: int) -> Usage:
    """Return usage of one record each."""
    return {"units": tuple(UsageEntry(Decimal(quantity)) for quantity in quantities)}


def by_kernel(priced: Plan, usage: Usage) -> Statement:
    """Return the statement of the pipeline, which must have the same limits."""
    return rate_statement(priced, counters_from_usage(priced, usage))


@pytest.mark.parametrize(
    ("quantity", "graduated", "volume", "stairstep"),
    [("0", "0", "0", "0"), ("10", "12", "12", "2"), ("10.5", "15.25", "8.25", "3")],
)
def test_tiered_amounts(quantity: str, graduated: str, volume: str, stairstep: str) -> None:
    """The same tiers priced by unit, at the tier reached, and by step (S3)."""
    charge = Charge("usage", ChargeModel.GRADUATED, tiers=TIERS)
    assert graduated_amount(charge, Fraction(quantity)) == Fraction(graduated)
    assert volume_amount(charge, Fraction(quantity)) == Fraction(volume)
    assert stairstep_amount(charge, Fraction(quantity)) == Fraction(stairstep)


def test_package_starts_whole_packages() -> None:
    """A started package is paid whole, whatever its size (S3)."""
    charge = Charge(
        "usage", ChargeModel.PACKAGE, package_size=Decimal("0.3"), package_price=Decimal(2)
    )
    assert [package_amount(charge, Fraction(tenths, 10)) for tenths in (0, 1, 3, 4)] == [0, 2, 2, 4]


def test_percentage_clamps_each_event() -> None:
    """Clamps apply to events, not to their sum (S3.4)."""
    charge = Charge("fee", ChargeModel.PERCENTAGE, percent=Decimal(10), max_per_event=Decimal(1))
    assert percentage_amount(charge, [Decimal(5), Decimal(500)]) == Fraction("1.5")


def test_commitment_cost_is_continuous_where_it_is_used_up() -> None:
    """A(L) at the limit is the fee, from below and from above (S5.1, S5.2)."""
    for counted_at, limit, fee in ((CountedAt.DISCOUNTED, 125, 100), (CountedAt.LIST, 100, 80)):
        commitment = Commitment("annual", Decimal(100), (), Decimal(20), counted_at)
        assert covered_at_most(commitment) == limit
        assert commitment_amount(commitment, Fraction(limit), Fraction(2)) == fee
        assert commitment_amount(commitment, Fraction(limit) + 1, Fraction(2)) == fee + 2
        assert commitment_amount(commitment, Fraction(limit) / 2, Fraction(2)) == Fraction(fee, 2)
        trued_up = replace(commitment, true_up=True)
        assert commitment_amount(trued_up, Fraction(0), Fraction(2)) == fee


def test_lines_of_adjustments_that_change_nothing_are_left_out() -> None:
    """Model and commitment lines always stand; others only where they are not 0 (S4.2)."""
    charge = replace(PER_UNIT, maximum_amount=Decimal(5), minimum_amount=Decimal(0))
    priced = replace(plan(charge), commitments=(Commitment("c", Decimal(0), ("usage",)),))
    kinds = [line.kind for line in reference_statement(priced, {}).lines]
    assert kinds == [LineKind.MODEL, LineKind.COMMITMENT]
    kinds = [line.kind for line in reference_statement(priced, units(6)).lines]
    assert kinds == [LineKind.MODEL, LineKind.MAXIMUM, LineKind.COMMITMENT]


OUT_OF_RANGE = {
    "model-line-hidden-by-a-maximum": plan(
        replace(PER_UNIT, unit_price=Decimal(100), maximum_amount=Decimal(1)), scale=12
    ),
    "discount-that-is-too-late": plan(replace(PER_UNIT, discount_percent=Decimal(99))),
    "running-total": plan(
        replace(PER_UNIT, unit_price=Decimal("0.006")),
        replace(PER_UNIT, id="again", unit_price=Decimal("0.006")),
    ),
    "running-total-under-a-plan-maximum": replace(
        plan(
            replace(PER_UNIT, unit_price=Decimal("0.006")),
            replace(PER_UNIT, id="again", unit_price=Decimal("0.006")),
        ),
        maximum_amount=Decimal(1),
    ),
    "running-total-by-little-under-a-plan-maximum": replace(
        plan(
            replace(PER_UNIT, unit_price=Decimal("0.01")),
            Charge("fee", ChargeModel.FLAT_FEE, amount=Decimal("0.05")),
        ),
        maximum_amount=Decimal(1),
    ),
    "minimum-at-a-fine-scale": plan(replace(PER_UNIT, minimum_amount=Decimal(10**8)), scale=12),
    "commitment-sees-too-much": replace(
        plan(
            replace(PER_UNIT, unit_price=Decimal("0.006")),
            replace(PER_UNIT, id="again", unit_price=Decimal("0.006")),
        ),
        commitments=(Commitment("c", Decimal(10) ** 14 * 9, ("usage", "again"), Decimal(99)),),
    ),
    "commitment-overage": replace(
        plan(replace(PER_UNIT, unit_price=Decimal("0.001"))),
        commitments=(Commitment("c", Decimal(1), ("usage",), overage_factor=Decimal(50)),),
    ),
}


@pytest.mark.parametrize("stage", list(RoundingStage))
@pytest.mark.parametrize("name", list(OUT_OF_RANGE))
def test_amounts_that_do_not_fit_are_refused(name: str, stage: RoundingStage) -> None:
    """An amount that does not fit at any step is OUT_OF_RANGE for both computations (S1.2)."""
    priced = OUT_OF_RANGE[name]
    priced = replace(priced, rounding=replace(priced.rounding, stage=stage))
    usage = units(INT64_MAX)
    with pytest.raises(OutOfRange):
        reference_statement(priced, usage)
    with pytest.raises(OutOfRange):
        by_kernel(priced, usage)


@pytest.mark.parametrize("stage", list(RoundingStage))
def test_the_greatest_amount_fits(stage: RoundingStage) -> None:
    """int64 itself is the last amount that fits; one more unit does not (S1.2)."""
    fee = Charge("fee", ChargeModel.FLAT_FEE, amount=Decimal("0.01"))
    most = replace(PER_UNIT, unit_price=Decimal("0.01"))
    usage = units(INT64_MAX)
    assert reference_statement(plan(most, stage=stage), usage).total == INT64_MAX
    assert by_kernel(plan(most, stage=stage), usage).total == INT64_MAX
    with pytest.raises(OutOfRange):
        reference_statement(plan(most, fee, stage=stage), usage)
    with pytest.raises(OutOfRange):
        by_kernel(plan(most, fee, stage=stage), usage)


def test_exact_amounts_are_cut_before_they_are_tested() -> None:
    """Between steps, stage `statement` tests amounts cut, stage `line` as it rounds them (S1.2)."""
    fee = Charge(
        "fee",
        ChargeModel.FLAT_FEE,
        amount=Decimal("922337203685477.58074"),
        discount_percent=Decimal(20),
    )
    by_statement = replace(
        plan(fee), rounding=Rounding(RoundingMode.UP, 4, RoundingStage.STATEMENT)
    )
    assert reference_statement(by_statement, {}).total == 7378697629483820646
    assert by_kernel(by_statement, {}).total == 7378697629483820646
    by_line = replace(plan(fee), rounding=Rounding(RoundingMode.UP, 4, RoundingStage.LINE))
    with pytest.raises(OutOfRange):
        reference_statement(by_line, {})
    with pytest.raises(OutOfRange):
        by_kernel(by_line, {})


def test_total_that_is_rounded_out_of_range() -> None:
    """At stage `statement` all lines and the cut sum may fit, and the rounded total not (S1.2)."""
    charges = [
        Charge(name, ChargeModel.FLAT_FEE, amount=Decimal(amount))
        for name, amount in (("most", "922337203685477.57973"), ("rest", "0.00103"))
    ]
    priced = plan(*charges, stage=RoundingStage.STATEMENT, scale=4)
    down = replace(priced, rounding=replace(priced.rounding, mode=RoundingMode.DOWN))
    assert reference_statement(down, {}).total == by_kernel(down, {}).total == INT64_MAX
    with pytest.raises(OutOfRange):
        reference_statement(priced, {})
    with pytest.raises(OutOfRange):
        by_kernel(priced, {})


def test_counters_that_do_not_fit_are_refused() -> None:
    """A series, or a charge's sum over its series, that does not fit is refused (S1.2)."""
    model = Meter("units", Aggregation.SUM, dimensions=("model",))
    priced = replace(plan(replace(PER_UNIT, unit_price=Decimal(0))), meters=(model,))
    most = Decimal(INT64_MAX)
    one = UsageEntry(most, (("model", "one"),))
    other = UsageEntry(most, (("model", "other"),))
    assert reference_statement(priced, {"units": (one,)}).total == 0
    for entries in ((one, one), (one, other)):
        with pytest.raises(OutOfRange):
            reference_statement(priced, {"units": entries})
        with pytest.raises(OutOfRange):
            by_kernel(priced, {"units": entries})
    elsewhere = replace(priced.charges[0], where=(("model", ("third",)),))
    with pytest.raises(OutOfRange):
        reference_statement(replace(priced, charges=(elsewhere,)), {"units": (one, one)})
    with pytest.raises(OutOfRange):
        by_kernel(replace(priced, charges=(elsewhere,)), {"units": (one, one)})
    apart = tuple(
        replace(charge, where=(("model", (name,)),))
        for charge, name in (
            (priced.charges[0], "one"),
            (replace(priced.charges[0], id="rest"), "other"),
        )
    )
    assert reference_statement(replace(priced, charges=apart), {"units": (one, other)}).total == 0


def test_meters_without_a_charge_are_named() -> None:
    """A meter with usage that no charge prices is named on the statement (S7.3)."""
    calls = Meter("calls", Aggregation.COUNT)
    priced = replace(plan(PER_UNIT), meters=(UNITS, calls))
    usage = units(1) | {"calls": (UsageEntry(Decimal(3)),)}
    assert reference_statement(priced, usage).unpriced_meters == ("calls",)
    assert reference_statement(priced, {"calls": ()}).unpriced_meters == ()
