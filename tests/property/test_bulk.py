"""Bulk rating against the pipeline and the reference: random plans of all kinds, at their edges."""

from __future__ import annotations

from collections import Counter
from decimal import Decimal

import numpy as np
import pytest

from rating_core.bulk import (
    OUT_OF_RANGE_AMOUNT,
    BatchAmounts,
    BulkPlans,
    compile_bulk,
    rate_batch,
    rate_quantities,
)
from rating_core.bulk_plans import rate_alone, rate_whole
from rating_core.catalog import ChargeModel, Plan, UsageEntry
from rating_core.errors import OutOfRange, RowStatus
from rating_core.kernels.fast64 import GUARD_MASK
from rating_core.reference import reference_statement
from rating_core.statement import LineKind
from rating_core.units import INT64_MAX, format_decimal, from_units

CHUNKS = 6
PLANS = 400
ROWS = 20


def _guards(bulk: BulkPlans, plan: int, position: int) -> tuple[int, int]:
    """Return the greatest quantities that 64 and 128 bits vouch for, below 0 if there is none."""
    tables = bulk.positions[position]
    shape = tables.narrow.shape
    narrow = int(tables.narrow.words[plan * shape.stride + shape.head]) & GUARD_MASK
    return narrow - 1, int(tables.wide.words[tables.wide.starts[plan]])


def _edges(bulk: BulkPlans, plan: int, position: int) -> list[int]:
    """Return quantities at which the arithmetic itself changes: guards, thresholds, limits."""
    pieces = bulk.positions[position].lines[plan].pieces
    marks = [edge for piece in pieces for edge in (piece.threshold, piece.limit)]
    return [*marks, *_guards(bulk, plan, position)]


def _compare_charges(make, plan_count: int) -> Counter[str]:
    """Rate each charge of random plans in one mixed column, and plan by plan; count the paths."""
    plans = [make.plan() for _ in range(plan_count)]
    bulk = compile_bulk(plans)
    seen: Counter[str] = Counter()
    for position, tables in enumerate(bulk.positions):
        rows: list[tuple[int, int]] = []
        for index in np.flatnonzero(tables.present).tolist():
            plan = plans[index]
            charge = plan.charges[position]
            meter = plan.meter(charge.meter) if charge.meter else plan.meters[0]
            marks = make.landmarks(plan, meter) + _edges(bulk, index, position)
            rows += [(index, make.quantity(marks, signed=True)) for _ in range(ROWS)]
            seen[charge.model] += 1
        make.random.shuffle(rows)
        column = np.array([index for index, _ in rows], dtype=np.int32)
        quantities = np.array([quantity for _, quantity in rows], dtype=np.int64)
        mixed = rate_quantities(bulk, quantities, column, charge=position)
        for index in np.unique(column).tolist():
            here = quantities[column == index]
            expected = rate_alone(bulk, index, position, here)
            context = (plans[index].charges[position], plans[index].rounding, here)
            np.testing.assert_array_equal(mixed[column == index], expected, str(context))
            alone = rate_quantities(bulk, here, index, charge=position)
            np.testing.assert_array_equal(alone, expected, str(context))
            narrow, wide = _guards(bulk, index, position)
            seen["narrow"] += int(np.sum(here <= narrow))
            seen["wide"] += int(np.sum((here > narrow) & (here <= wide)))
            seen["pipeline"] += int(np.sum(here > wide))
            seen["out of range"] += int(np.sum(expected == OUT_OF_RANGE_AMOUNT))
    return seen


def _expected_batch(bulk: BulkPlans, index: int, quantities) -> BatchAmounts:
    """Return what the pipeline makes of statements of one plan, lines summed by charge."""
    plan = bulk.plans[index]
    rated, fits = rate_whole(bulk, index, quantities)
    charges = np.zeros((len(quantities), len(bulk.positions)), dtype=np.int64)
    commitments = np.zeros((len(quantities), bulk.commitment_count), dtype=np.int64)
    ids = {charge.id: place for place, charge in enumerate(plan.charges)}
    committed = {item.id: place for place, item in enumerate(plan.commitments)}
    for slot, line in enumerate(bulk.whole(index).layouts[0]):
        if line.kind is LineKind.COMMITMENT:
            commitments[:, committed[line.id]] += rated.amounts[:, slot]
        elif line.id in ids:
            charges[:, ids[line.id]] += rated.amounts[:, slot]
    charges[~fits], commitments[~fits] = 0, 0
    totals = np.where(fits, rated.totals, 0)
    return BatchAmounts(charges, commitments, totals, np.where(fits, 0, 1).astype(np.int8))


def _drawn_batch(make, plans: list[Plan], rows: int):
    """Return shuffled (plan column, quantities) at the landmarks of each plan's meters."""
    drawn = []
    for index, plan in enumerate(plans):
        marks = [make.landmarks(plan, meter) for meter in plan.meters]
        drawn += [
            (index, [make.quantity(mark, signed=True) for mark in marks]) for _ in range(rows)
        ]
    make.random.shuffle(drawn)
    column = np.array([index for index, _ in drawn])
    return column, np.array([row for _, row in drawn], dtype=np.int64)


def _assert_equal(got: BatchAmounts, rows, expected: BatchAmounts, context: object) -> None:
    for name in ("charges", "commitments", "totals", "statuses"):
        message = f"{name} of {context}"
        np.testing.assert_array_equal(getattr(got, name)[rows], getattr(expected, name), message)


