"""Scenario files of `ratewright check`: run them, and say what came otherwise (S12.2)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from rating_core.errors import ScenarioInvalid
from rating_core.scenario.document import scenario_from_document
from rating_core.scenario.outcome import Difference, ScenarioOutcome
from rating_core.scenario.run import run_scenario
from rating_core.scenario.steps import Scenario
from rating_core.zone import ZoneTable
from rating_server.cli.offline import view_of_quote
from rating_server.currency import minor_unit
from rating_server.zones import zone_table


def load_scenario(document: object) -> Scenario | list[str]:
    """Return the scenario of a document, or one line per fault."""
    try:
        return scenario_from_document(document, minor_unit, _zone_of)
    except ScenarioInvalid as error:
        return [str(fault) for fault in error.faults]


def _zone_of(name: str) -> ZoneTable | None:
    return zone_table(name)


def run(scenario: Scenario) -> ScenarioOutcome:
    """Return what came of a scenario."""
    return run_scenario(scenario)


def words_of(difference: Difference) -> Iterator[str]:
    """Yield the lines that tell a difference, and how the amounts in question came about (S4.3)."""
    for message in difference.messages:
        yield f"{difference.path}: {message}"
    if difference.statement is None:
        return
    statement = difference.statement
    # Credits after the total are no lines of it, but make up what is due (S10.2).
    view = view_of_quote(replace(statement, lines=statement.lines + statement.credit_lines))
    wanted = difference.line_ids
    for line in view.lines:
        if wanted and line.id not in wanted:
            continue
        yield f"  {line.id} ({line.kind.replace('_', ' ')}) {line.amount} {view.currency}"
        yield from (f"    {piece.words()}" for piece in line.slices)
