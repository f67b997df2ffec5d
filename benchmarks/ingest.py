"""Ingest with event ids and durable acks, beside a hand-written redis-py pipeline.

Client, server and store together on this machine. The peer does what a careful hand-written
counter does: `SET id NX` and `HINCRBY` per record, 1,000 records a pipeline, same fsync policy, and
no check of the payload; it is given the result of the first to decide the second (two pipelines).
"""

from __future__ import annotations

import asyncio
import statistics
import tempfile
from collections.abc import Iterator
from pathlib import Path

import grpc
import numpy as np
import redis
from google.protobuf.timestamp_pb2 import Timestamp

from benchmarks.local_server import local_server
from benchmarks.measure import Row, seconds
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
from rating_server.store.embedded import EmbeddedStore

CUSTOMERS = 1_000
BATCH = 8_192
BATCHES = 30
PEER_RECORDS = 20_000
PIPELINE = 1_000
RUNS = 3
JANUARY = 1_767_225_600


def _subscribe_all(channel: grpc.Channel) -> None:
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
    catalog = catalog_service_pb2_grpc.CatalogServiceStub(channel)
    catalog.CreatePlan(catalog_service_pb2.CreatePlanRequest(plan=plan))
    customers = customer_service_pb2_grpc.CustomerServiceStub(channel)
    for number in range(CUSTOMERS):
        subscription = customer_service_pb2.Subscription(
            customer=f"c{number}", plan_id="bench", start_time=Timestamp(seconds=JANUARY)
        )
        customers.CreateSubscription(
            customer_service_pb2.CreateSubscriptionRequest(subscription=subscription)
        )


def _batches(run: int) -> list[usage_service_pb2.IngestUsageRequest]:
    rng = np.random.default_rng(SEED + run)
    made = []
    for number in range(BATCHES):
        ids = [f"{run:04x}-{number:06x}-{row:06x}" for row in range(BATCH)]
        batch = usage_service_pb2.UsageBatch(
            customers=[f"c{number}" for number in range(CUSTOMERS)],
            customer_index=rng.integers(0, CUSTOMERS, BATCH).tolist(),
            meters=[usage_service_pb2.BatchMeter(meter="units")],
            event_ids="".join(ids).encode(),
            event_id_lengths=[len(event_id) for event_id in ids],
            quantities=rng.integers(1, 1_000, BATCH).tolist(),
            event_times_micros=(JANUARY * 1_000_000 + rng.integers(0, 10**12, BATCH)).tolist(),
        )
        made.append(usage_service_pb2.IngestUsageRequest(batch_number=number, batch=batch))
    return made


def _stream(
    stub: usage_service_pb2_grpc.UsageServiceStub,
    batches: list[usage_service_pb2.IngestUsageRequest],
) -> None:
    accepted = sum(answer.accepted_count for answer in stub.IngestUsage(iter(batches)))
    if accepted != BATCH * BATCHES:
        raise SystemExit(f"only {accepted} of {BATCH * BATCHES} records were accepted")


def _pipelines(client: redis.Redis, run: int) -> None:
    for start in range(0, PEER_RECORDS, PIPELINE):
        ids = client.pipeline(transaction=False)
        for row in range(start, start + PIPELINE):
            ids.set(f"id:{run}:{row}", 1, nx=True)
        fresh = ids.execute()
        counts = client.pipeline(transaction=False)
        for row, new in zip(range(start, start + PIPELINE), fresh, strict=True):
            if new:
                counts.hincrby(f"c:{row % CUSTOMERS}", "units", row)
        counts.execute()


def run() -> Iterator[Row]:
    """Yield one row an engine for the case `ids/1000/8k`, medians of interleaved runs."""
    with tempfile.TemporaryDirectory(prefix="rw-bench-") as name:
        folder = Path(name)
        peer_store = EmbeddedStore(folder / "peer")
        with (
            asyncio.Runner() as runner,
            local_server(folder) as address,
            grpc.insecure_channel(address) as channel,
        ):
            runner.run(peer_store.start())
            try:
                rates = _measure(channel, redis.Redis.from_url(peer_store.url()))
            finally:
                runner.run(peer_store.stop())
    for engine, rate in rates.items():
        yield {
            "subject": "ingest",
            "case": "ids/1000/8k",
            "engine": engine,
            "records_per_s": round(rate),
            "ratio_to_pipeline": rate / rates["redis-py-pipeline"],
            "ack": "durable",
        }


def _measure(channel: grpc.Channel, client: redis.Redis) -> dict[str, float]:
    _subscribe_all(channel)
    stub = usage_service_pb2_grpc.UsageServiceStub(channel)
    _stream(stub, _batches(0))
    ours, peer = [], []
    for number in range(1, RUNS + 1):
        batches = _batches(number)
        ours.append(BATCH * BATCHES / seconds(lambda b=batches: _stream(stub, b)))
        peer.append(PEER_RECORDS / seconds(lambda n=number: _pipelines(client, n)))
    return {"ratewright": statistics.median(ours), "redis-py-pipeline": statistics.median(peer)}
