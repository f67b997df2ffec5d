"""A customer's own prices: what a patch may say, its canonical text, and the plan it makes."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from rating_core.catalog import Plan
from rating_core.errors import PlanInvalid
from rating_core.plan.document import plan_from_document
from rating_core.plan.overrides import OVERRIDES_BYTES_MAX, apply_overrides, read_overrides


@pytest.fixture
def plan() -> Plan:
    """A plan of each kind of thing that may be overridden."""
    document = {
        "id": "api",
        "currency": "USD",
        "billing_period": "month",
        "rounding": {"scale": "3"},
        "meters": [{"id": "calls", "aggregation": "sum", "buckets": "hour"}],
        "charges": [
            {"id": "platform", "model": "flat_fee", "amount": "49"},
            {"id": "calls", "meter": "calls", "model": "per_unit", "unit_price": "0.5"},
            {"id": "more", "meter": "calls", "model": "volume", "tiers": [{"unit_price": "1"}]},
        ],
        "commitments": [
            {"id": "units", "quantity": "100", "covers": ["calls"], "payment": "prepaid"},
            {"id": "money", "amount": "50", "covers": ["more"], "true_up": "true"},
        ],
        "examples": [{"usage": {"calls": "1"}, "expect": {"total": "150"}}],
    }
    return plan_from_document(document, {"USD": 2}.get)


def faults(plan: Plan, document: Any) -> list[tuple[str, str]]:
    """Return path and reason of the faults of a patch."""
    with pytest.raises(PlanInvalid) as raised:
        read_overrides(plan, document)
    return [(fault.path, fault.reason) for fault in raised.value.faults]


def test_a_patch_changes_what_it_names(plan: Plan) -> None:
    """Prices, whole tiers, commitments and plan bounds change; all else stays (S8.6)."""
    document = {
        "minimum_amount": "10",
        "commitments": [{"id": "money", "amount": "40", "overage_factor": "1.5"}],
        "charges": [
            {"id": "more", "tiers": [{"up_to": "10", "unit_price": "2"}, {"flat_fee": "3"}]},
            {"id": "calls", "unit_price": "0.25", "discount_percent": "10"},
        ],
    }
    text, patched = read_overrides(plan, document)
    assert apply_overrides(plan, text) == patched
    assert patched.minimum_amount == 10
    platform, calls, more = patched.charges
    assert platform == plan.charges[0]
    assert (calls.unit_price, calls.discount_percent) == (Decimal("0.25"), 10)
    assert [tier.up_to for tier in more.tiers] == [10, None]
    units, money = patched.commitments
    assert (units.quantity, units.amount) == (100, Decimal("22.5"))
    assert (money.amount, money.overage_factor, money.true_up) == (40, Decimal("1.5"), True)
    assert (patched.rounding, patched.meters, patched.examples) == (plan.rounding, plan.meters, ())


def test_one_text_for_equal_patches(plan: Plan) -> None:
    """The text has no order but its own, and is empty for a patch that changes nothing."""
    one = {"charges": [{"id": "calls", "unit_price": "1"}, {"amount": "5", "id": "platform"}]}
    other = {"charges": [{"amount": "5", "id": "platform"}, {"unit_price": "1", "id": "calls"}]}
    text, _ = read_overrides(plan, one)
    assert text == read_overrides(plan, other)[0]
    assert text == ('{"charges":[{"id":"calls","unit_price":"1"},{"amount":"5","id":"platform"}]}')
    assert read_overrides(plan, {"charges": [{"id": "calls"}], "commitments": []})[0] == ""
    assert apply_overrides(plan, "") is plan


def test_an_amount_takes_the_place_of_a_quantity(plan: Plan) -> None:
    """A commitment has an amount or a quantity, whichever was stated last (S5.6)."""
    patch = {"commitments": [{"id": "units", "amount": "7"}, {"id": "money", "quantity": "9"}]}
    units, money = read_overrides(plan, patch)[1].commitments
    assert (units.quantity, units.amount) == (None, 7)
    assert (money.quantity, money.amount) == (9, 9)


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        ("1", [("overrides", "WRONG_TYPE")]),
        ({"currency": "EUR"}, [("overrides.currency", "NOT_ALLOWED")]),
        ({"rounding": {}}, [("overrides.rounding", "NOT_ALLOWED")]),
        ({"meters": []}, [("overrides.meters", "NOT_ALLOWED")]),
        ({"price": "1"}, [("overrides.price", "UNKNOWN_KEY")]),
        (
            {"charges": [{"id": "other", "unit_price": "1"}, {"unit_price": "1"}]},
            [("overrides.charges[0].id", "UNKNOWN_ID"), ("overrides.charges[1].id", "MISSING")],
        ),
        (
            {"charges": [{"id": "calls", "meter": "calls", "model": "volume"}]},
            [
                ("overrides.charges[0].meter", "NOT_ALLOWED"),
                ("overrides.charges[0].model", "NOT_ALLOWED"),
            ],
        ),
        (
            {"commitments": [{"id": "money", "term": "year"}, {"id": "money", "amount": "1"}]},
            [
                ("overrides.commitments[0].term", "NOT_ALLOWED"),
                ("overrides.commitments[1].id", "DUPLICATE_ID"),
            ],
        ),
        (
            {
                "charges": [
                    {"id": "more", "tiers": [{"up_to": "5", "unit_price": "x"}]},
                    {"id": "calls", "tiers": [], "unit_price": "-1"},
                ],
                "maximum_amount": "many",
            },
            [
                ("overrides.charges[1].tiers", "NOT_ALLOWED"),
                ("overrides.charges[1].unit_price", "NEGATIVE"),
                ("overrides.charges[0].tiers[0].up_to", "LAST_TIER_BOUNDED"),
                ("overrides.charges[0].tiers[0].unit_price", "NOT_A_NUMBER"),
                ("overrides.maximum_amount", "NOT_A_NUMBER"),
            ],
        ),
    ],
)
def test_all_faults_with_their_paths(plan: Plan, document: Any, expected: Any) -> None:
    """What is no price, or no plan once it is in, is named where it stands in the patch."""
    assert sorted(faults(plan, document)) == sorted(expected)


def test_a_patch_that_breaks_what_it_does_not_name(plan: Plan) -> None:
    """A schedule that no longer adds up is a fault, though only the price was patched (S5.6)."""
    document = {
        "commitments": [
            {"id": "units", "schedule": [{"at": "0", "amount": "50"}]},
        ]
    }
    scheduled = read_overrides(plan, document)[1]
    assert faults(scheduled, {"charges": [{"id": "calls", "unit_price": "1"}]}) == [
        ("overrides.commitments", "SCHEDULE_SUM")
    ]


def test_texts_that_are_no_patch(plan: Plan) -> None:
    """What is no JSON, no patch of this plan or too long is refused, not ignored."""
    for text in ("{", "[]", '{"charges":[{"id":"gone","amount":"1"}]}'):
        with pytest.raises(PlanInvalid):
            apply_overrides(plan, text)
    long = {"commitments": [{"id": "money", "amount": "1" + " " * OVERRIDES_BYTES_MAX}]}
    with pytest.raises(PlanInvalid):
        read_overrides(plan, long)
