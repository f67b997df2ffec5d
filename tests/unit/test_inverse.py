"""`max_quantity`: steps, drops, bounds of 64 bits, and what arrays callers may pass in (S11.2)."""

from __future__ import annotations

from decimal import Decimal
from random import Random

import numpy as np
import pytest

from rating_core.bulk import OUT_OF_RANGE_AMOUNT, compile_bulk
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
from rating_core.inverse import max_quantity
from rating_core.marginal import rate_delta
from rating_core.threads import CHUNK_ROWS
from rating_core.units import INT64_MAX, INT64_MIN, RoundingMode

TIERED = (
    ChargeModel.GRADUATED,
    ChargeModel.VOLUME,
    ChargeModel.STAIRSTEP,
    ChargeModel.GRADUATED_PERCENTAGE,
)
METERS = (Meter("tokens", Aggregation.SUM), Meter("hours", Aggregation.SUM, scale=12))


def _plan(*charges: Charge, **rounding) -> Plan:
    return Plan("plan", "USD", BillingPeriod.MONTH, charges, Rounding(**rounding), METERS)


def _charge(model: ChargeModel, **keys) -> Charge:
    meter = keys.pop("meter", "tokens")
    numbers = {key: Decimal(x) if isinstance(x, str) else x for key, x in keys.items()}
    return Charge("x", model, meter, **numbers)


def _per_unit(price: str, **keys) -> Plan:
    return _plan(_charge(ChargeModel.PER_UNIT, unit_price=price, **keys))


def _tiers(*rows: tuple[str | None, str, str]) -> tuple[Tier, ...]:
    return tuple(
        Tier(None if up_to is None else Decimal(up_to), Decimal(price), flat_fee=Decimal(fee))
        for up_to, price, fee in rows
    )


def _ask(plan: Plan, before: int, budget: int) -> tuple[int, bool]:
    columns = np.array([before], dtype=np.int64), np.array([budget], dtype=np.int64)
    quantities, unbounded = max_quantity(compile_bulk([plan]), 0, 0, *columns)
    return int(quantities[0]), bool(unbounded[0])


def test_the_budget_is_used_to_the_last_unit():
    """At 0.03 a unit, 1.00 buys 33 units by any counter, and 0.02 none."""
    for before in (0, 1, 10**9):
        assert _ask(_per_unit("0.03"), before, 100) == (33, False)
    assert _ask(_per_unit("0.03"), 0, 2) == (0, False)


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        (RoundingMode.HALF_UP, 14),
        (RoundingMode.HALF_EVEN, 15),
        (RoundingMode.UP, 10),
        (RoundingMode.DOWN, 19),
    ],
)
def test_rounding_decides_the_last_unit(mode: RoundingMode, expected: int):
    """From 90 units, which cost 9, to a limit of 10 minor units, at a tenth of one each."""
    # a tie, 10.5 minor units, goes up by half_up and to the even 10 by half_even
    plan = _plan(_charge(ChargeModel.PER_UNIT, unit_price="0.001"), mode=mode)
    assert _ask(plan, 90, 1) == (expected, False)


def test_a_volume_drop_does_not_excuse_what_costs_more_before_it():
    """1.00 a unit up to 10, 0.10 above: 9.00 stops at 9 units, though 90 units would cost 9.00."""
    tiers = _tiers(("10", "1", "0"), (None, "0.1", "0"))
    plan = _plan(_charge(ChargeModel.VOLUME, tiers=tiers))
    assert _ask(plan, 0, 900) == (9, False)
    assert _ask(plan, 0, 1000) == (100, False)
    # beyond the drop the counter costs less than its budget's start: 20 units cost 2.00
    assert _ask(plan, 10, 0) == (90, False)
    assert _ask(plan, 20, 100) == (10, False)


def test_package_and_stairstep_stop_at_their_steps():
    """A started package is paid for to its end; a step that costs too much ends the search."""
    package = _plan(_charge(ChargeModel.PACKAGE, package_size="2.5", package_price="1"))
    assert _ask(package, 0, 99) == (0, False)
    assert _ask(package, 0, 100) == (2, False)
    assert _ask(package, 1, 0) == (1, False)
    assert _ask(package, 1, 300) == (9, False)
    steps = _tiers(("10", "0", "1"), ("20", "0", "5"), (None, "0", "2"))
    stairs = _plan(_charge(ChargeModel.STAIRSTEP, tiers=steps))
    assert _ask(stairs, 3, 399) == (7, False)
    assert _ask(stairs, 3, 400) == (INT64_MAX - 3, True)
    assert _ask(stairs, 21, 0) == (INT64_MAX - 21, True)


