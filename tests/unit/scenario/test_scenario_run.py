"""Scenarios run on a virtual clock: statuses, refusals, and what a difference tells (S12.2)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rating_core.scenario.outcome import Difference, ScenarioOutcome

Run = Callable[..., ScenarioOutcome]
FEBRUARY = "2026-02-04T00:00:00Z"


def messages(outcome: ScenarioOutcome) -> list[tuple[str, tuple[str, ...]]]:
    """Return path and messages of every difference."""
    return [(one.path, one.messages) for one in outcome.differences]


def usage(quantity: object, **more: Any) -> dict[str, Any]:
    """Return a step that sends one record of calls, or several."""
    return {"usage": {"calls": quantity}, **more}


def test_nothing_to_tell_where_all_is_as_expected(outcome_of: Run) -> None:
    """Amounts compare as numbers, lines may be left out, and statuses go by name or reason."""
    outcome = outcome_of(
        usage("3"),
        {"expect_status": "ACCEPTED"},
        usage("1.5"),
        {"expect_status": "REJECTED"},
        {"expect_status": "QUANTITY_PRECISION"},
        {"expect_status": "REJECTED/QUANTITY_PRECISION"},
        {"expect_statement": {"total": "6", "amount_due": "6.00", "lines": {"calls": "6.0"}}},
    )
    assert outcome == ScenarioOutcome((), ())


def test_difference_tells_expected_got_and_the_statement(outcome_of: Run) -> None:
    """Every amount that differs is told; the statement explains the lines in question."""
    expected = {"total": "7", "amount_due": "8", "lines": {"calls": "9"}}
    (found,) = outcome_of(usage("3"), {"expect_statement": expected}).differences
    assert found.messages == (
        "total: expected 7, got 6",
        "amount_due: expected 8, got 6",
        "line calls: expected 9, got 6",
    )
    assert found.statement is not None
    (line,) = found.statement.lines
    assert (found.path, found.line_ids, line.id) == ("timeline[2]", ("calls",), "calls")
    assert [(piece.quantity, piece.amount) for piece in line.slices] == [(3, 6)]


def test_line_that_is_not_there_counts_as_nothing(outcome_of: Run) -> None:
    """A late line without late usage is 0, and all lines are shown to explain a difference."""
    fine = {"expect_statement": {"lines": {"late": "0"}}}
    odd = {"expect_statement": {"lines": {"late": "1"}}}
    (found,) = outcome_of(usage("3"), fine, odd).differences
    assert (found.messages, found.line_ids) == (("line late: expected 1, got 0",), ())


def test_status_is_that_of_the_step_before(outcome_of: Run) -> None:
    """All records of a step must have the status; expectations between are passed over."""
    outcome = outcome_of(
        usage(["1", "2"], event_id="e1"),
        usage(["1", "3"], event_id="e1"),
        {"expect_status": "DUPLICATE"},
        {"expect_statement": {"total": "6"}},
        {"expect_status": "CONFLICT"},
    )
    got = "got DUPLICATE, CONFLICT"
    assert messages(outcome) == [
        ("timeline[3]", (f"status: expected DUPLICATE, {got}",)),
        ("timeline[5]", (f"status: expected CONFLICT, {got}",)),
    ]


def test_first_step_may_ask_for_no_status(document_of: Callable[..., Any], outcome_of: Run) -> None:
    """An expectation of a status before any step is a difference, not a crash."""
    step = {"at": "2026-01-01T00:00:00Z", "expect_status": "OK"}
    outcome = outcome_of(timeline=[step, *document_of()["timeline"]])
    expected = "status: expected OK, got nothing: no step before it"
    assert messages(outcome) == [("timeline[0]", (expected,))]


def test_records_that_do_not_count_are_a_warning(outcome_of: Run) -> None:
    """A record that is not accepted is told unless the next step looks at its status."""
    outcome = outcome_of({"usage": {"callz": "1"}}, {"expect_statement": {"total": "0"}})
    word = "REJECTED/UNKNOWN_METER"
    assert outcome == ScenarioOutcome(
        (), (f"timeline[1]: usage is {word}; no expect_status follows",)
    )


def test_refused_step_is_a_difference_unless_it_is_expected(outcome_of: Run) -> None:
    """Finalising too early is refused with the earliest instant."""
    early = {"at": "2026-02-03T23:59:59Z", "finalize": {"period_start": "2026-01-01T00:00:00Z"}}
    (found,) = outcome_of(early).differences
    assert found == Difference(
        "timeline[1]",
        ("finalize is refused: PERIOD_NOT_ENDED (earliest 2026-02-04T00:00:00Z)",),
    )
    assert outcome_of(early, {"expect_status": "PERIOD_NOT_ENDED"}) == ScenarioOutcome((), ())
    assert outcome_of(early, grace="71h") == ScenarioOutcome((), ())


def test_retraction_repeats_the_records_that_were_counted(outcome_of: Run) -> None:
    """Of a refused and a mended step of one event id the mended one is taken back, once."""
    outcome = outcome_of(
        usage("1.5", event_id="e1"),
        {"expect_status": "QUANTITY_PRECISION"},
        usage(["2", {"quantity": "3"}], event_id="e1"),
        usage("9", event_id="e2"),
        {"at": "2026-01-20T00:00:00Z", "retract": {"event_id": "e1"}},
        {"expect_status": "ACCEPTED"},
        {"expect_statement": {"total": "18"}},
        {"retract": {"event_id": "e1"}},
        {"expect_status": "DUPLICATE"},
    )
    assert outcome == ScenarioOutcome((), ())


def test_window_of_the_scenario_is_in_force(outcome_of: Run) -> None:
    """Without a window nothing is too old; with one a late record is refused (S7.5)."""
    late = usage("1", at="2026-01-09T00:00:00Z", event_time="2026-01-01T00:00:00Z")
    assert outcome_of(late, {"expect_status": "ACCEPTED"}) == ScenarioOutcome((), ())
    refused = outcome_of(late, {"expect_status": "TOO_OLD"}, acceptance_window="7d")
    assert refused == ScenarioOutcome((), ())


def test_period_that_is_not_there_is_told(outcome_of: Run) -> None:
    """A start inside a period names the period's own; one before the contract is not held."""
    first, second = "2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z"
    outcome = outcome_of(
        {"expect_statement": {"period_start": second, "total": "0"}},
        {"expect_statement": {"period_start": "2025-12-01T00:00:00Z", "total": "0"}},
        {"expect_statement": {"correction": "true", "total": "0"}},
    )
    assert messages(outcome) == [
        (
            "timeline[1]",
            (f"no period starts at {second}: the one that holds it starts at {first}",),
        ),
        ("timeline[2]", ("the customer has no subscription by then",)),
        ("timeline[3]", ("there is nothing to correct",)),
    ]


