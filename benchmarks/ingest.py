"""Ingest with durable acks beside hand-written redis-py counters, in the same minute.

Client, server and store share this machine. Our client is `rating_client`'s `UsageWriter`: what is
timed begins with columns of numbers and ends when every record is acknowledged as durable.
"""

from __future__ import annotations

import asyncio
import contextlib
import multiprocessing
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import grpc
import redis

from benchmarks.ingest_load import (
    Traffic,
    columns_of,
    create_plan,
    customer_numbers,
    send,
    subscribe,
    unary_latencies,
)
from benchmarks.ingest_memory import memory_rows
from benchmarks.ingest_peers import count_in_pipelines, count_singly
from benchmarks.local_server import LocalServer, running_server
from benchmarks.measure import Row, ratio, seconds
from rating_client import Client
from rating_server.store.embedded import EmbeddedStore

RUNS = 3
OURS = "ratewright"
SINGLY, PIPELINE = "redis-py-single", "redis-py-pipeline"
_PEER_RECORDS = {SINGLY: 1_000, PIPELINE: 20_000}
_UNARY = 2_000
_NAMES = {1 << 10: "1k", 8 << 10: "8k", 64 << 10: "64k"}


@dataclass(frozen=True, slots=True)
class Case:
    """One line of the benchmark: its name and what is sent. ``resend``: all of it a second time."""

    name: str
    traffic: Traffic
    resend: bool = False


def _cases(customers: int) -> list[Case]:
    """Return the cases with event ids (`ids/…`) and of sequenced producers (`seq/…`).

    Long enough that the first and the last eight batches, which do not fill the way, weigh little.
    """
    sizes = {1 << 10: 200_000, 8 << 10: 1_000_000, 64 << 10: 2_000_000}
    made = [
        Case(f"ids/{customers}/{_NAMES[size]}", Traffic(customers, size, records))
        for size, records in sizes.items()
    ]
    batch, records = 8 << 10, 1_000_000
    named = f"ids/{customers}/8k"
    made.append(Case(f"{named}/zipf", Traffic(customers, batch, records, skewed=True)))
    made.append(Case(f"{named}/8-streams", Traffic(customers, batch, records, streams=8)))
    made.append(Case(f"{named}/resend", Traffic(customers, batch, records), resend=True))
    for size, count in ((8 << 10, 1_000_000), (64 << 10, 2_000_000)):
        name = f"seq/{customers}/{_NAMES[size]}"
        made.append(Case(name, Traffic(customers, size, count, numbered=True)))
        more = Traffic(customers, size, count, streams=8, numbered=True)
        made.append(Case(f"{name}/8-streams", more))
    return made


