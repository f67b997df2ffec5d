"""The demo's proof: every statement against `reference`, which prices the raw records."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from rating_client.client import Client
from rating_client.values import Statement
from rating_core.catalog import Aggregation, Plan, UsageEntry
from rating_core.period import period_bounds
from rating_core.reference import reference_statement
from rating_server.cli.chunks import Chunk
from rating_server.cli.progress import Advance

_CALLS_AT_ONCE = 8
_ONE = Decimal(1)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

Account = tuple[str, int]
"""A customer and the start of a billing period in microseconds."""
RawUsage = dict[Account, dict[str, list[UsageEntry]]]


def instant(micros: int) -> datetime:
    """Return the aware UTC instant of microseconds since 1970."""
    return _EPOCH + timedelta(microseconds=micros)


def raw_usage(
    plan: Plan, chunks: Iterable[Chunk], customers: Iterable[str], refused: Collection[int]
) -> RawUsage:
    """Return the raw records by customer and period, each as an entry of its own (S6.5).

    ``refused`` are the numbers of records that the server did not count. A record of a meter that
    counts is one event, whatever its quantity (S6.3). Customers without a record get an empty
    usage in the first period.
    """
    accounts: RawUsage = {}
    counting = {meter.id for meter in plan.meters if meter.aggregation is Aggregation.COUNT}
    starts: dict[int, int] = {}
    out = frozenset(refused)
    number = -1
    for chunk in chunks:
        for record in chunk.records():
            number += 1
            hour = record.time_us // 3_600_000_000
            start = starts.get(hour)
            if start is None:
                start = starts[hour] = period_bounds(plan.billing_period, record.time_us)[0]
            if number in out:
                continue
            quantity = _ONE if record.meter in counting else record.quantity
            usage = accounts.setdefault((record.customer, start), {})
            usage.setdefault(record.meter, []).append(UsageEntry(quantity, record.dimensions))
    first = min(starts.values(), default=0)
    known = {customer for customer, _ in accounts}
    for customer in customers:
        if customer not in known:
            accounts[customer, first] = {}
    return accounts


def priced(plan: Plan, usage: RawUsage) -> bool:
    """Whether any record is of the meter and dimensions that some charge names (S3.1)."""
    return any(
        charge.meter == meter and charge.matches(dict(entry.dimensions or ()))
        for meters in usage.values()
        for meter, entries in meters.items()
        for entry in entries
        for charge in plan.charges
    )


def statements_of(
    client: Client, accounts: Sequence[Account], advance: Advance
) -> dict[Account, Statement]:
    """Return the server's statement of every account; ``advance`` is called with 1 after each."""

    def one(account: Account) -> tuple[Account, Statement]:
        found = client.preview_statement(account[0], instant(account[1]), timeout=60)
        advance(1)
        return account, found

    with ThreadPoolExecutor(_CALLS_AT_ONCE) as pool:
        return dict(pool.map(one, accounts))


@dataclass(frozen=True, slots=True)
class Difference:
    """A statement that is not what `reference` says."""

    account: Account
    words: str


def compare(
    plan: Plan,
    usage: RawUsage,
    statements: Mapping[Account, Statement],
    advance: Advance,
) -> list[Difference]:
    """Return every statement whose total, or any of whose lines, differs from `reference`."""
    differences = []
    for account, entries in usage.items():
        exact = reference_statement(plan, {meter: tuple(e) for meter, e in entries.items()})
        found = statements[account]
        total = exact.amount(exact.total)
        if found.total != total:
            words = f"total {found.total}, reference {total}"
            differences.append(Difference(account, words))
        elif found.amount_by_id() != exact.amount_by_id():
            words = f"lines {found.amount_by_id()}, reference {exact.amount_by_id()}"
            differences.append(Difference(account, words))
        advance(1)
    return differences
