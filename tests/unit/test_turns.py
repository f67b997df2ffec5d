"""Turns to decide: in order, the hurried first, never twice, and none lost by a failure."""

import asyncio

import pytest

from rating_server.store.turns import Turns


class Shard:
    """Takes turns; ``more`` of them by itself, after the first."""

    def __init__(self, turns, name, log, more=0):
        self.turns, self.name, self.log, self.more = turns, name, log, more
        self.hurried = False

    def take_turn(self):
        self.log.append(self.name)
        if self.name == "broken":
            raise ValueError(self.name)
        self.hurried = False
        if self.more:
            self.more -= 1
            self.turns.ask(self)


async def idle(turns=20):
    """Let the loop turn often enough for all that was asked."""
    for _ in range(turns):
        await asyncio.sleep(0)


def test_turns_go_round():
    """Each that asked has one turn before any has another, however often it asked."""

    async def run():
        turns, log = Turns(), []
        first, second = (Shard(turns, name, log, more=2) for name in ("a", "b"))
        for shard in (first, first, second):
            turns.ask(shard)
        await idle(40)
        assert log == ["a", "b"] * 3

    asyncio.run(run())


def test_the_hurried_go_first_and_the_loop_turns_between_others():
    """A small call decides in the next turn of the loop; large turns leave the loop to others."""

    async def run():
        turns, log = Turns(), []
        large = [Shard(turns, str(number), log) for number in range(3)]
        for shard in large:
            turns.ask(shard)
        small = Shard(turns, "small", log)
        small.hurried = True
        turns.ask(small)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert log == ["small"]
        seen = []
        while len(log) < 4:
            seen.append(len(log))
            await asyncio.sleep(0)
        assert log == ["small", "0", "1", "2"]
        assert min(seen.count(done) for done in (2, 3)) >= 3

    asyncio.run(run())


def test_one_that_waits_already_is_let_forward_when_it_is_hurried():
    """What waited with large calls has its turn at once when a small one comes; no turn is lost."""

    async def run():
        turns, log = Turns(), []
        first, second = Shard(turns, "first", log), Shard(turns, "second", log)
        turns.ask(first)
        turns.ask(second)
        second.hurried = True
        turns.ask(second)
        await idle()
        assert log == ["second", "first", "second"]

    asyncio.run(run())


def test_hurried_turns_alone_stop_nobody():
    """A taker without small calls has its turn, however many hurried ones ask again and again."""

    async def run():
        turns, log = Turns(), []

        class Eager(Shard):
            def take_turn(self):
                self.log.append(self.name)
                self.turns.ask(self)

        eager = Eager(turns, "eager", log)
        eager.hurried = True
        turns.ask(eager)
        turns.ask(Shard(turns, "large", log))
        await idle()
        assert "large" in log[:12]

    asyncio.run(run())


def test_a_failure_costs_nobody_else_a_turn():
    """An error of one goes to the loop; the next has its turn all the same."""

    async def run():
        turns, log, seen = Turns(), [], []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: seen.append(context))
        turns.ask(Shard(turns, "broken", log))
        turns.ask(Shard(turns, "whole", log))
        await idle()
        assert log == ["broken", "whole"]
        (context,) = seen
        with pytest.raises(ValueError, match="broken"):
            raise context["exception"]

    asyncio.run(run())


def test_work_that_awaits_its_turn_goes_round_with_the_others():
    """Work of coroutines has turns in the order of asking; what was cancelled has none."""

    async def run():
        turns, log = Turns(), []

        async def work(name):
            await turns.mine()
            log.append(name)

        tasks = [asyncio.create_task(work(name)) for name in ("a", "gone", "b")]
        await asyncio.sleep(0)
        turns.ask(Shard(turns, "shard", log))
        tasks[1].cancel()
        await idle(40)
        assert log == ["a", "b", "shard"]
        assert tasks[1].cancelled()

    asyncio.run(run())


def test_large_turns_make_way_for_a_small_call_that_is_arriving():
    """Nothing large begins while a small call arrives; when it is there, it goes first."""

    async def run():
        turns, log = Turns(way=60.0, way_most=60.0), []
        turns.ask(Shard(turns, "large", log))
        turns.make_way()
        await idle(40)
        assert log == []
        small = Shard(turns, "small", log)
        small.hurried = True
        turns.ask(small)
        await idle(40)
        assert log == ["small", "large"]

    asyncio.run(run())


def test_way_is_made_for_a_moment_only():
    """A small call that never comes stops no large turn, nor do many, one after the other."""

    async def run():
        for turns, again in ((Turns(way=0.001), False), (Turns(way_most=0.001), True)):
            log = []
            turns.ask(Shard(turns, "large", log, more=2))
            turns.make_way()
            while len(log) < 3:
                if again:
                    turns.make_way()
                await asyncio.sleep(0)

    asyncio.run(asyncio.wait_for(run(), 30))
