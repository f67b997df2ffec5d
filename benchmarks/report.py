"""README.md from results/*.json: tables between markers, and the plot."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks.ingest_report import (
    RATE_HEAD,
    TARGET_HEAD,
    memory_plot,
    rate_lines,
    target_lines,
)
from benchmarks.plot import Curve, Panel, svg
from benchmarks.statement_report import STATEMENT_HEAD, statement_lines
from rating_core.bulk_tables import row_shape
from rating_core.kernels.fast64 import LINE_WORDS

HERE = Path(__file__).resolve().parent
README = HERE / "README.md"
RESULTS = HERE / "results"
PLOT = RESULTS / "rates.svg"
MEMORY_PLOT = RESULTS / "ingest-memory.svg"
Rows = list[dict[str, Any]]

NOT_RATED = "copy-loop"
OURS = "ratewright"
GATHERING = "polars-gather"
JOINS = ("polars-int64", "polars-float64")
PEERS = {
    "expression": (JOINS, "faster of the Polars expressions"),
    "join": (JOINS, "faster of the Polars joins"),
    "gather": ((GATHERING,), "Polars, gathered by position"),
    "copy": ((NOT_RATED,), "copy loop, same threads"),
    "duckdb": (("duckdb-decimal",), "DuckDB DECIMAL"),
    "decimal": (("python-decimal",), "Python Decimal"),
}
"""Engines of which the fastest is compared, and the name to show."""
TARGETS: tuple[tuple[str, str, float, str], ...] = (
    ("1-plan", "expression", 3, "5"),
    ("1-plan", "copy", 0.35, "0.6"),
    ("1000-plans", "join", 3, "6"),
    ("100000-plans", "join", 2.5, "4"),
    ("1-plan", "duckdb", 20, "60"),
    ("1000-plans", "duckdb", 20, "60"),
    ("100000-plans", "duckdb", 20, "60"),
    ("1-plan", "decimal", 300, "1,000"),
    ("1000-plans", "decimal", 300, "1,000"),
    ("100000-plans", "decimal", 300, "1,000"),
)
"""Case, peer, target, stretch: how many times as fast as the peer."""
NO_JOIN = "the target is of the join; gathering needs plans numbered from 0"
OTHER_MODELS = "the targets are of the canonical workload, graduated plans"
BESIDE: tuple[tuple[str, str, str], ...] = (
    ("1000-plans", "gather", NO_JOIN),
    ("100000-plans", "gather", NO_JOIN),
    *(
        (case, peer, OTHER_MODELS)
        for case, polars in (("volume", "expression"), ("package", "expression"), ("mixed", "join"))
        for peer in (polars, "duckdb", "decimal")
    ),
)
"""Case, peer, and why no target applies to it."""
UNMET = (
    "with more plans our rate falls, because their rows of the table come from farther memory; the"
    " peer's, bound by its arithmetic, falls less"
)
"""Why a target for many plans is not met, where it is not."""
RATE_TARGETS = (("max-quantity/1-plan", 20), ("rate-batch/1-plan", 8))
"""Case and millions a second; a rate, not a ratio."""
GROWTH_LIMIT = 1.5
UNEXPLAINED = "not explained"


def write_report() -> int:
    """Write the tables and the plot that the results give; return the exit status."""
    text = README.read_text()
    told = set()
    for name, table in TABLES.items():
        path = RESULTS / f"{name.partition('/')[0]}.json"
        if path.exists():
            found = json.loads(path.read_text())
            body = "\n".join(table(found["rows"]))
            if path not in told:
                told.add(path)
                body = f"{body}\n\n{_machine(found['machine'])}"
            text = _replaced(text, name, body)
    README.write_text(text)
    plot = _plot()
    if plot:
        PLOT.write_text(plot)
    memory = memory_plot(_rows_of("ingest"))
    if memory:
        MEMORY_PLOT.write_text(memory)
    sys.stdout.write(f"wrote {README.name} from {RESULTS.name}/\n")
    return 0


def _replaced(text: str, name: str, body: str) -> str:
    start, end = f"<!-- {name} -->", f"<!-- end of {name} -->"
    before, found, rest = text.partition(start)
    _, closed, after = rest.partition(end)
    if not found or not closed:
        raise SystemExit(f"README.md lacks the markers of {name}")
    return f"{before}{start}\n{body}\n{end}{after}"


def _machine(header: dict[str, Any]) -> str:
    versions = {k: v for k, v in header.items() if k not in ("cpu", "cores")}
    listed = ", ".join(f"{name} {number}" for name, number in versions.items())
    return f"Measured on {header['cores']} cores ({header['cpu']}): {listed}."


def _table(head: Sequence[str], rows: Iterator[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(head)} |"
    yield "|" + "---|" * len(head)
    for row in rows:
        yield f"| {' | '.join(row)} |"


def _million(rate: float) -> str:
    millions = rate / 1e6
    return f"{millions:,.0f}" if millions >= 100 else f"{millions:.3g}"


def _ratio(ratio: float) -> str:
    return f"{ratio:,.0f}" if ratio >= 100 else f"{ratio:.3g}"


def _exactness(row: dict[str, Any]) -> str:
    if row["exact"] is None:
        return "no rating"
    if row["exact"]:
        return "yes"
    return f"no: {row['differences']:,} of {row['checked_rows']:,} rows differ"


def _core_table(rows: Rows) -> Iterator[str]:
    head = ("case", "engine", "threads", "M rows/s", "of our rate", "exact", "fastest form")
    return _table(
        head,
        (
            (
                row["case"],
                f"**{row['engine']}**" if row["engine"] == OURS else row["engine"],
                str(row["threads"]),
                _million(row["rows_per_s"]),
                _ratio(row["ratio_to_ours"]),
                _exactness(row),
                row["form"],
            )
            for row in rows
            if "form" in row
        ),
    )


def _marginal_table(rows: Rows) -> Iterator[str]:
    head = ("case", "engine", "threads", "M/s")
    return _table(
        head,
        (
            (row["case"], row["engine"], str(row["threads"]), _million(row["rows_per_s"]))
            for row in rows
            if "form" not in row
        ),
    )


def _target_table(rows: Rows) -> Iterator[str]:
    head = ("case", "compared with", "ratewright is", "target", "stretch", "met", "remark")
    return _table(head, _targets(rows))


def _targets(rows: Rows) -> Iterator[tuple[str, ...]]:
    for case, peer, target, stretch in TARGETS:
        times = _times(rows, case, peer)
        if times is None:
            continue
        met, remark = ("yes", "") if times >= target else ("no", UNMET if case != "1-plan" else "")
        shown = (f"{_ratio(times)} ×", f"≥ {target:g} ×", f"{stretch} ×", met, remark)
        yield (case, PEERS[peer][1], *shown)
    yield from _rate_targets(rows + _rows_of("rate-batch"))
    for case, peer, remark in BESIDE:
        times = _times(rows, case, peer)
        if times is not None:
            yield (case, PEERS[peer][1], f"{_ratio(times)} ×", "none", "", "", remark)


def _times(rows: Rows, case: str, peer: str) -> float | None:
    """Return how many times as fast as a peer we are, on all threads; None without results."""
    here = [row for row in rows if row["case"] == case]
    threads = max((row["threads"] for row in here), default=0)
    peers = [row for row in here if row["engine"] in PEERS[peer][0]]
    if peer == "copy":
        peers = [row for row in peers if row["threads"] == threads]
    ours = [row["rows_per_s"] for row in here if row["threads"] == threads and _ours(row)]
    return max(ours) / max(row["rows_per_s"] for row in peers) if ours and peers else None


def _ours(row: dict[str, Any]) -> bool:
    return bool(row["engine"] == OURS)


def _rate_targets(rows: Rows) -> Iterator[tuple[str, ...]]:
    for case, target in RATE_TARGETS:
        best = max(
            (row["rows_per_s"] for row in rows if row["case"] == case and row["engine"] == OURS),
            default=None,
        )
        if best is not None:
            met = "yes" if best >= target * 1e6 else "no"
            yield (case, "", f"{_million(best)} M/s", f"≥ {target} M/s", "", met, "")


def _rows_of(name: str) -> Rows:
    """Return the rows of a file of results, none if it is not there."""
    path = RESULTS / f"{name}.json"
    found: Rows = json.loads(path.read_text())["rows"] if path.exists() else []
    return found


def _growth_table(rows: Rows) -> Iterator[str]:
    head = ("case", "engine", "threads", "ns a row", "M rows/s", "against the axis' best", "why")
    return _table(head, _growth(rows))


def _growth(rows: Rows) -> Iterator[tuple[str, ...]]:
    best: dict[tuple[str, str, str, int], float] = {}
    for row in rows:
        best[_axis(row)] = min(row["ns_per_row"], best.get(_axis(row), row["ns_per_row"]))
    for row in rows:
        grown = row["ns_per_row"] / best[_axis(row)]
        why = _why(row, best[_axis(row)]) if grown > GROWTH_LIMIT else ""
        yield (
            row["case"],
            row["engine"],
            str(row["threads"]),
            _ratio(row["ns_per_row"]),
            _million(row["rows_per_s"]),
            f"{grown:.2f} ×",
            why,
        )


def _why(row: dict[str, Any], best: float) -> str:
    """Return what a point above the limit is put down to; controls beside it show whether it is.

    ``best`` is the least of the axis, in ns a row. A point whose fastest run is within the limit of
    it grew for reasons outside of it.
    """
    fastest = row.get("best_ns_per_row", row["ns_per_row"])
    if fastest <= GROWTH_LIMIT * best:
        return f"other load on the machine: the fastest run took {_ratio(fastest)} ns a row"
    point, _, rest = row["case"].partition("/")
    axis, size = point.split("-")
    return _why_rows(int(size), rest) if axis == "rows" else _why_plans(axis, int(size), rest)


def _why_rows(rows: int, rest: str) -> str:
    if rows <= 100_000:
        return "small calls: the start of the call and of its threads counts"
    if rest == "1-plans":
        return "columns no longer fit the caches: compare the copy loop"
    return "columns and table no longer fit the near caches together: compare the copy loop"


def _why_plans(axis: str, size: int, rest: str) -> str:
    if axis == "tiers":
        return _why_tiers(size, rest)
    if axis == "plans" and rest:
        return "few rows a plan: each row of the table comes from memory for them alone"
    if axis == "plans" and size >= 10_000:
        return "the table no longer fits the caches: compare the rows sorted by plan"
    if axis == "plans":
        return "one plan, the best here, is rated in vectors of rows"
    return UNEXPLAINED


def _why_tiers(tiers: int, rest: str) -> str:
    """Return what the table's layout says of so many tiers, half even or not."""
    shape = row_shape(tiers)
    lines = shape.stride // LINE_WORDS
    steps = f"the {shape.thresholds} bounds are searched by eights, in {shape.levels} steps"
    if rest == "1-plans":
        if shape.levels == 1:
            return f"{shape.thresholds} bounds are compared with each row, in vectors of rows"
        return f"{steps}, row by row; up to 8 bounds are compared in vectors of rows"
    width = f"a plan's row of the table has {lines} cache lines"
    return f"{width}, and {steps}" if shape.levels > 1 else width


