"""Plan documents to messages and back: the same plan, and every unknown key named."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path

import pytest

from ratewright.v1 import plan_pb2
from rating_client import (
    PlanDocumentError,
    plan_from_document,
    plan_to_document,
    usage_from_document,
)
from rating_core.plan import document as core

CASES = sorted((Path(__file__).parents[1] / "golden" / "cases").glob("*.jsonl"))
FULL = {
    "id": "llm-api",
    "currency": "USD",
    "billing_period": "month",
    "rounding": {"mode": "half_even", "scale": "0", "stage": "statement"},
    "meters": [
        {
            "id": "input-tokens",
            "aggregation": "sum",
            "unit": "token",
            "scale": "2",
            "dimensions": ["model", "region"],
        },
        "requests",
    ],
    "charges": [
        {
            "id": "platform",
            "model": "flat_fee",
            "amount": "49.00",
            "timing": "in_arrears",
            "prorate": "true",
        },
        {
            "id": "input",
            "model": "graduated",
            "meter": "input-tokens",
            "where": {"model": ["large", "xl"], "region": [""]},
            "included_units": "1000000",
            "tiers": [
                {"up_to": "10000000", "unit_price": "0.0000025"},
                {"unit_price": "0.000002", "flat_fee": "5"},
            ],
            "flat_fee_at_zero_usage": "true",
            "discount_percent": "0",
            "maximum_amount": "10000",
            "minimum_amount": "0",
            "prorate_included_units": "true",
            "prorate_tiers": "true",
            "prorate_minimum": "true",
            "smoothing_periods": "3",
        },
        {
            "id": "card",
            "model": "percentage",
            "meter": "requests",
            "percent": "2.9",
            "free_events": "10",
            "free_amount": "5.5",
            "tier_window": "year",
        },
    ],
    "commitments": [
        {
            "id": "annual",
            "amount": "50000",
            "term": "year",
            "discount_percent": "20",
            "counted_at": "list",
            "overage_factor": "1",
            "true_up": "true",
            "covers": ["input"],
            "payment": "prepaid",
            "schedule": [
                {"at": "0", "amount": "20000"},
                {"at": "2026-07-01T00:00:00Z", "amount": "20000"},
            ],
            "rollover": {"fraction": "0.5", "maximum_amount": "1000", "expires_after": "90d"},
        },
        {"id": "units", "quantity": "10", "covers": ["input"]},
    ],
    "order": "best_saving_first",
    "maximum_amount": "100000",
    "minimum_amount": "1",
    "late_usage": "adjust",
    "proration": "day",
    "credits": "after_total",
    "examples": [
        {
            "usage": {
                "input-tokens": "1500000",
                "requests": ["1", {"quantity": "2", "dimensions": {}}],
            },
            "expect": {"total": "50.00", "lines": {"platform": "49", "annual": "-0.25"}},
        }
    ],
}


def _minor_unit(currency: str) -> int | None:
    return {"JPY": 0, "KWD": 3, "BHD": 3}.get(currency, 2)


def _as_text(node):
    """Return a JSON tree with its scalars as text, as files are read (S1.1)."""
    if isinstance(node, dict):
        return {key: _as_text(value) for key, value in node.items()}
    if isinstance(node, list):
        return [_as_text(item) for item in node]
    return node if isinstance(node, str) else json.dumps(node)


def test_a_full_document_comes_back_as_it_was():
    """Every key of S2 goes through the message and back, character by character."""
    assert plan_to_document(plan_from_document(FULL)) == FULL


def test_the_message_holds_the_right_fields():
    """Choices, presence, single `where` values and bare quantities land where they belong."""
    plan = plan_from_document(
        FULL | {"charges": [FULL["charges"][1] | {"where": {"model": "large"}}]}
    )
    assert plan.billing_period == plan_pb2.BILLING_PERIOD_MONTH
    assert plan.rounding.HasField("scale")
    assert plan.rounding.scale == 0
    assert list(plan.charges[0].where["model"].values) == ["large"]
    assert plan.charges[0].flat_fee_at_zero_usage is True
    assert plan.meters[1] == plan_pb2.PlanMeter(id="requests")
    usage = {item.meter: list(item.quantities) for item in plan.examples[0].usage}
    assert usage["input-tokens"][0].match_all
    assert not usage["requests"][1].match_all


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_golden_plans_mean_the_same_after_the_wire(path: Path):
    """The core reads the same plan from a golden document and from what the wire gives back."""
    for line in path.read_text().splitlines():
        document = _as_text(json.loads(line)["plan"])
        again = plan_to_document(plan_from_document(document))
        meant = core.plan_from_document(document, _minor_unit)
        assert core.plan_from_document(again, _minor_unit) == meant


def test_numbers_may_be_int_or_decimal():
    """Documents made in code may hold int, Decimal and bool instead of text."""
    charge = {"id": "c", "model": "per_unit", "meter": "m", "unit_price": Decimal("2.5E-6")}
    plan = plan_from_document(
        {
            "id": "p",
            "currency": "USD",
            "billing_period": "day",
            "credits": "before_total",
            "rounding": {"scale": 4},
            "charges": [charge, {"id": "f", "amount": 3, "flat_fee_at_zero_usage": False}],
        }
    )
    assert plan.charges[0].unit_price == "0.0000025"
    assert plan.charges[1].amount == "3"
    assert plan.rounding.scale == 4


def test_all_unknown_keys_are_named_at_once():
    """Each unknown key is a fault with its path, in document order; output-only fields too."""
    document = {
        "id": "p",
        "name": "plans/p",
        "colour": "red",
        "charges": [{"id": "c", "tiers": [{"upto": "1"}]}],
        "commitments": [{"id": "x", "colour": "red"}],
        "examples": [{"usage": {}, "expect": {"sum": "1"}, "note": "x"}],
    }
    with pytest.raises(PlanDocumentError) as caught:
        plan_from_document(document)
    assert [fault.path for fault in caught.value.faults] == [
        "name",
        "colour",
        "charges[0].tiers[0].upto",
        "commitments[0].colour",
        "examples[0].expect.sum",
        "examples[0].note",
    ]
    assert "unknown key 'upto'; known here: flat_fee, percent, unit_price, up_to" in str(
        caught.value
    )


@pytest.mark.parametrize(
    ("document", "fault"),
    [
        ([], "expected a mapping, got []"),
        ({"id": None}, "id: expected a value, got nothing"),
        ({"id": ""}, "id: expected a value, got an empty text"),
        ({"id": ["p"]}, "id: expected a text, got ['p']"),
        ({1: "p"}, "expected keys as text, got 1"),
        ({"billing_period": "fortnight"}, "billing_period: expected hour, day, week, month"),
        ({"billing_period": "unspecified"}, "billing_period: expected hour, day, week, month"),
        ({"charges": {}}, "charges: expected a list, got {}"),
        ({"charges": ["x"]}, "charges[0]: expected a mapping, got 'x'"),
        ({"charges": [{"amount": 0.1}]}, "charges[0].amount: expected text, int or Decimal"),
        ({"charges": [{"where": {"model": []}}]}, "charges[0].where.model: expected at least one"),
        ({"charges": [{"where": "large"}]}, "charges[0].where: expected a mapping"),
        ({"rounding": {"scale": "two"}}, "rounding.scale: expected a whole number, got 'two'"),
        ({"rounding": {"scale": True}}, "rounding.scale: expected a whole number, got True"),
        ({"commitments": [{"covers": []}]}, "commitments[0].covers: expected at least one item"),
        ({"commitments": [{"true_up": "yes"}]}, "commitments[0].true_up: expected true or false"),
        ({"commitments": [{"true_up": 1}]}, "commitments[0].true_up: expected true or false"),
        ({"commitments": [{"payment": "later"}]}, "commitments[0].payment: expected postpaid, pre"),
        ({"commitments": [{"schedule": []}]}, "commitments[0].schedule: expected at least one"),
        ({"credits": "never"}, "credits: expected before_total, after_total"),
        ({"meters": "requests"}, "meters: expected a list, got 'requests'"),
        (
            {"examples": [{"usage": {"m": "1"}}]},
            "examples[0].expect: expect is required",
        ),
        (
            {"examples": [{"expect": {"total": "1"}}]},
            "examples[0].usage: usage is required",
        ),
        (
            {"examples": [{"usage": {"m": [{"dimensions": {}}]}, "expect": {}}]},
            "examples[0].usage.m[0].quantity: quantity is required",
        ),
        (
            {"examples": [{"usage": {"m": {"quantity": "1", "unit": "x"}}, "expect": {}}]},
            "examples[0].usage.m.unit: unknown key 'unit'",
        ),
    ],
)
def test_misshapen_documents(document, fault):
    """A value of the wrong shape is one fault: where, what is expected, what is there."""
    with pytest.raises(PlanDocumentError) as caught:
        plan_from_document(document)
    (found,) = caught.value.faults
    assert str(found).startswith(fault)


def test_usage_shapes():
    """Usage is a quantity, a list, or quantities with dimensions (S6.5); an empty list none."""
    usage = usage_from_document(
        {"a": 5, "b": ["1", "2"], "c": [{"quantity": "3", "dimensions": {"model": "x"}}], "d": []}
    )
    assert [(item.meter, len(item.quantities)) for item in usage] == [("a", 1), ("b", 2), ("c", 1)]
    assert usage[0].quantities[0].match_all
    assert dict(usage[2].quantities[0].dimensions) == {"model": "x"}
    with pytest.raises(PlanDocumentError, match=r"usage\.a: expected text, int or Decimal"):
        usage_from_document({"a": 1.5})
