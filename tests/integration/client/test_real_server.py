"""The client against the real server and its embedded store, as a user starts them."""

from __future__ import annotations

import asyncio
import signal
import threading
import time
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from rating_client import (
    AlreadyExists,
    AsyncClient,
    Client,
    InvalidArgument,
    NotFound,
    RecordStatus,
    RejectReason,
    Unavailable,
    UsageColumns,
    UsageRecord,
    WriterOptions,
    plan_to_document,
)

START = datetime(2026, 3, 1, tzinfo=UTC)
PLAN = {
    "id": "llm-api",
    "currency": "USD",
    "billing_period": "month",
    "meters": [
        {"id": "input-tokens", "aggregation": "sum", "dimensions": ["model"]},
        {"id": "storage", "aggregation": "sum", "scale": "3"},
    ],
    "charges": [
        {"id": "platform", "model": "flat_fee", "amount": "49"},
        {
            "id": "input",
            "meter": "input-tokens",
            "model": "graduated",
            "tiers": [{"up_to": "1000", "unit_price": "0.01"}, {"unit_price": "0.005"}],
        },
        {"id": "disk", "meter": "storage", "model": "per_unit", "unit_price": "0.1"},
    ],
    "examples": [{"usage": {"input-tokens": "1500"}, "expect": {"total": "61.5"}}],
}


def test_every_method_of_the_sync_client(server):
    """From a plan document to an explained statement, with exact values on the way."""
    with Client(server.target) as client:
        meter = client.create_meter("requests", "count", unit="request").meter
        assert meter.name == "meters/requests"
        assert client.get_meter("requests") == meter
        checked = client.check_plan(PLAN)
        assert not checked.faults
        assert [example.passed for example in checked.examples] == [True]
        created = client.create_plan(PLAN, request_id="plan-1")
        assert created.plan.version == 1
        assert client.create_plan(PLAN, request_id="plan-1").replayed
        stored = plan_to_document(client.get_plan("llm-api", 1))
        assert stored["charges"][1]["tiers"][0]["up_to"] == "1000"
        assert [plan.id for plan in client.list_plans()] == ["llm-api"]
        assert [plan.version for plan in client.list_plans("llm-api")] == [1]
        names = [meter.id for meter in client.list_meters(page_size=1)]
        assert names == sorted(names) == ["input-tokens", "requests", "storage"]
        client.create_subscription("acme", "llm-api", start_time=START)
        assert client.get_subscription("acme").plan_version == 1
        assert [item.customer for item in client.list_subscriptions("acme")] == ["acme"]
        when = START + timedelta(days=1)
        record = UsageRecord(
            event_id="e-1", customer="acme", meter="storage", event_time=when, quantity="2.125"
        )
        unknown = UsageRecord(event_id="e-2", customer="acme", meter="nope", event_time=when)
        first, second = client.record_usage([record, unknown])
        assert first.status is RecordStatus.ACCEPTED
        assert second.reason is RejectReason.UNKNOWN_METER
        assert client.record_usage([record])[0].status is RecordStatus.DUPLICATE
        usage = client.get_usage("acme", when)
        assert usage.total("storage") == Decimal("2.125")
        assert usage.period_start == START
        statement = client.preview_statement("acme", when)
        assert statement.total == Decimal("49.21")
        assert statement.amount_by_id()["disk"] == Decimal("0.21")
        quote = client.rate_usage("llm-api", {"input-tokens": 1500}, version=1)
        assert quote.total == Decimal("61.50")
        line = next(line for line in quote.lines if line.id == "input")
        assert line.kind == "model"
        assert sum(piece.amount for piece in line.slices) == line.amount == Decimal("12.5")
        assert [piece.tier for piece in line.slices if piece.kind == "tier"] == [0, 1]
        assert client.rate_usage(PLAN, {"storage": "1.5"}).total == Decimal("49.15")


