"""The asyncio driver: real sessions on a real store, with a machine small enough to see through."""

from __future__ import annotations

import asyncio
import signal

import pytest

from rating_core.metering.log.protocol import (
    AckLevel,
)
from rating_server.ports import StoreFull, StoreUnavailable
from rating_server.store.keys import shard_keys

KEYS = shard_keys(0)


def test_calls_and_questions_are_answered(store, new_server, serving) -> None:
    """Calls that come together share entries, and a question sees all that was acknowledged."""

    async def scenario() -> None:
        server = new_server(store.url)
        async with serving(server):
            calls = [f"id{n % 150}" for n in range(200)]
            answers = await asyncio.gather(*(server.driver.call(call) for call in calls))
            assert answers.count("ACCEPTED") == 150
            assert answers.count("DUPLICATE") == 50
            assert await server.driver.ask("count") == 150
            assert server.driver.ready
            assert server.driver.problem == ""
            assert server.machines[0].version <= 5

    asyncio.run(scenario())


def test_counters_are_folded(store, new_server, serving) -> None:
    """Within half a second the hash reflects the log and the mark says so (P7, P8)."""

    async def scenario() -> None:
        server = new_server(store.url)
        async with serving(server):
            for n in range(10):
                await server.driver.call(f"id{n}")
            await asyncio.sleep(0.6)

    asyncio.run(scenario())
    assert store.ask("HGET", KEYS.counter_hash("c:all:1"), "ids") == b"10"
    assert store.ask("HGET", KEYS.fold, "mark") == store.ask("HGET", KEYS.head, "v")


def test_two_servers_take_each_id_once(store, new_server, serving) -> None:
    """The same ids sent to two servers at once are accepted exactly once (P1–P5, P14)."""

    async def scenario() -> None:
        one, two = new_server(store.url), new_server(store.url)
        async with serving(one, two):

            async def send(server) -> list[object]:
                answers: list[object] = []
                for start in range(0, 300, 10):
                    calls = [f"id{n}" for n in range(start, start + 10)]
                    answers += await asyncio.gather(*map(server.driver.call, calls))
                return answers

            first, second = await asyncio.gather(send(one), send(two))
            pairs = [sorted((str(a), str(b))) for a, b in zip(first, second, strict=True)]
            assert pairs == [["ACCEPTED", "DUPLICATE"]] * 300
            assert await one.driver.ask("") == await two.driver.ask("") == 300
            assert one.machines[0].token == two.machines[0].token

    asyncio.run(scenario())


def test_stopped_commits_are_refused_without_redis(store, new_server, serving) -> None:
    """The guard's switch refuses commits as FULL, in order with what is in flight (P15)."""

    async def scenario() -> None:
        server = new_server(store.url)
        async with serving(server):
            assert await server.driver.call("before") == "ACCEPTED"
            server.stopped = True
            answers = await asyncio.gather(
                *(server.driver.call(call) for call in ("before", "during")),
                server.driver.ask(""),
                return_exceptions=True,
            )
            assert answers[1:] == [answers[1], 1]
            assert isinstance(answers[1], StoreFull)
            assert await server.driver.call("before") == "DUPLICATE"
            server.stopped = False
            assert await server.driver.call("during") == "ACCEPTED"

    asyncio.run(scenario())


@pytest.mark.faults
def test_replicated_answers_wait_for_the_replica(store_factory, new_server, serving) -> None:
    """At REPLICATED nothing is acknowledged while the replica stands still (P6)."""
    primary = store_factory(repl_diskless_sync_delay="0")
    replica = store_factory(replicaof=f"127.0.0.1 {primary.listen()}")
    primary.until("replication", b"state=online")

    async def scenario() -> None:
        server = new_server(
            primary.url, level=AckLevel.REPLICATED, deadline=2.0, replicas=1, wait_ms=100
        )
        async with serving(server):
            assert await server.driver.call("before") == "ACCEPTED"
            assert await asyncio.to_thread(replica.ask, "XLEN", KEYS.log) == 1
            replica.signal(signal.SIGSTOP)
            for call in ("during", "before"):
                with pytest.raises(StoreUnavailable):
                    await server.driver.call(call, timeout=0.3)
            with pytest.raises(StoreUnavailable):
                await server.driver.ask("", timeout=0.3)
            assert await asyncio.to_thread(primary.ask, "XLEN", KEYS.log) == 2
            replica.signal(signal.SIGCONT)
            assert await server.driver.call("during") == "DUPLICATE"
            assert await server.driver.ask("") == 2
            assert await asyncio.to_thread(replica.ask, "XLEN", KEYS.log) == 2

    asyncio.run(scenario())
