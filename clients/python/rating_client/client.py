"""The synchronous client: every method of the API with plain Python values.

What holds quantities or amounts comes back as a frozen dataclass of `values`; catalogue objects
(meters, plans, subscriptions) are the messages of `ratewright.v1`; `create_*` and `check_plan`
return the whole response, which also says whether it was replayed. Every method raises a subclass
of RatewrightError, takes ``timeout`` in seconds (default: the client's), and may be called from
any thread. Calls that find the server UNAVAILABLE are tried again: all of them are idempotent, the
creating ones by a ``request_id`` that the client makes up where the caller gives none.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime
from types import TracebackType
from typing import Any, Self, TypeVar

import grpc

from ratewright.v1 import catalog_service_pb2 as catalog
from ratewright.v1 import plan_pb2
from rating_client import calls, catalogue_calls, statement_calls
from rating_client.calls import Call, Page, PlanLike
from rating_client.contracts import ContractMethods
from rating_client.delivery import OnBatch
from rating_client.errors import error_from_rpc
from rating_client.options import ClientOptions, WriterOptions
from rating_client.rating import RATE_PATH, RateBatch, RatedBatch, RateStream, SentBatches
from rating_client.routes import ASK_TIMEOUT_SECONDS, Routes, Topology, get_topology
from rating_client.subscription_methods import SubscriptionMethods
from rating_client.usage_calls import list_usage, retractions
from rating_client.values import RecordOutcome, Statement, Usage, UsageBucket, UsageRecord
from rating_client.writer import UsageWriter

Answer = TypeVar("Answer")


class Client(SubscriptionMethods, ContractMethods):
    """A connection to a Ratewright server at ``target``: `host:port`, or `unix:` and a path.

    Opens its connection at the first call. Close it, or use it as a context manager.
    """

    def __init__(self, target: str, options: ClientOptions | None = None) -> None:
        self.options = options or ClientOptions()
        self.target = target
        self.routes = Routes(target, follow=self.options.follow_topology)
        self._channel = self._connect(target, streams=False)
        self._others: dict[str, grpc.Channel] = {}
        self._streams: dict[str, grpc.Channel] = {}
        self._methods: dict[tuple[str, str], Any] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection; calls under way are cancelled. Close writers first."""
        for channel in (self._channel, *self._others.values(), *self._streams.values()):
            channel.close()

    def wait_until_ready(self, timeout: float) -> bool:
        """Wait up to ``timeout`` seconds for a server that starts; return whether one is there."""
        try:
            grpc.channel_ready_future(self._channel).result(timeout)
        except grpc.FutureTimeoutError:
            return False
        return True

    def _connect(self, target: str, *, streams: bool) -> grpc.Channel:
        arguments = self.options.channel_options(streams=streams)
        if self.options.credentials is None:
            return grpc.insecure_channel(target, arguments)
        return grpc.secure_channel(target, self.options.credentials, arguments)

    def stream_channel(self, address: str | None = None) -> grpc.Channel:
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

    def _call(self, call: Call[Answer], timeout: float | None) -> Answer:
        deadline = self.options.timeout_seconds if timeout is None else timeout
        expires = self.routes.clock() + deadline
        self._look_around()
        for address in self.routes.in_turn():
            left = expires - self.routes.clock()
            try:
                response = self._method(call, address)(call.request, timeout=left)
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
            asked = self.ask_topology(address)
            asked.add_done_callback(lambda call: self.routes.told(address, call))

    def _pages(
        self, page: Callable[[str], Call[Page[Answer]]], timeout: float | None
    ) -> Iterator[Answer]:
        token = ""
        while True:
            found = self._call(page(token), timeout)
            yield from found.items
            token = found.next_token
            if not token:
                return

    def create_meter(
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
        return self._call(call, timeout)

    def get_meter(self, meter_id: str, *, timeout: float | None = None) -> plan_pb2.Meter:
        """Return a meter."""
        return self._call(catalogue_calls.get_meter(meter_id), timeout)

    def list_meters(
        self, *, page_size: int = 0, timeout: float | None = None
    ) -> Iterator[plan_pb2.Meter]:
        """Yield all meters by id, page after page; ``timeout`` is that of one page."""
        return self._pages(lambda token: catalogue_calls.list_meters(page_size, token), timeout)

    def create_plan(
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
        return self._call(catalogue_calls.create_plan(plan, request_id, *times), timeout)

    def get_plan(
        self, plan_id: str, version: int | None = None, *, timeout: float | None = None
    ) -> plan_pb2.Plan:
        """Return a plan version, by default the latest."""
        return self._call(catalogue_calls.get_plan(plan_id, version), timeout)

    def list_plans(
        self, plan_id: str | None = None, *, page_size: int = 0, timeout: float | None = None
    ) -> Iterator[plan_pb2.Plan]:
        """Yield the latest version of every plan, or all versions of one."""
        return self._pages(
            lambda token: catalogue_calls.list_plans(plan_id, page_size, token), timeout
        )

    def check_plan(
        self, plan: PlanLike, *, timeout: float | None = None
    ) -> catalog.CheckPlanResponse:
        """Check a plan without storing it: faults, warnings, results of its examples (S2.3)."""
        return self._call(catalogue_calls.check_plan(plan), timeout)

    def record_usage(
        self, records: Iterable[UsageRecord], *, timeout: float | None = None
    ) -> list[RecordOutcome]:
        """Count 1 to 1,000 records and return one outcome each, in order (S7.3)."""
        return self._call(calls.record_usage(records), timeout)

    def get_topology(self, *, timeout: float | None = None) -> Topology:
        """Return the living servers of the store, and which shards each serves best."""
        return self._call(get_topology(), timeout)

    def ask_topology(self, address: str) -> Any:
        """Return the call that asks one server for the topology, under way; for the writers."""
        call = get_topology()
        return self._method(call, address).future(call.request, timeout=ASK_TIMEOUT_SECONDS)

    def retract(
        self, records: Iterable[UsageRecord], *, timeout: float | None = None
    ) -> list[RecordOutcome]:
        """Take back 1 to 1,000 records, each given whole as it was sent (S7.6).

        ACCEPTED: taken back; DUPLICATE: it was before; CONFLICT: it was sent otherwise. Rejected as
        NOT_FOUND where the id is not known, NOT_RETRACTABLE on max and latest meters.
        """
        return self._call(calls.record_usage(retractions(records)), timeout)

    def list_usage(
        self,
        customer: str,
        start_time: datetime | None = None,
        end_time: datetime | None = None,
        *,
        meter: str | None = None,
        page_size: int = 0,
        timeout: float | None = None,
    ) -> Iterator[UsageBucket]:
        """Yield the time buckets of a customer that reach into [start_time, end_time) (S6.3).

        Of meters that keep buckets, by start, meter and dimensions. ``end_time`` is by default now,
        ``start_time`` the start of the billing period that holds it.
        """
        return self._pages(
            lambda token: list_usage(customer, start_time, end_time, meter, page_size, token),
            timeout,
        )

    def get_usage(
        self, customer: str, time: datetime | None = None, *, timeout: float | None = None
    ) -> Usage:
        """Return what is counted in the period that holds ``time`` (default: now), exactly."""
        return self._call(calls.get_usage(customer, time), timeout)

    def rate_usage(
        self,
        plan: str | PlanLike,
        usage: Mapping[str, Any],
        *,
        version: int | None = None,
        timeout: float | None = None,
    ) -> Statement:
        """Price stated usage on a plan, given by id or whole; ``usage`` in the shapes of S6.5."""
        return self._call(statement_calls.rate_usage(plan, usage, version), timeout)

    def rate_batches(
        self, batches: Iterable[RateBatch], *, timeout: float | None = None
    ) -> Iterator[RatedBatch]:
        """Price columns of rows, batch after batch; yield the answers in order (S11.3).

        ``batches`` may be endless: it is read, in a thread of gRPC's, only as fast as answers are
        taken. ``timeout`` is that of the whole stream (default: none). What ``batches`` raises
        comes after the answers to the batches before; the server's error names its batch, counted
        from 0, as `batch_number` in the metadata.
        """
        stream = RateStream()
        sent = SentBatches(stream)
        open_stream: Any = self.stream_channel().stream_stream(RATE_PATH)
        call = open_stream(sent.requests(batches), timeout=timeout)
        try:
            for answer in call:
                yield stream.answer(answer)
        except grpc.RpcError as error:
            raise error_from_rpc(error) from error
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
    ) -> UsageWriter:
        """Return a writer that streams records over this client's connection.

        With ``producer_id`` it numbers its batches, and records have no event id (P12). With
        ``spool_dir`` records survive a crash of this process in files of that directory.
        """
        return UsageWriter(
            self,
            on_batch=on_batch,
            options=options,
            producer_id=producer_id,
            epoch=epoch,
            spool_dir=spool_dir,
        )
