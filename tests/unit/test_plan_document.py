"""Plan documents: defaults, limits, meters by id, terms and warnings."""

from __future__ import annotations

from decimal import Decimal
from time import process_time
from typing import Any

import pytest

from rating_core.case import case_from_document, check_example
from rating_core.catalog import (
    Aggregation,
    BillingPeriod,
    ChargeModel,
    Commitment,
    CommitmentOrder,
    CountedAt,
    LateUsage,
    Meter,
    Plan,
    Rounding,
)
from rating_core.errors import PlanInvalid, UsageInvalid
from rating_core.plan.document import (
    meter_from_document,
    meter_to_document,
    plan_from_document,
    plan_to_document,
    warnings_of,
)
from rating_core.reference import reference_statement
from rating_core.units import RoundingMode, RoundingStage

MINOR_UNITS = {"USD": 2, "JPY": 0}
TOKENS = Meter("tokens", Aggregation.SUM, "token", 3, ("model", "region"))


def document(**over: Any) -> dict[str, Any]:
    """Return a valid plan document with some keys replaced."""
    return {
        "id": "plan",
        "currency": "USD",
        "billing_period": "month",
        "meters": [meter_to_document(TOKENS)],
        "charges": [charge("usage")],
    } | over


def charge(charge_id: str, **over: Any) -> dict[str, Any]:
    """Return a valid charge document with some keys replaced."""
    keys = {"id": charge_id, "meter": "tokens", "model": "per_unit", "unit_price": "1"}
    return keys | over


def read(**over: Any) -> Plan:
    """Return the plan of a valid document with some keys replaced."""
    return plan_from_document(document(**over), MINOR_UNITS.get)


def faults(plan_document: object, known: dict[str, Meter] | None = None) -> list[tuple[str, str]]:
    """Return path and reason of the faults of a plan document."""
    with pytest.raises(PlanInvalid) as raised:
        plan_from_document(plan_document, MINOR_UNITS.get, known or {})
    return [(fault.path, fault.reason) for fault in raised.value.faults]


def test_defaults() -> None:
    """What a document leaves out has the default of the rules (S1.3, S2.1, S7.5)."""
    plan = read()
    assert plan.rounding == Rounding(RoundingMode.HALF_UP, 2, RoundingStage.LINE)
    assert read(currency="JPY").rounding.scale == 0
    assert read(currency="JPY", rounding={"scale": "4"}).rounding.scale == 4
    assert (plan.late_usage, plan.commitment_order) == (
        LateUsage.REJECT,
        CommitmentOrder.DOCUMENT,
    )
    assert meter_from_document({"id": "calls", "aggregation": "count"}) == Meter(
        "calls", Aggregation.COUNT
    )


def test_keys_of_every_model_are_read() -> None:
    """Each charge model has its keys, read as exact numbers (S3)."""
    tiers = [{"up_to": "10", "flat_fee": "1"}, {"flat_fee": "2"}]
    keys = {
        "flat_fee": {"amount": "1", "timing": "in_arrears"},
        "per_unit": {"unit_price": "0.000000000001"},
        "graduated": {"tiers": tiers, "flat_fee_at_zero_usage": "true"},
        "volume": {"tiers": tiers},
        "stairstep": {"tiers": tiers},
        "package": {"package_size": "0.5", "package_price": "1"},
        "percentage": {"percent": "1.5", "min_per_event": "0", "max_per_event": "0"},
        "graduated_percentage": {"tiers": tiers},
    }
    charges = [
        {"id": f"charge-{index}", "model": model, **own}
        | ({} if model == "flat_fee" else {"meter": "tokens"})
        for index, (model, own) in enumerate(keys.items())
    ]
    plan = read(charges=charges)
    assert [priced.model for priced in plan.charges] == list(ChargeModel)
    assert plan.charges[1].unit_price == Decimal("0.000000000001")
    assert plan.charges[2].flat_fee_at_zero_usage
    assert [tier.flat_fee for tier in plan.charges[4].tiers] == [1, 2]
    assert plan.charges[6].clamps
    assert plan_from_document(plan_to_document(plan), MINOR_UNITS.get) == plan


def test_numbers_are_read_in_one_form() -> None:
    """Numbers that are written differently but are equal give the same plan."""
    one = read(charges=[charge("usage", unit_price="0.50", included_units="-0")])
    other = read(charges=[charge("usage", unit_price="+.5000")])
    assert one == other
    assert repr(one) == repr(other)


