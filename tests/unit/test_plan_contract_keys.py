"""Keys of contracts in time: read, written back, and what they become (S3.4, S5, S8, S10)."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from rating_core.catalog import (
    BillingPeriod,
    CountedAt,
    CreditPlacement,
    Installment,
    Payment,
    Plan,
    Proration,
    Rollover,
    TierWindow,
)
from rating_core.period import DAY_US, HOUR_US
from rating_core.pipeline import rate_statement
from rating_core.plan.document import plan_from_document, plan_to_document, warnings_of
from rating_core.usage import counters_from_usage, usage_from_document

METERS = [
    {"id": "tokens", "aggregation": "sum", "scale": "2", "buckets": "hour"},
    {"id": "payments", "aggregation": "sum", "scale": "2"},
]
PER_UNIT = {"id": "usage", "meter": "tokens", "model": "per_unit", "unit_price": "0.5"}


def read(charge: dict[str, Any] | None = None, **keys: Any) -> Plan:
    """Return the plan of one charge on tokens, read, written and read again."""
    document: dict[str, Any] = {
        "id": "plan",
        "currency": "USD",
        "billing_period": "month",
        "meters": METERS,
        "charges": [PER_UNIT | (charge or {})],
    }
    plan = plan_from_document(document | keys, {"USD": 2}.get)
    assert plan_from_document(plan_to_document(plan), {"USD": 2}.get) == plan
    return plan


def committed(**keys: Any) -> Any:
    """Return the one commitment of a plan."""
    commitment = {"id": "annual"} | keys
    charge = keys.pop("charge", None)
    commitment.pop("charge", None)
    (found,) = read(charge, commitments=[commitment]).commitments
    return found


def test_keys_of_parts_and_windows() -> None:
    """Proration, tier windows and smoothing are read, and off by default (S8.3–S8.5, S10.4)."""
    plan = read()
    assert (plan.proration, plan.credits) == (Proration.SECOND, CreditPlacement.BEFORE_TOTAL)
    (charge,) = plan.charges
    assert (charge.tier_window, charge.smoothing_periods, charge.prorate) == (None, 1, False)
    plan = read(
        {
            "included_units": "5",
            "minimum_amount": "3",
            "prorate_included_units": "true",
            "prorate_minimum": "true",
            "smoothing_periods": "12",
        },
        proration="day",
        credits="after_total",
    )
    (charge,) = plan.charges
    assert (plan.proration, plan.credits) == (Proration.DAY, CreditPlacement.AFTER_TOTAL)
    assert (charge.prorate_included_units, charge.prorate_minimum) == (True, True)
    assert charge.smoothing_periods == 12
    assert read({"tier_window": "year"}).charges[0].tier_window is TierWindow.YEAR
    tiers = {"model": "volume", "tiers": [{"unit_price": "1"}], "prorate_tiers": "true"}
    plan = read(charges=[{"id": "usage", "meter": "tokens"} | tiers])
    assert plan.charges[0].prorate_tiers
    fee = {"id": "fee", "model": "flat_fee", "amount": "5", "prorate": "true"}
    assert read(charges=[fee]).charges[0].prorate


def test_window_of_the_billing_period_is_none() -> None:
    """A year in yearly periods is the period itself (S8.5)."""
    assert read({"tier_window": "year"}, billing_period="year").charges[0].tier_window is None


def test_free_events_and_amount() -> None:
    """A percentage's free events are whole, its free amount any decimal (S3.4)."""
    charge = {
        "id": "card",
        "meter": "payments",
        "model": "percentage",
        "percent": "2.9",
        "fixed_fee_per_event": "0.3",
        "free_events": "10",
        "free_amount": "0.005",
    }
    (card,) = read(charges=[charge]).charges
    assert (card.free_events, card.free_amount) == (10, Decimal("0.005"))


