"""Golden cases: what a plan and its usage must cost, worked out by hand or published by peers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rating_core.case import Case, case_from_document, check_example
from rating_core.catalog import ChargeModel
from rating_core.pipeline import is_priced_by_rows, rate_statement
from rating_core.plan.document import plan_from_document, plan_to_document
from rating_core.reference import reference_statement
from rating_core.usage import counters_from_usage, usage_from_document, usage_to_document

FILES = sorted((Path(__file__).parent / "cases").glob("*.jsonl"))
MINOR_UNITS = {"USD": 2, "EUR": 2, "JPY": 0, "KWD": 3}


def _as_text(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    words = {True: "true", False: "false"}
    return {key: words[value] if isinstance(value, bool) else value for key, value in pairs}


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    """Read a case file with scalars as text, as every reader of documents does (S1.1)."""
    for row in path.read_text(encoding="utf-8").splitlines():
        yield json.loads(row, parse_int=str, object_pairs_hook=_as_text)


CASES = {
    row["id"]: case_from_document(row, MINOR_UNITS.get) for path in FILES for row in _rows(path)
}


@pytest.fixture(params=list(CASES))
def case(request: pytest.FixtureRequest) -> Case:
    """Each golden case in turn."""
    return CASES[request.param]


def test_reference_gives_the_expected_amounts(case: Case) -> None:
    """The specification as code computes every golden amount."""
    statement = reference_statement(case.plan, case.example.usage)
    assert check_example(statement, case.example) == []


def test_pipeline_gives_the_expected_amounts(case: Case) -> None:
    """Every golden amount comes out, and the very lines of the reference.

    A plan that is priced as a contract tells a prepaid fee apart from the usage that it pays for
    (S5.6): there each id has the reference's amount.
    """
    statement = rate_statement(case.plan, counters_from_usage(case.plan, case.example.usage))
    assert check_example(statement, case.example) == []
    expected = reference_statement(case.plan, case.example.usage)
    assert statement.amount_by_id() == expected.amount_by_id()
    if is_priced_by_rows(case.plan):
        assert [(line.id, line.kind, line.amount) for line in statement.lines] == [
            (line.id, line.kind, line.amount) for line in expected.lines
        ]
    assert (statement.total, statement.unpriced_meters) == (
        expected.total,
        expected.unpriced_meters,
    )


def test_plan_and_usage_survive_their_documents(case: Case) -> None:
    """Writing a plan or usage as a document and reading it again changes nothing."""
    assert plan_from_document(plan_to_document(case.plan), MINOR_UNITS.get) == case.plan
    document = usage_to_document(case.example.usage)
    assert usage_from_document(case.plan, document) == case.example.usage


def test_case_ids_are_unique() -> None:
    """No golden case hides another of the same id."""
    assert len(CASES) == sum(len(list(_rows(path))) for path in FILES)


def test_every_charge_model_has_cases() -> None:
    """At least five golden cases price each charge model."""
    for model in ChargeModel:
        priced = [
            case
            for case in CASES.values()
            if any(charge.model is model for charge in case.plan.charges)
        ]
        assert len(priced) >= 5, model
