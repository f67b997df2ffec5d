"""The long form of tests/simulation: seeded histories of the real protocol code, on all cores."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.measure import Row

_FOLDER = Path(__file__).resolve().parents[1] / "tests" / "simulation"
_SLICE = 2_000


@dataclass(frozen=True, slots=True)
class Subject:
    """What histories are of: its script and words, and its share of all histories, in percent."""

    name: str
    words: tuple[str, ...]
    percent: int


SUBJECTS = (
    Subject("tiny", ("simulate.py", "--subject", "tiny"), 70),
    Subject("usage", ("simulate.py", "--subject", "usage"), 10),
    Subject("moving", ("simulate.py", "--subject", "moving"), 10),
    Subject("contracts", ("simulate.py", "--subject", "contracts"), 5),
    Subject("sequenced", ("sequenced_histories.py",), 5),
)
"""`tiny` is a state machine of a few lines, which makes room for many histories of the protocol;
`usage` the shard as it is in production; `moving` the same with shards that change their owners;
`contracts` with plan changes and cancellations, dated back and ahead; `sequenced` two shards of
`usage` and two writers of one producer."""


def run(histories: int = 200_000) -> Iterator[Row]:
    """Yield a row for each subject: histories, actions, violations, what was covered.

    Seeds are 0 … count − 1 of each subject, so a row can be had again. A violation is explained by
    the shortest history that shows it.
    """
    cores = len(os.sched_getaffinity(0))
    with ThreadPoolExecutor(cores) as pool:
        for subject in SUBJECTS:
            count = max(histories * subject.percent // 100, 1)
            yield _row(pool, subject, count)


def _row(pool: ThreadPoolExecutor, subject: Subject, count: int) -> Row:
    slices = [(first, min(_SLICE, count - first)) for first in range(0, count, _SLICE)]
    found = [pool.submit(_campaign, subject, *each) for each in slices]
    totals: Counter[str] = Counter()
    coverage: Counter[str] = Counter()
    violations: dict[str, str] = {}
    explained = ""
    for future in as_completed(found):
        result = future.result()
        totals.update({name: result[name] for name in ("histories", "actions", "seconds")})
        coverage.update(result["coverage"])
        violations |= result["violations"]
        explained = explained or result.get("explained", "")
        _say(f"\r{subject.name}: {totals['histories']:,} of {count:,} histories")
    _say("\n")
    row: Row = {
        "subject": subject.name,
        "histories": totals["histories"],
        "actions": totals["actions"],
        "cpu_seconds": round(totals["seconds"], 1),
        "violations": json.dumps(violations) if violations else 0,
        "coverage": json.dumps(dict(sorted(coverage.items()))),
    }
    return row | ({"explained": explained} if explained else {})


def _campaign(subject: Subject, first: int, count: int) -> dict[str, Any]:
    """Run some seeds in a process of its own: what Numba compiled is never forked."""
    script, *words = subject.words
    seeds = ["--first", str(first), "--count", str(count)]
    command = [sys.executable, "-W", "error", str(_FOLDER / script), *words, *seeds]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode not in (0, 1):
        raise SystemExit(f"{subject.name}, seed {first} on: {done.stderr[-2000:]}")
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def _say(text: str) -> None:
    """Show progress where somebody looks."""
    if sys.stderr.isatty():
        sys.stderr.write(text)
        sys.stderr.flush()
