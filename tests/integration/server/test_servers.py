"""Several servers on one store: who serves what, joining and leaving under load, no stale cache."""

from __future__ import annotations

import asyncio
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from ratewright.v1 import catalog_service_pb2 as catalog
from ratewright.v1 import customer_service_pb2 as customers
from ratewright.v1 import usage_service_pb2 as usage
from rating_client import AsyncClient, Client, ClientOptions, UsageRecord, WriterOptions

START = datetime(2026, 1, 2, tzinfo=UTC)
CUSTOMERS = [f"several-{number}" for number in range(24)]
METER = "several-calls"
OPTIONS = WriterOptions(batch_records=50, max_unanswered_records=1_000, backoff_max_seconds=0.5)
FLAGS = ("--shards", "8", "--session-idle", "500")


def record(event_id: str, customer: str, at: datetime) -> UsageRecord:
    """One call of a customer."""
    return UsageRecord(event_id=event_id, customer=customer, meter=METER, event_time=at)


def eventually(what, seconds: float = 20.0) -> Any:
    """Return what the function returns as soon as that is true."""
    expires = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < expires
        time.sleep(0.05)
    return found


def shards_by_server(client: Client) -> dict[str, int]:
    """The number of shards that each server owns."""
    return {one.address: len(one.shards) for one in client.get_topology().servers}


