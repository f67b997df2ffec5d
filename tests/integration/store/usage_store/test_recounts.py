"""Changes dated back on a real store: from the archive, by two servers, after a restart (S8.6)."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace

import numpy as np
import pytest

from rating_core.metering.batch import RecordBatch, shard_of
from rating_core.metering.calls import (
    DAY_US,
    CancelSubscription,
    GetCounters,
    RecordCall,
    StateDigest,
)
from rating_core.metering.deciding.record import UsageRecord, batch_of
from rating_core.metering.shard import UsageShard
from rating_server.cli.entry import run
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
    place = ["--redis-url", store.url, "--archive", str(tmp_path)]
    for command in (["verify"], ["rebuild"], ["rebuild", "--repair"]):
        assert run([*command, *place]) == 0


def checked(capsys: pytest.CaptureFixture[str], url: str, *command: str) -> tuple[int, int, int]:
    """Return exit status, differences and repaired hashes of `verify` or `rebuild`."""
    status = run([*command, "--redis-url", url, "--format", "json"])
    rows = json.loads(capsys.readouterr().out)
    assert sum(row["entries"] for row in rows) > 10
    return (
        status,
        sum(len(row["differences"]) for row in rows),
        sum(row["repaired"] for row in rows),
    )


def test_the_commands_agree_with_a_recount_and_repair_what_it_made(
    store, options, serving, capsys
) -> None:
    """Counted anew is no difference to `verify` and `rebuild`; damage to it is found and mended."""
    start = system_clock() - 20 * DAY_US

    async def scenario() -> int:
        one, context = server_on(options(store.url))
        async with serving(one):
            await filled(one, context, start)
            await change_plan(context, to_new(start + 4 * DAY_US), "")
            shard = shard_of(ACME, one.shard_count)
            await folded(store, shard)
            return shard

    keys = shard_keys(asyncio.run(scenario()))
    for command in (["verify"], ["rebuild"], ["rebuild", "--repair"]):
        assert checked(capsys, store.url, *command) == (0, 0, 0)
    hashes = store.ask("KEYS", keys.counter_pattern)
    cells = [(key, name) for key in hashes for name in store.ask("HKEYS", key) if b"value" in name]
    assert sorted(int(store.ask("HGET", *cell)) for cell in cells) == [4, 6]
    for cell in cells:
        store.ask("HINCRBY", *cell, "1")
    assert checked(capsys, store.url, "rebuild") == (1, 2, 0)
    assert checked(capsys, store.url, "rebuild", "--repair") == (0, 2, 2)
    assert sorted(int(store.ask("HGET", *cell)) for cell in cells) == [4, 6]
    assert checked(capsys, store.url, "verify") == (0, 0, 0)


class Crowded(RedisUsageStore):
    """A server on which something is committed each time that its log was read, ``most`` times."""

    rounds = 0
    most = 0
    sizes: tuple[int, ...] = (1,)
    """Of the entries of acme's records that are committed, in records."""
    ending: CancelSubscription | None = None
    """Commits too, for an end that is a second earlier in each round."""

    async def entries(self, shard, part):
        """Yield what was asked for; then records of acme are committed."""
        async for entry in super().entries(shard, part):
            yield entry
        if self.rounds == self.most:
            return
        self.rounds += 1
        for place, count in enumerate(self.sizes):
            ids = b"".join(b"%d-%03d-%05d" % (place, self.rounds, n) for n in range(count))
            answer = await self.submit(shard, RecordCall(self._batch(ids, count)))
            assert answer.status.min() == answer.status.max() == 1
        if self.ending is not None:
            end = self.ending.end_time - self.rounds * 1_000_000
            answer = await self.submit(shard, replace(self.ending, end_time=end))
            assert answer.ok

    def _batch(self, ids: bytes, count: int) -> RecordBatch:
        zeros, width = np.zeros(count, np.int32), len(ids) // count
        return RecordBatch(
            customers=[ACME],
            customer=zeros,
            meters=["calls"],
            scales=[0],
            meter=zeros,
            dimension_sets=[()],
            dimension_set=zeros,
            event_ids=ids,
            event_id_ends=np.arange(1, count + 1, dtype=np.int64) * width,
            quantity=np.ones(count, np.int64),
            event_time=np.full(count, system_clock() - 12 * DAY_US),
            malformed=np.zeros(count, np.bool_),
        )


def crowded_on(options) -> tuple[Crowded, Context]:
    """Return as `server_on` does."""
    shelf = PlanShelf()
    store = Crowded(replace(options, plan_of=shelf.get, window=Window(None)))
    return store, Context(store, system_clock, {"USD": 2}.get, shelf=shelf)


def test_a_customer_that_moves_on_at_every_reading_is_busy(store, options, serving) -> None:
    """After 64 readings for a contract of before: CUSTOMER_BUSY, nothing changed, later it goes."""
    start = system_clock() - 20 * DAY_US
    middle = start + 4 * DAY_US

    async def scenario() -> None:
        one, context = crowded_on(options(store.url))
        async with serving(one):
            await filled(one, context, start)
            one.most = 1_000
            end = system_clock() + 100 * DAY_US
            one.ending = CancelSubscription(customer=ACME, subscription_id="main", end_time=end)
            with pytest.raises(Failure) as refused:
                await change_plan(context, to_new(middle), "")
            assert (refused.value.reason, one.rounds) == ("CUSTOMER_BUSY", 64)
            assert refused.value.metadata == {"customer": ACME}
            every = 10 + 64
            assert await counted(one, start) == await counted(one, middle) == [every]
            one.most = one.rounds
            await change_plan(context, to_new(middle), "")
            assert [await counted(one, at) for at in (start, middle)] == [[4], [every - 4]]

    asyncio.run(scenario())


def test_a_reading_that_more_records_outran_than_are_kept_goes_on(store, options, serving) -> None:
    """More than a shard keeps come between reading and sending, twice: each counts once."""
    start = system_clock() - 20 * DAY_US
    middle = start + 4 * DAY_US

    async def scenario() -> None:
        one, context = crowded_on(options(store.url))
        # The later entry has the shard forget the earlier one.
        one.sizes, one.most = (20_000, 1), 2
        async with serving(one):
            await filled(one, context, start)
            await change_plan(context, to_new(middle), "")
            assert [await counted(one, at) for at in (start, middle)] == [[4], [6 + 2 * 20_001]]
            assert one.rounds == 2

    asyncio.run(scenario())
