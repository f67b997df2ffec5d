"""Processes of the fault tests: stores, a cluster of them, servers. Started, paused and killed."""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from redis.backoff import NoBackoff
from redis.connection import Connection, UnixDomainSocketConnection
from redis.exceptions import RedisError
from redis.retry import Retry

from rating_server.settings import neutral_environment
from rating_server.store.data_directory import DataDirectory
from rating_server.store.store_process import EmbeddedOptions, store_command

START_SECONDS = 300.0
SLOTS = 16_384
_MB = 1 << 20


def eventually(what: Callable[[], object], words: str, seconds: float = 60.0) -> None:
    """Wait until something is so; an error of the store means that it is not yet."""
    expires = time.monotonic() + seconds
    while time.monotonic() < expires:
        try:
            if what():
                return
        except (RedisError, OSError, KeyError, ValueError):
            pass  # a node that is down, or not there yet
        time.sleep(0.02)
    raise SystemExit(f"not in time: {words}")


class Process:
    """A process that can be started again with the same command."""

    def __init__(self, command: list[str], log: Path) -> None:
        self.command = command
        self.log = log
        self.process: subprocess.Popen[bytes] | None = None

    def spawn(self) -> None:
        """Start the process. Signals that Python ignores stay ignored in it (SIGXFSZ)."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.command,
                stdout=log,
                stderr=log,
                start_new_session=True,
                restore_signals=False,
                env=neutral_environment(),
            )

    @property
    def alive(self) -> bool:
        """Whether the process runs."""
        return self.process is not None and self.process.poll() is None

    @property
    def pid(self) -> int:
        """Its pid; it must have been started."""
        if self.process is None:
            raise SystemExit("not started")
        return self.process.pid

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        if self.process is not None:
            self.process.send_signal(number)

    def kill(self) -> None:
        """Kill it at once, as a crash does."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def stop(self) -> None:
        """Ask it to end; kill it if it does not."""
        if self.process is None or self.process.poll() is not None:
            return
        self.process.send_signal(signal.SIGCONT)
        self.process.terminate()
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.kill()


