"""Folding many entries without holding the event loop up."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from typing import TypeVar

Item = TypeVar("Item")

SLICE = 64
"""Items that are folded at once: about a page of a log."""


async def fold_in_thread(
    items: AsyncIterator[Item], take: Callable[[Item], bool], most: int = SLICE
) -> None:
    """Give ``take`` the items in order, ``most`` at a time in a thread, until it returns False.

    One slice at a time, and nothing is read meanwhile, so ``take`` may change what only it and the
    caller know. An error of either ends it; what was read and not taken yet is dropped.
    """
    held: list[Item] = []
    async for item in items:
        held.append(item)
        if len(held) >= most:
            if not await asyncio.to_thread(_take_all, take, held):
                return
            held = []
    await asyncio.to_thread(_take_all, take, held)


def _take_all(take: Callable[[Item], bool], items: Sequence[Item]) -> bool:
    return all(take(item) for item in items)
