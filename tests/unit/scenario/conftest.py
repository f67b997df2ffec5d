"""A small scenario as a document, which tests change at one place."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from rating_core.scenario.document import scenario_from_document
from rating_core.scenario.outcome import ScenarioOutcome
from rating_core.scenario.run import run_scenario

Document = dict[str, Any]
JANUARY = "2026-01-01T00:00:00Z"
FEBRUARY = "2026-02-04T00:00:00Z"


@pytest.fixture
def document_of() -> Callable[..., Document]:
    """Return a maker of documents: plan `api` of 0.01 a call, and the steps given as mappings.

    A step without `at` happens when the one before it does; the first subscribes in January.
    """

    def make(*steps: Document, **more: Any) -> Document:
        timeline: list[Document] = [{"at": JANUARY, "subscribe": {"plan": "api"}}]
        for step in steps:
            timeline.append({"at": timeline[-1]["at"], **step})
        plan = {
            "id": "api",
            "currency": "USD",
            "billing_period": "month",
            "late_usage": "adjust",
            "meters": [{"id": "calls", "aggregation": "sum"}],
            "charges": [{"id": "calls", "meter": "calls", "model": "per_unit", "unit_price": "2"}],
        }
        return {
            "kind": "scenario",
            "id": "small",
            "plans": [plan],
            "customer": "acme",
            "timeline": timeline,
            **more,
        }

    return make


@pytest.fixture
def outcome_of(document_of: Callable[..., Document]) -> Callable[..., ScenarioOutcome]:
    """Return a function that runs the scenario of the steps given."""

    def run(*steps: Document, **more: Any) -> ScenarioOutcome:
        document = document_of(*steps, **more)
        return run_scenario(scenario_from_document(document, {"USD": 2}.get, lambda _: None))

    return run
