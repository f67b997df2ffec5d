"""Compiles, or loads from the cache, what the first request would otherwise wait for."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import numpy as np

from rating_core.bulk import compile_bulk, rate_batch
from rating_core.catalog import Aggregation, BillingPeriod, Charge, ChargeModel, Meter, Plan, Tier
from rating_core.counter import SeriesCounter
from rating_core.pipeline import rate_statement
from rating_core.units import INT64_MAX
from rating_server.store.warm_up import warm_up


def warm_kernels() -> None:
    """Rate one small statement, and a few rows in bulk: all plans share the same kernels.

    Rows in bulk meet a plan of few tiers, one of blocks, both at once, and amounts for which 64
    bits, and then 128, are too few: each takes another path (`rating_core.bulk`).
    """
    tiers = (Tier(Decimal(10), Decimal("0.5")), Tier(None, Decimal(999999999)))
    plans = [
        _plan(ChargeModel.GRADUATED, tiers=tiers),
        _plan(
            ChargeModel.PACKAGE,
            package_size=Decimal(10),
            package_price=Decimal(1),
            minimum_amount=Decimal(1),
        ),
    ]
    rate_statement(plans[0], [SeriesCounter("units", (), 25, 1)])
    bulk = compile_bulk(plans)
    quantities = np.array([[25], [INT64_MAX]], np.int64)
    for index in (0, 1, np.array([0, 1], np.int32)):
        rate_batch(bulk, index, quantities)


def _plan(model: ChargeModel, **keys: Any) -> Plan:
    return Plan(
        id="warm",
        currency="XXX",
        billing_period=BillingPeriod.MONTH,
        meters=(Meter("units", Aggregation.SUM),),
        charges=(Charge("units", model, meter="units", **keys),),
    )


def main() -> None:
    """Compile all kernels of pricing and counting into the cache; set-up runs this once."""
    warm_kernels()
    warm_up()


if __name__ == "__main__":
    main()
