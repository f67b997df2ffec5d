"""Count records exactly once."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from rating_core.metering.batch import RecordBatch, RecordStatus
from rating_core.metering.calls import RecordCall
from rating_core.metering.log.grouping import OrderedRecords
from rating_server.ports import StoreError
from rating_server.usecases.context import Context, failure_of_store, reach


@dataclass(frozen=True, slots=True)
class Recorded:
    """Status and reason of each record: uint8[n], values of RecordStatus and RejectReason."""

    status: npt.NDArray[np.uint8]
    reason: npt.NDArray[np.uint8]


async def record_usage(
    context: Context, batch: RecordBatch, turn: asyncio.Lock | None = None
) -> Recorded:
    """Count the batch's records, each in the shard of its customer; statuses by S7.3.

    Batches that share a ``turn`` are decided in the order of these calls: a record comes before
    what takes it back (S7.6), also if its batch names a meter that must be looked up first.

    Records of a shard that does not answer are RETRY (nothing is known of them); if no shard
    answers, the first shard's Failure is raised.
    """
    store = context.store
    async with turn or asyncio.Lock():
        await reach(store.know_meters(batch.meters))
    # From here to the posting nothing waits.
    parts = batch.split_by_shard(store.shard_count)
    kind = RecordCall if turn is None else OrderedRecords
    outcomes = await store.submit_all([(shard, kind(part)) for shard, _, part in parts])
    status = np.full(len(batch), RecordStatus.RETRY, np.uint8)
    reason = np.zeros(len(batch), np.uint8)
    errors = []
    for (_, rows, _), outcome in zip(parts, outcomes, strict=True):
        if isinstance(outcome, StoreError):
            errors.append(outcome)
            continue
        status[rows] = outcome.status
        reason[rows] = outcome.reason
    if errors and len(errors) == len(parts):
        raise failure_of_store(errors[0]) from errors[0]
    return Recorded(status, reason)
