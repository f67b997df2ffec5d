"""`max_quantity` against exhaustive search, bisection, and the law that defines it (S11.2)."""

from __future__ import annotations

from decimal import Decimal
from random import Random

import numpy as np
import pytest

from rating_core import reference
from rating_core.bulk import compile_bulk
from rating_core.catalog import (
    Aggregation,
    BillingPeriod,
    Charge,
    ChargeModel,
    Meter,
    Plan,
    Rounding,
    Tier,
    UsageEntry,
)
from rating_core.errors import OutOfRange
from rating_core.inverse import max_quantity
from rating_core.units import INT64_MAX, RoundingMode, from_units

HORIZON = 60
MONOTONE = (ChargeModel.PER_UNIT, ChargeModel.GRADUATED, ChargeModel.PACKAGE)
TIERED = (
    ChargeModel.GRADUATED,
    ChargeModel.VOLUME,
    ChargeModel.STAIRSTEP,
    ChargeModel.GRADUATED_PERCENTAGE,
)
RATED = [model for model in ChargeModel if model is not ChargeModel.PERCENTAGE]


def _amount(plan: Plan, position: int, units: int) -> int:
    """Return the rounded final amount of one charge at a quantity, however large it is."""
    charge = plan.charges[position]
    usage = {}
    if charge.meter is not None:
        quantity = from_units(units, plan.meter(charge.meter).scale)
        usage = {charge.meter: (UsageEntry(quantity),)}
    final = reference._charge_steps(plan, charge, usage)[-1].after
    return reference._rounded(final, plan.rounding)


def _limit(amount: int, budget: int) -> int:
    """Return the amount that may not be exceeded; no amount beyond int64 is payable (S1.2)."""
    return min(amount + budget, INT64_MAX)


def _compare_with_the_law(make, random: Random, plan_count: int) -> int:
    """Check answers at, one unit beyond, and at every price border before; return how many."""
    plans = [make.plan() for _ in range(plan_count)]
    bulk = compile_bulk(plans)
    rows: list[tuple[int, int, int]] = []
    for position in range(4):
        indexes = [
            index
            for index, plan in enumerate(plans)
            if position < len(plan.charges)
            and plan.charges[position].model is not ChargeModel.PERCENTAGE
        ]
        questions = [
            (index, *_question(make, random, plans[index], position))
            for index in indexes
            for _ in range(3)
        ]
        columns = np.array(questions, dtype=np.int64).reshape(-1, 3).T
        quantities, unbounded = max_quantity(bulk, columns[0], position, columns[1], columns[2])
        for question, quantity, flag in zip(questions, quantities, unbounded, strict=True):
            _check_law(make, plans[question[0]], position, question, int(quantity), bool(flag))
        rows += questions
    return len(rows)


def _landmarks(make, plan: Plan, position: int) -> list[int]:
    meter = plan.charges[position].meter
    return [0, 1, INT64_MAX] if meter is None else make.landmarks(plan, plan.meter(meter))


def _question(make, random: Random, plan: Plan, position: int) -> tuple[int, int]:
    """Return a counter and a budget that just reaches, or just misses, some amount."""
    marks = _landmarks(make, plan, position)
    before = make.quantity(marks, signed=True)
    amount = _amount(plan, position, before)
    target = max(before, make.quantity(marks, signed=False))
    budget = _amount(plan, position, target) - amount + random.choice([-1, 0, 0, 1])
    if random.randrange(4) == 0:
        budget = random.randrange(10 ** random.randint(1, 18))
    return before, max(0, min(INT64_MAX, budget))


def _priced(plan: Plan, position: int, units: int) -> bool:
    """Return whether all amounts of the charge fit at a quantity, those before a maximum too."""
    charge = plan.charges[position]
    usage = {}
    if charge.meter is not None:
        usage = {charge.meter: (UsageEntry(from_units(units, plan.meter(charge.meter).scale)),)}
    steps = reference._charge_steps(plan, charge, usage)
    return all(reference._rounded(step.after, plan.rounding) <= INT64_MAX for step in steps)


def _check_law(make, plan, position, question, quantity: int, unbounded: bool) -> None:
    _, before, budget = question
    if not _priced(plan, position, before):
        assert (quantity, unbounded) == (0, False), (plan, question)
        return
    limit = _limit(_amount(plan, position, before), budget)
    greatest = min(INT64_MAX, INT64_MAX - before)
    if unbounded:
        assert quantity == greatest, (plan, question)
    else:
        assert 0 <= quantity < greatest, (plan, question)
        after = before + quantity + 1
        ends = _amount(plan, position, after) > limit or not _priced(plan, position, after)
        assert ends, (plan, question)
    for mark in [before + quantity, *_landmarks(make, plan, position)]:
        for units in (mark - 1, mark, mark + 1):
            if before <= units <= before + quantity:
                assert _amount(plan, position, units) <= limit, (plan, question)
                assert _priced(plan, position, units), (plan, question)


@pytest.mark.parametrize("seed", range(8))
def test_the_answer_is_the_last_that_the_budget_pays_for(seed: int, maker):
    """Random plans of all models: the answer is affordable, so is every border before it, and one
    unit more is not.
    """
    assert _compare_with_the_law(maker(seed), Random(seed), 120) > 400


