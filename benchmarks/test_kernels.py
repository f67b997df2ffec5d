"""Kernel rates with pytest-benchmark: `pytest benchmarks --benchmark-enable`."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from benchmarks.core import CASES, compiled, workload
from benchmarks.peers.engine import Workload
from benchmarks.workloads import SEED
from rating_core.bulk import BulkPlans, rate_batch, rate_quantities
from rating_core.inverse import max_quantity
from rating_core.marginal import rate_delta

ROWS = 1_000_000
QUICK_CASES = [name for name, (count, _) in CASES.items() if count <= 1_000]


@cache
def _prepared(case: str) -> tuple[Workload, BulkPlans]:
    work = workload(*CASES[case], ROWS)
    return work, compiled(work).bulk


@pytest.mark.benchmark(group="rate_quantities")
@pytest.mark.parametrize("case", QUICK_CASES)
def test_rate_quantities(benchmark: BenchmarkFixture, case: str) -> None:
    """One thread over a million rows, output array reused."""
    work, bulk = _prepared(case)
    plan = 0 if work.one_plan else work.plan_index
    out = np.empty_like(work.quantities)
    benchmark(lambda: rate_quantities(bulk, work.quantities, plan, out=out))


@pytest.mark.benchmark(group="rate_batch")
@pytest.mark.parametrize("case", QUICK_CASES)
def test_rate_batch(benchmark: BenchmarkFixture, case: str) -> None:
    """Charges, commitments and totals of a million rows of one meter, one thread."""
    work, bulk = _prepared(case)
    plans = np.zeros_like(work.plan_index) if work.one_plan else work.plan_index
    benchmark(lambda: rate_batch(bulk, plans, work.quantities[:, None]))


@pytest.mark.benchmark(group="marginal")
def test_rate_delta(benchmark: BenchmarkFixture) -> None:
    """The price of the next records of a million counters, one plan, one thread."""
    work, bulk = _prepared("1-plan")
    before = np.random.default_rng(SEED).permutation(work.quantities)
    benchmark(lambda: rate_delta(bulk, 0, 0, before, work.quantities))


@pytest.mark.benchmark(group="marginal")
def test_max_quantity(benchmark: BenchmarkFixture) -> None:
    """What a million budgets afford, one plan, one thread."""
    work, bulk = _prepared("1-plan")
    rng = np.random.default_rng(SEED)
    before = rng.permutation(work.quantities)
    budgets = rng.integers(0, 10**7, ROWS)
    benchmark(lambda: max_quantity(bulk, 0, 0, before, budgets))
