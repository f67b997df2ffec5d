"""Statements through crashes: kill -9 of the server while many are finalised (S9.2, S10.1).

Each round is a day: usage of all customers is recorded, then finalised; in the middle, after a
drawn number of answers, the server is killed. One that is started anew finalises the rest. Then
every customer must have one statement of that day, of the right amount, and every grant must have
paid exactly once. Customers with grants are finalised one by one, all others in columns.
"""

from __future__ import annotations

import os
import random
import signal
import tempfile
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import grpc
import numpy as np

from benchmarks.ingest_load import subscribe
from benchmarks.local_server import running_server
from benchmarks.measure import Row
from benchmarks.statements import METERS, PLAN, PRICES, count_usage, due_cents
from rating_client import Client, RatewrightError, Statement

CUSTOMERS = 10_000
ROUNDS = 10
SEED = 20261122
_GRANTED = 10
"""Every tenth customer has a grant, which pays for some rounds."""
_MOST = 10_000
_FIRST = datetime(2026, 1, 1, tzinfo=UTC)
_CENT = Decimal("0.01")
_READERS = 8


@dataclass(slots=True)
class _Truth:
    """What every customer owes and every grant can still pay, kept outside of the server."""

    draw: random.Random
    balances: dict[str, Decimal] = field(default_factory=dict)
    due: dict[str, Decimal] = field(default_factory=dict)
    """Of the round."""

    def add(self, quantities: np.ndarray) -> None:
        """Take a round's quantities, int64[customers, meters]."""
        for number, row in enumerate(quantities.tolist()):
            name = f"c{number}"
            self.due[name] = due_cents(dict(zip(METERS, row, strict=True))) * _CENT
            if name in self.balances:
                self.balances[name] = max(Decimal(0), self.balances[name] - self.due[name])


@dataclass(slots=True)
class _Found:
    """What a round's reading shows, in customers."""

    missing: int = 0
    doubled: int = 0
    overdrawn: int = 0
    wrong: int = 0


def run(rounds: int = ROUNDS, customers: int = CUSTOMERS) -> Iterator[Row]:
    """Yield one row a round; ``before_kill``: statements that the killed server had booked."""
    truth = _Truth(random.Random(SEED))
    with tempfile.TemporaryDirectory(prefix="rw-bench-") as name:
        folder = Path(name)
        with (
            running_server(folder) as server,
            Client(server.address) as client,
            grpc.insecure_channel(server.address) as channel,
        ):
            client.create_plan(PLAN | {"billing_period": "day"})
            subscribe(channel, 0, customers)
            for number in range(0, customers, _GRANTED):
                amount = Decimal(truth.draw.randrange(10_000, 100_000)) * _CENT
                client.create_grant(f"c{number}", "g", amount, effective=_FIRST)
                truth.balances[f"c{number}"] = amount
        for number in range(rounds or ROUNDS):
            yield _round(folder, number, customers, truth)


def _round(folder: Path, number: int, customers: int, truth: _Truth) -> Row:
    start = _FIRST + timedelta(days=number)
    until = start + timedelta(days=1)
    with running_server(folder) as server, Client(server.address) as client:
        truth.add(count_usage(client, customers, start, timedelta(days=1), number, _MOST))
        answers = truth.draw.randrange(1, len(truth.balances) * 9 // 10)
        told = _finalize(client, until, answers, server.pid)
    with running_server(folder) as server, Client(server.address) as client:
        after = _finalize(client, until)
        again = _finalize(client, until)
        found = _check(client, start, truth)
    found.doubled += sum((told & after).values()) + again.total()
    booked = customers - len(after)
    return {
        "subject": "statement-crash",
        "case": f"statements/{customers}-customers",
        "round": number,
        "answers": answers,
        "before_kill": booked,
        "in_the_middle": 0 < booked < customers,
        "statements": customers - found.missing,
        "missing": found.missing,
        "doubled": found.doubled,
        "overdrawn": found.overdrawn,
        "wrong": found.wrong,
    }


def _finalize(client: Client, until: datetime, answers: int = 0, pid: int = 0) -> Counter[str]:
    """Return how often the answers named each customer; kill ``pid`` after so many of them."""
    told: Counter[str] = Counter()
    try:
        for number, chunk in enumerate(client.finalize_statements(until), start=1):
            if chunk.failures:
                raise SystemExit(f"not finalised: {chunk.failures[0]}")
            told.update(chunk.customers)
            if number == answers:
                os.kill(pid, signal.SIGKILL)
    except RatewrightError:
        if not pid:
            raise
    return told


def _check(client: Client, start: datetime, truth: _Truth) -> _Found:
    found = _Found()
    with ThreadPoolExecutor(_READERS) as readers:
        listed = readers.map(lambda name: list(client.list_statements(name)), truth.due)
        for name, statements in zip(truth.due, listed, strict=True):
            of_day = [one for one in statements if one.period_start == start]
            found.missing += not of_day
            found.doubled += len(of_day) > 1
            found.wrong += any(_differs(one, truth.due[name]) for one in of_day)
        balances = readers.map(client.get_balance, truth.balances)
        for name, balance in zip(truth.balances, balances, strict=True):
            found.overdrawn += balance != truth.balances[name]
    return found


def _differs(statement: Statement, due: Decimal) -> bool:
    lines = sum((line.amount for line in statement.lines), Decimal(0))
    return not (lines == statement.total_before_credits == due) or len(statement.lines) != len(
        PRICES
    )
