"""What the command line shows of a statement: parts, due times, what is due after credits."""

from __future__ import annotations

import csv
import io
import json
from datetime import UTC, datetime
from decimal import Decimal
from fractions import Fraction

import pytest

from rating_client.values import Statement, StatementLine, StatementPart
from rating_server.cli.account import view_of_statement
from rating_server.cli.statement_view import print_statement

_START = datetime(2026, 1, 1, tzinfo=UTC)
_CHANGE = datetime(2026, 1, 16, 12, tzinfo=UTC)
_END = datetime(2026, 2, 1, tzinfo=UTC)
_HALF = Fraction(1, 2)


def _statement() -> Statement:
    parts = (
        StatementPart(_START, _CHANGE, "one", 1, "", _HALF, _HALF),
        StatementPart(_CHANGE, _END, "two", 3, "", _HALF, _HALF),
    )
    lines = (
        StatementLine("calls", "model", Decimal("2.00"), part=0, due_time=_END),
        StatementLine("calls", "model", Decimal("5.00"), part=1, due_time=_END),
    )
    return Statement(
        *("acme", "two", 3, "main", "USD", 2, _START, _END),
        lines=lines,
        total=Decimal("7.00"),
        amount_due=Decimal("4.00"),
        parts=parts,
        credit_lines=(StatementLine("g1", "credit", Decimal("-3.00"), due_time=_END),),
    )


def test_the_table_names_the_parts(capsys: pytest.CaptureFixture[str]) -> None:
    """Lines of one charge in two parts are told apart, and what the parts are (S8.2)."""
    print_statement(view_of_statement(_statement()), "table")
    shown = capsys.readouterr().out
    assert "part 2: plan two@3, 2026-01-16T12:00:00Z to 2026-02-01T00:00:00Z" in shown
    assert "calls       model, part 1   2.00" in shown
    assert "calls       model, part 2   5.00" in shown
    assert shown.splitlines()[-1].split() == ["amount", "due", "4.00"]


def test_csv_ends_with_what_is_due(capsys: pytest.CaptureFixture[str]) -> None:
    """Where credits come after the total, CSV says what is due as well (S10.2)."""
    print_statement(view_of_statement(_statement()), "csv")
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [(row["row"], row["amount"], row["part"]) for row in rows] == [
        ("line", "2.00", "1"),
        ("line", "5.00", "2"),
        ("line", "-3.00", ""),
        ("total", "7.00", ""),
        ("amount_due", "4.00", ""),
    ]


def test_json_names_plan_versions_and_parts(capsys: pytest.CaptureFixture[str]) -> None:
    """JSON holds each part's plan version and bounds, each line's part and due time (S9.5)."""
    print_statement(view_of_statement(_statement()), "json")
    shown = json.loads(capsys.readouterr().out)
    assert [(one["plan"], one["plan_version"]) for one in shown["parts"]] == [
        ("one", "1"),
        ("two", "3"),
    ]
    assert shown["parts"][1]["start"] == "2026-01-16T12:00:00Z"
    assert [line.get("part") for line in shown["lines"]] == ["1", "2", None]
    assert {line["due"] for line in shown["lines"]} == {"2026-02-01T00:00:00Z"}
