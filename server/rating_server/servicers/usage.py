"""UsageService: count records and show what is counted."""

from __future__ import annotations

from collections.abc import AsyncIterator

from grpc import aio

from ratewright.v1 import usage_service_pb2 as pb
from rating_core.metering.batch import RecordStatus
from rating_server.servicers.convert_statement import to_proto_counter
from rating_server.servicers.convert_time import from_proto_instant, to_proto_timestamp
from rating_server.servicers.convert_usage import from_proto_batch, from_proto_records
from rating_server.servicers.rpc import add_service, bidirectional, draining, parse, unary
from rating_server.servicers.stream import Gate, answer_in_order
from rating_server.usecases.context import Context
from rating_server.usecases.failure import Failure, InvalidRequest, Violation
from rating_server.usecases.get_usage import get_usage
from rating_server.usecases.record_usage import Recorded, record_usage

SERVICE = pb.DESCRIPTOR.services_by_name["UsageService"].full_name


class UsageServicer:
    """Serves UsageService. ``gate`` bounds what waits and says when to stop reading."""

    def __init__(
        self, context: Context, gate: Gate, max_batch_records: int, max_stream_batches: int
    ) -> None:
        self._context = context
        self._gate = gate
        self._max_batch_records = max_batch_records
        self._max_stream_batches = max_stream_batches

    def ingest_usage(self, requests: AsyncIterator[bytes]) -> AsyncIterator[pb.IngestUsageResponse]:
        """Answer each batch in order; several are counted at once."""
        return answer_in_order(
            requests, self._ingest_batch, self._gate, self._max_stream_batches, draining
        )

    async def _ingest_batch(self, data: bytes) -> pb.IngestUsageResponse:
        request = parse(data, pb.IngestUsageRequest)
        try:
            batch = from_proto_batch(request.batch, self._max_batch_records)
            recorded = await record_usage(self._context, batch)
        except Failure as failure:
            # The error ends the stream: the sender must know which batch it is about.
            failure.metadata["batch_number"] = str(request.batch_number)
            raise
        return to_proto_answer(request.batch_number, recorded)

    async def record_usage(self, request: pb.RecordUsageRequest) -> pb.RecordUsageResponse:
        """Count a few records."""
        async with self._gate.admitted(request.ByteSize()):
            batch = from_proto_records(request.records)
            recorded = await record_usage(self._context, batch)
        rows = zip(recorded.status.tolist(), recorded.reason.tolist(), strict=True)
        results = [pb.RecordResult(status=status, reason=reason) for status, reason in rows]
        return pb.RecordUsageResponse(results=results)

    async def get_usage(self, request: pb.GetUsageRequest) -> pb.GetUsageResponse:
        """Show the counters of one customer and period."""
        violations: list[Violation] = []
        at = from_proto_instant(request.time, request.HasField("time"), "time", violations)
        if violations:
            raise InvalidRequest(violations)
        subscription, counted = await get_usage(self._context, request.customer, at)
        meters = self._context.store.meters
        return pb.GetUsageResponse(
            customer=request.customer,
            subscription_id=subscription.subscription_id,
            period_start=to_proto_timestamp(counted.period_start),
            period_end=to_proto_timestamp(counted.period_end),
            counters=[to_proto_counter(counter, meters) for counter in counted.counters],
            log_version=counted.version,
        )


def to_proto_answer(batch_number: int, recorded: Recorded) -> pb.IngestUsageResponse:
    """Return the message that answers one batch."""
    counts = [int((recorded.status == status).sum()) for status in RecordStatus]
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


def register(server: aio.Server, servicer: UsageServicer) -> None:
    """Register UsageService on the server."""
    add_service(
        server,
        SERVICE,
        {
            "IngestUsage": bidirectional("IngestUsage", servicer.ingest_usage),
            "RecordUsage": unary("RecordUsage", pb.RecordUsageRequest, servicer.record_usage),
            "GetUsage": unary("GetUsage", pb.GetUsageRequest, servicer.get_usage),
        },
    )
