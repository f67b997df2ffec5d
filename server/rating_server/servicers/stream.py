"""A bidirectional stream of batches: bounded, in order, and ended gracefully.

Reading stops while too many batches of the stream wait, so that HTTP/2 flow control slows the
sender; and it stops for good when the server drains: what was read is answered, then the stream
ends with UNAVAILABLE and RetryInfo.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TypeVar

from rating_server.usecases.failure import Failure

Answer = TypeVar("Answer")


class Gate:
    """Bounds the bytes of all requests that wait, and carries the word to drain."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._bytes = 0
        self._streams = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self.draining = asyncio.Event()

    @asynccontextmanager
    async def admitted(self, size: int) -> AsyncIterator[None]:
        """Hold ``size`` bytes while a request waits; Failure TOO_MUCH_IN_FLIGHT, DRAINING."""
        if self._bytes + size > self._max_bytes:
            raise Failure(
                "TOO_MUCH_IN_FLIGHT",
                f"more than {self._max_bytes} bytes wait; try again later",
                max_bytes=str(self._max_bytes),
            )
        self._enter(size)
        try:
            yield
        finally:
            self._leave(size)

    def _enter(self, size: int) -> None:
        self._bytes += size
        self._streams += 1
        self._idle.clear()

    def _leave(self, size: int) -> None:
        self._bytes -= size
        self._streams -= 1
        if not self._streams:
            self._idle.set()

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Count an open stream, so that draining waits for it."""
        self._enter(0)
        try:
            yield
        finally:
            self._leave(0)

    async def drain(self) -> None:
        """Tell all streams to stop reading, and wait until nothing waits any more."""
        self.draining.set()
        await self._idle.wait()


async def answer_in_order(
    requests: AsyncIterator[bytes],
    handle: Callable[[bytes], Awaitable[Answer]],
    gate: Gate,
    limit: int,
    draining: Callable[[], Failure],
) -> AsyncIterator[Answer]:
    """Yield ``handle``'s answers in the order of the requests, up to ``limit`` at work at once.

    The first error ends the stream after the answers before it; later requests are then unanswered
    and may be sent again.
    """
    waiting: asyncio.Queue[asyncio.Task[Answer] | None] = asyncio.Queue()
    slots = asyncio.Semaphore(limit)

    async def admitted(data: bytes) -> Answer:
        async with gate.admitted(len(data)):
            return await handle(data)

    async def read() -> None:
        try:
            while True:
                await slots.acquire()
                data = await _next_request(requests, gate.draining)
                if data is None:
                    return
                waiting.put_nowait(asyncio.create_task(admitted(data)))
        finally:
            waiting.put_nowait(None)

    async with gate.open():
        reader = asyncio.create_task(read())
        try:
            while (task := await waiting.get()) is not None:
                yield await task
                slots.release()
            await reader
            if gate.draining.is_set():
                raise draining()
        finally:
            reader.cancel()
            while not waiting.empty():
                left = waiting.get_nowait()
                if left is not None:
                    left.cancel()


async def _next_request(requests: AsyncIterator[bytes], stop: asyncio.Event) -> bytes | None:
    """Return the next request; None when they end or ``stop`` is set first."""
    upcoming = asyncio.ensure_future(anext(requests, None))
    stopped = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({upcoming, stopped}, return_when=asyncio.FIRST_COMPLETED)
        return upcoming.result() if upcoming.done() else None
    finally:
        stopped.cancel()
        upcoming.cancel()
