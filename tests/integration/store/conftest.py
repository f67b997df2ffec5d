"""Traffic of records that tests send to real stores, and what must have come of it."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from rating_core.catalog import BillingPeriod
from rating_core.metering.batch import RecordBatch, RecordStatus, shard_of
from rating_core.metering.calls import (
    CountersAnswer,
    CreateSubscription,
    GetCounters,
    RecordAnswer,
    RecordCall,
)
from rating_core.metering.catalogue_calls import CreateMeter
from rating_core.metering.deciding.record import UsageRecord, batch_of
from rating_core.metering.shard import UsageShard
from rating_server.ports import StoreUnavailable, Window
from rating_server.store.adapter import LinkOptions
from rating_server.store.keys import shard_keys
from rating_server.store.usage_store import RedisUsageStore, UsageStoreOptions
from rating_server.store.verify import verify_log

MARCH = 1_772_323_200_000_000
"""2026-03-01T00:00:00Z in µs."""
WAIT_S = 30.0


class Traffic:
    """Senders that resend until every record has a status, and what the store must hold then.

    Every record counts 1 on the meter `calls` of one of some customers.
    """

    def __init__(self, store: RedisUsageStore, customers: int = 8) -> None:
        self.store = store
        self.customers = [f"c{n}" for n in range(customers)]
        self.sent: dict[str, str] = {}
        self.accepted: Counter[str] = Counter()
        self.unavailable = 0
        self.stop = False
        self._next = 0

    async def prepare(self) -> None:
        """Create the meter and the subscriptions."""
        document = {"id": "calls", "aggregation": "count", "scale": "0", "dimensions": []}
        await self.store.catalogue_call(CreateMeter(document=document))
        for customer in self.customers:
            await self.store.submit(
                shard_of(customer, self.store.shard_count),
                CreateSubscription(
                    customer=customer,
                    subscription_id=f"s-{customer}",
                    plan_id="p",
                    plan_version=1,
                    billing_period=BillingPeriod.MONTH,
                    start_time=MARCH,
                    bands={},
                ),
            )

    def rows(self, count: int) -> list[tuple[str, str]]:
        """Return new (customer, event id) pairs."""
        self._next += count
        first = self._next - count
        return [
            (self.customers[n % len(self.customers)], f"e{n}") for n in range(first, first + count)
        ]

    async def send(self, rows: list[tuple[str, str]]) -> list[RecordStatus]:
        """Send rows until all their shards have answered; return one status a row."""
        statuses = np.zeros(len(rows), np.uint8)

        async def part(shard: int, at: np.ndarray, records: RecordBatch) -> None:
            while True:
                try:
                    answer = await self.store.submit(shard, RecordCall(records))
                except StoreUnavailable:
                    self.unavailable += 1
                    await asyncio.sleep(0.02)
                    continue
                assert isinstance(answer, RecordAnswer)
                statuses[at] = answer.status
                return

        await asyncio.gather(
            *(part(*p) for p in _batch(rows).split_by_shard(self.store.shard_count))
        )
        answered = [RecordStatus(status) for status in statuses.tolist()]
        for (customer, event), status in zip(rows, answered, strict=True):
            assert status in (RecordStatus.ACCEPTED, RecordStatus.DUPLICATE)
            self.accepted[event] += status is RecordStatus.ACCEPTED
            self.sent[event] = customer
        return answered

    async def flow(self, senders: int = 4, size: int = 20) -> None:
        """Send until `stop`; every record once, however often it has to be sent again."""

        async def sender() -> None:
            while not self.stop:
                await self.send(self.rows(size))

        await asyncio.gather(*(sender() for _ in range(senders)))

    async def counted(self) -> dict[str, int]:
        """Return what the store says that each customer used."""
        totals = {}
        for customer in self.customers:
            shard = shard_of(customer, self.store.shard_count)
            answer = await self.store.ask(shard, GetCounters(customer, MARCH))
            assert isinstance(answer, CountersAnswer)
            totals[customer] = sum(series.value for series in answer.counters)
        return totals

    async def assert_true(self, url: str) -> None:
        """Counted is what was sent, each record once, accepted at most once; hashes are folds."""
        totals = Counter(self.sent.values())
        assert await self.counted() == {customer: totals[customer] for customer in self.customers}
        # None accepted: the answer to the try that counted was lost.
        assert max(self.accepted.values()) == 1
        await self.assert_folded(url)

    async def assert_folded(self, url: str) -> None:
        """Every hash is the fold of its log, to its end."""
        for shard in {shard_of(customer, self.store.shard_count) for customer in self.customers}:
            async with asyncio.timeout(10):
                while True:
                    machine = UsageShard(bytes(16), lambda _: None)
                    link = LinkOptions(url=lambda: url)
                    report = await verify_log(link, shard_keys(shard), machine)
                    assert report.differences == []
                    if report.mark == report.version:
                        break
                    await asyncio.sleep(0.1)


def _batch(rows: list[tuple[str, str]]) -> RecordBatch:
    time = MARCH + 60_000_000
    return batch_of([UsageRecord(customer, "calls", event, 1, time) for customer, event in rows])


def _server(url: str, **changes: Any) -> RedisUsageStore:
    values: dict[str, Any] = {
        "url": url,
        "shards": 6,
        "window": Window(None),
        "deadline": 2.0,
        "start_timeout": WAIT_S,
    }
    return RedisUsageStore(UsageStoreOptions(**(values | changes)))


@pytest.fixture
def server_of() -> Callable[..., RedisUsageStore]:
    """A function that makes a usage store on a URL; call it inside a running loop."""
    return _server


@pytest.fixture
def traffic_of() -> Callable[[RedisUsageStore], Traffic]:
    """A function that makes the traffic of a usage store."""
    return Traffic
