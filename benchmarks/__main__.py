"""`python -m benchmarks [core] [ingest] [--json]`: no name runs all of them."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator

from benchmarks import core, ingest
from benchmarks.measure import Row, machine

RUNNERS: dict[str, Callable[[], Iterator[Row]]] = {"core": core.run, "ingest": ingest.run}


def main() -> int:
    """Run the named benchmarks and print one line a row."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(RUNNERS)}")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    options = parser.parse_args()
    unknown = [name for name in options.names if name not in RUNNERS]
    if unknown:
        parser.error(f"no benchmark is named {unknown[0]}; there are: {', '.join(RUNNERS)}")
    header = machine()
    sys.stdout.write((json.dumps(header) if options.json else f"# {header}") + "\n")
    for name in options.names or RUNNERS:
        for row in RUNNERS[name]():
            sys.stdout.write((json.dumps(row) if options.json else _text(row)) + "\n")
            sys.stdout.flush()
    return 0


def _text(row: Row) -> str:
    shown = {k: f"{v:,.2f}" if isinstance(v, float) else v for k, v in row.items()}
    return "  ".join(f"{key}={value}" for key, value in shown.items())


if __name__ == "__main__":
    raise SystemExit(main())
