"""Scenario documents are read whole: every fault at once, each with its path (S12.2)."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rating_core.errors import ScenarioInvalid
from rating_core.scenario import contract_log
from rating_core.scenario.document import scenario_from_document
from rating_core.scenario.status_names import REFUSALS, known_status
from rating_core.zone import ZoneTable

Make = Callable[..., dict[str, Any]]
HOUR_US = 3_600_000_000
ZONES = {"Europe/Berlin": ZoneTable("Europe/Berlin", (), (HOUR_US,))}


def read(document: object):
    """Return the scenario of a document."""
    return scenario_from_document(document, {"USD": 2}.get, ZONES.get)


def faults(document: object) -> list[tuple[str, str]]:
    """Return path and reason of every fault of a document."""
    with pytest.raises(ScenarioInvalid) as caught:
        read(document)
    return [(fault.path, fault.reason) for fault in caught.value.faults]


def test_all_faults_come_at_once_in_the_order_of_the_document(document_of: Make) -> None:
    """Faults of the head, of plans and of steps are told together."""
    document = document_of(
        {"usage": {"calls": "1.5x"}, "event_time": "yesterday"},
        {"finalise": {}},
        {"grant": {"id": "G", "amount": "-1", "priority": "high"}},
        {"promote": {"kind": "gift", "value": "101"}, "cancel": {}},
        time_zone="Mars/Olympus",
        colour="red",
    )
    assert faults(document) == [
        ("timeline[1].usage.calls", "NOT_A_NUMBER"),
        ("timeline[1].event_time", "NOT_AN_INSTANT"),
        ("timeline[2]", "STEP_MISSING"),
        ("timeline[2].finalise", "UNKNOWN_KEY"),
        ("timeline[3].grant.id", "BAD_ID"),
        ("timeline[3].grant.amount", "NEGATIVE"),
        ("timeline[3].grant.priority", "NOT_A_NUMBER"),
        ("timeline[4]", "STEP_AMBIGUOUS"),
        ("timeline[4].promote.kind", "UNKNOWN_VALUE"),
        ("time_zone", "UNKNOWN_TIME_ZONE"),
        ("colour", "UNKNOWN_KEY"),
    ]


def test_what_is_mandatory_is_asked_for() -> None:
    """An empty mapping lacks all mandatory keys; anything but a mapping is no scenario."""
    missing = [(key, "MISSING") for key in ("kind", "id", "plans", "customer", "timeline")]
    assert faults({}) == missing
    assert faults(["scenario"]) == [("", "WRONG_TYPE")]


STEPS: dict[str, tuple[dict[str, Any], tuple[str, str]]] = {
    "back-in-time": (
        {"at": "2025-12-31T00:00:00Z", "cancel": {}},
        ("timeline[1].at", "OUT_OF_ORDER"),
    ),
    "unknown-plan": ({"change_plan": {"plan": "b"}}, ("change_plan.plan", "UNKNOWN_PLAN")),
    "unknown-version": (
        {"change_plan": {"plan": "api", "version": "2"}},
        ("change_plan.version", "UNKNOWN_VERSION"),
    ),
    "no-price": (
        {"change_plan": {"plan": "api", "overrides": {"charges": [{"id": "calls", "meter": "m"}]}}},
        ("change_plan.overrides.charges[0].meter", "NOT_ALLOWED"),
    ),
    "anchor": (
        {"subscribe": {"plan": "api", "anchor_day": "0"}},
        ("subscribe.anchor_day", "OUT_OF_RANGE"),
    ),
    "no-records": ({"usage": {"calls": []}}, ("usage", "EMPTY")),
    "record-key": (
        {"usage": {"calls": [{"quantity": "1", "when": "now"}]}},
        ("usage.calls[0].when", "UNKNOWN_KEY"),
    ),
    "unknown-event": ({"retract": {"event_id": "e9"}}, ("retract.event_id", "UNKNOWN_EVENT")),
    "unknown-grant": ({"void": {"grant": "g9"}}, ("void.grant", "UNKNOWN_GRANT")),
    "reserved-id": (
        {"grant": {"id": "late", "amount": "1"}},
        ("grant.id", "RESERVED_ID"),
    ),
    "expired-grant": (
        {"grant": {"id": "g", "amount": "1", "expires": "2026-01-01T00:00:00Z"}},
        ("grant.expires", "OUT_OF_RANGE"),
    ),
    "unknown-charge": (
        {"grant": {"id": "g", "amount": "1", "covers": ["seats"]}},
        ("grant.covers[0]", "UNKNOWN_CHARGE"),
    ),
    "two-ends": (
        {
            "promote": {
                "kind": "percent_off",
                "value": "5",
                "periods": "1",
                "until": "2026-02-01T00:00:00Z",
            }
        },
        ("promote.until", "NOT_ALLOWED"),
    ),
    "too-much-off": (
        {"promote": {"kind": "percent_off", "value": "101"}},
        ("promote.value", "TOO_LARGE"),
    ),
    "expects-nothing": ({"expect_statement": {}}, ("expect_statement.total", "MISSING")),
    "unknown-status": ({"expect_status": "BOGUS"}, ("expect_status", "UNKNOWN_VALUE")),
    "unknown-reason": ({"expect_status": "REJECTED/BOGUS"}, ("expect_status", "UNKNOWN_VALUE")),
    "unlike-reason": ({"expect_status": "ACCEPTED/TOO_OLD"}, ("expect_status", "UNKNOWN_VALUE")),
    "unknown-line": (
        {"expect_statement": {"lines": {"seats": "1"}}},
        ("expect_statement.lines.seats", "UNKNOWN_LINE"),
    ),
}


@pytest.mark.parametrize("name", STEPS)
def test_faulty_step_is_told_with_its_path(document_of: Make, name: str) -> None:
    """Each fault of a step has the path at which it stands."""
    step, (path, reason) = STEPS[name]
    path = path if path.startswith("timeline") else f"timeline[1].{path}"
    assert faults(document_of(step)) == [(path, reason)]


def test_every_refusal_can_be_expected() -> None:
    """Whatever reason a call about a contract is refused for, `expect_status` may name."""
    machine = Path(contract_log.__file__).parents[1] / "metering" / "contracts"
    names = {
        name
        for file in ("subscription_calls.py", "finalize.py")
        for name in re.findall(
            r'(?:refused|_Refusal)\(\s*"([A-Z_]+)"', (machine / file).read_text()
        )
    }
    assert len(names) > 15
    assert {*names} - {"PLAN_NOT_LOADED", "RECOUNT_NEEDED"} <= REFUSALS
    assert all(known_status(name) for name in names & REFUSALS)
    assert known_status("REJECTED/TOO_OLD")


def test_ids_are_one_name_space(document_of: Make) -> None:
    """A grant and a promotion cannot have one id (S2.2)."""
    document = document_of(
        {"grant": {"id": "gift", "amount": "1"}},
        {"promote": {"id": "gift", "kind": "percent_off", "value": "5"}},
    )
    assert faults(document) == [("timeline[2].promote.id", "DUPLICATE_ID")]


def test_faults_of_plans_hide_what_depends_on_them(document_of: Make) -> None:
    """Beside a faulty plan nothing is said of what steps refer to, which could not be known."""
    grant = {"id": "g", "amount": "1", "covers": ["seats"]}
    document = document_of({"change_plan": {"plan": "b"}}, {"grant": grant})
    document["plans"][0]["charges"][0]["unit_price"] = "-1"
    assert faults(document) == [("plans[0].charges[0].unit_price", "NEGATIVE")]


def test_plans_of_one_id_are_versions_and_share_their_meters(document_of: Make) -> None:
    """The second plan of an id is version 2; a meter that differs from the first is a fault."""
    document = document_of()
    first = document["plans"][0]
    second = {**first, "effective_time": "2026-02-01T00:00:00Z"}
    scenario = read({**document, "plans": [first, second]})
    assert [(held.plan.id, held.version) for held in scenario.plans] == [("api", 1), ("api", 2)]
    other = {**first, "meters": [{"id": "calls", "aggregation": "max"}]}
    assert faults({**document, "plans": [first, other]}) == [
        ("plans[1].meters[0]", "METER_MISMATCH")
    ]


def test_zone_and_durations(document_of: Make) -> None:
    """The table of the zone comes with the scenario; durations are µs, and none means unlimited."""
    plain = read(document_of())
    assert (plain.time_zone, plain.zone, plain.acceptance_window) == ("UTC", None, None)
    assert plain.grace == 72 * HOUR_US
    more = {"time_zone": "Europe/Berlin", "acceptance_window": "7d", "grace": "90m"}
    scenario = read(document_of(**more))
    assert scenario.zone == ZONES["Europe/Berlin"]
    assert (scenario.acceptance_window, scenario.grace) == (168 * HOUR_US, HOUR_US * 3 // 2)
    assert read(document_of(acceptance_window="unlimited")).acceptance_window is None
    assert faults(document_of(grace="unlimited")) == [("grace", "NOT_A_DURATION")]
    assert faults(document_of(acceptance_window="1 week")) == [
        ("acceptance_window", "NOT_A_DURATION")
    ]
