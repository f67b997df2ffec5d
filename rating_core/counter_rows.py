"""Rows that continue a counter, as callers hand them over: checked, then cut into chunks (S11)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar, cast
from weakref import finalize

import numpy as np
import numpy.typing as npt

from rating_core.bulk_columns import checked_charge, no_such_plan, plan_column
from rating_core.bulk_plans import BulkPlans
from rating_core.catalog import ChargeModel
from rating_core.kernels.fast64 import PlanIndex, names_plans

T = TypeVar("T")
Column = TypeVar("Column", bound=npt.NDArray[np.integer])


def once_a_charge(derive: Callable[[BulkPlans, int], T]) -> Callable[[BulkPlans, int], T]:
    """Keep what ``derive`` makes of a charge position, for as long as its plans are alive."""
    kept: dict[tuple[int, int], T] = {}

    def look_up(bulk: BulkPlans, charge: int) -> T:
        key = (id(bulk), charge)
        if key not in kept:
            kept[key] = derive(bulk, charge)
            finalize(bulk, kept.pop, key, None)
        return kept[key]

    return look_up


@once_a_charge
def _refused(bulk: BulkPlans, charge: int) -> npt.NDArray[np.bool_]:
    """Return which plans have no charge at the position, or one without a counter (S3.4)."""
    models = [
        plan.charges[charge].model if charge < len(plan.charges) else None for plan in bulk.plans
    ]
    return np.array([model in (None, ChargeModel.PERCENTAGE) for model in models], dtype=np.bool_)


@dataclass(frozen=True, slots=True)
class CounterRows:
    """The charge that each row continues: of ``plan``, or below 0, of the plan in ``column``."""

    bulk: BulkPlans
    charge: int
    column: PlanIndex
    plan: int

    def plans(self, start: int, end: int) -> PlanIndex:
        """Return the plan column of a range of rows, as kernels take it; empty for one plan.

        Raises ValueError for plans that do not exist, that lack the charge, and for `percentage`.
        """
        if self.plan >= 0:
            return self.column
        column = plain(self.column[start:end])
        if not names_plans(column, len(self.bulk.plans)):
            raise no_such_plan(self.bulk)
        refused = _refused(self.bulk, self.charge)
        if refused.any():
            wrong = column[refused[column]]
            if len(wrong):
                raise ValueError(_refusal(self.bulk, int(wrong[0]), self.charge))
        return column


def counter_rows(
    bulk: BulkPlans, plan_index: PlanIndex | int, charge: int, row_count: int
) -> CounterRows:
    """Return what names the charge of each row; the plan column itself is checked by chunks.

    Raises TypeError for other types than int, int32 and int64 arrays, ValueError for other shapes,
    for a plan or charge that does not exist, and for a `percentage` charge (S3.4).
    """
    charge = checked_charge(bulk, charge)
    column, plan = plan_column(bulk, plan_index, row_count)
    if plan >= 0 and _refused(bulk, charge)[plan]:
        raise ValueError(_refusal(bulk, plan, charge))
    return CounterRows(bulk, charge, column, plan)


def _refusal(bulk: BulkPlans, plan: int, charge: int) -> str:
    charges = bulk.plans[plan].charges
    if charge >= len(charges):
        return f"plan {plan} has no charge {charge}"
    return (
        f"charge {charges[charge].id} of plan {plan} is a percentage of single events:"
        " its price does not follow from one counter"
    )


def plain(column: Column) -> Column:
    """Return a column as kernels take it, contiguous, aligned and writable: a copy if need be."""
    return cast("Column", np.require(column, requirements=["C", "A", "W"]))
