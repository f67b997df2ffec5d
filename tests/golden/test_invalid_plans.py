"""Malformed plans, named for the mistake, with the exact faults that each of them gets."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from rating_core.catalog import Aggregation, Meter
from rating_core.errors import PlanInvalid
from rating_core.plan.document import plan_from_document

FILE = Path(__file__).parent / "invalid" / "plans.jsonl"
ROWS = [json.loads(row) for row in FILE.read_text(encoding="utf-8").splitlines()]
KNOWN = {"known": Meter("known", Aggregation.SUM)}


@pytest.mark.parametrize("row", ROWS, ids=[row["id"] for row in ROWS])
def test_plan_gets_exactly_these_faults(row: dict[str, Any]) -> None:
    """Every fault is reported, with path and reason, in document order, and no other."""
    with pytest.raises(PlanInvalid) as raised:
        plan_from_document(row["document"], {"USD": 2}.get, KNOWN)
    assert [[fault.path, fault.reason] for fault in raised.value.faults] == row["faults"]
    for fault in raised.value.faults:
        assert fault.message
        assert "\n" not in fault.message


def test_at_least_thirty_mistakes_are_covered() -> None:
    """Mistakes are named once each, and there are many of them."""
    assert len({row["id"] for row in ROWS}) == len(ROWS) >= 30
