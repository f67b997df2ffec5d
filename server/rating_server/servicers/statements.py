"""RatingService, the methods about statements of contracts: preview, finalise, read, verify."""

from __future__ import annotations

from collections.abc import AsyncIterator

from grpc import aio

from ratewright.v1 import rating_service_pb2 as pb
from ratewright.v1 import statement_pb2
from rating_core.metering.calls import Subscription
from rating_core.metering.contracts.account import BookedStatement
from rating_core.metering.contracts.statement_entry import FinalStatement
from rating_core.units import format_units
from rating_server.servicers import rating
from rating_server.servicers.convert_plan import parse_plan_name
from rating_server.servicers.convert_statement import (
    Place,
    statement_name,
    to_proto_contract_statement,
)
from rating_server.servicers.convert_time import (
    from_proto_instant,
    to_proto_timestamp,
)
from rating_server.servicers.names import parse_parent, parse_statement_name
from rating_server.servicers.rpc import add_service, server_stream, unary
from rating_server.usecases import read_statements
from rating_server.usecases.context import Context, customer_violations
from rating_server.usecases.failure import Violation, invalid, noting, require
from rating_server.usecases.finalize_statement import finalize_statement
from rating_server.usecases.finalize_statements import FinalizedChunk, finalize_statements
from rating_server.usecases.preview_statement import Preview, preview_statement
from rating_server.usecases.verify_statement import verify_statement


class StatementServicer:
    """Serves the methods of RatingService about contracts."""

    def __init__(self, context: Context) -> None:
        self._context = context

    async def preview_statement(
        self, request: pb.PreviewStatementRequest
    ) -> pb.PreviewStatementResponse:
        """Price what is counted as if the period ended with it."""
        faults: list[Violation] = []
        at = from_proto_instant(request.time, request.HasField("time"), "time", faults)
        given = request.HasField("as_of_time")
        as_of = from_proto_instant(request.as_of_time, given, "as_of_time", faults)
        require(faults, customer_violations(request.customer, "customer"))
        preview = Preview(request.customer, at, as_of, request.subscription_id, request.correction)
        made = await preview_statement(self._context, preview)
        place = Place(
            request.customer,
            made.subscription_id,
            made.start,
            made.end,
            made.version,
            made.number,
            made.time,
        )
        message = to_proto_contract_statement(made.statement, made.meters, place)
        return pb.PreviewStatementResponse(statement=message)

    async def finalize_statement(
        self, request: pb.FinalizeStatementRequest
    ) -> pb.FinalizeStatementResponse:
        """Finalise the statement of one billing period."""
        faults: list[Violation] = []
        given = request.HasField("period_start")
        start = from_proto_instant(request.period_start, given, "period_start", faults)
        require(faults, customer_violations(request.customer, "customer"))
        made, replayed = await finalize_statement(
            self._context,
            request.customer,
            request.subscription_id,
            start,
            correction=request.correction,
        )
        return pb.FinalizeStatementResponse(statement=_final(made), replayed=replayed)

    async def finalize_statements(
        self, request: pb.FinalizeStatementsRequest
    ) -> AsyncIterator[pb.FinalizeStatementsResponse]:
        """Finalise the statements of all customers that are due, a chunk an answer."""
        faults: list[Violation] = []
        until = from_proto_instant(request.until, request.HasField("until"), "until", faults)
        plan_id = ""
        if request.plan_name:
            with noting(faults):
                plan_id = parse_plan_name(request.plan_name, "plan_name")[0]
        require(faults, ())
        async for chunk in finalize_statements(self._context, until, plan_id):
            yield _chunk(chunk)

    async def get_statement(self, request: pb.GetStatementRequest) -> pb.GetStatementResponse:
        """Get a finalised statement."""
        if request.name:
            return await self._statement_of_name(request)
        faults: list[Violation] = []
        given = request.HasField("period_start")
        start = from_proto_instant(request.period_start, given, "period_start", faults)
        require(faults, customer_violations(request.customer, "customer"))
        found = await read_statements.get_statement(
            self._context, request.customer, request.subscription_id, period_start=start
        )
        return pb.GetStatementResponse(statement=_final(found))

    async def _statement_of_name(self, request: pb.GetStatementRequest) -> pb.GetStatementResponse:
        """Get a statement by name; what else the request gives must be as in the name."""
        customer, subscription_id, number = parse_statement_name(request.name)
        faults: list[Violation] = []
        given = request.HasField("period_start")
        start = from_proto_instant(request.period_start, given, "period_start", faults)
        others = (("customer", customer), ("subscription_id", subscription_id))
        for field, named in others:
            if getattr(request, field) not in ("", named):
                faults.append(Violation(field, "NAME_DIFFERS", "expected none, or that of name"))
        require(faults, ())
        found = await read_statements.get_statement(
            self._context, customer, subscription_id, number=number
        )
        if given and start != found.start:
            raise invalid("period_start", "NAME_DIFFERS", "expected none, or that of name")
        return pb.GetStatementResponse(statement=_final(found))

    async def list_statements(self, request: pb.ListStatementsRequest) -> pb.ListStatementsResponse:
        """List what is booked for the statements of a subscription."""
        parent = parse_parent(request.parent)
        subscription, page, token = await read_statements.list_statements(
            self._context,
            parent.customer,
            parent.subscription_id,
            request.page_size,
            request.page_token,
        )
        return pb.ListStatementsResponse(
            statements=[_booked(subscription, one) for one in page], next_page_token=token
        )

    async def verify_statement(
        self, request: pb.VerifyStatementRequest
    ) -> pb.VerifyStatementResponse:
        """Recompute a finalised statement and say what differs."""
        customer, subscription_id, number = parse_statement_name(request.name)
        verified = await verify_statement(
            self._context, customer, subscription_id, number, from_log=request.from_log
        )
        return pb.VerifyStatementResponse(
            statement=_final(verified.statement),
            differences=[
                pb.StatementDifference(path=path, finalized=held, recomputed=made)
                for path, held, made in verified.differences
            ],
        )


