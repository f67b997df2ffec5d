"""This server among the others: what it owns, whom it tells, how shards change hands (DESIGN §8).

A server that joins reads the logs of the shards that it shall own, and only then says that it holds
them; until then clients are sent to whoever held them before. A server that leaves says so, serves
on until the others hold its shards, and only then stops.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import Callable, Iterable

from rating_server.ports import Clock
from rating_server.store.adapter import LinkOptions
from rating_server.store.registry import Pace, ServerRegistry
from rating_server.store.sessions import ShardSessions
from rating_server.topology import Member, Topology, topology_of

_log = logging.getLogger(__name__)

_BOOT_BYTES = 16


class Membership:
    """One server's part in the set of servers, from `announce` to `close`.

    Sessions of shards that others own are closed when nobody used them for ``idle_s`` seconds.
    """

    def __init__(
        self,
        options: LinkOptions,
        sessions: ShardSessions,
        shard_count: int,
        idle_s: float,
        clock: Clock,
        pace: Pace | None = None,
    ) -> None:
        self._sessions = sessions
        self._idle_s = idle_s
        self._registry = ServerRegistry(options, self._me, self._heard, self._hurried, pace)
        self._boot = os.urandom(_BOOT_BYTES).hex()
        self._since = clock()
        self.ids: Callable[[], tuple[int, int]] = lambda: (0, 0)
        """Tells what the fullest id index holds, and its limit."""
        self._address = ""
        self._leaving = False
        self._topology = Topology(shard_count)
        self._news = asyncio.Event()

    @property
    def topology(self) -> Topology:
        """The topology as this server knows it; without members before it was announced."""
        return self._topology

    @property
    def owned(self) -> frozenset[int]:
        """The shards that this server owns or shall own."""
        found = self._topology
        return frozenset((*found.owned_by(self._address), *found.meant_for(self._address)))

    async def announce(self, address: str, patience: float) -> None:
        """Join under the address at which clients reach this server.

        Returns when it holds what it shall own, after ``patience`` seconds at the latest.
        """
        self._address = address
        self._registry.start()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(patience):
                while not self._joined():
                    await self._next_news()
                return
        _log.warning("this server does not yet hold all the shards that it shall own")

    async def leave(self, patience: float) -> None:
        """Hand all shards over to the others, if there are any; ``patience`` seconds at most."""
        if not self._address or not self._others():
            return
        self._leaving = True
        self._registry.nudge()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(patience):
                while self._others() and self._topology.owned_by(self._address):
                    await self._next_news()

    async def close(self) -> None:
        """Leave the registry at once."""
        await self._registry.close()

    def changed(self) -> None:
        """Take notice that a session has settled: the others want to know."""
        if self._address:
            self._registry.nudge()

    def _me(self) -> Member:
        ready = self._sessions.ready
        return Member(self._address, self._boot, self._since, self._leaving, ready, *self.ids())

    def _others(self) -> list[Member]:
        return [
            member
            for member in self._topology.members
            if member.address != self._address and not member.leaving
        ]

    def _joined(self) -> bool:
        meant = self._topology.meant_for(self._address)
        known = any(member.boot == self._boot for member in self._topology.members)
        return known and self._sessions.ready.issuperset(meant)

    def _hurried(self) -> bool:
        return self._leaving or self._topology.owners != self._topology.targets

    def _heard(self, members: Iterable[Member]) -> None:
        known = tuple(sorted(members))
        if known != self._topology.members:
            before = [member.address for member in self._topology.members]
            self._topology = topology_of(self._topology.shard_count, known)
            after = [member.address for member in known]
            if before != after:
                _log.info("the living servers are now %s", ", ".join(after))
        for shard in self._topology.meant_for(self._address):
            self._sessions.require(shard)
        if not self._leaving:
            self._sessions.close_idle(self.owned, self._idle_s)
        self._news.set()

    async def _next_news(self) -> None:
        self._news.clear()
        await self._news.wait()
