"""Talking to a server: the client of a command, and its errors in one line each."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import click

from rating_client.client import Client
from rating_client.errors import (
    DeadlineExceeded,
    InvalidArgument,
    RatewrightError,
    Unavailable,
)
from rating_client.options import ClientOptions
from rating_client.values import to_text
from rating_server.cli.failure import CommandError, bad_input
from rating_server.cli.rows import parse_instant

_ATTEMPTS = 3
_START_WAIT_S = 5
"""`ratewright serve &` and the next command may stand in one script: a start takes a moment."""
_VERSION_MAX = 2**31 - 1
_VERSION_DIGITS = 10
_MICROSECOND = timedelta(microseconds=1)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def error_lines(error: RatewrightError, where: str) -> list[str]:
    """Return what a person needs to know of a failed call: a line, or one per field."""
    if isinstance(error, Unavailable) and not error.reason:
        return [f"{where}: no server answers there; start one with `ratewright serve`"]
    if isinstance(error, DeadlineExceeded) and not error.reason:
        return [f"{where}: no answer in time"]
    if error.field_violations:
        return [
            f"{fault.path}: {fault.message}" if fault.path else fault.message
            for fault in error.field_violations
        ]
    words = " ".join(error.message.split()) or error.code.name
    return [words]


@contextmanager
def connected(target: str) -> Iterator[Client]:
    """Yield a client; a failed call ends the command: status 2 for wrong input, otherwise 1."""
    try:
        with Client(target, ClientOptions(unary_attempts=_ATTEMPTS)) as client:
            client.wait_until_ready(_START_WAIT_S)
            yield client
    except InvalidArgument as error:
        raise bad_input(error_lines(error, target)) from None
    except RatewrightError as error:
        raise CommandError(*error_lines(error, target)) from None


class InstantType(click.ParamType[datetime]):
    """An ISO 8601 instant; without a time zone it is UTC."""

    name = "time"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> datetime:
        """Return the aware instant, or fail with one line."""
        if isinstance(value, datetime):
            return value
        try:
            return _EPOCH + parse_instant(str(value)) * _MICROSECOND
        except (ValueError, OverflowError):
            self.fail(f"expected a time such as 2026-07-01T00:00:00Z, got {value!r}", param, ctx)


class DecimalType(click.ParamType[str]):
    """A decimal number (S1.1): digits with an optional sign and point; stays text."""

    name = "number"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> str:
        """Return the text as it is, or fail with one line."""
        try:
            return to_text(str(value))
        except ValueError:
            self.fail(f"expected a decimal number such as 12.50, got {value!r}", param, ctx)


class PlanReference(click.ParamType[tuple[str, int | None]]):
    """A plan's id, or `id@version`; becomes (id, version or None)."""

    name = "plan"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, int | None]:
        """Return id and version, or fail with one line."""
        if isinstance(value, tuple):
            return value
        plan_id, _, version = str(value).partition("@")
        if not plan_id or ("@" in str(value) and not (version.isascii() and version.isdecimal())):
            self.fail(f"expected ID or ID@VERSION, got {value!r}", param, ctx)
        if version and not (len(version) <= _VERSION_DIGITS and 1 <= int(version) <= _VERSION_MAX):
            self.fail(f"expected a version from 1 to {_VERSION_MAX}, got {value!r}", param, ctx)
        return plan_id, int(version) if version else None


def instant_words(instant: datetime | None) -> str:
    """Return an instant in ISO 8601, "" for none."""
    if instant is None:
        return ""
    return instant.astimezone(UTC).isoformat().replace("+00:00", "Z")
