"""`RateBatch` over loopback gRPC: columns of quantities out, columns of amounts back (S11.3)."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.core import ROWS, compiled, workload
from benchmarks.local_server import local_server
from benchmarks.measure import Row, interleaved
from benchmarks.peers.engine import Workload
from benchmarks.price_sheet import GRADUATED
from rating_client import Client, RateBatch
from rating_core.bulk import rate_quantities
from rating_core.plan.output import plan_to_document

BATCH = 100_000
PLAN_COUNTS = {"1-plan": 1, "1000-plans": 1_000}
START_S = 60.0


def run(rows: int = ROWS) -> Iterator[Row]:
    """Yield one row a number of plans; every amount is checked first."""
    with (
        tempfile.TemporaryDirectory(prefix="rw-bench-") as name,
        local_server(Path(name)) as address,
        Client(address) as client,
    ):
        if not client.wait_until_ready(START_S):
            raise SystemExit("the server does not answer")
        for case, count in PLAN_COUNTS.items():
            yield _measure(client, case, workload(count, (GRADUATED,), rows))


def _measure(client: Client, case: str, work: Workload) -> Row:
    bulk = compiled(work).bulk
    plan = 0 if work.one_plan else work.plan_index
    expected = rate_quantities(bulk, work.quantities, plan)
    documents = [plan_to_document(plan) for plan in work.plans]

    def totals() -> list[NDArray[np.int64]]:
        return list(_totals(client, work, documents))

    if not np.array_equal(np.concatenate(totals()), expected):
        raise SystemExit(f"{case}: amounts over the wire differ from those of the kernels")
    taken = interleaved({case: totals})[case]
    return {
        "subject": "rate-batch",
        "case": f"rate-batch/{case}",
        "engine": "ratewright",
        "rows_per_s": round(len(work.quantities) / taken),
        "ratio_to_ours": 1.0,
        "exact": True,
        "threads": 1,
    }


def _totals(
    client: Client, work: Workload, documents: list[dict[str, Any]]
) -> Iterator[NDArray[np.int64]]:
    for answer in client.rate_batches(_batches(work, documents)):
        if len(answer.statuses):
            raise SystemExit("a row did not fit 64 bits")
        yield answer.totals


def _batches(work: Workload, documents: list[dict[str, Any]]) -> Iterator[RateBatch]:
    for start in range(0, len(work.quantities), BATCH):
        part = slice(start, start + BATCH)
        yield RateBatch(
            quantities=[work.quantities[part]],
            plans=documents if start == 0 else (),
            plan_index=() if work.one_plan else work.plan_index[part],
        )
