"""Finalising the statements of a month: ratewright beside a loop of HGETALL and `Decimal`.

Both on one real server and store, in one run: customers with three charges each. The loop reads
each customer's counter hash, which the server keeps, and prices it with Decimal; it stores nothing.
Ratewright closes the periods, books the statements durably and sends them to the client.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path

import grpc
import numpy as np
import redis
from numpy.typing import NDArray

from benchmarks.ingest_load import subscribe
from benchmarks.local_server import memory_bytes, running_server
from benchmarks.measure import Row
from rating_client import Client, UsageColumns

CUSTOMERS = 100_000
GROWTH = (10_000, 30_000, 100_000, 300_000)
METERS = ("requests", "tokens", "storage")
PRICES = {"requests": Decimal("0.002"), "tokens": Decimal("0.00003"), "storage": Decimal("0.01")}
PLAN = {
    "id": "bench",
    "currency": "USD",
    "billing_period": "month",
    "meters": [{"id": name, "aggregation": "sum"} for name in METERS],
    "charges": [
        {"id": name, "meter": name, "model": "per_unit", "unit_price": str(PRICES[name])}
        for name in METERS
    ],
}
_JANUARY = datetime(2026, 1, 1, tzinfo=UTC)
_FEBRUARY = datetime(2026, 2, 1, tzinfo=UTC)
_CENT = Decimal("0.01")
_LOOPED = 5_000
_MOST = 1_000_000
_PATIENCE_S = 120.0
"""For each 100,000 customers."""


def run(rows: int = CUSTOMERS) -> Iterator[Row]:
    """Yield one row a number of customers and engine; totals are compared first."""
    for customers in (*(size for size in GROWTH if size < rows), rows):
        with tempfile.TemporaryDirectory(prefix="rw-bench-") as name:
            yield from _measure(Path(name), customers)


def _measure(folder: Path, customers: int) -> Iterator[Row]:
    with (
        running_server(folder, "--drain-timeout", "1000") as server,
        Client(server.address) as client,
        grpc.insecure_channel(server.address) as channel,
    ):
        client.create_plan(PLAN)
        subscribe(channel, 0, customers)
        count_usage(client, customers, _JANUARY, timedelta(days=11), customers, _MOST)
        record = json.loads((folder / "data" / "store.json").read_text())
        store = redis.Redis(unix_socket_path=record["socket"])
        looped, per_s = _loop(store, customers)
        began, cpu = time.perf_counter(), server.cpu_seconds()
        totals: dict[str, int] = {}
        for chunk in client.finalize_statements(_FEBRUARY):
            totals.update(zip(chunk.customers, chunk.totals, strict=True))
        taken = time.perf_counter() - began
        spent = {name: value - cpu[name] for name, value in server.cpu_seconds().items()}
        memory = {"server": memory_bytes(server.pid), "store": memory_bytes(server.store_pid)}
    if len(totals) != customers or any(totals[name] != cents for name, cents in looped.items()):
        raise SystemExit("statements and the loop's totals differ")
    case = f"statements/{customers}-customers-3-charges"
    yield _row(case, "hgetall-decimal", per_s, 1.0)
    ours = customers / taken
    row = _row(case, "ratewright", ours, ours / per_s)
    row |= {f"{name}_cpu_s": round(value, 2) for name, value in spent.items()}
    yield row | {f"{name}_mb": round(value / 1e6) for name, value in memory.items()}


def _row(case: str, engine: str, per_s: float, ratio: float) -> Row:
    return {
        "subject": "statements",
        "case": case,
        "engine": engine,
        "statements_per_s": round(per_s),
        "ratio_to_loop": round(ratio, 2),
    }


def count_usage(
    client: Client, customers: int, start: datetime, span: timedelta, seed: int, most: int
) -> NDArray[np.int64]:
    """Record a quantity of each meter for each customer, ``most`` at most, in a span of time.

    Returned are the quantities, int64[customers, meters]. Another seed gives other event ids.
    """
    rng = np.random.default_rng(seed)
    count = customers * len(METERS)
    start_us = int(start.timestamp()) * 1_000_000
    quantities = rng.integers(1, most, count)
    columns = UsageColumns(
        customers=[f"c{number}" for number in range(customers)],
        customer_index=np.repeat(np.arange(customers, dtype=np.int32), len(METERS)),
        meters=[(name, 0) for name in METERS],
        meter_index=np.tile(np.arange(len(METERS), dtype=np.int32), customers),
        event_ids=b"".join(b"%06x%08x" % (seed, number) for number in range(count)),
        event_id_lengths=np.full(count, 14, np.int32),
        quantities=quantities,
        event_times_micros=start_us + rng.integers(0, span // timedelta(microseconds=1), count),
    )
    with client.ingest() as writer:
        writer.write_columns(columns)
        found = writer.flush()
    # What was sent again, since an answer was lost, may have been counted the first time.
    if found.counted != count:
        raise SystemExit(f"not all of {count} records were counted: {found}")
    return quantities.reshape(customers, len(METERS))


def due_cents(quantities: Mapping[str, int]) -> int:
    """Return what quantities by meter cost, in cents, each charge rounded by itself."""
    total = Decimal(0)
    for meter, quantity in quantities.items():
        total += (Decimal(quantity) * PRICES[meter]).quantize(_CENT, ROUND_HALF_UP)
    return int(total / _CENT)


def _loop(store: redis.Redis, customers: int) -> tuple[dict[str, int], float]:
    """Return cents by customer and the loop's speed, once the counters of all are folded.

    Folding takes the store's time: neither engine is measured beside it.
    """
    keys: dict[str, bytes] = {}
    expires = time.monotonic() + _PATIENCE_S * max(1.0, customers / 100_000)
    while store.dbsize() < customers and time.monotonic() < expires:
        time.sleep(0.2)
    while True:
        for key in store.scan_iter(match="rw:*:c:*", count=10_000):
            keys[key.rpartition(b":c:")[2].partition(b":")[0].decode()] = key
        if len(keys) >= customers:
            break
        if time.monotonic() > expires:
            raise SystemExit("the counters were not folded in time")
        time.sleep(0.2)
    keys = dict(sorted(keys.items())[:_LOOPED])
    fields = {
        name: json.dumps([name, [], "value"], separators=(",", ":")).encode() for name in METERS
    }
    found: dict[str, int] = {}
    began = time.perf_counter()
    for name, key in keys.items():
        counters = store.hgetall(key)
        found[name] = due_cents(
            {meter: int(counters.get(field, 0)) for meter, field in fields.items()}
        )
    return found, len(keys) / (time.perf_counter() - began)
