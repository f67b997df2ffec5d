"""Compiles, or loads from the cache, what the first request would otherwise wait for."""

from __future__ import annotations

from decimal import Decimal

from rating_core.catalog import Aggregation, BillingPeriod, Charge, ChargeModel, Meter, Plan, Tier
from rating_core.counter import SeriesCounter
from rating_core.pipeline import rate_statement
from rating_server.store.warm_up import warm_up


def warm_kernels() -> None:
    """Rate one small statement: all plans share the same compiled kernels."""
    plan = Plan(
        id="warm",
        currency="XXX",
        billing_period=BillingPeriod.MONTH,
        meters=(Meter("units", Aggregation.SUM),),
        charges=(
            Charge(
                "units",
                ChargeModel.GRADUATED,
                meter="units",
                tiers=(Tier(Decimal(10), Decimal("0.5")), Tier(None, Decimal("0.25"))),
            ),
        ),
    )
    rate_statement(plan, [SeriesCounter("units", (), 25, 1)])


def main() -> None:
    """Compile all kernels of pricing and counting into the cache; set-up runs this once."""
    warm_kernels()
    warm_up()


if __name__ == "__main__":
    main()
