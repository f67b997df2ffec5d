"""The one place that states the order of the steps from counters to a statement (S4).

included units (× allowance promotions) → model → discount → promotions → maximum → minimum, for
each charge of each part → what smoothing puts off → commitments → plan maximum → plan minimum →
late deltas → total before credits → credits → total.

Two ways go through these steps. `rate_rows` prices any number of rows on compiled plans, without
what only a contract in time has; `rate_contract` (`contract.rate`) prices the periods of one
contract exactly, with all of it. `rate_statement` takes the first for plans that need no more.
Where both apply they give the same bits (`tests/property/test_contract_plain.py`).

In both, each step after the model is a line of round(after) − round(before) (S4.2); a maximum or
minimum acts on the exact amount after the steps before it. At stage `line` the amount of a charge
then becomes the sum of its rounded lines, which commitments and plan bounds see; at
stage `statement` all stay exact until the total is rounded and distributed (S1.4).

A row is OUT_OF_RANGE, and all its amounts are 0, if and only if one of these does not fit int64 in
units of 10^-scale (S1.2). At stage `line`, rounded by the plan's mode: the amount of each charge
after its model, discount, maximum and minimum; L of each commitment; the running total of charges
and commitments, after the plan maximum, and after the plan minimum; and every line. At stage
`statement`: the same amounts rounded towards −∞; every line, also after it got a missing unit; and
the rounded total.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from rating_core.adjustments.commitment import commitment_amount, commitment_list_amount
from rating_core.adjustments.discount import discount_amount
from rating_core.adjustments.maximum import maximum_amount
from rating_core.adjustments.minimum import minimum_amount
from rating_core.calendar import BillingCalendar
from rating_core.catalog import Payment, Plan
from rating_core.charge_inputs import charge_inputs, unpriced_meters
from rating_core.compile import CompiledPlans, compile_plans
from rating_core.contract.rate import rate_contract
from rating_core.contract.usage import ContractUsage, PartUsage, PeriodUsage, PlanRef
from rating_core.counter import SeriesCounter
from rating_core.errors import OutOfRange, RowStatus
from rating_core.explain import explain_lines
from rating_core.jit import kernel
from rating_core.kernels.model import model_amount
from rating_core.kernels.rounding import distribute_total, rounded_amount
from rating_core.kernels.tables import (
    FLOOR,
    NO_SLOT,
    ChargeColumn,
    CommitmentColumn,
    PlanColumn,
    PlanTables,
    Scratch,
    ScratchRow,
    new_scratch,
)
from rating_core.limbs import (
    Int64Array,
    add,
    assign,
    clear,
    multiply_int64,
    subtract,
    subtract_int64,
)
from rating_core.statement import Statement

_OK = int(RowStatus.OK)
_OUT_OF_RANGE = int(RowStatus.OUT_OF_RANGE)


@dataclass(frozen=True, slots=True)
class RatedRows:
    """Amounts in units of 10^-scale of each row's plan.

    ``amounts`` is rows × slots, in the columns that `CompiledPlans.layouts` names; columns beyond a
    plan's lines are 0. ``statuses`` holds `RowStatus` codes.
    """

    amounts: Int64Array
    totals: Int64Array
    statuses: npt.NDArray[np.int8]


@kernel
def _stage_mode(tables: PlanTables, plan: int) -> int:
    """Return how amounts before the total are rounded: by the plan's mode, or cut (S1.4)."""
    if tables.plans[plan, PlanColumn.BY_LINE] == 0:
        return FLOOR
    mode: int = tables.plans[plan, PlanColumn.MODE]
    return mode


@kernel
def _book_step(
    tables: PlanTables,
    plan: int,
    slot: int,
    rounded_before: int,
    scratch: Scratch,
    amounts: Int64Array,
) -> tuple[int, bool]:
    """Book the step from scratch row BEFORE to row VALUE as a line (S4.2); then VALUE is BEFORE.

    Return the rounded amount after it, and whether that and the line fit.
    """
    before = scratch.rows[ScratchRow.BEFORE]
    value = scratch.rows[ScratchRow.VALUE]
    after, fits = rounded_amount(tables, plan, _stage_mode(tables, plan), value, scratch)
    if not fits:
        return 0, False
    if tables.plans[plan, PlanColumn.BY_LINE] == 1:
        amount, fits = subtract_int64(after, rounded_before)
        amounts[slot] = amount
    else:
        assign(scratch.lines[slot], value)
        subtract(scratch.lines[slot], before)
    assign(before, value)
    return after, fits


