"""`ratewright subscribe`: put customers on a plan."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from hashlib import blake2b
from pathlib import Path

import click

from rating_client.client import Client
from rating_client.errors import RatewrightError
from rating_server.cli.failure import CommandError, bad_input, complain
from rating_server.cli.online import (
    InstantType,
    PlanReference,
    connected,
    error_lines,
)
from rating_server.cli.output import format_option, print_json, target_option
from rating_server.cli.progress import progress
from rating_server.documents import DocumentError, read_text

_CALLS_AT_ONCE = 16
_SHOWN = 10


def _request_id(customer: str, plan: tuple[str, int | None], start: datetime | None) -> str:
    """Return an id that is the same for the same command, so that repeating it does no harm."""
    words = "\0".join([customer, plan[0], str(plan[1]), "" if start is None else start.isoformat()])
    return "subscribe-" + blake2b(words.encode(), digest_size=16).hexdigest()


def subscribe_all(
    client: Client,
    customers: Iterable[str],
    plan: tuple[str, int | None],
    start: datetime | None,
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
                plan[0],
                plan_version=plan[1],
                start_time=start,
                request_id=_request_id(customer, plan, start),
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
    from_file: Path | None,
    target: str,
    output_format: str,
) -> None:
    """Put customers on a plan version (default: the latest) from an instant on.

    The same command again changes nothing.
    """
    names = _customers(customers, from_file)
    with connected(target) as client, progress("subscribing", len(names), "customers") as advance:
        results = subscribe_all(client, names, plan, start, advance)
    failures = {
        name: result for name, result in results.items() if isinstance(result, RatewrightError)
    }
    before = sum(1 for result in results.values() if result is True)
    created = len(names) - len(failures) - before
    if output_format == "json":
        print_json({"created": created, "existing": before, "failed": len(failures)})
    else:
        click.echo(f"{created} subscribed, {before} were already, {len(failures)} failed")
    for name, error in list(failures.items())[:_SHOWN]:
        for line in error_lines(error, target):
            complain(f"{name}: {line}")
    if failures:
        more = len(failures) - _SHOWN
        raise CommandError(*([f"and {more} more customers failed"] if more > 0 else []))
