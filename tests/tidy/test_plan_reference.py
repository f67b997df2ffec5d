"""The page of charge models names every key of a plan, and examples that are golden cases."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from ratewright.v1 import plan_pb2

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs/reference/charge-models.md").read_text()
SEMANTICS = (ROOT / "docs/reference/semantics.md").read_text()
OUTPUT_ONLY = {"name", "version", "create_time", "effective_time", "existing_effective_time"}


@pytest.mark.parametrize("kind", ["Charge", "Commitment", "Tier", "Installment", "Rollover"])
def test_every_key_is_on_the_page(kind: str) -> None:
    """A field of a message is a key of the document: the page says what it means."""
    names = [field.name for field in plan_pb2.DESCRIPTOR.message_types_by_name[kind].fields]
    assert [name for name in names if not re.search(rf"\b{name}\b", PAGE)] == []


def test_every_key_of_the_plan_is_in_the_semantics() -> None:
    """S2 names all keys of a plan."""
    names = {field.name for field in plan_pb2.Plan.DESCRIPTOR.fields} - OUTPUT_ONLY
    assert sorted(name for name in names if f"`{name}`" not in SEMANTICS) == []


def test_examples_are_golden_cases() -> None:
    """Each id that stands below an example names a golden case with the total shown."""
    cases = {}
    for path in (ROOT / "tests/golden/cases").glob("*.jsonl"):
        for line in path.read_text().splitlines():
            case = json.loads(line)
            cases[case["id"]] = case["expect"]["total"]
    found = re.findall(r"→ ([\d,.]+)\n    ([a-z0-9-]+)$", PAGE, re.MULTILINE)
    assert len(found) > 20
    for total, name in found:
        assert abs(int(total.replace(",", "").replace(".", ""))) > 0
        assert name in cases, name
        shown = [int(part or 0) for part in (total.replace(",", "") + ".0").split(".")[:2]]
        whole, _, cents = str(cases[name]).partition(".")
        assert shown == [int(whole), int((cents + "00")[:2])], name