def test_meters_by_id() -> None:
    """A plan may name a meter that exists; an inline one of that id must be the same (S2)."""
    known = {"tokens": TOKENS}
    by_id = plan_from_document(document(meters=["tokens"]), MINOR_UNITS.get, known)
    assert by_id == plan_from_document(document(), MINOR_UNITS.get, known)
    turned = meter_to_document(TOKENS) | {"dimensions": ["region", "model"]}
    plan_from_document(document(meters=[turned]), MINOR_UNITS.get, known)
    coarser = meter_to_document(TOKENS) | {"scale": "2"}
    assert faults(document(meters=[coarser]), known) == [("meters[0]", "METER_MISMATCH")]
    assert faults(document(meters=["tokens"])) == [("meters[0]", "UNKNOWN_METER")]


def test_faulty_meter_or_charge_causes_no_further_faults() -> None:
    """What refers to something that is itself faulty is not blamed for it."""
    broken = {"id": "tokens", "aggregation": "sum", "scale": "x"}
    plan_document = document(
        meters=[broken],
        charges=[charge("usage", where={"model": "large"}), charge("other", unit_price="x")],
        commitments=[{"id": "annual", "amount": "1", "covers": ["other"]}],
        examples=[{"usage": {"tokens": "1"}, "expect": {"total": "0", "lines": {"other": "0"}}}],
    )
    assert faults(plan_document) == [
        ("meters[0].scale", "NOT_A_NUMBER"),
        ("charges[1].unit_price", "NOT_A_NUMBER"),
    ]


@pytest.mark.parametrize("scalar", [True, 1, 1.5, None, b"1", ["1"]])
def test_scalars_that_are_not_text_are_faults(scalar: object) -> None:
    """Readers give scalars as text; anything else is a wrong type, whatever the key (S1.1)."""
    assert faults(document(charges=[charge("usage", unit_price=scalar)])) == [
        ("charges[0].unit_price", "WRONG_TYPE")
    ]
    assert faults(document(id=scalar))[0] == ("id", "WRONG_TYPE")
    assert faults(document(rounding={"scale": scalar})) == [("rounding.scale", "WRONG_TYPE")]


def test_keys_that_are_not_text_are_faults() -> None:
    """A mapping with a key that is no text is refused as a whole."""
    assert faults({1: "2"}) == [("", "WRONG_TYPE")]


@pytest.mark.parametrize(
    ("over", "path"),
    [
        ({"charges": [charge(f"c{index}") for index in range(1_001)]}, "charges"),
        (
            {"commitments": [{"id": f"k{index}", "amount": "1"} for index in range(65)]},
            "commitments",
        ),
        (
            {"meters": [{"id": f"m{index}", "aggregation": "sum"} for index in range(101)]},
            "meters",
        ),
        (
            {
                "charges": [
                    charge("usage", where={"model": [str(index) for index in range(101)]}),
                ]
            },
            "charges[0].where.model",
        ),
        (
            {
                "charges": [
                    {
                        "id": "usage",
                        "meter": "tokens",
                        "model": "volume",
                        "tiers": [
                            *(
                                {"up_to": str(up_to), "unit_price": "1"}
                                for up_to in range(1, 1_001)
                            ),
                            {"unit_price": "1"},
                        ],
                    }
                ]
            },
            "charges[0].tiers",
        ),
    ],
)
def test_sizes_are_bounded(over: dict[str, Any], path: str) -> None:
    """A document larger than the limits is refused where it is too large."""
    assert (path, "TOO_MANY") in faults(document(**over))


def test_long_values_are_cut_in_messages() -> None:
    """A message stays one short line however long and odd the value is."""
    with pytest.raises(PlanInvalid) as raised:
        read(currency="U\n" * 100, **{"k" * 1_000: "v"})
    for fault in raised.value.faults:
        assert len(str(fault)) < 400
        assert "\n" not in str(fault)


def test_commitment_keys_and_defaults() -> None:
    """A commitment covers all but flat fees, at list price, for the billing period (S5)."""
    charges = [
        charge("first"),
        charge("second"),
        {"id": "base", "model": "flat_fee", "amount": "1"},
    ]
    plain = {"id": "annual", "amount": "100"}
    plan = read(charges=charges, commitments=[plain])
    assert plan.commitments == (Commitment("annual", Decimal(100), ("first", "second")),)
    full = plain | {
        "discount_percent": "12.5",
        "counted_at": "list",
        "overage_factor": "0",
        "true_up": "true",
        "covers": ["base"],
        "payment": "postpaid",
        "term": "month",
    }
    assert read(charges=charges, commitments=[full]).commitments == (
        Commitment(
            "annual",
            Decimal(100),
            ("base",),
            Decimal("12.5"),
            CountedAt.LIST,
            Decimal(0),
            true_up=True,
        ),
    )


