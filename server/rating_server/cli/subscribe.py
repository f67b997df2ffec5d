"""`ratewright subscribe`: put customers on a plan."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from hashlib import blake2b
from pathlib import Path

import click

from rating_client.client import Client
from rating_client.errors import InvalidArgument, RatewrightError
from rating_server.cli.entry import EXIT_BAD_INPUT, EXIT_FAILED
from rating_server.cli.failure import CommandError, bad_input, complain
from rating_server.cli.online import (
    InstantType,
    PlanReference,
    connected,
    error_lines,
)
from rating_server.cli.output import format_option, print_json, print_rows, target_option
from rating_server.cli.progress import progress
from rating_server.cli.subscription import overrides_option, read_overrides
from rating_server.documents import DocumentError, read_text

_CALLS_AT_ONCE = 16
_SHOWN = 10


@dataclass(frozen=True, slots=True)
class Terms:
    """What the command says of time and prices: plan, start, zone, anchor, own prices (S8.1)."""

    plan: tuple[str, int | None]
    start: datetime | None
    subscription_id: str = ""
    time_zone: str = ""
    anchor_day: int | None = None
    overrides: str = ""


def _request_id(customer: str, terms: Terms) -> str:
    """Return an id that is the same for the same command, so that repeating it does no harm."""
    plan, start = terms.plan, terms.start
    stated = [customer, plan[0], str(plan[1]), "" if start is None else start.isoformat()]
    anchor = "" if terms.anchor_day is None else str(terms.anchor_day)
    more = [terms.subscription_id, terms.time_zone, anchor, terms.overrides]
    words = "\0".join(stated + (more if any(more) else []))
    return "subscribe-" + blake2b(words.encode(), digest_size=16).hexdigest()


def subscribe_all(
    client: Client,
    customers: Iterable[str],
    terms: Terms,
    on_done: Callable[[int], None],
) -> dict[str, RatewrightError | bool]:
    """Subscribe many customers at once; return for each whether it was there before, or the error.

    ``on_done`` is called with 1 after each.
    """

    def one(customer: str) -> tuple[str, RatewrightError | bool]:
        result: RatewrightError | bool
        try:
            answer = client.create_subscription(
                customer,
                terms.plan[0],
                plan_version=terms.plan[1],
                start_time=terms.start,
                subscription_id=terms.subscription_id,
                time_zone=terms.time_zone,
                anchor_day=terms.anchor_day,
                overrides=terms.overrides,
                request_id=_request_id(customer, terms),
            )
            result = answer.replayed
        except RatewrightError as error:
            result = error
        on_done(1)
        return customer, result

    with ThreadPoolExecutor(_CALLS_AT_ONCE) as pool:
        return dict(pool.map(one, customers))


def _customers(named: tuple[str, ...], file: Path | None) -> list[str]:
    customers = list(named)
    if file is not None:
        try:
            lines = read_text(file).splitlines()
        except DocumentError as error:
            raise bad_input(str(error)) from None
        customers += [line.strip() for line in lines if line.strip()]
    if not customers:
        raise bad_input("no customer given (see `ratewright subscribe --help`)")
    return list(dict.fromkeys(customers))


@click.command()
@click.argument("customers", nargs=-1, metavar="CUSTOMER...")
@click.option("--plan", required=True, type=PlanReference(), metavar="ID[@VERSION]")
@click.option("--start", type=InstantType(), metavar="TIME", help="First instant; default now.")
@click.option("--id", "subscription_id", default="", metavar="ID", help="Default: main.")
@click.option(
    "--time-zone", default="", metavar="NAME", help="IANA zone of its periods; default UTC."
)
@click.option(
    "--anchor-day",
    type=click.IntRange(1, 31),
    metavar="DAY",
    help="Day on which months, quarters and years start; default: as in the calendar.",
)
@overrides_option
@click.option(
    "--from-file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="More customers, one a line.",
)
@target_option
@format_option
def subscribe(
    customers: tuple[str, ...],
    plan: tuple[str, int | None],
    start: datetime | None,
    subscription_id: str,
    time_zone: str,
    anchor_day: int | None,
    overrides: Path | None,
    from_file: Path | None,
    target: str,
    output_format: str,
) -> None:
    """Put customers on a plan version (default: the latest) from an instant on.

    The same command again changes nothing.
    """
    names = _customers(customers, from_file)
    own = read_overrides(overrides)
    terms = Terms(plan, start, subscription_id, time_zone, anchor_day, own)
    with connected(target) as client, progress("subscribing", len(names), "customers") as advance:
        results = subscribe_all(client, names, terms, advance)
    failures = {
        name: result for name, result in results.items() if isinstance(result, RatewrightError)
    }
    before = sum(1 for result in results.values() if result is True)
    created = len(names) - len(failures) - before
    if output_format == "json":
        print_json({"created": created, "existing": before, "failed": len(failures)})
    elif output_format == "csv":
        row = {"created": str(created), "existing": str(before), "failed": str(len(failures))}
        print_rows("csv", tuple(row), [row])
    else:
        click.echo(f"{created} subscribed, {before} were already, {len(failures)} failed")
    for name, error in list(failures.items())[:_SHOWN]:
        for line in error_lines(error, target):
            complain(f"{name}: {line}")
    if failures:
        more = len(failures) - _SHOWN
        lines = [f"and {more} more customers failed"] if more > 0 else []
        wrong = all(isinstance(error, InvalidArgument) for error in failures.values())
        raise CommandError(*lines, status=EXIT_BAD_INPUT if wrong else EXIT_FAILED)
