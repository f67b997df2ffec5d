"""A store that refuses for a while, in every way that replication and operators bring about."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import pytest

from rating_core.metering.batch import RecordStatus
from rating_core.metering.calls import RecordCall
from rating_core.metering.deciding.record import UsageRecord, batch_of
from rating_server.ports import ClockRefused, Window
from rating_server.store.keys import shard_keys
from rating_server.store.usage_store import RedisUsageStore, UsageStoreOptions, system_clock

NOWHERE = ("REPLICAOF", "127.0.0.1", "1")
FAULTS: dict[str, tuple[list[tuple[str, ...]], list[tuple[str, ...]]]] = {
    "NOREPLICAS": (
        [("CONFIG", "SET", "min-replicas-to-write", "1")],
        [("CONFIG", "SET", "min-replicas-to-write", "0")],
    ),
    "READONLY": ([NOWHERE], [("REPLICAOF", "NO", "ONE")]),
    "MASTERDOWN": (
        [("CONFIG", "SET", "replica-serve-stale-data", "no"), NOWHERE],
        [("REPLICAOF", "NO", "ONE"), ("CONFIG", "SET", "replica-serve-stale-data", "yes")],
    ),
    "NOPERM": (
        [("ACL", "SETUSER", "default", "-fcall")],
        [("ACL", "SETUSER", "default", "+fcall")],
    ),
    "functions flushed": ([("FUNCTION", "FLUSH")], []),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_refusal_is_waited_out(
    store_factory: Callable[..., Any], server_of: Any, traffic_of: Any, wait_until: Any, fault: str
) -> None:
    """Nothing is answered meanwhile, nothing lost or doubled, and records flow on by themselves."""
    store = store_factory()
    begin, end = FAULTS[fault]

    async def tell(commands: list[tuple[str, ...]]) -> None:
        for command in commands:
            await asyncio.to_thread(store.ask, *command)

    async def scenario() -> None:
        server = server_of(store.url, shards=2)
        await server.start()
        try:
            traffic = traffic_of(server)
            await traffic.prepare()
            flow = asyncio.create_task(traffic.flow(senders=2))
            await asyncio.sleep(0.1)
            await tell(begin)
            await asyncio.sleep(0.3)
            if end:
                assert not server.health.ready
            await tell(end)
            await asyncio.to_thread(wait_until, lambda: server.health.ready, "ready again")
            before = len(traffic.sent)
            await asyncio.to_thread(
                wait_until, lambda: len(traffic.sent) > before, "records flow on"
            )
            traffic.stop = True
            await flow
            await traffic.assert_true(store.url)
            assert server.health.losses == 0
            assert int(await asyncio.to_thread(store.ask, "XLEN", shard_keys(0).log)) > 2
        finally:
            await server.close()

    asyncio.run(scenario())


def test_a_clock_that_fell_behind_refuses_nothing_for_good(
    store: Any, traffic_of: Any, wait_until: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """S7.3: what a machine that slept would call IN_FUTURE is to be sent again, and then counts."""
    skew = 0

    async def scenario() -> None:
        nonlocal skew
        options = UsageStoreOptions(url=store.url, shards=1, window=Window(None))
        server = RedisUsageStore(options, clock=lambda: system_clock() + skew)
        await server.start()
        try:
            await traffic_of(server).prepare()
            now = time.time_ns() // 1_000
            call = RecordCall(batch_of([UsageRecord("c0", "calls", "new", 1, now)]))
            skew = -120_000_000
            await asyncio.to_thread(
                wait_until, lambda: server._guard.clock_problem, "it is noticed"
            )
            with pytest.raises(ClockRefused, match="s behind the store's"):
                await server.submit(0, call)
            (outcome,) = await server.submit_all([(0, call)])
            assert isinstance(outcome, ClockRefused)
            skew = 0
            await asyncio.to_thread(wait_until, lambda: not server._guard.clock_problem, "mended")
            answer = await server.submit(0, call)
            assert answer.status.tolist() == [RecordStatus.ACCEPTED]
        finally:
            await server.close()

    asyncio.run(scenario())
    assert "calls are refused until both agree" in caplog.text
