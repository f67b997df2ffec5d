"""Ratewright: the bulk kernels, with the output array reused from run to run."""

from __future__ import annotations

import numpy as np

from benchmarks.peers.engine import Engine, Form, Int64Array, Workload
from rating_core.bulk import BulkPlans, rate_quantities

OURS = "ratewright"


def ours_engines(work: Workload, bulk: BulkPlans, threads: int) -> list[Engine]:
    """Return our engine on one thread and on ``threads`` threads."""
    return [our_engine(work, bulk, count) for count in sorted({1, threads})]


def our_engine(work: Workload, bulk: BulkPlans, threads: int) -> Engine:
    """Return our engine: one plan by its number, many by the column of plans."""
    out = np.empty_like(work.quantities)
    plan = 0 if work.one_plan else work.plan_index

    def run() -> Int64Array:
        return rate_quantities(bulk, work.quantities, plan, out=out, threads=threads)

    return Engine(OURS, threads, True, len(out), {"rate_quantities": Form(run, run)})