def _final(made: FinalStatement) -> statement_pb2.Statement:
    place = Place(
        made.customer,
        made.subscription_id,
        made.start,
        made.end,
        made.version,
        made.number,
        made.time,
    )
    message = to_proto_contract_statement(made.statement, made.meters, place)
    message.correction = made.correction
    return message


def _booked(subscription: Subscription, one: BookedStatement) -> statement_pb2.Statement:
    """Return what is told of a statement in a list: what stands booked, a line an id."""
    customer, subscription_id = subscription.customer, subscription.subscription_id
    phase = subscription.phase_at(one.end - 1)
    return statement_pb2.Statement(
        name=statement_name(customer, subscription_id, one.number),
        customer=customer,
        subscription_id=subscription_id,
        plan_id=phase.plan_ref.plan_id,
        plan_version=phase.plan_ref.version,
        scale=one.scale,
        number=one.number,
        correction=not one.period,
        period_start=to_proto_timestamp(one.start),
        period_end=to_proto_timestamp(one.end),
        finalize_time=to_proto_timestamp(one.time),
        total=format_units(one.total, one.scale),
        total_before_credits=format_units(one.booked.total_before_credits, one.scale),
        log_version=one.version,
        lines=[
            statement_pb2.StatementLine(id=name, amount=format_units(amount, one.scale))
            for name, amount in one.booked.lines.items()
        ],
    )


def _chunk(chunk: FinalizedChunk) -> pb.FinalizeStatementsResponse:
    return pb.FinalizeStatementsResponse(
        customers=chunk.customers,
        subscription_ids=chunk.subscription_ids,
        numbers=chunk.numbers,
        period_starts_micros=chunk.starts,
        period_ends_micros=chunk.ends,
        totals=chunk.totals,
        amounts_due=chunk.amounts_due,
        scale=chunk.scale,
        currency=chunk.currency,
        failures=[
            pb.StatementFailure(
                customer=customer, subscription_id=subscription_id, reason=reason, message=message
            )
            for customer, subscription_id, reason, message in chunk.failures
        ],
    )


def register(server: aio.Server, servicer: StatementServicer) -> None:
    """Register these methods of RatingService on the server."""
    preview, finalize = "PreviewStatement", "FinalizeStatement"
    get, listing, verify = "GetStatement", "ListStatements", "VerifyStatement"
    many = "FinalizeStatements"
    add_service(
        server,
        rating.SERVICE,
        {
            preview: unary(preview, pb.PreviewStatementRequest, servicer.preview_statement),
            finalize: unary(finalize, pb.FinalizeStatementRequest, servicer.finalize_statement),
            many: server_stream(many, pb.FinalizeStatementsRequest, servicer.finalize_statements),
            get: unary(get, pb.GetStatementRequest, servicer.get_statement),
            listing: unary(listing, pb.ListStatementsRequest, servicer.list_statements),
            verify: unary(verify, pb.VerifyStatementRequest, servicer.verify_statement),
        },
    )
