"""`UsageWriter`: streams usage records from threads, each counted exactly once (S7).

One background thread looks after the stream: it opens it, watches for overdue answers, and after a
loss waits and opens the next; a reader thread per stream takes the answers; gRPC's own thread asks
for the next batch. All state is in `WriterCore`, under one lock; the callback runs without it.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import grpc

from ratewright.v1 import usage_service_pb2 as usage_api
from rating_client.bulk_columns import UsageColumns
from rating_client.delivery import BatchResult, OnBatch
from rating_client.errors import RatewrightError, error_from_rpc
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
    from rating_client.client import Client


_READER_PATIENCE_SECONDS = 2.0


@dataclass(slots=True)
class _Stream:
    """One connection's stream. ``over``: it hands out no more batches. ``error``: why it ended."""

    over: bool = False
    error: BaseException | None = None


class UsageWriter:
    """Writes usage records over a client's connection; safe to use from several threads.

    Every record gets exactly one status, reported by ``on_batch`` and the counters; lost streams,
    restarting servers and RETRY are dealt with inside. ``on_batch`` runs in a background thread and
    must return soon; it must not write, flush or close. An exception from it stops the writer.
    Close the writer (or use it in a `with`) before the client: that waits for all answers.
    """

    def __init__(
        self,
        client: Client,
        *,
        on_batch: OnBatch | None = None,
        options: WriterOptions | None = None,
        producer_id: str | None = None,
        epoch: int | None = None,
        spool_dir: str | os.PathLike[str] | None = None,
    ) -> None:
        """With ``producer_id`` the writer numbers its batches and records have no event id (P12).

        ``epoch`` must be greater than that of the producer's earlier writers (default: the time in
        microseconds). With ``spool_dir`` every record is in a file there before it is taken; what
        an earlier writer left is sent first. SpoolError if the directory cannot be used.
        """
        chosen = options or WriterOptions()
        self._core = WriterCore(chosen, producer_id, epoch, client.routes, spool_dir)
        self._client = client
        self._on_batch = on_batch
        self._lock = threading.Lock()
        self._work = threading.Condition(self._lock)
        self._room = threading.Condition(self._lock)
        self._reporting = threading.RLock()
        self._reporter: int | None = None
        self._threads: dict[Lane, threading.Thread] = {}
        if self._core.recovered:
            with self._lock:
                self._wake()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if error is None:
            self.close()
            return
        try:
            self.close(timeout=CLOSE_AFTER_ERROR_SECONDS)
        except (RatewrightError, TimeoutError) as second:
            error.add_note(f"closing the writer: {second}")

    @property
    def counters(self) -> WriterCounters:
        """What was written and what became of it so far."""
        with self._lock:
            return self._core.counters()

    @property
    def spool_damage(self) -> tuple[SpoolDamage, ...]:
        """What could not be read of the spool when this writer opened it; empty if all could."""
        return self._core.outgoing.spool_damage

    def write(self, record: UsageRecord, *, timeout: float | None = None) -> int:
        """Take one record and return its number, counted from 0 over this writer's life.

        Waits while too much is unanswered; TimeoutError after ``timeout`` seconds. ValueError or
        TypeError for a record that cannot be sent (S1, S7.3), WriterClosed after `close` or a fatal
        error, SpoolError if the spool does not take it; nothing is taken then.
        """
        read = self._core.read(record)
        with self._lock:
            self._wait_for_room(1, timeout)
            number = self._core.written
            if self._core.take(record, read, time.monotonic()):
                self._wake()
        self._core.outgoing.sync("each")
        return number

    def write_columns(self, columns: UsageColumns, *, timeout: float | None = None) -> range:
        """Take many records as columns and return their numbers; errors as `write`.

        They are cut into batches by the writer's options. ``timeout`` bounds each wait for room: a
        TimeoutError may leave the first batches taken, which `counters.written` tells. The
        numbers are those of these records only if no other thread writes meanwhile.
        """
        options = self._core.options
        first: int | None = None
        for payload in columns.payloads(
            options.batch_records, options.batch_bytes, named=self._core.named
        ):
            with self._lock:
                self._wait_for_room(payload.record_count, timeout)
                first = self._core.written if first is None else first
                self._core.take_payload(payload)
                self._wake()
        self._core.outgoing.sync("each")
        first = self.counters.written if first is None else first
        return range(first, first + len(columns))

    def flush(self, timeout: float | None = None) -> WriterCounters:
        """Wait until every record written so far has its status, and return the counters.

        Raises TimeoutError after ``timeout`` seconds, BatchFailed if a batch was refused or
        given up since the last flush, WriterClosed if an error stopped the writer.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        with self._lock:
            self._refuse_reporter("flush")
            self._core.seal()
            target = self._core.written
            self._wake()
        self._core.outgoing.sync("flush")
        with self._lock:
            while not self._core.settled(target):
                self._wait(deadline, "not all records were answered in time")
            return self._core.counters()

    def close(self, timeout: float | None = None) -> WriterCounters:
        """Flush, then end the writer; errors as `flush`. Closing again does nothing, but that
        an error which stopped the writer is always raised once.

        Whatever is unanswered after ``timeout`` seconds is reported with RETRY before this raises.
        """
        with self._lock:
            self._refuse_reporter("close")
            if self._core.stopped:
                self._core.check_error_was_raised()
                return self._core.counters()
        try:
            counters = self.flush(timeout)
            self._confirm(timeout)
            return counters
        finally:
            self._stop(None)
            for thread in list(self._threads.values()):
                thread.join()

    def _confirm(self, timeout: float | None) -> None:
        """Let a sequenced producer's batches become durable in all shards; not for long (P13)."""
        limit = CONFIRM_SECONDS if timeout is None else min(timeout, CONFIRM_SECONDS)
        deadline = time.monotonic() + limit
        with self._lock:
            self._core.confirm()
            self._wake()
            while not self._core.confirmed and time.monotonic() < deadline:
                self._room.wait(deadline - time.monotonic())

    # The writing side, under the lock.

    def _refuse_reporter(self, what: str) -> None:
        if self._reporter == threading.get_ident():
            raise RuntimeError(f"{what} inside on_batch would wait for itself")

    def _wait(self, deadline: float | None, message: str) -> None:
        left = None if deadline is None else deadline - time.monotonic()
        if left is not None and left <= 0:
            raise TimeoutError(message)
        self._room.wait(left)

    def _wait_for_room(self, record_count: int, timeout: float | None) -> None:
        self._core.check_open()
        self._refuse_reporter("write")
        if self._core.has_room(record_count):
            return
        deadline = None if timeout is None else time.monotonic() + timeout
        while not self._core.has_room(record_count):
            self._core.seal()
            self._wake()
            self._wait(deadline, "too many records are unanswered")
            self._core.check_open()

    def _wake(self) -> None:
        for lane in self._core.lanes.all:
            if lane not in self._threads and not self._core.stopped:
                name = "ratewright-usage-writer"
                thread = threading.Thread(None, self._run, name, (lane,), daemon=True)
                self._threads[lane] = thread
                thread.start()
        self._work.notify_all()

    # The background thread of each lane.

    def _run(self, lane: Lane) -> None:
        try:
            while self._wait_for_work(lane):
                self._stream(lane)
        except BaseException as error:  # noqa: BLE001 - whatever it is, the next write must raise it
            self._stop(error)

    def _wait_for_work(self, lane: Lane) -> bool:
        """Wait until a batch may be sent; return False when the writer stops, or the lane ends."""
        while True:
            with self._lock:
                now = time.monotonic()
                results = self._core.lanes.expired(lane, now)
                if self._core.stopped:
                    return False
                if not results:
                    if self._core.ready(lane, now):
                        self._wake()  # a buffer that was due may be for other lanes too
                        return True
                    if self._core.lanes.retire(lane):
                        del self._threads[lane]
                        return False
            self._ask_topology()
            with self._lock:
                if not results and not self._core.stopped and not self._core.ready(lane, now):
                    self._work.wait(self._core.seconds_to_work(lane, now))
            self._report(results)

    def _ask_topology(self) -> None:
        """Ask who the servers are, if that is to be known; the answer comes to another thread."""
        address = self._client.routes.to_ask()
        if address is None:
            return
        with contextlib.suppress(ValueError):  # the client is being closed
            asked = self._client.ask_topology(address)
            asked.add_done_callback(lambda call: self._told(address, call))

    def _told(self, address: str, call: Any) -> None:
        self._client.routes.told(address, call)
        with self._lock:
            self._work.notify_all()

    def _stream(self, lane: Lane) -> None:
        """Open a stream and look after it until it ends."""
        stream = _Stream()
        with self._lock:
            address = self._core.stream_opened(lane)
        channel = self._client.stream_channel(address)
        opened: Any = channel.stream_stream(
            INGEST_PATH, response_deserializer=usage_api.IngestUsageResponse.FromString
        )
        call = opened(self._requests(lane, stream))
        name = "ratewright-usage-answers"
        reader = threading.Thread(None, self._read, name, (lane, call, stream), daemon=True)
        reader.start()
        overdue = self._watch(lane, stream)
        call.cancel()
        # gRPC was seen not to end a call that met a dying server, even when it is cancelled; its
        # reader is then left behind, and takes nothing more because the stream is over.
        reader.join(_READER_PATIENCE_SECONDS)
        error = answer_overdue() if overdue else stream.error or stream_ended()
        with self._lock:
            stopped = self._core.stopped
            if not isinstance(error, RatewrightError):
                raise error
            results = []
            if not stopped:
                results = self._core.lanes.lost(lane, error, time.monotonic())
                self._wake()
        self._report(results)

    def _watch(self, lane: Lane, stream: _Stream) -> bool:
        """Wait until the stream is over; return whether it is because an answer is overdue."""
        while True:
            with self._lock:
                now = time.monotonic()
                if stream.over or self._core.stopped:
                    stream.over = True
                    return False
                if lane.delivery.stalled(now):
                    stream.over = True
                    self._work.notify_all()
                    return True
                results = self._core.lanes.expired(lane, now)
                if not results:
                    self._work.wait(self._core.seconds_to_deadline(lane, now))
            self._report(results)
            self._ask_topology()

    def _requests(self, lane: Lane, stream: _Stream) -> Iterator[bytes]:
        """Yield the batches of one stream as they become ready; consumed by a thread of gRPC."""
        while True:
            with self._lock:
                while True:
                    now = time.monotonic()
                    if stream.over or self._core.stopped:
                        return
                    batch = self._core.next_to_send(lane, now)
                    if batch is not None:
                        self._wake()  # its answer has a deadline now, and other lanes may have work
                        break
                    self._work.wait(self._core.seconds_to_send(lane, now))
            try:
                data = batch.request()
            except BaseException as error:  # noqa: BLE001 - of a spool's file; gRPC would hide it
                self._over(stream, error)
                return
            yield data

    def _over(self, stream: _Stream, error: BaseException) -> None:
        with self._lock:
            stream.error = stream.error or error
            stream.over = True
            self._work.notify_all()

    def _read(self, lane: Lane, call: Any, stream: _Stream) -> None:
        """Take the answers of one stream until it ends."""
        try:
            for answer in call:
                with self._lock:
                    if stream.over:
                        return
                    results = self._core.lanes.answers(lane, answer, time.monotonic())
                    self._work.notify_all()
                    self._room.notify_all()
                self._report(results)
            self._over(stream, stream_ended())
        except grpc.RpcError as error:
            self._over(stream, error_from_rpc(error))
        except BaseException as error:  # noqa: BLE001 - handed to the background thread
            self._over(stream, error)

    def _report(self, results: list[BatchResult]) -> None:
        """Report results, then free their room. The callback runs without the lock."""
        for result in results:
            with self._reporting:
                self._reporter = threading.get_ident()
                failed: BaseException | None = None
                try:
                    if self._on_batch is not None:
                        self._on_batch(result)
                except BaseException as error:
                    failed = error
                    raise
                finally:
                    self._reporter = None
                    with self._lock:
                        self._core.report_done(result, failed)
                        self._room.notify_all()

    def _stop(self, error: BaseException | None) -> None:
        """End the writer; what is unanswered is reported with RETRY."""
        with self._lock:
            results = self._core.stop(error)
            self._work.notify_all()
            self._room.notify_all()
        for result in results:
            try:
                self._report([result])
            except BaseException as second:  # noqa: BLE001 - every other result is reported too
                with self._lock:
                    self._core.stop(second)