def test_prepaid_commitment() -> None:
    """What is prepaid is due used or not, at instants or in periods of the term (S5.6)."""
    schedule = [{"at": "0", "amount": "30"}, {"at": "2026-07-01T00:00:00Z", "amount": "50"}]
    found = committed(
        amount="100",
        discount_percent="20",
        counted_at="list",
        term="year",
        payment="prepaid",
        schedule=schedule,
    )
    assert (found.payment, found.true_up, found.true_up_at_term_end) == (
        Payment.PREPAID,
        False,
        True,
    )
    assert found.schedule == (
        Installment(Decimal(30), None, 0),
        Installment(Decimal(50), 1_782_864_000_000_000, None),
    )
    assert committed(amount="100", payment="prepaid").true_up


def test_rollover() -> None:
    """A rollover has a fraction, a maximum and a length (S5.6)."""
    roll = {"fraction": "0.5", "maximum_amount": "10", "expires_after": "90d"}
    found = committed(amount="100", true_up="true", rollover=roll)
    assert found.rollover == Rollover(Decimal("0.5"), Decimal(10), 90 * DAY_US)
    found = committed(amount="1", true_up="true", rollover={"fraction": "1", "expires_after": "5h"})
    assert found.rollover == Rollover(Decimal(1), None, 5 * HOUR_US)


def test_hourly_commitment() -> None:
    """A term of an hour is one of its own; its true-up falls due each hour (S5.5)."""
    found = committed(amount="2", term="hour", true_up="true")
    assert (found.term, found.hourly, found.true_up) == (BillingPeriod.HOUR, True, True)
    assert not found.true_up_at_term_end
    example = {"usage": {"tokens": "1"}, "expect": {"total": "1"}}
    plan = read(commitments=[{"id": "c", "amount": "2", "term": "hour"}], examples=[example])
    assert any("as that of one hour" in warning for warning in warnings_of(plan))


TIERS = [{"up_to": "10", "unit_price": "1", "flat_fee": "2"}, {"unit_price": "0.5"}]


@pytest.mark.parametrize(
    ("charge", "expected"),
    [
        ({"discount_percent": "10"}, "6.75"),
        ({"included_units": "100"}, "7.5"),
        ({"model": "graduated", "tiers": TIERS, "unit_price": None}, "14.5"),
        ({"model": "volume", "tiers": TIERS, "unit_price": None}, "7.5"),
        ({"model": "package", "package_size": "4", "package_price": "3", "unit_price": None}, "12"),
    ],
)
def test_quantity_commitment(charge: dict[str, Any], expected: str) -> None:
    """Of 15 units the amount is the charge's list price after its discount (S5.6)."""
    own = {key: value for key, value in (PER_UNIT | charge).items() if value is not None}
    (found,) = read(charges=[own], commitments=[{"id": "c", "quantity": "15"}]).commitments
    assert (found.amount, found.quantity) == (Decimal(expected), 15)
    assert found.counted_at is CountedAt.LIST


def test_rollover_of_what_nobody_paid_is_warned_of() -> None:
    """A rollover without a true-up is allowed, and named (S5.6)."""
    plan = read(commitments=[{"id": "c", "amount": "2", "rollover": {"fraction": "1"}}])
    assert any("carries on" in warning for warning in warnings_of(plan))


def test_a_case_of_an_hourly_commitment_is_one_hour_whatever_else_the_plan_has() -> None:
    """Rows and contracts quote all usage as that of one hour, its fee due once (S5.5)."""
    hourly = {"id": "c", "amount": "5", "term": "hour", "true_up": "true"}
    for charge in (None, {"smoothing_periods": "3"}):
        plan = read(charge, commitments=[hourly])
        counters = counters_from_usage(plan, usage_from_document(plan, {"tokens": "6"}))
        amounts = rate_statement(plan, counters).amount_by_id()
        assert amounts["c"] == 2
        assert amounts["usage"] == (3 if charge is None else 1)
