"""Seeded usage records as columns, and clients that send them."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import grpc
import numpy as np
from google.protobuf.timestamp_pb2 import Timestamp
from numpy.typing import NDArray

from benchmarks.workloads import SEED
from ratewright.v1 import (
    catalog_service_pb2,
    catalog_service_pb2_grpc,
    customer_service_pb2,
    customer_service_pb2_grpc,
    plan_pb2,
    usage_service_pb2,
    usage_service_pb2_grpc,
)
from rating_client import Client, RecordStatus, UsageColumns, WriterOptions

JANUARY = 1_767_225_600
_SPREAD_US = 10**12
_ID_DIGITS = 18
_ZIPF = 1.2
_SUBSCRIBING = 64
"""Subscriptions that are under way at once."""


@dataclass(frozen=True, slots=True)
class Traffic:
    """What one run sends: ``records`` in batches, over ``streams`` at once.

    ``numbered``: each stream is a sequenced producer, whose records have no event ids (P12).
    """

    customers: int
    batch: int
    records: int
    streams: int = 1
    skewed: bool = False
    numbered: bool = False


def customer_numbers(traffic: Traffic, run: int) -> NDArray[np.int32]:
    """Return the customer number of every record, uniform or, skewed, by Zipf's law."""
    rng = np.random.default_rng(SEED + run)
    if traffic.skewed:
        drawn = rng.zipf(_ZIPF, traffic.records) - 1
        return (drawn % traffic.customers).astype(np.int32)
    return rng.integers(0, traffic.customers, traffic.records, np.int32)


def event_ids(run: int, records: int) -> bytes:
    """Return ids of 18 hexadecimal digits, concatenated, no two alike over all runs."""
    numbers = np.arange(records, dtype=np.int64) + (run << 40)
    shifts = np.arange(_ID_DIGITS - 1, -1, -1, dtype=np.int64) * 4
    digits = np.zeros((records, _ID_DIGITS), np.uint8)
    small = shifts < 64
    digits[:, small] = (numbers[:, None] >> shifts[small]) & 15
    return np.frombuffer(b"0123456789abcdef", np.uint8)[digits].tobytes()


def columns_of(traffic: Traffic, run: int) -> list[UsageColumns]:
    """Return what each stream sends in this run, as NumPy columns."""
    rng = np.random.default_rng(SEED - run)
    count = traffic.records
    customers = customer_numbers(traffic, run)
    ids = b"" if traffic.numbered else event_ids(run, count)
    quantities = rng.integers(1, 1_000, count)
    times = JANUARY * 1_000_000 + rng.integers(0, _SPREAD_US, count)
    names = [f"c{number}" for number in range(traffic.customers)]
    share = -(-count // traffic.streams)
    return [
        UsageColumns(
            customers=names,
            customer_index=customers[begin : begin + share],
            meters=[("units", 0)],
            event_ids=ids[begin * _ID_DIGITS : (begin + share) * _ID_DIGITS],
            event_id_lengths=np.full(min(share, count - begin) * bool(ids), _ID_DIGITS, np.int32),
            quantities=quantities[begin : begin + share],
            event_times_micros=times[begin : begin + share],
        )
        for begin in range(0, count, share)
    ]


def send(client: Client, traffic: Traffic, parts: Sequence[UsageColumns]) -> dict[str, int]:
    """Send the columns, a writer and a thread for each; return the statuses when all are acked."""
    options = WriterOptions(
        batch_records=traffic.batch,
        batch_bytes=6 << 20,
        batches_in_flight=8,
        max_unanswered_records=12 * traffic.batch,
    )
    done: list[dict[str, int]] = []

    def write(stream: int, columns: UsageColumns) -> None:
        producer = f"bench-{stream}" if traffic.numbered else None
        with client.ingest(options=options, producer_id=producer) as writer:
            writer.write_columns(columns)
            counters = writer.flush()
        done.append({"accepted": counters.accepted, "duplicate": counters.duplicate})

    threads = [threading.Thread(target=write, args=each) for each in enumerate(parts)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return {status: sum(each[status] for each in done) for status in ("accepted", "duplicate")}


def create_plan(channel: grpc.Channel) -> None:
    """Create the plan that all customers are on: one meter, one price."""
    plan = plan_pb2.Plan(
        id="bench",
        currency="USD",
        billing_period=plan_pb2.BILLING_PERIOD_MONTH,
        meters=[plan_pb2.PlanMeter(id="units", aggregation=plan_pb2.AGGREGATION_SUM)],
        charges=[
            plan_pb2.Charge(
                id="units", model=plan_pb2.CHARGE_MODEL_PER_UNIT, meter="units", unit_price="0.01"
            )
        ],
    )
    stub = catalog_service_pb2_grpc.CatalogServiceStub(channel)
    stub.CreatePlan(catalog_service_pb2.CreatePlanRequest(plan=plan))


def subscribe(channel: grpc.Channel, first: int, last: int) -> None:
    """Subscribe the customers ``first`` to ``last`` − 1 from January on."""
    stub = customer_service_pb2_grpc.CustomerServiceStub(channel)
    waiting: deque[grpc.Future] = deque()
    for number in range(first, last):
        subscription = customer_service_pb2.Subscription(
            customer=f"c{number}", plan_id="bench", start_time=Timestamp(seconds=JANUARY)
        )
        request = customer_service_pb2.CreateSubscriptionRequest(subscription=subscription)
        waiting.append(stub.CreateSubscription.future(request))
        if len(waiting) >= _SUBSCRIBING:
            waiting.popleft().result()
    for each in waiting:
        each.result()


def unary_latencies(channel: grpc.Channel, customers: int, run: int, count: int) -> list[int]:
    """Record ``count`` single records one after the other; return the latencies, nanoseconds."""
    stub = usage_service_pb2_grpc.UsageServiceStub(channel)
    taken = []
    for number in range(count):
        record = usage_service_pb2.UsageRecord(
            event_id=f"unary-{run}-{number}",
            customer=f"c{number % customers}",
            meter="units",
            quantity="1",
            event_time=Timestamp(seconds=JANUARY + number),
        )
        request = usage_service_pb2.RecordUsageRequest(records=[record])
        began = time.perf_counter_ns()
        response = stub.RecordUsage(request)
        taken.append(time.perf_counter_ns() - began)
        if response.results[0].status != RecordStatus.ACCEPTED:
            raise SystemExit(f"a single record was not accepted: {response}")
    return taken
