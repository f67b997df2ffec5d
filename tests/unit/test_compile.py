"""Compiled plans: layout, common denominators, thresholds and widths."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest

from rating_core.adjustments.commitment import priced_commitments
from rating_core.catalog import (
    Aggregation,
    BillingPeriod,
    Charge,
    ChargeModel,
    Commitment,
    CommitmentOrder,
    CountedAt,
    Meter,
    Plan,
    Rounding,
    Tier,
)
from rating_core.compile import compile_plans
from rating_core.kernels.package import package_blocks
from rating_core.kernels.piece import tier_spans
from rating_core.kernels.tables import ChargeColumn, CommitmentColumn, PieceColumn, PlanColumn
from rating_core.limbs import BASE, limb_integer
from rating_core.statement import LineKind
from rating_core.units import INT64_MAX, RoundingStage

METER = Meter("units", Aggregation.SUM, scale=3)
USAGE = Charge("usage", ChargeModel.PER_UNIT, meter="units", unit_price=Decimal("0.0000025"))


def _plan(*charges: Charge, **keys) -> Plan:
    return Plan("plan", "USD", BillingPeriod.MONTH, charges, meters=(METER,), **keys)


def test_layout_follows_the_order_of_lines():
    """Slots stand in the order of a statement's lines, one for each step that the plan has."""
    fee = Charge("fee", ChargeModel.FLAT_FEE, amount=Decimal(5))
    bounded = Charge(
        "bounded",
        ChargeModel.PERCENTAGE,
        meter="units",
        percent=Decimal(1),
        discount_percent=Decimal(10),
        maximum_amount=Decimal(9),
        minimum_amount=Decimal(0),
    )
    plan = _plan(
        fee,
        bounded,
        USAGE,
        commitments=(Commitment("year", Decimal(10), ("usage",)),),
        maximum_amount=Decimal(50),
        minimum_amount=Decimal(1),
    )
    compiled = compile_plans([plan])
    assert [(slot.id, slot.kind) for slot in compiled.layouts[0]] == [
        ("fee", LineKind.MODEL),
        ("bounded", LineKind.MODEL),
        ("bounded", LineKind.DISCOUNT),
        ("bounded", LineKind.MAXIMUM),
        ("bounded", LineKind.MINIMUM),
        ("usage", LineKind.MODEL),
        ("year", LineKind.COMMITMENT),
        ("plan-maximum", LineKind.PLAN_MAXIMUM),
        ("plan-minimum", LineKind.PLAN_MINIMUM),
    ]
    assert compiled.input_columns == ((0, 0, 4),)
    assert (compiled.input_count, compiled.slot_count, compiled.charge_count) == (5, 9, 3)


def test_tables_are_contiguous_int64():
    """All tables have the one dtype and layout that the kernels are compiled for."""
    for plans in ([], [_plan(USAGE)], [_plan(USAGE), _plan(USAGE, USAGE)]):
        for table in compile_plans(plans).tables:
            assert table.dtype == np.int64
            assert table.flags.c_contiguous
            assert table.flags.writeable


@pytest.mark.parametrize("scale", [0, 2, 12])
def test_rounding_unit_is_ready_to_divide_by(scale):
    """The highest limb of one rounding unit has bit 29 set, whatever the denominators."""
    for price in ("0", "3", "0.000000000001", "999999999999999"):
        charge = Charge("usage", ChargeModel.PER_UNIT, meter="units", unit_price=Decimal(price))
        tables = compile_plans([_plan(charge, rounding=Rounding(scale=scale))]).tables
        size = tables.plans[0, PlanColumn.UNIT_SIZE]
        unit = tables.limbs[tables.plans[0, PlanColumn.UNIT]]
        assert BASE // 2 <= unit[size - 1] < BASE
        assert not unit[size:].any()


def test_prices_and_discounted_prices_are_whole_over_the_denominator():
    """A price, its discount and an overage come out as integers, equal to the plan's fractions."""
    charge = Charge(
        "usage",
        ChargeModel.PER_UNIT,
        meter="units",
        unit_price=Decimal("0.000000000007"),
        discount_percent=Decimal("33.333333"),
    )
    commitment = Commitment(
        "year",
        Decimal(100),
        ("usage",),
        discount_percent=Decimal("12.345678"),
        overage_factor=Decimal("1.123456789012"),
    )
    tables = compile_plans([_plan(charge, commitments=(commitment,))]).tables
    unit = limb_integer(tables.limbs[tables.plans[0, PlanColumn.UNIT]])
    record, entry = tables.charges[0], tables.commitments[0]
    slope = limb_integer(tables.limbs[tables.pieces[1, PieceColumn.SLOPE]])
    assert Fraction(slope, unit * 100) == Fraction(charge.unit_price) / 1000
    kept = Fraction(
        int(record[ChargeColumn.KEPT_NUMERATOR]), int(record[ChargeColumn.KEPT_DENOMINATOR])
    )
    assert kept == 1 - Fraction(charge.discount_percent) / 100
    limit = limb_integer(tables.limbs[entry[CommitmentColumn.LIMIT]])
    assert Fraction(limit, unit * 100) == 100 / (1 - Fraction(commitment.discount_percent) / 100)
    parts = [
        int(entry[CommitmentColumn.SAVED_DENOMINATOR]),
        int(entry[CommitmentColumn.OVERAGE_DENOMINATOR])
        * int(entry[CommitmentColumn.OVERAGE_DENOMINATOR_REST]),
    ]
    assert parts[1] == Fraction(commitment.overage_factor).denominator
    for part in parts:
        assert (slope * kept).denominator == 1
        assert (slope * kept / part).denominator == 1
        assert limit % part == 0