def test_an_entry_fee_is_paid_with_the_first_unit_of_its_tier():
    """Included units are free, the first unit beyond them costs its tier's flat fee as well."""
    tiers = _tiers(("5", "0.01", "3"), (None, "0.02", "1"))
    plan = _plan(_charge(ChargeModel.GRADUATED, tiers=tiers, included_units="10"))
    assert _ask(plan, 0, 300) == (10, False)
    assert _ask(plan, 0, 301) == (11, False)
    assert _ask(plan, 0, 405) == (15, False)
    assert _ask(plan, 0, 407) == (16, False)


def test_what_nothing_exceeds_is_unbounded():
    """Free tails, flat fees and reached maxima: 2^63 − 1 − before, flagged."""
    free_tail = _tiers(("10", "1", "0"), (None, "0", "0"))
    plans = [
        _per_unit("0"),
        _plan(_charge(ChargeModel.GRADUATED, tiers=free_tail)),
        _plan(_charge(ChargeModel.FLAT_FEE, amount="5", meter=None)),
        _per_unit("0.01", maximum_amount="0.10"),
        _per_unit("0.01", discount_percent="100"),
        _per_unit("0.01", maximum_amount="1", minimum_amount="3"),
        _plan(_charge(ChargeModel.PACKAGE, package_price="0")),
    ]
    for plan in plans:
        assert _ask(plan, 7, 1000) == (INT64_MAX - 7, True), plan
    assert _ask(_per_unit("2", maximum_amount="10"), 0, 999) == (4, False)


