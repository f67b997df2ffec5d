"""Statements through crashes: kill -9 of server, store or both while many are finalised.

Each round is a day: usage of all customers is recorded, then finalised; meanwhile grants are made
and plans changed, some dated back into the day. After a drawn number of answers the victim is
killed; what takes its place finalises the rest. Then every customer must have one statement of that
day, of the right amount, every grant must have paid exactly once (S9.2, S10.1), statements must
agree with their recomputation (S9.5), and all that is derived from the logs with the logs.
Customers with grants or several plans are finalised one by one, all others in columns.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import grpc

from benchmarks.fault_truth import command
from benchmarks.ingest_load import subscribe
from benchmarks.local_server import LocalServer, running_server
from benchmarks.measure import Row
from benchmarks.statement_truth import CENT, CHEAP, DEAR, Truth, check, unverified
from benchmarks.statements import count_usage
from rating_client import Client, FailedPrecondition, RatewrightError

CUSTOMERS = 10_000
ROUNDS = 10
SEED = 20261122
VICTIMS = ("server", "store", "both")
_GRANTED = 10
"""Every tenth customer has a grant, which pays for some rounds."""
_MOST = 10_000
_FIRST = datetime(2026, 1, 1, tzinfo=UTC)
_HALF_DAY = timedelta(hours=12)
_PATIENCE_S = 120.0
_GRANTS = 100
_CHANGES = {"border": (5, 50), "noon": (15, 50), "back": (25, 10)}
"""When a change of plan takes effect: at the end of the day that is finalised, at noon of the next
one, or at noon of the day itself, which is dated back. The numbers of customers that it may meet
leave the first value as remainder by 100; the second is how many calls a round makes at most.
Nobody has usage in an afternoon."""
_STOP_S = 30.0


@dataclass(frozen=True, slots=True)
class _Call:
    """A call beside the finalising; its request id makes it safe to send again."""

    kind: str
    customer: str
    id: str
    effective: datetime
    amount: Decimal = Decimal(0)
    dear: bool = False

    def send(self, client: Client) -> bool:
        """Carry it out; False if the day was finalised before a change that is dated back."""
        name = f"{self.id}-{self.customer}"
        if self.kind == "grant":
            client.create_grant(
                self.customer,
                self.id,
                self.amount,
                effective=self.effective,
                request_id=name,
                timeout=_STOP_S,
            )
            return True
        try:
            client.change_plan(
                self.customer,
                str((DEAR if self.dear else CHEAP)["id"]),
                effective_time=self.effective,
                request_id=name,
                timeout=_STOP_S,
            )
        except FailedPrecondition as refused:
            if self.kind != "back" or refused.reason != "PERIOD_FINALIZED":
                raise
            return False
        return True


def run(rounds: int = ROUNDS, customers: int = CUSTOMERS) -> Iterator[Row]:
    """Yield one row a round, ``rounds`` for each victim, by turns, all on one store.

    ``before_kill``: statements that were booked before the victim died.
    """
    truth = Truth(random.Random(SEED))
    with tempfile.TemporaryDirectory(prefix="rw-bench-") as name:
        folder = Path(name)
        with (
            _server(folder) as server,
            Client(server.address) as client,
            grpc.insecure_channel(server.address) as channel,
        ):
            client.create_plan(CHEAP)
            client.create_plan(DEAR)
            subscribe(channel, 0, customers)
            for number in range(0, customers, _GRANTED):
                amount = Decimal(truth.draw.randrange(10_000, 100_000)) * CENT
                client.create_grant(f"c{number}", "g", amount, effective=_FIRST)
                truth.balances[f"c{number}"] = amount
        for number in range((rounds or ROUNDS) * len(VICTIMS)):
            yield _round(folder, number, customers, truth)


def _server(folder: Path) -> AbstractContextManager[LocalServer]:
    """Start a server that archives, so that there are snapshots to compare."""
    return running_server(folder, "--archive-after", "30s")


def _round(folder: Path, number: int, customers: int, truth: Truth) -> Row:
    victim = VICTIMS[number % len(VICTIMS)]
    start = _FIRST + timedelta(days=number)
    until = start + timedelta(days=1)
    calls = _drawn_calls(truth, number, until, customers)
    at_kill: list[int] = []
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(_server(folder))
        with Client(server.address) as client:
            quantities = count_usage(client, customers, start, _HALF_DAY, number, _MOST)
        truth.add(start, quantities)
        answers = truth.draw.randrange(1, max(2, customers // _GRANTED * 9 // 10))

        def kill(told: int) -> None:
            at_kill.append(told)
            for pid in {"server": [0], "store": [1], "both": [0, 1]}[victim]:
                os.kill((server.pid, server.store_pid)[pid], signal.SIGKILL)

        with _beside(server.address, calls):
            told = _finalize(server.address, until, answers, kill)
        if victim != "store":
            stack.close()
            server = stack.enter_context(_server(folder))
        after = _finalize(server.address, until)
        with Client(server.address) as client:
            refused = sum(not _settle(client, call, truth) for call in calls)
            again = _finalize(server.address, until)
            found = check(client, start, truth)
            unlike = unverified(client, start, truth)
        status, complaint = command("verify", "--data-dir", str(folder / "data"))
    return {
        "subject": "statement-crash",
        "case": f"statements/{customers}-customers",
        "round": number,
        "victim": victim,
        "answers": answers,
        "before_kill": sum(at_kill),
        "in_the_middle": 0 < sum(at_kill) < customers,
        "finalized_after": after.total(),
        "calls_beside": len(calls),
        "refused": refused,
        "statements": customers - found.missing,
        "missing": found.missing,
        "doubled": found.doubled + sum((told & after).values()) + again.total(),
        "overdrawn": found.overdrawn,
        "wrong": found.wrong,
        "unverified": unlike,
        "complaint": f"verify: {complaint}" if status else "",
    }


def _drawn_calls(truth: Truth, number: int, until: datetime, customers: int) -> list[_Call]:
    """Return what is called while the day up to ``until`` is finalised, shuffled."""
    draw = truth.draw
    granted = draw.sample(range(customers), min(_GRANTS, customers // _GRANTED))
    calls = [
        _Call("grant", f"c{one}", f"g{number}", _FIRST, draw.randrange(100, 50_000) * CENT)
        for one in granted
    ]
    effective = {
        "border": until,
        "noon": until + _HALF_DAY,
        "back": until - _HALF_DAY,
    }
    for kind, (rest, most) in _CHANGES.items():
        met = range(rest, customers, 100)
        for one in draw.sample(met, min(most, len(met))):
            name = f"c{one}"
            dear = not truth.dear(name, effective[kind])
            calls.append(_Call(kind, name, f"{kind}{number}", effective[kind], dear=dear))
    draw.shuffle(calls)
    return calls


@contextlib.contextmanager
def _beside(address: str, calls: list[_Call]) -> Iterator[None]:
    """Try every call once meanwhile; what fails is sent again later."""
    ended = threading.Event()

    def send() -> None:
        with Client(address) as client:
            for call in calls:
                if ended.is_set():
                    return
                with contextlib.suppress(RatewrightError):
                    call.send(client)

    thread = threading.Thread(target=send)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _settle(client: Client, call: _Call, truth: Truth) -> bool:
    """Send a call again until it is answered, and tell the truth of it; False if it is refused."""
    done = call.send(client)
    if call.kind == "grant":
        truth.granted[call.customer] = call.amount
    elif done:
        truth.changes.setdefault(call.customer, []).append((call.effective, call.dear))
    return done


def _finalize(
    address: str, until: datetime, answers: int = 0, kill: Callable[[int], None] | None = None
) -> Counter[str]:
    """Return how often the answers named each customer; ``kill`` after so many of them.

    ``kill`` is given the number of statements that were told. Without it, calls that fail are made
    again until all is finalised: a store that was killed is on its way.
    """
    told: Counter[str] = Counter()
    expires = time.monotonic() + _PATIENCE_S
    while True:
        failed = ""
        try:
            with Client(address) as client:
                for number, chunk in enumerate(client.finalize_statements(until), start=1):
                    failed = failed or "".join(one.message for one in chunk.failures[:1])
                    told.update(chunk.customers)
                    if kill is not None and number == answers:
                        kill(told.total())
        except RatewrightError as error:
            failed = str(error)
        if kill is not None or not failed:
            return told
        if time.monotonic() > expires:
            raise SystemExit(f"not finalised: {failed}")
        time.sleep(0.2)
