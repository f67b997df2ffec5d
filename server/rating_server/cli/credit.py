"""`ratewright credit` and `ratewright promote`: grants, balances, promotions (S10)."""

from __future__ import annotations

from datetime import datetime

import click

from ratewright.v1 import credit_pb2
from rating_client.calls import instant_of, word_of
from rating_server.cli.online import DecimalType, InstantType, connected, instant_words
from rating_server.cli.output import format_option, print_rows, target_option

_SUBSCRIPTION = click.option(
    "--subscription",
    default="",
    metavar="ID",
    help="The subscription; default the one that is active now, or else the last.",
)
_REQUEST = click.option(
    "--request-id", metavar="ID", help="The same id again gets the earlier answer."
)
_GRANT_COLUMNS = ("grant", "kind", "amount", "drawn", "balance", "effective", "expires", "void")
_KINDS = ("allowance_multiplier", "percent_off", "amount_off", "overage_percent_off")


@click.group()
def credit() -> None:
    """Grant and void credits, show their balances."""


def _grant_row(grant: credit_pb2.Grant) -> dict[str, str]:
    return {
        "grant": grant.id,
        "kind": word_of(credit_pb2.GrantKind.DESCRIPTOR, grant.kind),
        "amount": grant.amount,
        "drawn": grant.drawn,
        "balance": grant.balance,
        "effective": instant_words(instant_of(grant, "effective_time")),
        "expires": instant_words(instant_of(grant, "expire_time")),
        "void": instant_words(instant_of(grant, "void_time")),
    }


def _show(grants: list[credit_pb2.Grant], output_format: str) -> None:
    rows = [_grant_row(one) for one in grants]
    print_rows(output_format, _GRANT_COLUMNS, rows, right=("amount", "drawn", "balance"))


@credit.command()
@click.argument("customer")
@click.argument("grant_id", metavar="GRANT")
@click.argument("amount", type=DecimalType())
@click.option("--kind", type=click.Choice(["prepaid", "bonus"]), default="prepaid")
@click.option("--priority", type=int, help="Lower is drawn first; default 50.")
@click.option("--effective", type=InstantType(), metavar="TIME", help="Valid from; default now.")
@click.option("--expires", type=InstantType(), metavar="TIME", help="Valid until; default ever.")
@click.option("--covers", multiple=True, metavar="CHARGE", help="A charge that it may pay.")
@_SUBSCRIPTION
@_REQUEST
@target_option
@format_option
def grant(
    customer: str,
    grant_id: str,
    amount: str,
    kind: str,
    priority: int | None,
    effective: datetime | None,
    expires: datetime | None,
    covers: tuple[str, ...],
    subscription: str,
    request_id: str | None,
    target: str,
    output_format: str,
) -> None:
    """Grant a credit."""
    with connected(target) as client:
        answer = client.create_grant(
            customer,
            grant_id,
            amount,
            kind=kind,
            priority=priority,
            effective=effective,
            expires=expires,
            covers=covers,
            subscription_id=subscription,
            request_id=request_id,
        )
    _show([answer.grant], output_format)


@credit.command()
@click.argument("customer")
@click.argument("grant_id", metavar="GRANT")
@_SUBSCRIPTION
@_REQUEST
@target_option
@format_option
def void(
    customer: str,
    grant_id: str,
    subscription: str,
    request_id: str | None,
    target: str,
    output_format: str,
) -> None:
    """End a grant at once: it pays no more."""
    with connected(target) as client:
        answer = client.void_grant(
            customer, grant_id, subscription_id=subscription, request_id=request_id
        )
    _show([answer.grant], output_format)


@credit.command()
@click.argument("customer")
@click.option("--time", type=InstantType(), metavar="TIME", help="At this instant; default now.")
@_SUBSCRIPTION
@target_option
@format_option
def balance(
    customer: str, time: datetime | None, subscription: str, target: str, output_format: str
) -> None:
    """Show a customer's grants, and what each can still pay."""
    with connected(target) as client:
        found = list(client.list_grants(customer, time, subscription_id=subscription))
    _show(found, output_format)


@click.command()
@click.argument("customer")
@click.argument("promotion_id", metavar="PROMOTION")
@click.argument("kind", type=click.Choice(_KINDS))
@click.argument("value", type=DecimalType())
@click.option("--start", type=InstantType(), metavar="TIME", help="From when on; default now.")
@click.option("--charge", "charges", multiple=True, metavar="CHARGE", help="Default: all charges.")
@click.option("--periods", type=int, help="For how many billing periods.")
@click.option("--until", type=InstantType(), metavar="TIME", help="Until when; not with --periods.")
@_SUBSCRIPTION
@_REQUEST
@target_option
@format_option
def promote(
    customer: str,
    promotion_id: str,
    kind: str,
    value: str,
    start: datetime | None,
    charges: tuple[str, ...],
    periods: int | None,
    until: datetime | None,
    subscription: str,
    request_id: str | None,
    target: str,
    output_format: str,
) -> None:
    """Give a customer a promotion."""
    with connected(target) as client:
        made = client.create_promotion(
            customer,
            promotion_id,
            kind,
            value,
            start=start,
            charges=charges,
            periods=periods,
            until=until,
            subscription_id=subscription,
            request_id=request_id,
        ).promotion
    row = {
        "promotion": made.id,
        "kind": kind,
        "value": made.value,
        "start": instant_words(instant_of(made, "start_time")),
    }
    print_rows(output_format, tuple(row), [row], right=("value",))
