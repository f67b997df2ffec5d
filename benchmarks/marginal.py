"""Marginal and inverse rating: the price of the next records, and what a budget affords (S11).

The peer of `max_quantity` is bisection with our own bulk prices, 63 steps over all rows at once;
prices of whole periods, subtracted, are what deltas are checked against.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
from numpy.typing import NDArray

from benchmarks.core import CASES, ROWS, compiled, threads, workload
from benchmarks.measure import Row, interleaved, ratio
from benchmarks.workloads import SEED
from rating_core.bulk import BulkPlans, rate_quantities
from rating_core.inverse import max_quantity
from rating_core.marginal import rate_delta, rate_deltas_in_order

Int64Array = NDArray[np.int64]
PlanIndex = int | NDArray[np.int32]
Runs = dict[tuple[str, int], tuple[Callable[[], object], int]]
"""What to run, and how many rows that is, by engine and number of threads."""

BISECTED = 100_000
STEPS = 63
CUSTOMERS = 1_000
BUDGET_MAX = 10**7
"""In cents."""
MARGINAL_CASES = ("1-plan", "100000-plans")


def run(rows: int = ROWS) -> Iterator[Row]:
    """Yield the rates of `rate_delta`, `rate_deltas_in_order` and `max_quantity`."""
    for case in MARGINAL_CASES:
        work = workload(*CASES[case], rows)
        bulk = compiled(work).bulk
        plan: PlanIndex = 0 if work.one_plan else work.plan_index
        rng = np.random.default_rng(SEED + 2)
        before = rng.permutation(work.quantities)
        yield from _deltas(bulk, plan, before, work.quantities, case)
        yield from _budgets(bulk, plan, before, rng.integers(0, BUDGET_MAX, rows), case)
        if work.one_plan:
            yield from _records(bulk, work.quantities, case)


def _rows(case: str, runs: Runs) -> Iterator[Row]:
    """Measure ``runs``, which were checked; ours on most threads is the base of the ratios."""
    names = {f"{engine}/{count}": (engine, count) for engine, count in runs}
    taken = interleaved({name: runs[key][0] for name, key in names.items()})
    rates = {name: runs[key][1] / taken[name] for name, key in names.items()}
    base = rates[f"ratewright/{threads()}"]
    for name, (engine, count) in names.items():
        yield {
            "subject": "core",
            "case": case,
            "engine": engine,
            "rows_per_s": round(rates[name]),
            "ratio_to_ours": ratio(rates[name], base),
            "threads": count,
            "exact": True,
        }


def _deltas(
    bulk: BulkPlans, plan: PlanIndex, before: Int64Array, quantities: Int64Array, case: str
) -> Iterator[Row]:
    after = rate_quantities(bulk, before + quantities, plan)
    expected = after - rate_quantities(bulk, before, plan)

    def ours(count: int) -> Int64Array:
        return rate_delta(bulk, plan, 0, before, quantities, threads=count)

    if not np.array_equal(ours(1), expected):
        raise SystemExit(f"{case}: a delta is not the difference of the prices")
    runs: Runs = {
        ("ratewright", count): (partial(ours, count), len(before))
        for count in sorted({1, threads()})
    }
    yield from _rows(f"rate-delta/{case}", runs)


def _records(bulk: BulkPlans, quantities: Int64Array, case: str) -> Iterator[Row]:
    rng = np.random.default_rng(SEED + 3)
    customers = rng.integers(0, CUSTOMERS, len(quantities))
    nothing = np.zeros(CUSTOMERS, np.int64)

    def ours() -> tuple[Int64Array, Int64Array]:
        return rate_deltas_in_order(bulk, 0, 0, customers, quantities, nothing)

    deltas, counters = ours()
    sums = np.zeros(CUSTOMERS, np.int64)
    np.add.at(sums, customers, deltas)
    free = rate_quantities(bulk, nothing, 0)
    if not np.array_equal(sums, rate_quantities(bulk, counters, 0) - free):
        raise SystemExit(f"{case}: the records of a customer do not add up to its period")
    yield from _single(f"rate-deltas-in-order/{case}", ours, len(quantities))


def _single(case: str, run: Callable[[], object], rows: int) -> Iterator[Row]:
    """Yield the one row of what runs in order, on one thread."""
    taken = interleaved({"ours": run})["ours"]
    yield {
        "subject": "core",
        "case": case,
        "engine": "ratewright",
        "rows_per_s": round(rows / taken),
        "ratio_to_ours": 1.0,
        "threads": 1,
        "exact": True,
    }


def _budgets(
    bulk: BulkPlans, plan: PlanIndex, before: Int64Array, budgets: Int64Array, case: str
) -> Iterator[Row]:
    def ours(count: int) -> tuple[Int64Array, NDArray[np.bool_]]:
        return max_quantity(bulk, plan, 0, before, budgets, threads=count)

    few = slice(0, min(BISECTED, len(before)))
    few_plans = plan if isinstance(plan, int) else plan[few]

    def bisected() -> Int64Array:
        return _bisect(bulk, few_plans, before[few], budgets[few])

    if not np.array_equal(ours(1)[0][few], bisected()):
        raise SystemExit(f"{case}: the closed form and bisection disagree")
    runs: Runs = {
        ("ratewright", count): (partial(ours, count), len(before))
        for count in sorted({1, threads()})
    }
    runs["bisection", 1] = (bisected, few.stop)
    yield from _rows(f"max-quantity/{case}", runs)


def _bisect(
    bulk: BulkPlans, plan: PlanIndex, before: Int64Array, budgets: Int64Array
) -> Int64Array:
    """Return the largest quantity whose delta is within budget; prices must be monotone."""
    limit = rate_quantities(bulk, before, plan) + budgets
    low = np.zeros_like(before)
    # a quantity that surely is above each budget here, and whose price still fits 64 bits
    high = np.full_like(before, 10**14)
    for _ in range(STEPS):
        middle = low + (high - low) // 2
        fits = rate_quantities(bulk, before + middle, plan) <= limit
        low = np.where(fits, middle, low)
        high = np.where(fits, high, middle)
    return low
