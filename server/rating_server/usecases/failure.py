"""What a use case raises when it cannot do what was asked; `errors.py` gives each a gRPC code."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Violation:
    """One fault of a request: the field's path, which kind (UPPER_SNAKE), and in words."""

    field: str
    reason: str
    message: str


class Failure(Exception):
    """Base of all failures. ``reason`` is a key of the table in `errors.py`.

    ``metadata`` repeats everything dynamic that the message says; its keys are never removed.
    """

    def __init__(self, reason: str, message: str, **metadata: str) -> None:
        self.reason = reason
        self.message = message
        self.metadata = metadata
        super().__init__(message)


class InvalidRequest(Failure):
    """The request has faults; all of them are named."""

    def __init__(self, violations: Iterable[Violation], reason: str = "REQUEST_INVALID") -> None:
        self.violations = tuple(violations)
        shown = "; ".join(f"{v.field}: {v.message}" for v in self.violations[:5])
        more = len(self.violations) - 5
        super().__init__(reason, shown + (f"; and {more} more" if more > 0 else ""))


@contextmanager
def noting(faults: list[Violation]) -> Iterator[None]:
    """Note the violations that the block raises, instead of ending with them."""
    try:
        yield
    except InvalidRequest as error:
        faults += error.violations


def require(unread: Iterable[Violation], found: Iterable[Violation]) -> None:
    """Raise InvalidRequest if a request has faults, all of them at once.

    ``unread``: of fields whose value could not be read, about which nothing else is told;
    ``found``: of the others.
    """
    faults = list(unread)
    named = {fault.field for fault in faults}
    faults += [fault for fault in found if fault.field not in named]
    if faults:
        raise InvalidRequest(faults)


def invalid(field: str, reason: str, message: str) -> InvalidRequest:
    """Return the failure of a request with one fault."""
    return InvalidRequest([Violation(field, reason, message)])