def test_errors_are_typed(server):
    """The server's codes, reasons and field violations arrive as the classes of `errors`."""
    with Client(server.target) as client:
        with pytest.raises(NotFound) as missing:
            client.get_meter("no-such-meter")
        assert missing.value.reason == "METER_NOT_FOUND"
        charge = {"id": "c", "model": "per_unit", "meter": "x", "unit_price": "-1"}
        with pytest.raises(InvalidArgument) as faulty:
            client.create_plan(
                {"id": "P", "currency": "USD", "billing_period": "month", "charges": [charge]}
            )
        paths = [fault.path for fault in faulty.value.field_violations]
        assert "plan.id" in paths
        assert "plan.charges[0].unit_price" in paths
        client.create_meter("once", "count", request_id="meter-once")
        with pytest.raises(AlreadyExists) as reused:
            client.create_meter("twice", "count", request_id="meter-once")
        assert reused.value.reason == "REQUEST_ID_REUSED"
    with Client("127.0.0.1:1") as nobody, pytest.raises(Unavailable):
        nobody.get_meter("requests", timeout=5)


def test_the_async_client_is_its_twin(server):
    """The same calls, awaited."""

    async def use() -> None:
        async with AsyncClient(server.target) as client:
            plan = PLAN | {"id": "async-plan"}
            assert (await client.create_plan(plan)).plan.version == 1
            await client.create_subscription("async-customer", "async-plan", start_time=START)
            async with client.ingest() as writer:
                for n in range(100):
                    await writer.write(
                        UsageRecord(
                            event_id=f"a-{n}",
                            customer="async-customer",
                            meter="input-tokens",
                            event_time=START + timedelta(seconds=n),
                            quantity=n,
                            dimensions={"model": "large"},
                        )
                    )
            usage = await client.get_usage("async-customer", START)
            assert usage.total("input-tokens") == 4950
            assert usage.counters[0].dimensions == {"model": "large"}
            assert (await client.preview_statement("async-customer", START)).customer
            assert "async-plan" in [plan.id async for plan in client.list_plans(page_size=1)]
            with pytest.raises(NotFound):
                await client.get_plan("no-such-plan")

    asyncio.run(use())


def test_killing_the_server_loses_and_doubles_nothing(server):
    """kill -9, then a graceful stop, in the middle of a stream: every record is counted once."""
    customers = [f"killed-{n}" for n in range(20)]
    count = 60_000
    with Client(server.target) as client:
        client.create_plan(PLAN | {"id": "kill-plan"})
        for customer in customers:
            client.create_subscription(customer, "kill-plan", start_time=START)
        options = WriterOptions(
            batch_records=500, max_unanswered_records=4_000, backoff_max_seconds=0.2
        )
        batches = []
        restarted = []

        def restart() -> None:
            for number, counted in ((signal.SIGKILL, 10_000), (signal.SIGTERM, 30_000)):
                while writer.counters.counted < counted:
                    time.sleep(0.002)
                server.end(number)
                restarted.append(writer.counters.counted)
                server.start()

        thread = threading.Thread(target=restart)
        with client.ingest(on_batch=batches.append, options=options) as writer:
            thread.start()
            for start in range(0, count, 3_000):
                rows = range(start, start + 3_000)
                columns = UsageColumns(
                    customers=customers,
                    customer_index=[n % 20 for n in rows],
                    meters=[("input-tokens", 0)],
                    event_ids=[f"k-{n}" for n in rows],
                    quantities=rows,
                    event_times_micros=[1_772_323_200_000_000 + n for n in rows],
                )
                writer.write_columns(columns)
        thread.join()
        assert len(restarted) == 2
        assert max(restarted) < count
        assert writer.counters.counted == count
        assert sum(map(len, batches)) == count
        assert writer.counters.streams >= 3
        sums = {name: client.get_usage(name, START).total("input-tokens") for name in customers}
    assert sums == {name: sum(range(n, count, 20)) for n, name in enumerate(customers)}
