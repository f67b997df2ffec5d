"""What a careful hand-written counter does with redis-py, for the ingest benchmark.

`SET id NX` and `HINCRBY` per record, on a store with the same fsync policy, without a check of the
payload, of the customer or of the period: one record at a time, or in pipelines of 1,000, where
the results of the first pipeline decide what stands in the second.
"""

from __future__ import annotations

import redis

PIPELINE = 1_000


def count_singly(client: redis.Redis, run: str, customers: list[int]) -> None:
    """Count one record for each customer number, each record by itself."""
    for row, customer in enumerate(customers):
        if client.set(f"id:{run}:{row}", 1, nx=True):
            client.hincrby(f"c:{customer}", "units", row)


def count_in_pipelines(client: redis.Redis, run: str, customers: list[int]) -> None:
    """Count one record for each customer number, 1,000 in a pipeline."""
    for start in range(0, len(customers), PIPELINE):
        rows = range(start, min(start + PIPELINE, len(customers)))
        ids = client.pipeline(transaction=False)
        for row in rows:
            ids.set(f"id:{run}:{row}", 1, nx=True)
        fresh = ids.execute()
        counts = client.pipeline(transaction=False)
        for row, new in zip(rows, fresh, strict=True):
            if new:
                counts.hincrby(f"c:{customers[row]}", "units", row)
        counts.execute()
