"""What both usage writers share: buffer, batches under way, limits, counters. Sans I/O."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, replace

import grpc

from rating_client.columns import Payload, RecordBuffer
from rating_client.delivery import BatchResult, Sendable
from rating_client.errors import (
    BatchFailed,
    RatewrightError,
    SpoolError,
    Unavailable,
    WriterClosed,
)
from rating_client.lanes import Lane
from rating_client.options import WriterOptions
from rating_client.outgoing import Outgoing
from rating_client.routes import Routes
from rating_client.values import RecordStatus, UsageRecord

INGEST_PATH = "/ratewright.v1.UsageService/IngestUsage"
CONFIRM_SECONDS = 5.0
"""How long closing a sequenced writer waits until what is answered is durable in all shards."""
_SPOOL_AGAIN_SECONDS = 0.5
CLOSE_AFTER_ERROR_SECONDS = 5.0
"""How long leaving a `with` block by an exception waits for answers."""


@dataclass(frozen=True, slots=True)
class WriterCounters:
    """What a writer has done so far. Records, if not said otherwise."""

    written: int = 0
    recovered: int = 0
    """Found in the spool: an earlier writer took them and had no status for them."""
    accepted: int = 0
    duplicate: int = 0
    conflict: int = 0
    rejected: int = 0
    retry: int = 0
    """Given up without a status."""
    unanswered: int = 0
    """Buffered or under way."""
    batches: int = 0
    """Batches that have their result."""
    resent_batches: int = 0
    """Times that a batch, or its unanswered part, was sent again."""
    streams: int = 0
    """Streams that were opened; more than 1 after lost connections."""

    @property
    def counted(self) -> int:
        """Records that are counted, each exactly once: ACCEPTED or DUPLICATE (S7.1)."""
        return self.accepted + self.duplicate


def stream_ended() -> RatewrightError:
    """Return the error for a stream that the server ended without one."""
    return Unavailable("the server ended the stream", code=grpc.StatusCode.UNAVAILABLE)


def answer_overdue() -> RatewrightError:
    """Return the error for a stream that is given up because an answer is overdue."""
    return Unavailable("an answer is overdue", code=grpc.StatusCode.UNAVAILABLE)


def _closed() -> WriterClosed:
    return WriterClosed(
        "the writer is closed", code=grpc.StatusCode.FAILED_PRECONDITION, reason="WRITER_CLOSED"
    )


class WriterCore:
    """State of one writer. Not thread-safe; times are seconds of a clock that only runs forward."""

    def __init__(
        self,
        options: WriterOptions,
        producer_id: str | None = None,
        epoch: int | None = None,
        routes: Routes | None = None,
        spool_dir: str | os.PathLike[str] | None = None,
    ) -> None:
        self.options = options
        self.named = producer_id is None
        """Whether records have event ids; those of a sequenced producer have none (P12)."""
        self.routes = Routes("") if routes is None else routes
        self.outgoing = Outgoing(options, producer_id, epoch, self.routes, spool_dir)
        self.lanes = self.outgoing.lanes
        self.spool = self.outgoing.spool
        self.stopped = False
        """Whether the writer takes nothing more and its work ends: closed, or a fatal error."""
        self._buffer = RecordBuffer(named=self.named)
        self._single = RecordBuffer(named=self.named)
        self._sealed: Payload | None = None
        """A batch that could not be written to the spool yet."""
        self._buffer_opened_at = 0.0
        self._outstanding: dict[int, int] = {}
        self._error: BaseException | None = None
        self._error_raised = False
        self._failed: RatewrightError | None = None
        self._counters = WriterCounters()
        self._unanswered = 0
        self._written = 0
        self.streams = 0
        self._outstanding.update(self.outgoing.recover())
        self.recovered = self._unanswered = sum(self._outstanding.values())

    def read(self, record: UsageRecord) -> tuple[bytes, int, int, int]:
        """Return what `take` needs of a record; errors as `RecordBuffer.read`."""
        return RecordBuffer.read(record, named=self.named)

    def stream_opened(self, lane: Lane) -> str:
        """A stream is being opened for a lane; return the address to open it to."""
        self.streams += 1
        lane.delivery.opened()
        return lane.address

    def confirm(self) -> None:
        """The writer is closing, and all it was given is answered."""
        self.lanes.home.delivery.confirm()

    @property
    def confirmed(self) -> bool:
        """Whether nothing has to be kept any more, once all is answered."""
        return self.lanes.home.delivery.settled

    @property
    def written(self) -> int:
        """Number of records that were taken."""
        return self._written

    def counters(self) -> WriterCounters:
        """Return the counters as they stand."""
        return replace(
            self._counters,
            written=self._written,
            recovered=self.recovered,
            unanswered=self._unanswered,
            resent_batches=self.lanes.resent_batches,
            streams=self.streams,
        )

    def check_open(self) -> None:
        """Raise WriterClosed if the writer takes no more records."""
        self._raise_error()
        if self.stopped:
            raise _closed()

    def check_error_was_raised(self) -> None:
        """Raise WriterClosed if an error stopped the writer and nothing has raised it yet."""
        if not self._error_raised:
            self._raise_error()

    def _raise_error(self) -> None:
        if self._error is not None:
            self._error_raised = True
            raise WriterClosed.because("the writer stopped", self._error)

    def has_room(self, record_count: int) -> bool:
        """Whether so many records fit under the limits of what is unanswered, or into the spool.

        Raises SpoolFull where that is wished for instead of waiting (``spool_full``).
        """
        if self._sealed is not None:
            return False
        if self.spool is not None:
            room = self.spool.has_room(time.monotonic())
            if not room and self.options.spool_full == "raise":
                raise self.spool.full()
            return room
        held = self.outgoing.byte_count + self._buffer.byte_count
        if held >= self.options.max_unanswered_bytes:
            return False
        return self._unanswered + record_count <= self.options.max_unanswered_records

    def take(self, record: UsageRecord, read: tuple[bytes, int, int, int], now: float) -> bool:
        """Take a record; return whether the sending side has to look: a batch, or the first of one.

        Raises ValueError for a record that no batch can hold, SpoolError if it cannot be written to
        the spool; nothing is taken then.
        """
        data = b""
        if self.spool is not None:
            self._single.add(record, read)
            data = self._single.seal().data
        if not self._buffer.fits(record.meter, read[1], read[2]):
            self.seal()
        if self.spool is not None:
            self.spool.add_record(data)
        self._buffer.add(record, read)
        self._written += 1
        self._unanswered += 1
        size = len(self._buffer)
        if size == 1:
            self._buffer_opened_at = now
        options = self.options
        if size >= options.batch_records or self._buffer.byte_count >= options.batch_bytes:
            self._seal_if_possible(now)
            return True
        return size == 1

    def take_payload(self, payload: Payload) -> None:
        """Take a whole batch, behind what was taken before; SpoolError as `take`."""
        self.seal()
        self._put(payload, self._written)
        self._written += payload.record_count
        self._unanswered += payload.record_count

    def _put(self, payload: Payload, first_record: int) -> None:
        self.outgoing.put(payload, first_record)
        self._outstanding[first_record] = payload.record_count

    def seal(self) -> None:
        """Make a batch of what is buffered; SpoolError if it cannot be written to the spool."""
        if self._sealed is None and len(self._buffer):
            self._sealed = self._buffer.seal()
        if self._sealed is not None:
            self._put(self._sealed, self._written - self._sealed.record_count)
            self._sealed = None

    def _seal_if_possible(self, now: float) -> None:
        """Make a batch, or try again later: its records are in the spool one by one."""
        try:
            self.seal()
        except SpoolError:
            self._buffer_opened_at = now + _SPOOL_AGAIN_SECONDS

    def _buffer_due_at(self) -> float | None:
        if not (len(self._buffer) or self._sealed) or not self.lanes.idle_slot:
            return None
        return self._buffer_opened_at + self.options.batch_delay_seconds

    def ready(self, lane: Lane, now: float) -> bool:
        """Whether a batch may be sent on a lane now; a buffer that is due becomes one."""
        due_at = self._buffer_due_at()
        if due_at is not None and now >= due_at:
            self._seal_if_possible(now)
        return lane.delivery.ready(now)

    def next_to_send(self, lane: Lane, now: float) -> Sendable | None:
        """Return the next batch to send on a lane, or ``None`` if none may be sent now."""
        return lane.delivery.next_to_send(now) if self.ready(lane, now) else None

    def seconds_to_send(self, lane: Lane, now: float) -> float | None:
        """Return how long there is nothing to send if nothing happens; ``None``: without end."""
        instants = [lane.delivery.send_at(now), self._buffer_due_at()]
        due = [instant for instant in instants if instant is not None]
        return max(0.0, min(due) - now) if due else None

    def seconds_to_deadline(self, lane: Lane, now: float) -> float | None:
        """Return how long no deadline passes if nothing happens; ``None``: without end.

        Whoever only watches waits by this: a batch that is due but cannot leave, because the
        connection takes no more, would wake it without end.
        """
        deadline = lane.delivery.deadline(now)
        waits = [None if deadline is None else deadline - now, self.routes.seconds_to_ask()]
        return min((wait for wait in waits if wait is not None), default=None)

    def seconds_to_work(self, lane: Lane, now: float) -> float | None:
        """Return the shorter of both, for the time between streams."""
        waits = [self.seconds_to_send(lane, now), self.seconds_to_deadline(lane, now)]
        return min((wait for wait in waits if wait is not None), default=None)

    def settled(self, record_count: int) -> bool:
        """Whether each of the first ``record_count`` records has its status reported.

        Raises WriterClosed if an error stopped the writer, BatchFailed for the first batch that
        was refused or given up since this was last raised.
        """
        oldest = next(iter(self._outstanding), None)
        done = oldest is None or oldest >= record_count
        self._raise_error()
        if self.stopped and not done:
            raise _closed()
        if done and self._failed is not None:
            failed, self._failed = self._failed, None
            raise BatchFailed.because("a batch was not counted", failed)
        return done

    def report_done(self, result: BatchResult, failed: BaseException | None) -> None:
        """Take back a result that was reported: its records are no longer unanswered.

        ``failed`` is what the callback raised; it stops the writer.
        """
        if failed is not None and self._error is None:
            self._error = failed
        self._outstanding.pop(result.first_record, None)
        if failed is None:
            self.lanes.home.delivery.reported(result)
        self._unanswered -= len(result)
        self.outgoing.reported(result, known=failed is None)
        counters = self._counters
        self._counters = replace(
            counters,
            accepted=counters.accepted + result.count(RecordStatus.ACCEPTED),
            duplicate=counters.duplicate + result.count(RecordStatus.DUPLICATE),
            conflict=counters.conflict + result.count(RecordStatus.CONFLICT),
            rejected=counters.rejected + result.count(RecordStatus.REJECTED),
            retry=counters.retry + result.count(RecordStatus.RETRY),
            batches=counters.batches + 1,
        )
        if result.error is not None and not self.stopped and self._failed is None:
            self._failed = result.error

    def stop(self, error: BaseException | None = None) -> list[BatchResult]:
        """Take nothing more; return the results of all that is unanswered, unknown as RETRY.

        ``error`` is what stopped the writer, ``None`` if it was closed. With a spool there are no
        such results: what is unanswered stays there for the next writer.
        """
        self.stopped = True
        if error is not None and self._error is None:
            self._error = error
        if self.spool is not None:
            self.outgoing.close()
            return []
        self.seal()
        cause = _closed() if self._error is None else self._error
        if not isinstance(cause, RatewrightError):
            cause = WriterClosed.because("the writer stopped", cause)
        return self.lanes.abandon(cause)
