"""Thresholds of a `percentage` charge: which events stand at its floor or ceiling (S3.4).

The price of one event, clamp(quantity × percent + fixed, min, max), never falls as the quantity
grows; so two thresholds split events into floor, between and ceiling, and counters of number and
sum price all of them without holding money.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from rating_core.catalog import Charge, ChargeModel, Plan
from rating_core.units import INT64_MAX


@dataclass(frozen=True, slots=True)
class Band:
    """Thresholds in the meter's scale units, for quantities ≥ 0; ``None`` where there is none.

    An event of quantity q stands at the floor if ``floor_max`` is set and q <= floor_max,
    otherwise at the ceiling if ``ceiling_min`` is set and q >= ceiling_min, otherwise between.
    """

    floor_max: int | None
    ceiling_min: int | None


def percentage_band(charge: Charge, scale: int) -> Band:
    """Return the thresholds of ``charge`` for a meter of ``scale`` decimals."""
    rate = Fraction(charge.percent) / 100 / 10**scale
    fixed = Fraction(charge.fixed_fee_per_event)
    floor_max: int | None = None
    ceiling_min: int | None = None
    if charge.min_per_event is not None:
        gap = Fraction(charge.min_per_event) - fixed
        if gap >= 0:
            floor_max = min(INT64_MAX, gap // rate) if rate else INT64_MAX
    if charge.max_per_event is not None:
        gap = Fraction(charge.max_per_event) - fixed
        if gap <= 0:
            ceiling_min = 0
        elif rate:
            threshold = -((-gap) // rate)
            ceiling_min = threshold if threshold <= INT64_MAX else None
    return Band(floor_max, ceiling_min)


def plan_bands(plan: Plan) -> dict[str, dict[str, tuple[int | None, int | None]]]:
    """Return the thresholds by which events are counted apart, by meter and charge (S3.4)."""
    bands: dict[str, dict[str, tuple[int | None, int | None]]] = {}
    for charge in plan.charges:
        if charge.model is ChargeModel.PERCENTAGE and charge.clamps and charge.meter is not None:
            band = percentage_band(charge, plan.meter(charge.meter).scale)
            thresholds = (band.floor_max, band.ceiling_min)
            bands.setdefault(charge.meter, {})[charge.id] = thresholds
    return bands
