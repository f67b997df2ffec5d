"""Values about statements of many customers, and about how a statement is verified."""

from __future__ import annotations

from dataclasses import dataclass

from rating_client.values import Statement


@dataclass(frozen=True, slots=True)
class StatementFailure:
    """A customer whose statement could not be finalised; ``reason`` as in errors."""

    customer: str
    subscription_id: str
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class FinalizedStatements:
    """Statements that were finalised together, in columns (S9.2).

    Instants in µs since 1970-01-01T00:00Z; amounts in units of 10^-``scale`` of ``currency``.
    """

    customers: tuple[str, ...]
    subscription_ids: tuple[str, ...]
    numbers: tuple[int, ...]
    period_starts_micros: tuple[int, ...]
    period_ends_micros: tuple[int, ...]
    totals: tuple[int, ...]
    amounts_due: tuple[int, ...]
    scale: int
    currency: str
    failures: tuple[StatementFailure, ...] = ()


@dataclass(frozen=True, slots=True)
class Verification:
    """A statement as it is recomputed now (S9.5).

    ``differences``: path, finalised and recomputed value as JSON text of all that differs; empty
    if the statement is what its inputs come to.
    """

    statement: Statement
    differences: tuple[tuple[str, str, str], ...]
