"""UsageService: count records and show what is counted."""

from __future__ import annotations

from collections.abc import AsyncIterator

from grpc import aio

from ratewright.v1 import usage_service_pb2 as pb
from rating_server.servicers.convert_statement import to_proto_counter
from rating_server.servicers.convert_time import from_proto_instant, to_proto_timestamp
from rating_server.servicers.convert_topology import to_proto_topology
from rating_server.servicers.convert_usage import from_proto_records
from rating_server.servicers.ingest import IngestStream
from rating_server.servicers.rpc import add_service, bidirectional, draining, unary
from rating_server.servicers.stream import Gate, answer_in_order
from rating_server.usecases.context import Context, customer_violations
from rating_server.usecases.failure import Violation, require
from rating_server.usecases.get_usage import get_usage
from rating_server.usecases.list_usage import list_usage
from rating_server.usecases.record_usage import record_usage

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
        stream = IngestStream(self._context, self._max_batch_records)
        answers = answer_in_order(
            stream.watched(requests), stream.answer, self._gate, self._max_stream_batches, draining
        )
        return stream.closing(answers)

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
        require(violations, customer_violations(request.customer, "customer"))
        subscription, counted = await get_usage(self._context, request.customer, at)
        return pb.GetUsageResponse(
            customer=request.customer,
            subscription_id=subscription.subscription_id,
            period_start=to_proto_timestamp(counted.part_start),
            period_end=to_proto_timestamp(counted.part_end),
            counters=[to_proto_counter(counter, counted.meters) for counter in counted.counters],
            log_version=counted.version,
        )

    async def get_topology(self, request: pb.GetTopologyRequest) -> pb.GetTopologyResponse:  # noqa: ARG002 - it asks for nothing
        """Show the living servers and their shards."""
        return to_proto_topology(self._context.store.topology)

    async def list_usage(self, request: pb.ListUsageRequest) -> pb.ListUsageResponse:
        """List the time buckets of one customer."""
        violations: list[Violation] = []
        start = from_proto_instant(
            request.start_time, request.HasField("start_time"), "start_time", violations
        )
        end = from_proto_instant(
            request.end_time, request.HasField("end_time"), "end_time", violations
        )
        require(violations, customer_violations(request.customer, "customer"))
        page = request.page_size, request.page_token
        found, token = await list_usage(
            self._context, request.customer, start, end, request.meter, *page
        )
        return pb.ListUsageResponse(
            buckets=[
                pb.UsageBucket(
                    start_time=to_proto_timestamp(bucket.start),
                    end_time=to_proto_timestamp(bucket.end),
                    counter=to_proto_counter(bucket.counter, found.meters),
                )
                for bucket in found.buckets
            ],
            next_page_token=token,
            log_version=found.version,
        )


def register(server: aio.Server, servicer: UsageServicer) -> None:
    """Register UsageService on the server."""
    add_service(
        server,
        SERVICE,
        {
            "IngestUsage": bidirectional("IngestUsage", servicer.ingest_usage),
            "RecordUsage": unary("RecordUsage", pb.RecordUsageRequest, servicer.record_usage),
            "ListUsage": unary("ListUsage", pb.ListUsageRequest, servicer.list_usage),
            "GetUsage": unary("GetUsage", pb.GetUsageRequest, servicer.get_usage),
            "GetTopology": unary("GetTopology", pb.GetTopologyRequest, servicer.get_topology),
        },
    )