def test_what_has_no_price_is_not_affordable():
    """Where a model's amount does not fit, q ends, though a maximum or a discount is affordable."""
    last = INT64_MAX // 200
    assert _ask(_per_unit("2", maximum_amount="10"), 7, 1000) == (last - 7, False)
    assert _ask(_per_unit("2", discount_percent="100"), 7, 0) == (last - 7, False)
    assert _ask(_per_unit("2", maximum_amount="10"), last, 0) == (0, False)
    assert _ask(_per_unit("999999999999999", maximum_amount="10"), 0, 1000) == (92, False)
    # 3.00 a unit up to 2^62 units, of which most have no price, then 0.01: from there on all have
    tiers = _tiers((str(1 << 62), "3", "0"), (None, "0.01", "0"))
    volume = _plan(_charge(ChargeModel.VOLUME, tiers=tiers, maximum_amount="10"))
    assert _ask(volume, 0, 1000) == (INT64_MAX // 300, False)
    assert _ask(volume, 1 << 60, 1000) == (0, False)
    assert _ask(volume, (1 << 62) + 1, 0) == (INT64_MAX - (1 << 62) - 1, True)
    size = {"package_size": "10", "package_price": "90000000000000", "maximum_amount": "1"}
    blocks = INT64_MAX // 9_000_000_000_000_000
    assert _ask(_plan(_charge(ChargeModel.PACKAGE, **size)), 0, 100) == (10 * blocks, False)


@pytest.mark.parametrize("model", [*TIERED, ChargeModel.PER_UNIT, ChargeModel.PACKAGE])
def test_every_affordable_quantity_has_a_price(model: ChargeModel):
    """Dear small plans with maxima and discounts: as counted one by one with `rate_delta`."""
    draw = Random(model.value)
    for _ in range(60):
        dear = [draw.randrange(1, 10**15) for _ in range(4)]
        bounds = [*(str(bound) for bound in sorted(draw.sample(range(1, 60), 3))), None]
        rows = [(bound, str(price), "0") for bound, price in zip(bounds, dear, strict=True)]
        tiers = tuple(
            Tier(tier.up_to, tier.unit_price, Decimal(dear[0] % 10**9), Decimal(dear[1]))
            for tier in _tiers(*rows)
        )
        bound = draw.choice([None, str(draw.randrange(10**15))])
        charge = _charge(
            model,
            unit_price=str(dear[0]),
            package_size=str(dear[1] % 5 + 1),
            package_price=str(dear[2]),
            tiers=tiers if model in TIERED else (),
            maximum_amount=None if bound is None else Decimal(bound),
            discount_percent=draw.choice(["0", "50", "100"]),
        )
        bulk = compile_bulk([_plan(charge, scale=draw.choice([2, 4]))])
        before, budget = draw.randrange(70), draw.choice([0, 10**17, INT64_MAX])
        steps = np.arange(1, 200)
        deltas = rate_delta(bulk, 0, 0, np.full(199, before), steps)
        good = (deltas != OUT_OF_RANGE_AMOUNT) & (deltas <= budget)
        expected = 199 if good.all() else int(np.argmin(good))
        answer = max_quantity(bulk, 0, 0, np.array([before]), np.array([budget])).quantities[0]
        assert min(int(answer), 199) == expected, (charge, before, budget)


@pytest.mark.parametrize("count", [2, 16, 17, 40])
@pytest.mark.parametrize("model", [ChargeModel.GRADUATED, ChargeModel.VOLUME])
def test_any_number_of_tiers(model: ChargeModel, count: int):
    """Few tiers and many, rising prices and a drop at every border: as counted unit by unit."""
    volume = model is ChargeModel.VOLUME
    bounds = [*(str(5 * (index + 1)) for index in range(count - 1)), None]
    prices = [100 - index if volume else 1 + index for index in range(count)]
    rows = [
        (up_to, str(Decimal(price) / 100), "0") for up_to, price in zip(bounds, prices, strict=True)
    ]
    bulk = compile_bulk([_plan(_charge(model, tiers=_tiers(*rows)))])
    amounts = [0]
    for units in range(1, 6 * count + 300):
        price = prices[min((units - 1) // 5, count - 1)]
        amounts.append(units * price if volume else amounts[-1] + price)
    before = np.arange(5 * count)
    for budget in (0, 7, 90, 250):
        answers, _ = max_quantity(bulk, 0, 0, before, np.full(len(before), budget))
        for start, answer in zip(before.tolist(), answers.tolist(), strict=True):
            limit = amounts[start] + budget
            assert max(amounts[start : start + answer + 1]) <= limit < amounts[start + answer + 1]


def test_below_the_minimum_units_cost_nothing():
    """With a minimum of 1.00 at 0.03 a unit, 33 units cost no more than none."""
    plan = _per_unit("0.03", minimum_amount="1")
    assert _ask(plan, 0, 0) == (33, False)
    assert _ask(plan, 0, 2) == (34, False)


def test_a_budget_below_zero_affords_nothing():
    """Not even no usage costs less than nothing."""
    for budget in (-1, INT64_MIN):
        assert _ask(_per_unit("0"), 0, budget) == (0, False)


def test_a_negative_counter_is_worked_off_first():
    """Quantities up to 0 are free; the answer is at most the greatest quantity there is."""
    assert _ask(_per_unit("0.03"), -50, 100) == (83, False)
    assert _ask(_per_unit("0"), -50, 0) == (INT64_MAX, True)
    assert _ask(_per_unit("0.01"), INT64_MIN, 0) == (INT64_MAX, True)
    assert _ask(_per_unit("0.01"), -1, INT64_MAX - 2) == (INT64_MAX - 1, False)
    assert _ask(_per_unit("0.01"), -1, INT64_MAX - 1) == (INT64_MAX, True)


def test_amounts_end_at_64_bits():
    """No amount beyond int64 is payable; a counter whose own does not fit affords nothing."""
    assert _ask(_per_unit("0.01"), 5, INT64_MAX) == (INT64_MAX - 5, True)
    assert _ask(_per_unit("0.02"), 0, INT64_MAX) == (INT64_MAX // 2, False)
    assert _ask(_per_unit("0.02"), 5, INT64_MAX) == (INT64_MAX // 2 - 5, False)
    assert _ask(_per_unit("0.02"), INT64_MAX // 2 + 1, INT64_MAX) == (0, False)


def test_numbers_beyond_128_bits_are_exact():
    """Prices of 12 decimals on a meter of scale 12, by unit and by package: to the last unit."""
    price = "123456789012345.123456789012"
    units = int(Decimal(price).scaleb(12))
    plan = _plan(_charge(ChargeModel.PER_UNIT, unit_price=price, meter="hours"), scale=12)
    budget = 9 * 10**18
    # round(units × q ÷ 10^12) ≤ budget, half up
    expected = ((2 * budget + 1) * 10**12 - 1) // (2 * units)
    assert _ask(plan, 0, budget) == (expected, False)
    package = _charge(
        ChargeModel.PACKAGE,
        package_size="0.333333333333",
        package_price=price,
        included_units="0.000000000001",
        discount_percent="12.345678",
        meter="hours",
    )
    # 12 % less, so that the amount before the discount fits too
    budget = 8 * 10**18
    fee = units * (10**8 - 12345678)
    blocks = ((2 * budget + 1) * 10**18 - 1) // (2 * fee)
    assert _ask(_plan(package), 0, budget) == (blocks * 333333333333 + 1, False)


def test_plans_of_many_models_in_one_call():
    """Each row is answered by its own plan, int32 or int64; reordered rows, reordered answers."""
    tiers = _tiers(("10", "1", "0"), (None, "0.1", "0"))
    plans = [
        _per_unit("0.03"),
        _plan(_charge(ChargeModel.VOLUME, tiers=tiers)),
        _plan(_charge(ChargeModel.PACKAGE, package_size="4", package_price="1")),
        _per_unit("0"),
    ]
    bulk = compile_bulk(plans)
    random = np.random.default_rng(1)
    rows = random.integers(0, 4, 1000)
    before = random.integers(0, 1000, 1000)
    budgets = random.integers(0, 10000, 1000)
    answers, flags = max_quantity(bulk, rows, 0, before, budgets)
    for row in range(0, 1000, 37):
        single = _ask(plans[rows[row]], int(before[row]), int(budgets[row]))
        assert single == (answers[row], flags[row])
    order = random.permutation(1000)
    again, again_flags = max_quantity(
        bulk, rows[order].astype(np.int32), 0, before[order], budgets[order]
    )
    assert np.array_equal(again, answers[order])
    assert np.array_equal(again_flags, flags[order])


@pytest.mark.parametrize("count", [0, 1, CHUNK_ROWS - 1, CHUNK_ROWS, 2 * CHUNK_ROWS + 1])
@pytest.mark.parametrize("threads", [1, 2])
def test_chunk_borders(count: int, threads: int):
    """Any number of rows, on one thread or two: every row is answered once."""
    before = np.arange(count, dtype=np.int64)
    budgets = np.arange(count, dtype=np.int64)[::-1]
    bulk = compile_bulk([_per_unit("0.01")])
    answers, flags = max_quantity(bulk, 0, 0, before, budgets, threads=threads)
    assert np.array_equal(answers, budgets)
    assert (answers.dtype, flags.dtype) == (np.dtype(np.int64), np.dtype(np.bool_))
    assert not flags.any()


def test_strided_and_read_only_arrays_are_taken():
    """Inputs of other strides and read-only ones are read as they are, and left as they were."""
    bulk = compile_bulk([_per_unit("0.01"), _per_unit("0.02")])
    columns = np.arange(60, dtype=np.int64).reshape(20, 3)
    columns.flags.writeable = False
    plans = np.array([0, 9, 1, 9] * 10, dtype=np.int64)[::2]
    answers, _ = max_quantity(bulk, plans, 0, columns[:, 1], columns[:, 2])
    expected = np.where(plans == 0, columns[:, 2], columns[:, 2] // 2)
    assert np.array_equal(answers, expected)


def test_wrong_arguments_are_named():
    """Dtypes, shapes, plans and charges that do not fit raise errors that say which and why."""
    percentage = _charge(ChargeModel.PERCENTAGE, percent="3")
    bulk = compile_bulk([_per_unit("0.01"), _plan(percentage)])
    column = np.zeros(3, dtype=np.int64)
    with pytest.raises(TypeError, match="budget must be int64, not int32"):
        max_quantity(bulk, 0, 0, column, column.astype(np.int32))
    with pytest.raises(TypeError, match="counter_before must be int64"):
        max_quantity(bulk, 0, 0, column.astype(str), column)
    with pytest.raises(ValueError, match="budget must have 3 rows, not 2"):
        max_quantity(bulk, 0, 0, column, column[:2])
    with pytest.raises(ValueError, match="budget must have one dimension"):
        max_quantity(bulk, 0, 0, column, column.reshape(3, 1))
    with pytest.raises(ValueError, match="plan_index must be from 0 to 1"):
        max_quantity(bulk, 2, 0, column, column)
    with pytest.raises(ValueError, match="plan_index must be from 0 to 1"):
        max_quantity(bulk, column - 1, 0, column, column)
    with pytest.raises(TypeError, match="plan_index must be int32 or int64"):
        max_quantity(bulk, column.astype(np.int8), 0, column, column)
    with pytest.raises(ValueError, match="charge must be from 0 to 0, not 1"):
        max_quantity(bulk, 0, 1, column, column)
    with pytest.raises(ValueError, match="percentage"):
        max_quantity(bulk, 1, 0, column, column)
    with pytest.raises(ValueError, match="percentage"):
        max_quantity(bulk, np.array([0, 1, 0]), 0, column, column)
    assert max_quantity(bulk, column, 0, column, column)[0].tolist() == [0, 0, 0]
