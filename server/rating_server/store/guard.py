"""Stops commits before memory or disk is full (P15).

A store that is really full cannot fold and so never empties itself again, and an append-only file
on a full disk ends the store. So commits stop early: at 90 % of maxmemory, and below a reserve of
free disk where the store is embedded. Reads, checks and folds go on.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable

from redis.asyncio.connection import Connection

from rating_server.store.adapter import (
    CONNECTION_ERRORS,
    LinkOptions,
    ask_redis,
    disconnect,
    establish,
    open_connection,
    parse_info,
)

_log = logging.getLogger(__name__)


def memory_problem(info: dict[str, str]) -> str:
    """Return why commits stop by INFO memory, in one line; empty if they need not."""
    limit = int(info.get("maxmemory", "0"))
    used = int(info.get("used_memory", "0"))
    if limit and used * 10 >= limit * 9:
        return f"the store uses {used} of {limit} bytes of memory; commits stop at 90 %"
    return ""


class StoreGuard:
    """Watches memory every ``interval`` seconds, and the disk if ``free_disk`` can tell it.

    ``free_disk`` returns bytes; below ``disk_reserve`` bytes commits stop.
    """

    def __init__(
        self,
        options: LinkOptions,
        free_disk: Callable[[], int] | None = None,
        disk_reserve: int = 256 * 1024 * 1024,
        interval: float = 1.0,
    ) -> None:
        self._options = options
        self._free_disk = free_disk
        self._disk_reserve = disk_reserve
        self._interval = interval
        self._problem = ""
        self._task: asyncio.Task[None] | None = None

    @property
    def problem(self) -> str:
        """Why commits are stopped, in one line; empty while they are not."""
        return self._problem

    def stopped(self) -> bool:
        """Whether commits are stopped."""
        return bool(self._problem)

    def start(self) -> None:
        """Begin to watch."""
        if self._task is None:
            self._task = asyncio.create_task(self._watch())

    async def close(self) -> None:
        """End watching."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
            self._task = None

    async def _watch(self) -> None:
        while True:
            try:
                connection = open_connection(self._options.url(), self._options.connect_timeout)
                try:
                    async with asyncio.timeout(self._options.deadline):
                        await establish(connection)
                    await self._watch_on(connection)
                finally:
                    await disconnect(connection)
            except CONNECTION_ERRORS as error:
                # The sessions notice the loss themselves; what was last known stays.
                _log.debug("the guard lost its connection: %s", error)
            await asyncio.sleep(self._interval)

    async def _watch_on(self, connection: Connection) -> None:
        while True:
            async with asyncio.timeout(self._options.deadline):
                info = parse_info(await ask_redis(connection, b"INFO", b"memory"))
            self._note(memory_problem(info) or self._disk_problem())
            await asyncio.sleep(self._interval)

    def _disk_problem(self) -> str:
        if self._free_disk is None:
            return ""
        free = self._free_disk()
        if free < self._disk_reserve:
            return (
                f"the store's disk has {free} bytes left; commits stop below {self._disk_reserve}"
            )
        return ""

    def _note(self, problem: str) -> None:
        if bool(problem) != bool(self._problem):
            if problem:
                _log.error("%s", problem)
            else:
                _log.warning("commits go on: memory and disk are below their limits again")
        self._problem = problem