def test_thresholds_are_the_last_quantity_below_a_tier():
    """Bounds with more decimals than the meter are cut; those beyond int64 are never entered."""
    charge = Charge(
        "usage",
        ChargeModel.GRADUATED,
        meter="units",
        included_units=Decimal("0.0005"),
        tiers=(
            Tier(up_to=Decimal("1.0005")),
            Tier(up_to=Decimal("2.00049")),
            Tier(up_to=Decimal(9 * 10**17)),
            Tier(),
        ),
    )
    spans = tier_spans(charge, METER.scale)
    assert [span.threshold for span in spans] == [0, 1001, 2000, INT64_MAX]


@pytest.mark.parametrize(
    ("size", "included"),
    [("1", "0"), ("0.000000000001", "0.5"), ("100", "0.0001"), ("7.5", "3"), ("1000000000", "0")],
)
def test_blocks_of_a_package(size, included):
    """The integer division counts the blocks that the exact fraction counts."""
    charge = Charge(
        "usage",
        ChargeModel.PACKAGE,
        meter="units",
        package_size=Decimal(size),
        included_units=Decimal(included),
    )
    blocks = package_blocks(charge, METER.scale)
    for quantity in (1, 3500, 10_500, 10_501, 123_456_789, INT64_MAX):
        exact = (Fraction(quantity, 1000) - Fraction(included)) / Fraction(size)
        count = -(-(blocks.slope * quantity - blocks.offset) // blocks.block)
        assert count == -(-exact // 1)
        assert count <= blocks.count_max
        assert blocks.slope * quantity + blocks.offset <= blocks.bound


def test_order_of_application():
    """Best saving first applies by falling discount, ties in document order; the last has overage.

    Lines stay in document order (S5.4).
    """
    commitments = tuple(
        Commitment(name, Decimal(10), ("usage",), Decimal(percent), overage_factor=Decimal(2))
        for name, percent in (("a", 10), ("b", 30), ("c", 10), ("d", 20))
    )
    plan = _plan(USAGE, commitments=commitments, commitment_order=CommitmentOrder.BEST_SAVING_FIRST)
    priced = priced_commitments(plan)
    assert [entry.commitment.id for entry in priced] == ["b", "d", "a", "c"]
    assert [entry.overage_factor for entry in priced] == [1, 1, 1, 2]
    compiled = compile_plans([plan])
    slots = compiled.tables.commitments[:, CommitmentColumn.SLOT].tolist()
    assert [compiled.layouts[0][slot].id for slot in slots] == ["b", "d", "a", "c"]
    assert [slot.id for slot in compiled.layouts[0]][1:] == ["a", "b", "c", "d"]


def test_what_a_commitment_covers_and_costs():
    """Counted discounted it covers C ÷ (1 − d) for C; counted at list C for C × (1 − d)."""
    for counted_at, limit, fee in ((CountedAt.DISCOUNTED, 125, 100), (CountedAt.LIST, 100, 80)):
        commitment = Commitment("c", Decimal(100), ("usage",), Decimal(20), counted_at)
        (priced,) = priced_commitments(_plan(USAGE, commitments=(commitment,)))
        assert (priced.limit, priced.fee) == (limit, fee)


def test_width_grows_with_the_plans_numbers():
    """An ordinary plan fits four limbs; the widest numbers take more, for all plans alike."""
    wide = Charge(
        "usage",
        ChargeModel.PER_UNIT,
        meter="units",
        unit_price=Decimal("999999999999999.999999999999"),
        discount_percent=Decimal("0.000001"),
    )
    narrow = compile_plans([_plan(USAGE)])
    assert narrow.width == 4
    mixed = compile_plans([_plan(USAGE), _plan(wide)])
    assert mixed.width > 6
    assert mixed.tables.limbs.shape[1] == mixed.width


def test_stage_and_start_of_each_plan():
    """Plans follow each other in the tables, each with its own stage of rounding."""
    by_statement = Rounding(stage=RoundingStage.STATEMENT)
    compiled = compile_plans([_plan(USAGE, USAGE), _plan(USAGE, rounding=by_statement)])
    plans = compiled.tables.plans
    assert plans[:, PlanColumn.CHARGE_START].tolist() == [0, 2]
    assert plans[:, PlanColumn.CHARGE_END].tolist() == [2, 3]
    assert plans[:, PlanColumn.BY_LINE].tolist() == [1, 0]
