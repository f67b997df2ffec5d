"""Rating in bulk: columns of quantities in, columns of amounts out, exact at the speed of memory.

`rate_quantities` prices one charge a row, `rate_batch` whole statements. Both choose, row by row,
the fastest arithmetic that is proved to be exact: 64 bits, then 128, then the pipeline itself,
which stays the truth that the others are tested against.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from rating_core.bulk_columns import (
    apart,
    check_array,
    check_columns,
    checked_charge,
    no_such_plan,
    plan_column,
)
from rating_core.bulk_plans import (
    BulkPlans,
    ChargeTables,
    compile_bulk,
    rate_alone,
    rate_whole,
)
from rating_core.errors import RowStatus
from rating_core.kernels.fast64 import (
    PlanIndex,
    names_plans,
    rate_plan,
    rate_plans,
)
from rating_core.kernels.fast128 import OUT_OF_RANGE_AMOUNT, finish_rows, open_rows
from rating_core.kernels.settle import OPEN, pick_column, settle_rows
from rating_core.kernels.vector64 import rate_package_plan, rate_short_plan
from rating_core.limbs import Int64Array
from rating_core.statement import LineKind
from rating_core.threads import check_threads, run_chunks

__all__ = [
    "OUT_OF_RANGE_AMOUNT",
    "BatchAmounts",
    "BulkPlans",
    "compile_bulk",
    "rate_batch",
    "rate_quantities",
]

Column = TypeVar("Column", bound=npt.NDArray[Any])


def rate_quantities(
    bulk: BulkPlans,
    quantities: Int64Array,
    plan_index: PlanIndex | int = 0,
    *,
    charge: int = 0,
    out: Int64Array | None = None,
    threads: int = 1,
) -> Int64Array:
    """Return the final amount of one charge for each quantity, in units of 10^-scale (S3, S4).

    ``quantities`` is n int64 in the meter's scale units, before included units; of a `percentage`
    charge each is one event (S11.3). ``plan_index`` is n int32 or int64, or one plan for all rows;
    ``charge`` is the charge's position in every plan. The amount is the sum of the charge's lines:
    after discount, maximum and minimum, rounded by the plan's mode. At stage `statement` too the
    charge is rounded by itself; its share of a statement is `rate_batch`'s (S1.4).

    Rows whose amount does not fit int64 after any of these steps get `OUT_OF_RANGE_AMOUNT` (S1.2);
    so do negative events of a `percentage` charge with bounds (S3.4). ``out``, n writable int64,
    receives the amounts if given; inputs whose memory it may overlap are copied first. Read-only
    arrays and other strides are copied chunk by chunk.
    Raises TypeError for other types, ValueError for other shapes, for plans and charges that do not
    exist.
    """
    row_count = check_columns(quantities=quantities)
    check_threads(threads)
    charge = checked_charge(bulk, charge)
    column, plan = plan_column(bulk, plan_index, row_count)
    tables = bulk.positions[charge]
    if plan >= 0 and not tables.present[plan]:
        raise ValueError(f"plan {plan} has no charge {charge}")
    amounts = np.empty(row_count, dtype=np.int64) if out is None else out
    _check_out(amounts, row_count)
    if out is not None:
        quantities, column = apart(quantities, out), apart(column, out)

    def rate(start: int, end: int) -> None:
        amounts_here = amounts[start:end]
        direct = amounts_here.flags.c_contiguous and amounts_here.flags.aligned
        target = amounts_here if direct else np.empty(end - start, dtype=np.int64)
        here = column if plan >= 0 else _plain(column[start:end])
        if plan < 0:
            _check_plans(bulk, here, tables, charge)
        rate_chunk(bulk, charge, _plain(quantities[start:end]), here, plan, target)
        if not direct:
            amounts_here[:] = target

    run_chunks(rate, row_count, threads)
    return amounts


def rate_chunk(
    bulk: BulkPlans,
    charge: int,
    quantities: Int64Array,
    plan_index: PlanIndex,
    plan: int,
    out: Int64Array,
) -> None:
    """Rate contiguous rows of one charge by the fastest exact arithmetic each (S1.2).

    ``plan`` ≥ 0 is the plan of all rows; below 0, ``plan_index`` names it. Nothing is checked.
    """
    tables = bulk.positions[charge]
    narrow, wide = tables.narrow, tables.wide
    if plan < 0:
        failed = rate_plans(narrow, plan_index, quantities, out)
    elif tables.short(plan):
        failed = rate_short_plan(narrow, plan, quantities, out)
    else:
        greatest = tables.package_greatest(plan)
        failed = greatest < 0 or rate_package_plan(narrow, plan, greatest, quantities, out)
        failed = failed and rate_plan(narrow, plan, quantities, out)
    if not failed:
        return
    left = finish_rows(narrow, wide, plan_index, plan, quantities, out)
    if left:
        rows = np.empty(left, dtype=np.int64)
        open_rows(narrow, wide, plan_index, plan, quantities, rows)
        plans = np.full(left, plan) if plan >= 0 else plan_index[rows]
        for each in np.unique(plans).tolist():
            chosen = rows[plans == each]
            out[chosen] = rate_alone(bulk, each, charge, quantities[chosen])


def _plain(column: Column) -> Column:
    """Return a column as kernels take it, contiguous, aligned and writable: a copy if need be."""
    plain: Column = np.require(column, requirements=["C", "A", "W"])
    return plain


def _check_out(out: Int64Array, row_count: int) -> None:
    check_columns(row_count, out=out)
    if not out.flags.writeable:
        raise ValueError("out must be writable")


def _check_plans(bulk: BulkPlans, column: PlanIndex, tables: ChargeTables, charge: int) -> None:
    if not names_plans(column, len(bulk.plans)):
        raise no_such_plan(bulk)
    if not tables.complete and not tables.present[column].all():
        missing = int(column[~tables.present[column]][0])
        raise ValueError(f"plan {missing} has no charge {charge}")


@dataclass(frozen=True, slots=True)
class BatchAmounts:
    """Amounts of n statements in units of 10^-scale of each row's plan (S11.3).

    ``charges`` is n × the most charges of a plan, each the sum of its lines (S4.2); ``commitments``
    n × the most commitments, in document order; columns that a plan does not have are 0.
    ``statuses`` holds `RowStatus` codes; rows that are not OK have amounts of 0 (S1.2).
    """

    charges: Int64Array
    commitments: Int64Array
    totals: Int64Array
    statuses: npt.NDArray[np.int8]


def rate_batch(
    bulk: BulkPlans,
    plan_index: PlanIndex | int,
    meter_quantities: Int64Array,
    *,
    threads: int = 1,
) -> BatchAmounts:
    """Rate n statements, each from one quantity a meter in its plan's meter order (S11.3).

    ``plan_index`` is n int32 or int64, or one plan for all rows; ``meter_quantities`` n ×
    ``bulk.meter_count`` int64 in scale units, columns beyond a plan's meters ignored. A quantity
    matches every `where`; for `percentage` it is one event (S6.5). Amounts and statuses are those
    of `pipeline.rate_rows`; a negative event of a `percentage` charge with bounds is OUT_OF_RANGE
    (S3.4). Plans of stage `statement` with more than one line are left to the pipeline.

    Raises TypeError for other types, ValueError for other shapes and plans that do not exist.
    """
    check_array("meter_quantities", meter_quantities)
    if meter_quantities.ndim != 2 or meter_quantities.shape[1] != bulk.meter_count:
        shape = meter_quantities.shape
        raise ValueError(f"meter_quantities must have shape (n, {bulk.meter_count}), not {shape}")
    check_threads(threads)
    row_count = len(meter_quantities)
    column, plan = plan_column(bulk, plan_index, row_count)
    rated = BatchAmounts(
        np.zeros((row_count, len(bulk.positions)), dtype=np.int64),
        np.zeros((row_count, bulk.commitment_count), dtype=np.int64),
        np.zeros(row_count, dtype=np.int64),
        np.zeros(row_count, dtype=np.int8),
    )

    def rate(start: int, end: int) -> None:
        here = column if plan >= 0 else _plain(column[start:end])
        if plan < 0 and not names_plans(here, len(bulk.plans)):
            raise no_such_plan(bulk)
        part = BatchAmounts(
            rated.charges[start:end],
            rated.commitments[start:end],
            rated.totals[start:end],
            rated.statuses[start:end],
        )
        _rate_statements(bulk, here, plan, _plain(meter_quantities[start:end]), part)

    run_chunks(rate, row_count, threads)
    return rated


def _rate_statements(
    bulk: BulkPlans,
    plan_index: PlanIndex,
    plan: int,
    meter_quantities: Int64Array,
    part: BatchAmounts,
) -> None:
    """Rate a chunk of statements: charge by charge, then commitments and bounds row by row."""
    amounts = np.empty(len(part.totals), dtype=np.int64)
    quantities = np.empty_like(amounts)
    for position in range(len(bulk.positions) if plan < 0 else len(bulk.plans[plan].charges)):
        pick_column(bulk.meters, position, plan_index, plan, meter_quantities, quantities)
        rate_chunk(bulk, position, quantities, plan_index, plan, amounts)
        part.charges[:, position] = amounts
    uncovered = np.empty(len(bulk.positions), dtype=np.int64)
    still_open = settle_rows(
        bulk.settle,
        plan_index,
        plan,
        part.charges,
        uncovered,
        part.commitments,
        part.totals,
        part.statuses,
    )
    if still_open:
        rows = np.flatnonzero(part.statuses == OPEN)
        plans = np.full(len(rows), plan) if plan >= 0 else plan_index[rows]
        for each in np.unique(plans).tolist():
            chosen = rows[plans == each]
            _write_statements(bulk, each, meter_quantities[chosen], chosen, part)


def _write_statements(
    bulk: BulkPlans, index: int, meter_quantities: Int64Array, rows: Int64Array, part: BatchAmounts
) -> None:
    """Rate rows of one plan by the pipeline and write them to their places."""
    plan, compiled = bulk.plans[index], bulk.whole(index)
    rated, fits = rate_whole(bulk, index, meter_quantities)
    part.statuses[rows] = np.where(fits, RowStatus.OK, RowStatus.OUT_OF_RANGE)
    part.totals[rows] = np.where(fits, rated.totals, 0)
    charges = {charge.id: place for place, charge in enumerate(plan.charges)}
    commitments = {item.id: place for place, item in enumerate(plan.commitments)}
    for slot, line in enumerate(compiled.layouts[0]):
        amounts = np.where(fits, rated.amounts[:, slot], 0)
        if line.kind is LineKind.COMMITMENT:
            part.commitments[rows, commitments[line.id]] = amounts
        elif line.id in charges:
            part.charges[rows, charges[line.id]] += amounts
