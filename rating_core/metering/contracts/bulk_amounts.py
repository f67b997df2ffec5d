"""Amounts of many plain contracts of one plan, in columns (S9.2).

Where every line is a charge's, rounded by itself, each charge is a column for the bulk kernels,
which give the pipeline's amounts; all other plans are rated by the pipeline.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from rating_core.bulk import OUT_OF_RANGE_AMOUNT, BulkPlans, compile_bulk, rate_quantities
from rating_core.catalog import ChargeModel, Plan
from rating_core.compile import CompiledPlans, compile_plans
from rating_core.errors import RowStatus
from rating_core.pipeline import rate_rows
from rating_core.units import RoundingStage

_SUM_SAFE = 1 << 62
"""Amounts whose sum of magnitudes is below this add up within int64, in any order."""


@dataclass(frozen=True, slots=True, eq=False)
class BulkAmounts:
    """Amounts in units of 10^-scale: int64[rows, lines], their sums, and which rows have them."""

    lines: tuple[str, ...]
    amounts: NDArray[np.int64]
    totals: NDArray[np.int64]
    fit: NDArray[np.bool_]


@lru_cache(maxsize=256)
def compiled_plan(plan: Plan) -> CompiledPlans:
    """Return one plan, compiled; its ``input_columns[0]`` say what `bulk_amounts` takes."""
    return compile_plans([plan])


@lru_cache(maxsize=256)
def _bulk_plan(plan: Plan) -> BulkPlans | None:
    """Return a plan for the bulk kernels, ``None`` where they cannot give every line (S4.2)."""
    lines = tuple(dict.fromkeys(slot.id for slot in compiled_plan(plan).layouts[0]))
    by_charge = lines == tuple(charge.id for charge in plan.charges)
    by_line = plan.rounding.stage is RoundingStage.LINE
    events = any(charge.model is ChargeModel.PERCENTAGE for charge in plan.charges)
    return compile_bulk([plan]) if by_charge and by_line and not events else None


def bulk_amounts(plan: Plan, inputs: NDArray[np.int64]) -> BulkAmounts:
    """Rate a statement a row; ``inputs`` as `rate_rows` takes them, none negative (S3, S4).

    Lines come in the order of the statement. Rows whose amounts do not fit int64 are not ``fit``
    (S1.2).
    """
    bulk = _bulk_plan(plan)
    rated = None if bulk is None else _by_charge(bulk, plan, inputs)
    return _by_row(plan, inputs) if rated is None else rated


def _by_charge(bulk: BulkPlans, plan: Plan, inputs: NDArray[np.int64]) -> BulkAmounts | None:
    """Return what the bulk kernels give, ``None`` if the sums might not fit."""
    amounts = np.zeros((len(inputs), len(plan.charges)), np.int64)
    columns = compiled_plan(plan).input_columns[0]
    for place, (charge, column) in enumerate(zip(plan.charges, columns, strict=True)):
        flat = charge.model is ChargeModel.FLAT_FEE
        quantities = np.zeros(len(inputs), np.int64) if flat else inputs[:, column]
        amounts[:, place] = rate_quantities(bulk, quantities, charge=place)
    fit = (amounts != OUT_OF_RANGE_AMOUNT).all(axis=1)
    amounts[~fit] = 0
    limit = _SUM_SAFE // max(1, len(plan.charges))
    if amounts.size and (amounts.max() >= limit or amounts.min() <= -limit):
        return None
    lines = tuple(charge.id for charge in plan.charges)
    return BulkAmounts(lines, amounts, amounts.sum(axis=1), fit)


def _by_row(plan: Plan, inputs: NDArray[np.int64]) -> BulkAmounts:
    compiled = compiled_plan(plan)
    rated = rate_rows(compiled, np.zeros(len(inputs), np.int64), inputs)
    lines = list(dict.fromkeys(slot.id for slot in compiled.layouts[0]))
    amounts = np.zeros((len(inputs), len(lines)), np.int64)
    for place, slot in enumerate(compiled.layouts[0]):
        amounts[:, lines.index(slot.id)] += rated.amounts[:, place]
    return BulkAmounts(tuple(lines), amounts, rated.totals, rated.statuses == int(RowStatus.OK))
