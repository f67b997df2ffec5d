"""Whose turn it is: one piece of work at a time, between all that the event loop has to do.

A burst of batches touches all shards. Were each shard to decide as soon as a part of the first one
has come, each entry would hold that part only, and nothing else would run before all had decided.
So whatever takes about a millisecond waits for its turn: reading a batch's columns, deciding an
entry, taking the reply to one. A shard takes with it what has come until then: the busier the
server, the larger its entries, and an entry costs about as much as 500 of its records (ADR 23).
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Protocol


class Taker(Protocol):
    """One that waits for turns; it is due or not when its turn comes."""

    @property
    def hurried(self) -> bool:
        """Whether somebody waits for one round trip: the turn comes before those of others."""

    def take_turn(self) -> None:
        """Do one piece of work, a few milliseconds at most, and ask for another turn if need be."""


_LOOP_TURNS = 4
"""Turns of the loop for each large turn: what takes many short steps, as reading a message or
answering a small call does, makes that many while one shard decides."""
_HURRIED_TURNS = 8
"""Hurried turns in a row at most while another taker waits: small calls alone stop nobody."""
WAY_S = 0.002
"""How long large turns wait for a small call that has been announced: gRPC needs several turns of
the loop, and a thread of its own, before the call is there."""
WAY_MOST_S = 0.005
"""Nor does one that waits stand back for longer, however many small calls are announced."""


class Turns:
    """Gives turns in order, but the hurried first; one at most in each turn of the loop.

    Large turns wait for a small call that has been announced for ``way`` seconds, and for one after
    the other for ``way_most`` seconds at most.
    """

    def __init__(self, way: float = WAY_S, way_most: float = WAY_MOST_S) -> None:
        self._way = way
        self._way_most = way_most
        self._hurried: deque[Taker] = deque()
        self._others: deque[Taker | asyncio.Future[None]] = deque()
        self._asked: set[Taker] = set()
        self._coming: asyncio.Handle | None = None
        self._passed = 0
        self._way_until = 0.0
        self._way_limit = 0.0

    def ask(self, taker: Taker) -> None:
        """Give ``taker`` a turn in a later turn of the loop; asking twice gives one."""
        if taker.hurried:
            self._way_until = 0.0  # what way was made for has come
            if taker not in self._hurried:
                self._hurried.append(taker)
        elif taker not in self._asked:
            self._asked.add(taker)
            self._others.append(taker)
        self._arrange()

    async def mine(self) -> None:
        """Wait for a large turn, for the work up to the next wait; they come in order."""
        turn = asyncio.get_running_loop().create_future()
        self._others.append(turn)
        self._arrange()
        await turn

    def make_way(self) -> None:
        """Let no large turn begin for a moment: a small call is arriving, to ask for its own."""
        now = asyncio.get_running_loop().time()
        if not self._others or not self._way_limit:
            self._way_limit = now + self._way_most
        self._way_until = min(now + self._way, self._way_limit)

    def _arrange(self) -> None:
        loop = asyncio.get_running_loop()
        if isinstance(self._coming, asyncio.TimerHandle) and self._hurried:
            self._coming.cancel()
            self._coming = None
        if self._coming is None and (self._hurried or self._others):
            wait = 0.0 if self._hurried else self._way_until - loop.time()
            if wait > 0:
                self._coming = loop.call_later(wait, self._give)
            else:
                self._coming = loop.call_soon(self._give)

    def _give(self) -> None:
        self._coming = None
        self._passed += 1
        try:
            large = bool(self._others) and self._may_be_large()
            if self._hurried and not (large and self._passed > _HURRIED_TURNS):
                self._hurried.popleft().take_turn()
            elif large and self._passed >= _LOOP_TURNS:
                self._passed = 0
                self._give_large(self._others.popleft())
        finally:
            self._arrange()

    def _may_be_large(self) -> bool:
        return asyncio.get_running_loop().time() >= self._way_until

    def _give_large(self, taker: Taker | asyncio.Future[None]) -> None:
        self._way_limit = 0.0
        if isinstance(taker, asyncio.Future):
            if not taker.done():
                taker.set_result(None)
        else:
            self._asked.discard(taker)
            taker.take_turn()
