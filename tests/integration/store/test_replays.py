"""Replays of accepted records, at any time, in any order, by any server, change nothing (S7.1)."""

from __future__ import annotations

import asyncio
import random
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rating_core.metering.batch import RecordStatus

STEPS = st.lists(
    st.tuples(
        st.sampled_from(["new", "new", "replay", "replay", "race", "restart"]),
        st.integers(0, 1),
        st.integers(0, 2**32 - 1),
    ),
    min_size=4,
    max_size=10,
)
"""What happens: the step, the server it happens at, and the seed of its random choices."""


class Interleaving:
    """Two servers on one store, and all records that any of them ever accepted."""

    def __init__(self, url: str, server_of, traffic_of) -> None:
        self.url = url
        self.server_of = server_of
        self.traffic_of = traffic_of
        self.sides = []
        self.accepted: list[tuple[str, str]] = []
        self.steps: Counter[str] = Counter()

    async def start(self) -> None:
        """Start both servers and subscribe the customers."""
        for _ in range(2):
            server = self.server_of(self.url, shards=3)
            await server.start()
            self.sides.append(self.traffic_of(server))
        await self.sides[0].prepare()

    async def close(self) -> None:
        """End both servers."""
        for side in self.sides:
            await side.store.close()

    async def play(self, steps: list[tuple[str, int, int]]) -> None:
        """Take the steps; after each of them both servers count what was accepted, once."""
        for name, side, seed in steps:
            self.steps[name] += 1
            await getattr(self, f"_{name}")(side, random.Random(seed))
            wanted = Counter(customer for customer, _ in self.accepted)
            for each in self.sides:
                assert await each.counted() == {c: wanted[c] for c in each.customers}

    async def _new(self, side: int, rng: random.Random) -> None:
        rows = self.sides[0].rows(rng.randrange(1, 40))
        rng.shuffle(rows)
        assert set(await self.sides[side].send(rows)) == {RecordStatus.ACCEPTED}
        self.accepted += rows

    async def _replay(self, side: int, rng: random.Random) -> None:
        rows = rng.choices(self.accepted, k=rng.randrange(1, 200)) if self.accepted else []
        for start in range(0, len(rows), 50):  # several batches at once, repeats within each
            part = rows[start : start + 50]
            assert set(await self.sides[side].send(part)) == {RecordStatus.DUPLICATE}

    async def _race(self, side: int, rng: random.Random) -> None:
        """Both servers get the same records at once, new ones among replays, in other orders."""
        new = self.sides[0].rows(rng.randrange(1, 40))
        rows = new + rng.choices(self.accepted, k=30 if self.accepted else 0)
        orders = [rng.sample(rows, len(rows)) for _ in range(2)]
        found = await asyncio.gather(
            *(each.send(order) for each, order in zip(self.sides, orders, strict=True))
        )
        accepted = Counter(
            row
            for order, statuses in zip(orders, found, strict=True)
            for row, status in zip(order, statuses, strict=True)
            if status is RecordStatus.ACCEPTED
        )
        assert accepted == Counter(new), side
        self.accepted += new

    async def _restart(self, side: int, rng: random.Random) -> None:
        """The server ends and comes back; what it knows it reads from the log."""
        old = self.sides[side]
        await old.store.close()
        old.store = self.server_of(self.url, shards=3)
        await old.store.start()
        if rng.random() < 0.5:
            await self._replay(side, rng)


@pytest.mark.timeout(120)
def test_replays_change_nothing(store, server_of, traffic_of):
    """Random interleavings of new records, replays, races and restarts over two servers."""
    with asyncio.Runner() as runner:
        world = Interleaving(store.url, server_of, traffic_of)
        runner.run(world.start())
        try:

            @settings(derandomize=True, max_examples=12, deadline=None, database=None)
            @given(STEPS)
            def interleave(steps):
                runner.run(world.play(steps))

            interleave()
            assert min(world.steps[name] for name in ("new", "replay", "race", "restart")) >= 3
            runner.run(world.sides[0].assert_folded(store.url))
        finally:
            runner.run(world.close())
