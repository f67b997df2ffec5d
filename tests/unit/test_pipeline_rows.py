"""Rows: ranges to the last unit, mixed plans, and what arrays callers may pass in."""

from __future__ import annotations

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
)
from rating_core.compile import compile_plans
from rating_core.counter import SeriesCounter
from rating_core.errors import OutOfRange, RowStatus
from rating_core.pipeline import rate_rows, rate_statement, rate_statements
from rating_core.units import INT64_MAX, INT64_MIN, RoundingMode, RoundingStage

METERS = (Meter("tokens", Aggregation.SUM), Meter("calls", Aggregation.COUNT))
BY_STATEMENT = Rounding(stage=RoundingStage.STATEMENT)


def _plan(*charges: Charge, **keys) -> Plan:
    return Plan("plan", "USD", BillingPeriod.MONTH, charges, meters=METERS, **keys)


def _per_unit(charge_id: str, price: str, **keys) -> Charge:
    keys.setdefault("meter", "tokens")
    return Charge(charge_id, ChargeModel.PER_UNIT, unit_price=Decimal(price), **keys)


def _fee(charge_id: str, amount: str, **keys) -> Charge:
    return Charge(charge_id, ChargeModel.FLAT_FEE, amount=Decimal(amount), **keys)


def _tokens(value: int, events: int = 1) -> list[SeriesCounter]:
    return [SeriesCounter("tokens", None, value, events)]


def _row(plan: Plan, *inputs: int):
    compiled = compile_plans([plan])
    return rate_rows(compiled, np.zeros(1, np.int64), np.array([inputs], dtype=np.int64))


def test_range_of_a_line_is_int64_to_the_last_unit():
    """The greatest amount fits; one unit more is OUT_OF_RANGE, and the row's amounts are 0."""
    plan = _plan(_per_unit("x", "0.01"))
    fits = _row(plan, INT64_MAX)
    assert (fits.statuses[0], fits.totals[0]) == (RowStatus.OK, INT64_MAX)
    for beyond in (
        _plan(_per_unit("x", "0.01"), _fee("one", "0.01")),
        _plan(_per_unit("x", "0.01000001")),
        _plan(_per_unit("x", "0.02"), maximum_amount=Decimal(1)),
        _plan(_per_unit("x", "0.02", maximum_amount=Decimal(1))),
    ):
        row = _row(beyond, INT64_MAX)
        assert row.statuses[0] == RowStatus.OUT_OF_RANGE
        assert not row.amounts.any()
        assert row.totals[0] == 0
        with pytest.raises(OutOfRange):
            rate_statement(beyond, _tokens(INT64_MAX))


def test_range_depends_on_the_stage():
    """Half a unit above the greatest amount rounds out of range by line, but is cut into it.

    At stage `statement` the amount itself is cut; the total, rounded down, fits too.
    """
    greatest = _per_unit("x", "0.01")
    half = _fee("half", "0.005")
    assert _row(_plan(greatest, half), INT64_MAX).statuses[0] == RowStatus.OUT_OF_RANGE
    cut = replace(BY_STATEMENT, mode=RoundingMode.DOWN)
    row = _row(_plan(greatest, half, rounding=cut), INT64_MAX)
    assert (row.statuses[0], row.totals[0]) == (RowStatus.OK, INT64_MAX)
    half_up = _row(_plan(greatest, half, rounding=BY_STATEMENT), INT64_MAX)
    assert half_up.statuses[0] == RowStatus.OUT_OF_RANGE