def _small_charge(random: Random, model: ChargeModel) -> Charge:
    """Return a charge with borders, steps and drops among the first few dozen units."""

    def price() -> Decimal:
        return Decimal(random.randint(0, 12)) / 8

    bounds = sorted(random.sample(range(1, 40), random.randint(0, 4)))
    tiers = tuple(
        Tier(
            None if bound is None else Decimal(bound) / 2,
            unit_price=price(),
            percent=price() * 40,
            flat_fee=random.choice([Decimal(0), price() * 3]),
        )
        for bound in [*bounds, None]
    )
    return Charge(
        "charge",
        model,
        meter=None if model is ChargeModel.FLAT_FEE else "units",
        amount=price(),
        unit_price=price(),
        tiers=tiers if model in TIERED else (),
        package_size=Decimal(random.randint(1, 9)) / 2,
        package_price=price() * 4,
        included_units=random.choice([Decimal(0), Decimal(random.randint(0, 9)) / 2])
        if model is not ChargeModel.FLAT_FEE
        else Decimal(0),
        flat_fee_at_zero_usage=model in TIERED and random.random() < 0.3,
        discount_percent=Decimal(random.choice([0, 0, 10, 33, 100])),
        maximum_amount=random.choice([None, None, price() * 12]),
        minimum_amount=random.choice([None, None, price() * 3]),
    )


@pytest.mark.parametrize("model", RATED)
def test_small_cases_equal_exhaustive_search(model: ChargeModel):
    """For each model, 40 small plans: counting up one unit after the other finds the same."""
    random = Random(model.value)
    for _ in range(40):
        plan = Plan(
            "small",
            "USD",
            BillingPeriod.MONTH,
            (_small_charge(random, model),),
            Rounding(random.choice(list(RoundingMode)), random.choice([0, 0, 1, 2])),
            (Meter("units", Aggregation.SUM, scale=random.choice([0, 0, 1])),),
        )
        amounts = [_amount(plan, 0, units) for units in range(2 * HORIZON)]
        before = [random.randrange(HORIZON) for _ in range(10)]
        budgets = [random.choice([0, 1, 2, random.randrange(40)]) for _ in range(10)]
        answers, _ = max_quantity(compile_bulk([plan]), 0, 0, np.array(before), np.array(budgets))
        for start, budget, answer in zip(before, budgets, answers.tolist(), strict=True):
            expected = 0
            while expected < HORIZON and amounts[start + expected + 1] <= amounts[start] + budget:
                expected += 1
            assert min(answer, HORIZON) == expected, (plan, start, budget)


def _total(plan: Plan, units: int) -> int | None:
    meter = plan.meters[0]
    try:
        usage = {meter.id: (UsageEntry(from_units(units, meter.scale)),)}
        return reference.reference_statement(plan, usage).total
    except OutOfRange:
        return None


def test_large_cases_equal_bisection_with_the_reference():
    """Where the price never falls, bisection over whole statements of the reference agrees."""
    random = Random(7)
    compared = 0
    while compared < 120:
        model = random.choice(MONOTONE)
        scale = random.choice([0, 3, 9])
        charge = Charge(
            "charge",
            model,
            meter="units",
            unit_price=Decimal(random.randrange(1, 10**9)).scaleb(-12),
            package_size=Decimal(random.randrange(1, 10**7)).scaleb(-3),
            package_price=Decimal(random.randrange(1, 10**7)).scaleb(-5),
            tiers=(
                Tier(Decimal(10**5), unit_price=Decimal("0.000123456789")),
                Tier(Decimal(10**9), unit_price=Decimal("0.000000333"), flat_fee=Decimal(3)),
                Tier(None, unit_price=Decimal("0.0001")),
            )
            if model is ChargeModel.GRADUATED
            else (),
            included_units=Decimal(random.choice([0, 1000])),
            discount_percent=Decimal(random.choice(["0", "12.5", "33.333333"])),
        )
        rounding = Rounding(random.choice(list(RoundingMode)), random.choice([2, 6]))
        meter = Meter("units", Aggregation.SUM, scale=scale)
        plan = Plan("large", "USD", BillingPeriod.MONTH, (charge,), rounding, (meter,))
        before = random.randrange(10 ** random.randint(1, 15))
        budget = random.randrange(10 ** random.randint(1, 12))
        paid = _total(plan, before)
        if paid is None:
            continue
        compared += 1
        low, high = 0, INT64_MAX - before + 1
        while high - low > 1:
            middle = (low + high) // 2
            total = _total(plan, before + middle)
            affordable = total is not None and total - paid <= budget
            low, high = (middle, high) if affordable else (low, middle)
        columns = np.array([before]), np.array([budget])
        quantities, unbounded = max_quantity(compile_bulk([plan]), 0, 0, *columns)
        assert quantities.tolist() == [low], (plan, before, budget)
        assert unbounded.tolist() == [low == INT64_MAX - before]


def test_reduced_law(maker):
    """A small comparison with the law, which also runs without compiled code."""
    assert _compare_with_the_law(maker(1_000), Random(1_000), 40) > 100


def test_law_without_compiled_code(pass_without_compiled_code):
    """As plain Python, where NumPy warns of every wrap, the answers keep the law."""
    pass_without_compiled_code(__file__, chosen="test_reduced_law")
