"""`ratewright change-plan` and `ratewright cancel`: what a customer is on, from an instant on."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import click

from ratewright.v1 import customer_service_pb2 as customers
from rating_server.cli.failure import bad_input
from rating_server.cli.online import InstantType, PlanReference, connected, instant_words
from rating_server.cli.output import format_option, print_json, print_rows, target_option
from rating_server.documents import DocumentError, read_document

overrides_option = click.option(
    "--overrides",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="The customer's own prices: a YAML or JSON file in the form of a plan.",
)
id_option = click.option(
    "--id", "subscription_id", default="main", metavar="ID", help="Default: main."
)


def read_overrides(file: Path | None) -> str:
    """Return a file of own prices as JSON, numbers as text; "" for no file (S8.6)."""
    if file is None:
        return ""
    try:
        return json.dumps(read_document(file))
    except DocumentError as error:
        raise bad_input(str(error)) from None


@click.command("change-plan")
@click.argument("customer")
@click.option("--plan", type=PlanReference(), metavar="ID[@VERSION]", help="Default: the same.")
@click.option(
    "--effective",
    type=InstantType(),
    metavar="TIME",
    help="First instant on it, also a past one; default now.",
)
@overrides_option
@id_option
@target_option
@format_option
def change_plan(
    customer: str,
    plan: tuple[str, int | None] | None,
    effective: datetime | None,
    overrides: Path | None,
    subscription_id: str,
    target: str,
    output_format: str,
) -> None:
    """Put a customer on another plan version (default: the latest) from an instant on.

    Usage that is counted already is split again where the instant lies before it.
    """
    plan_id, version = ("", None) if plan is None else plan
    own = read_overrides(overrides)
    with connected(target) as client:
        answer = client.change_plan(
            customer,
            plan_id,
            plan_version=version,
            overrides=own,
            effective_time=effective,
            subscription_id=subscription_id,
        )
    _show(answer.subscription, output_format)


@click.command()
@click.argument("customer")
@click.option("--at", type=InstantType(), metavar="TIME", help="End, exclusive; default now.")
@id_option
@target_option
@format_option
def cancel(
    customer: str, at: datetime | None, subscription_id: str, target: str, output_format: str
) -> None:
    """End a customer's subscription at an instant."""
    with connected(target) as client:
        answer = client.cancel_subscription(customer, end_time=at, subscription_id=subscription_id)
    _show(answer.subscription, output_format)


def _show(subscription: customers.Subscription, output_format: str) -> None:
    phases = [
        {
            "start": _instant(phase, "start_time"),
            "plan": f"{phase.plan_id}@{phase.plan_version}",
            "overrides": bool(phase.overrides),
        }
        for phase in subscription.phases
    ]
    end = _instant(subscription, "end_time")
    if output_format == "json":
        print_json(
            {
                "customer": subscription.customer,
                "id": subscription.id,
                "time_zone": subscription.time_zone,
                "end": end or None,
                "phases": phases,
            }
        )
        return
    if output_format == "csv":
        rows = [
            {
                "start": str(phase["start"]),
                "plan": str(phase["plan"]),
                "overrides": "yes" if phase["overrides"] else "no",
                "end": end,
            }
            for phase in phases
        ]
        print_rows("csv", ("start", "plan", "overrides", "end"), rows)
        return
    for phase in phases:
        own = ", own prices" if phase["overrides"] else ""
        click.echo(f"from {phase['start']}: {phase['plan']}{own}")
    if end:
        click.echo(f"until {end}")


def _instant(message: customers.Subscription | customers.SubscriptionPhase, field: str) -> str:
    if not message.HasField(field):
        return ""
    return instant_words(getattr(message, field).ToDatetime(tzinfo=UTC))
