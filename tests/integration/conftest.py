"""Private real stores for the integration tests: started, paused, killed and ended by the test."""

from __future__ import annotations

import asyncio
import os
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
from redis.exceptions import ResponseError

from rating_server.store.connection import ask_redis, disconnect, establish, open_connection
from rating_server.store.data_directory import DataDirectory
from rating_server.store.store_process import EmbeddedOptions, store_command, unix_url


class StoreProcess:
    """A Valkey of the test's own, with the settings of the embedded store unless changed."""

    def __init__(self, root: Path, changes: dict[str, str] | None = None) -> None:
        self.root = root
        self.directory = DataDirectory(root / "data")
        self.directory.create()
        self.socket = str(root / "s")
        self._command = store_command(self.directory, self.socket, EmbeddedOptions())
        for name, value in (changes or {}).items():
            self._command += [f"--{name}", value]
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """URL of the store's socket."""
        return unix_url(self.socket)

    def start(self) -> None:
        """Start the store and wait until it answers."""
        with self.directory.store_log.open("ab") as log:
            self.process = subprocess.Popen(
                self._command, stdout=log, stderr=log, start_new_session=True
            )
        expires = time.monotonic() + 20
        while time.monotonic() < expires:
            try:
                if self.ask("PING") == b"PONG":
                    return
            except Exception:  # noqa: BLE001 - whatever it is, the store is not ready yet
                time.sleep(0.01)
        raise AssertionError(self.directory.log_tail())

    def ask(self, *arguments: str | bytes) -> Any:
        """Send one command on a connection of its own and return the reply."""

        async def once() -> Any:
            connection = open_connection(self.url, 2.0)
            try:
                await establish(connection)
                packed = [a.encode() if isinstance(a, str) else a for a in arguments]
                return await ask_redis(connection, *packed)
            finally:
                await disconnect(connection)

        return asyncio.run(once())

    def listen(self) -> int:
        """Open a TCP port on loopback, which replication needs, and return it."""
        for _ in range(100):
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", 0))
                port: int = probe.getsockname()[1]
            try:
                self.ask("CONFIG", "SET", "port", str(port))
            except ResponseError:
                continue  # taken by somebody in between
            return port
        raise AssertionError("no free port")

    def until(self, section: str, line: bytes) -> None:
        """Wait until INFO shows a line."""
        expires = time.monotonic() + 15
        while line not in self.ask("INFO", section):
            assert time.monotonic() < expires, self.ask("INFO", section)
            time.sleep(0.02)

    def signal(self, number: signal.Signals) -> None:
        """Send the store a signal."""
        assert self.process is not None
        os.kill(self.process.pid, number)

    def kill(self) -> None:
        """Kill the store at once, as a crash does."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def end(self) -> None:
        """Make sure that the process is gone."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()


StoreFactory = Callable[..., StoreProcess]


@pytest.fixture
def store_factory() -> Iterator[StoreFactory]:
    """A function that starts a private store; settings as keywords, `_` for `-`."""
    started: list[StoreProcess] = []

    def build(**changes: str) -> StoreProcess:
        # A short path: a unix socket's has at most 107 bytes.
        root = Path(tempfile.mkdtemp(prefix="rw-test-"))
        settings = {name.replace("_", "-"): value for name, value in changes.items()}
        store = StoreProcess(root, settings)
        started.append(store)
        store.start()
        return store

    yield build
    for store in started:
        store.end()
        shutil.rmtree(store.root)


@pytest.fixture(scope="session")
def _shared_store() -> Iterator[StoreProcess]:
    root = Path(tempfile.mkdtemp(prefix="rw-test-"))
    store = StoreProcess(root)
    store.start()
    yield store
    store.end()
    shutil.rmtree(root)


@pytest.fixture
def store(_shared_store: StoreProcess) -> StoreProcess:
    """An empty store without functions; the process is shared, so do not kill or pause it."""
    _shared_store.ask("FLUSHALL")
    _shared_store.ask("FUNCTION", "FLUSH")
    return _shared_store


@pytest.fixture
def free_port() -> int:
    """A TCP port on loopback that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