def test_amount_that_does_not_fit_is_told(outcome_of: Run) -> None:
    """An amount beyond int64 is a difference of the expectation that asks for it (S1.2)."""
    outcome = outcome_of(usage("9000000000000000000"), {"expect_statement": {"total": "0"}})
    ((path, (message,)),) = messages(outcome)
    assert path == "timeline[2]"
    assert message.startswith("OUT_OF_RANGE: ")


def test_correction_statement_after_the_end(outcome_of: Run) -> None:
    """What comes after the last period was finalised stands in a correction, before and after.

    Late records that change no amount are nothing to correct.
    """
    outcome = outcome_of(
        usage("5", at="2026-01-10T00:00:00Z", event_id="e1"),
        {"at": "2026-01-20T00:00:00Z", "cancel": {}},
        {"at": FEBRUARY, "finalize": {}},
        {"expect_statement": {"total": "10"}},
        {"retract": {"event_id": "e1"}},
        {"expect_statement": {"correction": "true", "total": "-10", "lines": {"late": "-10"}}},
        {"finalize": {"correction": "true"}},
        {"expect_statement": {"correction": "true", "total": "-10"}},
        {"expect_statement": {"total": "10"}},
        usage("0", event_time="2026-01-10T00:00:00Z"),
        {"expect_statement": {"correction": "true", "total": "-10"}},
        {"finalize": {"correction": "true"}},
        {"expect_status": "NOTHING_TO_CORRECT"},
    )
    assert outcome == ScenarioOutcome((), ())


def test_balance_tells_expected_and_got(outcome_of: Run) -> None:
    """The balance of a grant is compared as a number; of a refused grant there is none."""
    outcome = outcome_of(
        {"grant": {"id": "g1", "amount": "10"}},
        {"expect_balance": {"grant": "g1", "amount": "10.00"}},
        {"expect_balance": {"grant": "g1", "amount": "9"}},
        {"grant": {"id": "calls", "amount": "10"}},
        {"expect_status": "ID_TAKEN"},
        {"expect_balance": {"grant": "calls", "amount": "0"}},
    )
    assert messages(outcome) == [
        ("timeline[3]", ("balance of g1: expected 9, got 10",)),
        ("timeline[6]", ("there is no grant calls",)),
    ]
