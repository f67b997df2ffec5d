"""Seeded workloads."""

from __future__ import annotations

from decimal import Decimal

import numpy as np
from numpy.typing import NDArray

from rating_core.catalog import Aggregation, BillingPeriod, Charge, ChargeModel, Meter, Plan, Tier

SEED = 20261121


def graduated_plan(tiers: int = 5) -> Plan:
    """One charge of ``tiers`` graduated tiers with 6-decimal prices, bounds 10^2, 10^4, …"""
    rng = np.random.default_rng(SEED)
    prices = [Decimal(int(price)).scaleb(-6) for price in rng.integers(1, 10_000, tiers)]
    bounds = [Decimal(10) ** (2 * number + 2) for number in range(tiers - 1)]
    rows = [Tier(bound, price) for bound, price in zip([*bounds, None], prices, strict=True)]
    return Plan(
        id="graduated",
        currency="USD",
        billing_period=BillingPeriod.MONTH,
        meters=(Meter("units", Aggregation.SUM),),
        charges=(Charge("units", ChargeModel.GRADUATED, meter="units", tiers=tuple(rows)),),
    )


def log_uniform(count: int) -> NDArray[np.int64]:
    """Quantities 1 … 10^10, uniform in their logarithm, int64[count]."""
    rng = np.random.default_rng(SEED)
    return np.exp(rng.uniform(0.0, np.log(1e10), count)).astype(np.int64)