class Store(Process):
    """A Valkey with the settings of the embedded store, on a socket or, with ``port``, on TCP."""

    def __init__(self, folder: Path, name: str, port: int = 0, **settings: str) -> None:
        self.directory = DataDirectory(folder / name)
        self.directory.create()
        self.socket = str(folder / f"{name}.s")
        self.port = port
        command = store_command(self.directory, self.socket, EmbeddedOptions())
        for option, value in ({"port": str(port)} | settings).items():
            command += [f"--{option.replace('_', '-')}", value]
        super().__init__(command, folder / f"{name}.log")

    @property
    def url(self) -> str:
        """URL of this store alone."""
        return f"redis://127.0.0.1:{self.port}" if self.port else f"unix://{self.socket}"

    def start(self) -> None:
        """Start it, unless it runs, and wait until it answers."""
        if not self.alive:
            self.spawn()
        eventually(lambda: self.ask("PING") == b"PONG", f"{self.log} says why", START_SECONDS)

    def ask(self, *arguments: str | bytes | int) -> Any:
        """Send one command on a connection of its own and return the reply."""
        given = {"retry": Retry(NoBackoff(), 0), "socket_timeout": 5, "protocol": 2}
        connection = (
            Connection(host="127.0.0.1", port=self.port, **given)
            if self.port
            else UnixDomainSocketConnection(path=self.socket, **given)
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

    def limit_files(self, more: int) -> None:
        """Let no file of the running store grow by more than so many bytes (EFBIG)."""
        largest = max(
            (file.stat().st_size for file in self.directory.store_files.rglob("*.aof")), default=0
        )
        limit = (largest + more, resource.RLIM_INFINITY)
        resource.prlimit(self.pid, resource.RLIMIT_FSIZE, limit)


class Cluster:
    """A Redis Cluster of primaries with an equal share of the slots each."""

    def __init__(self, folder: Path, primaries: int = 3) -> None:
        settings = {
            "cluster_enabled": "yes",
            "cluster_node_timeout": "1500",
            "cluster_require_full_coverage": "no",
        }
        self.nodes = [
            Store(folder, f"n{number}", free_port(), **settings) for number in range(primaries)
        ]

    @property
    def url(self) -> str:
        """URL of the cluster by its nodes."""
        return "redis+cluster://" + ",".join(f"127.0.0.1:{node.port}" for node in self.nodes)

    def start(self) -> None:
        """Start the nodes and form the cluster."""
        bounds = [SLOTS * n // len(self.nodes) for n in range(len(self.nodes) + 1)]
        for number, node in enumerate(self.nodes):
            node.start()
            node.ask("CLUSTER", "ADDSLOTSRANGE", bounds[number], bounds[number + 1] - 1)
            node.ask("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
        for node in self.nodes[1:]:
            node.ask("CLUSTER", "MEET", "127.0.0.1", self.nodes[0].port)
        self.until_whole()

    def until_whole(self) -> None:
        """Wait until every node sees all slots served."""

        def whole() -> bool:
            infos = [node.ask("CLUSTER", "INFO").decode() for node in self.nodes]
            return all(
                "cluster_state:ok" in info and f"cluster_slots_ok:{SLOTS}" in info for info in infos
            )

        eventually(whole, "the cluster is whole")


def free_port() -> int:
    """Return a port that nothing listens on, below the one of a cluster node's bus."""
    for _ in range(100):
        with socket.socket() as low, socket.socket() as high:
            low.bind(("127.0.0.1", 0))
            port: int = low.getsockname()[1]
            try:
                high.bind(("127.0.0.1", port + 10_000))
            except (OSError, OverflowError):
                continue
            return port
    raise SystemExit("no free pair of ports")


def listens(port: int) -> bool:
    """Return whether somebody listens on a port of this machine; OSError if not."""
    with socket.create_connection(("127.0.0.1", port), 1.0):
        return True


def free_ports(count: int) -> list[int]:
    """Return so many ports in a row that nothing listens on."""
    for _ in range(100):
        first = free_port()
        with contextlib.ExitStack() as stack:
            try:
                for port in range(first, first + count):
                    stack.enter_context(socket.socket()).bind(("127.0.0.1", port))
            except (OSError, OverflowError):
                continue
            return list(range(first, first + count))
    raise SystemExit("no free ports in a row")


class Server(Process):
    """One `ratewright serve`; it keeps its ports over kills and starts."""

    def __init__(self, folder: Path, name: str, *flags: str, workers: int = 1) -> None:
        self._port_file = folder / f"{name}.port"
        self.ports: list[int] = []
        self.workers = workers
        self._flags = [*flags, "--workers", str(workers), "--acceptance-window", "unlimited"]
        super().__init__([], folder / f"{name}.log")

    def begin(self) -> None:
        """Start it, unless it runs, without waiting."""
        if self.alive:
            return
        self._port_file.unlink(missing_ok=True)
        command = [sys.executable, "-m", "rating_server.cli.entry", "serve", *self._flags]
        if self.workers > 1 and not self.ports:
            self.ports = free_ports(self.workers)  # free ones would not be in a row a second time
        command += ["--port", str(self.ports[0] if self.ports else 0)]
        self.command = [*command, "--port-file", str(self._port_file)]
        self.spawn()

    def wait(self) -> None:
        """Wait until it answers; one whose ports are still taken is started again."""
        expires = time.monotonic() + START_SECONDS
        while not self._port_file.exists():
            if not self.alive:
                self.begin()
                time.sleep(0.2)
            if time.monotonic() > expires:
                raise SystemExit(f"a server does not start: {self.log.read_text()[-2000:]}")
            time.sleep(0.01)
        self.ports = [int(line) for line in self._port_file.read_text().split()]

    def start(self) -> None:
        """Start it, unless it runs, and wait until it answers."""
        self.begin()
        self.wait()

    @property
    def target(self) -> str:
        """Address of its first process."""
        return f"127.0.0.1:{self.ports[0]}"

    def children(self) -> list[int]:
        """Return the pids of its workers."""
        path = Path(f"/proc/{self.pid}/task/{self.pid}/children")
        pids = [int(pid) for pid in path.read_text().split()]
        return [pid for pid in pids if b"rating_server" in _command_line(pid)]


def _command_line(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


class SmallDisk:
    """A tmpfs of a few MiB, where the machine allows mounting one; `fill` leaves no byte free."""

    def __init__(self, path: Path, megabytes: int) -> None:
        path.mkdir()
        self.path = path
        words = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "none", str(path)]
        try:
            done = subprocess.run(words, capture_output=True, text=True, check=False)
            self.problem = done.stderr.strip() if done.returncode else ""
        except OSError as error:
            self.problem = str(error)
        """Why there is none; empty if there is."""

    def fill(self) -> None:
        """Take all that is free."""
        with (self.path / "ballast").open("wb", buffering=0) as file:
            try:
                while True:
                    file.write(bytes(_MB // 4))
            except OSError:
                return

    def free(self) -> None:
        """Give it back."""
        (self.path / "ballast").unlink(missing_ok=True)

    def close(self) -> None:
        """Unmount it."""
        if not self.problem:
            subprocess.run(["umount", str(self.path)], check=True)


def kill_pid(pid: int) -> None:
    """Kill a process that this one has not started itself; it may be gone already."""
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return