def _compare_batches(make, plan_count: int) -> tuple[BulkPlans, BatchAmounts]:
    plans = [make.plan() for _ in range(plan_count)]
    bulk = compile_bulk(plans)
    column, quantities = _drawn_batch(make, plans, 10)
    got = rate_batch(bulk, column, quantities, threads=2)
    for index, plan in enumerate(plans):
        here = np.flatnonzero(column == index)
        expected = _expected_batch(bulk, index, quantities[here])
        _assert_equal(got, here, expected, plan)
        _assert_equal(rate_batch(bulk, index, quantities[here]), slice(None), expected, plan)
    return bulk, got


@pytest.mark.parametrize("seed", range(CHUNKS))
def test_quantities_agree_with_the_pipeline(seed: int, maker) -> None:
    """2,400 random plans: each charge, mixed and by plan, in all three kinds of arithmetic."""
    seen = _compare_charges(maker(2_000 + seed), PLANS)
    for path in ("narrow", "wide", "pipeline", "out of range", *ChargeModel):
        assert seen[path] > 10, path
    assert seen["narrow"] > seen["pipeline"]


@pytest.mark.parametrize("seed", range(CHUNKS))
def test_batches_agree_with_the_pipeline(seed: int, maker) -> None:
    """2,400 random plans, ten statements each: every charge, commitment, total and status."""
    bulk, got = _compare_batches(maker(3_000 + seed), PLANS)
    settled = bulk.settle.plans[:, 1] >= 0
    assert settled.mean() > 0.3
    assert 0.5 < np.mean(got.statuses == RowStatus.OK) < 0.95
    assert np.count_nonzero(got.commitments) > 50


def test_reduced_set_agrees(maker) -> None:
    """Small comparisons, which also run without compiled code."""
    seen = _compare_charges(maker(4_000), 60)
    assert min(seen[path] for path in ("narrow", "wide", "pipeline", "out of range")) > 0
    _compare_batches(maker(4_001), 40)


def test_bulk_without_compiled_code(pass_without_compiled_code) -> None:
    """As plain Python, where NumPy warns of every wrap, bulk rating still agrees."""
    pass_without_compiled_code(__file__, chosen="test_reduced_set_agrees")


def test_batches_agree_with_the_reference(maker) -> None:
    """Statements of random plans are those of the oracle, each quantity one record (S11.3)."""
    make = maker(5_000)
    plans = [make.plan() for _ in range(150)]
    bulk = compile_bulk(plans)
    column, quantities = _drawn_batch(make, plans, 3)
    quantities = np.maximum(quantities, 0)
    got = rate_batch(bulk, column, quantities)
    for row, (index, values) in enumerate(zip(column.tolist(), quantities.tolist(), strict=True)):
        plan = plans[index]
        usage = {
            meter.id: (UsageEntry(Decimal(format_decimal(from_units(value, meter.scale)))),)
            for meter, value in zip(plan.meters, values, strict=True)
        }
        try:
            statement = reference_statement(plan, usage)
        except OutOfRange:
            assert got.statuses[row] == RowStatus.OUT_OF_RANGE
            continue
        sums: Counter[str] = Counter()
        for line in statement.lines:
            sums[line.id] += line.amount
        charges = [sums[charge.id] for charge in plan.charges]
        commitments = [sums[item.id] for item in plan.commitments]
        assert got.statuses[row] == RowStatus.OK, (plan, values)
        assert got.totals[row] == statement.total, (plan, values)
        assert got.charges[row, : len(charges)].tolist() == charges, (plan, values)
        assert got.commitments[row, : len(commitments)].tolist() == commitments, (plan, values)


def test_permuting_rows_permutes_results(maker) -> None:
    """A row's result depends on nothing but the row, whatever stands around it."""
    make = maker(6_000)
    plans = [make.plan() for _ in range(100)]
    bulk = compile_bulk(plans)
    column, quantities = _drawn_batch(make, plans, 20)
    order = np.random.default_rng(7).permutation(len(column))
    got = rate_batch(bulk, column, quantities)
    _assert_equal(
        rate_batch(bulk, column[order], quantities[order]),
        slice(None),
        BatchAmounts(
            got.charges[order], got.commitments[order], got.totals[order], got.statuses[order]
        ),
        "permuted rows",
    )


def test_cumulative_charges_never_fall(maker) -> None:
    """The price of graduated charges and of packages rises with the quantity, to the last unit."""
    make = maker(7_000)
    rising = {ChargeModel.PER_UNIT, ChargeModel.GRADUATED, ChargeModel.PACKAGE}
    plans = [plan for plan in (make.plan() for _ in range(300)) if plan.charges[0].model in rising]
    bulk = compile_bulk(plans)
    for index, plan in enumerate(plans):
        marks = make.landmarks(plan, plan.meter(plan.charges[0].meter or ""))
        marks += _edges(bulk, index, 0)
        column = sorted({make.quantity(marks, signed=False) for _ in range(40)} | {0, INT64_MAX})
        amounts = rate_quantities(bulk, np.array(column, dtype=np.int64), index)
        lost = amounts == OUT_OF_RANGE_AMOUNT
        assert np.all(np.diff(lost.astype(np.int64)) >= 0), plan
        assert np.all(np.diff(amounts[~lost]) >= 0), plan
