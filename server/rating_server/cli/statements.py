"""`ratewright statement`: preview, finalise, list, show and verify statements (S9)."""

from __future__ import annotations

from datetime import datetime

import click

from rating_client.contract_values import StatementFailure
from rating_client.values import Statement
from rating_server.cli.account import view_of_statement
from rating_server.cli.failure import CommandError, bad_input
from rating_server.cli.online import InstantType, connected, instant_words
from rating_server.cli.output import format_option, print_json, print_rows, target_option
from rating_server.cli.statement_view import print_statement

_SUBSCRIPTION = click.option(
    "--subscription",
    default="",
    metavar="ID",
    help="The subscription; default the one that is active now, or else the last.",
)
_PERIOD = click.option(
    "--period", type=InstantType(), metavar="TIME", help="Start of the billing period."
)
_COLUMNS = ("number", "start", "end", "total", "booked", "name")


class StatementGroup(click.Group):
    """A group whose first word may be a customer: then it previews."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Put `preview` before a customer."""
        if args and not args[0].startswith("-") and args[0] not in self.commands:
            args = ["preview", *args]
        return super().parse_args(ctx, args)


@click.group(cls=StatementGroup)
def statement() -> None:
    """Preview, finalise, list, show and verify statements. `statement CUSTOMER` previews."""


@statement.command()
@click.argument("customer")
@click.option(
    "--time", type=InstantType(), metavar="TIME", help="An instant within the period; default now."
)
@click.option(
    "--as-of",
    type=InstantType(),
    metavar="TIME",
    help="As it stood at an earlier instant, read from the log; default now.",
)
@click.option("--correction", is_flag=True, help="What came after the last period was finalised.")
@_SUBSCRIPTION
@target_option
@format_option
def preview(
    customer: str,
    time: datetime | None,
    as_of: datetime | None,
    correction: bool,
    subscription: str,
    target: str,
    output_format: str,
) -> None:
    """Show what a customer's billing period costs if it ended now, and how it comes about.

    A period that is finalised shows its statement.
    """
    with connected(target) as client:
        found = client.preview_statement(
            customer, time, as_of=as_of, subscription_id=subscription, correction=correction
        )
    print_statement(view_of_statement(found), output_format)


@statement.command()
@click.argument("customer", required=False)
@_PERIOD
@click.option("--correction", is_flag=True, help="What came after the last period was finalised.")
@click.option("--all", "every", is_flag=True, help="All customers that are due.")
@click.option("--until", type=InstantType(), metavar="TIME", help="With --all: latest period end.")
@click.option("--plan", default="", metavar="ID", help="With --all: only customers on this plan.")
@_SUBSCRIPTION
@target_option
@format_option
def finalize(
    customer: str | None,
    period: datetime | None,
    correction: bool,
    every: bool,
    until: datetime | None,
    plan: str,
    subscription: str,
    target: str,
    output_format: str,
) -> None:
    """Finalise a customer's billing period, by default the one that ended last; or all with --all.

    In order and once: the same command again shows the same statement.
    """
    if every == (customer is not None):
        raise bad_input("expected a customer, or --all")
    if every:
        _finalize_all(until, plan, target, output_format)
        return
    with connected(target) as client:
        found = client.finalize_statement(
            customer or "", period, subscription_id=subscription, correction=correction
        )
    print_statement(view_of_statement(found), output_format)


def _finalize_all(until: datetime | None, plan: str, target: str, output_format: str) -> None:
    count = 0
    failures: list[StatementFailure] = []
    with connected(target) as client:
        for chunk in client.finalize_statements(until, plan_id=plan):
            count += len(chunk.customers)
            failures += chunk.failures
    if output_format == "json":
        shown = [{"customer": f.customer, "reason": f.reason} for f in failures]
        print_json({"finalized": count, "failed": shown})
    elif output_format == "csv":
        row = {"finalized": str(count), "failed": str(len(failures))}
        print_rows("csv", tuple(row), [row])
    else:
        click.echo(f"{count} statements finalised, {len(failures)} failed")
    if failures:
        raise CommandError(*[f"{f.customer}: {f.message}" for f in failures[:10]])


def _row(found: Statement) -> dict[str, str]:
    return {
        "number": str(found.number),
        "start": instant_words(found.period_start),
        "end": instant_words(found.period_end),
        "total": format(found.total, "f"),
        "booked": format(found.total_before_credits, "f"),
        "name": found.name,
    }


@statement.command(name="list")
@click.argument("customer")
@_SUBSCRIPTION
@target_option
@format_option
def list_(customer: str, subscription: str, target: str, output_format: str) -> None:
    """List a customer's finalised statements: what each said, and what stands booked since."""
    with connected(target) as client:
        found = list(client.list_statements(customer, subscription_id=subscription))
    rows = [_row(one) for one in found]
    print_rows(output_format, _COLUMNS, rows, right=("number", "total", "booked"))


@statement.command()
@click.argument("customer")
@_PERIOD
@_SUBSCRIPTION
@target_option
@format_option
def show(
    customer: str, period: datetime | None, subscription: str, target: str, output_format: str
) -> None:
    """Show a finalised statement: the last one, or that of a period. CUSTOMER may be its name."""
    with connected(target) as client:
        if "/statements/" in customer:
            found = client.get_statement(name=customer)
        else:
            found = client.get_statement(customer, period, subscription_id=subscription)
    print_statement(view_of_statement(found), output_format)


@statement.command()
@click.argument("customer")
@_PERIOD
@click.option("--from-log", is_flag=True, help="Count the customer's records anew, too.")
@_SUBSCRIPTION
@target_option
@format_option
def verify(
    customer: str,
    period: datetime | None,
    from_log: bool,
    subscription: str,
    target: str,
    output_format: str,
) -> None:
    """Recompute a finalised statement from what its entry names, bit for bit; say what differs.

    CUSTOMER may be the statement's name. Exit status 1 if anything differs.
    """
    with connected(target) as client:
        name = customer
        if "/statements/" not in customer:
            name = client.get_statement(customer, period, subscription_id=subscription).name
        found = client.verify_statement(name, from_log=from_log)
    rows = [
        {"path": path, "finalised": held, "recomputed": made}
        for path, held, made in found.differences
    ]
    if output_format != "table" or rows:
        print_rows(output_format, ("path", "finalised", "recomputed"), rows)
    else:
        click.echo(f"{name}: recomputed, {found.statement.total} as finalised")
    if rows:
        raise CommandError(f"{name}: {len(rows)} values differ")
