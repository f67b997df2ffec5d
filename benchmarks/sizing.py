"""What a record, an id and a counter take, and how long a start takes: for the sizing table.

A server's usage store on an embedded Valkey with `appendfsync always`, in this process: records of
1,000 customers, three meters, sixteen dimension sets, event ids of 36 bytes, in batches of 8,192
over 16 shards. Memory is what the store says; a start is a second server that reads the same logs,
less a start on empty logs.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from benchmarks.measure import Row
from rating_core.catalog import BillingPeriod
from rating_core.metering.batch import RecordBatch, shard_of
from rating_core.metering.calls import CreateSubscription, RecordCall
from rating_core.metering.catalogue_calls import CreateMeter
from rating_server.ports import Window
from rating_server.store.adapter import LinkOptions
from rating_server.store.connection import (
    ask_redis,
    disconnect,
    establish,
    open_connection,
    parse_info,
)
from rating_server.store.embedded import EmbeddedStore
from rating_server.store.id_files import IdFiles
from rating_server.store.id_spill import IdSpill
from rating_server.store.keys import shard_keys
from rating_server.store.log_reader import log_reader
from rating_server.store.usage_store import RedisUsageStore, UsageStoreOptions

ROWS = 1_000_000
CUSTOMERS = 1_000
BATCH = 8_192
SHARDS = 16
METERS = ("requests", "tokens-in", "tokens-out")
SETS = 16
START = 1_772_323_200_000_000
"""2026-03-01T00:00:00Z in µs."""
_PER_DAY = (10**6, 10**7, 10**8, 10**9)
_DAYS_IN_LOG, _WINDOW_DAYS = 2, 8
_PATIENCE = 600


def run(rows: int = ROWS) -> Iterator[Row]:
    """Yield what was measured with ``rows`` records, then the table that follows from it."""
    with tempfile.TemporaryDirectory(prefix="rw-size-") as place:
        found = asyncio.run(_measure(Path(place), rows))
    yield from found
    yield from _table({str(row["case"]): row for row in found})


async def _measure(place: Path, rows: int) -> list[Row]:
    data, found = place / "data", list[Row]()
    embedded = EmbeddedStore(data)
    spill = IdSpill(IdFiles(place / "spill"))
    server = RedisUsageStore(_options(rows, spill), embedded)
    await server.start()
    try:
        url = embedded.url()
        base = await _info(url)
        await _prepare(server)
        empty = await _start(url, rows)
        before = await _info(url)
        for first in range(0, rows, BATCH):
            await _send(server, first, min(BATCH, rows - first))
        await _folded(server, url)
        after = await _info(url)
        logs, entries = await _logs(url)
        hashes, fields, hash_bytes = await _hashes(url)
        disk = sum(p.stat().st_size for p in (data / "store").rglob("*") if p.is_file())
        ids = spill.bytes_held()
    finally:
        await server.close()
    found.append(
        {
            "subject": "sizing",
            "case": "record",
            "records": rows,
            "entries": entries,
            "log_bytes_per_record": round(logs / rows, 1),
            "store_bytes_per_record": round((after - before) / rows, 1),
            "append_only_file_bytes_per_record": round(disk / rows, 1),
        }
    )
    found.append({"subject": "sizing", "case": "id", "server_bytes_per_id": round(ids / rows, 1)})
    found.append(
        {
            "subject": "sizing",
            "case": "counter",
            "hashes": hashes,
            "fields_per_hash": round(fields / hashes, 1),
            "bytes_per_field": round(hash_bytes / fields, 1),
            "bytes_per_hash": round(hash_bytes / hashes, 1),
        }
    )
    found.append({"subject": "sizing", "case": "empty", "store_bytes": base})
    found.append(await _recovery(place, rows, empty))
    return found


def _options(rows: int, spill: IdSpill) -> UsageStoreOptions:
    return UsageStoreOptions(
        shards=SHARDS, window=Window(None), max_ids=max(4 * rows, 10_000_000), spill=spill
    )


async def _prepare(server: RedisUsageStore) -> None:
    for meter in METERS:
        document = {"id": meter, "aggregation": "sum", "scale": "0", "dimensions": ["model"]}
        await server.catalogue_call(CreateMeter(document=document))
    calls = [
        CreateSubscription(
            customer=_customer(number),
            subscription_id=f"s{number}",
            plan_id="p",
            plan_version=1,
            billing_period=BillingPeriod.MONTH,
            start_time=START,
        )
        for number in range(CUSTOMERS)
    ]
    await server.submit_all([(shard_of(call.customer, SHARDS), call) for call in calls])


def _customer(number: int) -> str:
    return f"customer-{number:06d}"


async def _send(server: RedisUsageStore, first: int, count: int) -> None:
    batch = _batch(first, count)
    parts = [(shard, RecordCall(part)) for shard, _, part in batch.split_by_shard(SHARDS)]
    for answer in await server.submit_all(parts):
        if isinstance(answer, Exception):
            raise answer


def _batch(first: int, count: int) -> RecordBatch:
    generator = np.random.default_rng(first)
    ids = [
        b"%08x-0000-4000-8000-%012x" % (number, number * 7)
        for number in range(first, first + count)
    ]
    return RecordBatch(
        customers=[_customer(number) for number in range(CUSTOMERS)],
        customer=generator.integers(0, CUSTOMERS, count, dtype=np.int32),
        meters=list(METERS),
        scales=[0] * len(METERS),
        meter=generator.integers(0, len(METERS), count, dtype=np.int32),
        dimension_sets=[(("model", f"model-{number}"),) for number in range(SETS)],
        dimension_set=generator.integers(0, SETS, count, dtype=np.int32),
        event_ids=b"".join(ids),
        event_id_ends=np.cumsum([len(text) for text in ids]).astype(np.int64),
        quantity=generator.integers(1, 5_000, count, dtype=np.int64),
        event_time=START + np.arange(first, first + count, dtype=np.int64) * 1_000,
        malformed=np.zeros(count, np.bool_),
    )


async def _info(url: str) -> int:
    connection = open_connection(url, 5.0)
    try:
        await establish(connection)
        memory = parse_info(await ask_redis(connection, b"INFO", b"memory"))
        return int(memory["used_memory"])
    finally:
        await disconnect(connection)


async def _folded(server: RedisUsageStore, url: str) -> None:
    """Wait until the hashes reflect all logs (P8)."""
    options = LinkOptions(url=lambda: url)
    for shard in range(server.shard_count):
        async with log_reader(options, shard_keys(shard)) as reader:
            for _ in range(_PATIENCE):
                if await reader.mark() >= (await reader.head())[0]:
                    break
                await asyncio.sleep(0.1)


async def _logs(url: str) -> tuple[int, int]:
    """Return bytes and entries of all logs."""
    size = count = 0
    connection = open_connection(url, 5.0)
    try:
        await establish(connection)
        for shard in range(SHARDS):
            name = shard_keys(shard).log
            count += int(await ask_redis(connection, b"XLEN", name))
            # All of it is counted: a sample would see the small entries at the beginning alone.
            usage = await ask_redis(connection, b"MEMORY", b"USAGE", name, b"SAMPLES", b"0")
            size += int(usage)
    finally:
        await disconnect(connection)
    return size, count


async def _hashes(url: str) -> tuple[int, int, int]:
    """Return the number of counter hashes, of their fields, and their bytes."""
    hashes = fields = size = 0
    connection = open_connection(url, 5.0)
    try:
        await establish(connection)
        for shard in range(SHARDS):
            pattern = shard_keys(shard).counter_pattern
            for name in await ask_redis(connection, b"KEYS", pattern):
                hashes += 1
                fields += int(await ask_redis(connection, b"HLEN", name))
                size += int(
                    await ask_redis(connection, b"MEMORY", b"USAGE", name, b"SAMPLES", b"0")
                )
    finally:
        await disconnect(connection)
    return hashes, fields, size


async def _start(url: str, rows: int) -> float:
    """Return the seconds until another server has read all logs; the kernels are warm."""
    began = time.perf_counter()
    options = UsageStoreOptions(url=url, shards=SHARDS, max_ids=max(4 * rows, 10_000_000))
    server = RedisUsageStore(options)
    await server.start()
    taken = time.perf_counter() - began
    await server.close()
    return taken


async def _recovery(place: Path, rows: int, empty: float) -> Row:
    """Start the store, which loads its file, then a server on it; ``empty``: s on nothing."""
    embedded = EmbeddedStore(place / "data")
    began = time.perf_counter()
    await embedded.start()
    loaded = time.perf_counter() - began
    try:
        url = embedded.url()
        read = await _start(url, rows)
    finally:
        await embedded.stop()
    return {
        "subject": "sizing",
        "case": "start",
        "store_s_per_million": round(loaded / rows * 1e6, 3),
        "logs_s_per_million_ids": round(max(read - empty, 0.0) / rows * 1e6, 3),
        "empty_s": round(empty, 3),
    }


def _table(measured: dict[str, Row]) -> Iterator[Row]:
    """Yield what a day's records ask for, by calculation from what was measured.

    The store keeps two days of log and archives the rest; ids stay for the default window of 7 days
    and one more.
    """
    record = float(str(measured["record"]["log_bytes_per_record"]))
    disk = float(str(measured["record"]["append_only_file_bytes_per_record"]))
    per_id = float(str(measured["id"]["server_bytes_per_id"]))
    start = float(str(measured["start"]["logs_s_per_million_ids"]))
    for per_day in _PER_DAY:
        yield {
            "subject": "sizing",
            "case": f"day/{per_day}",
            "records_per_s": round(per_day / 86_400),
            "store_gib": round(per_day * _DAYS_IN_LOG * record / 2**30, 2),
            "append_only_gib": round(per_day * _DAYS_IN_LOG * disk / 2**30, 2),
            "ids_gib_in_memory": round(per_day * _WINDOW_DAYS * per_id / 2**30, 2),
            "ids_gib_in_files": round(per_day * _WINDOW_DAYS * 19 / 2**30, 2),
            "read_two_days_of_log_s": round(per_day * _DAYS_IN_LOG * start / 1e6),
        }
