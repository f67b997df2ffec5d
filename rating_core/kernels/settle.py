"""From charges to totals in bulk: commitments and plan bounds of stage `line` in 64 bits (S4, S5).

The amounts of charges are whole units already. Limits and fees of commitments become integers over
a denominator of the plan, as in `compile`; the plan's guard is the greatest sum of charges at which
nothing can leave int64. Rows beyond it, and plans of other shapes, are left to the pipeline.
"""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from rating_core.errors import RowStatus
from rating_core.jit import inlined, kernel
from rating_core.kernels.fast64 import PlanIndex
from rating_core.kernels.fast128 import OUT_OF_RANGE_AMOUNT
from rating_core.kernels.lookup import WordView, word_at, word_view
from rating_core.kernels.tables import DOWN, HALF_EVEN, UP
from rating_core.limbs import Int64Array

_OK = int(RowStatus.OK)
_OUT_OF_RANGE = int(RowStatus.OUT_OF_RANGE)
OPEN = 2
"""Status of a row that the pipeline has to rate; never seen outside."""


class PlanWord(IntEnum):
    """Columns of `SettleTables.plans`."""

    CHARGES = 0
    GUARD = 1
    """Greatest sum of charges that is settled here; −1: none, the plan is the pipeline's."""
    MODE = 2
    COMMITMENT_START = 3
    COMMITMENT_END = 4
    UNIT = 5
    """One rounding unit over the plan's denominator."""
    MAXIMUM = 6
    MINIMUM = 7
    """Rounded bounds of the total (S4)."""


class CommitmentWord(IntEnum):
    """Columns of `SettleTables.commitments`, in order of application (S5.4)."""

    POSITION = 0
    COVER_START = 1
    COVER_END = 2
    LIMIT = 3
    FEE = 4
    SAVED_NUMERATOR = 5
    SAVED_DENOMINATOR = 6
    TRUE_UP = 7
    OVERAGE_NUMERATOR = 8
    OVERAGE_DENOMINATOR = 9


PLAN_WORDS = len(PlanWord)
COMMITMENT_WORDS = len(CommitmentWord)


class SettleTables(NamedTuple):
    """Plans and commitments by row; ``covers`` holds positions of covered charges."""

    plans: Int64Array
    commitments: Int64Array
    covers: Int64Array


@kernel
def pick_column(
    meters: Int64Array,
    position: int,
    plan_index: PlanIndex,
    fixed_plan: int,
    meter_quantities: Int64Array,
    out: Int64Array,
) -> None:
    """Write the quantity of each row's meter of the charge at ``position``, 0 without meter."""
    for row in range(len(out)):
        plan = fixed_plan if fixed_plan >= 0 else int(plan_index[row])
        meter = meters[plan, position]
        out[row] = meter_quantities[row, meter] if meter >= 0 else 0


@inlined
def _rounded(value: int, unit: int, mode: int) -> int:
    """Return ``value`` ÷ ``unit`` rounded by the plan's mode, symmetric in sign (S1.3)."""
    size = abs(value)
    whole = size // unit
    rest = size - whole * unit
    if mode == UP:
        away = rest > 0
    elif mode == DOWN:
        away = False
    elif 2 * rest == unit:
        away = mode != HALF_EVEN or whole & 1 == 1
    else:
        away = 2 * rest > unit
    if away:
        whole += 1
    return -whole if value < 0 else whole


@inlined
def _commitment_value(view: WordView, record: int, covers: WordView, uncovered: Int64Array) -> int:
    """Return A(L) − L over the plan's denominator; take what is covered off the charges (S5.2)."""
    start = word_at(view, record + CommitmentWord.COVER_START)
    end = word_at(view, record + CommitmentWord.COVER_END)
    listed = 0
    for place in range(start, end):
        listed += uncovered[word_at(covers, place)]
    limit = word_at(view, record + CommitmentWord.LIMIT)
    covered = min(listed, limit)
    left = covered
    for place in range(start, end):
        charge = word_at(covers, place)
        taken = min(left, uncovered[charge])
        uncovered[charge] -= taken
        left -= taken
    if listed >= limit or word_at(view, record + CommitmentWord.TRUE_UP) == 1:
        value = word_at(view, record + CommitmentWord.FEE) - covered
    else:
        saved = covered // word_at(view, record + CommitmentWord.SAVED_DENOMINATOR)
        value = -saved * word_at(view, record + CommitmentWord.SAVED_NUMERATOR)
    over = listed - covered
    if over > 0:
        priced = over // word_at(view, record + CommitmentWord.OVERAGE_DENOMINATOR)
        value += priced * word_at(view, record + CommitmentWord.OVERAGE_NUMERATOR) - over
    return int(value)


@kernel
def settle_rows(
    tables: SettleTables,
    plan_index: PlanIndex,
    fixed_plan: int,
    charges: Int64Array,
    uncovered: Int64Array,
    commitments: Int64Array,
    totals: Int64Array,
    statuses: npt.NDArray[np.int8],
) -> int:
    """Write commitments, totals and statuses of rows whose charges stand; return how many are OPEN.

    A charge that is out of range puts its row out of range, all its amounts 0 (S1.2).
    ``uncovered`` is one row of scratch, a word a charge.
    """
    plans, rules = word_view(tables.plans), word_view(tables.commitments)
    covers = word_view(tables.covers)
    still_open = 0
    for row in range(len(totals)):
        plan = (fixed_plan if fixed_plan >= 0 else int(plan_index[row])) * PLAN_WORDS
        guard, count = word_at(plans, plan + PlanWord.GUARD), word_at(plans, plan)
        total, status = 0, _OK if guard >= 0 else OPEN
        for charge in range(count if guard >= 0 else 0):
            amount = charges[row, charge]
            if amount == OUT_OF_RANGE_AMOUNT:
                status = _OUT_OF_RANGE
            elif amount <= guard - total:
                total += amount
            elif status == _OK:
                status = OPEN
        statuses[row] = status
        if status != _OK:
            still_open += status == OPEN
            for charge in range(charges.shape[1]):
                charges[row, charge] = 0
            continue
        first = word_at(plans, plan + PlanWord.COMMITMENT_START)
        end = word_at(plans, plan + PlanWord.COMMITMENT_END)
        if end > first:
            unit, mode = word_at(plans, plan + PlanWord.UNIT), word_at(plans, plan + PlanWord.MODE)
            for charge in range(count):
                uncovered[charge] = charges[row, charge] * unit
            for commitment in range(first, end):
                rule = commitment * COMMITMENT_WORDS
                value = _commitment_value(rules, rule, covers, uncovered)
                amount = _rounded(value, unit, mode)
                commitments[row, word_at(rules, rule)] = amount
                total += amount
        maximum = word_at(plans, plan + PlanWord.MAXIMUM)
        totals[row] = max(min(total, maximum), word_at(plans, plan + PlanWord.MINIMUM))
    return still_open
