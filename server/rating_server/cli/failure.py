"""How a command fails: one clear line per mistake on standard error, and an exit status."""

from __future__ import annotations

from collections.abc import Iterable

import click

from rating_server.cli.entry import EXIT_BAD_INPUT, EXIT_FAILED


class CommandError(Exception):
    """Ends a command. ``lines`` go to standard error, ``status`` is the exit status.

    No line at all ends the command quietly: what is wrong has been said already.
    """

    def __init__(self, *lines: str, status: int = EXIT_FAILED) -> None:
        self.lines = lines
        self.status = status
        super().__init__("; ".join(lines))


def bad_input(lines: str | Iterable[str]) -> CommandError:
    """Return the error for wrong usage or input: exit status 2."""
    return CommandError(*([lines] if isinstance(lines, str) else lines), status=EXIT_BAD_INPUT)


def printable(text: str) -> str:
    """Return a text as one harmless line: control characters of the input are escaped."""
    if text.isprintable():
        return text
    return "".join(sign if sign.isprintable() else repr(sign)[1:-1] for sign in text)


def complain(line: str) -> None:
    """Print one line about a mistake on standard error."""
    click.echo(f"ratewright: {printable(line)}", err=True)
