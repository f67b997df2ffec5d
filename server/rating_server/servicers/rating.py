"""RatingService: usage into explained amounts, one statement or columns of rows at a time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass

from grpc import aio

from ratewright.v1 import rating_service_pb2 as pb
from rating_server.servicers import convert_plan, convert_rating
from rating_server.servicers.convert_statement import to_proto_statement
from rating_server.servicers.rpc import add_service, bidirectional, draining, unary
from rating_server.servicers.stream import Gate, answer_in_order
from rating_server.usecases.context import Context
from rating_server.usecases.failure import Failure, Violation, invalid
from rating_server.usecases.plan_sets import PlanSet, PlanSets
from rating_server.usecases.rate_batch import rate_batch
from rating_server.usecases.rate_usage import rate_usage

SERVICE = pb.DESCRIPTOR.services_by_name["RatingService"].full_name


@dataclass(frozen=True, slots=True)
class BatchLimits:
    """What RateBatch takes: rows of a batch, batches of a stream at once, bytes of an answer."""

    rows: int
    batches: int
    answer_bytes: int


class RatingServicer:
    """Serves RatingService. ``gate`` bounds what waits and says when to stop reading."""

    def __init__(self, context: Context, gate: Gate, limits: BatchLimits) -> None:
        self._context = context
        self._gate = gate
        self._limits = limits
        self._plan_sets = PlanSets(context)

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

    def rate_batch(self, requests: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """Answer each batch in order; several are priced at once."""
        stream = _RateStream(self._plan_sets, self._limits)
        return answer_in_order(
            requests,
            stream.rate,
            self._gate,
            self._limits.batches,
            draining,
            answers_grow=True,
        )


class _RateStream:
    """One stream of RateBatch: remembers the dictionary that is in force."""

    def __init__(self, plan_sets: PlanSets, limits: BatchLimits) -> None:
        self._plan_sets = plan_sets
        self._limits = limits
        self._plans: asyncio.Task[PlanSet] | None = None

    async def rate(self, data: bytes) -> bytes:
        """Price one batch; its failures name it."""
        # Up to the first await, calls run in the order of the batches: each one takes the
        # dictionary that stood before it, or sets its own.
        batch = convert_rating.parse_row_batch(data)
        try:
            if batch.plans:
                self._plans = asyncio.create_task(self._plan_set(batch))
            if self._plans is None:
                text = "the first batch of a stream must bring the plans"
                raise convert_rating.invalid_batch([Violation("plans", "MISSING", text)])
            return await asyncio.to_thread(self._price, batch, await self._plans)
        except Failure as failure:
            # The error ends the stream: the sender must know which batch it is about. Batches that
            # wait for one dictionary share its failure; the first of them is named.
            failure.metadata.setdefault("batch_number", str(batch.batch_number))
            raise

    async def _plan_set(self, batch: convert_rating.RowBatch) -> PlanSet:
        stated = await asyncio.to_thread(convert_rating.from_proto_plans, batch.plans)
        return await self._plan_sets.get(stated)

    def _price(self, batch: convert_rating.RowBatch, plans: PlanSet) -> bytes:
        rows = convert_rating.from_proto_rows(batch, plans, self._limits.rows)
        amounts = rate_batch(plans, *rows)
        limit = self._limits.answer_bytes
        return convert_rating.to_proto_amounts(batch, plans, amounts, limit)


def register(server: aio.Server, servicer: RatingServicer) -> None:
    """Register RatingService on the server."""
    rate = "RateUsage"
    add_service(
        server,
        SERVICE,
        {
            rate: unary(rate, pb.RateUsageRequest, servicer.rate_usage),
            "RateBatch": bidirectional("RateBatch", servicer.rate_batch),
        },
    )
