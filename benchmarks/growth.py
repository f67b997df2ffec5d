"""How the cost of a row grows: with rows, tiers, plans and threads. It should stay flat."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np

from benchmarks.core import ROWS, Compiled, compiled, threads, workload
from benchmarks.measure import RUNS, Row, timed
from benchmarks.peers.copy_engine import COPY, copy_engines
from benchmarks.peers.engine import Workload
from benchmarks.peers.ours_engine import OURS
from benchmarks.price_sheet import GRADUATED
from rating_core.bulk import rate_quantities

ROW_COUNTS = (10**4, 10**5, 10**6, 10**7, 10**8)
CHUNK = 10**7
TIER_COUNTS = (1, 2, 4, 5, 8, 16, 32, 64)
PLAN_COUNTS = (1, 10, 100, 1_000, 10_000, 100_000, 1_000_000)
MANY = 1_000
SORTED_FROM = 1_000


def run(rows: int = ROWS) -> Iterator[Row]:
    """Yield one row a point of growth and number of threads; ``rows`` bounds all points."""
    yield from _row_growth(rows)
    yield from _tier_growth(rows)
    yield from _plan_growth(rows)


def _row_growth(rows: int) -> Iterator[Row]:
    """From 10^4 to 10^8 rows, one plan and 1,000; above 10^7 in chunks of 10^7."""
    for count in (1, MANY):
        work = workload(count, (GRADUATED,), min(rows, CHUNK))
        plans = compiled(work)
        for total in ROW_COUNTS:
            if total <= 10 * rows:
                yield from _point(f"rows-{total}/{count}-plans", work, plans, total)


def _tier_growth(rows: int) -> Iterator[Row]:
    for count in (1, MANY):
        for tiers in TIER_COUNTS:
            work = workload(count, (GRADUATED,), rows, tiers)
            yield from _point(f"tiers-{tiers}/{count}-plans", work, compiled(work), rows)


def _plan_growth(rows: int) -> Iterator[Row]:
    # more plans than rows would measure nothing but compiling them
    for count in (count for count in PLAN_COUNTS if count <= rows):
        work = workload(count, (GRADUATED,), rows)
        plans = compiled(work)
        for row in _point(f"plans-{count}", work, plans, rows):
            yield row | {"plan_compile_s": round(plans.seconds, 3)}
        if count >= SORTED_FROM:
            # the same table read in order: what is left is not the caches' doing
            in_order = replace(work, plan_index=np.sort(work.plan_index))
            yield from _point(f"plans-{count}/sorted", in_order, plans, rows)


def _point(case: str, work: Workload, plans: Compiled, total: int) -> Iterator[Row]:
    out = np.empty_like(work.quantities)
    chunk = min(total, len(out))
    plan = 0 if work.one_plan else work.plan_index[:chunk]

    def rated(count: int) -> Callable[[], object]:
        def run_chunks() -> None:
            for _ in range(total // chunk):
                rate_quantities(
                    plans.bulk, work.quantities[:chunk], plan, out=out[:chunk], threads=count
                )

        return run_chunks

    runs = {(OURS, count): rated(count) for count in sorted({1, threads()})}
    if case.startswith("rows"):
        # the control: what the memory takes of any loop over such columns
        part = replace(work, quantities=work.quantities[:chunk], plan_index=work.plan_index[:chunk])
        copy = copy_engines(part, 1)[0].forms["loop"].run
        runs[COPY, 1] = lambda: [copy() for _ in range(total // chunk)]
    # short runs repeat more often, for a median that the timer does not blur
    rounds = RUNS if total >= CHUNK else 5 * RUNS
    named = {f"{engine}/{count}": run for (engine, count), run in runs.items()}
    taken = timed(named, rounds)
    for engine, count in runs:
        times = taken[f"{engine}/{count}"]
        median = statistics.median(times)
        yield {
            "subject": "core-growth",
            "case": case,
            "engine": engine,
            "rows_per_s": round(total / median),
            "ns_per_row": round(1e9 * median / total, 3),
            "best_ns_per_row": round(1e9 * min(times) / total, 3),
            "threads": count,
        }
