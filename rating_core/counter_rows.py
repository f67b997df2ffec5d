"""Rows that continue a counter, as callers hand them over: checked, then cut into chunks (S11)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar, cast
from weakref import finalize

import numpy as np
import numpy.typing as npt

from rating_core.bulk import BulkPlans
from rating_core.catalog import ChargeModel
from rating_core.kernels.fast64 import PlanIndex, names_plans
from rating_core.limbs import Int64Array

_NO_COLUMN = np.zeros(0, dtype=np.int64)
"""Stands for the plan column where all rows have one plan."""

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
            raise ValueError(f"plan_index must be from 0 to {len(self.bulk.plans) - 1}")
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
    if not isinstance(charge, int | np.integer) or isinstance(charge, bool):
        raise TypeError(f"charge must be an int, not {type(charge).__name__}")
    if not 0 <= charge < len(bulk.positions):
        raise ValueError(f"charge must be from 0 to {len(bulk.positions) - 1}, not {charge}")
    charge = int(charge)
    if isinstance(plan_index, np.ndarray):
        if plan_index.dtype not in (np.dtype(np.int32), np.dtype(np.int64)):
            raise TypeError(f"plan_index must be int32 or int64, not {plan_index.dtype}")
        if plan_index.shape != (row_count,):
            raise ValueError(f"plan_index must have shape ({row_count},), not {plan_index.shape}")
        return CounterRows(bulk, charge, plan_index, -1)
    if not isinstance(plan_index, int | np.integer) or isinstance(plan_index, bool):
        raise TypeError(f"plan_index must be an array or an int, not {type(plan_index).__name__}")
    if not 0 <= plan_index < len(bulk.plans):
        raise ValueError(f"plan_index must be from 0 to {len(bulk.plans) - 1}")
    plan = int(plan_index)
    if _refused(bulk, charge)[plan]:
        raise ValueError(_refusal(bulk, plan, charge))
    return CounterRows(bulk, charge, _NO_COLUMN, plan)


def _refusal(bulk: BulkPlans, plan: int, charge: int) -> str:
    charges = bulk.plans[plan].charges
    if charge >= len(charges):
        return f"plan {plan} has no charge {charge}"
    return (
        f"charge {charges[charge].id} of plan {plan} is a percentage of single events:"
        " its price does not follow from one counter"
    )


def check_columns(row_count: int | None = None, **columns: Int64Array) -> int:
    """Return the number of rows of ``columns``, all one-dimensional int64, all of one length.

    Raises TypeError for other types, ValueError for other shapes; the messages name the column.
    """
    for name, column in columns.items():
        if not isinstance(column, np.ndarray):
            raise TypeError(f"{name} must be a NumPy array, not {type(column).__name__}")
        if column.dtype != np.dtype(np.int64):
            raise TypeError(f"{name} must be int64, not {column.dtype}")
        if column.ndim != 1:
            raise ValueError(f"{name} must have one dimension, not {column.ndim}")
        if row_count is None:
            row_count = len(column)
        elif len(column) != row_count:
            raise ValueError(f"{name} must have {row_count} rows, not {len(column)}")
    return row_count or 0


def plain(column: Column) -> Column:
    """Return a column as kernels take it, contiguous, aligned and writable: a copy if need be."""
    return cast("Column", np.require(column, requirements=["C", "A", "W"]))
