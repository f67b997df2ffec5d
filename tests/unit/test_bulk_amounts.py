"""Amounts in columns are the pipeline's, whichever kernels give them (S3, S4, S9.2)."""

from __future__ import annotations

import random
from dataclasses import replace
from decimal import Decimal

import numpy as np
import pytest

from rating_core.catalog import (
    Aggregation,
    BillingPeriod,
    Charge,
    ChargeModel,
    Meter,
    Plan,
    Rounding,
    Tier,
)
from rating_core.errors import RowStatus
from rating_core.metering.contracts.bulk_amounts import bulk_amounts, compiled_plan
from rating_core.pipeline import rate_rows
from rating_core.units import RoundingStage

TIERS = (Tier(Decimal(1000), Decimal("0.013")), Tier(None, Decimal("0.0071")))
PLAN = Plan(
    "plan",
    "USD",
    BillingPeriod.MONTH,
    (
        Charge("base", ChargeModel.FLAT_FEE, amount=Decimal("5.005")),
        Charge("each", ChargeModel.PER_UNIT, "a", unit_price=Decimal("0.0005")),
        Charge(
            "steps",
            ChargeModel.GRADUATED,
            "b",
            included_units=Decimal(100),
            tiers=TIERS,
            discount_percent=Decimal(10),
            minimum_amount=Decimal(1),
            maximum_amount=Decimal(900),
        ),
        Charge("all", ChargeModel.VOLUME, "b", tiers=TIERS),
        Charge(
            "boxes",
            ChargeModel.PACKAGE,
            "a",
            package_size=Decimal(7),
            package_price=Decimal("0.03"),
        ),
    ),
    meters=(Meter("a", Aggregation.SUM), Meter("b", Aggregation.SUM)),
)
EVENTS = Charge("fees", ChargeModel.PERCENTAGE, "a", percent=Decimal(3))
PLANS = {
    "charges alone": PLAN,
    "a bound of the plan": replace(PLAN, maximum_amount=Decimal(20)),
    "rounded once a statement": replace(PLAN, rounding=Rounding(stage=RoundingStage.STATEMENT)),
    "events": replace(PLAN, charges=(*PLAN.charges, EVENTS)),
}


@pytest.mark.parametrize("name", PLANS)
def test_amounts_are_those_of_the_pipeline(name):
    """Lines add up to the same sums and totals, and the same rows do not fit int64."""
    plan = PLANS[name]
    draw = random.Random(5)
    compiled = compiled_plan(plan)
    rows = [
        [int(10 ** draw.uniform(0, 18.9)) - 1 for _ in range(compiled.input_count)]
        for _ in range(2_000)
    ]
    for most in (10**9, 2**63 - 1):
        inputs = np.minimum(np.array(rows, np.int64), most)
        found = bulk_amounts(plan, inputs)
        rated = rate_rows(compiled, np.zeros(len(inputs), np.int64), inputs)
        assert (found.fit == (rated.statuses == int(RowStatus.OK))).all()
        assert (found.totals[found.fit] == rated.totals[found.fit]).all()
        for place, line in enumerate(found.lines):
            same = [slot for slot, one in enumerate(compiled.layouts[0]) if one.id == line]
            sums = rated.amounts[:, same].sum(axis=1)
            assert (found.amounts[found.fit, place] == sums[found.fit]).all()
