"""Laws that hold for every plan and usage, whatever the amounts are."""

from __future__ import annotations

from dataclasses import replace
from decimal import Context, Decimal
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rating_core.catalog import (
    Aggregation,
    BillingPeriod,
    Charge,
    ChargeModel,
    Example,
    Meter,
    Plan,
    Rounding,
    Tier,
    Usage,
    UsageEntry,
)
from rating_core.errors import OutOfRange
from rating_core.pipeline import rate_statement, rate_statements
from rating_core.plan.document import plan_from_document, plan_to_document
from rating_core.reference import reference_statement
from rating_core.statement import Statement
from rating_core.units import RoundingMode, RoundingStage
from rating_core.usage import counters_from_usage, usage_from_document, usage_to_document

MINOR_UNITS = {"USD": 2}
_EXACT = Context(prec=200)
SEEDS = st.integers(0, 10**9)


def _rated(plan: Plan, usage: Usage) -> Statement | None:
    try:
        return rate_statement(plan, counters_from_usage(plan, usage))
    except OutOfRange:
        return None


@settings(derandomize=True, max_examples=300, deadline=None)
@given(SEEDS)
def test_lines_and_slices_add_up(maker, seed: int) -> None:
    """Lines add up to the total, and the slices of each line to the line, exactly (S1.4, S4.3)."""
    make = maker(seed)
    plan = make.plan()
    statement = _rated(plan, make.usage(plan))
    if statement is None:
        return
    assert sum(line.amount for line in statement.lines) == statement.total
    for line in statement.lines:
        assert _sum(part.amount for part in line.slices) == statement.amount(line.amount), line


def _sum(amounts) -> Decimal:
    total = Decimal(0)
    for amount in amounts:
        total = _EXACT.add(total, amount)
    return total


@settings(derandomize=True, max_examples=300, deadline=None)
@given(SEEDS)
def test_splitting_records_never_changes_the_price(maker, seed: int) -> None:
    """Two records in place of one of their sum cost the same, unless events are what is priced."""
    make = maker(seed)
    plan = make.plan()
    charges = tuple(charge for charge in plan.charges if charge.model is not ChargeModel.PERCENTAGE)
    if not charges or plan.commitments:
        return
    plan = replace(plan, charges=charges)
    usage = make.usage(plan)
    split = {
        meter: tuple(part for entry in entries for part in _halves(plan, meter, entry))
        for meter, entries in usage.items()
    }
    assert _rated(plan, split) == _rated(plan, usage)


def _halves(plan: Plan, meter: str, entry: UsageEntry) -> list[UsageEntry]:
    if plan.meter(meter).aggregation in (Aggregation.MAX, Aggregation.LATEST):
        return [entry]  # no sum of records
    unit = Decimal(1).scaleb(-plan.meter(meter).scale)
    first = _EXACT.quantize(_EXACT.divide(entry.quantity, 3), unit)
    return [
        replace(entry, quantity=first),
        replace(entry, quantity=_EXACT.subtract(entry.quantity, first)),
    ]


@settings(derandomize=True, max_examples=100, deadline=None)
@given(SEEDS)
def test_order_of_arrival_never_matters(maker, seed: int) -> None:
    """The same records in another order cost the same, but where the order says what is latest."""
    make = maker(seed)
    plan = make.plan()
    usage = make.usage(plan)
    order = Random(seed)
    shuffled = {
        meter: tuple(order.sample(usage[meter], len(usage[meter])))
        for meter in order.sample(list(usage), len(usage))
    }
    for meter in usage:
        if plan.meter(meter).aggregation is Aggregation.LATEST:
            shuffled[meter] = usage[meter]
    assert _rated(plan, shuffled) == _rated(plan, usage)


