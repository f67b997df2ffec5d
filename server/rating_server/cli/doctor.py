"""`ratewright doctor`: is everything right with a store, and if not, what to do."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from rating_server.cli.failure import CommandError
from rating_server.cli.output import format_option, print_json, print_rows
from rating_server.cli.store_access import (
    StorePlace,
    embedded,
    location_options,
    require_data_directory,
)

if TYPE_CHECKING:
    from rating_server.store.findings import Finding

_COLUMNS = ("state", "check", "where", "found", "remedy")


@click.command()
@location_options
@click.option(
    "--ack-level",
    envvar="RATEWRIGHT_ACK_LEVEL",
    type=click.Choice(["applied", "durable", "replicated"]),
    default="durable",
    show_default=True,
    help="The ack level that shall be reachable.",
)
@click.option(
    "--replicas",
    envvar="RATEWRIGHT_REPLICAS",
    type=click.IntRange(1, 16),
    default=1,
    show_default=True,
    help="Replicas that must confirm at ack level replicated.",
)
@click.option("--trust-store-durability", is_flag=True, help="As `serve` was told.")
@click.option("--json", "as_json", is_flag=True, help="The same as --format json.")
@format_option
def doctor(
    redis_url: str,
    data_dir: Path,
    archive: str,
    ack_level: str,
    replicas: int,
    trust_store_durability: bool,
    as_json: bool,
    output_format: str,
) -> None:
    """Check a store, all its nodes, logs, servers, archive and disk. Changes nothing.

    One line a check: ok, warn or fail, what was found, what to do. Exit status 0 if all is well, 1
    with warnings, 2 if anything fails.
    """
    from rating_server.store.findings import exit_status

    place = StorePlace(redis_url, data_dir, archive)
    found = asyncio.run(_examine(place, ack_level, replicas, trust_store_durability))
    if as_json or output_format == "json":
        print_json([asdict(finding) for finding in found])
    elif output_format == "csv":
        print_rows("csv", _COLUMNS, [asdict(finding) for finding in found])
    else:
        for finding in found:
            remedy = f" -> {finding.remedy}" if finding.remedy else ""
            head = f"{finding.state:<4}  {finding.check} ({finding.where})"
            click.echo(f"{head}: {finding.found}{remedy}")
    status = exit_status(found)
    if status:
        raise CommandError(status=status)


async def _examine(place: StorePlace, ack_level: str, replicas: int, trust: bool) -> list[Finding]:
    from rating_core.metering.log.protocol import AckLevel
    from rating_server.ports import StoreError, StoreRefused
    from rating_server.store.adapter import LinkOptions
    from rating_server.store.archive_place import open_archive
    from rating_server.store.doctor import examine_directory, examine_store
    from rating_server.store.findings import Finding, State

    found: list[Finding] = []
    archive = place.archive
    require_data_directory(place)
    if not place.redis_url:
        found += examine_directory(place.data_dir)
        own = place.data_dir / "archive"
        archive = archive or (str(own) if own.is_dir() else "")
    files = None
    try:
        files = open_archive(archive) if archive else None
    except StoreRefused as error:
        found.append(Finding("archive", "all", State.FAIL, str(error), "correct --archive"))
    async with contextlib.AsyncExitStack() as stack:
        try:
            url = place.redis_url or await stack.enter_async_context(embedded(place.data_dir))
            options = LinkOptions(url=lambda: url)
        except (StoreError, StoreRefused) as error:
            remedy = "look at store.log in the data directory"
            return [*found, Finding("store", "all", State.FAIL, str(error), remedy)]
        found += await examine_store(
            options, files, AckLevel[ack_level.upper()], replicas=replicas, trust=trust
        )
    return found
