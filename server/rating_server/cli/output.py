"""Data output of all commands: aligned tables for people, JSON and CSV for programs."""

from __future__ import annotations

import csv
import io
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import click

from rating_server.cli.app import Globals
from rating_server.cli.failure import printable

F = TypeVar("F", bound=Callable[..., Any])

_FORMATS = click.Choice(["table", "json", "csv"])


def _globals(context: click.Context) -> Globals:
    found = context.find_object(Globals)
    return found if found is not None else Globals()


def _keep_format(context: click.Context, _: click.Parameter, value: str | None) -> str:
    return value or _globals(context).output_format


def _keep_target(context: click.Context, _: click.Parameter, value: str | None) -> str:
    return value or _globals(context).target


def format_option(command: F) -> F:
    """Give a command `--format`; what stands before the command's name is the default."""
    option = click.option(
        "--format", "output_format", type=_FORMATS, callback=_keep_format, help="How data is shown."
    )
    return option(command)


def target_option(command: F) -> F:
    """Give a command `--target`; the default is the group's, or RATEWRIGHT_TARGET."""
    option = click.option(
        "--target", metavar="HOST:PORT", callback=_keep_target, help="The server."
    )
    return option(command)


def print_json(document: object) -> None:
    """Print a document as indented JSON; amounts and quantities in it are text."""
    click.echo(json.dumps(document, indent=2, ensure_ascii=False))


def print_csv(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a header and rows as CSV."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)
    click.echo(buffer.getvalue(), nl=False)


def print_table(
    columns: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[str] = ()
) -> None:
    """Print aligned columns; those named in ``right`` are numbers and stand to the right."""
    rows = [[printable(cell) for cell in row] for row in rows]
    if sys.stdout.isatty():
        _print_rich(columns, rows, right)
        return
    cells = [list(columns), *rows]
    widths = [max(len(row[index]) for row in cells) for index in range(len(columns))]
    for row in cells:
        line = "  ".join(
            cell.rjust(width) if column in right else cell.ljust(width)
            for cell, width, column in zip(row, widths, columns, strict=True)
        )
        click.echo(line.rstrip())


def _print_rich(
    columns: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[str]
) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        table.add_column(column, justify="right" if column in right else "left")
    for row in rows:
        table.add_row(*[Text(cell) for cell in row])
    Console().print(table)


def print_rows(
    output_format: str,
    columns: Sequence[str],
    rows: Sequence[Mapping[str, str]],
    right: Sequence[str] = (),
) -> None:
    """Print rows of text in the format asked for; JSON gets a list of objects."""
    if output_format == "json":
        print_json([dict(row) for row in rows])
        return
    cells = [[row.get(column, "") for column in columns] for row in rows]
    if output_format == "csv":
        print_csv(columns, cells)
    else:
        print_table(columns, cells, right)
