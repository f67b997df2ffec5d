"""Usage documents and the counters that they make."""

from __future__ import annotations

from decimal import Decimal

import pytest

from rating_core.catalog import (
    Aggregation,
    BillingPeriod,
    Charge,
    ChargeModel,
    Meter,
    Plan,
    UsageEntry,
)
from rating_core.counter import BandCount, SeriesCounter
from rating_core.errors import OutOfRange, UsageInvalid
from rating_core.units import INT64_MAX
from rating_core.usage import counters_from_usage, usage_from_document, usage_to_document

LARGE = (("model", "large"),)
PLAN = Plan(
    id="payments",
    currency="USD",
    billing_period=BillingPeriod.MONTH,
    meters=(
        Meter("amount", Aggregation.SUM, scale=2, dimensions=("model",)),
        Meter("calls", Aggregation.COUNT),
    ),
    charges=(
        Charge(
            "fee",
            ChargeModel.PERCENTAGE,
            meter="amount",
            where=(("model", ("large",)),),
            percent=Decimal(1),
            min_per_event=Decimal(1),
            max_per_event=Decimal(3),
        ),
        Charge("call", ChargeModel.PER_UNIT, meter="calls", unit_price=Decimal(1)),
    ),
)


def faults(document: object) -> list[tuple[str, str]]:
    """Return path and reason of the faults of a usage document."""
    with pytest.raises(UsageInvalid) as raised:
        usage_from_document(PLAN, document)
    return [(fault.path, fault.reason) for fault in raised.value.faults]


def test_forms_of_usage() -> None:
    """A quantity, a list of quantities and a list of records are all read (S6.5)."""
    usage = usage_from_document(
        PLAN,
        {"amount": ["1.50", {"quantity": "2", "dimensions": {"model": "large"}}], "calls": "7"},
    )
    assert usage == {
        "amount": (UsageEntry(Decimal("1.5")), UsageEntry(Decimal(2), LARGE)),
        "calls": (UsageEntry(Decimal(7)),),
    }
    assert usage_from_document(PLAN, usage_to_document(usage)) == usage


def test_record_without_dimensions_lacks_them() -> None:
    """A record without a dimension, or with "" for it, lacks it; a bare quantity does not."""
    records = [{"quantity": "1"}, {"quantity": "1", "dimensions": {"model": ""}}, "1"]
    entries = usage_from_document(PLAN, {"amount": records})["amount"]
    assert [entry.dimensions for entry in entries] == [(), (), None]


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        ("5", [("usage", "WRONG_TYPE")]),
        ({"tokens": "1"}, [("usage.tokens", "UNKNOWN_METER")]),
        ({"calls": 1}, [("usage.calls", "WRONG_TYPE")]),
        ({"calls": "one"}, [("usage.calls", "NOT_A_NUMBER")]),
        ({"calls": "1.5"}, [("usage.calls", "QUANTITY_PRECISION")]),
        ({"calls": "-1"}, [("usage.calls", "QUANTITY_OUT_OF_RANGE")]),
        ({"calls": str(INT64_MAX + 1)}, [("usage.calls", "QUANTITY_OUT_OF_RANGE")]),
        ({"amount": "92233720368547758.08"}, [("usage.amount", "QUANTITY_OUT_OF_RANGE")]),
        ({"amount": "-1"}, [("usage.amount", "QUANTITY_OUT_OF_RANGE")]),
        ({"amount": [{"dimensions": {}}]}, [("usage.amount[0].quantity", "MISSING")]),
        ({"amount": [{"quantity": "1", "at": "0"}]}, [("usage.amount[0].at", "UNKNOWN_KEY")]),
        (
            {"amount": ["x", {"quantity": "1", "dimensions": {"a": "b"}}], "z": "1"},
            [
                ("usage.amount[0]", "NOT_A_NUMBER"),
                ("usage.amount[1].dimensions.a", "DIMENSION_INVALID"),
                ("usage.z", "UNKNOWN_METER"),
            ],
        ),
    ],
)
def test_faults_of_usage(document: object, expected: list[tuple[str, str]]) -> None:
    """Each mistake in usage is named, all of them at once, with its path."""
    assert faults(document) == expected


def test_negative_event_is_refused_only_where_a_clamp_sees_it() -> None:
    """A negative quantity outside the `where` of a charge with a floor is usage like any other."""
    record = {"quantity": "-1", "dimensions": {"model": "small"}}
    assert usage_from_document(PLAN, {"amount": [record]})["amount"][0].quantity == -1
    record["dimensions"] = {"model": "large"}
    assert faults({"amount": [record]}) == [("usage.amount[0].quantity", "QUANTITY_OUT_OF_RANGE")]


def test_counters_hold_sums_events_and_bands() -> None:
    """Each series has one counter; a clamped charge's bands split its events (S3.4, S6.1)."""
    records = [UsageEntry(Decimal(units), LARGE) for units in (50, 100, 200, 300, 400)]
    other = UsageEntry(Decimal(7), (("model", "small"),))
    counters = counters_from_usage(PLAN, {"amount": (*records, other), "calls": ()})
    assert counters == [
        SeriesCounter("amount", LARGE, 105_000, 5, {"fee": BandCount(2, 2, 20_000)}),
        SeriesCounter("amount", (("model", "small"),), 700, 1),
    ]


def test_counter_that_does_not_fit_is_out_of_range() -> None:
    """Sums beyond int64 in scale units are refused, one below is counted (S1.2)."""
    most = UsageEntry(Decimal(INT64_MAX))
    assert counters_from_usage(PLAN, {"calls": (most,)})[0].value == INT64_MAX
    with pytest.raises(OutOfRange, match="calls"):
        counters_from_usage(PLAN, {"calls": (most, UsageEntry(Decimal(1)))})
