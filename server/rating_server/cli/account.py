"""`ratewright usage` and `ratewright statement`: what a customer used, what it costs, and why."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import click

from rating_client.values import Counter, Statement, StatementSlice
from rating_server.cli.online import InstantType, connected, instant_words
from rating_server.cli.output import (
    format_option,
    print_json,
    print_rows,
    print_table,
    target_option,
)
from rating_server.cli.statement_view import (
    LineView,
    SliceView,
    StatementView,
    plain,
    print_statement,
)

_TIME = click.option(
    "--time",
    type=InstantType(),
    metavar="TIME",
    help="An instant within the period; default now.",
)


def _dimension_words(counter: Counter) -> str:
    return ", ".join(f"{name}={value}" for name, value in sorted(counter.dimensions.items()))


def _counter_document(counter: Counter) -> dict[str, Any]:
    document: dict[str, Any] = {
        "meter": counter.meter,
        "dimensions": dict(sorted(counter.dimensions.items())),
        "value": format(counter.value, "f"),
        "event_count": str(counter.event_count),
    }
    if counter.bands:
        document["bands"] = [
            {
                "charge": band.charge,
                "floor_event_count": str(band.floor_event_count),
                "ceiling_event_count": str(band.ceiling_event_count),
                "between_sum": format(band.between_sum, "f"),
            }
            for band in counter.bands
        ]
    return document


@click.command()
@click.argument("customer")
@_TIME
@target_option
@format_option
def usage(customer: str, time: datetime | None, target: str, output_format: str) -> None:
    """Show what is counted for a customer in one billing period, exact at this instant."""
    with connected(target) as client:
        found = client.get_usage(customer, time)
    start, end = instant_words(found.period_start), instant_words(found.period_end)
    if output_format == "json":
        print_json(
            {
                "customer": found.customer,
                "subscription": found.subscription_id,
                "period_start": start,
                "period_end": end,
                "counters": [_counter_document(counter) for counter in found.counters],
                "log_version": str(found.log_version),
            }
        )
        return
    columns = ("meter", "dimensions", "value", "events")
    rows = [
        {
            "meter": counter.meter,
            "dimensions": _dimension_words(counter),
            "value": format(counter.value, "f"),
            "events": str(counter.event_count),
        }
        for counter in found.counters
    ]
    if output_format == "csv":
        print_rows("csv", columns, rows)
        return
    click.echo(f"customer {found.customer}, {start} to {end}")
    print_table(columns, [list(row.values()) for row in rows], right=("value", "events"))


def _slice_view(piece: StatementSlice) -> SliceView:
    return SliceView(
        kind=piece.kind,
        amount=plain(piece.amount),
        tier="" if piece.tier is None else str(piece.tier + 1),
        quantity=plain(piece.quantity),
        unit_price=plain(piece.unit_price),
        percent=plain(piece.percent),
        flat_fee=plain(piece.flat_fee),
        label=piece.label,
    )


def view_of_statement(found: Statement) -> StatementView:
    """Return the view of a server's statement, amounts with the statement's scale."""
    lines = tuple(
        LineView(
            line.id,
            line.kind,
            format(line.amount, "f"),
            tuple(_slice_view(piece) for piece in line.slices),
        )
        for line in found.lines
    )
    return StatementView(
        plan=found.plan_id,
        plan_version=str(found.plan_version or ""),
        customer=found.customer,
        subscription=found.subscription_id,
        currency=found.currency,
        period_start=instant_words(found.period_start),
        period_end=instant_words(found.period_end),
        log_version=str(found.log_version or ""),
        total=format(found.total, "f"),
        lines=lines,
        counters=tuple(_counter_document(counter) for counter in found.counters),
        unpriced_meters=found.unpriced_meters,
    )


@click.command()
@click.argument("customer")
@_TIME
@target_option
@format_option
def statement(customer: str, time: datetime | None, target: str, output_format: str) -> None:
    """Show what a customer's billing period costs if it ended now, and how it comes about."""
    with connected(target) as client:
        found = client.preview_statement(customer, time)
    print_statement(view_of_statement(found), output_format)
