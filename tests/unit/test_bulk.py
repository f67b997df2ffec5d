"""Bulk rating: what callers may pass in, chunk borders, shapes of tables, documented edges."""

from __future__ import annotations

import tracemalloc
from decimal import Decimal

import numpy as np
import pytest

from rating_core.bulk import (
    OUT_OF_RANGE_AMOUNT,
    BulkPlans,
    compile_bulk,
    rate_batch,
    rate_quantities,
)
from rating_core.bulk_plans import rate_alone
from rating_core.catalog import (
    Aggregation,
    BillingPeriod,
    Charge,
    ChargeModel,
    Commitment,
    Meter,
    Plan,
    Rounding,
    Tier,
)
from rating_core.errors import RowStatus
from rating_core.threads import CHUNK_ROWS
from rating_core.units import INT64_MAX, INT64_MIN, RoundingMode, RoundingStage

METERS = (Meter("tokens", Aggregation.SUM), Meter("bytes", Aggregation.SUM, scale=3))
TIERED = (
    ChargeModel.GRADUATED,
    ChargeModel.VOLUME,
    ChargeModel.STAIRSTEP,
    ChargeModel.GRADUATED_PERCENTAGE,
)


def _plan(*charges: Charge, **keys) -> Plan:
    keys.setdefault("meters", METERS)
    return Plan("plan", "USD", BillingPeriod.MONTH, charges, **keys)


def _per_unit(price: str, charge_id: str = "units", **keys) -> Charge:
    keys.setdefault("meter", "tokens")
    return Charge(charge_id, ChargeModel.PER_UNIT, unit_price=Decimal(price), **keys)


def _tiered(model: ChargeModel, count: int, step: int = 10, **keys) -> Charge:
    """Return a charge of ``count`` tiers, ``step`` units wide, of falling prices."""
    tiers = tuple(
        Tier(
            Decimal(step * (index + 1)) if index + 1 < count else None,
            unit_price=Decimal(count - index) / 100,
            percent=Decimal(count - index) / 10,
            flat_fee=Decimal(index % 3),
        )
        for index in range(count)
    )
    return Charge("tiers", model, meter="tokens", tiers=tiers, **keys)


def _column(*quantities: int):
    return np.array(quantities, dtype=np.int64)


def _amounts(charge: Charge, *quantities: int, **keys) -> list[int]:
    return rate_quantities(compile_bulk([_plan(charge, **keys)]), _column(*quantities)).tolist()


@pytest.fixture(scope="module")
def simple() -> BulkPlans:
    """Return two plans: 0.01 and 0.02 a token, the second with a fee on top."""
    fee = Charge("fee", ChargeModel.FLAT_FEE, amount=Decimal(5))
    return compile_bulk([_plan(_per_unit("0.01")), _plan(_per_unit("0.02"), fee)])


