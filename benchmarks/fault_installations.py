"""Installations that the fault tests break: two servers on one store, workers, a cluster."""

from __future__ import annotations

import contextlib
import json
from abc import ABC, abstractmethod
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.fault_client import CUSTOMERS, METER
from benchmarks.fault_parts import (
    Cluster,
    Process,
    Server,
    SmallDisk,
    Store,
    eventually,
    listens,
)
from benchmarks.fault_proxy import Proxy
from benchmarks.fault_truth import Truth
from rating_client import Client

SHARDS = 4
_DISK_MB = 48
_PLAN = {
    "id": "faults",
    "currency": "USD",
    "billing_period": "month",
    "meters": [{"id": METER, "aggregation": "sum"}],
    "charges": [{"id": "units", "meter": METER, "model": "per_unit", "unit_price": "0.01"}],
}


class Installation(ABC):
    """Servers over one store, and the truth of what they must hold."""

    name = ""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.truth = Truth()
        self.servers: list[Server] = []
        self.next_index = 0
        self.rounds = 0

    def targets(self) -> list[str]:
        """Return the addresses that clients are given."""
        return [f"127.0.0.1:{port}" for server in self.servers for port in server.ports]

    @abstractmethod
    def store_words(self) -> tuple[str, ...]:
        """Return the options that name store and archive to a command."""

    @abstractmethod
    def start(self) -> None:
        """Start all of it and subscribe the customers."""

    @abstractmethod
    def heal(self) -> None:
        """Start all that is dead."""

    def stop(self) -> None:
        """End all of it."""
        for server in self.servers:
            server.stop()

    def subscribe(self) -> None:
        """Put all customers on a plan."""
        with Client(self.targets()[0]) as client:
            client.create_plan(_PLAN)
            for customer in (name for names in CUSTOMERS.values() for name in names):
                start = datetime(2026, 1, 1, tzinfo=UTC)
                client.create_subscription(customer, "faults", start_time=start)


class Pair(Installation):
    """Two servers over one store. Proxies stand before the servers, and before the store."""

    name = "two servers"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.disk = SmallDisk(folder / "disk", _DISK_MB)
        self.archive = folder / "archive"
        place = folder if self.disk.problem else self.disk.path
        self.store = Store(place, "store")
        self.links = [Proxy(self.store.socket) for _ in range(2)]
        self.doors = [Proxy() for _ in range(2)]
        for number, (link, door) in enumerate(zip(self.links, self.doors, strict=True)):
            flags = ["--redis-url", f"redis://127.0.0.1:{link.port}", "--shards", str(SHARDS)]
            flags += ["--advertise", f"127.0.0.1:{door.port}", "--store-timeout", "2000"]
            flags += ["--archive", str(self.archive), "--archive-after", "1s"]
            self.servers.append(Server(folder, f"server-{number}", *flags))

    def targets(self) -> list[str]:
        """Return the addresses of the proxies before the servers."""
        return [f"127.0.0.1:{door.port}" for door in self.doors]

    def store_words(self) -> tuple[str, ...]:
        """Return the options that name store and archive to a command."""
        return ("--redis-url", self.store.url, "--archive", str(self.archive))

    def start(self) -> None:
        """Start the store and both servers and subscribe the customers."""
        self.archive.mkdir()
        self.store.start()
        for server in self.servers:
            server.begin()
        self.heal()
        self.subscribe()

    def heal(self) -> None:
        """Start all that is dead."""
        self.store.start()
        for server, door in zip(self.servers, self.doors, strict=True):
            server.start()
            door.upstream = server.ports[0]

    def stop(self) -> None:
        """End all of it."""
        super().stop()
        self.store.stop()
        for proxy in (*self.links, *self.doors):
            proxy.close()
        self.disk.close()


class Workers(Installation):
    """A supervisor with two workers and its embedded store."""

    name = "workers"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.data = folder / "data"
        flags = ("--data-dir", str(self.data), "--shards", str(SHARDS))
        self.servers = [Server(folder, "supervisor", *flags, workers=2)]

    @property
    def supervisor(self) -> Server:
        """The process that watches the workers."""
        return self.servers[0]

    @property
    def store_pid(self) -> int:
        """The pid of the embedded store."""
        return int(json.loads((self.data / "store.json").read_text())["pid"])

    def store_words(self) -> tuple[str, ...]:
        """Return the options that name the store to a command."""
        return ("--data-dir", str(self.data))

    def start(self) -> None:
        """Start it and subscribe the customers."""
        self.supervisor.start()
        self.subscribe()

    def heal(self) -> None:
        """Start the supervisor if it is dead, and wait until all workers listen again."""
        self.supervisor.start()
        for port in self.supervisor.ports:
            eventually(lambda port=port: listens(port), f"a worker listens on {port}", 120.0)


class Clustered(Installation):
    """Two servers over a cluster of three nodes."""

    name = "cluster"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.cluster = Cluster(folder)
        flags = ("--redis-url", self.cluster.url, "--shards", str(SHARDS))
        self.servers = [
            Server(folder, f"server-{n}", *flags, "--store-timeout", "2000") for n in range(2)
        ]

    def store_words(self) -> tuple[str, ...]:
        """Return the options that name the store to a command."""
        return ("--redis-url", self.cluster.url)

    def start(self) -> None:
        """Form the cluster, start both servers and subscribe the customers."""
        self.cluster.start()
        for server in self.servers:
            server.begin()
        self.heal()
        self.subscribe()

    def heal(self) -> None:
        """Start all that is dead."""
        for process in (*self.cluster.nodes, *self.servers):
            process.start()
        self.cluster.until_whole()

    def stop(self) -> None:
        """End all of it."""
        super().stop()
        for node in self.cluster.nodes:
            with contextlib.suppress(SystemExit):
                Process.stop(node)


INSTALLATIONS: tuple[type[Installation], ...] = (Pair, Workers, Clustered)
