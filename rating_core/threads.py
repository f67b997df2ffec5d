"""Threads over chunks of rows: kernels release the interpreter lock, so chunks run side by side.

All callers share one pool with one thread less than there are cores, and every caller works
through its own chunks: pool threads only help. However many calls run at the same time, no more
threads compute than callers and cores, nobody waits for a helper that has not begun, and after a
fork, which leaves the pool without threads, the caller does all the work by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from threading import Lock
from typing import TypeVar

import numpy as np

from rating_core.jit import config

CHUNK_ROWS = 1 << 16
"""Rows of a chunk: few enough for the caches, enough to outweigh handing a chunk over."""

R = TypeVar("R")


class _Chunks:
    """Chunks still to do, and the results of those that are done; safe to share."""

    def __init__(self, task: Callable[[int, int], R], row_count: int) -> None:
        self._task = task
        self._row_count = row_count
        self._starts: Iterator[int] = iter(range(0, row_count, CHUNK_ROWS))
        self._lock = Lock()
        self.results: dict[int, object] = {}

    def work(self) -> None:
        """Do chunks until none is left; an error leaves none to others."""
        while True:
            with self._lock:
                start = next(self._starts, None)
            if start is None:
                return
            try:
                self.results[start] = self._task(start, min(start + CHUNK_ROWS, self._row_count))
            except BaseException:
                with self._lock:
                    self._starts = iter(())
                raise


@cache
def _pool() -> ThreadPoolExecutor:
    helpers = max(1, int(config.NUMBA_NUM_THREADS) - 1)
    return ThreadPoolExecutor(helpers, thread_name_prefix="rating")


def run_chunks(task: Callable[[int, int], R], row_count: int, threads: int) -> list[R]:
    """Call ``task(start, end)`` for consecutive ranges that cover all rows; return in row order.

    At most ``threads`` threads work, the caller among them; ranges hold `CHUNK_ROWS` rows, the last
    one what is left. Raises ValueError for less than one thread, TypeError if that is no integer,
    and what the first failing task raised.
    """
    check_threads(threads)
    chunks = _Chunks(task, row_count)
    wanted = min(threads, -(-row_count // CHUNK_ROWS), int(config.NUMBA_NUM_THREADS))
    helpers = [_pool().submit(chunks.work) for _ in range(wanted - 1)]
    try:
        chunks.work()
    finally:
        begun = [helper for helper in helpers if not helper.cancel()]
        for helper in begun:
            helper.exception()
    for helper in begun:
        helper.result()
    return [chunks.results[start] for start in sorted(chunks.results)]  # type: ignore[misc]


def check_threads(threads: int) -> None:
    """Raise TypeError if ``threads`` is no integer, ValueError if it is below 1."""
    if not isinstance(threads, int | np.integer) or isinstance(threads, bool):
        raise TypeError(f"threads must be an int, not {type(threads).__name__}")
    if threads < 1:
        raise ValueError(f"threads must be at least 1, not {threads}")
