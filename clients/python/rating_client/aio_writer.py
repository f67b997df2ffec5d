"""`AsyncUsageWriter`: the asyncio twin of `UsageWriter`, over the same `WriterCore`.

One background task looks after the stream, with a task that sends and one that takes the answers.
"""
# ruff: noqa: ASYNC109 - timeout means the same as in the synchronous twin; gRPC keeps it

from __future__ import annotations

import asyncio
import os
import time
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import grpc

from ratewright.v1 import usage_service_pb2 as usage_api
from rating_client.aio_status import StreamStatus
from rating_client.bulk_columns import UsageColumns
from rating_client.delivery import BatchResult, OnBatch
from rating_client.errors import RatewrightError
from rating_client.lanes import Lane
from rating_client.options import WriterOptions
from rating_client.spool_directory import SpoolDamage
from rating_client.values import UsageRecord
from rating_client.writer_core import (
    CLOSE_AFTER_ERROR_SECONDS,
    CONFIRM_SECONDS,
    INGEST_PATH,
    WriterCore,
    WriterCounters,
    answer_overdue,
    stream_ended,
)

if TYPE_CHECKING:
    from rating_client.aio_client import AsyncClient


class _Signal:
    """Wakes every task that waits. Without awaiting between a check and `wait`, none is missed."""

    def __init__(self) -> None:
        self._waiting: set[asyncio.Future[None]] = set()

    def notify(self) -> None:
        """Wake all tasks that wait now."""
        for future in self._waiting:
            if not future.done():
                future.set_result(None)

    async def wait(self, timeout: float | None) -> None:
        """Return at the next `notify`, or after ``timeout`` seconds."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.add(future)
        try:
            await asyncio.wait([future], timeout=timeout)
        finally:
            self._waiting.discard(future)


class AsyncUsageWriter:
    """Writes usage records over an async client's connection, from one event loop.

    As `UsageWriter`; ``on_batch`` is a plain function that runs on the loop and must return soon.
    """

    def __init__(
        self,
        client: AsyncClient,
        *,
        on_batch: OnBatch | None = None,
        options: WriterOptions | None = None,
        producer_id: str | None = None,
        epoch: int | None = None,
        spool_dir: str | os.PathLike[str] | None = None,
    ) -> None:
        """With ``producer_id`` the writer numbers its batches; ``spool_dir``: as `UsageWriter`.

        What is left in the spool is sent from the first call on.
        """
        self._core = WriterCore(
            options or WriterOptions(), producer_id, epoch, client.routes, spool_dir
        )
        self._client = client
        self._on_batch = on_batch
        self._work = _Signal()
        self._room = _Signal()
        self._tasks: dict[Lane, asyncio.Task[None]] = {}
        self._asking: asyncio.Task[None] | None = None
        self._in_callback = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is None:
            await self.close()
            return
        try:
            await self.close(timeout=CLOSE_AFTER_ERROR_SECONDS)
        except (RatewrightError, TimeoutError) as second:
            error.add_note(f"closing the writer: {second}")

    async def _sync(self, when: str) -> None:
        if self._core.outgoing.syncs(when):
            await asyncio.to_thread(self._core.outgoing.sync, when)

    @property
    def spool_damage(self) -> tuple[SpoolDamage, ...]:
        """What could not be read of the spool; as `UsageWriter.spool_damage`."""
        return self._core.outgoing.spool_damage

    @property
    def counters(self) -> WriterCounters:
        """What was written and what became of it so far."""
        return self._core.counters()

    async def write(self, record: UsageRecord, *, timeout: float | None = None) -> int:
        """Take one record and return its number; as `UsageWriter.write`."""
        read = self._core.read(record)
        await self._wait_for_room(1, timeout)
        number = self._core.written
        if self._core.take(record, read, time.monotonic()):
            self._wake()
            # A loop of writes that never waits would keep the sending task from running.
            await asyncio.sleep(0)
        await self._sync("each")
        return number

    async def write_columns(
        self,
        columns: UsageColumns,
        *,
        timeout: float | None = None,
    ) -> range:
        """Take many records as columns and return their numbers; as `UsageWriter.write_columns`."""
        options = self._core.options
        first: int | None = None
        for payload in columns.payloads(
            options.batch_records, options.batch_bytes, named=self._core.named
        ):
            await self._wait_for_room(payload.record_count, timeout)
            first = self._core.written if first is None else first
            self._core.take_payload(payload)
            self._wake()
            await asyncio.sleep(0)
        await self._sync("each")
        first = self._core.written if first is None else first
        return range(first, first + len(columns))

    async def flush(self, timeout: float | None = None) -> WriterCounters:
        """Wait until every record written so far has its status; as `UsageWriter.flush`."""
        deadline = None if timeout is None else time.monotonic() + timeout
        self._core.seal()
        target = self._core.written
        self._wake()
        await self._sync("flush")
        while not self._core.settled(target):
            await self._wait(deadline, "not all records were answered in time")
        return self._core.counters()

    async def close(self, timeout: float | None = None) -> WriterCounters:
        """Flush, then end the writer; as `UsageWriter.close`."""
        if self._core.stopped:
            self._core.check_error_was_raised()
            return self._core.counters()
        try:
            counters = await self.flush(timeout)
            await self._confirm(timeout)
            return counters
        finally:
            self._stop(None)
            tasks = [*self._tasks.values()]
            if self._asking is not None:
                self._asking.cancel()
                tasks.append(self._asking)
            if tasks:
                await asyncio.wait(tasks)

    async def _confirm(self, timeout: float | None) -> None:
        """Let a sequenced producer's batches become durable in all shards; not for long (P13)."""
        limit = CONFIRM_SECONDS if timeout is None else min(timeout, CONFIRM_SECONDS)
        deadline = time.monotonic() + limit
        self._core.confirm()
        self._wake()
        while not self._core.confirmed and time.monotonic() < deadline:
            await self._room.wait(deadline - time.monotonic())

    async def _wait(self, deadline: float | None, message: str) -> None:
        left = None if deadline is None else deadline - time.monotonic()
        if left is not None and left <= 0:
            raise TimeoutError(message)
        await self._room.wait(left)

    async def _wait_for_room(self, record_count: int, seconds: float | None) -> None:
        self._core.check_open()
        if self._core.has_room(record_count):
            return
        deadline = None if seconds is None else time.monotonic() + seconds
        while not self._core.has_room(record_count):
            self._core.seal()
            self._wake()
            await self._wait(deadline, "too many records are unanswered")
            self._core.check_open()

    def _wake(self) -> None:
        for lane in self._core.lanes.all:
            if lane not in self._tasks and not self._core.stopped:
                self._tasks[lane] = asyncio.get_running_loop().create_task(self._run(lane))
        self._work.notify()

    # The background task of each lane.

    async def _run(self, lane: Lane) -> None:
        try:
            while await self._wait_for_work(lane):
                await self._stream(lane)
        except BaseException as error:
            self._stop(error)
            if isinstance(error, asyncio.CancelledError):
                raise

    async def _wait_for_work(self, lane: Lane) -> bool:
        """Wait until a batch may be sent; return False when the writer stops, or the lane ends."""
        while True:
            now = time.monotonic()
            self._report(self._core.lanes.expired(lane, now))
            if self._core.stopped:
                return False
            if self._core.ready(lane, now):
                self._wake()  # a buffer that was due may be for other lanes too
                return True
            if self._core.lanes.retire(lane):
                del self._tasks[lane]
                return False
            self._ask_topology()
            await self._work.wait(self._core.seconds_to_work(lane, now))

    def _ask_topology(self) -> None:
        """Ask who the servers are, if that is to be known."""
        address = self._client.routes.to_ask()
        if address is not None and (self._asking is None or self._asking.done()):
            self._asking = asyncio.get_running_loop().create_task(self._learn(address))

    async def _learn(self, address: str) -> None:
        await self._client.learn_topology(address)
        self._work.notify()

    async def _stream(self, lane: Lane) -> None:
        """Open a stream and look after it until it ends."""
        channel = self._client.stream_channel(self._core.stream_opened(lane))
        opened: Any = channel.stream_stream(
            INGEST_PATH, response_deserializer=usage_api.IngestUsageResponse.FromString
        )
        call = opened()
        reader = asyncio.create_task(self._read(lane, call))
        sender = asyncio.create_task(self._send(lane, call))
        for task in (reader, sender):
            task.add_done_callback(lambda _: self._work.notify())
        try:
            overdue = await self._watch(lane, reader, sender)
        finally:
            sender.cancel()
            call.cancel()
            reader.cancel()
            await asyncio.wait([sender, reader])
        error: BaseException = answer_overdue()
        if not overdue:
            error = stream_ended() if reader.cancelled() else reader.result()
        if not sender.cancelled() and sender.exception() is not None:
            sender.result()
        if not isinstance(error, RatewrightError):
            raise error
        if not self._core.stopped:
            results = self._core.lanes.lost(lane, error, time.monotonic())
            self._wake()
            self._report(results)

    async def _watch(
        self, lane: Lane, reader: asyncio.Task[BaseException], sender: asyncio.Task[None]
    ) -> bool:
        """Wait until the stream is over; return whether it is because an answer is overdue."""
        while True:
            now = time.monotonic()
            broken = sender.done() and sender.exception() is not None
            if reader.done() or broken or self._core.stopped:
                return False
            if lane.delivery.stalled(now):
                return True
            self._report(self._core.lanes.expired(lane, now))
            self._ask_topology()
            await self._work.wait(self._core.seconds_to_deadline(lane, now))

    async def _send(self, lane: Lane, call: Any) -> None:
        """Send the batches of one stream as they become ready; ends with the stream."""
        while not self._core.stopped:
            now = time.monotonic()
            batch = self._core.next_to_send(lane, now)
            if batch is None:
                await self._work.wait(self._core.seconds_to_send(lane, now))
                continue
            self._wake()  # its answer has a deadline now, and other lanes may have work
            try:
                await call.write(batch.request())
            except (grpc.RpcError, asyncio.InvalidStateError):
                return  # the reader sees why the stream ended

    async def _read(self, lane: Lane, call: Any) -> BaseException:
        """Take the answers of one stream until it ends; return why it ended."""
        status = StreamStatus(call)
        try:
            async for answer in call:
                results = self._core.lanes.answers(lane, answer, time.monotonic())
                self._work.notify()
                self._room.notify()
                self._report(results)
        except grpc.RpcError as error:
            return await status.error(error) or stream_ended()
        except asyncio.CancelledError:
            raise
        except BaseException as error:  # noqa: BLE001 - handed to the background task
            return error
        return stream_ended()

    def _report(self, results: list[BatchResult]) -> None:
        """Report results, then free their room."""
        for result in results:
            failed: BaseException | None = None
            try:
                if self._on_batch is not None:
                    self._on_batch(result)
            except BaseException as error:
                failed = error
                raise
            finally:
                self._core.report_done(result, failed)
                self._room.notify()

    def _stop(self, error: BaseException | None) -> None:
        """End the writer; what is unanswered is reported with RETRY."""
        results = self._core.stop(error)
        self._work.notify()
        self._room.notify()
        for result in results:
            try:
                self._report([result])
            except BaseException as second:  # noqa: BLE001 - every other result is reported too
                self._core.stop(second)
