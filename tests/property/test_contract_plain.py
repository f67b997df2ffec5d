"""A contract without anything of time costs what the kernels say: lines, slices, totals, errors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from rating_core.catalog import Plan
from rating_core.contract.rate import rate_contract
from rating_core.contract.usage import ContractUsage, PartUsage, PeriodUsage, PlanRef
from rating_core.counter import SeriesCounter
from rating_core.errors import OutOfRange
from rating_core.pipeline import is_priced_by_rows, rate_statement
from rating_core.statement import Statement
from rating_core.usage import counters_from_usage

PLANS = 12
USAGES = 2
MONTH = 31 * 86_400_000_000


def _by_rows(plan: Plan, counters: Sequence[SeriesCounter]) -> Statement | None:
    try:
        return rate_statement(plan, counters)
    except OutOfRange:
        return None


def _by_contract(plan: Plan, counters: Sequence[SeriesCounter]) -> Statement | None:
    part = PartUsage(0, MONTH, plan, PlanRef(plan.id, 1), tuple(counters))
    period = PeriodUsage(0, MONTH, 0, (part,))
    try:
        (rated,) = rate_contract(ContractUsage("acme", "main", 0, MONTH, (period,)))
    except OutOfRange:
        return None
    assert rated.booked.total_before_credits == rated.statement.total
    lines = [replace(line, part=None, due_time=None) for line in rated.statement.lines]
    return replace(rated.statement, lines=tuple(lines), period=None)


@pytest.mark.parametrize("seed", range(3))
def test_a_plain_contract_costs_what_the_kernels_say(seed: int, maker) -> None:
    """Random plans: the exact path of contracts gives the kernels' statement, bit for bit."""
    make = maker(1_000 + seed)
    priced = 0
    for _ in range(PLANS):
        plan = make.plan()
        assert is_priced_by_rows(plan)
        for _ in range(USAGES):
            try:
                counters = counters_from_usage(plan, make.usage(plan))
            except OutOfRange:
                continue
            expected = _by_rows(plan, counters)
            assert _by_contract(plan, counters) == expected, plan
            priced += expected is not None
    assert priced > PLANS