@kernel
def _rate_charge(
    tables: PlanTables,
    plan: int,
    charge: int,
    inputs: Int64Array,
    scratch: Scratch,
    amounts: Int64Array,
) -> bool:
    """Price one charge: model, discount, maximum, minimum; add it to the running total."""
    record = tables.charges[charge]
    value = scratch.rows[ScratchRow.VALUE]
    clear(scratch.rows[ScratchRow.BEFORE])
    rounded = 0
    for slot_column in range(ChargeColumn.MODEL_SLOT, ChargeColumn.MINIMUM_SLOT + 1):
        slot = record[slot_column]
        if slot == NO_SLOT:
            continue
        if slot_column == ChargeColumn.MODEL_SLOT:
            model_amount(tables, charge, inputs, scratch)
        elif slot_column == ChargeColumn.DISCOUNT_SLOT:
            kept_denominator = record[ChargeColumn.KEPT_DENOMINATOR]
            discount_amount(value, record[ChargeColumn.KEPT_NUMERATOR], kept_denominator)
        elif slot_column == ChargeColumn.MAXIMUM_SLOT:
            maximum_amount(value, tables.limbs[record[ChargeColumn.MAXIMUM]])
        else:
            minimum_amount(value, tables.limbs[record[ChargeColumn.MINIMUM]])
        # one call for all steps: each call is compiled into its caller anew
        rounded, fits = _book_step(tables, plan, slot, rounded, scratch, amounts)
        if not fits:
            return False
    if tables.plans[plan, PlanColumn.BY_LINE] == 1:
        multiply_int64(value, tables.limbs[tables.plans[plan, PlanColumn.UNIT]], rounded)
    assign(scratch.uncovered[charge - tables.plans[plan, PlanColumn.CHARGE_START]], value)
    add(scratch.rows[ScratchRow.RUNNING], value)
    return True


@kernel
def _rate_commitment(
    tables: PlanTables, plan: int, commitment: int, scratch: Scratch, amounts: Int64Array
) -> bool:
    """Apply one commitment to what is uncovered; add its line to the running total (S5)."""
    value = scratch.rows[ScratchRow.VALUE]
    mode = _stage_mode(tables, plan)
    commitment_list_amount(tables, commitment, scratch)
    _, fits = rounded_amount(tables, plan, mode, scratch.rows[ScratchRow.BEFORE], scratch)
    if not fits:
        return False
    commitment_amount(tables, commitment, scratch)
    slot = tables.commitments[commitment, CommitmentColumn.SLOT]
    if tables.plans[plan, PlanColumn.BY_LINE] == 1:
        amount, fits = rounded_amount(tables, plan, mode, value, scratch)
        amounts[slot] = amount
        multiply_int64(value, tables.limbs[tables.plans[plan, PlanColumn.UNIT]], amount)
    else:
        assign(scratch.lines[slot], value)
    add(scratch.rows[ScratchRow.RUNNING], value)
    return fits


@kernel
def _rate_bounds(
    tables: PlanTables, plan: int, scratch: Scratch, amounts: Int64Array
) -> tuple[int, bool]:
    """Apply the plan's maximum and minimum to the running total; return the total (S4)."""
    record = tables.plans[plan]
    value = scratch.rows[ScratchRow.VALUE]
    assign(value, scratch.rows[ScratchRow.RUNNING])
    assign(scratch.rows[ScratchRow.BEFORE], value)
    total, fits = rounded_amount(tables, plan, _stage_mode(tables, plan), value, scratch)
    for slot_column in range(PlanColumn.MAXIMUM_SLOT, PlanColumn.MINIMUM_SLOT + 1):
        slot = record[slot_column]
        if not fits or slot == NO_SLOT:
            continue
        if slot_column == PlanColumn.MAXIMUM_SLOT:
            maximum_amount(value, tables.limbs[record[PlanColumn.MAXIMUM]])
        else:
            minimum_amount(value, tables.limbs[record[PlanColumn.MINIMUM]])
        total, fits = _book_step(tables, plan, slot, total, scratch, amounts)
    if fits and record[PlanColumn.BY_LINE] == 0:
        total, fits = distribute_total(tables, plan, scratch, amounts)
    return total, fits


