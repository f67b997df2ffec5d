"""Clusters and replicated sets of real stores, formed and broken by tests."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from redis.backoff import NoBackoff
from redis.connection import Connection
from redis.crc import key_slot
from redis.exceptions import RedisError
from redis.retry import Retry

from rating_server.store.data_directory import DataDirectory
from rating_server.store.store_process import EmbeddedOptions, store_command

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
