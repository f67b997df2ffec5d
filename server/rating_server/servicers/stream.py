"""A bidirectional stream of batches: bounded, in order, and ended gracefully.

A batch holds its bytes from the moment it is read until its answer is taken: those of the request,
or of the answer where that is larger. Reading stops while too many batches or bytes of the stream
wait, so that HTTP/2 flow control slows the sender, also one that sends but does not read; and it
stops for good when the server drains: what was read is answered, then the stream ends with
UNAVAILABLE and RetryInfo.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TypeVar

from google.protobuf.message import Message

from rating_server.usecases.failure import Failure

Answer = TypeVar("Answer", bound=Message | bytes)

_STREAM_SHARE = 16
"""A stream that holds this fraction of all bytes that may wait is read no further."""


class Gate:
    """Bounds the bytes of all requests and answers that wait, and carries the word to drain."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._bytes = 0
        self._streams = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self.draining = asyncio.Event()

    @asynccontextmanager
    async def admitted(self, size: int) -> AsyncIterator[None]:
        """Hold ``size`` bytes while a request waits; Failure TOO_MUCH_IN_FLIGHT."""
        async with self.open() as holding:
            holding.take(size)
            yield

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Holding]:
        """Count an open stream, so that draining waits for it; at its end nothing of it is held."""
        self._streams += 1
        self._idle.clear()
        holding = Holding(self)
        try:
            yield holding
        finally:
            holding.close()
            self._streams -= 1
            if not self._streams:
                self._idle.set()

    @property
    def stream_bytes(self) -> int:
        """The bytes from which on one stream is read no further."""
        return self._max_bytes // _STREAM_SHARE

    def take(self, size: int) -> None:
        """Hold ``size`` bytes more, below 0 less; Failure TOO_MUCH_IN_FLIGHT for none of them."""
        if size > 0 and self._bytes + size > self._max_bytes:
            raise Failure(
                "TOO_MUCH_IN_FLIGHT",
                f"more than {self._max_bytes} bytes wait; try again later",
                max_bytes=str(self._max_bytes),
            )
        self._bytes += size

    def give(self, size: int) -> None:
        """Hold ``size`` bytes less."""
        self._bytes -= size

    async def drain(self) -> None:
        """Tell all streams to stop reading, and wait until nothing waits any more."""
        self.draining.set()
        await self._idle.wait()


class Holding:
    """The bytes that one stream holds of a gate's.

    ``answer_bytes`` is the size of the latest answer: what another one is expected to take.
    """

    def __init__(self, gate: Gate) -> None:
        self.answer_bytes = 0
        self._gate = gate
        self._bytes = 0
        self._closed = False
        self._room = asyncio.Event()
        self._room.set()

    def take(self, size: int) -> None:
        """Hold ``size`` bytes more, below 0 less; Failure TOO_MUCH_IN_FLIGHT."""
        if not self._closed:
            self._gate.take(size)
            self._set(self._bytes + size)

    def give(self, size: int) -> None:
        """Hold ``size`` bytes less."""
        if not self._closed:
            self._gate.give(size)
            self._set(self._bytes - size)

    async def room(self) -> None:
        """Wait until the stream holds less than its share."""
        await self._room.wait()

    def close(self) -> None:
        """Give everything back: batches that are cancelled may end later."""
        self.give(self._bytes)
        self._closed = True

    def _set(self, size: int) -> None:
        self._bytes = size
        if size < max(self._gate.stream_bytes, 1):
            self._room.set()
        else:
            self._room.clear()


async def answer_in_order(
    requests: AsyncIterator[bytes],
    handle: Callable[[bytes], Awaitable[Answer]],
    gate: Gate,
    limit: int,
    draining: Callable[[], Failure],
    *,
    answers_grow: bool = False,
) -> AsyncIterator[Answer]:
    """Yield ``handle``'s answers in the order of the requests, up to ``limit`` at work at once.

    Where ``answers_grow``, answers may be larger than their requests: the first one tells how
    large, before more are made.
    The first error ends the stream after the answers before it; later requests are then unanswered
    and may be sent again. Failure TOO_MUCH_IN_FLIGHT where a request or its answer finds no room.
    """
    waiting: asyncio.Queue[asyncio.Task[tuple[Answer, int]] | None] = asyncio.Queue()
    slots = asyncio.Semaphore(limit)
    failed = asyncio.Event()

    def note(task: asyncio.Task[tuple[Answer, int]]) -> None:
        if task.cancelled() or task.exception() is not None:
            failed.set()

    async def read(holding: Holding) -> None:
        try:
            while True:
                await slots.acquire()
                await holding.room()
                data = await _next_request(requests, gate.draining)
                if data is None or failed.is_set():
                    # After an error nothing more is read: the stream ends when its answers before
                    # the error are taken, which a sender that does not read puts off for ever.
                    return
                answering = asyncio.create_task(_answer(data, handle, holding))
                answering.add_done_callback(note)
                waiting.put_nowait(answering)
                if answers_grow and not holding.answer_bytes:
                    await asyncio.wait({answering})
                else:
                    # begins, and takes its bytes, before room for another one is looked for
                    await asyncio.sleep(0)
        finally:
            waiting.put_nowait(None)

    async with gate.open() as holding:
        reader = asyncio.create_task(read(holding))
        try:
            while (task := await waiting.get()) is not None:
                answer, size = await task
                yield answer
                holding.give(size)
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


async def _answer(
    data: bytes, handle: Callable[[bytes], Awaitable[Answer]], holding: Holding
) -> tuple[Answer, int]:
    """Return the answer to a request, and the bytes that are held for it until it is taken."""
    size = max(len(data), holding.answer_bytes)
    try:
        holding.take(size)
    except Failure:
        data = b""  # the error's traceback would keep the bytes for which there was no room
        raise
    try:
        answer = await handle(data)
        holding.answer_bytes = len(answer) if isinstance(answer, bytes) else answer.ByteSize()
        needed = max(len(data), holding.answer_bytes)
        holding.take(needed - size)
    except BaseException:
        holding.give(size)
        raise
    return answer, needed


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
