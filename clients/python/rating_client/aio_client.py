"""The asyncio client: the twin of `client`, method by method.

Of one event loop. List methods are asynchronous iterators; everything else is awaited.
"""
# ruff: noqa: ASYNC109 - timeout means the same as in the synchronous twin; gRPC keeps it

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Mapping
from datetime import datetime
from types import TracebackType
from typing import Any, Self, TypeVar

import grpc
import grpc.aio

from ratewright.v1 import catalog_service_pb2 as catalog
from ratewright.v1 import plan_pb2
from rating_client import calls, catalogue_calls, statement_calls
from rating_client.aio_contracts import AsyncContractMethods
from rating_client.aio_status import StreamStatus
from rating_client.aio_writer import AsyncUsageWriter
from rating_client.calls import Call, Page, PlanLike
from rating_client.delivery import OnBatch
from rating_client.errors import error_from_rpc
from rating_client.options import ClientOptions, WriterOptions
from rating_client.rating import RATE_PATH, RateBatch, RatedBatch, RateStream, SentBatches
from rating_client.routes import ASK_TIMEOUT_SECONDS, Routes, Topology, get_topology
from rating_client.subscription_methods import AsyncSubscriptionMethods
from rating_client.usage_calls import list_usage, retractions
from rating_client.values import RecordOutcome, Statement, Usage, UsageBucket, UsageRecord

Answer = TypeVar("Answer")


