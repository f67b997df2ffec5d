"""Compiles, or loads from the cache, what the first request would otherwise wait for."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import numpy as np

from rating_core.bulk import compile_bulk, rate_batch
from rating_core.catalog import Aggregation, BillingPeriod, Charge, ChargeModel, Meter, Plan, Tier
from rating_core.counter import SeriesCounter
from rating_core.inverse import max_quantity
from rating_core.marginal import rate_delta, rate_deltas_in_order
from rating_core.pipeline import rate_statement
from rating_core.units import INT64_MAX, SCALE_MAX
from rating_server.store.warm_up import warm_up

_TIERS = (Tier(Decimal(10), Decimal("0.5")), Tier(None, Decimal(999999999)))
_QUANTITIES = np.array([25, INT64_MAX], np.int64)


def warm_kernels() -> None:
    """Rate one small statement, and a few rows in bulk: all plans share the same kernels.

    Rows in bulk meet a plan of few tiers, one of blocks, one of prices that only the pipeline can
    multiply out, and all at once. For some of their amounts 64 bits, and then 128, are too few:
    each takes another path (`rating_core.bulk`).
    """
    bulk = compile_bulk(_bulk_plans())
    rate_statement(bulk.plans[0], [SeriesCounter("units", (), 25, 1)])
    for index in (0, 1, 2, np.array([0, 1], np.int32), np.array([2, 2], np.int32)):
        rate_batch(bulk, index, _QUANTITIES.reshape(-1, 1))


def warm_columns() -> None:
    """Rate rows that only callers of the core in Python have: 64-bit plan columns, counters."""
    bulk = compile_bulk(_bulk_plans())
    before = np.zeros(2, np.int64)
    budgets = np.array([1, INT64_MAX], np.int64)
    for pair in ([0, 1], [2, 2]):
        for index in (np.array(pair, np.int32), np.array(pair, np.int64)):
            rate_batch(bulk, index, _QUANTITIES.reshape(-1, 1))
            rate_delta(bulk, index, 0, before, _QUANTITIES)
            max_quantity(bulk, index, 0, before, budgets)
    rate_deltas_in_order(bulk, 0, 0, before, _QUANTITIES, before)


def _bulk_plans() -> list[Plan]:
    block = {"package_size": Decimal(10), "package_price": Decimal(1)}
    least = Decimal(1).scaleb(-SCALE_MAX)
    # 2^64 times its denominator is beyond 128 bits
    fine = {"unit_price": 1 + least, "discount_percent": Decimal("0.000001")}
    return [
        _plan(ChargeModel.GRADUATED, 0, tiers=_TIERS),
        _plan(ChargeModel.PACKAGE, 0, minimum_amount=Decimal(1), **block),
        _plan(ChargeModel.PER_UNIT, SCALE_MAX, included_units=1 + least, **fine),
    ]


def _plan(model: ChargeModel, scale: int, **keys: Any) -> Plan:
    return Plan(
        id="warm",
        currency="XXX",
        billing_period=BillingPeriod.MONTH,
        meters=(Meter("units", Aggregation.SUM, scale=scale),),
        charges=(Charge("units", model, meter="units", **keys),),
    )


def main() -> None:
    """Compile all kernels of pricing and counting into the cache; set-up runs this once."""
    warm_kernels()
    warm_columns()
    warm_up()


if __name__ == "__main__":
    main()
