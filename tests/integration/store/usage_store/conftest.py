"""A usage store on two shards, customers on a plan, and batches of their records."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable

import numpy as np
import pytest

from rating_core.catalog import BillingPeriod
from rating_core.metering.batch import RecordBatch, RecordStatus, shard_of
from rating_core.metering.calls import (
    ControlAnswer,
    CreateSubscription,
    RecordAnswer,
    RecordCall,
)
from rating_core.metering.catalogue_calls import CreateMeter
from rating_server.ports import StoreUnavailable, Window
from rating_server.store.usage_store import RedisUsageStore, UsageStoreOptions

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


@pytest.fixture(name="batch")
def fixture_batch() -> Callable[[list[Row]], RecordBatch]:
    """Return the maker of a batch from rows: customer, event id, meter, quantity."""
    return batch


@pytest.fixture(name="options")
def fixture_options() -> Callable[..., UsageStoreOptions]:
    """Return the maker of store options: two shards, an unlimited window, unless changed."""
    return options


@pytest.fixture(name="serving")
def fixture_serving() -> Callable[..., contextlib.AbstractAsyncContextManager[None]]:
    """Return the context in which stores run."""
    return serving


@pytest.fixture(name="create")
def fixture_create() -> Callable[..., Awaitable[None]]:
    """Return the coroutine that creates the meters and puts customers on a plan."""
    return create


@pytest.fixture(name="record")
def fixture_record() -> Callable[..., Awaitable[list[RecordStatus]]]:
    """Return the coroutine that sends rows until all are answered."""
    return record
