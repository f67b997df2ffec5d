"""Python `Decimal`: the careful loop over rows and tiers, on a sample of the rows."""

from __future__ import annotations

from decimal import ROUND_CEILING, ROUND_HALF_UP, Decimal

import numpy as np

from benchmarks.peers.engine import Engine, Form, Int64Array, Workload
from rating_core.catalog import Charge, ChargeModel

SAMPLE = 20_000
CENT = Decimal("0.01")


def decimal_engines(work: Workload) -> list[Engine]:
    """Return the loop; its rate is per row, so a sample of the rows is enough."""
    quantities = work.quantities[:SAMPLE].tolist()
    charges = [work.plans[plan].charges[0] for plan in work.plan_index[:SAMPLE].tolist()]

    def run() -> list[Decimal]:
        return [
            _amount(charge, Decimal(quantity)).quantize(CENT, ROUND_HALF_UP)
            for charge, quantity in zip(charges, quantities, strict=True)
        ]

    def cents() -> Int64Array:
        return np.array([int(amount.scaleb(2)) for amount in run()], np.int64)

    return [Engine("python-decimal", 1, True, len(quantities), {"loop": Form(run, cents)})]


def _amount(charge: Charge, quantity: Decimal) -> Decimal:
    if charge.model is ChargeModel.PER_UNIT:
        return quantity * charge.unit_price
    if charge.model is ChargeModel.PACKAGE:
        blocks = (quantity / charge.package_size).to_integral_value(ROUND_CEILING)
        return blocks * charge.package_price
    if charge.model is ChargeModel.GRADUATED:
        return _graduated_amount(charge, quantity)
    for tier in charge.tiers:
        if tier.up_to is None or quantity <= tier.up_to:
            return quantity * tier.unit_price + tier.flat_fee
    raise ValueError("the last tier has no bound")


def _graduated_amount(charge: Charge, quantity: Decimal) -> Decimal:
    amount, lower = Decimal(0), Decimal(0)
    for tier in charge.tiers:
        upper = quantity if tier.up_to is None else min(quantity, tier.up_to)
        if upper <= lower:
            break
        amount += (upper - lower) * tier.unit_price + tier.flat_fee
        lower = upper
    return amount