@kernel
def _rate_row(
    tables: PlanTables, plan: int, inputs: Int64Array, scratch: Scratch, amounts: Int64Array
) -> tuple[int, bool]:
    """Rate one row: charges, commitments, plan bounds. Return the total and whether all fits."""
    record = tables.plans[plan]
    clear(scratch.rows[ScratchRow.RUNNING])
    for charge in range(record[PlanColumn.CHARGE_START], record[PlanColumn.CHARGE_END]):
        if not _rate_charge(tables, plan, charge, inputs, scratch, amounts):
            return 0, False
    start = record[PlanColumn.COMMITMENT_START]
    for commitment in range(start, record[PlanColumn.COMMITMENT_END]):
        if not _rate_commitment(tables, plan, commitment, scratch, amounts):
            return 0, False
    return _rate_bounds(tables, plan, scratch, amounts)


@kernel
def _rate_rows(
    tables: PlanTables,
    plan_index: Int64Array,
    inputs: Int64Array,
    scratch: Scratch,
    amounts: Int64Array,
    totals: Int64Array,
    statuses: npt.NDArray[np.int8],
) -> None:
    """Rate all rows; one that does not fit int64 gets amounts of 0 and its status (S1.2)."""
    for row in range(len(plan_index)):
        total, fits = _rate_row(tables, plan_index[row], inputs[row], scratch, amounts[row])
        if fits:
            totals[row] = total
            statuses[row] = _OK
        else:
            clear(amounts[row])
            totals[row] = 0
            statuses[row] = _OUT_OF_RANGE


def rate_rows(
    compiled: CompiledPlans, plan_index: npt.NDArray[np.integer], inputs: Int64Array
) -> RatedRows:
    """Rate n rows in one call, each by the plan that ``plan_index[row]`` names.

    ``plan_index`` is n int32 or int64, ``inputs`` n × ``compiled.input_count`` int64: a row holds
    the columns of its plan's charges (`CompiledPlans.input_columns`), quantities in the meter's
    scale units before included units, events and sums of `percentage` as S3.4 has them (counts are
    never negative); columns beyond are ignored. Raises TypeError for other dtypes, ValueError for
    other shapes and for plans that do not exist. Other strides and read-only arrays are copied.
    """
    plan_index = np.asarray(plan_index)
    inputs = np.asarray(inputs)
    if plan_index.dtype not in (np.dtype(np.int32), np.dtype(np.int64)):
        raise TypeError(f"plan_index must be int32 or int64, not {plan_index.dtype}")
    if inputs.dtype != np.dtype(np.int64):
        raise TypeError(f"inputs must be int64, not {inputs.dtype}")
    if plan_index.ndim != 1:
        raise ValueError(f"plan_index must have one dimension, not {plan_index.ndim}")
    expected = (len(plan_index), compiled.input_count)
    if inputs.shape != expected:
        raise ValueError(f"inputs must have shape {expected}, not {inputs.shape}")
    plan_count = len(compiled.plans)
    if len(plan_index) and (plan_index.min() < 0 or plan_index.max() >= plan_count):
        raise ValueError(f"plan_index must be from 0 to {plan_count - 1}")
    amounts = np.zeros((len(plan_index), compiled.slot_count), dtype=np.int64)
    totals = np.zeros(len(plan_index), dtype=np.int64)
    statuses = np.zeros(len(plan_index), dtype=np.int8)
    _rate_rows(
        compiled.tables,
        # one signature, so that the kernel is compiled once: contiguous, writable, int64
        np.require(plan_index, np.int64, ["C", "W", "A"]),
        np.require(inputs, np.int64, ["C", "W", "A"]),
        new_scratch(compiled.width, compiled.charge_count, compiled.slot_count),
        amounts,
        totals,
        statuses,
    )
    return RatedRows(amounts, totals, statuses)


