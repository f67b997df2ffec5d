"""The page on contracts and the golden scenarios name each other, none is left out."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "reference" / "contracts.md"
SCENARIOS = ROOT / "tests" / "golden" / "scenarios"


def _named() -> set[str]:
    rows = [line for line in PAGE.read_text().splitlines() if line.startswith("| S")]
    return {name for row in rows for name in re.findall(r"`([a-z0-9-]+)`", row.rsplit("|", 2)[1])}


def test_every_scenario_is_an_example_of_a_rule():
    """Each scenario stands beside a rule, and each example beside a rule exists (S12.2)."""
    assert _named() == {path.stem for path in SCENARIOS.glob("*.yaml")}


def test_scenarios_are_named_like_their_files():
    """A scenario's id is its file's name, so that an example is found; at least 60 are shipped."""
    files = sorted(SCENARIOS.glob("*.yaml"))
    assert len(files) >= 60
    for path in files:
        assert f"\nid: {path.stem}\n" in path.read_text()
