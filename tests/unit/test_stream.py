"""Streams of batches: bytes are held until the answer is taken, and never without bound."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from rating_server.servicers.rpc import draining
from rating_server.servicers.stream import Gate, answer_in_order
from rating_server.usecases.failure import Failure

MAX = 1_600
SHARE = 100


async def requests(sizes: list[int], read: list[int]) -> AsyncIterator[bytes]:
    """Requests of these sizes; ``read`` notes those that were taken."""
    for size in sizes:
        read.append(size)
        yield bytes(size)


def times(factor: int) -> Callable[[bytes], Awaitable[bytes]]:
    """A handler whose answers have so many times the bytes of their requests."""

    async def handle(data: bytes) -> bytes:
        await asyncio.sleep(0)
        return bytes(len(data) * factor)

    return handle


async def settle() -> None:
    """Let everything run that can."""
    for _ in range(100):
        await asyncio.sleep(0)


def room(gate: Gate) -> int:
    """How many bytes the gate still takes."""
    free = 0
    for step in (1_000, 100, 10, 1):
        while True:
            try:
                gate.take(step)
            except Failure:
                break
            free += step
    gate.give(free)
    return free


def test_bytes_are_held_until_the_answer_is_taken():
    """A reader that stops keeps its answers held and its sender waiting; then all is free."""

    async def run() -> None:
        gate, read = Gate(MAX), []
        stream = answer_in_order(requests([10] * 50, read), times(3), gate, 8, draining)
        assert len(await anext(stream)) == 30
        await settle()
        # 30 bytes each: four reach the share of a stream, and one more is being read
        assert len(read) <= 6
        assert SHARE <= MAX - room(gate) <= SHARE + 30
        assert [len(answer) async for answer in stream] == [30] * 49
        assert room(gate) == MAX

    asyncio.run(run())


def test_the_first_answer_tells_how_much_the_next_ones_take():
    """Tiny requests with large answers are not worked on all at once."""

    async def run() -> None:
        gate, at_once, most = Gate(MAX), 0, 0

        async def handle(data: bytes) -> bytes:
            nonlocal at_once, most
            at_once += 1
            most = max(most, at_once)
            await settle()
            at_once -= 1
            return bytes(60)

        stream = answer_in_order(
            requests([1] * 20, []), handle, gate, 8, draining, answers_grow=True
        )
        assert [len(answer) async for answer in stream] == [60] * 20
        assert most == 2
        assert room(gate) == MAX

    asyncio.run(run())


def test_an_answer_that_finds_no_room_ends_the_stream():
    """The answers before it come; what it held is free again, also for other streams."""

    async def run() -> None:
        gate = Gate(MAX)
        stream = answer_in_order(requests([10, 600, 10], []), times(3), gate, 1, draining)
        assert len(await anext(stream)) == 30
        with pytest.raises(Failure) as caught:
            await anext(stream)
        assert caught.value.reason == "TOO_MUCH_IN_FLIGHT"
        assert room(gate) == MAX

    asyncio.run(run())


def test_a_stream_that_is_given_up_holds_nothing():
    """Closed with answers waiting and batches at work, whenever these end."""

    async def run() -> None:
        for factor in (1, 3):
            gate = Gate(MAX)
            stream = answer_in_order(requests([10] * 9, []), times(factor), gate, 8, draining)
            await anext(stream)
            await stream.aclose()
            assert room(gate) == MAX
            await settle()
            assert room(gate) == MAX
            await gate.drain()

    asyncio.run(run())
