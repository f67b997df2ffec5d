"""Exact rating in bulk, beside what people would use instead, on the same arrays in one run.

Every engine brings several formulations. All are checked (an engine that claims exactness must
equal ours in every row, the differences of the others are counted); the fastest is measured, in
turn with the others. Output arrays are reused where an engine can; compilation is timed apart.
``ratio_to_ours`` is an engine's rate over ours on all threads, so that below 1 is slower than ours.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from benchmarks.measure import Row, interleaved, ratio, seconds
from benchmarks.peers.engine import Engine, Form, Int64Array, Workload
from benchmarks.price_sheet import (
    GRADUATED,
    PACKAGE,
    PER_UNIT,
    STAIRSTEP,
    VOLUME,
    plan_column,
    price_sheet,
)
from benchmarks.workloads import log_uniform
from rating_core.bulk import BulkPlans, compile_bulk

ROWS = 10_000_000
TRIALS = 2
SLOW_S = 2.0
"""A formulation that takes longer is not warmed up before it is compared with the others."""
CASES: dict[str, tuple[int, tuple[int, ...]]] = {
    "1-plan": (1, (GRADUATED,)),
    "1000-plans": (1_000, (GRADUATED,)),
    "100000-plans": (100_000, (GRADUATED,)),
    "volume": (1, (VOLUME,)),
    "package": (1, (PACKAGE,)),
    "mixed": (1_000, (GRADUATED, VOLUME, PACKAGE, PER_UNIT, STAIRSTEP)),
}
"""Number of plans and their models, in turn, by the name of the case."""


@dataclass(frozen=True)
class Compiled:
    """Plans as the kernels read them, and the seconds that compiling them took."""

    bulk: BulkPlans
    seconds: float


def threads() -> int:
    """Return how many threads every engine may use: the processors of this process."""
    return len(os.sched_getaffinity(0))


def workload(count: int, models: tuple[int, ...], rows: int, tiers: int = 5) -> Workload:
    """Return ``rows`` seeded rows of ``count`` plans."""
    sheet = price_sheet(count, *models, tiers=tiers)
    return Workload(sheet, sheet.plans(), log_uniform(rows), plan_column(count, rows))


def compiled(work: Workload) -> Compiled:
    """Compile the plans of ``work`` once."""
    made: list[BulkPlans] = []
    taken = seconds(lambda: made.append(compile_bulk(work.plans)))
    return Compiled(made[0], taken)


def run(rows: int = ROWS) -> Iterator[Row]:
    """Yield one row an engine and case; stops if an engine that claims exactness is not."""
    for case in CASES:
        yield from run_case(case, rows)


def run_case(case: str, rows: int) -> Iterator[Row]:
    """Yield the rows of one case, ours first."""
    # the peers are an extra of their own: --help and the other benchmarks do without them
    from benchmarks.peers.copy_engine import copy_engines
    from benchmarks.peers.decimal_engine import decimal_engines
    from benchmarks.peers.duckdb_engine import duckdb_engines
    from benchmarks.peers.numpy_engine import numpy_engines
    from benchmarks.peers.ours_engine import OURS, ours_engines
    from benchmarks.peers.polars_engine import polars_engines

    work = workload(*CASES[case], rows)
    plans = compiled(work)
    ours = ours_engines(work, plans.bulk, threads())
    first = seconds(ours[0].forms["rate_quantities"].run)
    expected = ours[0].forms["rate_quantities"].cents().copy()
    engines = [
        *ours,
        *copy_engines(work, threads()),
        *polars_engines(work),
        *duckdb_engines(work, threads()),
        *numpy_engines(work),
        *decimal_engines(work),
    ]
    chosen = {f"{engine.name}/{engine.threads}": _fastest(engine) for engine in engines}
    taken = interleaved({key: form.run for key, (_, form) in chosen.items()})
    rates = {
        f"{engine.name}/{engine.threads}": engine.rows / taken[f"{engine.name}/{engine.threads}"]
        for engine in engines
    }
    base = rates[f"{OURS}/{threads()}"]
    for engine in engines:
        key = f"{engine.name}/{engine.threads}"
        form = chosen[key][0]
        row: Row = {
            "subject": "core",
            "case": case,
            "engine": engine.name,
            "rows_per_s": round(rates[key]),
            "ratio_to_ours": ratio(rates[key], base),
            "threads": engine.threads,
            "form": form,
        }
        yield row | checked(engine, form, expected) | _compile_times(engine, plans, first)


def _fastest(engine: Engine) -> tuple[str, Form]:
    """Return the formulation of ``engine`` with the best of a few runs."""
    if len(engine.forms) == 1:
        return next(iter(engine.forms.items()))

    def best(form: Form) -> float:
        first = seconds(form.run)
        if first > SLOW_S:
            return first
        return min(seconds(form.run) for _ in range(TRIALS))

    return min(engine.forms.items(), key=lambda named: best(named[1]))


def checked(engine: Engine, measured: str, expected: Int64Array) -> Row:
    """Compare all formulations with our result; return what the measured one differs in."""
    if engine.name == "copy-loop":
        return {"exact": None}
    differences = {}
    for name, form in engine.forms.items():
        cents = form.cents()
        differences[name] = int(np.count_nonzero(cents != expected[: len(cents)]))
        if engine.exact and differences[name]:
            raise SystemExit(
                f"{engine.name} ({name}) claims to be exact and differs from ours in"
                f" {differences[name]} of {len(cents)} rows"
            )
    count = differences[measured]
    return {"exact": count == 0, "differences": count, "checked_rows": engine.rows}


def _compile_times(engine: Engine, plans: Compiled, first: float) -> Row:
    """Return the times that are apart from the rate: compiling the plans, and the first call."""
    if engine.name != "ratewright":
        return {}
    return {"plan_compile_s": round(plans.seconds, 3), "first_call_s": round(first, 3)}
