"""What pricing takes from counters: the input columns of charges, and meters without a price."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from rating_core.catalog import Charge, ChargeModel, Plan
from rating_core.counter import BandCount, SeriesCounter, combined_value
from rating_core.errors import OutOfRange
from rating_core.limbs import Int64Array
from rating_core.units import fits_int64


def charge_inputs(plan: Plan, counters: Sequence[SeriesCounter]) -> Int64Array:
    """Return the input columns of ``plan`` for one customer, over matching series (S6.2).

    A negative quantity stands as 0, which is what it prices as (S3.2). Raises OutOfRange, which
    names the charge, if a sum does not fit int64.
    """
    columns = [
        column for charge in plan.charges for column in charge_columns(plan, charge, counters)
    ]
    return np.array(columns, dtype=np.int64)


def charge_columns(plan: Plan, charge: Charge, counters: Sequence[SeriesCounter]) -> list[int]:
    """Return the input columns of one charge, none of a flat fee; as `charge_inputs`."""
    if charge.model is ChargeModel.FLAT_FEE:
        return []
    columns = [max(column, 0) for column in _counted(plan, charge, counters)]
    if not all(map(fits_int64, columns)):
        raise OutOfRange(f"plan {plan.id}: the usage of charge {charge.id} does not fit 64 bits")
    return columns


def _counted(plan: Plan, charge: Charge, counters: Sequence[SeriesCounter]) -> list[int]:
    matching = [
        counter
        for counter in counters
        if counter.meter == charge.meter
        and (counter.dimensions is None or charge.matches(dict(counter.dimensions)))
    ]
    value = combined_value(plan.meter(charge.meter or "").aggregation, matching) if matching else 0
    if charge.model is not ChargeModel.PERCENTAGE:
        return [value]
    events = sum(counter.events for counter in matching)
    if not charge.clamps:
        return [events, value, 0, 0]
    none = BandCount()
    bands = [counter.bands.get(charge.id, none) for counter in matching]
    floor = sum(band.floor_events for band in bands)
    ceiling = sum(band.ceiling_events for band in bands)
    between_sum = sum(band.between_sum for band in bands)
    return [events - floor - ceiling, between_sum, floor, ceiling]


def unpriced_meters(plan: Plan, counters: Sequence[SeriesCounter]) -> tuple[str, ...]:
    """Return the meters with events that no charge prices, sorted (S7.3)."""
    priced = {charge.meter for charge in plan.charges}
    counted = {counter.meter for counter in counters if counter.events > 0}
    return tuple(sorted(counted - priced))
