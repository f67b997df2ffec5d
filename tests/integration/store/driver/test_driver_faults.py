"""The asyncio driver when its store dies, stands still, is full, empty or another one."""

from __future__ import annotations

import asyncio
import signal
import time

import pytest

from rating_server.ports import ClockRefused, StoreFull, StoreUnavailable
from rating_server.store.keys import shard_keys

KEYS = shard_keys(0)


@pytest.mark.faults
def test_store_killed_while_commits_are_in_flight(store_factory, new_server, serving) -> None:
    """Three kill -9 of the store: nothing acknowledged is lost, nothing is counted twice."""
    private = store_factory()

    async def scenario() -> None:
        server = new_server(private.url)
        accepted: dict[str, int] = {}
        answered: set[str] = set()

        kills_left = 3

        async def client(number: int) -> None:
            n = 0
            while kills_left or n < 100:
                n += 1
                call = f"{number}-{n}"
                if await server.until_acknowledged(call) == "ACCEPTED":
                    accepted[call] = accepted.get(call, 0) + 1
                answered.add(call)

        async with serving(server):
            clients = asyncio.gather(*(client(number) for number in range(8)))
            while kills_left:
                await asyncio.sleep(0.2)
                await asyncio.to_thread(private.kill)
                await asyncio.to_thread(private.start)
                kills_left -= 1
            await clients
            assert max(accepted.values()) == 1
            assert await server.driver.ask("") == len(answered)
        fresh = new_server(private.url)
        async with serving(fresh):
            assert await fresh.driver.ask("") == len(answered)
            assert fresh.machines[0].taken == answered == server.machines[0].taken
            assert fresh.machines[0].token == server.machines[0].token

    asyncio.run(scenario())


@pytest.mark.faults
def test_slow_store_is_resolved_not_guessed(store_factory, new_server, serving) -> None:
    """A store that stands still outlasts the deadline; the caller is told that nothing is known,
    and the call that was in flight is found in the log or sent again, once.
    """
    private = store_factory()

    async def scenario() -> None:
        server = new_server(private.url, deadline=0.3)
        async with serving(server):
            assert await server.driver.call("before") == "ACCEPTED"
            private.signal(signal.SIGSTOP)
            started = time.monotonic()
            with pytest.raises(StoreUnavailable, match="no answer in time"):
                await server.driver.call("during")
            assert time.monotonic() - started < 0.9
            await asyncio.sleep(0.7)
            assert not server.driver.ready
            assert server.driver.problem
            private.signal(signal.SIGCONT)
            assert await server.until_acknowledged("after") == "ACCEPTED"
            assert await server.until_acknowledged("during") == "DUPLICATE"
            assert await server.driver.ask("") == 3

    asyncio.run(scenario())


def test_full_store_refuses_and_recovers(store_factory, new_server, serving) -> None:
    """At maxmemory commits are refused as FULL while checks go on; freed memory ends it (P15)."""
    private = store_factory()

    async def scenario() -> None:
        server = new_server(private.url)
        async with serving(server):
            assert await server.driver.call("before") == "ACCEPTED"
            private_ask = asyncio.to_thread(private.ask, "CONFIG", "SET", "maxmemory", "1")
            assert await private_ask == b"OK"
            for _ in range(2):
                with pytest.raises(StoreFull):
                    await server.driver.call("during")
            assert await server.driver.call("before") == "DUPLICATE"
            assert await server.driver.ask("") == 1
            await asyncio.to_thread(private.ask, "CONFIG", "SET", "maxmemory", "0")
            assert await server.driver.call("during") == "ACCEPTED"

    asyncio.run(scenario())


def test_wrong_clock_is_refused_until_it_is_right(store, new_server, serving, now_us) -> None:
    """A server whose clock is a minute ahead commits nothing; set right, it serves (P11)."""

    async def scenario() -> None:
        skew = 60_000_000
        server = new_server(store.url, clock=lambda: now_us() + skew)
        async with serving(server):
            with pytest.raises(ClockRefused):
                await server.driver.call("early")
            assert not server.driver.ready
            skew = 0
            assert await server.until_acknowledged("early") == "ACCEPTED"

    asyncio.run(scenario())
    assert store.ask("XLEN", KEYS.log) == 1