class _Bench:
    """The parts that all cases share: our server, the peers' store, and what runs were made."""

    def __init__(self, server: LocalServer, peer: redis.Redis, quick: bool) -> None:
        self.server = server
        self.peer = peer
        self.quick = quick
        self.client = Client(server.address)
        self._run = 0
        self._subscribed = 0
        self._channel = grpc.insecure_channel(server.address)
        create_plan(self._channel)

    def next_run(self) -> int:
        self._run += 1
        return self._run

    def subscribed(self, customers: int) -> None:
        if self._subscribed < customers:
            subscribe(self._channel, self._subscribed, customers)
            self._subscribed = customers

    def close(self) -> None:
        self.client.close()
        self._channel.close()

    # --- throughput ------------------------------------------------------------------------------

    def rows(self, case: Case) -> Iterator[Row]:
        """Yield a row for us and one for each peer, medians of interleaved runs."""
        traffic = self._sized(case.traffic)
        self.subscribed(traffic.customers)
        self._ours(case, traffic)
        taken: dict[str, list[float]] = {OURS: [], SINGLY: [], PIPELINE: []}
        cpu: dict[str, list[float]] = {engine: [] for engine in taken}
        split: list[dict[str, float]] = []
        for _ in range(1 if self.quick else RUNS):
            rate, parts = self._ours(case, traffic)
            taken[OURS].append(rate)
            cpu[OURS].append(sum(parts.values()))
            split.append(parts)
            for engine, count in ((SINGLY, count_singly), (PIPELINE, count_in_pipelines)):
                rate, spent = self._peer(engine, count, traffic)
                taken[engine].append(rate)
                cpu[engine].append(spent)
        base = statistics.median(taken[PIPELINE])
        for engine, rates in taken.items():
            rate = statistics.median(rates)
            row: Row = {
                "subject": "ingest",
                "case": case.name,
                "engine": engine,
                "records_per_s": round(rate),
                "ratio_to_pipeline": ratio(rate, base),
                "ack": "durable",
                "cpu_s_per_million": round(statistics.median(cpu[engine]), 3),
            }
            if engine == OURS:
                names = ("client", "server", "store")
                row |= {
                    f"cpu_s_per_million_{name}": round(statistics.median(s[name] for s in split), 3)
                    for name in names
                }
            yield row

    def _sized(self, traffic: Traffic) -> Traffic:
        if not self.quick:
            return traffic
        records = max(traffic.records // 4, 2 * traffic.batch * traffic.streams)
        return replace(traffic, records=records)

    def _ours(self, case: Case, traffic: Traffic) -> tuple[float, dict[str, float]]:
        parts = columns_of(traffic, self.next_run())
        expected = "accepted"
        if case.resend:
            send(self.client, traffic, parts)
            expected = "duplicate"
        before = self.server.cpu_seconds()
        found: list[dict[str, int]] = []
        taken = seconds(lambda: found.append(send(self.client, traffic, parts)))
        after = self.server.cpu_seconds()
        if found[0][expected] != traffic.records:
            raise SystemExit(f"{case.name}: not all records were {expected}: {found[0]}")
        millions = traffic.records / 1e6
        spent = {name: (after[name] - before[name]) / millions for name in after}
        return traffic.records / taken, spent

    def _peer(
        self, engine: str, count: Callable[..., None], traffic: Traffic
    ) -> tuple[float, float]:
        records = _PEER_RECORDS[engine] // (4 if self.quick else 1)
        run = self.next_run()
        few = Traffic(traffic.customers, traffic.batch, records, skewed=traffic.skewed)
        customers = customer_numbers(few, run).tolist()
        before = self._peer_cpu()
        taken = seconds(lambda: count(self.peer, str(run), customers))
        spent = self._peer_cpu() - before
        return records / taken, spent / (records / 1e6)

    def _peer_cpu(self) -> float:
        info = self.peer.info("cpu")
        store = float(info["used_cpu_sys"]) + float(info["used_cpu_user"])
        return time.process_time() + store

    # --- latency ---------------------------------------------------------------------------------

    def unary_rows(self) -> Iterator[Row]:
        """Yield the latency of single records alone, and while a stream ingests."""
        self.subscribed(1_000)
        count = _UNARY // (4 if self.quick else 1)
        yield self._unary_row("unary/alone", count)
        traffic = Traffic(1_000, 8 << 10, 500_000)
        stop = threading.Event()

        def stream() -> None:
            while not stop.is_set():
                send(self.client, traffic, columns_of(traffic, self.next_run()))

        thread = threading.Thread(target=stream)
        thread.start()
        try:
            yield self._unary_row("unary/while-a-stream-ingests", count)
        finally:
            stop.set()
            thread.join()

    def _unary_row(self, case: str, count: int) -> Row:
        # In a process of its own, so that it does not wait for the stream's interpreter lock.
        taken = sorted(_unary_in_process(self.server.address, self.next_run(), count))
        return {
            "subject": "ingest",
            "case": case,
            "engine": OURS,
            "records_per_s": round(count / (sum(taken) / 1e9)),
            "ack": "durable",
            "latency_ms_p50": round(taken[len(taken) // 2] / 1e6, 3),
            "latency_ms_p99": round(taken[len(taken) * 99 // 100] / 1e6, 3),
        }


def _unary_in_process(address: str, run: int, count: int) -> list[int]:
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_unary_work, (address, run, count))


def _unary_work(address: str, run: int, count: int) -> list[int]:
    with grpc.insecure_channel(address) as channel:
        unary_latencies(channel, 1_000, -run, count // 10)
        return unary_latencies(channel, 1_000, run, count)


@contextlib.contextmanager
def _bench(folder: Path, quick: bool) -> Iterator[_Bench]:
    peer_store = EmbeddedStore(folder / "peer")
    with asyncio.Runner() as runner, running_server(folder) as server:
        runner.run(peer_store.start())
        peer = redis.Redis.from_url(peer_store.url())
        bench = _Bench(server, peer, quick)
        try:
            yield bench
        finally:
            bench.close()
            peer.close()
            runner.run(peer_store.stop())


def run(only: str = "", quick: bool = False) -> Iterator[Row]:
    """Yield the rows of all cases whose names begin with ``only``."""
    with tempfile.TemporaryDirectory(prefix="rw-bench-") as name:
        folder = Path(name)
        with _bench(folder, quick) as bench:
            for customers in (1_000, 100_000):
                for case in _cases(customers):
                    if case.name.startswith(only):
                        yield from bench.rows(case)
            if "unary".startswith(only) or only.startswith("unary"):
                yield from bench.unary_rows()
        if "memory".startswith(only) or only.startswith("memory"):
            yield from memory_rows(folder, quick)
        if "cold-start".startswith(only) or only.startswith("cold-start"):
            yield _cold_start(folder, 250_000 if quick else 2_000_000)


def _cold_start(folder: Path, ids: int) -> Row:
    """Return how long a start takes for the ids in the log, beyond a start on an empty store."""
    traffic = Traffic(1_000, 8 << 10, ids)
    empty, full = folder / "empty", folder / "full"
    for each in (empty, full):
        each.mkdir()
    with running_server(full) as server:
        with grpc.insecure_channel(server.address) as channel:
            create_plan(channel)
            subscribe(channel, 0, traffic.customers)
        client = Client(server.address)
        send(client, traffic, columns_of(traffic, 1))
        client.close()
    with running_server(empty):
        pass
    starts = {each: seconds(lambda each=each: _start(each)) for each in (empty, full)}
    extra = starts[full] - starts[empty]
    return {
        "subject": "ingest",
        "case": "cold-start",
        "engine": OURS,
        "records_per_s": round(ids / extra),
        "ack": "durable",
        "seconds_per_million_ids": round(extra / ids * 1e6, 3),
        "seconds_empty": round(starts[empty], 3),
    }


def _start(folder: Path) -> None:
    with running_server(folder):
        pass
