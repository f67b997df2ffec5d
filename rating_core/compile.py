"""Plans to flat arrays: the control plane hands plans over to the data plane here.

Every plan gets one common denominator. All its exact amounts, before and after each step of S4, are
integers over it, so that nothing is cut before the rounding stage (S1.3). The width of all rows of
limbs follows from bounds of these integers at the greatest quantities.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from math import gcd, lcm

import numpy as np

from rating_core.adjustments.commitment import PricedCommitment, priced_commitments
from rating_core.catalog import (
    ONE,
    Charge,
    ChargeModel,
    Plan,
)
from rating_core.kernels.flat_fee import flat_fee_pieces
from rating_core.kernels.graduated import graduated_pieces
from rating_core.kernels.graduated_percentage import graduated_percentage_pieces
from rating_core.kernels.package import Blocks, package_blocks, package_pieces
from rating_core.kernels.per_unit import per_unit_pieces
from rating_core.kernels.percentage import PERCENTAGE_INPUTS, percentage_pieces
from rating_core.kernels.piece import PIECE_UNIT, Piece
from rating_core.kernels.stairstep import stairstep_pieces
from rating_core.kernels.tables import (
    MODE_CODES,
    MODEL_CODES,
    NO_SLOT,
    ChargeColumn,
    CommitmentColumn,
    PieceColumn,
    PlanColumn,
    PlanTables,
)
from rating_core.kernels.volume import volume_pieces
from rating_core.limbs import BASE, LIMB_BITS, Int64Array, limb_rows, limb_width
from rating_core.statement import LineKind
from rating_core.units import INT64_MAX, RoundingStage

PIECES: dict[ChargeModel, Callable[[Charge, int], list[Piece]]] = {
    ChargeModel.FLAT_FEE: flat_fee_pieces,
    ChargeModel.PER_UNIT: per_unit_pieces,
    ChargeModel.GRADUATED: graduated_pieces,
    ChargeModel.VOLUME: volume_pieces,
    ChargeModel.STAIRSTEP: stairstep_pieces,
    ChargeModel.PACKAGE: package_pieces,
    ChargeModel.PERCENTAGE: percentage_pieces,
    ChargeModel.GRADUATED_PERCENTAGE: graduated_percentage_pieces,
}
_OVERAGE_PART = 10**6
"""An overage denominator divides 10^12; parts of at most this are below the base of limbs."""


@dataclass(frozen=True, slots=True)
class LineSlot:
    """What one column of rated amounts stands for: the id and the kind of a statement line."""

    id: str
    kind: LineKind


@dataclass(frozen=True, slots=True)
class CompiledPlans:
    """Plans as the kernels read them.

    ``layouts[p]`` names plan p's amount columns in the order of its lines; ``input_columns[p]``
    holds the first input column of each of its charges. ``input_count``, ``slot_count`` and
    ``charge_count`` are the greatest of all plans, ``width`` the number of limbs of a row.
    """

    plans: tuple[Plan, ...]
    tables: PlanTables
    layouts: tuple[tuple[LineSlot, ...], ...]
    input_columns: tuple[tuple[int, ...], ...]
    input_count: int
    slot_count: int
    charge_count: int
    width: int


@dataclass(frozen=True, slots=True)
class _PricedCharge:
    charge: Charge
    pieces: list[Piece]
    blocks: Blocks | None

    @property
    def kept(self) -> Fraction:
        return 1 - Fraction(self.charge.discount_percent) / 100

    @property
    def block_price(self) -> Fraction:
        return Fraction(self.charge.package_price if self.blocks else 0)

    def values(self) -> list[Fraction]:
        """Return the amounts whose multiples make up all amounts of the charge."""
        parts = [part for piece in self.pieces for part in (piece.slope, piece.offset)]
        bounds = (self.charge.maximum_amount, self.charge.minimum_amount)
        return [
            *(Fraction(part, PIECE_UNIT) for part in parts),
            self.block_price,
            *(Fraction(bound) for bound in bounds if bound is not None),
        ]

    def bound(self) -> Fraction:
        """Return what no amount of the charge, nor an intermediate result, can exceed."""
        amount = sum((piece.bound() for piece in self.pieces), Fraction(0))
        if self.blocks:
            amount += self.blocks.count_max * self.block_price
        return amount + Fraction(self.charge.minimum_amount or 0)


class _TableBuilder:
    """Tables as they grow: lists of records, and the integers that they name by row."""

    def __init__(self) -> None:
        self.plans: list[list[int]] = []
        self.charges: list[list[int]] = []
        self.pieces: list[list[int]] = []
        self.commitments: list[list[int]] = []
        self.covers: list[int] = []
        self.limbs: list[int] = []
        self.bound = INT64_MAX

    def row(self, value: int) -> int:
        """Append an integer to be held in limbs; return its row."""
        self.limbs.append(value)
        return len(self.limbs) - 1

    def tables(self, width: int) -> PlanTables:
        return PlanTables(
            _records(self.plans, len(PlanColumn)),
            _records(self.charges, len(ChargeColumn)),
            _records(self.pieces, len(PieceColumn)),
            _records(self.commitments, len(CommitmentColumn)),
            np.array(self.covers, dtype=np.int64),
            limb_rows(self.limbs, width),
        )


def _records(rows: list[list[int]], width: int) -> Int64Array:
    return np.array(rows, dtype=np.int64).reshape(len(rows), width)


def _numerator(amount: Fraction | Decimal | None, denominator: int) -> int:
    """Return an amount, absent as 0, as the integer over the common denominator that it is."""
    return int(Fraction(amount or 0) * denominator)


def compile_plans(plans: Sequence[Plan]) -> CompiledPlans:
    """Return ``plans`` as flat arrays; they must be valid (S2), amounts ≥ 0.

    Rows of different plans may then be rated in one call; a plan's index is its position here.
    """
    builder = _TableBuilder()
    layouts = []
    inputs = []
    for plan in plans:
        columns = [0]
        for charge in plan.charges:
            columns.append(columns[-1] + input_width(charge))
        layouts.append(_add_plan(builder, plan, columns))
        inputs.append(columns)
    width = limb_width(max(builder.bound, *map(abs, builder.limbs), 0))
    return CompiledPlans(
        plans=tuple(plans),
        tables=builder.tables(width),
        layouts=tuple(layouts),
        input_columns=tuple(tuple(columns[:-1]) for columns in inputs),
        input_count=max((columns[-1] for columns in inputs), default=0),
        slot_count=max((len(layout) for layout in layouts), default=0),
        charge_count=max((len(plan.charges) for plan in plans), default=0),
        width=width,
    )


def _add_plan(builder: _TableBuilder, plan: Plan, input_columns: list[int]) -> tuple[LineSlot, ...]:
    """Append ``plan`` to the tables and its bound to theirs; return its layout."""
    charges = [_priced_charge(plan, charge) for charge in plan.charges]
    commitments = priced_commitments(plan)
    denominator = _common_denominator(plan, charges, commitments)
    layout: list[LineSlot] = []
    charge_start, commitment_start = len(builder.charges), len(builder.commitments)
    for priced, column in zip(charges, input_columns, strict=False):
        _add_charge(builder, priced, denominator, column, layout)
        if priced.blocks:
            builder.bound = max(builder.bound, priced.blocks.bound)
    positions = {charge.id: position for position, charge in enumerate(plan.charges)}
    for entry in commitments:
        _add_commitment(builder, entry, denominator, positions, len(layout))
    layout += [LineSlot(item.id, LineKind.COMMITMENT) for item in plan.commitments]
    maximum_slot = _add_slot(layout, "plan-maximum", LineKind.PLAN_MAXIMUM, plan.maximum_amount)
    minimum_slot = _add_slot(layout, "plan-minimum", LineKind.PLAN_MINIMUM, plan.minimum_amount)
    unit = denominator // 10**plan.rounding.scale
    record = {
        PlanColumn.CHARGE_START: charge_start,
        PlanColumn.CHARGE_END: len(builder.charges),
        PlanColumn.COMMITMENT_START: commitment_start,
        PlanColumn.COMMITMENT_END: len(builder.commitments),
        PlanColumn.SLOT_COUNT: len(layout),
        PlanColumn.MODE: MODE_CODES[plan.rounding.mode],
        PlanColumn.BY_LINE: int(plan.rounding.stage is RoundingStage.LINE),
        PlanColumn.UNIT: builder.row(unit),
        PlanColumn.UNIT_SIZE: unit.bit_length() // LIMB_BITS,
        PlanColumn.MAXIMUM: builder.row(_numerator(plan.maximum_amount, denominator)),
        PlanColumn.MAXIMUM_SLOT: maximum_slot,
        PlanColumn.MINIMUM: builder.row(_numerator(plan.minimum_amount, denominator)),
        PlanColumn.MINIMUM_SLOT: minimum_slot,
    }
    builder.plans.append([record[column] for column in PlanColumn])
    bound = _plan_bound(plan, charges, commitments) * denominator
    builder.bound = max(builder.bound, int(bound) + 1)
    return tuple(layout)


def _add_slot(layout: list[LineSlot], line_id: str, kind: LineKind, step: Decimal | None) -> int:
    """Return the next slot for a step that the plan has, else `NO_SLOT`."""
    if step is None:
        return NO_SLOT
    layout.append(LineSlot(line_id, kind))
    return len(layout) - 1


def _priced_charge(plan: Plan, charge: Charge) -> _PricedCharge:
    scale = plan.meter(charge.meter).scale if charge.meter is not None else 0
    blocks = package_blocks(charge, scale) if charge.model is ChargeModel.PACKAGE else None
    return _PricedCharge(charge, PIECES[charge.model](charge, scale), blocks)


def input_width(charge: Charge) -> int:
    """Return the number of input columns of a charge: none, its quantity, or the four of S3.4."""
    if charge.model is ChargeModel.FLAT_FEE:
        return 0
    return PERCENTAGE_INPUTS if charge.model is ChargeModel.PERCENTAGE else 1


def _common_denominator(
    plan: Plan, charges: list[_PricedCharge], commitments: list[PricedCommitment]
) -> int:
    """Return D such that each amount of the plan, after each step, is an integer over D.

    Prices, bounds, fees and limits are integers over the first factor, discounted amounts over the
    first two, what commitments make of these over all three. The power of two fills the highest
    limb of one rounding unit, so that dividing by it needs no shift.
    """
    values = [value for priced in charges for value in priced.values()]
    values += [value for entry in commitments for value in (entry.limit, entry.fee)]
    values += [Fraction(plan.maximum_amount or 0), Fraction(plan.minimum_amount or 0)]
    base = lcm(10**plan.rounding.scale, *(value.denominator for value in values))
    discounts = lcm(*(priced.kept.denominator for priced in charges))
    factors = lcm(
        *(entry.saved.denominator for entry in commitments),
        *(entry.overage_factor.denominator for entry in commitments),
    )
    denominator = base * discounts * factors
    unit: int = denominator // 10**plan.rounding.scale
    return denominator << (-unit.bit_length() % LIMB_BITS)


def _plan_bound(
    plan: Plan, charges: list[_PricedCharge], commitments: list[PricedCommitment]
) -> Fraction:
    """Return what no amount of the plan, sum or intermediate result can exceed."""
    line_count = 4 * len(charges) + len(commitments) + 2
    rounding = Fraction(line_count + 1, 10**plan.rounding.scale)
    listed = sum((priced.bound() for priced in charges), Fraction(0)) + rounding
    total = listed
    for entry in commitments:
        total += entry.limit + entry.fee + listed * (1 + entry.overage_factor)
    return 2 * total + Fraction(plan.maximum_amount or 0) + Fraction(plan.minimum_amount or 0)


def _add_charge(
    builder: _TableBuilder,
    priced: _PricedCharge,
    denominator: int,
    input_column: int,
    layout: list[LineSlot],
) -> None:
    charge = priced.charge
    piece_start = len(builder.pieces)
    for piece in priced.pieces:
        record = {
            PieceColumn.THRESHOLD: piece.threshold,
            PieceColumn.SLOPE: builder.row(piece.slope * denominator // PIECE_UNIT),
            PieceColumn.OFFSET: builder.row(piece.offset * denominator // PIECE_UNIT),
        }
        builder.pieces.append([record[column] for column in PieceColumn])
    # a block of 2^29 where there is none: the column must name some row
    blocks = priced.blocks or Blocks(slope=0, offset=0, block=BASE >> 1)
    discount = charge.discount_percent or None
    columns = {
        ChargeColumn.MODEL: MODEL_CODES[charge.model],
        ChargeColumn.INPUT: input_column,
        ChargeColumn.PIECE_START: piece_start,
        ChargeColumn.PIECE_END: len(builder.pieces),
        ChargeColumn.MODEL_SLOT: _add_slot(layout, charge.id, LineKind.MODEL, ONE),
        ChargeColumn.DISCOUNT_SLOT: _add_slot(layout, charge.id, LineKind.DISCOUNT, discount),
        ChargeColumn.KEPT_NUMERATOR: priced.kept.numerator,
        ChargeColumn.KEPT_DENOMINATOR: priced.kept.denominator,
        ChargeColumn.MAXIMUM: builder.row(_numerator(charge.maximum_amount, denominator)),
        ChargeColumn.MAXIMUM_SLOT: _add_slot(
            layout, charge.id, LineKind.MAXIMUM, charge.maximum_amount
        ),
        ChargeColumn.MINIMUM: builder.row(_numerator(charge.minimum_amount, denominator)),
        ChargeColumn.MINIMUM_SLOT: _add_slot(
            layout, charge.id, LineKind.MINIMUM, charge.minimum_amount
        ),
        ChargeColumn.BLOCK_SLOPE: builder.row(blocks.slope),
        ChargeColumn.BLOCK_OFFSET: builder.row(blocks.offset),
        ChargeColumn.BLOCK: builder.row(blocks.block),
        ChargeColumn.BLOCK_SIZE: blocks.block.bit_length() // LIMB_BITS,
        ChargeColumn.BLOCK_PRICE: builder.row(_numerator(priced.block_price, denominator)),
    }
    builder.charges.append([columns[column] for column in ChargeColumn])


def _add_commitment(
    builder: _TableBuilder,
    entry: PricedCommitment,
    denominator: int,
    positions: dict[str, int],
    first_slot: int,
) -> None:
    factor = entry.overage_factor
    part = gcd(factor.denominator, _OVERAGE_PART)
    cover_start = len(builder.covers)
    builder.covers += sorted({positions[charge_id] for charge_id in entry.commitment.covers})
    columns = {
        CommitmentColumn.SLOT: first_slot + entry.position,
        CommitmentColumn.COVER_START: cover_start,
        CommitmentColumn.COVER_END: len(builder.covers),
        CommitmentColumn.LIMIT: builder.row(_numerator(entry.limit, denominator)),
        CommitmentColumn.FEE: builder.row(_numerator(entry.fee, denominator)),
        CommitmentColumn.SAVED_NUMERATOR: entry.saved.numerator,
        CommitmentColumn.SAVED_DENOMINATOR: entry.saved.denominator,
        CommitmentColumn.TRUE_UP: int(entry.commitment.true_up),
        CommitmentColumn.OVERAGE: int(factor != 1),
        CommitmentColumn.OVERAGE_NUMERATOR: builder.row(factor.numerator),
        CommitmentColumn.OVERAGE_DENOMINATOR: part,
        CommitmentColumn.OVERAGE_DENOMINATOR_REST: factor.denominator // part,
    }
    builder.commitments.append([columns[column] for column in CommitmentColumn])