@settings(derandomize=True, max_examples=300, deadline=None)
@given(SEEDS)
def test_plan_survives_its_document(maker, seed: int) -> None:
    """A plan with an example, written as a document and read again, is the same plan (S2)."""
    make = maker(seed)
    plan = make.plan()
    usage = make.usage(plan)
    expected = (("plan-minimum", Decimal("-1.25")), (plan.charges[0].id, Decimal(3)))
    plan = replace(plan, examples=(Example(usage, Decimal("12.5"), expected),))
    document = plan_to_document(plan)
    assert plan_from_document(document, MINOR_UNITS.get) == plan
    assert plan_to_document(plan_from_document(document, MINOR_UNITS.get)) == document
    assert usage_from_document(plan, usage_to_document(usage)) == usage


PRICES = st.decimals(0, 100, places=6)


@st.composite
def rising_charges(draw) -> Charge:
    """A charge whose price never falls as usage grows."""
    model = draw(
        st.sampled_from(
            [
                ChargeModel.PER_UNIT,
                ChargeModel.GRADUATED,
                ChargeModel.PACKAGE,
                ChargeModel.STAIRSTEP,
                ChargeModel.GRADUATED_PERCENTAGE,
            ]
        )
    )
    bounds = sorted(draw(st.sets(st.decimals("0.1", 500, places=1), max_size=4)))
    fees = draw(st.lists(PRICES, min_size=len(bounds) + 1, max_size=len(bounds) + 1))
    if model is ChargeModel.STAIRSTEP:
        fees.sort()
    tiers = tuple(
        Tier(up_to, unit_price=draw(PRICES), percent=draw(PRICES), flat_fee=fee)
        for up_to, fee in zip([*bounds, None], fees, strict=True)
    )
    return Charge(
        "usage",
        model,
        meter="units",
        unit_price=draw(PRICES),
        package_size=draw(st.decimals("0.1", 50, places=1)),
        package_price=draw(PRICES),
        tiers=tiers if "tiers" in _keys(model) else (),
        included_units=draw(st.decimals(0, 50, places=1)),
        discount_percent=draw(st.decimals(0, 100, places=2)),
        maximum_amount=draw(st.none() | PRICES),
        minimum_amount=draw(st.none() | PRICES),
    )


def _keys(model: ChargeModel) -> tuple[str, ...]:
    return ("tiers",) if model not in (ChargeModel.PER_UNIT, ChargeModel.PACKAGE) else ()


@settings(derandomize=True, max_examples=100, deadline=None)
@given(
    rising_charges(),
    st.sampled_from(list(RoundingMode)),
    st.sampled_from(list(RoundingStage)),
    st.lists(st.integers(0, 10_000), min_size=2, max_size=12),
)
def test_more_usage_never_costs_less(
    charge: Charge, mode: RoundingMode, stage: RoundingStage, quantities: list[int]
) -> None:
    """per_unit, graduated, package, and stairstep with rising fees never fall with usage."""
    plan = Plan(
        "rising",
        "USD",
        BillingPeriod.MONTH,
        (charge,),
        Rounding(mode, 2, stage),
        (Meter("units", Aggregation.SUM, scale=1),),
    )
    usages = [
        {"units": (UsageEntry(Decimal(quantity).scaleb(-1)),)} for quantity in sorted(quantities)
    ]
    statements = rate_statements(plan, [counters_from_usage(plan, usage) for usage in usages])
    totals = [statement.total for statement in statements]
    assert totals == sorted(totals)
    assert totals == [reference_statement(plan, usage).total for usage in usages]


@pytest.mark.parametrize("stage", list(RoundingStage))
def test_same_charge_in_parts_shows_the_same_total(stage: RoundingStage) -> None:
    """A thousand equal lines: at stage `statement` the total is rounded once, not a thousand times.

    1,000 × 0.0049 = 4.90 exactly; each line alone rounds to 0.00.
    """
    charges = tuple(
        Charge(f"line-{index}", ChargeModel.FLAT_FEE, amount=Decimal("0.0049"))
        for index in range(1_000)
    )
    plan = Plan("many", "USD", BillingPeriod.MONTH, charges, Rounding(stage=stage))
    expected = 490 if stage is RoundingStage.STATEMENT else 0
    assert rate_statement(plan, []).total == expected
    assert reference_statement(plan, {}).total == expected
