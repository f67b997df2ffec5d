"""Folding in slices in threads: all, in order, one slice at a time, never in the loop's thread."""

import asyncio
import threading

import pytest

from rating_server.background import fold_in_thread


async def numbers(count, broken_at=None):
    """Yield the numbers below count; fail before one of them."""
    for number in range(count):
        if number == broken_at:
            raise LookupError(number)
        yield number


def test_slices_are_folded_in_order_in_other_threads():
    """Each item is taken once, in order, and the loop goes on meanwhile."""
    seen, threads, turned = [], set(), threading.Event()

    def take(item):
        threads.add(threading.current_thread())
        # Done by the loop: were it blocked by this very call, it could not be.
        asyncio.run_coroutine_threadsafe(turn(), loop).result(timeout=60)
        seen.append(item)
        return True

    async def turn():
        turned.set()

    async def run():
        nonlocal loop
        loop = asyncio.get_running_loop()
        await fold_in_thread(numbers(8), take, most=3)

    loop = None
    asyncio.run(run())
    assert seen == list(range(8))
    assert turned.is_set()
    assert threading.main_thread() not in threads


@pytest.mark.parametrize(("broken_at", "known"), [(0, 0), (4, 3), (7, 6)])
def test_an_error_of_the_source_ends_it(broken_at, known):
    """What was folded before stays; what was read since the last slice is dropped."""
    seen = []

    def take(item):
        seen.append(item)
        return True

    with pytest.raises(LookupError):
        asyncio.run(fold_in_thread(numbers(9, broken_at), take, most=3))
    assert seen == list(range(known))


def test_an_error_of_the_taker_is_told():
    """The first item that fails ends it; nothing is taken after."""
    seen = []

    def take(item):
        seen.append(item)
        raise ValueError("odd")

    with pytest.raises(ValueError, match="odd"):
        asyncio.run(fold_in_thread(numbers(9), take, most=2))
    assert seen == [0]


@pytest.mark.parametrize("last", [0, 1, 4, 8])
def test_the_taker_may_end_it(last):
    """Where it says that it needs no more, nothing more is taken."""
    seen = []

    def take(item):
        seen.append(item)
        return item != last

    asyncio.run(fold_in_thread(numbers(9), take, most=2))
    assert seen == list(range(last + 1))