class AsyncClient(AsyncSubscriptionMethods, AsyncContractMethods):
    """A connection to a Ratewright server at ``target``: `host:port`, or `unix:` and a path.

    Opens its connection at the first call. Close it, or use it as a context manager.
    """

    def __init__(self, target: str, options: ClientOptions | None = None) -> None:
        self.options = options or ClientOptions()
        self.target = target
        self.routes = Routes(target, follow=self.options.follow_topology)
        self._channel = self._connect(target, streams=False)
        self._others: dict[str, grpc.aio.Channel] = {}
        self._streams: dict[str, grpc.aio.Channel] = {}
        self._methods: dict[tuple[str, str], Any] = {}
        self._asking: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connection; calls under way are cancelled. Close writers first."""
        if self._asking is not None:
            self._asking.cancel()
        for channel in (self._channel, *self._others.values(), *self._streams.values()):
            await channel.close()

    async def wait_until_ready(self, timeout: float) -> bool:
        """Wait up to ``timeout`` seconds for a server that starts; return whether one is there."""
        try:
            async with asyncio.timeout(timeout):
                await self._channel.channel_ready()
        except TimeoutError:
            return False
        return True

    def _connect(self, target: str, *, streams: bool) -> grpc.aio.Channel:
        arguments = self.options.channel_options(streams=streams)
        if self.options.credentials is None:
            return grpc.aio.insecure_channel(target, arguments)
        return grpc.aio.secure_channel(target, self.options.credentials, arguments)

    def stream_channel(self, address: str | None = None) -> grpc.aio.Channel:
        """Return the channel of the writers' streams to a server (default: the target).

        It has no retries of its own.
        """
        address = address or self.target
        channel = self._streams.get(address)
        if channel is None:
            channel = self._streams[address] = self._connect(address, streams=True)
        return channel

    def _method(self, call: Call[Any], address: str) -> Any:
        method = self._methods.get((call.method, address))
        if method is None:
            channel = self._channel
            if address != self.target:
                if address not in self._others:
                    self._others[address] = self._connect(address, streams=False)
                channel = self._others[address]
            method = self._methods[call.method, address] = channel.unary_unary(
                f"/ratewright.v1.{call.method}",
                request_serializer=type(call.request).SerializeToString,
                response_deserializer=call.response.FromString,
            )
        return method

    async def _call(self, call: Call[Answer], timeout: float | None) -> Answer:
        deadline = self.options.timeout_seconds if timeout is None else timeout
        expires = self.routes.clock() + deadline
        self._look_around()
        for address in self.routes.in_turn():
            left = expires - self.routes.clock()
            try:
                response = await self._method(call, address)(call.request, timeout=left)
            except grpc.RpcError as error:
                failed = error_from_rpc(error)
                self.routes.no_answer(address, failed)
                if not self.routes.worth_another(failed, expires):
                    raise failed from error
            else:
                return call.read(response)
        raise failed

    def _look_around(self) -> None:
        """Ask who the servers are, if that is to be known; nobody waits for the answer."""
        address = self.routes.to_ask_beside()
        if address is not None:
            self._asking = asyncio.get_running_loop().create_task(self.learn_topology(address))

    async def learn_topology(self, address: str) -> None:
        """Ask one server for the topology, and keep what it says; raises nothing."""
        try:
            self.routes.learn(await self.ask_topology(address))
        except grpc.RpcError:
            self.routes.failed(address)

    async def _pages(
        self, page: Callable[[str], Call[Page[Answer]]], timeout: float | None
    ) -> AsyncIterator[Answer]:
        token = ""
        while True:
            found = await self._call(page(token), timeout)
            for item in found.items:
                yield item
            token = found.next_token
            if not token:
                return

    async def create_meter(
        self,
        meter_id: str,
        aggregation: str,
        *,
        unit: str = "",
        scale: int = 0,
        dimensions: Iterable[str] = (),
        of: str = "",
        per: str = "",
        buckets: str = "",
        request_id: str | None = None,
        timeout: float | None = None,
    ) -> catalog.CreateMeterResponse:
        """Create a meter (S6): ``aggregation`` such as `sum`, ``scale`` 0–12 decimals.

        ``of``: the attribute whose values a `unique_count` counts; ``per``: `hour` for the
        level-hours of a `weighted_sum`; ``buckets``: `hour` or `day` for a history.
        """
        call = catalogue_calls.create_meter(
            meter_id, aggregation, unit, scale, dimensions, request_id, of, per, buckets
        )
        return await self._call(call, timeout)

    async def get_meter(self, meter_id: str, *, timeout: float | None = None) -> plan_pb2.Meter:
        """Return a meter."""
        return await self._call(catalogue_calls.get_meter(meter_id), timeout)

    def list_meters(
        self, *, page_size: int = 0, timeout: float | None = None
    ) -> AsyncIterator[plan_pb2.Meter]:
        """Yield all meters by id, page after page; ``timeout`` is that of one page."""
        return self._pages(lambda token: catalogue_calls.list_meters(page_size, token), timeout)

    async def create_plan(
        self,
        plan: PlanLike,
        *,
        effective_time: datetime | None = None,
        existing_effective_time: datetime | None = None,
        request_id: str | None = None,
        timeout: float | None = None,
    ) -> catalog.CreatePlanResponse:
        """Publish a plan, a `Plan` message or a document of S2, as the next version of its id.

        New subscriptions take it from ``effective_time`` on (default: at once), standing ones at
        ``existing_effective_time``, 120 s ahead or more (default: never) (S8.6).
        """
        times = effective_time, existing_effective_time
        return await self._call(catalogue_calls.create_plan(plan, request_id, *times), timeout)

    async def get_plan(
        self, plan_id: str, version: int | None = None, *, timeout: float | None = None
    ) -> plan_pb2.Plan:
        """Return a plan version, by default the latest."""
        return await self._call(catalogue_calls.get_plan(plan_id, version), timeout)

    def list_plans(
        self, plan_id: str | None = None, *, page_size: int = 0, timeout: float | None = None
    ) -> AsyncIterator[plan_pb2.Plan]:
        """Yield the latest version of every plan, or all versions of one."""
        return self._pages(
            lambda token: catalogue_calls.list_plans(plan_id, page_size, token), timeout
        )

    async def check_plan(
        self, plan: PlanLike, *, timeout: float | None = None
    ) -> catalog.CheckPlanResponse:
        """Check a plan without storing it: faults, warnings, results of its examples (S2.3)."""
        return await self._call(catalogue_calls.check_plan(plan), timeout)

    async def record_usage(
        self, records: Iterable[UsageRecord], *, timeout: float | None = None
    ) -> list[RecordOutcome]:
        """Count 1 to 1,000 records and return one outcome each, in order (S7.3)."""
        return await self._call(calls.record_usage(records), timeout)

    async def get_topology(self, *, timeout: float | None = None) -> Topology:
        """Return the living servers of the store, and which shards each serves best."""
        return await self._call(get_topology(), timeout)

    async def ask_topology(self, address: str) -> Topology:
        """Ask one server for the topology; for the writers."""
        call = get_topology()
        method = self._method(call, address)
        return call.read(await method(call.request, timeout=ASK_TIMEOUT_SECONDS))

    async def retract(
        self, records: Iterable[UsageRecord], *, timeout: float | None = None
    ) -> list[RecordOutcome]:
        """Take back 1 to 1,000 records, each given whole as it was sent (S7.6).

        ACCEPTED: taken back; DUPLICATE: it was before; CONFLICT: it was sent otherwise. Rejected as
        NOT_FOUND where the id is not known, NOT_RETRACTABLE on max and latest meters.
        """
        return await self._call(calls.record_usage(retractions(records)), timeout)

    def list_usage(
        self,
        customer: str,
        start_time: datetime | None = None,
        end_time: datetime | None = None,
        *,
        meter: str | None = None,
        page_size: int = 0,
        timeout: float | None = None,
    ) -> AsyncIterator[UsageBucket]:
        """Yield the time buckets of a customer that reach into [start_time, end_time) (S6.3).

        Of meters that keep buckets, by start, meter and dimensions. ``end_time`` is by default now,
        ``start_time`` the start of the billing period that holds it.
        """
        return self._pages(
            lambda token: list_usage(customer, start_time, end_time, meter, page_size, token),
            timeout,
        )

    async def get_usage(
        self, customer: str, time: datetime | None = None, *, timeout: float | None = None
    ) -> Usage:
        """Return what is counted in the period that holds ``time`` (default: now), exactly."""
        return await self._call(calls.get_usage(customer, time), timeout)

    async def rate_usage(
        self,
        plan: str | PlanLike,
        usage: Mapping[str, Any],
        *,
        version: int | None = None,
        timeout: float | None = None,
    ) -> Statement:
        """Price stated usage on a plan, given by id or whole; ``usage`` in the shapes of S6.5."""
        return await self._call(statement_calls.rate_usage(plan, usage, version), timeout)

    async def rate_batches(
        self,
        batches: Iterable[RateBatch] | AsyncIterable[RateBatch],
        *,
        timeout: float | None = None,
    ) -> AsyncIterator[RatedBatch]:
        """Price columns of rows, batch after batch; as `Client.rate_batches`.

        ``batches`` is read on the event loop.
        """
        stream = RateStream()
        sent = SentBatches(stream)
        open_stream: Any = self.stream_channel().stream_stream(RATE_PATH)
        call = open_stream(sent.requests_async(batches), timeout=timeout)
        status = StreamStatus(call)
        try:
            async for answer in call:
                yield stream.answer(answer)
        except grpc.RpcError as error:
            failed = await status.error(error)
            if failed is not None:
                raise failed from error
        finally:
            call.cancel()
        sent.check()

    def ingest(
        self,
        *,
        on_batch: OnBatch | None = None,
        options: WriterOptions | None = None,
        producer_id: str | None = None,
        epoch: int | None = None,
        spool_dir: str | os.PathLike[str] | None = None,
    ) -> AsyncUsageWriter:
        """Return a writer that streams records over this client's connection.

        With ``producer_id`` it numbers its batches, and records have no event id (P12). With
        ``spool_dir`` records survive a crash of this process in files of that directory.
        """
        return AsyncUsageWriter(
            self,
            on_batch=on_batch,
            options=options,
            producer_id=producer_id,
            epoch=epoch,
            spool_dir=spool_dir,
        )
