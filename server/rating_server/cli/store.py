"""`ratewright store`: the embedded store of a data directory, also when no server holds it."""

from __future__ import annotations

import asyncio
from pathlib import Path

import click

from rating_server.cli.failure import CommandError
from rating_server.cli.output import format_option, print_json, print_rows

_DIRECTORY = click.option(
    "--data-dir",
    envvar="RATEWRIGHT_DATA_DIR",
    default="ratewright-data",
    show_default=True,
    show_envvar=True,
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Data directory of the server.",
)


@click.group()
def store() -> None:
    """Look after the embedded store of a data directory."""


@store.command()
@_DIRECTORY
@format_option
def status(data_dir: Path, output_format: str) -> None:
    """Show what runs in a data directory: RUNNING, ORPHAN (its server is gone) or STOPPED."""
    from rating_server.store.embedded import status as read_status

    if not data_dir.is_dir():
        raise CommandError(f"{data_dir}: no such data directory")
    found = read_status(data_dir)
    row = {
        "data_dir": str(data_dir),
        "state": found.state,
        "server_pid": str(found.server_pid or ""),
        "store_pid": str(found.store_pid or ""),
        "socket": found.socket,
    }
    if output_format == "json":
        print_json(row)
    else:
        print_rows(output_format, list(row), [row])


@store.command()
@_DIRECTORY
def stop(data_dir: Path) -> None:
    """Stop a store whose server is gone; a store in use is left alone (status 1)."""
    from rating_server.ports import StoreRefused
    from rating_server.store.embedded import stop_orphan

    if not data_dir.is_dir():
        raise CommandError(f"{data_dir}: no such data directory")
    try:
        pid = asyncio.run(stop_orphan(data_dir))
    except StoreRefused as error:
        raise CommandError(f"{data_dir}: {error}") from None
    click.echo(f"stopped the store with pid {pid}" if pid else "no store runs")