def _axis(row: dict[str, Any]) -> tuple[str, str, str, int]:
    """Return what grows, the rest of the case, the engine, and the threads."""
    point, _, rest = row["case"].partition("/")
    return point.partition("-")[0], rest, row["engine"], row["threads"]


def _ingest_table(rows: Rows) -> Iterator[str]:
    return _table(RATE_HEAD, rate_lines(rows))


def _ingest_target_table(rows: Rows) -> Iterator[str]:
    return _table(TARGET_HEAD, target_lines(rows))


def _ids_table(rows: Rows) -> Iterator[str]:
    head = ("case", "bytes an id, most", "inserts", "longest batch, ms", "new", "known", "oldest")
    return _table(
        (*head, "s per million"),
        (
            (
                row["case"],
                str(row.get("bytes_per_id_most", row.get("bytes_per_id", ""))),
                *(_million(row[f]) if f in row else "" for f in ("inserts_per_s",)),
                str(row.get("insert_batch_ms_most", "")),
                *(
                    _million(row[f]) if f in row else ""
                    for f in ("new_per_s", "known_per_s", "oldest_per_s")
                ),
                str(row.get("s_per_million", "")),
            )
            for row in rows
        ),
    )


def _statement_table(rows: Rows) -> Iterator[str]:
    return _table(STATEMENT_HEAD, statement_lines(rows))


