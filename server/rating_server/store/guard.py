"""Stops commits before memory or disk is full (P15), and calls while the clock is far behind.

A store that is really full cannot fold and so never empties itself again, and an append-only file
on a full disk ends the store. So commits stop early: at 90 % of maxmemory, and below a reserve of
free disk where the store is embedded. Reads, checks and folds go on.

A server whose clock is behind refuses records that are new as IN_FUTURE, for good, though they are
not: a machine that slept does. The store refuses one that is ahead (P11); this one stops by itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
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

CLOCK_BEHIND_US = 30_000_000
"""Half of what an event time may be ahead (S7.3)."""


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
        clock: Callable[[], int] = lambda: time.time_ns() // 1_000,
    ) -> None:
        self._options = options
        self._free_disk = free_disk
        self._disk_reserve = disk_reserve
        self._interval = interval
        self._clock = clock
        self._problem = ""
        self.clock_problem = ""
        """Why no call is decided, in one line; empty while the clock agrees with some node's."""
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
        asked = await asyncio.gather(*(self._ask(url, connections) for url in urls))
        told = [facts for facts in asked if facts is not None]
        if told:
            self._note(max((problem for problem, _ in told), key=bool) or self._disk_problem())
            self._note_clock(min(behind for _, behind in told))

    async def _ask(self, url: str, connections: dict[str, Connection]) -> tuple[str, int] | None:
        """Return why a node's memory stops commits, or empty, and how many µs this clock is behind
        the node's; None if it does not answer.
        """
        connection = connections.get(url)
        try:
            async with asyncio.timeout(self._options.deadline):
                if connection is None:
                    connection = open_connection(url, self._options.connect_timeout)
                    await establish(connection)
                    connections[url] = connection
                info = parse_info(await ask_redis(connection, b"INFO", b"memory"))
                seconds, micros = await ask_redis(connection, b"TIME")
                # Read after the reply: a slow one makes this clock look ahead, never behind.
                behind = int(seconds) * 1_000_000 + int(micros) - self._clock()
                return memory_problem(info), behind
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

    def _note_clock(self, behind_us: int) -> None:
        problem = ""
        if behind_us > CLOCK_BEHIND_US:
            problem = f"this server's clock is {behind_us // 1_000_000} s behind the store's"
        if bool(problem) != bool(self.clock_problem):
            if problem:
                _log.error("%s: calls are refused until both agree", problem)
            else:
                _log.warning("calls go on: this server's clock agrees with the store's again")
        self.clock_problem = problem

    def _note(self, problem: str) -> None:
        if bool(problem) != bool(self._problem):
            if problem:
                _log.error("%s", problem)
            else:
                _log.warning("commits go on: memory and disk are below their limits again")
        self._problem = problem
