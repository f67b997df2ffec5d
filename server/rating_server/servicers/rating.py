"""RatingService: usage into explained amounts."""

from __future__ import annotations

from grpc import aio

from ratewright.v1 import rating_service_pb2 as pb
from rating_server.servicers import convert_plan
from rating_server.servicers.convert_statement import to_proto_statement
from rating_server.servicers.convert_time import from_proto_instant, to_proto_timestamp
from rating_server.servicers.rpc import add_service, unary
from rating_server.usecases.context import Context
from rating_server.usecases.failure import InvalidRequest, Violation, invalid
from rating_server.usecases.preview_statement import preview_statement
from rating_server.usecases.rate_usage import rate_usage

SERVICE = pb.DESCRIPTOR.services_by_name["RatingService"].full_name


class RatingServicer:
    """Serves RatingService."""

    def __init__(self, context: Context) -> None:
        self._context = context

    async def rate_usage(self, request: pb.RateUsageRequest) -> pb.RateUsageResponse:
        """Price stated usage on a plan."""
        match request.WhichOneof("pricing"):
            case "plan_name":
                plan = convert_plan.parse_plan_name(request.plan_name, "plan_name")
                quote = await rate_usage(
                    self._context, plan, convert_plan.from_proto_usage(request.usage)
                )
            case "plan":
                document = convert_plan.from_proto_plan(request.plan)
                quote = await rate_usage(
                    self._context, document, convert_plan.from_proto_usage(request.usage)
                )
            case _:
                raise invalid("pricing", "MISSING", "expected plan_name or plan")
        meters = {meter.id: meter for meter in quote.priced.plan.meters}
        statement = to_proto_statement(quote.statement, quote.counters, meters)
        statement.plan_version = quote.priced.version
        return pb.RateUsageResponse(statement=statement)

    async def preview_statement(
        self, request: pb.PreviewStatementRequest
    ) -> pb.PreviewStatementResponse:
        """Price what is counted as if the period ended with it."""
        violations: list[Violation] = []
        at = from_proto_instant(request.time, request.HasField("time"), "time", violations)
        if violations:
            raise InvalidRequest(violations)
        preview = await preview_statement(self._context, request.customer, at)
        counted = preview.counted
        message = to_proto_statement(
            preview.statement, counted.counters, self._context.store.meters
        )
        message.customer = request.customer
        message.plan_version = preview.priced.version
        message.subscription_id = preview.subscription.subscription_id
        message.period_start.CopyFrom(to_proto_timestamp(counted.period_start))
        message.period_end.CopyFrom(to_proto_timestamp(counted.period_end))
        message.log_version = counted.version
        return pb.PreviewStatementResponse(statement=message)


def register(server: aio.Server, servicer: RatingServicer) -> None:
    """Register RatingService on the server."""
    rate, preview = "RateUsage", "PreviewStatement"
    add_service(
        server,
        SERVICE,
        {
            rate: unary(rate, pb.RateUsageRequest, servicer.rate_usage),
            preview: unary(preview, pb.PreviewStatementRequest, servicer.preview_statement),
        },
    )
