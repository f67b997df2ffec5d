"""`rate_delta` against the reference, and the law that deltas add up (S11.1)."""

from __future__ import annotations

from random import Random

import numpy as np
import pytest

from rating_core import reference
from rating_core.bulk import OUT_OF_RANGE_AMOUNT, compile_bulk
from rating_core.catalog import ChargeModel, Plan, UsageEntry
from rating_core.marginal import rate_delta, rate_deltas_in_order
from rating_core.units import INT64_MAX, fits_int64, from_units


def _amount(plan: Plan, position: int, units: int) -> int | None:
    """Return the rounded final amount of one charge, None where an amount does not fit (S1.2)."""
    charge = plan.charges[position]
    usage = {}
    if charge.meter is not None:
        usage = {charge.meter: (UsageEntry(from_units(units, plan.meter(charge.meter).scale)),)}
    steps = reference._charge_steps(plan, charge, usage)
    amounts = [reference._rounded(step.after, plan.rounding) for step in steps]
    return amounts[-1] if max(amounts) <= INT64_MAX else None


def _delta(plan: Plan, position: int, before: int, quantity: int) -> int:
    if not fits_int64(before + quantity):
        return OUT_OF_RANGE_AMOUNT
    amounts = [_amount(plan, position, units) for units in (before, before + quantity)]
    return OUT_OF_RANGE_AMOUNT if None in amounts else amounts[1] - amounts[0]


def _rated(plan: Plan, position: int) -> bool:
    charges = plan.charges
    return position < len(charges) and charges[position].model is not ChargeModel.PERCENTAGE


def _quantities(make, plan: Plan, position: int, count: int) -> list[int]:
    meter = plan.charges[position].meter
    marks = [0, 1, INT64_MAX] if meter is None else make.landmarks(plan, plan.meter(meter))
    return [make.quantity(marks, signed=True) for _ in range(count)]


def _compare(make, plan_count: int) -> int:
    """Compare deltas of random plans, all of a position in one call; return how many fit."""
    plans = [make.plan() for _ in range(plan_count)]
    bulk = compile_bulk(plans)
    fitting = 0
    for position in range(4):
        rows = [
            (index, *_quantities(make, plan, position, 2))
            for index, plan in enumerate(plans)
            if _rated(plan, position)
            for _ in range(4)
        ]
        columns = np.array(rows, dtype=np.int64).reshape(-1, 3).T
        deltas = rate_delta(bulk, columns[0], position, columns[1], columns[2]).tolist()
        for (index, before, quantity), delta in zip(rows, deltas, strict=True):
            expected = _delta(plans[index], position, before, quantity)
            assert delta == expected, (plans[index], position, before, quantity)
            fitting += delta != OUT_OF_RANGE_AMOUNT
    return fitting


@pytest.mark.parametrize("seed", range(6))
def test_deltas_agree_with_the_reference(seed: int, maker):
    """Random plans, counters and quantities of both signs: each delta is the reference's."""
    assert _compare(maker(seed), 150) > 300


@pytest.mark.parametrize("seed", range(6))
def test_deltas_of_a_customer_add_up_to_the_last_digit(seed: int, maker):
    """However a customer's usage is split and mixed with others', its deltas sum to F − F(before).

    All models, modes and scales; the counters after are the sums of what was counted.
    """
    make, random = maker(seed), Random(seed)
    checked = 0
    while checked < 30:
        plan = make.plan()
        if not _rated(plan, 0):
            continue
        before = [random.randrange(10 ** random.randint(1, 6)) for _ in range(5)]
        customers = [random.randrange(5) for _ in range(200)]
        quantities = [random.randrange(-5, 10 ** random.randint(1, 6)) for _ in range(200)]
        deltas, after = rate_deltas_in_order(
            compile_bulk([plan]),
            0,
            0,
            np.array(customers),
            np.array(quantities),
            np.array(before),
        )
        for customer, (start, end) in enumerate(zip(before, after.tolist(), strict=True)):
            own = [row for row, owner in enumerate(customers) if owner == customer]
            assert end == start + sum(quantities[row] for row in own)
            amounts = [_amount(plan, 0, start), _amount(plan, 0, end)]
            if None not in amounts:
                assert sum(deltas[own].tolist()) == amounts[1] - amounts[0], plan
                checked += 1


def test_reduced_deltas(maker):
    """A small comparison, which also runs without compiled code."""
    assert _compare(maker(1_000), 40) > 60


def test_deltas_without_compiled_code(pass_without_compiled_code):
    """As plain Python, where NumPy warns of every wrap, the deltas are still the reference's."""
    pass_without_compiled_code(__file__, chosen="test_reduced_deltas")