@pytest.mark.parametrize("count", [1, 2, 5, 7, 8, 9, 10, 16, 17, 63, 64, 65, 66, 73, 130, 521, 600])
@pytest.mark.parametrize("model", TIERED, ids=lambda model: model.value)
def test_every_number_of_tiers_finds_its_tier(count: int, model: ChargeModel) -> None:
    """At each bound and beside it the amount is the pipeline's, for all depths of the search."""
    bulk = compile_bulk([_plan(_tiered(model, count)), _plan(_per_unit("1"))])
    bounds = np.arange(0, 10 * count + 20, 10, dtype=np.int64)
    quantities = np.concatenate([bounds - 1, bounds, bounds + 1, [INT64_MAX // 1000]])
    expected = rate_alone(bulk, 0, 0, quantities)
    np.testing.assert_array_equal(rate_quantities(bulk, quantities, 0), expected)
    column = np.zeros(len(quantities), dtype=np.int32)
    np.testing.assert_array_equal(rate_quantities(bulk, quantities, column), expected)
    alone = compile_bulk(bulk.plans[:1])
    np.testing.assert_array_equal(rate_quantities(alone, quantities), expected)


@pytest.mark.parametrize("mode", list(RoundingMode), ids=lambda mode: mode.value)
def test_packages_beside_their_borders(mode: RoundingMode) -> None:
    """Alone and in a mixed column, up to more than 2^32 blocks, with bounds and included units."""
    price = Decimal("0.005")
    bounds = {"minimum_amount": Decimal("0.01"), "maximum_amount": Decimal(10**9)}
    keys: list[dict[str, Decimal]] = [
        {"package_size": Decimal(7)},
        {"package_size": Decimal(7), "included_units": Decimal(20), **bounds},
        {"package_size": Decimal("0.3"), "discount_percent": Decimal("33.333333")},
        {"package_size": Decimal("0.5"), "included_units": Decimal("2.5"), **bounds},
    ]
    plans = [
        _plan(
            Charge("box", ChargeModel.PACKAGE, meter="tokens", package_price=price, **each),
            rounding=Rounding(mode),
        )
        for each in keys
    ]
    bulk = compile_bulk(plans)
    near = [0, 7, 14, 20, 21, 28, *(7 << bits for bits in range(20, 40)), 7 * (2**32 - 1)]
    near += [3 * 10**10, 4 * 10**11, 2**31, 2**32, 10**12, 2**50, INT64_MAX]
    row = sorted({quantity + step for quantity in near for step in (-1, 0) if quantity} | {-5, 0})
    for chosen in (row, [quantity for quantity in row if quantity < 2**30]):
        quantities = _column(*chosen)
        for index in range(len(plans)):
            expected = rate_alone(bulk, index, 0, quantities)
            np.testing.assert_array_equal(rate_quantities(bulk, quantities, index), expected)
            column = np.full(len(quantities), index, dtype=np.int32)
            np.testing.assert_array_equal(rate_quantities(bulk, quantities, column), expected)


def test_one_long_plan_does_not_pad_the_others() -> None:
    """Among many short plans a very long one is priced in 128 bits; the table stays small."""
    short = [_plan(_tiered(ChargeModel.GRADUATED, 3)) for _ in range(400)]
    bulk = compile_bulk([*short, _plan(_tiered(ChargeModel.GRADUATED, 900))])
    assert bulk.positions[0].narrow.words.nbytes < 2 << 20
    quantities = np.arange(0, 9_500, 7, dtype=np.int64)
    expected = rate_alone(bulk, 400, 0, quantities)
    np.testing.assert_array_equal(rate_quantities(bulk, quantities, 400), expected)


@pytest.mark.parametrize("mode", list(RoundingMode), ids=lambda mode: mode.value)
def test_ties_and_neighbours_round_by_mode(mode: RoundingMode) -> None:
    """Half units and what is just beside them go where S1.3 sends them."""
    amounts = _amounts(_per_unit("0.005"), *range(8), rounding=Rounding(mode))
    assert (
        amounts
        == {
            RoundingMode.HALF_UP: [0, 1, 1, 2, 2, 3, 3, 4],
            RoundingMode.HALF_EVEN: [0, 0, 1, 2, 2, 2, 3, 4],
            RoundingMode.UP: [0, 1, 1, 2, 2, 3, 3, 4],
            RoundingMode.DOWN: [0, 0, 1, 1, 2, 2, 3, 3],
        }[mode]
    )
    fine = _per_unit("0.000000000001")
    half = 5 * 10**9
    beside = _amounts(fine, half - 1, half, half + 1, 3 * half, rounding=Rounding(mode))
    assert (
        beside
        == {
            RoundingMode.HALF_UP: [0, 1, 1, 2],
            RoundingMode.HALF_EVEN: [0, 0, 1, 2],
            RoundingMode.UP: [1, 1, 1, 2],
            RoundingMode.DOWN: [0, 0, 0, 1],
        }[mode]
    )


def test_range_is_int64_to_the_last_unit() -> None:
    """The greatest amount fits; beyond it stands `OUT_OF_RANGE_AMOUNT`, whatever lowers it."""
    assert _amounts(_per_unit("0.01"), INT64_MAX) == [INT64_MAX]
    edge = INT64_MAX // 2
    doubled = _amounts(_per_unit("0.02"), edge, edge + 1, INT64_MAX)
    assert doubled == [2 * edge, OUT_OF_RANGE_AMOUNT, OUT_OF_RANGE_AMOUNT]
    for lowered in ({"maximum_amount": Decimal(1)}, {"discount_percent": Decimal(50)}):
        amounts = _amounts(_per_unit("0.02", **lowered), edge, edge + 1)
        assert amounts[0] in (100, edge)
        assert amounts[1] == OUT_OF_RANGE_AMOUNT
    beyond = Decimal(10**14)
    fine = Rounding(scale=12)
    assert _amounts(_per_unit("0", minimum_amount=beyond), 0, 5, rounding=fine) == [INT64_MIN] * 2


def test_negative_quantities() -> None:
    """They price as 0 (S3.2), but as an event of a percentage with bounds are refused (S3.4)."""
    assert _amounts(_per_unit("1"), -1, INT64_MIN) == [0, 0]
    keys = {"meter": "tokens", "percent": Decimal(10), "fixed_fee_per_event": Decimal("0.5")}
    free = Charge("share", ChargeModel.PERCENTAGE, **keys)
    assert _amounts(free, -10, 0, 10) == [50, 50, 150]
    bounded = Charge("share", ChargeModel.PERCENTAGE, max_per_event=Decimal(1), **keys)
    refused = [OUT_OF_RANGE_AMOUNT] * 2
    assert _amounts(bounded, INT64_MIN, -1, 0, 4, 5, 6) == [*refused, 50, 90, 100, 100]
    batch = rate_batch(compile_bulk([_plan(bounded)]), 0, np.array([[-1, 0], [4, 0]]))
    assert batch.statuses.tolist() == [RowStatus.OUT_OF_RANGE, RowStatus.OK]
    assert batch.totals.tolist() == [0, 90]


@pytest.mark.parametrize("row_count", [1, 7, CHUNK_ROWS - 1, CHUNK_ROWS, 2 * CHUNK_ROWS + 3])
@pytest.mark.parametrize("threads", [1, 2])
def test_chunk_borders_do_not_show(simple: BulkPlans, row_count: int, threads: int) -> None:
    """Rows left and right of a border are rated like any, also those left to 128 bits."""
    quantities = np.arange(row_count, dtype=np.int64)
    quantities[:: max(row_count // 9, 1)] = INT64_MAX
    quantities[-1] = 3
    column = (np.arange(row_count) % 2).astype(np.int32)
    got = rate_quantities(simple, quantities, column, threads=threads)
    prices = column.astype(np.int64) + 1
    lost = (quantities == INT64_MAX) & (prices == 2)
    expected = np.where(lost, OUT_OF_RANGE_AMOUNT, np.where(lost, 0, quantities) * prices)
    np.testing.assert_array_equal(got, expected)
    one = rate_quantities(simple, quantities, 0, threads=threads)
    np.testing.assert_array_equal(one, quantities)
    meters = np.stack([quantities, quantities], axis=1)
    batch = rate_batch(simple, column, meters, threads=threads)
    np.testing.assert_array_equal(batch.statuses, lost.astype(np.int8))
    totals = np.where(lost, 0, expected + 500 * column)
    np.testing.assert_array_equal(batch.totals, totals)


def test_no_rows(simple: BulkPlans) -> None:
    """Empty columns give empty answers, from plans and from none."""
    assert rate_quantities(simple, _column()).shape == (0,)
    batch = rate_batch(simple, _column(), np.zeros((0, 2), dtype=np.int64))
    assert batch.charges.shape == (0, 2)
    nothing = rate_batch(compile_bulk([]), _column(), np.zeros((0, 0), dtype=np.int64))
    assert nothing.totals.shape == (0,)


def test_all_layouts_of_arrays_are_taken(simple: BulkPlans) -> None:
    """Read-only, reversed, strided and misaligned columns give the same amounts."""
    quantities = np.arange(3 * CHUNK_ROWS, dtype=np.int64)
    column = (quantities % 2).astype(np.int64)
    expected = quantities * (column + 1)
    frozen = quantities.copy()
    frozen.setflags(write=False)
    frozen_column = column.copy()
    frozen_column.setflags(write=False)
    wide = np.zeros((len(quantities), 3), dtype=np.int64)
    wide[:, 1] = quantities
    raw = np.zeros(8 * len(quantities) + 1, dtype=np.uint8)
    misaligned = raw[1:].view(np.int64)
    misaligned[:] = quantities
    for given in (frozen, wide[:, 1], misaligned, quantities[::-1][::-1]):
        got = rate_quantities(simple, given, frozen_column, threads=2)
        np.testing.assert_array_equal(got, expected)
    np.testing.assert_array_equal(
        rate_quantities(simple, quantities[::-2], column[::-2]), expected[::-2]
    )
    frozen_rows = np.stack([quantities, quantities], axis=1)[::-1]
    frozen_rows.setflags(write=False)
    batch = rate_batch(simple, frozen_column[::-1], frozen_rows)
    np.testing.assert_array_equal(batch.charges[:, 0], expected[::-1])


def test_out_receives_the_amounts(simple: BulkPlans) -> None:
    """The array passed in is filled and returned, with any strides, and no other is made."""
    quantities = np.arange(1_000_000, dtype=np.int64)
    out = np.zeros(len(quantities), dtype=np.int64)
    rate_quantities(simple, quantities[:10], 1)
    tracemalloc.start()
    try:
        assert rate_quantities(simple, quantities, 1, out=out) is out
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    np.testing.assert_array_equal(out, 2 * quantities)
    assert peak < len(quantities) // 10
    strided = np.zeros(20, dtype=np.int64)
    rate_quantities(simple, quantities[:10], out=strided[::2])
    assert strided.tolist() == [value for row in range(10) for value in (row, 0)]


@pytest.mark.parametrize("threads", [1, 2])
def test_out_may_overlap_the_inputs(threads: int) -> None:
    """In place, shifted by a row, and over the plan column: inputs are read before they change."""
    bulk = compile_bulk([_plan(_per_unit("0.03", discount_percent=Decimal("33.333333")))] * 2)
    # amounts of 64 bits, of 128, and none, so that rows are priced in more than one pass
    count = 2 * CHUNK_ROWS + 5
    quantities = np.resize(np.array([7, 10**15, 3 * 10**17, INT64_MAX, 0]), count)
    column = np.arange(count, dtype=np.int64) % 2
    for plan_index in (1, column):
        expected = rate_quantities(bulk, quantities, plan_index)
        same = quantities.copy()
        rate_quantities(bulk, same, plan_index, out=same, threads=threads)
        np.testing.assert_array_equal(same, expected)
        longer = np.append(quantities, 0)
        rate_quantities(bulk, longer[:-1], plan_index, out=longer[1:], threads=threads)
        np.testing.assert_array_equal(longer[1:], expected)
    rate_quantities(bulk, quantities, column, out=column, threads=threads)
    np.testing.assert_array_equal(column, expected)


def test_a_misaligned_out_is_filled(simple: BulkPlans) -> None:
    """An array at an odd address gets its amounts like any other."""
    raw = np.zeros(8 * 9 + 1, dtype=np.uint8)
    out = raw[1:].view(np.int64)
    rate_quantities(simple, np.arange(9), 1, out=out)
    assert out.tolist() == list(range(0, 18, 2))


def test_meters_in_plan_order_feed_their_charges() -> None:
    """Each charge reads its own meter's column, in the meter's scale units (S11.3)."""
    swapped = _plan(_per_unit("1", meter="bytes"), _per_unit("2", "tokens"))
    fee = Charge("fee", ChargeModel.FLAT_FEE, amount=Decimal(7))
    bulk = compile_bulk([swapped, _plan(fee, _per_unit("3"))])
    batch = rate_batch(bulk, _column(0, 1), np.array([[10, 5_000], [10, 5_000]]))
    assert batch.charges.tolist() == [[500, 2_000], [700, 3_000]]
    assert batch.totals.tolist() == [2_500, 3_700]


def test_at_stage_statement_a_charge_alone_rounds_itself() -> None:
    """`rate_quantities` rounds the one charge, `rate_batch` the statement, once (S1.4)."""
    rounding = Rounding(stage=RoundingStage.STATEMENT)
    charges = [_per_unit("0.004", name) for name in ("a", "b", "c")]
    bulk = compile_bulk([_plan(*charges, rounding=rounding)])
    assert rate_quantities(bulk, _column(1), charge=1).tolist() == [0]
    batch = rate_batch(bulk, 0, np.array([[1, 0]]))
    assert batch.charges.tolist() == [[1, 0, 0]]
    assert batch.totals.tolist() == [1]


def test_commitments_and_bounds_of_a_batch() -> None:
    """Discount, used-up commitment and overage, plan maximum and minimum, in one call (S4, S5)."""
    commitment = Commitment(
        "annual",
        Decimal(80),
        ("units",),
        discount_percent=Decimal(20),
        overage_factor=Decimal("1.5"),
    )
    plan = _plan(
        _per_unit("1"),
        commitments=(commitment,),
        maximum_amount=Decimal(200),
        minimum_amount=Decimal(3),
    )
    quantities = np.array([[1, 0], [50, 0], [100, 0], [120, 0], [1_000, 0]])
    batch = rate_batch(compile_bulk([plan]), 0, quantities)
    assert batch.charges[:, 0].tolist() == [100, 5_000, 10_000, 12_000, 100_000]
    assert batch.commitments[:, 0].tolist() == [-20, -1_000, -2_000, -1_000, 43_000]
    assert batch.totals.tolist() == [300, 4_000, 8_000, 11_000, 20_000]
    assert not batch.statuses.any()
