"""Changes dated back on a real store: from the archive, by two servers, after a restart (S8.6)."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from rating_core.metering.batch import shard_of
from rating_core.metering.calls import DAY_US, GetCounters, RecordCall, StateDigest
from rating_core.metering.deciding.record import UsageRecord, batch_of
from rating_core.metering.shard import UsageShard
from rating_server.ports import Window
from rating_server.store.adapter import LinkOptions
from rating_server.store.archive_files import ArchiveFiles
from rating_server.store.archiving import ArchivePolicy, LogArchiver
from rating_server.store.keys import shard_keys
from rating_server.store.usage_store import RedisUsageStore, system_clock
from rating_server.store.verify import verify_log
from rating_server.usecases.change_plan import PlanChange, change_plan
from rating_server.usecases.context import Context
from rating_server.usecases.create_plan import Times, create_plan
from rating_server.usecases.create_subscription import NewSubscription, create_subscription
from rating_server.usecases.failure import Failure
from rating_server.usecases.plan_shelf import PlanShelf

ACME = "acme"


def plan(plan_id: str) -> dict[str, object]:
    """Return a plan document."""
    return {
        "id": plan_id,
        "currency": "USD",
        "billing_period": "year",
        "rounding": {"mode": "half_up", "scale": "2", "stage": "line"},
        "meters": [{"id": "calls", "aggregation": "sum", "scale": "0"}],
        "charges": [{"id": "calls", "meter": "calls", "model": "per_unit", "unit_price": "1"}],
    }


def server_on(options) -> tuple[RedisUsageStore, Context]:
    """Return a server's adapter of a store, and its context."""
    shelf = PlanShelf()
    store = RedisUsageStore(replace(options, plan_of=shelf.get, window=Window(None)))
    return store, Context(store, system_clock, {"USD": 2}.get, shelf=shelf)


async def counted(store: RedisUsageStore, instant: int) -> list[int]:
    """Return what the part of acme that holds an instant has counted."""
    answer = await store.ask(shard_of(ACME, store.shard_count), GetCounters(ACME, instant))
    return [counter.value for counter in answer.counters]


async def folded(store, shard: int) -> None:
    """Wait until F has reached the head of the log: only then may entries leave it (P8)."""
    keys = shard_keys(shard)
    for _ in range(400):
        mark = await asyncio.to_thread(store.ask, "HGET", keys.fold, "mark")
        if mark == await asyncio.to_thread(store.ask, "HGET", keys.head, "v"):
            return
        await asyncio.sleep(0.05)
    raise AssertionError("F does not reach the head")


async def filled(store: RedisUsageStore, context: Context, start: int) -> None:
    """Subscribe acme at ``start``, and count one unit on each of ten days."""
    for name in ("old", "new"):
        await create_plan(context, plan(name), Times(), "")
    await create_subscription(context, NewSubscription(ACME, "main", "old", 0, start), "")
    shard = shard_of(ACME, store.shard_count)
    for day in range(10):
        record = UsageRecord(ACME, "calls", f"e{day}", 1, start + day * DAY_US)
        answer = await store.submit(shard, RecordCall(batch_of([record])))
        assert answer.status.tolist() == [1]


def to_new(instant: int) -> PlanChange:
    """Return a change of acme to the plan `new`."""
    return PlanChange(ACME, "main", "new", 0, "", instant)


def test_a_recount_out_of_the_archive_holds_on_every_server(
    store, options, serving, tmp_path
) -> None:
    """What was trimmed is counted anew from the archive; without one the change is refused."""
    start = system_clock() - 20 * DAY_US
    middle = start + 4 * DAY_US

    async def scenario() -> None:
        archived = replace(options(store.url), archive=str(tmp_path))
        one, context = server_on(archived)
        two, without = server_on(options(store.url))
        files, link = ArchiveFiles(str(tmp_path)), LinkOptions(url=lambda: store.url)
        async with serving(one, two):
            await filled(one, context, start)
            shard = shard_of(ACME, one.shard_count)
            assert await counted(two, middle) == [10]
            keys = shard_keys(shard)
            await folded(store, shard)
            archiver = LogArchiver(keys, link, files, one._sessions.open[shard], system_clock)
            report = await archiver.round(ArchivePolicy(after_us=0, segment_bytes=500))
            assert (report.problem, report.trimmed) == ("", report.version)
            with pytest.raises(Failure) as refused:
                await change_plan(without, to_new(middle), "")
            assert refused.value.reason == "LOG_TRIMMED"
            assert refused.value.metadata["earliest_time"].endswith("Z")
            await change_plan(context, to_new(middle), "")
            for server in (one, two):
                assert await counted(server, start) == [4]
                assert await counted(server, middle) == [6]
            digest = await one.ask(shard, StateDigest())
            assert await two.ask(shard, StateDigest()) == digest
        three, _ = server_on(archived)
        async with serving(three):
            assert await three.ask(shard, StateDigest()) == digest
            assert [await counted(three, at) for at in (start, middle)] == [[4], [6]]
            machine = UsageShard(three._hash_key, three._meter_of)
            found = await verify_log(link, keys, machine, files)
            assert found.differences == []

    asyncio.run(scenario())
