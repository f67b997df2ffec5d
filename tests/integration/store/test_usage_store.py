"""The usage store as a whole: real machines, real sessions, a real store; and its verification."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest

from rating_core.catalog import BillingPeriod
from rating_core.metering.batch import RecordBatch, RecordStatus, RejectReason, shard_of
from rating_core.metering.calls import (
    ControlAnswer,
    CountersAnswer,
    CreateSubscription,
    GetCounters,
    GetSettings,
    RecordAnswer,
    RecordCall,
    Settings,
    StateDigest,
)
from rating_core.metering.catalogue import Catalogue, CreateMeter, ListMeters
from rating_core.metering.counter_names import field_name, hash_key_of
from rating_core.metering.protocol import chain_token
from rating_core.metering.shard import UsageShard
from rating_server.ports import StoreFull, StoreRefused, StoreUnavailable, UsageStore, Window
from rating_server.store.adapter import LinkOptions
from rating_server.store.embedded import EmbeddedStore
from rating_server.store.keys import LogKeys, shard_keys
from rating_server.store.usage_store import RedisUsageStore, UsageStoreOptions
from rating_server.store.verify import Verification, read_counters, verify_log

MARCH = 1_772_323_200_000_000
"""2026-03-01T00:00:00Z in µs."""
SECOND = 1_000_000
METERS = {"tokens": ("sum", "0", ["model"]), "calls": ("count", "0", [])}
BANDS = {"tokens": {"fee": (20, 80)}}
Row = tuple[str, str, str, int]
"""customer, event id, meter, quantity"""


def batch(rows: list[Row]) -> RecordBatch:
    """A batch of records of March 2026, without dimensions but for an even quantity of tokens."""
    customers = sorted({row[0] for row in rows})
    meters = sorted({row[2] for row in rows})
    ids = [row[1].encode() for row in rows]
    large = [row[2] == "tokens" and row[3] % 2 == 0 for row in rows]
    return RecordBatch(
        customers=customers,
        customer=np.array([customers.index(row[0]) for row in rows], np.int32),
        meters=meters,
        scales=[0] * len(meters),
        meter=np.array([meters.index(row[2]) for row in rows], np.int32),
        dimension_sets=[(), (("model", "large"),)],
        dimension_set=np.array(large, np.int32),
        event_ids=b"".join(ids),
        event_id_ends=np.cumsum([len(i) for i in ids]).astype(np.int64),
        quantity=np.array([row[3] for row in rows], np.int64),
        event_time=np.array([MARCH + 60 * SECOND] * len(rows), np.int64),
        malformed=np.zeros(len(rows), np.bool_),
    )


def options(url: str = "", **changes: object) -> UsageStoreOptions:
    values: dict[str, object] = {"url": url, "shards": 2, "window": Window(None), "deadline": 5.0}
    return UsageStoreOptions(**(values | changes))  # type: ignore[arg-type]


@contextlib.asynccontextmanager
async def serving(*stores: RedisUsageStore) -> AsyncIterator[None]:
    started = []
    try:
        for store in stores:
            await store.start()
            started.append(store)
        yield
    finally:
        for store in started:
            await store.close()


async def create(store: RedisUsageStore, customers: list[str]) -> None:
    """Create the meters and put the customers on a plan."""
    for name, (aggregation, scale, dimensions) in METERS.items():
        document = {
            "id": name,
            "aggregation": aggregation,
            "scale": scale,
            "dimensions": dimensions,
        }
        answer = await store.catalogue_call(CreateMeter(document=document))
        assert isinstance(answer, ControlAnswer)
        assert answer.ok, answer
    for customer in customers:
        call = CreateSubscription(
            customer=customer,
            subscription_id=f"s-{customer}",
            plan_id="p",
            plan_version=1,
            billing_period=BillingPeriod.MONTH,
            start_time=MARCH,
            bands=BANDS,
        )
        answer = await store.submit(shard_of(customer, store.shard_count), call)
        assert isinstance(answer, ControlAnswer)
        assert answer.ok, answer


async def record(store: RedisUsageStore, rows: list[Row]) -> list[RecordStatus]:
    """Send rows until all their shards have answered; return one status a row."""
    whole = batch(rows)
    statuses = np.zeros(len(rows), np.uint8)

    async def send(shard: int, at: np.ndarray, part: RecordBatch) -> None:
        while True:
            try:
                answer = await store.submit(shard, RecordCall(part))
            except StoreUnavailable:
                await asyncio.sleep(0.02)
                continue
            assert isinstance(answer, RecordAnswer)
            statuses[at] = answer.status
            return

    parts = whole.split_by_shard(store.shard_count)
    await asyncio.gather(*(send(*part) for part in parts))
    return [RecordStatus(status) for status in statuses.tolist()]


def expected_fields(rows: list[Row], customer: str) -> dict[str, int]:
    """The counters of a customer by a plain fold over its distinct records."""
    totals: Counter[str] = Counter()
    for name, _, meter, quantity in {row[1]: row for row in rows if row[0] == customer}.values():
        assert name == customer
        large = meter == "tokens" and quantity % 2 == 0
        series = meter, ((("model", "large"),) if large else ())
        totals[field_name(*series, "value")] += quantity if meter == "tokens" else 1
        totals[field_name(*series, "events")] += 1
        if meter == "tokens":
            totals[field_name(*series, "floor", "fee")] += quantity <= 20
            totals[field_name(*series, "ceiling", "fee")] += quantity >= 80
            totals[field_name(*series, "between", "fee")] += quantity * (20 < quantity < 80)
    return dict(totals)


def rows_of(customers: list[str], count: int, seed: int = 1) -> list[Row]:
    random_rows = random.Random(seed)
    return [
        (
            random_rows.choice(customers),
            f"e{n}",
            random_rows.choice(["tokens", "tokens", "calls"]),
            random_rows.randrange(100),
        )
        for n in range(count)
    ]


def link(url: str) -> LinkOptions:
    return LinkOptions(url=lambda: url)


async def verify(url: str, keys: LogKeys) -> Verification:
    return await verify_log(link(url), keys, UsageShard(bytes(16), lambda _: None))


async def assert_true(store: RedisUsageStore, url: str, rows: list[Row]) -> None:
    """Server, hashes plus log, and a plain fold agree for every customer, now and after a fold."""
    for wait in (0.0, 0.6):
        await asyncio.sleep(wait)
        for customer in sorted({row[0] for row in rows}):
            shard = shard_of(customer, store.shard_count)
            read = await read_counters(link(url), shard_keys(shard), customer, MARCH, BANDS)
            wanted = expected_fields(rows, customer)
            assert read.fields == wanted
            answer = await store.ask(shard, GetCounters(customer, MARCH))
            assert isinstance(answer, CountersAnswer)
            shown = {}
            for series in answer.counters:
                shown[field_name(series.meter, series.dimensions, "value")] = series.value
                shown[field_name(series.meter, series.dimensions, "events")] = series.events
            assert shown.items() <= wanted.items()
            assert len(shown) == sum(name.endswith(('"value"]', '"events"]')) for name in wanted)
    for shard in range(store.shard_count):
        report = await verify(url, shard_keys(shard))
        assert report.differences == []
        assert report.mark == report.version > 0
    assert (await verify_log(link(url), shard_keys(9), Catalogue())).entries == 0


def test_from_record_to_counters(store) -> None:
    """Records, resends and conflicts get their statuses; all ways of reading agree."""

    async def scenario() -> None:
        server = RedisUsageStore(options(store.url))
        port: UsageStore = server
        async with serving(server):
            customers = [f"c{n}" for n in range(12)]
            await create(server, customers)
            rows = rows_of(customers, 2000)
            assert set(await record(server, rows)) == {RecordStatus.ACCEPTED}
            assert set(await record(server, rows)) == {RecordStatus.DUPLICATE}
            customer, event, meter, quantity = rows[0]
            changed = await record(server, [(customer, event, meter, quantity + 1)])
            assert changed == [RecordStatus.CONFLICT]
            await assert_true(server, store.url, rows)
            assert port.health.ready
            assert (port.health.logs, port.health.problem) == (3, "")
            assert "on disk (DURABLE)" in server.durability.line
            digests = [await port.ask(shard, StateDigest()) for shard in range(2)]
            settings = await port.ask(0, GetSettings())
            assert isinstance(settings, Settings)
            assert settings.window_us is None
            assert settings.configured
        again = RedisUsageStore(options(store.url, shards=7))
        async with serving(again):
            assert again.shard_count == 2
            assert [await again.ask(shard, StateDigest()) for shard in range(2)] == digests
            assert len(await again.catalogue_ask(ListMeters())) == 2

    asyncio.run(scenario())


def test_two_servers_on_one_store(store) -> None:
    """The same ids sent to two servers at once: each is accepted exactly once, both agree."""

    async def scenario() -> None:
        one, two = RedisUsageStore(options(store.url)), RedisUsageStore(options(store.url))
        async with serving(one, two):
            customers = [f"c{n}" for n in range(6)]
            await create(one, customers)
            rows = rows_of(customers, 3000, seed=2)

            async def send(server: RedisUsageStore) -> list[RecordStatus]:
                statuses: list[RecordStatus] = []
                for start in range(0, len(rows), 60):
                    statuses += await record(server, rows[start : start + 60])
                return statuses

            first, second = await asyncio.gather(send(one), send(two))
            for pair in zip(first, second, strict=True):
                assert sorted(pair) == [RecordStatus.ACCEPTED, RecordStatus.DUPLICATE]
            await assert_true(one, store.url, rows)
            await assert_true(two, store.url, rows)

    asyncio.run(scenario())


def test_meter_of_another_server_is_known_when_it_is_needed(store) -> None:
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


@pytest.mark.faults
def test_embedded_store_killed_under_load(tmp_path: Path) -> None:
    """Three kill -9 of the embedded store: it comes back, nothing is lost, nothing doubled."""

    async def scenario() -> None:
        embedded = EmbeddedStore(tmp_path)
        server = RedisUsageStore(options(deadline=2.0), embedded)
        async with serving(server):
            customers = [f"c{n}" for n in range(5)]
            await create(server, customers)
            sent: list[Row] = []
            accepted: Counter[str] = Counter()
            kills_left = 3

            async def client(number: int) -> None:
                for n in range(10_000):
                    if not kills_left:
                        return
                    rows = [
                        (customer, f"{number}-{n}-{k}", meter, quantity)
                        for k, (customer, _, meter, quantity) in enumerate(
                            rows_of(customers, 20, seed=number * 10_000 + n)
                        )
                    ]
                    sent.extend(rows)
                    for row, status in zip(rows, await record(server, rows), strict=True):
                        accepted[row[1]] += status is RecordStatus.ACCEPTED
                        assert status in (RecordStatus.ACCEPTED, RecordStatus.DUPLICATE)

            clients = asyncio.gather(*(client(number) for number in range(4)))
            while kills_left:
                await asyncio.sleep(0.3)
                os.kill(embedded.store_pid, signal.SIGKILL)
                restarts = embedded.restarts
                async with asyncio.timeout(20):
                    while embedded.restarts == restarts:  # noqa: ASYNC110 - another process
                        await asyncio.sleep(0.02)
                kills_left -= 1
            await clients
            assert max(accepted.values()) == 1
            await assert_true(server, embedded.url(), sent)

    asyncio.run(scenario())


def test_verification_finds_what_is_wrong(store) -> None:
    """A changed counter, a lost hash, a mark that lies and a broken chain are each found."""

    async def scenario() -> None:
        server = RedisUsageStore(options(store.url, shards=1))
        async with serving(server):
            await create(server, ["c1", "c2"])
            await record(server, [("c1", "e1", "calls", 1), ("c2", "e2", "calls", 1)])
            await asyncio.sleep(0.6)

    asyncio.run(scenario())
    keys = shard_keys(0)
    counters = keys.counter_hash(hash_key_of("c1", MARCH))
    value = field_name("calls", (), "value")

    def differences() -> list[str]:
        return asyncio.run(verify(store.url, keys)).differences

    assert differences() == []
    store.ask("HSET", counters, value, "2")
    (line,) = differences()
    assert "2 stored, 1 by the log" in line
    kept = store.ask("DUMP", counters)
    store.ask("DEL", counters)
    (line,) = differences()
    assert "stands at 0, behind F" in line
    store.ask("RESTORE", counters, "0", kept)
    store.ask("HSET", counters, value, "1")
    assert differences() == []
    store.ask("HSET", counters, "v", "99")
    (line,) = differences()
    assert "at 99, beyond the log" in line
    store.ask("HSET", counters, "v", store.ask("HGET", keys.fold, "mark"))
    store.ask("HSET", keys.head, "t", bytes(16))
    assert differences() == ["the head's token is not the last entry's"]
    token = chain_token(bytes(16), b"x")
    store.ask("XADD", keys.log, "99-0", "p", bytes(16), "t", token, "e", "x")
    assert "does not continue the log" in differences()[-1]


def test_unfit_store_and_corrupt_log_end_the_start(store) -> None:
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
def test_log_that_does_not_fit_its_head_ends_the_start(store_factory, damage: str) -> None:
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


def test_meter_is_known_while_the_catalogue_is_rebuilt(store_factory) -> None:
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


def test_counters_of_an_entry_that_names_a_customer_twice(store_factory) -> None:
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


def test_commits_stop_before_memory_is_full(store_factory) -> None:
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
            row: Row = ("c1", "e1", "calls", 1)
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


def test_second_server_on_a_data_directory_is_refused(tmp_path: Path) -> None:
    """The second server on a data directory ends with the first one's pid; the first goes on."""

    async def scenario() -> None:
        server = RedisUsageStore(options(), EmbeddedStore(tmp_path))
        async with serving(server):
            with pytest.raises(StoreRefused, match=str(os.getpid())):
                await RedisUsageStore(options(), EmbeddedStore(tmp_path)).start()
            await create(server, ["c1"])
            assert await record(server, [("c1", "e1", "calls", 1)]) == [RecordStatus.ACCEPTED]

    asyncio.run(scenario())
