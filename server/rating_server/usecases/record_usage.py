"""Count records exactly once."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from rating_core.metering.batch import RecordBatch, RecordStatus
from rating_core.metering.calls import RecordAnswer, RecordCall
from rating_server.usecases.context import Context, reach
from rating_server.usecases.failure import Failure


@dataclass(frozen=True, slots=True)
class Recorded:
    """Status and reason of each record: uint8[n], values of RecordStatus and RejectReason."""

    status: npt.NDArray[np.uint8]
    reason: npt.NDArray[np.uint8]


async def record_usage(context: Context, batch: RecordBatch) -> Recorded:
    """Count the batch's records, each in the shard of its customer; statuses by S7.3.

    Records of a shard that does not answer are RETRY (nothing is known of them); if no shard
    answers, the first shard's Failure is raised.
    """
    count = len(batch)
    status = np.full(count, RecordStatus.RETRY, np.uint8)
    reason = np.zeros(count, np.uint8)
    store = context.store

    async def count_part(shard: int, rows: npt.NDArray[np.int64], part: RecordBatch) -> None:
        answer: RecordAnswer = await reach(store.submit(shard, RecordCall(part)))
        status[rows] = answer.status
        reason[rows] = answer.reason

    parts = batch.split_by_shard(store.shard_count)
    if len(parts) == 1:
        await count_part(*parts[0])
        return Recorded(status, reason)
    done = await asyncio.gather(*(count_part(*part) for part in parts), return_exceptions=True)
    errors = [outcome for outcome in done if outcome is not None]
    for error in errors:
        if not isinstance(error, Failure) or len(errors) == len(parts):
            raise error
    return Recorded(status, reason)
