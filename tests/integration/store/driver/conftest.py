"""A server of one shard: the asyncio driver on a machine that takes each id once."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field

import pytest

from rating_core.metering.log.protocol import (
    EMPTY_TOKEN,
    AckLevel,
    Decision,
)
from rating_core.metering.session import ShardSession
from rating_server.ports import StoreUnavailable
from rating_server.store.adapter import LinkOptions
from rating_server.store.driver import SessionDriver
from rating_server.store.keys import shard_keys

KEYS = shard_keys(0)


@dataclass
class Ids:
    """A machine that takes each id once and counts them in one hash."""

    version: int = 0
    token: bytes = EMPTY_TOKEN
    now: int = 0
    taken: set[str] = field(default_factory=set)
    staged: list[list[str]] = field(default_factory=list)
    staged_nows: list[int] = field(default_factory=list)
    broken: bool = False

    def reset(self) -> None:
        self.version, self.token, self.now = 0, EMPTY_TOKEN, 0
        self.taken.clear()
        self.unstage()

    def decide(self, calls: Sequence[object], _now: int) -> Decision:
        if "poison" in calls:
            raise ZeroDivisionError("a fault of the program")
        known = self.taken.union(*self.staged)
        answers: list[object] = []
        new: list[str] = []
        for call in calls:
            answers.append("DUPLICATE" if call in known else "ACCEPTED")
            if call not in known:
                known.add(str(call))
                new.append(str(call))
        return Decision(tuple(answers), json.dumps(new).encode() if new else None, new)

    def stage(self, decision: Decision, now: int) -> None:
        assert isinstance(decision.staged, list)
        self.staged.append(decision.staged)
        self.staged_nows.append(now)

    def unstage(self) -> None:
        self.staged.clear()
        self.staged_nows.clear()

    def confirm(self, version: int, token: bytes) -> None:
        self.taken.update(self.staged.pop(0))
        self.now = max(self.now, self.staged_nows.pop(0))
        self.version, self.token = version, token

    def apply(self, body: bytes, now: int, version: int, token: bytes) -> None:
        self.taken.update(json.loads(body))
        self.now, self.version, self.token = max(self.now, now), version, token

    def query(self, _question: object) -> object:
        return len(self.taken)

    def joins(self, _first: object, _call: object) -> bool:
        return True

    def size(self, _call: object) -> int:
        return 100

    def hurries(self, _call: object) -> bool:
        return True

    def changed_hashes(self, after: int) -> Sequence[str]:
        return ["c:all:1"] if self.version > after else []

    def fields_of(self, hashes: Sequence[tuple[str, int]]) -> Sequence[Sequence[tuple[str, int]]]:
        return [self.hash_fields(*each) for each in hashes]

    def hash_fields(self, _key: str, _after: int) -> Sequence[tuple[str, int]]:
        return [("ids", len(self.taken))]

    def folded(self, mark: int) -> None:
        pass


def now_us() -> int:
    return time.time_ns() // 1000


class Server:
    """One server's driver and machine."""

    def __init__(
        self, url: str, clock=now_us, level: AckLevel = AckLevel.DURABLE, **options: object
    ) -> None:
        self.stopped = False
        self._level = level
        self.machines: list[Ids] = []
        self._clock = clock
        self.driver = SessionDriver(
            KEYS,
            LinkOptions(
                url=lambda: url,
                commits_stopped=lambda: self.stopped,
                **options,  # type: ignore[arg-type]
            ),
            self._build,
        )

    def _build(self) -> ShardSession:
        self.machines.append(Ids())
        return ShardSession(self.machines[-1], os.urandom(16), self._level, self._clock)

    async def until_acknowledged(self, call: str) -> object:
        """Send a call again until it is answered, as a client does."""
        while True:
            try:
                return await self.driver.call(call)
            except StoreUnavailable:
                await asyncio.sleep(0.01)


@contextlib.asynccontextmanager
async def serving(*servers: Server) -> AsyncIterator[None]:
    for server in servers:
        server.driver.start()
    try:
        yield
    finally:
        for server in servers:
            await server.driver.close()


@pytest.fixture(name="now_us")
def fixture_now_us() -> Callable[[], int]:
    """Return the clock of servers, in microseconds."""
    return now_us


@pytest.fixture
def new_server() -> type[Server]:
    """Return the maker of servers: it takes the store's URL, a clock, a level and link options."""
    return Server


@pytest.fixture(name="serving")
def fixture_serving() -> Callable[..., contextlib.AbstractAsyncContextManager[None]]:
    """Return the context in which servers run."""
    return serving
