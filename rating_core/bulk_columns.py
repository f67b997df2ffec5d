"""What callers of bulk rating hand over, checked: columns, plans, charges (S11)."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from rating_core.bulk_plans import BulkPlans
from rating_core.kernels.fast64 import PlanIndex
from rating_core.limbs import Int64Array

_ONE_PLAN = np.zeros(0, dtype=np.int64)
"""Stands for the plan column where all rows have one plan."""


def check_array(name: str, array: npt.NDArray[Any]) -> None:
    """Raise TypeError unless ``array`` is a NumPy array of int64 without a mask."""
    if isinstance(array, np.ma.MaskedArray):
        raise TypeError(f"{name} must have no mask: fill it first")
    if not isinstance(array, np.ndarray):
        raise TypeError(f"{name} must be a NumPy array, not {type(array).__name__}")
    if array.dtype != np.dtype(np.int64):
        raise TypeError(f"{name} must be int64, not {array.dtype}")


def check_columns(row_count: int | None = None, **columns: Int64Array) -> int:
    """Return the number of rows of ``columns``, all one-dimensional int64, all of one length.

    Raises TypeError for other types, ValueError for other shapes; the messages name the column.
    """
    for name, column in columns.items():
        check_array(name, column)
        if column.ndim != 1:
            raise ValueError(f"{name} must have one dimension, not {column.ndim}")
        if row_count is None:
            row_count = len(column)
        elif len(column) != row_count:
            raise ValueError(f"{name} must have {row_count} rows, not {len(column)}")
    return row_count or 0


def checked_charge(bulk: BulkPlans, charge: int) -> int:
    """Return a charge position; TypeError if it is no integer, ValueError if no plan has it."""
    if not isinstance(charge, int | np.integer) or isinstance(charge, bool):
        raise TypeError(f"charge must be an int, not {type(charge).__name__}")
    if not bulk.positions:
        raise ValueError("charge must be that of a plan, and there are no plans with charges")
    if not 0 <= charge < len(bulk.positions):
        raise ValueError(f"charge must be from 0 to {len(bulk.positions) - 1}, not {charge}")
    return int(charge)


def plan_column(
    bulk: BulkPlans, plan_index: PlanIndex | int, row_count: int
) -> tuple[PlanIndex, int]:
    """Return (column, −1), or (no column, plan) where one plan rates all rows.

    Raises TypeError for other types than int, int32 and int64 arrays, ValueError for other shapes
    and for one plan that does not exist; a column's plans are not checked.
    """
    if isinstance(plan_index, np.ma.MaskedArray):
        raise TypeError("plan_index must have no mask: fill it first")
    if isinstance(plan_index, np.ndarray):
        if plan_index.dtype not in (np.dtype(np.int32), np.dtype(np.int64)):
            raise TypeError(f"plan_index must be int32 or int64, not {plan_index.dtype}")
        if plan_index.shape != (row_count,):
            raise ValueError(f"plan_index must have shape ({row_count},), not {plan_index.shape}")
        return plan_index, -1
    if not isinstance(plan_index, int | np.integer) or isinstance(plan_index, bool):
        raise TypeError(f"plan_index must be an array or an int, not {type(plan_index).__name__}")
    if not 0 <= plan_index < len(bulk.plans):
        raise no_such_plan(bulk)
    return _ONE_PLAN, int(plan_index)


def no_such_plan(bulk: BulkPlans) -> ValueError:
    """Return the error for a plan that ``bulk`` does not have."""
    if not bulk.plans:
        return ValueError("plan_index must name a plan, and there are no plans")
    return ValueError(f"plan_index must be from 0 to {len(bulk.plans) - 1}")


def apart(array: npt.NDArray[Any], out: Int64Array) -> npt.NDArray[Any]:
    """Return ``array``, or a copy if writing to ``out`` might change it."""
    return array.copy() if np.may_share_memory(array, out) else array
