"""What differs between two plans: by path, old and new, and nothing where nothing does."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest

from rating_core.catalog import Plan
from rating_core.plan.diff import DifferenceKind, PlanDifference, diff_plans
from rating_core.plan.document import plan_from_document

OLD: dict[str, Any] = {
    "id": "api",
    "currency": "USD",
    "billing_period": "month",
    "meters": [
        {"id": "calls", "aggregation": "sum", "dimensions": ["zone", "kind"]},
    ],
    "charges": [
        {"id": "platform", "model": "flat_fee", "amount": "49.0"},
        {
            "id": "calls",
            "meter": "calls",
            "where": {"zone": ["us", "eu"], "kind": "x"},
            "model": "graduated",
            "tiers": [{"up_to": "10", "unit_price": "1"}, {"unit_price": "0.50"}],
        },
    ],
    "commitments": [{"id": "annual", "amount": "100", "rollover": {"fraction": "0.5"}}],
    "examples": [{"usage": {}, "expect": {"total": "49"}}],
}


def read(document: dict[str, Any]) -> Plan:
    """Return the plan of a document."""
    return plan_from_document(document, {"USD": 2, "JPY": 0}.get)


def changed(**keys: Any) -> dict[str, Any]:
    """Return the old document with other keys."""
    return deepcopy(OLD) | keys


def shown(document: dict[str, Any]) -> list[tuple[str, str, str, str]]:
    """Return the differences from the old plan, as plain texts."""
    found = diff_plans(read(OLD), read(document))
    return [(str(each.kind), each.path, each.old, each.new) for each in found]


def test_equal_plans_do_not_differ() -> None:
    """How a number, a set of names or an example is written makes no difference."""
    other = changed(examples=[])
    other["charges"][0]["amount"] = "49"
    other["charges"][1]["where"] = {"kind": ["x"], "zone": ["eu", "us"]}
    other["meters"][0]["dimensions"] = ["kind", "zone"]
    other["commitments"][0]["covers"] = ["calls"]
    assert diff_plans(read(OLD), read(other)) == []


def test_changed_prices_are_named_by_path() -> None:
    """A price of a charge, of a tier, of a commitment: old and new."""
    other = changed(minimum_amount="5")
    other["charges"][0]["amount"] = "59"
    other["charges"][1]["tiers"][1] = {"unit_price": "0.4", "flat_fee": "2"}
    other["charges"][1]["where"] = {"zone": "us"}
    other["commitments"][0] |= {"overage_factor": "1.5", "rollover": {"fraction": "1"}}
    assert shown(other) == [
        ("changed", "charges[platform].amount", "49", "59"),
        ("changed", "charges[calls].where", "kind: x; zone: eu, us", "zone: us"),
        ("changed", "charges[calls].tiers[1].unit_price", "0.5", "0.4"),
        ("added", "charges[calls].tiers[1].flat_fee", "", "2"),
        ("added", "commitments[annual].overage_factor", "", "1.5"),
        ("changed", "commitments[annual].rollover.fraction", "0.5", "1"),
        ("added", "minimum_amount", "", "5"),
    ]


def test_added_and_removed_things_are_named_whole() -> None:
    """Each key of a new charge, and of a commitment that is gone."""
    other = changed(commitments=[])
    other["charges"].insert(0, {"id": "seat", "model": "flat_fee", "amount": "3"})
    other["charges"][2]["tiers"] = [{"unit_price": "1"}]
    assert shown(other) == [
        ("added", "charges[seat].id", "", "seat"),
        ("added", "charges[seat].model", "", "flat_fee"),
        ("added", "charges[seat].amount", "", "3"),
        ("removed", "charges[calls].tiers[0].up_to", "10", ""),
        ("removed", "charges[calls].tiers[1].unit_price", "0.5", ""),
        ("removed", "commitments[annual].id", "annual", ""),
        ("removed", "commitments[annual].amount", "100", ""),
        ("removed", "commitments[annual].covers", "calls", ""),
        ("removed", "commitments[annual].rollover.fraction", "0.5", ""),
    ]


def test_order_and_rounding() -> None:
    """Another order of charges is a difference, and so is what a default comes to."""
    other = changed(currency="JPY", charges=OLD["charges"][::-1])
    assert diff_plans(read(OLD), read(other)) == [
        PlanDifference("currency", DifferenceKind.CHANGED, "USD", "JPY"),
        PlanDifference("rounding.scale", DifferenceKind.CHANGED, "2", "0"),
        PlanDifference("charges", DifferenceKind.CHANGED, "platform, calls", "calls, platform"),
    ]


@pytest.mark.parametrize("seed", range(2))
def test_both_ways_round(seed: int) -> None:
    """The other way round, what was added is removed and old and new change places."""
    other = changed(minimum_amount="5", charges=OLD["charges"][seed:])
    other["commitments"][0]["covers"] = ["calls"]
    there = diff_plans(read(OLD), read(other))
    back = diff_plans(read(other), read(OLD))
    assert {(each.path, each.old, each.new) for each in there} == {
        (each.path, each.new, each.old) for each in back
    }