def rate_statement(
    plan: Plan, counters: Sequence[SeriesCounter], compiled: CompiledPlans | None = None
) -> Statement:
    """Return the explained statement of one customer and one full period (S4).

    It is the first of every term (S5.3). ``compiled`` saves compiling the plan, and must hold it.
    Raises OutOfRange if an amount or a sum of usage does not fit int64 (S1.2).
    """
    if not is_priced_by_rows(plan):
        return _first_statement(plan, counters)
    if compiled is None:
        compiled = compile_plans([plan])
    return _statements(compiled, compiled.plans.index(plan), [counters])[0]


def rate_statements(
    plan: Plan, counters_of_many: Sequence[Sequence[SeriesCounter]]
) -> list[Statement]:
    """Return the statements of many customers of one plan, priced in one call, in their order.

    Raises OutOfRange if an amount of one of them does not fit int64 (S1.2).
    """
    if not is_priced_by_rows(plan):
        return [_first_statement(plan, counters) for counters in counters_of_many]
    return _statements(compile_plans([plan]), 0, counters_of_many)


def is_priced_by_rows(plan: Plan) -> bool:
    """Return whether `rate_rows` gives all lines of one full period, the first of every term.

    A fee that is paid before, and amounts that fall due later, are matters of a contract (S5.6,
    S10.4): rows price them as if they fell due with the usage.
    """
    smoothed = any(charge.smoothing_periods > 1 for charge in plan.charges)
    return not smoothed and not any(
        commitment.payment is Payment.PREPAID for commitment in plan.commitments
    )


def _first_statement(plan: Plan, counters: Sequence[SeriesCounter]) -> Statement:
    """Return the statement of the first period of a contract, as if it were all of it.

    Hourly commitments see all usage as that of one hour, as in rows (S5.5).
    """
    of_an_hour = tuple(replace(c, term=None) if c.hourly else c for c in plan.commitments)
    plan = replace(plan, commitments=of_an_hour)
    installments = [one.at for item in plan.commitments for one in item.schedule]
    instant = min((at for at in installments if at is not None), default=0)
    start, end = BillingCalendar(plan.billing_period).bounds(instant)
    part = PartUsage(start, end, plan, PlanRef(plan.id, 0), tuple(counters))
    usage = ContractUsage(
        customer="",
        subscription_id="",
        subscription_start=start,
        first_period_end=end,
        periods=(PeriodUsage(start, end, 0, (part,)),),
    )
    (rated,) = rate_contract(usage)
    lines = [replace(line, part=None, due_time=None) for line in rated.statement.lines]
    return replace(rated.statement, lines=tuple(lines), period=None)


def _statements(
    compiled: CompiledPlans, plan_index: int, counters_of_many: Sequence[Sequence[SeriesCounter]]
) -> list[Statement]:
    plan = compiled.plans[plan_index]
    count = len(counters_of_many)
    inputs = np.zeros((count, compiled.input_count), dtype=np.int64)
    for row, counters in enumerate(counters_of_many):
        columns = charge_inputs(plan, counters)
        inputs[row, : len(columns)] = columns
    rated = rate_rows(compiled, np.full(count, plan_index, dtype=np.int64), inputs)
    if np.any(rated.statuses == _OUT_OF_RANGE):
        raise OutOfRange(f"plan {plan.id}: an amount does not fit 64 bits")
    slots = compiled.layouts[plan_index]
    return [
        Statement(
            plan_id=plan.id,
            currency=plan.currency,
            scale=plan.rounding.scale,
            lines=explain_lines(plan, inputs[row].tolist(), slots, rated.amounts[row].tolist()),
            total=int(rated.totals[row]),
            unpriced_meters=unpriced_meters(plan, counters),
        )
        for row, counters in enumerate(counters_of_many)
    ]