class Load:
    """A writer that never stops writing, and the ground truth of what it wrote."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.written: Counter[str] = Counter()
        self.counters: Any = None
        self.failed: BaseException | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        try:
            with self.client.ingest(options=OPTIONS) as writer:
                number = 0
                while not self._stop.is_set():
                    customer = CUSTOMERS[number * 7 % len(CUSTOMERS)]
                    at = START + timedelta(microseconds=number)
                    writer.write(record(f"e{number}", customer, at))
                    self.written[customer] += 1
                    number += 1
                self.counters = writer.flush(60)
        except BaseException as error:  # noqa: BLE001 - the test fails with it
            self.failed = error

    def until_more(self, records: int) -> None:
        """Wait until so many more records are written, which needs as many answers."""
        target = self.written.total() + records
        eventually(lambda: self.failed or self.written.total() >= target, 60)
        assert self.failed is None

    def end(self) -> None:
        """Stop writing; every record was counted once, and no error was seen."""
        self._stop.set()
        self._thread.join(90)
        assert self.failed is None
        assert self.counters.unanswered == 0
        assert self.counters.counted == self.counters.written == self.written.total()


@pytest.mark.faults
@pytest.mark.timeout(240)
def test_servers_join_leave_and_die_under_load(server_factory, store_factory, road):
    """A writer sees no error while servers come, stop and are killed; every counter is exact."""
    store = store_factory()
    first = server_factory(*FLAGS, url=store.url).start()
    for customer in CUSTOMERS:
        road.subscribe(first, "several", customer)
    with Client(first.target) as client:
        assert client.get_topology().revision == 0
        load = Load(client)
        load.until_more(2_000)
        second = server_factory(*FLAGS, url=store.url).start()
        eventually(lambda: shards_by_server(client) == {first.target: 4, second.target: 4})
        load.until_more(3_000)
        assert set(client.routes.addresses) == {first.target, second.target}

        assert first.stop() == 0  # it hands over; the client's target is gone for good
        load.until_more(3_000)
        third = server_factory(*FLAGS, url=store.url).start()
        eventually(lambda: shards_by_server(client) == {second.target: 4, third.target: 4})
        load.until_more(3_000)

        second.kill()
        load.until_more(3_000)
        load.end()
        eventually(lambda: shards_by_server(client) == {third.target: 8})
    with Client(third.target) as client:
        for customer in CUSTOMERS:
            (counter,) = client.get_usage(customer, START).counters
            assert counter.event_count == load.written[customer]


@pytest.mark.timeout(120)
def test_sessions_follow_ownership(server_factory, store_factory, road):
    """A server closes sessions of shards that moved away, and still counts what it is sent."""
    store = store_factory()
    one = server_factory(*FLAGS, url=store.url).start()
    for customer in CUSTOMERS:
        road.subscribe(one, "several", customer)
    two = server_factory(*FLAGS, url=store.url).start()
    closed = "is closed: another server has it"
    eventually(lambda: one.log.read_text().count(closed) >= 4)
    pinned = ClientOptions(follow_topology=False)
    for server in (one, two):
        with Client(server.target, pinned) as client, client.ingest(options=OPTIONS) as writer:
            for number, customer in enumerate(CUSTOMERS * 5):
                writer.write(record(f"f{number}", customer, START))
            assert writer.flush(30).rejected == 0
            assert client.routes.topology is None
    with Client(two.target) as client:
        for customer in CUSTOMERS:
            (counter,) = client.get_usage(customer, START).counters
            assert counter.event_count == 5


@pytest.mark.timeout(120)
def test_unary_calls_go_on_when_their_server_stops(server_factory, store_factory, road):
    """Clients that never open a stream learn who else is there; a server that stops is no error."""
    store = store_factory()
    stays = server_factory(*FLAGS, url=store.url).start()
    road.subscribe(stays, "several", CUSTOMERS[0])
    goes = server_factory(*FLAGS, url=store.url).start()
    sent: Counter[str] = Counter()
    stop = threading.Event()

    def calls(name: str) -> None:
        with Client(goes.target) as client:
            while not stop.is_set():
                event_id = f"{name}-{sent[name]}"
                (outcome,) = client.record_usage([record(event_id, CUSTOMERS[0], START)])
                assert outcome.counted
                sent[name] += 1

    async def calls_async() -> None:
        async with AsyncClient(goes.target) as client:
            while not stop.is_set():
                event_id = f"async-{sent['async']}"
                (outcome,) = await client.record_usage([record(event_id, CUSTOMERS[0], START)])
                assert outcome.counted
                sent["async"] += 1

    with ThreadPoolExecutor() as pool:
        callers = [pool.submit(calls, f"sync-{number}") for number in range(4)]
        callers.append(pool.submit(asyncio.run, calls_async()))
        try:
            eventually(lambda: len(sent) == 5 and min(sent.values()) > 50)
            assert goes.stop() == 0
            before = dict(sent)
            eventually(lambda: all(sent[name] > before[name] + 20 for name in before))
        finally:
            stop.set()
        for caller in callers:
            caller.result(30)
    with Client(stays.target) as client:
        (counter,) = client.get_usage(CUSTOMERS[0], START).counters
        assert counter.event_count == sent.total()


@pytest.mark.timeout(120)
def test_the_async_writer_follows_and_falls_back(server_factory, store_factory, road):
    """The asyncio writer splits its batches by server, and loses none when one is killed."""
    store = store_factory()
    servers = [server_factory(*FLAGS, url=store.url).start() for _ in range(2)]
    for customer in CUSTOMERS:
        road.subscribe(servers[0], "several", customer)

    async def write() -> Any:
        async with AsyncClient(servers[0].target) as client:
            writer = client.ingest(options=OPTIONS)
            async with writer:
                for number in range(4_000):
                    customer = CUSTOMERS[number % len(CUSTOMERS)]
                    await writer.write(record(f"g{number}", customer, START))
                    if number < 2_500 and number % 50 == 0 and writer.counters.streams < 2:
                        await asyncio.sleep(0.05)  # the second server is learnt from an answer
                    if number == 2_500:
                        assert writer.counters.streams >= 2
                        servers[0].signal(signal.SIGKILL)
                return await writer.flush(60)

    counters = asyncio.run(write())
    assert counters.counted == 4_000
    with Client(servers[1].target) as client:
        counts = [client.get_usage(c, START).counters[0].event_count for c in CUSTOMERS]
    assert sum(counts) == 4_000


@pytest.mark.timeout(120)
def test_no_cache_decides_with_a_stale_border(server_factory, store_factory, road):
    """What one server has just subscribed decides at once on another one that knew otherwise.

    The other one holds a session with the state before; its decision on it is refused by the log
    (P1), so a record is judged by the subscription that stands before it in the log, always.
    """
    store = store_factory()
    one = server_factory(*FLAGS, url=store.url).start()
    two = server_factory(*FLAGS, url=store.url).start()
    road.subscribe(one, "border", "border-0")
    border = Timestamp(seconds=1_767_225_600 + 86_400)

    def record_at(server, customer: str, event_id: str, seconds: int) -> tuple[int, int]:
        record = road.record(event_id, customer, "border-calls", "1")
        record.event_time.FromSeconds(seconds)
        (result,) = server.usage.RecordUsage(usage.RecordUsageRequest(records=[record])).results
        return result.status, result.reason

    no_subscription = (usage.RECORD_STATUS_REJECTED, usage.REJECT_REASON_NO_SUBSCRIPTION)
    accepted = (usage.RECORD_STATUS_ACCEPTED, usage.REJECT_REASON_UNSPECIFIED)
    for number in range(1, 25):
        customer = f"border-{number}"
        writer, reader = (one, two) if number % 2 else (two, one)
        # The reader knows the customer without a subscription.
        assert record_at(reader, customer, "early", border.seconds) == no_subscription
        subscription = customers.Subscription(
            customer=customer, plan_id="border", start_time=border
        )
        writer.customers.CreateSubscription(
            customers.CreateSubscriptionRequest(subscription=subscription)
        )
        assert record_at(reader, customer, "early", border.seconds) == accepted
        assert record_at(reader, customer, "before", border.seconds - 1) == no_subscription
    # A plan version, too: the newest one is what the other server puts customers on.
    for version in range(2, 5):
        plan = road.plan("border")
        plan.charges[0].amount = str(version)
        writer, reader = (one, two) if version % 2 else (two, one)
        writer.catalog.CreatePlan(catalog.CreatePlanRequest(plan=plan))
        subscription = customers.Subscription(customer=f"newest-{version}", plan_id="border")
        answer = reader.customers.CreateSubscription(
            customers.CreateSubscriptionRequest(subscription=subscription)
        )
        assert answer.subscription.plan_version == version


@pytest.mark.timeout(120)
def test_a_server_reads_counters_of_meters_that_it_has_not_heard_of(
    server_factory, store_factory, road
):
    """GetUsage needs no newer catalogue: the log itself tells the scales of what is counted."""
    store = store_factory()
    one = server_factory(*FLAGS, url=store.url).start()
    two = server_factory(*FLAGS, url=store.url).start()
    road.subscribe(one, "unheard", "unheard")
    record = road.record("e", "unheard", "unheard-payments", "1.25")
    one.usage.RecordUsage(usage.RecordUsageRequest(records=[record]))
    request = usage.GetUsageRequest(customer="unheard", time=record.event_time)
    (counter,) = two.usage.GetUsage(request).counters
    assert (counter.value, counter.event_count) == ("1.25", 1)


@pytest.mark.timeout(120)
def test_batches_of_a_stream_never_overtake_each_other(server_factory, store_factory, road):
    """A batch that names a meter which must be looked up is decided before those behind it."""
    store = store_factory()
    one = server_factory(*FLAGS, url=store.url).start()
    two = server_factory(*FLAGS, url=store.url).start()
    road.subscribe(one, "turns", "turns")
    at = 1_767_225_600_000_000

    def requests() -> Iterator[usage.IngestUsageRequest]:
        for number in range(20):
            ids = [f"e{number}".encode(), f"u{number}".encode()]
            yield usage.IngestUsageRequest(
                batch_number=2 * number,
                batch=usage.UsageBatch(
                    customers=["turns"],
                    meters=[
                        usage.BatchMeter(meter="turns-calls"),
                        usage.BatchMeter(meter=f"nothing-{number}"),
                    ],
                    meter_index=[0, 1],
                    event_ids=b"".join(ids),
                    event_id_lengths=[len(each) for each in ids],
                    quantities=[1, 1],
                    event_times_micros=[at, at],
                ),
            )
            yield usage.IngestUsageRequest(
                batch_number=2 * number + 1,
                batch=usage.UsageBatch(
                    customers=["turns"],
                    meters=[usage.BatchMeter(meter="turns-calls")],
                    event_ids=ids[0],
                    event_id_lengths=[len(ids[0])],
                    quantities=[1],
                    event_times_micros=[at],
                    retractions=[True],
                ),
            )

    # The meter itself is known, so that only the unknown ones are looked up.
    first = usage.RecordUsageRequest(records=[road.record("warm", "turns", "turns-calls", "1")])
    two.usage.RecordUsage(first)
    answers = list(two.usage.IngestUsage(requests()))
    assert [answer.accepted_count for answer in answers] == [1] * 40
