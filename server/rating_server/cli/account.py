"""`ratewright usage`: what a customer used; and a server's statement as it is shown."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import click

from rating_client.values import Counter, Statement, StatementPart, StatementSlice
from rating_server.cli.failure import bad_input
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
    if counter.latest_time is not None:
        document["latest_time"] = instant_words(counter.latest_time)
    if counter.exact_value is not None:
        document["exact_value"] = str(counter.exact_value)
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


_COLUMNS = ("meter", "dimensions", "value", "events")


def _counter_row(counter: Counter) -> dict[str, str]:
    return {
        "meter": counter.meter,
        "dimensions": _dimension_words(counter),
        "value": format(counter.value, "f"),
        "events": str(counter.event_count),
    }


@click.command()
@click.argument("customer")
@_TIME
@click.option("--history", is_flag=True, help="Show time buckets, of meters that keep them.")
@click.option(
    "--from",
    "start",
    type=InstantType(),
    metavar="TIME",
    help="Start of the history; default: that of the billing period.",
)
@click.option(
    "--to", "end", type=InstantType(), metavar="TIME", help="End of the history; default: now."
)
@click.option("--meter", metavar="METER", help="The history of one meter.")
@target_option
@format_option
def usage(
    customer: str,
    time: datetime | None,
    history: bool,
    start: datetime | None,
    end: datetime | None,
    meter: str | None,
    target: str,
    output_format: str,
) -> None:
    """Show what is counted for a customer in one billing period, exact at this instant."""
    if history:
        if time is not None:
            raise bad_input("--time: not with --history: give --from and --to")
        _show_history(customer, start, end, meter, target, output_format)
        return
    for flag, value in (("--from", start), ("--to", end), ("--meter", meter)):
        if value is not None:
            raise bad_input(f"{flag}: only with --history")
    with connected(target) as client:
        found = client.get_usage(customer, time)
    first, last = instant_words(found.period_start), instant_words(found.period_end)
    if output_format == "json":
        print_json(
            {
                "customer": found.customer,
                "subscription": found.subscription_id,
                "period_start": first,
                "period_end": last,
                "counters": [_counter_document(counter) for counter in found.counters],
                "log_version": str(found.log_version),
            }
        )
        return
    rows = [_counter_row(counter) for counter in found.counters]
    if output_format == "csv":
        print_rows("csv", _COLUMNS, rows)
        return
    click.echo(f"customer {found.customer}, {first} to {last}")
    print_table(_COLUMNS, [list(row.values()) for row in rows], right=("value", "events"))


def _show_history(
    customer: str,
    start: datetime | None,
    end: datetime | None,
    meter: str | None,
    target: str,
    output_format: str,
) -> None:
    with connected(target) as client:
        found = list(client.list_usage(customer, start, end, meter=meter, page_size=1_000))
    spans = [(instant_words(b.start_time), instant_words(b.end_time)) for b in found]
    if output_format == "json":
        buckets = [
            {"start": first, "end": last, **_counter_document(bucket.counter)}
            for (first, last), bucket in zip(spans, found, strict=True)
        ]
        print_json({"customer": customer, "buckets": buckets})
        return
    rows = [
        {"start": first, "end": last, **_counter_row(bucket.counter)}
        for (first, last), bucket in zip(spans, found, strict=True)
    ]
    print_rows(output_format, ("start", "end", *_COLUMNS), rows, right=("value", "events"))


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


def _part_document(number: int, part: StatementPart) -> dict[str, Any]:
    document: dict[str, Any] = {
        "part": str(number),
        "plan": part.plan_id,
        "plan_version": str(part.plan_version),
        "start": instant_words(part.start_time),
        "end": instant_words(part.end_time),
        "share_by_second": str(part.share_by_second),
        "share_by_day": str(part.share_by_day),
    }
    if part.overrides:
        document["overrides"] = part.overrides
    if part.counters:
        document["counters"] = [_counter_document(counter) for counter in part.counters]
    return document


def view_of_statement(found: Statement) -> StatementView:
    """Return the view of a server's statement, amounts with the statement's scale."""
    several = len(found.parts) > 1
    lines = tuple(
        LineView(
            line.id,
            line.kind,
            format(line.amount, "f"),
            tuple(_slice_view(piece) for piece in line.slices),
            part="" if line.part is None or not several else str(line.part + 1),
            due=instant_words(line.due_time),
        )
        for line in (*found.lines, *found.credit_lines)
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
        name=found.name,
        amount_due=format(found.amount_due, "f"),
        parts=tuple(_part_document(n, part) for n, part in enumerate(found.parts, 1)),
    )
