"""Plans compiled for bulk rating, and the pipeline as what decides where their tables cannot."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from rating_core.bands import percentage_band
from rating_core.bulk_tables import table64, table128
from rating_core.catalog import ChargeModel, Plan
from rating_core.charge_line import ABSENT, ChargeLine, charge_line
from rating_core.compile import CompiledPlans, compile_plans
from rating_core.errors import RowStatus
from rating_core.kernels.fast64 import SHIFT_MASK, Table64
from rating_core.kernels.fast128 import OUT_OF_RANGE_AMOUNT, Table128
from rating_core.kernels.settle import SettleTables
from rating_core.kernels.vector64 import HALF_BITS, PACKAGE_THRESHOLDS
from rating_core.limbs import Int64Array
from rating_core.pipeline import RatedRows, rate_rows
from rating_core.settle_tables import meter_positions, settle_tables
from rating_core.units import RoundingStage


@dataclass(frozen=True, slots=True)
class ChargeTables:
    """One charge position of all plans: row p of each table is plan p's charge there.

    A plan without a charge at the position has a row of zeros and is not ``present``; ``complete``
    says that there is none.
    """

    narrow: Table64
    wide: Table128
    lines: tuple[ChargeLine, ...]
    present: npt.NDArray[np.bool_]
    complete: bool

    def short(self, plan: int) -> bool:
        """Return whether `rate_short_plan` can price plan ``plan``."""
        return self.narrow.shape.levels == 1 and self.lines[plan].blocks is None

    def package_greatest(self, plan: int) -> int:
        """Return the greatest quantity that `rate_package_plan` may price, −1 if none (S3)."""
        line, shape = self.lines[plan], self.narrow.shape
        if line.blocks is None or shape.levels > 1 or len(line.pieces) > PACKAGE_THRESHOLDS + 1:
            return -1
        shift = int(self.narrow.words[plan * shape.stride + shape.head]) & SHIFT_MASK
        return line.blocks.greatest(((1 << HALF_BITS) - 1) >> shift)


@dataclass(frozen=True)
class BulkPlans:
    """Plans compiled for bulk rating; a plan's index is its position in ``plans``.

    ``positions[c]`` holds the tables of every plan's charge c, ``meters[p, c]`` the position of its
    meter in plan p, −1 for none. What the pipeline reads is compiled when a row first needs it.
    """

    plans: tuple[Plan, ...]
    positions: tuple[ChargeTables, ...]
    meters: Int64Array
    settle: SettleTables
    _whole: dict[int, CompiledPlans] = field(default_factory=dict, repr=False)
    _alone: dict[tuple[int, int], CompiledPlans] = field(default_factory=dict, repr=False)

    @property
    def meter_count(self) -> int:
        """Columns of `rate_batch`'s quantities: the most meters of a plan."""
        return max((len(plan.meters) for plan in self.plans), default=0)

    @property
    def commitment_count(self) -> int:
        """Columns of `rate_batch`'s commitments: the most of a plan."""
        return max((len(plan.commitments) for plan in self.plans), default=0)

    def whole(self, plan: int) -> CompiledPlans:
        """Return one plan for `pipeline.rate_rows`."""
        if plan not in self._whole:
            self._whole[plan] = compile_plans([self.plans[plan]])
        return self._whole[plan]

    def alone(self, plan: int, position: int) -> CompiledPlans:
        """Return one charge as a plan of its own, rounded as a line, for `pipeline.rate_rows`."""
        key = (plan, position)
        if key not in self._alone:
            whole = self.plans[plan]
            single = replace(
                whole,
                charges=(whole.charges[position],),
                rounding=replace(whole.rounding, stage=RoundingStage.LINE),
                commitments=(),
                maximum_amount=None,
                minimum_amount=None,
                examples=(),
            )
            self._alone[key] = compile_plans([single])
        return self._alone[key]


def compile_bulk(plans: Sequence[Plan]) -> BulkPlans:
    """Return ``plans``, valid ones (S2), compiled for `rate_quantities` and `rate_batch`."""
    depth = max((len(plan.charges) for plan in plans), default=0)
    positions = []
    for position in range(depth):
        present = [position < len(plan.charges) for plan in plans]
        lines = tuple(
            charge_line(plan, position) if has else ABSENT
            for plan, has in zip(plans, present, strict=True)
        )
        has_charge = np.array(present, dtype=np.bool_)
        positions.append(
            ChargeTables(table64(lines), table128(lines), lines, has_charge, all(present))
        )
    meters = meter_positions(plans, depth)
    return BulkPlans(tuple(plans), tuple(positions), meters, settle_tables(plans))


def rate_alone(bulk: BulkPlans, plan: int, position: int, quantities: Int64Array) -> Int64Array:
    """Rate one charge by the pipeline, the plan's other charges left out."""
    compiled = bulk.alone(plan, position)
    inputs = np.zeros((len(quantities), compiled.input_count), dtype=np.int64)
    refused = write_inputs(bulk.plans[plan], position, quantities, inputs)
    rated = rate_rows(compiled, np.zeros(len(quantities), dtype=np.int64), inputs)
    lost = refused | (rated.statuses != RowStatus.OK)
    return np.where(lost, OUT_OF_RANGE_AMOUNT, rated.totals)


def write_inputs(
    plan: Plan, position: int, quantities: Int64Array, inputs: Int64Array
) -> npt.NDArray[np.bool_]:
    """Write the pipeline's input columns of one charge, one event a row for `percentage` (S3.4).

    Return which rows the charge refuses: negative events where it has bounds.
    """
    charge = plan.charges[position]
    refused = np.zeros(len(quantities), dtype=np.bool_)
    if charge.model is ChargeModel.FLAT_FEE:
        return refused
    if charge.model is not ChargeModel.PERCENTAGE:
        inputs[:, 0] = quantities
        return refused
    floor, ceiling = refused, refused
    if charge.clamps:
        band = percentage_band(charge, plan.meter(charge.meter or "").scale)
        refused = quantities < 0
        if band.floor_max is not None:
            floor = quantities <= band.floor_max
        if band.ceiling_min is not None:
            ceiling = ~floor & (quantities >= band.ceiling_min)
    between = ~floor & ~ceiling
    inputs[:, 0] = between
    inputs[:, 1] = np.where(between, quantities, 0)
    inputs[:, 2] = floor
    inputs[:, 3] = ceiling
    return refused


def rate_whole(
    bulk: BulkPlans, index: int, meter_quantities: Int64Array
) -> tuple[RatedRows, npt.NDArray[np.bool_]]:
    """Rate statements of one plan by the pipeline; return them and which of them fit (S1.2).

    ``meter_quantities`` holds a column for each meter of the plan, in its order (S11.3).
    """
    plan, compiled = bulk.plans[index], bulk.whole(index)
    row_count = len(meter_quantities)
    inputs = np.zeros((row_count, compiled.input_count), dtype=np.int64)
    refused = np.zeros(row_count, dtype=np.bool_)
    for position, column in enumerate(compiled.input_columns[0]):
        quantities = meter_quantities[:, bulk.meters[index, position]]
        refused |= write_inputs(plan, position, quantities, inputs[:, column:])
    rated = rate_rows(compiled, np.zeros(row_count, dtype=np.int64), inputs)
    return rated, ~refused & (rated.statuses == RowStatus.OK)