def test_true_up_of_a_longer_term_is_not_due_in_its_first_period() -> None:
    """The document's own term and true_up are kept, and written back (S5.3)."""
    commitment = {"id": "annual", "amount": "100", "term": "year", "true_up": "true"}
    plan = read(commitments=[commitment])
    (read_back,) = plan.commitments
    assert (read_back.term, read_back.true_up, read_back.true_up_at_term_end) == (
        BillingPeriod.YEAR,
        False,
        True,
    )
    written = plan_to_document(plan)["commitments"][0]
    assert (written["term"], written["true_up"]) == ("year", "true")


@pytest.mark.parametrize(
    ("charges", "expected"),
    [
        ([charge("a")], []),
        ([charge("a", where={"model": "large"})], ["model = any other value is priced by no"]),
        ([charge("a"), charge("b", where={"model": "large"})], ["a and b both price"]),
        (
            [charge("a", where={"model": ["l", "s"]}), charge("b", where={"model": ["s", "t"]})],
            ["a and b both price", "model = any other value"],
        ),
        (
            [
                charge("a", where={"model": "l", "region": "eu"}),
                charge("b", where={"model": "l", "region": "us"}),
            ],
            ["model = any other value, region = any other value"],
        ),
        ([charge("a", minimum_amount="2", maximum_amount="1")], ["minimum_amount is above"]),
        ([{"id": "a", "model": "flat_fee", "amount": "1"}], ["meter tokens is priced by no"]),
    ],
)
def test_warnings(charges: list[dict[str, Any]], expected: list[str]) -> None:
    """Overlaps, gaps, unpriced meters and contradicting bounds are warned of (S3.5)."""
    warnings = warnings_of(read(charges=charges))
    assert len(warnings) == len(expected)
    for warning, part in zip(warnings, expected, strict=True):
        assert part in warning


def test_warnings_of_the_largest_where_come_at_once() -> None:
    """Overlaps and gaps are looked up, not searched for: 20,000 values take no 4 s (S3.5)."""
    values = [[f"value-{index}-{place}" for place in range(100)] for index in range(200)]
    charges = [
        charge(f"charge-{index}", where={"model": named}) for index, named in enumerate(values)
    ]
    plan = read(charges=[*charges, charge("again", where={"model": [values[150][99]]})])
    started = process_time()
    assert warnings_of(plan) == [
        "charges charge-150 and again both price usage of meter tokens",
        "usage of meter tokens with model = any other value is priced by no charge",
    ]
    assert process_time() - started < 1


def test_warning_of_plan_bounds() -> None:
    """A plan's minimum above its maximum is warned of too (S4)."""
    assert warnings_of(read(minimum_amount="2", maximum_amount="1")) == [
        "plan: minimum_amount is above maximum_amount and wins over it"
    ]


def test_faults_of_a_case_have_paths_from_its_root() -> None:
    """A case is a plan, usage and what it must cost; each part's faults are named (S12.1)."""
    plan_document = document()
    with pytest.raises(PlanInvalid) as of_plan:
        case_from_document({"plan": document(id="X"), "usage": {}, "why": ""}, MINOR_UNITS.get)
    assert [fault.path for fault in of_plan.value.faults] == ["plan.id", "why", "id", "expect"]
    with pytest.raises(UsageInvalid) as of_usage:
        case_from_document(
            {
                "plan": plan_document,
                "usage": {"tokens": "0.0001"},
                "expect": {"totals": "1"},
                "why": "",
            },
            MINOR_UNITS.get,
        )
    assert [(fault.path, fault.reason) for fault in of_usage.value.faults] == [
        ("usage.tokens", "QUANTITY_PRECISION"),
        ("expect.totals", "UNKNOWN_KEY"),
        ("expect.total", "MISSING"),
        ("why", "UNKNOWN_KEY"),
        ("id", "MISSING"),
    ]
    with pytest.raises(UsageInvalid, match="mapping"):
        case_from_document([], MINOR_UNITS.get)


def test_differences_from_an_example_are_told() -> None:
    """Amounts compare as numbers; a line that is not there counts as 0 (S4.2)."""
    case = case_from_document(
        {
            "id": "case",
            "plan": document(),
            "usage": {"tokens": "2"},
            "expect": {"total": "2.50", "lines": {"usage": "2", "plan-minimum": "1"}},
        },
        MINOR_UNITS.get,
    )
    statement = reference_statement(case.plan, case.example.usage)
    assert check_example(statement, case.example) == [
        "total: expected 2.5, got 2",
        "line plan-minimum: expected 1, got 0",
    ]
