"""What came of a scenario: expectations that are not met, and what explains them (S12.2)."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from rating_core.scenario.steps import ExpectStatement
from rating_core.statement import Statement
from rating_core.units import format_decimal


@dataclass(frozen=True, slots=True)
class Difference:
    """One step that did not come out as expected. ``path``: where it stands, as `timeline[3]`.

    ``messages`` say what was expected and what came. ``statement``: what was compared, ``None``
    for other steps; ``line_ids``: the lines that explain the difference, empty for all.
    """

    path: str
    messages: tuple[str, ...]
    statement: Statement | None = None
    line_ids: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ScenarioOutcome:
    """Differences of a scenario, none where it passes, and what is worth a look (`warnings`)."""

    differences: tuple[Difference, ...]
    warnings: tuple[str, ...]


def difference(what: str, expected: Decimal, got: Decimal) -> str:
    """Return one line that tells both amounts."""
    return f"{what}: expected {format_decimal(expected)}, got {format_decimal(got)}"


def compare(path: str, expected: ExpectStatement, statement: Statement) -> Difference | None:
    """Return how a statement differs from what is expected; ``None`` where it does not.

    Amounts compare as numbers; a line that the statement lacks counts as 0 (S4.2).
    """
    messages: list[str] = []
    if expected.total is not None:
        total = statement.amount(statement.total)
        if total != expected.total:
            messages.append(difference("total", expected.total, total))
    if expected.amount_due is not None:
        due = statement.amount(statement.amount_due)
        if due != expected.amount_due:
            messages.append(difference("amount_due", expected.amount_due, due))
    amounts = statement.amount_by_id()
    odd = []
    for name, amount in expected.lines:
        got = amounts.get(name, Decimal(0))
        if got != amount:
            odd.append(name)
            messages.append(difference(f"line {name}", amount, got))
    if not messages:
        return None
    # A line that is not there has nothing to explain: then all lines are shown.
    shown = tuple(name for name in odd if name in amounts)
    return Difference(path, tuple(messages), statement, shown)
