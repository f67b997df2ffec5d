"""Clusters and replicated sets of real stores, formed and broken by tests, and their traffic."""

from __future__ import annotations

import asyncio
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from redis.backoff import NoBackoff
from redis.connection import Connection
from redis.crc import key_slot
from redis.exceptions import RedisError
from redis.retry import Retry

from rating_core.catalog import BillingPeriod
from rating_core.metering.batch import RecordBatch, RecordStatus, shard_of
from rating_core.metering.calls import (
    CountersAnswer,
    CreateSubscription,
    GetCounters,
    RecordAnswer,
    RecordCall,
)
from rating_core.metering.catalogue import CreateMeter
from rating_core.metering.record import UsageRecord, batch_of
from rating_core.metering.shard import UsageShard
from rating_server.ports import StoreUnavailable, Window
from rating_server.store.adapter import LinkOptions
from rating_server.store.data_directory import DataDirectory
from rating_server.store.keys import shard_keys
from rating_server.store.store_process import EmbeddedOptions, store_command
from rating_server.store.usage_store import RedisUsageStore, UsageStoreOptions
from rating_server.store.verify import verify_log

MARCH = 1_772_323_200_000_000
"""2026-03-01T00:00:00Z in µs."""
SLOTS = 16_384
WAIT_S = 30.0


def until(what: Callable[[], object], words: str) -> None:
    """Wait until something is so; whatever it raises means that it is not yet."""
    expires = time.monotonic() + WAIT_S
    while time.monotonic() < expires:
        try:
            if what():
                return
        except (RedisError, OSError, KeyError, ValueError):
            pass  # a node that is down or not there yet
        time.sleep(0.03)
    raise AssertionError(f"not in time: {words}")


