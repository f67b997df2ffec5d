"""What an id costs: memory, insertion, look-ups as the index grows, old ids in files, a cold start.

Times are processor time of the one thread that a shard uses, so that others on the machine do not
show. Identities are random, as hashes are.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.measure import Row
from rating_core.catalog import Aggregation, BillingPeriod, Meter
from rating_core.metering.batch import RecordBatch
from rating_core.metering.calls import CreateSubscription, RecordCall, StateDigest
from rating_core.metering.id_index import IdIndex
from rating_core.metering.ids.run import IdRun, all_rows, merged_run
from rating_core.metering.ids.table import IdTable
from rating_core.metering.log.protocol import EMPTY_TOKEN
from rating_core.metering.shard import UsageShard
from rating_core.period import DAY_US
from rating_server.store.id_files import IdFiles

ROWS = 50_000_000
SIZES = (1_000_000, 10_000_000, ROWS)
BATCH = 8_192
ASKED = 40 * BATCH
RECENT = 1_000_000
SEGMENTS = 9
RECOVERED = 1_000_000
ENTRY = 5_000
_PAGE = 4_096
Identities = NDArray[np.uint64]


def run(rows: int = ROWS) -> Iterator[Row]:
    """Yield a row a size, then those of spilled history and of a cold start; ``rows`` bounds it."""
    generator = np.random.default_rng(5)
    _identities(generator, 1)
    yield from _growth(generator, [size for size in SIZES if size < rows] + [rows])
    yield from _history(generator, rows * 2 // 5)
    yield from _cold_start(min(rows, RECOVERED))


def _identities(generator: np.random.Generator, count: int) -> Identities:
    return generator.integers(0, 2**64, (count, 3), dtype=np.uint64)


def _resident() -> int:
    """Return the bytes of memory that this process has in use."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * _PAGE


def _seconds(call: Callable[[], object]) -> float:
    began = time.thread_time()
    call()
    return time.thread_time() - began


def _warm() -> None:
    table = IdTable()
    for _ in range(8):
        table.insert(_identities(np.random.default_rng(1), BATCH))
        _lookups(table, all_rows(table))
    _lookups(merged_run([table], (0, 0)), all_rows(table))


