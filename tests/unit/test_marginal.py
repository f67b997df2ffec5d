"""`rate_delta` and its ordered twin: borders, ranges, what arrays callers may pass (S11.1)."""

from __future__ import annotations

from decimal import Decimal

import numpy as np
import pytest

from rating_core.bulk import OUT_OF_RANGE_AMOUNT, BulkPlans, compile_bulk
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
from rating_core.marginal import rate_delta, rate_deltas_in_order
from rating_core.threads import CHUNK_ROWS
from rating_core.units import INT64_MAX, INT64_MIN, RoundingStage


def _plan(*charges: Charge, **rounding) -> Plan:
    meters = (Meter("tokens", Aggregation.SUM),)
    return Plan("plan", "USD", BillingPeriod.MONTH, charges, Rounding(**rounding), meters)


def _per_unit(price: str, **keys: str) -> Charge:
    numbers = {key: Decimal(text) for key, text in keys.items()}
    return Charge("x", ChargeModel.PER_UNIT, "tokens", unit_price=Decimal(price), **numbers)


def _column(*values: int) -> np.ndarray:
    return np.array(values, dtype=np.int64)


def _delta(plan: Plan, before: int, quantity: int) -> int:
    return int(rate_delta(compile_bulk([plan]), 0, 0, _column(before), _column(quantity))[0])


def test_rounding_carries_over_from_record_to_record():
    """At 0.004 a unit, five single units cost 2 minor units together, not 0 and not 5."""
    bulk = compile_bulk([_plan(_per_unit("0.004"))])
    deltas = rate_delta(bulk, 0, 0, np.arange(5), np.ones(5, dtype=np.int64))
    assert deltas.tolist() == [0, 1, 0, 1, 0]
    assert deltas.sum() == _delta(bulk.plans[0], 0, 5) == 2


def test_a_delta_is_negative_where_the_price_falls():
    """A volume price drops at its border, and a correction gives back what its units cost."""
    tiers = (Tier(Decimal(10), Decimal(1)), Tier(None, Decimal("0.1")))
    volume = _plan(Charge("x", ChargeModel.VOLUME, "tokens", tiers=tiers))
    assert _delta(volume, 10, 1) == 110 - 1000
    assert _delta(volume, 11, -1) == 1000 - 110
    assert _delta(_plan(_per_unit("0.03")), 5, -9) == -15


def test_adjustments_count():
    """Minimum, maximum and discount are in both amounts; a flat fee does not depend on usage."""
    plan = _plan(_per_unit("1", discount_percent="50", minimum_amount="3", maximum_amount="5"))
    assert [_delta(plan, before, 2) for before in (0, 5, 9, 20)] == [0, 50, 50, 0]
    fee = Charge("fee", ChargeModel.FLAT_FEE, amount=Decimal(9))
    assert _delta(_plan(fee), 0, 5) == 0
    by_statement = _plan(_per_unit("0.004"), stage=RoundingStage.STATEMENT)
    assert _delta(by_statement, 0, 2) == 1


def test_what_does_not_fit_is_marked():
    """A counter or an amount beyond int64 marks its row and no other; nothing wraps."""
    bulk = compile_bulk([_plan(_per_unit("0.02"))])
    half = INT64_MAX // 2
    before = _column(INT64_MAX, INT64_MIN, half, half + 1, 0, INT64_MIN, half)
    added = _column(1, -1, 1, -1, half, INT64_MAX, 0)
    lost = OUT_OF_RANGE_AMOUNT
    expected = [lost, lost, lost, lost, INT64_MAX - 1, 0, 0]
    assert rate_delta(bulk, 0, 0, before, added).tolist() == expected


def test_records_in_order():
    """Each record starts where its customer's record before ended; counters come back summed."""
    bulk = compile_bulk([_plan(_per_unit("0.004"))])
    before = _column(2, 0, 100)
    customers = _column(0, 1, 0, 1, 0, 0)
    quantities = _column(1, 1, 1, 1, 1, -4)
    deltas, after = rate_deltas_in_order(bulk, 0, 0, customers, quantities, before)
    assert deltas.tolist() == [0, 0, 1, 1, 0, -2]
    assert after.tolist() == [1, 2, 100]
    assert before.tolist() == [2, 0, 100]


def test_a_quantity_that_a_counter_cannot_take_is_not_counted():
    """The record is marked and left out; the customer's later records go on from the counter."""
    bulk = compile_bulk([_plan(_per_unit("0.01"))])
    customers, quantities = _column(0, 0, 0), _column(10, 3, 2)
    deltas, after = rate_deltas_in_order(bulk, 0, 0, customers, quantities, _column(INT64_MAX - 5))
    assert deltas.tolist() == [OUT_OF_RANGE_AMOUNT, 3, 2]
    assert after.tolist() == [INT64_MAX]