TABLES: dict[str, Callable[[Rows], Iterator[str]]] = {
    "core/targets": _target_table,
    "core/engines": _core_table,
    "core/marginal": _marginal_table,
    "core-growth": _growth_table,
    "rate-batch": _marginal_table,
    "ingest/targets": _ingest_target_table,
    "ingest/rates": _ingest_table,
    "ids": _ids_table,
    "statements": _statement_table,
}
"""Tables by marker; the part before the slash names the file of results."""


def _plot() -> str | None:
    """Return the plot of rate against plans and rows, if both results are there."""
    grown, core = _rows_of("core-growth"), _rows_of("core")
    if not (grown and core):
        return None
    threads = sorted({row["threads"] for row in grown})
    by_plans = [_grown_curve(grown, "plans-", "", count) for count in threads]
    peers = ("polars-int64", "duckdb-decimal", "python-decimal")
    by_plans += [_peer_curve(core, peer) for peer in peers]
    by_rows = [
        _grown_curve(grown, "rows-", f"/{plans}-plans", count)
        for plans in (1, 1_000)
        for count in threads
    ]
    return svg(
        [
            Panel("5 graduated tiers, 10 M rows", "plans, random order", tuple(by_plans)),
            Panel("ratewright, 5 graduated tiers", "rows a run", tuple(by_rows)),
        ]
    )


def _grown_curve(rows: Rows, axis: str, rest: str, threads: int) -> Curve:
    ours = [row for row in rows if _ours(row) and row["threads"] == threads]
    points = tuple(
        (float(row["case"].removeprefix(axis).removesuffix(rest)), float(row["rows_per_s"]))
        for row in ours
        if row["case"].startswith(axis) and row["case"].partition("/")[2] == rest.strip("/")
    )
    name = {"/1-plans": "1 plan", "/1000-plans": "1,000 plans"}.get(rest, OURS)
    return Curve(f"{name}, {threads} thread{'s' * (threads > 1)}", points)


def _peer_curve(rows: Rows, engine: str) -> Curve:
    points = tuple(
        (float(row["case"].partition("-")[0]), float(row["rows_per_s"]))
        for row in rows
        if row["engine"] == engine and row["case"].partition("-")[0].isdigit()
    )
    return Curve(engine, points, dashed=True)