def _lookups(held: IdTable | IdIndex | IdRun, rows: Identities) -> float:
    """Return look-ups a second of known ids, given by their slots, or of identities."""
    found = np.zeros(BATCH, np.bool_)
    payloads = np.zeros(BATCH, np.uint64)
    identities = np.zeros((rows.shape[0], 3), np.uint64)
    identities[:, :2] = rows[:, :2]
    taken = 0.0
    for begin in range(0, rows.shape[0] - BATCH + 1, BATCH):
        part = identities[begin : begin + BATCH]
        found[:] = False
        taken += _seconds(lambda part=part: held.find(part, found, payloads))
    return (rows.shape[0] // BATCH) * BATCH / taken


def _growth(generator: np.random.Generator, sizes: list[int]) -> Iterator[Row]:
    """One table that grows: what a shard does in one segment."""
    _warm()
    table = IdTable()
    for size in sizes:
        most, measured, taken, entered = 0.0, 0.0, [], 0
        base = _resident() - table.bytes_held()
        while table.count < size:
            identities = _identities(generator, BATCH)
            taken.append(_seconds(lambda identities=identities: table.insert(identities)))
            entered += BATCH
            # Small tables are less than a day's ids of any shard: their fixed part does not count.
            if table.count >= min(size, SIZES[0]):
                most = max(most, table.bytes_held() / table.count)
                if len(taken) % 64 == 0:
                    measured = max(measured, (_resident() - base) / table.count)
        chosen = all_rows(table)[generator.integers(0, table.count, ASKED)]
        yield {
            "subject": "ids",
            "case": f"table/{size}",
            "bytes_per_id": round(table.bytes_held() / table.count, 1),
            "bytes_per_id_most": round(most, 1),
            "rss_per_id_most": round(measured, 1),
            "inserts_per_s": round(entered / sum(taken)),
            "insert_batch_ms_most": round(1e3 * max(taken), 1),
            "new_per_s": round(_lookups(table, _identities(generator, ASKED))),
            "known_per_s": round(_lookups(table, chosen)),
        }


def _history(generator: np.random.Generator, count: int) -> Iterator[Row]:
    """Look-ups with a million recent ids, with and without older ones, in memory and in files."""
    window = 7 * DAY_US
    recent = _identities(generator, RECENT)
    asked = _identities(generator, ASKED)
    with tempfile.TemporaryDirectory() as place:
        files = IdFiles(Path(place))
        for name, old in (("none", 0), ("tables", count), ("files", count)):
            index = IdIndex()
            for day in range(SEGMENTS - 1 if old else 0):
                for _ in range(max(1, old // (SEGMENTS - 1) // BATCH)):
                    index.insert(_identities(generator, BATCH), day * DAY_US, window)
            oldest = next((all_rows(s.table)[:ASKED] for s in index.segments()), recent[:0])
            taken = 0.0
            if name == "files":
                for segment in index.segments():
                    segment.seal()
                    began = time.perf_counter()
                    pieces = segment.closed()
                    segment.exchange(pieces, files.write(pieces, segment.key))
                    taken += time.perf_counter() - began
            held = index.bytes_held() / index.count if index.count else 0.0
            index.insert(recent, SEGMENTS * DAY_US, window)
            row: Row = {
                "subject": "ids",
                "case": f"history/{name}/{old}",
                "bytes_per_id": round(held, 2),
                "new_per_s": round(_lookups(index, asked)),
                "known_per_s": round(_lookups(index, recent[:ASKED])),
            }
            if oldest.shape[0] >= BATCH:
                row["oldest_per_s"] = round(_lookups(index, oldest))
            if taken:
                row["written_per_s"] = round((index.count - RECENT) / taken)
            yield row
        files.close()


def _cold_start(count: int) -> Iterator[Row]:
    """Fold a log of ``count`` records, and the same state from its snapshot."""
    meter = Meter("m", Aggregation.SUM)
    shard = _shard(meter)
    bodies = []
    for first in range(0, count, ENTRY):
        decision = shard.decide([RecordCall(_batch(first))], DAY_US)
        shard.stage(decision, DAY_US)
        shard.confirm(shard.version + 1, EMPTY_TOKEN)
        bodies.append(decision.body or b"")
    snapshot = shard.snapshot()
    fresh, restored = _shard(meter), UsageShard(bytes(16), {"m": meter}.get)

    def fold() -> None:
        for body in bodies:
            fresh.apply(body, DAY_US, fresh.version + 1, EMPTY_TOKEN)

    for name, taken in (
        ("log", _seconds(fold)),
        ("snapshot", _seconds(lambda: restored.restore(snapshot))),
    ):
        yield {
            "subject": "ids",
            "case": f"cold-start/{name}/{count}",
            "s_per_million": round(taken / count * 1e6, 4),
        }
    if fresh.query(StateDigest()) != restored.query(StateDigest()):
        raise RuntimeError("the snapshot is not the state of the log")


def _shard(meter: Meter) -> UsageShard:
    shard = UsageShard(bytes(16), {"m": meter}.get)
    call = CreateSubscription(
        customer="c",
        subscription_id="s",
        plan_id="p",
        plan_version=1,
        billing_period=BillingPeriod.MONTH,
        start_time=0,
        bands={},
    )
    shard.stage(shard.decide([call], DAY_US), DAY_US)
    shard.confirm(1, EMPTY_TOKEN)
    return shard


def _batch(first: int) -> RecordBatch:
    ids = [b"event-%012d" % number for number in range(first, first + ENTRY)]
    return RecordBatch(
        customers=["c"],
        customer=np.zeros(ENTRY, np.int32),
        meters=["m"],
        scales=[0],
        meter=np.zeros(ENTRY, np.int32),
        dimension_sets=[()],
        dimension_set=np.zeros(ENTRY, np.int32),
        event_ids=b"".join(ids),
        event_id_ends=np.cumsum([len(text) for text in ids]).astype(np.int64),
        quantity=np.ones(ENTRY, np.int64),
        event_time=np.full(ENTRY, DAY_US, np.int64),
        malformed=np.zeros(ENTRY, np.bool_),
    )
