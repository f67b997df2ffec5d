"""`python -m benchmarks [NAME…] [--json] [--save] [--rows N]`: no name runs all benchmarks.

`python -m benchmarks report` writes the tables and the plot of README.md from results/*.json.
`faults`, `simulate` and `statement-crash` are long forms of tests, run only by name.
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path

from benchmarks.measure import Row, machine

RESULTS = Path(__file__).resolve().parent / "results"
MODULES = {
    "core": ("core", "marginal"),
    "core-growth": ("growth",),
    "rate-batch": ("rate_batch",),
    "ingest": ("ingest",),
    "ids": ("ids",),
    "sizing": ("sizing",),
    "servers": ("servers",),
    "statements": ("statements",),
}
"""Modules by the name of the benchmark; each has a function ``run`` that yields rows."""
TESTS = {
    "faults": ("faults",),
    "simulate": ("simulate",),
    "statement-crash": ("statement_crash",),
}
"""Long forms of tests, run only by name; exit status 1 if a row shows that a promise is broken."""
BROKEN = (
    "lost",
    "missing",
    "doubled",
    "overdrawn",
    "wrong",
    "unverified",
    "complaint",
    "violations",
)
"""Columns that are 0 or absent while all promises hold."""
CHOSEN = ("ingest", "servers")
SIZED = ("core", "core-growth", "rate-batch", "ids", "sizing", "statements")
REPORT = "report"


def main() -> int:
    """Run the named benchmarks and print one line a row."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help=", ".join([*MODULES, *TESTS, REPORT])
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object a line")
    parser.add_argument("--save", action="store_true", help="also write results/NAME.json")
    parser.add_argument(
        "--rows",
        type=int,
        help="rows of all but ingest (10,000,000), customers of statements (100,000)",
    )
    parser.add_argument(
        "--only", default="", metavar="CASE", help="ingest, faults: cases that begin so"
    )
    parser.add_argument(
        "--quick", action="store_true", help="ingest, faults: fewer records and runs"
    )
    parser.add_argument(
        "--rounds",
        type=int,
        default=0,
        help="rounds of faults (each fault once) and statement-crash (10)",
    )
    parser.add_argument("--histories", type=int, default=200_000, help="simulate: how many")
    options = parser.parse_args()
    if options.names == [REPORT]:
        from benchmarks.report import write_report

        return write_report()
    known = MODULES | TESTS
    unknown = [name for name in options.names if name not in known]
    if unknown:
        parser.error(f"no benchmark is named {unknown[0]}; there are: {', '.join(known)}")
    if options.rows is not None and options.rows < 1:
        parser.error("--rows must be at least 1")
    header = machine()
    sys.stdout.write((json.dumps(header) if options.json else f"# {header}") + "\n")
    broken = False
    for name in options.names or MODULES:
        rows = []
        for row in _rows(name, options):
            rows.append(row)
            broken = broken or any(row.get(column) for column in BROKEN)
            sys.stdout.write((json.dumps(row) if options.json else _text(row)) + "\n")
            sys.stdout.flush()
        if options.save:
            _save(name, header, rows)
    return 1 if broken else 0


def _rows(name: str, options: argparse.Namespace) -> Iterator[Row]:
    """Run one benchmark; a peer that is not installed becomes one line."""
    try:
        for module in (MODULES | TESTS)[name]:
            run = importlib.import_module(f"benchmarks.{module}").run
            if name == "faults":
                yield from run(options.rounds, options.only, options.quick)
            elif name == "statement-crash":
                yield from run(options.rounds)
            elif name == "simulate":
                yield from run(options.histories)
            elif name in CHOSEN:
                yield from run(options.only, options.quick)
            elif name in SIZED and options.rows is not None:
                yield from run(options.rows)
            else:
                yield from run()
    except ModuleNotFoundError as missing:
        raise SystemExit(_lacking(missing)) from missing


def _lacking(missing: ModuleNotFoundError) -> str:
    return f"{missing.name} is not installed: pip install -c constraints.txt -e '.[dev,bench]'"


def _save(name: str, header: Row, rows: list[Row]) -> None:
    """Write one JSON document, a row a line, so that changes can be read."""
    lines = ",\n".join(f"    {json.dumps(row)}" for row in rows)
    text = f'{{\n  "machine": {json.dumps(header)},\n  "rows": [\n{lines}\n  ]\n}}\n'
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.json").write_text(text)


def _text(row: Row) -> str:
    shown = {k: f"{v:,.4g}" if isinstance(v, float) else v for k, v in row.items()}
    return "  ".join(f"{key}={value}" for key, value in shown.items())


if __name__ == "__main__":
    raise SystemExit(main())
