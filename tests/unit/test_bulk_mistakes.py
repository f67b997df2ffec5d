"""Bulk rating: what callers may not pass in, and the words that say so."""

from __future__ import annotations

from decimal import Decimal

import numpy as np
import pytest

from rating_core.bulk import (
    BulkPlans,
    compile_bulk,
    rate_batch,
    rate_quantities,
)
from rating_core.catalog import (
    Aggregation,
    BillingPeriod,
    Charge,
    ChargeModel,
    Meter,
    Plan,
)

METERS = (Meter("tokens", Aggregation.SUM), Meter("bytes", Aggregation.SUM, scale=3))


def _plan(*charges: Charge, **keys) -> Plan:
    keys.setdefault("meters", METERS)
    return Plan("plan", "USD", BillingPeriod.MONTH, charges, **keys)


def _per_unit(price: str, charge_id: str = "units", **keys) -> Charge:
    keys.setdefault("meter", "tokens")
    return Charge(charge_id, ChargeModel.PER_UNIT, unit_price=Decimal(price), **keys)


def _column(*quantities: int):
    return np.array(quantities, dtype=np.int64)


@pytest.fixture(scope="module")
def simple() -> BulkPlans:
    """Return two plans: 0.01 and 0.02 a token, the second with a fee on top."""
    fee = Charge("fee", ChargeModel.FLAT_FEE, amount=Decimal(5))
    return compile_bulk([_plan(_per_unit("0.01")), _plan(_per_unit("0.02"), fee)])


def test_without_plans_no_plan_can_be_named() -> None:
    """Rows cannot be priced where there are no plans, and the error says so."""
    nothing = compile_bulk([])
    for plan_index in (0, np.zeros(1, np.int32)):
        with pytest.raises(ValueError, match="there are no plans"):
            rate_batch(nothing, plan_index, np.zeros((1, 0), np.int64))
        with pytest.raises(ValueError, match="there are no plans"):
            rate_quantities(nothing, _column(1), plan_index)


def test_numpy_integers_are_integers(simple: BulkPlans) -> None:
    """Threads, charge and plan may come from an array."""
    one = np.int64(1)
    got = rate_quantities(simple, _column(3), one, charge=one - one, threads=one + one)
    assert got.tolist() == [6]


@pytest.mark.parametrize(
    ("quantities", "plan_index", "keys", "error", "message"),
    [
        ([1, 2], 0, {}, TypeError, "quantities must be a NumPy array, not list"),
        (np.zeros(2, np.int32), 0, {}, TypeError, "quantities must be int64, not int32"),
        (np.zeros(2, np.float64), 0, {}, TypeError, "quantities must be int64, not float64"),
        (np.zeros((2, 1), np.int64), 0, {}, ValueError, "one dimension, not 2"),
        (_column(1), 2, {}, ValueError, "plan_index must be from 0 to 1"),
        (_column(1), -1, {}, ValueError, "plan_index must be from 0 to 1"),
        (_column(1), True, {}, TypeError, "plan_index must be an array or an int, not bool"),
        (_column(1), [0], {}, TypeError, "plan_index must be an array or an int, not list"),
        (_column(1), np.zeros(1, np.int8), {}, TypeError, "int32 or int64, not int8"),
        (_column(1), np.zeros(2, np.int32), {}, ValueError, r"shape \(1,\), not \(2,\)"),
        (_column(1), np.full(1, 2, np.int32), {}, ValueError, "plan_index must be from 0 to 1"),
        (_column(1), np.full(1, -1, np.int64), {}, ValueError, "plan_index must be from 0 to 1"),
        (_column(1), 0, {"charge": 2}, ValueError, "charge must be from 0 to 1, not 2"),
        (_column(1), 0, {"charge": -1}, ValueError, "charge must be from 0 to 1, not -1"),
        (_column(1), 0, {"charge": 1}, ValueError, "plan 0 has no charge 1"),
        (_column(1), 0, {"charge": 0.0}, TypeError, "charge must be an int, not float"),
        (_column(1), 0, {"charge": "0"}, TypeError, "charge must be an int, not str"),
        (_column(1), 0, {"charge": False}, TypeError, "charge must be an int, not bool"),
        (_column(1), 0, {"threads": 1.0}, TypeError, "threads must be an int, not float"),
        (np.ma.masked_array(_column(1)), 0, {}, TypeError, "quantities must have no mask"),
        (_column(1), np.ma.masked_array(_column(0)), {}, TypeError, "plan_index must have no mask"),
        (_column(1), np.zeros(1, np.int32), {"charge": 1}, ValueError, "plan 0 has no charge 1"),
        (_column(1), 0, {"threads": 0}, ValueError, "threads must be at least 1"),
        (_column(1), 0, {"out": np.zeros(2, np.int64)}, ValueError, "out must have 1 rows"),
        (_column(1), 0, {"out": np.zeros(1, np.int32)}, TypeError, "out must be int64"),
    ],
)
def test_mistakes_are_named(
    simple: BulkPlans, quantities, plan_index, keys, error: type[Exception], message: str
) -> None:
    """Wrong types are TypeErrors, wrong shapes and unknown plans ValueErrors, in plain words."""
    with pytest.raises(error, match=message):
        rate_quantities(simple, quantities, plan_index, **keys)


@pytest.mark.parametrize(
    ("plan_index", "quantities", "error", "message"),
    [
        (0, [[1, 2]], TypeError, "meter_quantities must be a NumPy array"),
        (0, np.zeros((1, 2), np.int32), TypeError, "meter_quantities must be int64"),
        (0, np.zeros((1, 3), np.int64), ValueError, r"shape \(n, 2\), not \(1, 3\)"),
        (0, np.zeros(2, np.int64), ValueError, r"shape \(n, 2\), not \(2,\)"),
        (_column(2), np.zeros((1, 2), np.int64), ValueError, "plan_index must be from 0 to 1"),
        (_column(0, 0), np.zeros((1, 2), np.int64), ValueError, r"shape \(1,\), not \(2,\)"),
    ],
)
def test_mistakes_in_batches_are_named(
    simple: BulkPlans, plan_index, quantities, error: type[Exception], message: str
) -> None:
    """The same holds for batches: what is expected, and what was given."""
    with pytest.raises(error, match=message):
        rate_batch(simple, plan_index, quantities)


def test_a_read_only_out_is_refused(simple: BulkPlans) -> None:
    """An array that cannot be written is no place for amounts."""
    out = np.zeros(1, dtype=np.int64)
    out.setflags(write=False)
    with pytest.raises(ValueError, match="out must be writable"):
        rate_quantities(simple, _column(1), out=out)
