"""A statement as it is shown: the same for an offline quote and for a server's answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import click

from rating_server.cli.output import print_csv, print_json, print_table


@dataclass(frozen=True, slots=True)
class SliceView:
    """One piece of a line; numbers are decimal text, "" where they do not apply (S4.3).

    ``tier`` counts from 1, as people do.
    """

    kind: str
    amount: str
    tier: str = ""
    quantity: str = ""
    unit_price: str = ""
    percent: str = ""
    flat_fee: str = ""
    label: str = ""

    def words(self) -> str:
        """Return the slice as a calculation: `tier 1: 500000 × 0.0000025 = 1.25`."""
        name = self.label or self.kind.replace("_", " ")
        if self.tier:
            name = f"tier {self.tier}"
        terms = self.quantity
        if terms and self.unit_price:
            terms += f" × {self.unit_price}"
        if self.percent:
            terms = f"{terms} × {self.percent} %" if terms else f"{self.percent} %"
        if self.flat_fee not in ("", "0"):
            terms = f"{terms} + {self.flat_fee}" if terms else self.flat_fee
        if self.kind == "overage":
            return f"{name}: {self.quantity} at factor {self.unit_price} adds {self.amount}"
        if self.kind == "included":
            return f"{name}: {terms} units"
        return f"{name}: {terms} = {self.amount}" if terms else f"{name}: {self.amount}"


@dataclass(frozen=True, slots=True)
class LineView:
    """One explained amount with the statement's scale."""

    id: str
    kind: str
    amount: str
    slices: tuple[SliceView, ...] = ()
    part: str = ""
    """Number of the part of the period that it prices, from 1; "" for the whole period."""
    due: str = ""
    """When it falls due."""


@dataclass(frozen=True, slots=True)
class StatementView:
    """A statement in text. Customer, period and versions are "" for a quote."""

    plan: str
    currency: str
    total: str
    lines: tuple[LineView, ...]
    plan_version: str = ""
    customer: str = ""
    subscription: str = ""
    period_start: str = ""
    period_end: str = ""
    log_version: str = ""
    counters: tuple[dict[str, Any], ...] = ()
    unpriced_meters: tuple[str, ...] = ()
    name: str = ""
    """Resource name of a finalised statement."""
    amount_due: str = ""
    """What is to be paid, where credits come after the total (S10.2)."""
    parts: tuple[dict[str, Any], ...] = ()
    """The parts of the period, each on one plan version (S8.2)."""


def plain(value: Decimal | str | None) -> str:
    """Return a number as text without exponent and trailing zeros; "" for none."""
    if value is None or value == "":
        return ""
    text = format(Decimal(value), "f")
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return "0" if text in ("-0", "") else text


def _document(view: StatementView) -> dict[str, Any]:
    document: dict[str, Any] = {
        name: getattr(view, name)
        for name in (
            "name",
            "customer",
            "subscription",
            "plan",
            "plan_version",
            "period_start",
            "period_end",
            "log_version",
        )
        if getattr(view, name)
    }
    document["currency"] = view.currency
    document["lines"] = [
        {
            "id": line.id,
            "kind": line.kind,
            "amount": line.amount,
            **({"part": line.part} if line.part else {}),
            **({"due": line.due} if line.due else {}),
            "slices": [
                {
                    name: getattr(piece, name)
                    for name in SliceView.__dataclass_fields__
                    if getattr(piece, name)
                }
                for piece in line.slices
            ],
        }
        for line in view.lines
    ]
    document["total"] = view.total
    if view.amount_due:
        document["amount_due"] = view.amount_due
    if view.parts:
        document["parts"] = list(view.parts)
    if view.counters:
        document["counters"] = list(view.counters)
    if view.unpriced_meters:
        document["unpriced_meters"] = list(view.unpriced_meters)
    return document


_CSV_COLUMNS = (
    "row",
    "line",
    "kind",
    "amount",
    "tier",
    "quantity",
    "unit_price",
    "percent",
    "flat_fee",
    "label",
    "part",
)


def _csv_rows(view: StatementView) -> list[list[str]]:
    """Return a row a line, each followed by its slices; the first column tells them apart."""
    rows: list[list[str]] = []
    for line in view.lines:
        rows.append(["line", line.id, line.kind, line.amount, *[""] * 6, line.part])
        rows.extend(
            [
                "slice",
                line.id,
                *[piece.kind, piece.amount, piece.tier, piece.quantity, piece.unit_price],
                *[piece.percent, piece.flat_fee, piece.label, line.part],
            ]
            for piece in line.slices
        )
    rows.append(["total", "", "", view.total, *[""] * 7])
    if view.amount_due not in ("", view.total):
        rows.append(["amount_due", "", "", view.amount_due, *[""] * 7])
    return rows


def _heading(view: StatementView) -> str:
    plan = f"plan {view.plan}" + (f"@{view.plan_version}" if view.plan_version else "")
    parts = [f"customer {view.customer}" if view.customer else "quote", plan]
    if view.period_start:
        parts.append(f"{view.period_start} to {view.period_end}")
    return ", ".join(parts)


def _table_rows(lines: Sequence[LineView]) -> list[list[str]]:
    rows: list[list[str]] = []
    for line in lines:
        words = [piece.words() for piece in line.slices] or [""]
        step = line.kind.replace("_", " ") + (f", part {line.part}" if line.part else "")
        rows.append([line.id, step, line.amount, words[0]])
        rows.extend(["", "", "", more] for more in words[1:])
    return rows


def print_statement(view: StatementView, output_format: str) -> None:
    """Print a statement with its explanation (S4.3): lines, and how each amount came about."""
    if output_format == "json":
        print_json(_document(view))
        return
    if output_format == "csv":
        print_csv(_CSV_COLUMNS, _csv_rows(view))
        return
    click.echo(_heading(view))
    if view.name:
        click.echo(f"finalised as {view.name}")
    if len(view.parts) > 1:
        for part in view.parts:
            plan = f"{part['plan']}@{part['plan_version']}"
            click.echo(f"part {part['part']}: plan {plan}, {part['start']} to {part['end']}")
    columns = ("line", "step", view.currency, "why")
    rows = [*_table_rows(view.lines), ["total", "", view.total, ""]]
    if view.amount_due not in ("", view.total):
        rows.append(["amount due", "", view.amount_due, ""])
    print_table(columns, rows, right=(view.currency,))
    if view.unpriced_meters:
        click.echo(f"used, but priced by no charge: {', '.join(view.unpriced_meters)}")