@pytest.mark.parametrize("count", [0, 1, CHUNK_ROWS - 1, CHUNK_ROWS, 4 * CHUNK_ROWS + 1])
@pytest.mark.parametrize("threads", [1, 2])
def test_chunk_borders(count: int, threads: int):
    """Any number of rows, on one thread or two, by one plan or several: the same deltas."""
    bulk = compile_bulk([_plan(_per_unit("0.01")), _plan(_per_unit("0.03"))])
    random = np.random.default_rng(count)
    customers = random.integers(0, 7, count)
    quantities = random.integers(0, 1000, count)
    plans = customers % 2
    before = np.zeros(7, dtype=np.int64)
    for plan_index in (plans, plans.astype(np.int32)):
        deltas, after = rate_deltas_in_order(
            bulk, plan_index, 0, customers, quantities, before, threads=threads
        )
        assert np.array_equal(deltas, quantities * (1 + 2 * plans))
        assert np.array_equal(after, [quantities[customers == each].sum() for each in range(7)])
        alone = rate_delta(bulk, plan_index, 0, quantities, quantities, threads=threads)
        assert np.array_equal(alone, deltas)


def test_strided_and_read_only_arrays_are_taken():
    """Inputs of other strides and read-only ones are read as they are, and left as they were."""
    bulk = compile_bulk([_plan(_per_unit("0.01")), _plan(_per_unit("0.02"))])
    columns = np.arange(60, dtype=np.int64).reshape(20, 3)
    columns.flags.writeable = False
    plans = _column(*[0, 9, 1, 9] * 10)[::2]
    deltas = rate_delta(bulk, plans, 0, columns[:, 0], columns[:, 1])
    assert np.array_equal(deltas, columns[:, 1] * (1 + plans))
    customers = columns[:, 0] // 6
    in_order, _ = rate_deltas_in_order(bulk, 1, 0, customers, columns[:, 1], columns[:, 2])
    assert np.array_equal(in_order, 2 * columns[:, 1])


def _bulk_with_percentage() -> BulkPlans:
    percentage = Charge("fees", ChargeModel.PERCENTAGE, "tokens", percent=Decimal(3))
    return compile_bulk([_plan(_per_unit("0.01"), _per_unit("1")), _plan(percentage)])


def test_wrong_arguments_are_named():
    """Types, shapes, plans, charges and customers that do not fit: errors that say which."""
    bulk, column = _bulk_with_percentage(), np.zeros(3, dtype=np.int64)
    with pytest.raises(TypeError, match="quantity must be int64, not int32"):
        rate_delta(bulk, 0, 0, column, column.astype(np.int32))
    with pytest.raises(TypeError, match="counter_before must be a NumPy array, not list"):
        rate_delta(bulk, 0, 0, [0], column)
    with pytest.raises(ValueError, match="quantity must have 3 rows, not 2"):
        rate_delta(bulk, 0, 0, column, column[:2])
    with pytest.raises(ValueError, match="plan_index must have shape"):
        rate_delta(bulk, column[:2], 0, column, column)
    with pytest.raises(TypeError, match="plan_index must be an array or an int, not str"):
        rate_delta(bulk, "plan", 0, column, column)
    with pytest.raises(ValueError, match="plan_index must be from 0 to 1"):
        rate_delta(bulk, column + 2, 0, column, column)
    with pytest.raises(TypeError, match="charge must be an int, not str"):
        rate_delta(bulk, 0, "x", column, column)
    with pytest.raises(ValueError, match="plan 1 has no charge 1"):
        rate_delta(bulk, _column(0, 1, 0), 1, column, column)
    with pytest.raises(ValueError, match="threads must be at least 1"):
        rate_delta(bulk, 0, 0, column, column, threads=0)
    with pytest.raises(ValueError, match="customer must be from 0 to 0"):
        rate_deltas_in_order(bulk, 0, 0, _column(1), _column(1), _column(1))
    with pytest.raises(ValueError, match="customer must be from 0 to 0"):
        rate_deltas_in_order(bulk, 0, 0, _column(-1), _column(1), _column(1))


def test_a_percentage_charge_has_no_single_counter():
    """It is refused by name, for one plan and among others; rows of other plans are rated."""
    bulk, column = _bulk_with_percentage(), np.zeros(3, dtype=np.int64)
    for plan_index in (1, _column(0, 1, 0)):
        with pytest.raises(ValueError, match="charge fees of plan 1 is a percentage"):
            rate_delta(bulk, plan_index, 0, column, column)
        with pytest.raises(ValueError, match="charge fees of plan 1 is a percentage"):
            rate_deltas_in_order(bulk, plan_index, 0, column, column, column)
    assert rate_delta(bulk, column, 0, column, column + 2).tolist() == [2, 2, 2]
