"""What ends the start of a usage store, and what it refuses or looks up again while it runs."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from rating_core.metering.batch import RecordStatus, RejectReason, shard_of
from rating_core.metering.calls import (
    RecordAnswer,
    RecordCall,
)
from rating_core.metering.counting.counter_names import field_name
from rating_server.ports import StoreFull, StoreRefused
from rating_server.store.adapter import LinkOptions
from rating_server.store.embedded import EmbeddedStore
from rating_server.store.keys import shard_keys
from rating_server.store.usage_store import RedisUsageStore
from rating_server.store.verify import read_counters

MARCH = 1_772_323_200_000_000
"""2026-03-01T00:00:00Z in µs."""
BANDS = {"tokens": {"fee": (20, 80)}}
"""customer, event id, meter, quantity"""


def test_meter_of_another_server_is_known_when_it_is_needed(
    store, options, serving, create, record, batch
) -> None:
    """A cache can miss but never be wrong: an unknown meter is looked up again before refusal."""

    async def scenario() -> None:
        one, two = RedisUsageStore(options(store.url)), RedisUsageStore(options(store.url))
        async with serving(one, two):
            await create(one, ["c1"])
            assert two.catalogue.meters == {}
            assert await record(two, [("c1", "e1", "tokens", 1)]) == [RecordStatus.ACCEPTED]
            shard = shard_of("c1", 2)
            answer = await two.submit(shard, RecordCall(batch([("c1", "e2", "nothing", 1)])))
            assert isinstance(answer, RecordAnswer)
            assert answer.reason.tolist() == [RejectReason.UNKNOWN_METER]

    asyncio.run(scenario())


def test_unfit_store_and_corrupt_log_end_the_start(store, options, serving) -> None:
    """A start that fails says why and leaves nothing behind."""

    async def start(**changes: object) -> None:
        async with serving(RedisUsageStore(options(store.url, **changes))):
            pass

    store.ask("CONFIG", "SET", "appendfsync", "everysec")
    try:
        with pytest.raises(StoreRefused, match="DURABLE was asked for"):
            asyncio.run(start())
    finally:
        store.ask("CONFIG", "SET", "appendfsync", "always")
    keys = shard_keys(1)
    store.ask("XADD", keys.log, "1-0", "p", bytes(16), "t", b"t" * 16, "e", "not an entry")
    store.ask("HSET", keys.head, "v", "1", "t", b"t" * 16)
    with pytest.raises(StoreRefused, match="log 1: ") as refused:
        asyncio.run(start(start_timeout=20.0))
    assert refused.value.reason == "LOG_CORRUPT"


@pytest.mark.parametrize("damage", ["the last entry is gone", "an entry of somebody else"])
def test_log_that_does_not_fit_its_head_ends_the_start(
    store_factory, damage: str, options, serving
) -> None:
    """P5: a log cut behind the back of its head, or written to by others, is refused at once."""
    private = store_factory()
    keys = shard_keys(0)

    async def start() -> None:
        async with serving(RedisUsageStore(options(private.url, shards=1, start_timeout=20.0))):
            pass

    asyncio.run(start())
    assert private.ask("XLEN", keys.log) == 1
    if damage == "the last entry is gone":
        private.ask("XTRIM", keys.log, "MAXLEN", "0")
    else:
        private.ask("XADD", keys.log, "2-1", "hello", "world")
    with pytest.raises(StoreRefused, match="log 0: ") as refused:
        asyncio.run(start())
    assert refused.value.reason == "LOG_CORRUPT"


def test_meter_is_known_while_the_catalogue_is_rebuilt(
    store_factory, options, serving, create, record
) -> None:
    """S7.3: a record that waits while the catalogue is read anew is not refused for its meter."""
    private = store_factory()

    async def scenario() -> None:
        server = RedisUsageStore(options(private.url, shards=1))
        async with serving(server):
            await create(server, ["c1"])
            sending = asyncio.create_task(record(server, [("c1", "e1", "calls", 1)]))
            await asyncio.sleep(0)  # the call waits in its shard's session now
            server.catalogue.reset()
            assert await sending == [RecordStatus.ACCEPTED]

    asyncio.run(scenario())


def test_counters_of_an_entry_that_names_a_customer_twice(
    store_factory, options, serving, create, batch
) -> None:
    """P9: a read straight from the store adds the rows of every word that is this customer."""
    private = store_factory()

    async def scenario() -> None:
        server = RedisUsageStore(options(private.url, shards=1))
        async with serving(server):
            await create(server, ["c1"])
            rows = batch([("c1", "e1", "calls", 1), ("c2", "e2", "calls", 1)])
            rows.customers[1] = "c1"
            await server.submit(0, RecordCall(rows))
            link = LinkOptions(url=lambda: private.url)
            found = await read_counters(link, shard_keys(0), "c1", MARCH, BANDS)
            assert found.fields[field_name("calls", (), "events")] == 2

    asyncio.run(scenario())


def test_commits_stop_before_memory_is_full(
    store_factory, options, serving, create, record
) -> None:
    """At 90 % of maxmemory new records are refused, resends and reads are answered (P15)."""
    private = store_factory()

    async def stopped(server: RedisUsageStore, *, wanted: bool) -> None:
        async with asyncio.timeout(10):
            while bool(server.health.problem) is not wanted:  # noqa: ASYNC110 - no event to await
                await asyncio.sleep(0.02)

    async def scenario() -> None:
        server = RedisUsageStore(options(private.url))
        async with serving(server):
            await create(server, ["c1"])
            row = ("c1", "e1", "calls", 1)
            assert await record(server, [row]) == [RecordStatus.ACCEPTED]
            info = (await asyncio.to_thread(private.ask, "INFO", "memory")).decode()
            used = int(info.split("used_memory:")[1].split()[0])
            limit = str(used * 106 // 100)
            await asyncio.to_thread(private.ask, "CONFIG", "SET", "maxmemory", limit)
            await stopped(server, wanted=True)
            assert "commits stop at 90 %" in server.health.problem
            with pytest.raises(StoreFull):
                await record(server, [("c1", "e2", "calls", 1)])
            assert await record(server, [row]) == [RecordStatus.DUPLICATE]
            await asyncio.to_thread(private.ask, "CONFIG", "SET", "maxmemory", "0")
            await stopped(server, wanted=False)
            assert await record(server, [("c1", "e2", "calls", 1)]) == [RecordStatus.ACCEPTED]

    asyncio.run(scenario())


def test_second_server_on_a_data_directory_is_refused(
    tmp_path: Path, options, serving, create, record
) -> None:
    """The second server on a data directory ends with the first one's pid; the first goes on."""

    async def scenario() -> None:
        server = RedisUsageStore(options(), EmbeddedStore(tmp_path))
        async with serving(server):
            with pytest.raises(StoreRefused, match=str(os.getpid())):
                await RedisUsageStore(options(), EmbeddedStore(tmp_path)).start()
            await create(server, ["c1"])
            assert await record(server, [("c1", "e1", "calls", 1)]) == [RecordStatus.ACCEPTED]

    asyncio.run(scenario())
