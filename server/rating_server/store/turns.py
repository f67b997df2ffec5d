"""Whose turn it is to decide: one entry at a time, between all that the event loop has to do.

A burst of batches touches all shards. Were each shard to decide as soon as a part of the first one
has come, each entry would hold that part only, and nothing else would run before all had decided.
So a shard waits for its turn, and takes with it what has come until then: the busier the server,
the larger its entries, and an entry costs about as much as 500 of its records (ADR 23).
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


class Turns:
    """Gives turns in order, but the hurried first; one at most in each turn of the loop."""

    def __init__(self) -> None:
        self._hurried: deque[Taker] = deque()
        self._others: deque[Taker] = deque()
        self._asked: set[Taker] = set()
        self._coming = False
        self._passed = 0

    def ask(self, taker: Taker) -> None:
        """Give ``taker`` a turn in a later turn of the loop; asking twice gives one."""
        if taker.hurried:
            if taker not in self._hurried:
                self._hurried.append(taker)
        elif taker not in self._asked:
            self._asked.add(taker)
            self._others.append(taker)
        self._arrange()

    def _arrange(self) -> None:
        if not self._coming and (self._hurried or self._others):
            self._coming = True
            asyncio.get_running_loop().call_soon(self._give)

    def _give(self) -> None:
        self._coming = False
        self._passed += 1
        try:
            if self._hurried and not (self._others and self._passed > _HURRIED_TURNS):
                self._hurried.popleft().take_turn()
            elif self._passed >= _LOOP_TURNS:
                taker = self._others.popleft()
                self._asked.discard(taker)
                self._passed = 0
                taker.take_turn()
        finally:
            self._arrange()
