"""The usage store as a whole: real machines, real sessions, a real store; and its verification."""

from __future__ import annotations

import asyncio
import os
import random
import signal
from collections import Counter
from pathlib import Path

import pytest

from rating_core.metering.batch import RecordStatus, shard_of
from rating_core.metering.calls import (
    CountersAnswer,
    GetCounters,
    GetSettings,
    Settings,
    StateDigest,
)
from rating_core.metering.catalogue import Catalogue
from rating_core.metering.catalogue_calls import ListMeters
from rating_core.metering.counting.counter_names import field_name, hash_key_of
from rating_core.metering.log.protocol import chain_token
from rating_core.metering.shard import UsageShard
from rating_server.ports import UsageStore
from rating_server.store.adapter import LinkOptions
from rating_server.store.embedded import EmbeddedStore
from rating_server.store.keys import LogKeys, shard_keys
from rating_server.store.usage_store import RedisUsageStore
from rating_server.store.verify import Verification, read_counters, verify_log

MARCH = 1_772_323_200_000_000
"""2026-03-01T00:00:00Z in µs."""
BANDS = {"tokens": {"fee": (20, 80)}}
Row = tuple[str, str, str, int]
"""customer, event id, meter, quantity"""


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


def test_from_record_to_counters(store, options, serving, create, record) -> None:
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


def test_two_servers_on_one_store(store, options, serving, create, record) -> None:
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


@pytest.mark.faults
def test_embedded_store_killed_under_load(tmp_path: Path, options, serving, create, record) -> None:
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


def test_verification_finds_what_is_wrong(store, options, serving, create, record) -> None:
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
