"""Plan and usage files priced on this machine, without a server (S4.1: by the same pipeline)."""

from __future__ import annotations

import csv
import io
import re
import sys
from collections.abc import Iterable
from pathlib import Path

from rating_core.catalog import Plan, Usage
from rating_core.errors import Fault, OutOfRange, PlanInvalid, UsageInvalid
from rating_core.pipeline import rate_statement
from rating_core.plan.document import plan_from_document
from rating_core.statement import Slice, Statement
from rating_core.usage import counters_from_usage, usage_from_document
from rating_server.cli.failure import CommandError, bad_input
from rating_server.cli.statement_view import LineView, SliceView, StatementView, plain
from rating_server.currency import minor_unit
from rating_server.documents import (
    SIZE_MAX,
    DocumentError,
    decode_text,
    parse_document,
    read_document,
    read_text,
)


def fault_lines(name: str, faults: Iterable[Fault]) -> list[str]:
    """Return one line per fault: `file: path: message`."""
    return [f"{name}: {fault}" for fault in faults]


def load_plan(path: Path) -> Plan:
    """Return the plan of a file; ends the command with a line per fault (status 2)."""
    try:
        return plan_from_document(read_document(path), minor_unit)
    except DocumentError as error:
        raise bad_input(str(error)) from None
    except PlanInvalid as error:
        raise bad_input(fault_lines(str(path), error.faults)) from None


def _usage_text(name: str) -> str:
    if name != "-":
        return read_text(Path(name))
    return decode_text(sys.stdin.buffer.read(SIZE_MAX + 1), name)


def load_usage(plan: Plan, name: str, input_format: str | None) -> Usage:
    """Return the usage of a file or, for `-`, of standard input (S6.5).

    ``input_format`` is `csv` or `document`, by default as the name's suffix says. Ends the command
    with a line per fault (status 2).
    """
    is_csv = input_format == "csv" or (input_format is None and name.lower().endswith(".csv"))
    try:
        text = _usage_text(name)
        if is_csv:
            return _usage_from_csv(plan, text, name)
        return usage_from_document(plan, parse_document(text, name))
    except DocumentError as error:
        raise bad_input(str(error)) from None
    except UsageInvalid as error:
        raise bad_input(fault_lines(name, error.faults)) from None


def _usage_from_csv(plan: Plan, text: str, name: str) -> Usage:
    """Read columns meter, quantity and, all others, dimensions; a blank cell has no value."""
    reader = csv.DictReader(io.StringIO(text), strict=True)
    document: dict[str, list[object]] = {}
    lines: dict[str, int] = {}
    try:
        columns = list(reader.fieldnames or [])
        missing = [column for column in ("meter", "quantity") if column not in columns]
        if missing:
            raise DocumentError(name, f"no column {' and no column '.join(missing)}", 1)
        if len(set(columns)) != len(columns):
            raise DocumentError(name, "two columns have the same name", 1)
        for row in reader:
            if None in row or None in row.values():
                message = f"expected {len(columns)} columns"
                raise DocumentError(name, message, reader.line_num)
            entries = document.setdefault(row["meter"], [])
            lines[f"usage.{row['meter']}[{len(entries)}]"] = reader.line_num
            lines.setdefault(f"usage.{row['meter']}", reader.line_num)
            entries.append(_csv_entry(row))
    except csv.Error as error:
        raise DocumentError(name, f"not CSV: {error}", reader.line_num) from None
    try:
        return usage_from_document(plan, document)
    except UsageInvalid as error:
        raise bad_input(_at_lines(name, error.faults, lines)) from None


def _csv_entry(row: dict[str, str]) -> object:
    """Return a quantity that matches every `where` if the file has no dimension columns."""
    names = [column for column in row if column not in ("meter", "quantity")]
    if not names:
        return row["quantity"]
    dimensions = {column: row[column] for column in names if row[column]}
    return {"quantity": row["quantity"], "dimensions": dimensions}


def _at_lines(name: str, faults: Iterable[Fault], lines: dict[str, int]) -> list[str]:
    """Return a line per fault that names the file's line instead of a place in a tree."""
    found = []
    for fault in faults:
        entry = re.match(r".*\[\d+\]", fault.path)
        place = entry[0] if entry else fault.path
        line = lines.get(place)
        words = fault.path[len(place) :].lstrip(".") or place.removeprefix("usage.")
        where = f"{name}:{line}" if line is not None else name
        found.append(f"{where}: {words}: {fault.message}")
    return found


def quote(plan: Plan, usage: Usage) -> Statement:
    """Return the statement of stated usage; OutOfRange if an amount does not fit (S1.2)."""
    return rate_statement(plan, counters_from_usage(plan, usage))


def quote_or_end(plan: Plan, usage: Usage) -> Statement:
    """Return the statement; an amount that does not fit ends the command (status 1)."""

    try:
        return quote(plan, usage)
    except OutOfRange as error:
        raise CommandError(f"plan {plan.id}: {error}") from None


def _slice_view(piece: Slice) -> SliceView:
    return SliceView(
        kind=piece.kind.value,
        amount=plain(piece.amount),
        tier="" if piece.tier is None else str(piece.tier + 1),
        quantity=plain(piece.quantity),
        unit_price=plain(piece.unit_price),
        percent=plain(piece.percent),
        flat_fee=plain(piece.flat_fee),
        label=piece.label,
    )


def view_of_quote(statement: Statement) -> StatementView:
    """Return the view of a statement of the core, amounts with the statement's scale."""
    lines = tuple(
        LineView(
            line.id,
            line.kind.value,
            format(statement.amount(line.amount), "f"),
            tuple(_slice_view(piece) for piece in line.slices),
        )
        for line in statement.lines
    )
    return StatementView(
        plan=statement.plan_id,
        currency=statement.currency,
        total=format(statement.amount(statement.total), "f"),
        lines=lines,
        unpriced_meters=statement.unpriced_meters,
    )
