"""One server, and two on the same store: writing the same shards at once, and split by topology.

Clients, servers and store share this machine, so two servers cannot be twice as fast here; the
question is what several writers of one log cost each other, and what the topology saves.
"""

from __future__ import annotations

import asyncio
import statistics
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import grpc

from benchmarks.ingest_load import Traffic, columns_of, create_plan, send, subscribe
from benchmarks.local_server import server_on
from benchmarks.measure import Row, ratio, seconds
from rating_client import Client, ClientOptions
from rating_server.store.embedded import EmbeddedStore

_RUNS = 5
_CUSTOMERS = 1_000
_PINNED = ClientOptions(follow_topology=False)


class _Case:
    """A way to send: the clients of the two streams, and what was reached in each run."""

    def __init__(self, name: str, clients: tuple[Client, Client]) -> None:
        self.name = name
        self.clients = clients
        self.rates: list[float] = []

    def measure(self, traffic: Traffic, run: int) -> None:
        """Send one run's records over both streams until all are acknowledged."""
        parts = columns_of(traffic, run)
        taken = seconds(lambda: self._send(traffic, parts))
        self.rates.append(traffic.records / taken)

    def _send(self, traffic: Traffic, parts: list) -> None:
        done: list[dict[str, int]] = []
        threads = [
            threading.Thread(target=lambda c=c, p=p: done.append(send(c, traffic, [p])))
            for c, p in zip(self.clients, parts, strict=True)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if sum(sum(each.values()) for each in done) != traffic.records:
            raise SystemExit(f"{self.name}: not all records were counted: {done}")


def _compare(one: str, two: str, batch: int, records: int, runs: int, first: int) -> Iterator[Row]:
    clients = [Client(one, _PINNED), Client(two, _PINNED), Client(one)]
    pinned, other, following = clients
    cases = [
        _Case("1-server", (pinned, pinned)),
        _Case("2-servers/same-shards", (pinned, other)),
        _Case("2-servers/by-topology", (following, following)),
    ]
    traffic = Traffic(_CUSTOMERS, batch, records, streams=2)
    try:
        for run in range(runs + 1):
            for place, case in enumerate(cases):
                case.measure(traffic, first + run * len(cases) + place)
    finally:
        for client in clients:
            client.close()
    base = statistics.median(cases[0].rates[1:])
    for case in cases:
        # The first run warms up: connections, topology, sessions.
        rate = statistics.median(case.rates[1:])
        yield {
            "subject": "servers",
            "case": f"{case.name}/{batch >> 10}k",
            "engine": "ratewright",
            "records_per_s": round(rate),
            "ratio_to_one_server": ratio(rate, base),
            "runs": runs,
            "ack": "durable",
        }


def run(only: str = "", quick: bool = False) -> Iterator[Row]:
    """Yield the rows whose cases begin with ``only``."""
    runs, records = (1, 100_000) if quick else (_RUNS, 400_000)
    with tempfile.TemporaryDirectory(prefix="rw-bench-") as name, asyncio.Runner() as runner:
        folder = Path(name)
        store = EmbeddedStore(folder / "store")
        runner.run(store.start())
        try:
            url = store.url()
            with server_on(folder / "one", url) as one, server_on(folder / "two", url) as two:
                with grpc.insecure_channel(one) as channel:
                    create_plan(channel)
                    subscribe(channel, 0, _CUSTOMERS)
                for number, batch in enumerate((8 << 10, 64 << 10)):
                    rows = _compare(one, two, batch, records, runs, 1 + 1_000 * number)
                    yield from (row for row in rows if str(row["case"]).startswith(only))
        finally:
            runner.run(store.stop())
