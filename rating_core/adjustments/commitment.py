"""Commitments over one period: covered usage at a discount, overage at its factor (S5)."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from rating_core.catalog import Commitment, CommitmentOrder, CountedAt, Plan
from rating_core.jit import kernel
from rating_core.kernels.tables import CommitmentColumn, PlanTables, Scratch, ScratchRow
from rating_core.limbs import (
    add,
    assign,
    clear,
    compare,
    multiply,
    negate,
    scale,
    subtract,
)


@dataclass(frozen=True, slots=True)
class PricedCommitment:
    """A commitment with the amounts of S5.1: the list usage it can cover, its fee, and d.

    ``position`` is its place in the document, ``last`` whether it applies last: only then its
    overage factor counts, and the others have 1 (S5.4).
    """

    commitment: Commitment
    position: int
    last: bool
    limit: Fraction
    fee: Fraction
    saved: Fraction
    overage_factor: Fraction


def priced_commitments(plan: Plan) -> list[PricedCommitment]:
    """Return the plan's commitments in order of application, with their amounts (S5.1, S5.4)."""
    order = list(enumerate(plan.commitments))
    if plan.commitment_order is CommitmentOrder.BEST_SAVING_FIRST:
        order.sort(key=lambda entry: -entry[1].discount_percent)
    result = []
    for place, (position, commitment) in enumerate(order):
        amount = Fraction(commitment.amount)
        saved = Fraction(commitment.discount_percent) / 100
        discounted = commitment.counted_at is CountedAt.DISCOUNTED
        last = place == len(order) - 1
        result.append(
            PricedCommitment(
                commitment,
                position=position,
                last=last,
                limit=amount / (1 - saved) if discounted else amount,
                fee=amount if discounted else amount * (1 - saved),
                saved=saved,
                overage_factor=Fraction(commitment.overage_factor) if last else Fraction(1),
            )
        )
    return result


@kernel
def commitment_list_amount(tables: PlanTables, commitment: int, scratch: Scratch) -> None:
    """Write L to scratch row BEFORE: what earlier commitments left of its charges (S5.4)."""
    record = tables.commitments[commitment]
    clear(scratch.rows[ScratchRow.BEFORE])
    for place in range(record[CommitmentColumn.COVER_START], record[CommitmentColumn.COVER_END]):
        add(scratch.rows[ScratchRow.BEFORE], scratch.uncovered[tables.covers[place]])


@kernel
def _attribute(tables: PlanTables, commitment: int, scratch: Scratch) -> None:
    """Take scratch row COVERED off the covered charges, first charge first (S5.4)."""
    record = tables.commitments[commitment]
    left = scratch.rows[ScratchRow.VALUE]
    taken = scratch.rows[ScratchRow.TAKEN]
    assign(left, scratch.rows[ScratchRow.COVERED])
    for place in range(record[CommitmentColumn.COVER_START], record[CommitmentColumn.COVER_END]):
        charge = scratch.uncovered[tables.covers[place]]
        assign(taken, charge)
        if compare(left, charge) < 0:
            assign(taken, left)
        subtract(charge, taken)
        subtract(left, taken)


@kernel
def commitment_amount(tables: PlanTables, commitment: int, scratch: Scratch) -> None:
    """Write A(L) − L to scratch row VALUE, exactly, L from row BEFORE (S5.2).

    Uses up row BEFORE: the overage, L − covered, is left there.
    """
    record = tables.commitments[commitment]
    limit = tables.limbs[record[CommitmentColumn.LIMIT]]
    value = scratch.rows[ScratchRow.VALUE]
    overage = scratch.rows[ScratchRow.BEFORE]
    covered = scratch.rows[ScratchRow.COVERED]
    used_up = compare(overage, limit) >= 0
    assign(covered, overage)
    if used_up:
        assign(covered, limit)
    _attribute(tables, commitment, scratch)
    subtract(overage, covered)
    if used_up or record[CommitmentColumn.TRUE_UP] == 1:
        assign(value, tables.limbs[record[CommitmentColumn.FEE]])
        subtract(value, covered)
    else:
        assign(value, covered)
        saved_denominator = record[CommitmentColumn.SAVED_DENOMINATOR]
        scale(value, record[CommitmentColumn.SAVED_NUMERATOR], saved_denominator)
        negate(value)
    if record[CommitmentColumn.OVERAGE] == 1:
        part = scratch.rows[ScratchRow.TAKEN]
        product = scratch.rows[ScratchRow.PRODUCT]
        assign(part, overage)
        scale(part, 1, record[CommitmentColumn.OVERAGE_DENOMINATOR])
        scale(part, 1, record[CommitmentColumn.OVERAGE_DENOMINATOR_REST])
        multiply(product, part, tables.limbs[record[CommitmentColumn.OVERAGE_NUMERATOR]])
        add(value, product)
        subtract(value, overage)
