"""The sessions of the usage shards on one server: opened when they are needed, closed when idle.

Any server may have a session on any shard at any time; the protocol makes that safe (P1, P5). This
decides only which of them cost this server memory, a connection and fold work.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection

from rating_server.ports import StoreError, StoreRefused
from rating_server.store.driver import SessionDriver

_log = logging.getLogger(__name__)

_PATIENCE_S = 1.0


class ShardSessions:
    """The open sessions by shard. ``build`` makes one that is not started; ``prepare`` is awaited
    once it serves, before it counts as settled; ``changed`` is called whenever one has settled.
    """

    def __init__(
        self,
        build: Callable[[int], SessionDriver],
        prepare: Callable[[SessionDriver], Awaitable[object]],
        changed: Callable[[], None],
    ) -> None:
        self._build = build
        self._prepare = prepare
        self._changed = changed
        self._drivers: dict[int, SessionDriver] = {}
        self._used: dict[int, float] = {}
        self._settled: set[int] = set()
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._closing: set[asyncio.Task[None]] = set()
        self._closed = False

    @property
    def open(self) -> dict[int, SessionDriver]:
        """The sessions that are open, by shard."""
        return dict(self._drivers)

    @property
    def settled(self) -> frozenset[int]:
        """The shards whose sessions have served since they were opened."""
        return frozenset(self._settled)

    @property
    def ready(self) -> frozenset[int]:
        """The settled shards whose sessions serve now."""
        return frozenset(shard for shard in self._settled if self._drivers[shard].ready)

    def use(self, shard: int) -> SessionDriver:
        """Return the session of a shard for a call of now; it is opened if need be."""
        self._used[shard] = asyncio.get_running_loop().time()
        return self.require(shard)

    def require(self, shard: int) -> SessionDriver:
        """Return the session of a shard; it is opened if need be. Calls may come at once, and wait
        until it has read its log.
        """
        driver = self._drivers.get(shard)
        if driver is None:
            driver = self._open(shard)
            self._tasks[shard] = asyncio.create_task(self._settle_some_time(shard, driver))
        return driver

    def close_idle(self, keep: Collection[int], idle_s: float) -> None:
        """Close the sessions that nobody used for ``idle_s`` seconds, but for those to keep."""
        now = asyncio.get_running_loop().time()
        for shard, driver in list(self._drivers.items()):
            if shard in keep or driver.busy or now - self._used[shard] < idle_s:
                continue
            _log.info("the session of shard %d is closed: another server has it", shard)
            self._forget(shard)
            closing = asyncio.create_task(driver.close())
            self._closing.add(closing)
            closing.add_done_callback(self._closing.discard)

    async def until_settled(self, shards: Collection[int]) -> None:
        """Open these and wait until they have settled. StoreRefused if a log is unreadable,
        StoreError if one cannot be prepared.
        """
        opened = [(shard, self._drivers.get(shard) or self._open(shard)) for shard in shards]
        await asyncio.gather(*(self._settle(shard, driver) for shard, driver in opened))

    async def close(self) -> None:
        """End all sessions; calls that wait fail."""
        self._closed = True
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)
        await asyncio.gather(*(driver.close() for driver in self._drivers.values()))
        await asyncio.gather(*self._closing, return_exceptions=True)

    def _forget(self, shard: int) -> None:
        del self._drivers[shard]
        del self._used[shard]
        self._settled.discard(shard)
        task = self._tasks.pop(shard, None)
        if task is not None:
            task.cancel()

    def _open(self, shard: int) -> SessionDriver:
        driver = self._drivers[shard] = self._build(shard)
        self._used.setdefault(shard, asyncio.get_running_loop().time())
        if not self._closed:
            driver.start()
        return driver

    async def _settle(self, shard: int, driver: SessionDriver) -> None:
        await driver.until_ready()
        await self._prepare(driver)
        self._settled.add(shard)
        self._changed()

    async def _settle_some_time(self, shard: int, driver: SessionDriver) -> None:
        while True:
            try:
                await self._settle(shard, driver)
            except (StoreError, StoreRefused) as error:
                _log.warning("shard %d is not ready yet: %s", shard, error)
                await asyncio.sleep(_PATIENCE_S)
            else:
                self._tasks.pop(shard, None)
                return
