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

from rating_server.store.adapter import LinkOptions
from rating_server.store.connection import (
    CONNECTION_ERRORS,
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
        connections: dict[str, Connection] = {}
        try:
            while True:
                await self._look(connections)
                await asyncio.sleep(self._interval)
        finally:
            for connection in connections.values():
                await disconnect(connection)

    async def _look(self, connections: dict[str, Connection]) -> None:
        """Ask every node that holds logs; one that does not answer does not hide the others."""
        try:
            async with asyncio.timeout(self._options.deadline):
                urls = await self._options.topology.primaries()
        except CONNECTION_ERRORS as error:
            # The sessions notice the loss themselves; what was last known stays.
            _log.debug("the guard does not find the nodes: %s", error)
            return
        for url in connections.keys() - set(urls):
            await disconnect(connections.pop(url))
        asked = await asyncio.gather(*(self._memory_of(url, connections) for url in urls))
        problems = [problem for problem in asked if problem is not None]
        if problems:
            self._note(max(problems, key=bool) or self._disk_problem())

    async def _memory_of(self, url: str, connections: dict[str, Connection]) -> str | None:
        """Return why a node's memory stops commits, or empty; None if it does not answer."""
        connection = connections.get(url)
        try:
            async with asyncio.timeout(self._options.deadline):
                if connection is None:
                    connection = open_connection(url, self._options.connect_timeout)
                    await establish(connection)
                    connections[url] = connection
                return memory_problem(parse_info(await ask_redis(connection, b"INFO", b"memory")))
        except CONNECTION_ERRORS as error:
            _log.debug("the guard lost a connection: %s", error)
            connections.pop(url, None)
            if connection is not None:
                await disconnect(connection)
            return None

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
