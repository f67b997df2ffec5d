"""The kernels and the reference are two independent readings of the rules: they must agree."""

from __future__ import annotations

import numpy as np
import pytest

from rating_core.catalog import ChargeModel, Plan, Usage
from rating_core.compile import compile_plans
from rating_core.errors import OutOfRange, RowStatus
from rating_core.pipeline import charge_inputs, rate_rows, rate_statement
from rating_core.reference import reference_statement
from rating_core.statement import LineKind, Statement
from rating_core.units import RoundingMode, RoundingStage
from rating_core.usage import counters_from_usage

CHUNKS = 26
PLANS = 200
USAGES = 3
OF_CONTRACTS = {
    LineKind.PROMOTION,
    LineKind.SMOOTHING,
    LineKind.PREPAYMENT,
    LineKind.LATE,
    LineKind.CREDIT,
}
"""Lines that the terms of a contract make, not a plan and the usage of one period."""


def _reference(plan: Plan, usage: Usage) -> Statement | None:
    try:
        return reference_statement(plan, usage)
    except OutOfRange:
        return None


def _lines(statement: Statement | None) -> dict[tuple[str, LineKind], int] | None:
    if statement is None:
        return None
    return {(line.id, line.kind): line.amount for line in statement.lines if line.amount}


def _compare(make, plan_count: int) -> list[Statement | None]:
    """Rate random plans and usage, all in one kernel call; compare every line, total and status."""
    plans = [make.plan() for _ in range(plan_count)]
    pairs = [(index, make.usage(plan)) for index, plan in enumerate(plans) for _ in range(USAGES)]
    compiled = compile_plans(plans)
    inputs = np.zeros((len(pairs), compiled.input_count), dtype=np.int64)
    uncounted = set()
    for row, (index, usage) in enumerate(pairs):
        try:
            columns = charge_inputs(plans[index], counters_from_usage(plans[index], usage))
        except OutOfRange:
            uncounted.add(row)
        else:
            inputs[row, : len(columns)] = columns
    rated = rate_rows(compiled, np.array([index for index, _ in pairs]), inputs)
    expected = []
    for row, (index, usage) in enumerate(pairs):
        statement = _reference(plans[index], usage)
        expected.append(statement)
        fits = row not in uncounted and rated.statuses[row] == RowStatus.OK
        slots = compiled.layouts[index]
        amounts = {
            (slot.id, slot.kind): int(amount)
            for slot, amount in zip(slots, rated.amounts[row], strict=False)
            if amount
        }
        got = (amounts, int(rated.totals[row])) if fits else None
        want = None if statement is None else (_lines(statement), statement.total)
        assert got == want, (plans[index], usage)
    return expected


@pytest.mark.parametrize("seed", range(CHUNKS))
def test_kernels_agree_with_the_reference(seed: int, maker) -> None:
    """5,200 random plans with three usages each: every line, total and status is the same."""
    expected = _compare(maker(seed), PLANS)
    rated = sum(statement is not None for statement in expected)
    assert rated > len(expected) // 3
    assert rated < len(expected)


def test_random_plans_reach_every_feature(maker) -> None:
    """The random plans of the comparison hold every model, mode, stage and kind of line."""
    make = maker(0)
    models, rounding, kinds = set(), set(), set()
    for _ in range(PLANS):
        plan = make.plan()
        models |= {charge.model for charge in plan.charges}
        rounding.add((plan.rounding.mode, plan.rounding.stage))
        statement = _reference(plan, make.usage(plan))
        kinds |= {line.kind for line in statement.lines if line.amount} if statement else set()
    assert models == set(ChargeModel)
    assert rounding == {(mode, stage) for mode in RoundingMode for stage in RoundingStage}
    assert kinds == set(LineKind) - OF_CONTRACTS


def test_reduced_set_agrees(maker) -> None:
    """A small comparison, which also runs without compiled code; statements included."""
    make = maker(1_000)
    _compare(make, 200)
    for _ in range(40):
        plan = make.plan()
        usage = make.usage(plan)
        expected = _reference(plan, usage)
        try:
            statement = rate_statement(plan, counters_from_usage(plan, usage))
        except OutOfRange:
            statement = None
        assert _lines(statement) == _lines(expected), (plan, usage)
