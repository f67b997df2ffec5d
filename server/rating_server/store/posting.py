"""Calls to several sessions at once, awaited together: one future and one timer for all."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial

from rating_server.ports import StoreError
from rating_server.store.driver import SessionDriver


async def post_all(
    calls: Sequence[tuple[SessionDriver, object]],
    timeout: float,  # noqa: ASYNC109 - a deadline is no cancellation: it has an outcome per call
) -> list[object]:
    """Return the outcome of each call, its answer or its StoreError, when all have one.

    A call without an answer after ``timeout`` seconds is StoreUnavailable; it may still take
    effect.
    """
    outcomes: list[object] = [None] * len(calls)
    tickets: dict[int, int] = {}
    done = asyncio.get_running_loop().create_future()

    def take(index: int, outcome: object) -> None:
        outcomes[index] = outcome
        tickets.pop(index, None)
        if not tickets and not done.done():
            done.set_result(None)

    for index, (driver, call) in enumerate(calls):
        try:
            tickets[index] = driver.post(call, partial(take, index))
        except StoreError as error:
            outcomes[index] = error
    try:
        if tickets:
            async with asyncio.timeout(timeout):
                await done
    except TimeoutError:
        for index in tickets:
            late: StoreError = calls[index][0].late()
            outcomes[index] = late
    finally:
        for index, ticket in tickets.items():
            calls[index][0].forget(ticket)
    return outcomes
