"""Tables and plot of the ingest benchmark, for README.md."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from benchmarks.plot import Curve, Panel, svg

Rows = list[dict[str, Any]]
OURS = "ratewright"
PIPELINE_TARGETS = (
    ("ids/1000/8k", 15, 40),
    ("ids/100000/8k", 10, 25),
    ("seq/1000/64k", 50, 100),
    ("seq/100000/64k", 50, 100),
)
"""Case, target and stretch: how many times as fast as the hand-written pipeline."""
UNARY_CASE, UNARY_P99_MS = "unary/while-a-stream-ingests", 10
MEMORY = "memory/"
TARGET_HEAD = ("case", "measured", "target", "stretch", "met")
RATE_HEAD = ("case", "engine", "M records/s", "× the pipeline", "CPU, s per million", "latency, ms")


def target_lines(rows: Rows) -> Iterator[tuple[str, ...]]:
    """Yield a line for each target that was measured, under TARGET_HEAD."""
    ours = {row["case"]: row for row in rows if row["engine"] == OURS}
    for case, target, stretch in PIPELINE_TARGETS:
        if case in ours:
            times = ours[case]["ratio_to_pipeline"]
            met = "yes" if times >= target else "no"
            yield case, f"{times:.1f} × the pipeline", f"≥ {target} ×", f"{stretch} ×", met
    if UNARY_CASE in ours:
        p99 = ours[UNARY_CASE]["latency_ms_p99"]
        met = "yes" if p99 <= UNARY_P99_MS else "no"
        yield UNARY_CASE, f"p99 {p99:.1f} ms", f"≤ {UNARY_P99_MS} ms", "", met


def rate_lines(rows: Rows) -> Iterator[tuple[str, ...]]:
    """Yield a line for each case and engine but those of memory, under RATE_HEAD."""
    for row in rows:
        if row["case"].startswith(MEMORY):
            continue
        latency = ""
        if "latency_ms_p50" in row:
            latency = f"p50 {row['latency_ms_p50']:.1f}, p99 {row['latency_ms_p99']:.1f}"
        yield (
            row["case"],
            row["engine"],
            f"{row['records_per_s'] / 1e6:.3g}",
            f"{row['ratio_to_pipeline']:.1f}" if "ratio_to_pipeline" in row else "",
            f"{row['cpu_s_per_million']:.2f}" if "cpu_s_per_million" in row else "",
            latency,
        )


def memory_plot(rows: Rows) -> str | None:
    """Return the plot of memory against records, if it was measured."""
    panels = []
    for kind, title in (("ids", "event ids"), ("seq", "a sequenced producer")):
        here = [row for row in rows if row["case"] == MEMORY + kind]
        names = ("server", "client", "store")
        curves = tuple(
            Curve(name, tuple((float(r["records"]), float(r[f"{name}_bytes"])) for r in here))
            for name in names
        )
        if here:
            panels.append(Panel(f"memory, {title}", "records", curves, unit="B"))
    return svg(panels) if panels else None