def test_a_fold_that_was_due_outlives_the_connection(store, new_server, serving) -> None:
    """A connection lost between the fold's timer and its turn ends no folding: the timer is set
    again (P8).
    """

    async def scenario() -> None:
        server = new_server(store.url)
        async with serving(server):
            assert await server.driver.call("folded") == "ACCEPTED"
            driver = server.driver
            driver._timers.pop("fold").cancel()
            driver._on_timer("fold")
            driver._link.lose("cut")
            assert "fold" in driver._timers

    asyncio.run(scenario())


def test_functions_lost_by_the_store_are_loaded_again(store, new_server, serving) -> None:
    """A store that lost the library gets it back, and the call that met this is not lost."""

    async def scenario() -> None:
        server = new_server(store.url)
        async with serving(server):
            assert await server.driver.call("before") == "ACCEPTED"
            await asyncio.to_thread(store.ask, "FUNCTION", "FLUSH")
            assert await server.driver.call("after") == "ACCEPTED"
            assert await server.driver.ask("") == 2

    asyncio.run(scenario())


def test_divergent_log_is_noticed(store, new_server, serving) -> None:
    """A store that came back with another history makes the server rebuild, not go on (P5)."""

    async def scenario() -> None:
        one, two = new_server(store.url), new_server(store.url)
        async with serving(one):
            await one.driver.call("lost")
            await asyncio.to_thread(store.ask, "FLUSHALL")
            async with serving(two):
                await two.driver.call("kept")
                await two.driver.call("kept-too")
            assert await one.driver.call("new") == "ACCEPTED"
            assert one.machines[0].taken == {"kept", "kept-too", "new"}

    asyncio.run(scenario())


def test_fault_of_the_program_rebuilds_the_session(store, caplog, new_server, serving) -> None:
    """An exception inside a machine fails the calls that wait; the log restores the state."""

    async def scenario() -> None:
        server = new_server(store.url)
        async with serving(server):
            assert await server.driver.call("before") == "ACCEPTED"
            with pytest.raises(StoreUnavailable, match="rebuilt"):
                await server.driver.call("poison")
            assert await server.until_acknowledged("before") == "DUPLICATE"
            assert len(server.machines) == 2

    asyncio.run(scenario())
    assert "ZeroDivisionError" in caplog.text


def test_nobody_there_and_close(free_port: int, new_server, serving) -> None:
    """Without a store calls end at their time limit, and at once when the driver is closed."""

    async def scenario() -> None:
        server = new_server(f"redis://127.0.0.1:{free_port}")
        async with serving(server):
            with pytest.raises(StoreUnavailable, match="cannot connect"):
                await server.driver.call("nobody", timeout=0.2)
            waiting = asyncio.ensure_future(server.driver.call("nobody"))
            await asyncio.sleep(0.05)
            await server.driver.close()
            with pytest.raises(StoreUnavailable, match="stopping"):
                await waiting
            with pytest.raises(StoreUnavailable, match="stopping"):
                await server.driver.call("late")

    asyncio.run(scenario())


def test_store_that_takes_no_writes_is_not_hammered(store_factory, new_server, serving) -> None:
    """READONLY and the like end the connection; the driver comes back slowly, and recovers."""
    private = store_factory()

    def connections() -> int:
        lines = private.ask("INFO", "stats").decode().splitlines()
        counts = dict(line.split(":") for line in lines if ":" in line)
        return int(counts["total_connections_received"])

    async def scenario() -> None:
        server = new_server(private.url)
        async with serving(server):
            assert await server.driver.call("before") == "ACCEPTED"
            await asyncio.to_thread(private.ask, "REPLICAOF", "127.0.0.1", "1")
            with pytest.raises(StoreUnavailable):
                await server.driver.call("during", timeout=0.3)
            before = await asyncio.to_thread(connections)
            await asyncio.sleep(1.5)
            assert await asyncio.to_thread(connections) - before < 8
            assert "read only" in server.driver.problem.lower()
            await asyncio.to_thread(private.ask, "REPLICAOF", "NO", "ONE")
            assert await server.until_acknowledged("after") == "ACCEPTED"
            assert await server.driver.ask("") == 3

    asyncio.run(scenario())