class Member:
    """A store with a TCP port on loopback that keeps its port over kills and starts."""

    def __init__(self, root: Path, port: int, settings: dict[str, str]) -> None:
        self.port = port
        directory = DataDirectory(root / f"n{port}")
        directory.create()
        self._log = directory.store_log
        self._command = store_command(directory, str(root / f"{port}.s"), EmbeddedOptions())
        for name, value in {"port": str(port), **settings}.items():
            self._command += [f"--{name}", value]
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """URL of this node alone."""
        return f"redis://127.0.0.1:{self.port}"

    def start(self, command: list[str] | None = None) -> None:
        """Start the process; it may still be loading when this returns."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                command or self._command, stdout=log, stderr=log, start_new_session=True
            )

    def start_slowly(self) -> None:
        """Start the process so that it takes 10 ms to load a key, and says LOADING meanwhile."""
        slow = {"--key-load-delay": "10000", "--loading-process-events-interval-bytes": "1024"}
        self.start([*self._command, *(word for pair in slow.items() for word in pair)])

    def ask(self, *arguments: str | bytes | int) -> Any:
        """Send one command on a connection of its own and return the reply."""
        connection = Connection(
            host="127.0.0.1",
            port=self.port,
            retry=Retry(NoBackoff(), 0),
            socket_timeout=5,
            protocol=2,
        )
        try:
            connection.send_command(*arguments)
            return connection.read_response()
        finally:
            connection.disconnect()

    def info(self, section: str) -> dict[str, str]:
        """Return a section of INFO."""
        lines = self.ask("INFO", section).decode().splitlines()
        return dict(line.split(":", 1) for line in lines if ":" in line)

    @property
    def node_id(self) -> str:
        """The node's id in its cluster."""
        name: bytes = self.ask("CLUSTER", "MYID")
        return name.decode()

    def signal(self, number: signal.Signals) -> None:
        """Send the process a signal."""
        assert self._process is not None
        self._process.send_signal(number)

    def kill(self) -> None:
        """Kill the process at once, as a crash does."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()


class Members:
    """Stores of one test module: a directory, and free ports below those of the cluster buses."""

    def __init__(self) -> None:
        self.root = Path(tempfile.mkdtemp(prefix="rw-test-"))
        self.all: list[Member] = []

    def add(self, **settings: str) -> Member:
        """Make and start a store; settings as keywords, `_` for `-`."""
        member = self.add_idle(**settings)
        member.start()
        return member

    def add_idle(self, **settings: str) -> Member:
        """Make a store that the caller starts."""
        named = {name.replace("_", "-"): value for name, value in settings.items()}
        member = Member(self.root, self._free_port(), named)
        self.all.append(member)
        return member

    @staticmethod
    def _free_port() -> int:
        for _ in range(100):
            with socket.socket() as low, socket.socket() as high:
                low.bind(("127.0.0.1", 0))
                port: int = low.getsockname()[1]
                try:
                    high.bind(("127.0.0.1", port + 10_000))  # the bus of a cluster's node
                except (OSError, OverflowError):
                    continue
                return port
        raise AssertionError("no free pair of ports")

    def end(self) -> None:
        """Make sure that all processes are gone."""
        for member in self.all:
            member.kill()
        shutil.rmtree(self.root)


class Cluster(Members):
    """A cluster of real stores with an equal share of slots each, and replicas where asked for."""

    def __init__(self, primaries: int = 3, **settings: str) -> None:
        super().__init__()
        self._settings = {
            "cluster_enabled": "yes",
            "cluster_node_timeout": "1500",
            "cluster_require_full_coverage": "no",
            "repl_diskless_sync_delay": "0",
            **settings,
        }
        self.primaries = [self.add(**self._settings) for _ in range(primaries)]
        bounds = [SLOTS * n // primaries for n in range(primaries + 1)]
        for n, node in enumerate(self.primaries):
            until(lambda node=node: node.ask("PING") == b"PONG", "a node starts")
            node.ask("CLUSTER", "ADDSLOTSRANGE", bounds[n], bounds[n + 1] - 1)
            node.ask("CLUSTER", "SET-CONFIG-EPOCH", n + 1)
        for node in self.primaries[1:]:
            node.ask("CLUSTER", "MEET", "127.0.0.1", self.primaries[0].port)
        self.until_whole()

    @property
    def url(self) -> str:
        """URL of the cluster by its first nodes."""
        return "redis+cluster://" + ",".join(f"127.0.0.1:{m.port}" for m in self.primaries)

    def until_whole(self) -> None:
        """Wait until every node sees all slots served."""

        def whole() -> bool:
            infos = [node.ask("CLUSTER", "INFO").decode() for node in self.all]
            return all(
                "cluster_state:ok" in info and f"cluster_slots_ok:{SLOTS}" in info for info in infos
            )

        until(whole, "the cluster is whole")

    def add_replicas(self) -> None:
        """Give every primary a replica, and wait until it has all data and all know it."""
        replicas = [self.add(**self._settings) for _ in self.primaries]
        for replica, primary in zip(replicas, self.primaries, strict=True):
            until(lambda node=replica: node.ask("PING") == b"PONG", "a replica starts")
            replica.ask("CLUSTER", "MEET", "127.0.0.1", primary.port)
        for replica, primary in zip(replicas, self.primaries, strict=True):
            until(_follows(replica, primary.node_id), "a replica meets its primary")
        for replica in replicas:
            until(_synchronised(replica), "a replica has all data")
        names = [replica.node_id.encode() for replica in replicas]

        def all_known() -> bool:
            tables = [node.ask("CLUSTER", "NODES") for node in self.all]
            return all(name in table for table in tables for name in names)

        until(all_known, "all know the replicas")
        self.until_whole()

    def replica_of(self, primary: Member) -> Member:
        """Return the replica that follows a primary."""
        (line,) = primary.ask("CLUSTER", "REPLICAS", primary.node_id)
        place = line.split()[1].split(b"@")[0]
        return next(member for member in self.all if place.endswith(b":%d" % member.port))

    def owner(self, key: bytes) -> Member:
        """Return the primary that serves a key, by its own word."""
        slot = key_slot(key)
        for node in self.all:
            for low, high, first, *_ in node.ask("CLUSTER", "SLOTS"):
                if low <= slot <= high:
                    return next(member for member in self.all if member.port == first[1])
        raise AssertionError(f"nobody serves slot {slot}")


def _follows(replica: Member, primary_id: str) -> Callable[[], bool]:
    return lambda: replica.ask("CLUSTER", "REPLICATE", primary_id) == b"OK"


def _synchronised(replica: Member) -> Callable[[], bool]:
    return lambda: replica.info("replication")["master_link_status"] == "up"


class Traffic:
    """Senders that resend until every record has a status, and what the store must hold then.

    Every record counts 1 on the meter `calls` of one of some customers.
    """

    def __init__(self, store: RedisUsageStore, customers: int = 8) -> None:
        self.store = store
        self.customers = [f"c{n}" for n in range(customers)]
        self.sent: dict[str, str] = {}
        self.accepted: Counter[str] = Counter()
        self.unavailable = 0
        self.stop = False
        self._next = 0

    async def prepare(self) -> None:
        """Create the meter and the subscriptions."""
        document = {"id": "calls", "aggregation": "count", "scale": "0", "dimensions": []}
        await self.store.catalogue_call(CreateMeter(document=document))
        for customer in self.customers:
            await self.store.submit(
                shard_of(customer, self.store.shard_count),
                CreateSubscription(
                    customer=customer,
                    subscription_id=f"s-{customer}",
                    plan_id="p",
                    plan_version=1,
                    billing_period=BillingPeriod.MONTH,
                    start_time=MARCH,
                    bands={},
                ),
            )

    def rows(self, count: int) -> list[tuple[str, str]]:
        """Return new (customer, event id) pairs."""
        self._next += count
        first = self._next - count
        return [
            (self.customers[n % len(self.customers)], f"e{n}") for n in range(first, first + count)
        ]

    async def send(self, rows: list[tuple[str, str]]) -> list[RecordStatus]:
        """Send rows until all their shards have answered; return one status a row."""
        statuses = np.zeros(len(rows), np.uint8)

        async def part(shard: int, at: np.ndarray, records: RecordBatch) -> None:
            while True:
                try:
                    answer = await self.store.submit(shard, RecordCall(records))
                except StoreUnavailable:
                    self.unavailable += 1
                    await asyncio.sleep(0.02)
                    continue
                assert isinstance(answer, RecordAnswer)
                statuses[at] = answer.status
                return

        await asyncio.gather(
            *(part(*p) for p in _batch(rows).split_by_shard(self.store.shard_count))
        )
        answered = [RecordStatus(status) for status in statuses.tolist()]
        for (customer, event), status in zip(rows, answered, strict=True):
            assert status in (RecordStatus.ACCEPTED, RecordStatus.DUPLICATE)
            self.accepted[event] += status is RecordStatus.ACCEPTED
            self.sent[event] = customer
        return answered

    async def flow(self, senders: int = 4, size: int = 20) -> None:
        """Send until `stop`; every record once, however often it has to be sent again."""

        async def sender() -> None:
            while not self.stop:
                await self.send(self.rows(size))

        await asyncio.gather(*(sender() for _ in range(senders)))

    async def counted(self) -> dict[str, int]:
        """Return what the store says that each customer used."""
        totals = {}
        for customer in self.customers:
            shard = shard_of(customer, self.store.shard_count)
            answer = await self.store.ask(shard, GetCounters(customer, MARCH))
            assert isinstance(answer, CountersAnswer)
            totals[customer] = sum(series.value for series in answer.counters)
        return totals

    async def assert_true(self, url: str) -> None:
        """Counted is what was sent, each record once, accepted at most once; hashes are folds."""
        totals = Counter(self.sent.values())
        assert await self.counted() == {customer: totals[customer] for customer in self.customers}
        # None accepted: the answer to the try that counted was lost.
        assert max(self.accepted.values()) == 1
        await self.assert_folded(url)

    async def assert_folded(self, url: str) -> None:
        """Every hash is the fold of its log, to its end."""
        for shard in {shard_of(customer, self.store.shard_count) for customer in self.customers}:
            async with asyncio.timeout(10):
                while True:
                    machine = UsageShard(bytes(16), lambda _: None)
                    link = LinkOptions(url=lambda: url)
                    report = await verify_log(link, shard_keys(shard), machine)
                    assert report.differences == []
                    if report.mark == report.version:
                        break
                    await asyncio.sleep(0.1)


def _batch(rows: list[tuple[str, str]]) -> RecordBatch:
    time = MARCH + 60_000_000
    return batch_of([UsageRecord(customer, "calls", event, 1, time) for customer, event in rows])


def _server(url: str, **changes: Any) -> RedisUsageStore:
    values: dict[str, Any] = {
        "url": url,
        "shards": 6,
        "window": Window(None),
        "deadline": 2.0,
        "start_timeout": WAIT_S,
    }
    return RedisUsageStore(UsageStoreOptions(**(values | changes)))


@pytest.fixture
def server_of() -> Callable[..., RedisUsageStore]:
    """A function that makes a usage store on a URL; call it inside a running loop."""
    return _server


@pytest.fixture
def traffic_of() -> Callable[[RedisUsageStore], Traffic]:
    """A function that makes the traffic of a usage store."""
    return Traffic


@pytest.fixture(scope="module")
def wait_until() -> Callable[[Callable[[], object], str], None]:
    """`until`: wait until something is so."""
    return until


@pytest.fixture(scope="module")
def cluster_factory() -> Iterator[Callable[..., Cluster]]:
    """A function that forms a cluster, for the whole module."""
    made: list[Cluster] = []

    def build(primaries: int = 3, **settings: str) -> Cluster:
        made.append(Cluster(primaries, **settings))
        return made[-1]

    yield build
    for cluster in made:
        cluster.end()


@pytest.fixture(scope="module")
def members() -> Iterator[Members]:
    """Stores with TCP ports, for the whole module."""
    made = Members()
    yield made
    made.end()
