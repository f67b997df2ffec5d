"""The short form of the fault tests: one round of each cheap kind, on real processes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FAULTS = {
    "cut server to store",
    "disk full",
    "killed in a fold",
    "memory full",
    "spooling clients killed",
    "supervisor killed",
}


@pytest.mark.faults
@pytest.mark.timeout(280)
def test_nothing_is_lost_or_doubled():
    """After each fault and a resend, counters, export and folds equal the truth kept outside."""
    command = [sys.executable, "-m", "benchmarks", "faults", "--quick", "--json"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    _, *rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert [(row["lost"], row["doubled"]) for row in rows] == [(0, 0)] * len(FAULTS), rows
    assert {row["fault"] for row in rows} == FAULTS
    assert done.returncode == 0, done.stderr
