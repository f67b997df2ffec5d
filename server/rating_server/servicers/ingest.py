"""One stream of IngestUsage: batches with event ids, or numbered batches of one producer.

Its first request decides which: only a sequenced stream begins with a producer (P12, P13).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import numpy as np

from ratewright.v1 import usage_service_pb2 as pb
from rating_core.metering.batch import RecordStatus
from rating_server.servicers.convert_usage import CutRequest, cut_request, from_proto_batch
from rating_server.usecases.context import Context, valid_producer
from rating_server.usecases.failure import Failure, InvalidRequest, Violation, invalid
from rating_server.usecases.ingest_sequenced import SequencedStream, open_stream
from rating_server.usecases.record_usage import Recorded, record_usage

_EPOCHS_MAX = 1024


class IngestStream:
    """Answers the requests of one stream; they come in order, several may be at work at once."""

    def __init__(self, context: Context, max_batch_records: int) -> None:
        self._context = context
        self._max_batch_records = max_batch_records
        self._begun = False
        self._turn = asyncio.Lock()
        self._producer = False
        self._sequenced: SequencedStream | None = None
        self._keeper: asyncio.Task[None] | None = None
        self._failed = asyncio.Event()

    async def watched(self, requests: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """Yield the requests; raise the Failure of a sequenced stream that lost what it told."""
        failed = asyncio.create_task(self._failed.wait())
        try:
            while True:
                upcoming = asyncio.ensure_future(anext(requests, None))
                try:
                    await asyncio.wait({upcoming, failed}, return_when=asyncio.FIRST_COMPLETED)
                    if failed.done() and self._keeper is not None:
                        await self._keeper
                    data = await upcoming
                finally:
                    upcoming.cancel()
                if data is None:
                    return
                yield data
        finally:
            failed.cancel()

    async def closing(
        self, answers: AsyncIterator[pb.IngestUsageResponse]
    ) -> AsyncIterator[pb.IngestUsageResponse]:
        """Yield the answers; when they end, so does what runs beside them."""
        try:
            async for answer in answers:
                yield answer
        finally:
            close = getattr(answers, "aclose", None)
            if close is not None:
                await close()
            if self._keeper is not None:
                self._keeper.cancel()
                # Waited for, so that a failure of its last moment is not reported as unseen.
                await asyncio.wait([self._keeper])

    async def answer(self, data: bytes) -> pb.IngestUsageResponse:
        """Answer one request. A failure names its batch: the error ends the stream."""
        await self._context.store.turns.mine()
        cut = cut_request(data)
        request = cut.message
        try:
            if request.HasField("producer"):
                return await self._open(request)
            if self._producer:
                return await self._take(cut)
            self._begun = True
            return await self._count(cut)
        except Failure as failure:
            failure.metadata["batch_number"] = str(request.batch_number)
            raise

    async def _count(self, cut: CutRequest) -> pb.IngestUsageResponse:
        request = cut.message
        if request.sequence or request.answered_sequence:
            text = "expected none: the stream did not begin with a producer"
            raise invalid("sequence", "NO_PRODUCER", text)
        batch = from_proto_batch(cut, self._max_batch_records, self._context.store.roll)
        recorded = await record_usage(self._context, batch, self._turn)
        answer = to_proto_answer(request.batch_number, recorded)
        answer.topology_revision = self._context.store.topology.revision
        return answer

    async def _open(self, request: pb.IngestUsageRequest) -> pb.IngestUsageResponse:
        producer = request.producer
        violations = []
        if self._begun:
            text = "expected in the first request of a stream only"
            violations.append(Violation("producer", "NOT_FIRST", text))
        if request.HasField("batch") or request.sequence:
            text = "expected none before the handshake is answered"
            violations.append(Violation("batch", "NOT_ALLOWED", text))
        if not valid_producer(producer.producer_id):
            text = "expected 1 to 128 bytes without control characters"
            violations.append(Violation("producer.producer_id", "BAD_PRODUCER", text))
        if producer.epoch < 1:
            violations.append(Violation("producer.epoch", "OUT_OF_RANGE", "expected 1 or more"))
        known = producer.known_epochs
        if len(known) > _EPOCHS_MAX or min(known, default=1) < 1:
            text = f"expected at most {_EPOCHS_MAX}, each 1 or more"
            violations.append(Violation("producer.known_epochs", "OUT_OF_RANGE", text))
        if violations:
            raise InvalidRequest(violations)
        self._begun = self._producer = True
        self._sequenced = await open_stream(
            self._context,
            producer.producer_id,
            producer.epoch,
            start_anew=producer.start_anew,
            known=producer.known_epochs,
            answered=request.answered_sequence,
        )
        self._keeper = asyncio.create_task(self._sequenced.keep_up())
        self._keeper.add_done_callback(lambda _: self._failed.set())
        return pb.IngestUsageResponse(
            batch_number=request.batch_number,
            durable_sequence=self._sequenced.durable,
            previous_epoch=self._sequenced.previous_epoch,
        )

    async def _take(self, cut: CutRequest) -> pb.IngestUsageResponse:
        request = cut.message
        stream, sequence = self._sequenced, request.sequence
        if stream is None:
            raise invalid("batch", "NOT_ALLOWED", "expected none before the handshake is answered")
        if request.HasField("batch") != (sequence > 0) or sequence < 0:
            raise invalid("sequence", "OUT_OF_RANGE", "expected 1 or more with a batch, else 0")
        if request.answered_sequence < 0:
            raise invalid("answered_sequence", "OUT_OF_RANGE", "expected 0 or more")
        stream.admit(sequence, request.answered_sequence)
        if sequence:
            batch = from_proto_batch(
                cut, self._max_batch_records, self._context.store.roll, named=False
            )
            answer = to_proto_answer(request.batch_number, await stream.count(sequence, batch))
        else:
            await stream.bring_up()
            answer = pb.IngestUsageResponse(batch_number=request.batch_number)
        answer.sequence = sequence
        answer.durable_sequence = stream.durable
        answer.topology_revision = self._context.store.topology.revision
        return answer


def to_proto_answer(batch_number: int, recorded: Recorded) -> pb.IngestUsageResponse:
    """Return the message that answers one batch."""
    counts = np.bincount(recorded.status, minlength=len(RecordStatus)).tolist()
    accepted = counts[RecordStatus.ACCEPTED]
    rejected = counts[RecordStatus.REJECTED]
    return pb.IngestUsageResponse(
        batch_number=batch_number,
        accepted_count=accepted,
        duplicate_count=counts[RecordStatus.DUPLICATE],
        conflict_count=counts[RecordStatus.CONFLICT],
        rejected_count=rejected,
        retry_count=counts[RecordStatus.RETRY],
        statuses=None if accepted == recorded.status.size else recorded.status.tolist(),
        reasons=recorded.reason.tolist() if rejected else None,
    )
