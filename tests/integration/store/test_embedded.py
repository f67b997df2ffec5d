"""The embedded store: started, found again after any crash, never two on one directory."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from rating_server.ports import StoreRefused
from rating_server.store import embedded, store_process
from rating_server.store.connection import ask_redis, disconnect, establish, open_connection
from rating_server.store.data_directory import (
    DataDirectory,
    StoreRecord,
    is_locked,
    process_start_ticks,
)
from rating_server.store.embedded import EmbeddedStore, status, stop_orphan
from rating_server.store.store_process import EmbeddedOptions

HOLDER = """
import asyncio, sys
from pathlib import Path
from rating_server.store.embedded import EmbeddedStore
async def main():
    store = EmbeddedStore(Path(sys.argv[1]))
    await store.start()
    print(store.store_pid, flush=True)
    await asyncio.sleep(600)
asyncio.run(main())
"""


@pytest.fixture(autouse=True)
def run_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A private place for run directories; a test must leave nothing in it."""
    # After tmp_path, which pytest puts below the system's own temporary directory.
    root = Path(tempfile.mkdtemp(prefix="rw-run-"))
    monkeypatch.setattr(tempfile, "tempdir", str(root))
    monkeypatch.setenv("TMPDIR", str(root))
    yield root
    left = list(root.iterdir())
    shutil.rmtree(root)
    assert left == []


@contextlib.asynccontextmanager
async def running(
    data_dir: Path, options: EmbeddedOptions | None = None
) -> AsyncIterator[EmbeddedStore]:
    store = EmbeddedStore(data_dir, options)
    await store.start()
    try:
        yield store
    finally:
        await store.stop()


async def ask(store: EmbeddedStore, *arguments: str) -> object:
    connection = open_connection(store.url(), 2.0)
    try:
        await establish(connection)
        return await ask_redis(connection, *(argument.encode() for argument in arguments))
    finally:
        await disconnect(connection)


def orphan(data_dir: Path) -> int:
    """Leave a store behind whose server was killed; return the store's pid."""
    holder = subprocess.Popen([sys.executable, "-c", HOLDER, str(data_dir)], stdout=subprocess.PIPE)
    assert holder.stdout is not None
    pid = int(holder.stdout.readline())
    holder.kill()
    holder.wait()
    holder.stdout.close()
    return pid


def modes(run_root: Path) -> list[int]:
    return [directory.stat().st_mode & 0o777 for directory in run_root.iterdir()]


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - what is awaited happens in another process
            await asyncio.sleep(0.02)


def test_data_outlives_a_stop_and_nothing_else_does(tmp_path: Path, run_root: Path) -> None:
    """A stop ends process, socket and run directory; the next start has the data."""

    async def scenario() -> None:
        assert status(tmp_path).state == "STOPPED"
        async with running(tmp_path) as store:
            assert modes(run_root) == [0o700]
            now = status(tmp_path)
            assert (now.state, now.server_pid, now.store_pid) == (
                "RUNNING",
                os.getpid(),
                store.store_pid,
            )
            assert await ask(store, "SET", "k", "v") == b"OK"
            assert await ask(store, "CONFIG", "GET", "appendfsync") == [b"appendfsync", b"always"]
            assert await ask(store, "CONFIG", "GET", "port") == [b"port", b"0"]
            assert os.getsid(store.store_pid) == store.store_pid
        assert modes(run_root) == []
        assert status(tmp_path).state == "STOPPED"
        async with running(tmp_path) as store:
            assert not store.adopted
            assert await ask(store, "GET", "k") == b"v"

    asyncio.run(scenario())


def test_second_start_is_refused_and_names_the_first(tmp_path: Path) -> None:
    """One server a data directory; the refusal names the pid, and harms nothing."""

    async def scenario() -> None:
        async with running(tmp_path) as store:
            with pytest.raises(StoreRefused, match=f"pid {os.getpid()}") as refused:
                await EmbeddedStore(tmp_path).start()
            assert refused.value.reason == "DATA_DIRECTORY_IN_USE"
            with pytest.raises(StoreRefused, match="in use"):
                await stop_orphan(tmp_path)
            assert await ask(store, "PING") == b"PONG"

    asyncio.run(scenario())


@pytest.mark.faults
def test_orphan_is_adopted(tmp_path: Path) -> None:
    """After kill -9 of the server the store lives on, and the next server takes it over."""

    async def scenario(pid: int) -> None:
        assert status(tmp_path).state == "ORPHAN"
        assert status(tmp_path).store_pid == pid
        async with running(tmp_path) as store:
            assert store.adopted
            assert store.store_pid == pid
            assert await ask(store, "PING") == b"PONG"
        assert process_start_ticks(pid) == 0 or not is_locked(DataDirectory(tmp_path).store_lock)

    asyncio.run(scenario(orphan(tmp_path)))


@pytest.mark.faults
def test_orphan_of_a_start_that_was_cut_short_is_adopted(tmp_path: Path) -> None:
    """A server killed before it could ask its store's run_id leaves a store that can be found."""

    async def scenario(pid: int) -> None:
        directory = DataDirectory(tmp_path)
        record = directory.read_record()
        directory.write_record(StoreRecord(socket=record.socket))
        async with running(tmp_path) as store:
            assert store.adopted
            assert store.store_pid == pid
            assert directory.read_record() == record

    asyncio.run(scenario(orphan(tmp_path)))