def test_a_row_out_of_range_leaves_the_others_alone():
    """Rows of several plans in one call, one of them out of range, and any order of rows."""
    plans = [
        _plan(_per_unit("x", "1000")),
        _plan(_fee("fee", "3"), _per_unit("y", "0.001"), minimum_amount=Decimal(4)),
        _plan(_fee("only", "7"), rounding=BY_STATEMENT),
    ]
    compiled = compile_plans(plans)
    index = np.array([0, 1, 2, 0, 1], dtype=np.int32)
    inputs = np.array([[5], [2000], [0], [INT64_MAX], [INT64_MIN]], dtype=np.int64)
    rated = rate_rows(compiled, index, inputs)
    assert rated.statuses.tolist() == [0, 0, 0, 1, 0]
    assert rated.totals.tolist() == [500_000, 500, 700, 0, 400]
    assert rated.amounts.tolist() == [
        [500_000, 0, 0],
        [300, 200, 0],
        [700, 0, 0],
        [0, 0, 0],
        [300, 0, 100],
    ]
    order = np.array([4, 2, 0, 3, 1])
    permuted = rate_rows(compiled, index[order], inputs[order])
    assert (permuted.amounts == rated.amounts[order]).all()
    assert (permuted.totals == rated.totals[order]).all()
    assert (permuted.statuses == rated.statuses[order]).all()


def test_arrays_of_any_stride_and_read_only():
    """Strided, reversed, Fortran-ordered and read-only inputs rate as their plain copies do."""
    compiled = compile_plans([_plan(_per_unit("x", "1"), _per_unit("y", "2", meter="calls"))])
    inputs = np.arange(20, dtype=np.int64).reshape(10, 2)
    index = np.zeros(10, dtype=np.int64)
    expected = rate_rows(compiled, index, inputs).totals
    locked = inputs.copy()
    locked.setflags(write=False)
    wide = np.zeros((10, 6), dtype=np.int64)
    wide[:, ::3] = inputs
    for shape in (np.asfortranarray(inputs), locked, wide[:, ::3]):
        assert (rate_rows(compiled, index, shape).totals == expected).all()
    assert (rate_rows(compiled, index[::-1], inputs[::-1]).totals == expected[::-1]).all()
    assert (inputs == np.arange(20).reshape(10, 2)).all()


def test_no_rows_and_no_plans():
    """Empty input gives empty output of the right shape."""
    none = np.zeros(0, dtype=np.int64)
    rated = rate_rows(compile_plans([_plan(_fee("fee", "1"))]), none, none.reshape(0, 0))
    assert rated.amounts.shape == (0, 1)
    assert rate_rows(compile_plans([]), none, none.reshape(0, 0)).totals.shape == (0,)
    assert rate_statements(_plan(_fee("fee", "1")), []) == []


@pytest.mark.parametrize(
    ("index", "inputs", "error", "message"),
    [
        (np.zeros(1, np.uint8), np.zeros((1, 1), np.int64), TypeError, "plan_index must be int32"),
        (np.zeros(1, bool), np.zeros((1, 1), np.int64), TypeError, "plan_index must be int32"),
        (np.zeros(1, np.int64), np.zeros((1, 1), np.int32), TypeError, "inputs must be int64"),
        (np.zeros(1, np.int64), np.zeros((1, 1)), TypeError, "inputs must be int64, not"),
        (np.zeros((1, 1), np.int64), np.zeros((1, 1), np.int64), ValueError, "one dimension"),
        (np.zeros(2, np.int64), np.zeros((1, 1), np.int64), ValueError, r"shape \(2, 1\)"),
        (np.zeros(1, np.int64), np.zeros((1, 2), np.int64), ValueError, r"shape \(1, 1\)"),
        (np.zeros(1, np.int64), np.zeros(1, np.int64), ValueError, r"shape \(1, 1\)"),
        (np.array([1]), np.zeros((1, 1), np.int64), ValueError, "from 0 to 0"),
        (np.array([-1]), np.zeros((1, 1), np.int64), ValueError, "from 0 to 0"),
    ],
)
def test_wrong_arrays_are_refused(index, inputs, error, message):
    """Each wrong dtype, shape or plan gets its own clear error, before any row is rated."""
    with pytest.raises(error, match=message):
        rate_rows(compile_plans([_plan(_per_unit("x", "1"))]), index, inputs)
