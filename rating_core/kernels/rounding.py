"""Rounding of exact amounts, and the distribution of a statement's one rounding over its lines."""

from __future__ import annotations

from rating_core.jit import kernel
from rating_core.kernels.tables import (
    DOWN,
    FLOOR,
    HALF_UP,
    UP,
    PlanColumn,
    PlanTables,
    Scratch,
    ScratchRow,
)
from rating_core.limbs import (
    INT64_GREATEST,
    Int64Array,
    add,
    assign,
    clear,
    compare,
    divide,
    increment,
    is_negative,
    is_zero,
    negate,
    subtract,
    to_int64,
)


@kernel
def _rounds_away(mode: int, negative: bool, unit: Int64Array, scratch: Scratch) -> bool:
    """Return whether the quotient and remainder in ``scratch`` round away from zero (S1.3)."""
    rest = scratch.rows[ScratchRow.REMAINDER]
    doubled = scratch.rows[ScratchRow.DOUBLED]
    if mode == DOWN or is_zero(rest):
        return False
    if mode == UP:
        return True
    if mode == FLOOR:
        return negative
    assign(doubled, rest)
    add(doubled, rest)
    order = compare(doubled, unit)
    if order == 0:
        odd: bool = scratch.rows[ScratchRow.QUOTIENT, 0] & 1 == 1
        return mode == HALF_UP or odd
    return order > 0


@kernel
def rounded_amount(
    tables: PlanTables, plan: int, mode: int, value: Int64Array, scratch: Scratch
) -> tuple[int, bool]:
    """Return ``value`` rounded by ``mode`` in units of 10^-scale, and whether it fits (S1.2, S1.3).

    Leaves the remainder of the magnitude, in [0, unit), in scratch row REMAINDER.
    """
    unit = tables.limbs[tables.plans[plan, PlanColumn.UNIT]]
    rest = scratch.rows[ScratchRow.REMAINDER]
    quotient = scratch.rows[ScratchRow.QUOTIENT]
    negative = is_negative(value)
    assign(rest, value)
    if negative:
        negate(rest)
    divide(rest, unit, tables.plans[plan, PlanColumn.UNIT_SIZE], quotient)
    if _rounds_away(mode, negative, unit, scratch):
        increment(quotient)
    return to_int64(quotient, negative)


@kernel
def _cut_lines(
    tables: PlanTables, plan: int, scratch: Scratch, amounts: Int64Array
) -> tuple[int, bool]:
    """Cut every line towards −∞ and leave its remainder, ≥ 0, in its place (S1.4).

    Return how many whole units the remainders add up to, and whether all lines fit.
    """
    unit = tables.limbs[tables.plans[plan, PlanColumn.UNIT]]
    rest = scratch.rows[ScratchRow.REMAINDER]
    rests = scratch.rows[ScratchRow.RUNNING]
    clear(rests)
    for slot in range(tables.plans[plan, PlanColumn.SLOT_COUNT]):
        line = scratch.lines[slot]
        negative = is_negative(line)
        amount, fits = rounded_amount(tables, plan, FLOOR, line, scratch)
        if not fits:
            return 0, False
        amounts[slot] = amount
        if negative and not is_zero(rest):
            assign(line, unit)
            subtract(line, rest)
        else:
            assign(line, rest)
        add(rests, line)
    whole = scratch.rows[ScratchRow.QUOTIENT]
    divide(rests, unit, tables.plans[plan, PlanColumn.UNIT_SIZE], whole)
    return to_int64(whole, False)


@kernel
def distribute_total(
    tables: PlanTables, plan: int, scratch: Scratch, amounts: Int64Array
) -> tuple[int, bool]:
    """Round the sum of all lines, scratch row VALUE, once; make the lines add up to it (S1.4).

    Lines are cut towards −∞, and the missing units go one each to the largest remainders, ties in
    line order. Return the total in units of 10^-scale, and whether it and all lines fit int64.
    """
    value = scratch.rows[ScratchRow.VALUE]
    mode = tables.plans[plan, PlanColumn.MODE]
    total, fits = rounded_amount(tables, plan, mode, value, scratch)
    if not fits:
        return 0, False
    cut, fits = rounded_amount(tables, plan, FLOOR, value, scratch)
    if not fits:
        return 0, False
    whole, fits = _cut_lines(tables, plan, scratch, amounts)
    if not fits:
        return 0, False
    # total − Σ cut lines: the sum's own cut differs from Σ cut lines by the remainders' whole units
    for _ in range(whole + (total - cut)):
        largest = 0
        for slot in range(1, tables.plans[plan, PlanColumn.SLOT_COUNT]):
            if compare(scratch.lines[slot], scratch.lines[largest]) > 0:
                largest = slot
        if amounts[largest] == INT64_GREATEST:
            return 0, False
        amounts[largest] += 1
        clear(scratch.lines[largest])
    return total, True
