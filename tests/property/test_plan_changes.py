"""Laws of patches and differences of plans, over random ones (S8.6)."""

from __future__ import annotations

import json
from typing import Any

from rating_core.plan.diff import DifferenceKind, diff_plans
from rating_core.plan.document import plan_from_document, plan_to_document
from rating_core.plan.overrides import (
    CHARGE_KEYS,
    COMMITMENT_KEYS,
    apply_overrides,
    read_overrides,
)

PLANS = 250


def patch_of(document: dict[str, Any]) -> dict[str, Any]:
    """Return all that a patch may state of a plan, as the plan has it."""
    kept = {"charges": CHARGE_KEYS, "commitments": COMMITMENT_KEYS}
    return {
        section: [
            {"id": item["id"]} | {key: item[key] for key in keys if key in item}
            for item in document.get(section, [])
        ]
        for section, keys in kept.items()
    }


def test_a_plan_patched_with_its_own_prices_is_itself(maker) -> None:
    """The patch of every price by itself changes nothing, and its text reads as itself."""
    make = maker(77)
    for _ in range(PLANS):
        plan = make.plan()
        text, patched = read_overrides(plan, patch_of(plan_to_document(plan)))
        assert patched == plan
        assert apply_overrides(plan, text) == plan
        assert read_overrides(plan, json.loads(text or "{}"))[0] == text
        assert diff_plans(plan, patched) == []


def test_a_patch_of_other_prices_brings_just_those(maker) -> None:
    """Where ids and models agree, the prices of another plan make that plan's prices."""
    make = maker(78)
    changed = 0
    for _ in range(PLANS):
        plan = make.plan()
        document = plan_to_document(plan)
        for charge in document["charges"]:
            for key in ("unit_price", "amount", "package_price"):
                if key in charge:
                    charge[key] = "0.125"
            for tier in charge.get("tiers", []):
                tier["flat_fee"] = "7"
        wanted = plan_from_document(document, {"USD": 2}.get)
        _, patched = read_overrides(plan, patch_of(document))
        assert patched == wanted
        differences = diff_plans(plan, patched)
        changed += len(differences)
        for each in differences:
            assert each.path.endswith(("unit_price", "amount", "package_price", "flat_fee"))
    assert changed > PLANS


def test_differences_are_symmetric(maker) -> None:
    """From b to a, what was added is removed, and old and new change places."""
    make = maker(79)
    turned = {
        DifferenceKind.ADDED: DifferenceKind.REMOVED,
        DifferenceKind.REMOVED: DifferenceKind.ADDED,
        DifferenceKind.CHANGED: DifferenceKind.CHANGED,
    }
    for _ in range(PLANS):
        one, other = make.plan(), make.plan()
        there = {(e.path, e.kind, e.old, e.new) for e in diff_plans(one, other)}
        back = {(e.path, turned[e.kind], e.new, e.old) for e in diff_plans(other, one)}
        assert there == back
        assert there or one == other