@pytest.mark.faults
def test_store_that_disagrees_is_not_adopted(tmp_path: Path) -> None:
    """A store with another run_id than recorded is refused, not used and not doubled."""

    async def scenario(pid: int) -> None:
        directory = DataDirectory(tmp_path)
        record = json.loads(directory.record_file.read_text())
        directory.record_file.write_text(json.dumps(record | {"run_id": "f" * 40}))
        store = EmbeddedStore(tmp_path)
        with pytest.raises(StoreRefused, match="store stop") as refused:
            await store.start()
        assert refused.value.reason == "STORE_NOT_ADOPTED"
        assert not is_locked(directory.server_lock)
        assert await stop_orphan(tmp_path) == pid
        assert status(tmp_path).state == "STOPPED"

    asyncio.run(scenario(orphan(tmp_path)))


@pytest.mark.faults
def test_orphan_that_cannot_be_reached_is_not_doubled(
    tmp_path: Path, run_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An orphan whose socket was swept away is never joined by a second store; it can be ended."""
    monkeypatch.setattr(embedded, "_SILENCE_S", 0.3)
    pid = orphan(tmp_path)
    (run_directory,) = run_root.iterdir()
    shutil.rmtree(run_directory)
    with pytest.raises(StoreRefused) as refused:
        asyncio.run(EmbeddedStore(tmp_path).start())
    assert refused.value.reason == "STORE_NOT_ADOPTED"
    assert asyncio.run(stop_orphan(tmp_path)) == pid
    assert status(tmp_path).state == "STOPPED"


@pytest.mark.faults
def test_stop_orphan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`stop_orphan` ends an orphan, also one that hangs, and says 0 where there is none."""
    assert asyncio.run(stop_orphan(tmp_path / "nowhere")) == 0
    pid = orphan(tmp_path)
    assert asyncio.run(stop_orphan(tmp_path)) == pid
    assert asyncio.run(stop_orphan(tmp_path)) == 0
    monkeypatch.setattr(store_process, "_SIGNAL_TIMEOUT_S", 0.2)
    pid = orphan(tmp_path)
    os.kill(pid, signal.SIGSTOP)
    assert asyncio.run(stop_orphan(tmp_path)) == pid
    assert not is_locked(DataDirectory(tmp_path).store_lock)


@pytest.mark.faults
def test_dead_store_is_restarted(tmp_path: Path) -> None:
    """A store that dies while the server runs comes back with its data, again and again."""

    async def scenario() -> None:
        async with running(tmp_path) as store:
            for round_number in range(1, 3):
                assert await ask(store, "SET", "k", str(round_number)) == b"OK"
                dead = store.store_pid
                os.kill(dead, signal.SIGKILL)
                await until(lambda n=round_number: store.restarts == n)
                assert store.store_pid != dead
                assert await ask(store, "GET", "k") == str(round_number).encode()
                assert store.problem == ""

    asyncio.run(scenario())


@pytest.mark.faults
def test_dead_store_is_not_restarted_on_a_full_disk(tmp_path: Path) -> None:
    """Below the reserve of free disk a dead store stays dead and the reason is told (P15)."""

    async def scenario() -> None:
        async with running(tmp_path, EmbeddedOptions(disk_reserve=2**62)) as store:
            os.kill(store.store_pid, signal.SIGKILL)
            await until(lambda: "not restarted" in store.problem)
            assert store.restarts == 0

    asyncio.run(scenario())


@pytest.mark.faults
def test_adopted_store_is_restarted_too(tmp_path: Path) -> None:
    """The death of a store that is no child of this server is noticed as well."""

    async def scenario() -> None:
        async with running(tmp_path) as store:
            assert store.adopted
            os.kill(store.store_pid, signal.SIGKILL)
            await until(lambda: store.restarts == 1)
            assert await ask(store, "PING") == b"PONG"

    orphan(tmp_path)
    asyncio.run(scenario())


def test_stale_record_harms_nobody(tmp_path: Path) -> None:
    """A record whose pid is another process's by now leads to a fresh start, not to a signal."""

    async def scenario() -> None:
        directory = DataDirectory(tmp_path)
        directory.create()
        mine = process_start_ticks(os.getpid())
        directory.write_record(StoreRecord(str(tmp_path / "s"), os.getpid(), mine + 1, "f" * 40))
        async with running(tmp_path) as store:
            assert not store.adopted
            assert await ask(store, "PING") == b"PONG"
        directory.record_file.write_text("{")
        async with running(tmp_path) as store:
            assert await ask(store, "PING") == b"PONG"

    asyncio.run(scenario())


def test_store_that_cannot_start_says_why(tmp_path: Path) -> None:
    """A broken append-only file ends the start with the store's own words, and frees the lock."""

    async def scenario() -> None:
        async with running(tmp_path) as store:
            await ask(store, "SET", "k", "v")
        files = tmp_path / "store" / "appendonlydir"
        for file in files.glob("*.manifest"):
            file.write_text("broken\n")
        with pytest.raises(StoreRefused, match="manifest") as refused:
            await EmbeddedStore(tmp_path).start()
        assert refused.value.reason == "STORE_NOT_STARTED"
        directory = DataDirectory(tmp_path)
        assert not is_locked(directory.server_lock)
        assert not is_locked(directory.store_lock)

    asyncio.run(scenario())


def test_long_run_path_is_refused(
    tmp_path: Path, run_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A socket path beyond 107 bytes is refused in words, not by the operating system."""
    long = run_root / ("x" * 100)
    long.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(long))
    with pytest.raises(StoreRefused, match="TMPDIR") as refused:
        asyncio.run(EmbeddedStore(tmp_path).start())
    assert refused.value.reason == "RUN_DIRECTORY_UNUSABLE"
    long.rmdir()


def test_platform_without_a_store_is_told_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the binary cannot be run, the error names the way out."""
    monkeypatch.setattr(store_process, "get_binary_path", lambda: tmp_path / "absent")
    with pytest.raises(StoreRefused, match="URL of a Redis") as refused:
        asyncio.run(EmbeddedStore(tmp_path).start())
    assert refused.value.reason == "STORE_NOT_STARTED"
