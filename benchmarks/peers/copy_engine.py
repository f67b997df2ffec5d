"""A plain copy loop: what reading a column and writing another costs, the ceiling of any engine."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import numba
import numpy as np

from benchmarks.peers.engine import Engine, Form, Int64Array, Workload

COPY = "copy-loop"


@numba.njit(nogil=True)
def _copy(source: Int64Array, target: Int64Array) -> None:
    for row in range(len(source)):
        target[row] = source[row]


def copy_engines(work: Workload, threads: int) -> list[Engine]:
    """Return the loop on one thread and on ``threads`` threads; it is no rating, so not checked."""
    return [_engine(work, count) for count in sorted({1, threads})]


def _engine(work: Workload, threads: int) -> Engine:
    target = np.empty_like(work.quantities)
    cuts = np.linspace(0, len(target), threads + 1).astype(int).tolist()
    pool = ThreadPoolExecutor(threads)

    def run() -> None:
        parts = [slice(*ends) for ends in pairwise(cuts)]
        if threads == 1:
            _copy(work.quantities, target)
        else:
            list(pool.map(lambda part: _copy(work.quantities[part], target[part]), parts))

    def copied() -> Int64Array:
        run()
        return target

    return Engine(COPY, threads, False, len(target), {"loop": Form(run, copied)})
