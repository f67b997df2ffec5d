"""What becomes of batches, sans I/O: which is sent next, what an answer or a lost stream means.

`Delivery` keeps every batch until all its records have a status. It knows no thread, no socket and
no clock: `writer` and `aio_writer` move the bytes and tell it the time, in seconds of any clock
that only runs forward. Not thread-safe.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Protocol

import grpc

from ratewright.v1 import usage_service_pb2 as usage_api
from rating_client.columns import Payload
from rating_client.errors import Internal, RatewrightError, Unavailable
from rating_client.options import WriterOptions
from rating_client.values import RecordOutcome, RecordStatus, RejectReason, outcome
from rating_client.verdict import Verdict, verdict

_ACCEPTED = bytes([RecordStatus.ACCEPTED])
_RETRY = bytes([RecordStatus.RETRY])
_REJECTED = bytes([RecordStatus.REJECTED])
_MALFORMED = bytes([RejectReason.MALFORMED])


def _given_up() -> RatewrightError:
    message = "some records got no status in the time that was set"
    return Unavailable(message, code=grpc.StatusCode.UNAVAILABLE)


@dataclass(frozen=True, slots=True)
class BatchResult:
    """What became of one batch: records ``first_record`` … of this writer, in order of writing.

    ``statuses`` and ``reasons`` hold one byte a record, the numbers of RecordStatus and
    RejectReason. ``attempts`` is how often the batch was given to a stream: after more than one, a
    DUPLICATE is mostly this writer's own first try. ``error`` is set if the server refused the
    batch as a whole (its records are REJECTED), or if delivery was given up (unknown: RETRY).
    """

    first_record: int
    statuses: bytes
    reasons: bytes
    attempts: int
    payload: Payload = field(repr=False)
    error: RatewrightError | None = None

    def __len__(self) -> int:
        """Return the number of records."""
        return len(self.statuses)

    def __getitem__(self, row: int) -> RecordOutcome:
        """Return the outcome of the record ``first_record + row``."""
        return outcome(self.statuses[row], self.reasons[row])

    def count(self, status: RecordStatus) -> int:
        """Return the number of records with that status."""
        return self.statuses.count(int(status))

    @property
    def counted(self) -> int:
        """Number of records that are counted, each exactly once: ACCEPTED or DUPLICATE (S7.1)."""
        return self.count(RecordStatus.ACCEPTED) + self.count(RecordStatus.DUPLICATE)

    def event_ids(self) -> list[str]:
        """Return the event id of every record, in order."""
        return self.payload.event_ids()

    def customers(self) -> list[str]:
        """Return the customer of every record, in order."""
        return self.payload.customers()

    def uncounted(self) -> Iterator[tuple[int, str, RecordOutcome]]:
        """Yield (number of the record, event id, outcome) of every record that is not counted."""
        if self.counted == len(self):
            return
        event_ids = self.event_ids()
        for row, event_id in enumerate(event_ids):
            found = self[row]
            if not found.counted:
                yield self.first_record + row, event_id, found


OnBatch = Callable[[BatchResult], None]
"""Called once for every batch when all its records have a status."""


class Sendable(Protocol):
    """What goes out as one request."""

    def request(self) -> bytes:
        """Return the bytes to send."""


@dataclass(slots=True)
class Batch:
    """A batch under way. ``rows`` are the records still without a status, ``None`` for all."""

    number: int
    first_record: int
    payload: Payload
    statuses: bytearray
    reasons: bytearray
    rows: list[int] | None = None
    attempts: int = 0
    tries_in_vain: int = 0
    not_before: float = 0.0
    sent_at: float = 0.0
    troubled_since: float | None = None

    def request(self) -> bytes:
        """Return the bytes to send: the records still without a status, under the same ids."""
        payload = self.payload if self.rows is None else self.payload.subset(self.rows)
        return payload.numbered(self.number)

    def result(self, error: RatewrightError | None = None) -> BatchResult:
        """Return the result as it stands; records without a status count as RETRY."""
        return BatchResult(
            self.first_record,
            bytes(self.statuses),
            bytes(self.reasons),
            self.attempts,
            self.payload,
            error,
        )


class Delivery:
    """The batches of one writer that are not answered. ``jitter`` returns numbers in [0, 1)."""

    def __init__(self, options: WriterOptions, jitter: Callable[[], float]) -> None:
        self._options = options
        self._jitter = jitter
        self._waiting: deque[Batch] = deque()
        self._in_flight: dict[int, Batch] = {}
        self._next_number = 1
        self._failures = 0
        self._suspects: set[int] = set()
        self.resume_at = 0.0
        """No stream is opened before this instant."""
        self.last_error: RatewrightError | None = None
        self.resent_batches = 0

    def __len__(self) -> int:
        """Return the number of batches that are not answered."""
        return len(self._waiting) + len(self._in_flight)

    @property
    def _slots(self) -> int:
        """Batches that may be in flight: one while it is unclear which of several was refused."""
        return 1 if self._suspects else self._options.batches_in_flight

    @property
    def idle_slot(self) -> bool:
        """Whether a further batch could be sent at once: none waits, and not all are in flight."""
        return not self._waiting and len(self._in_flight) < self._slots

    @property
    def in_flight(self) -> int:
        """Number of batches that are sent and not answered."""
        return len(self._in_flight)

    def put(self, payload: Payload, first_record: int) -> None:
        """Take a batch; it is kept until all its records have a status."""
        self._waiting.append(
            Batch(
                number=self._next_number,
                first_record=first_record,
                payload=payload,
                statuses=bytearray(_RETRY * payload.record_count),
                reasons=bytearray(payload.record_count),
            )
        )
        self._next_number += 1

    def ready(self, now: float) -> bool:
        """Whether a batch may be sent now."""
        if len(self._in_flight) >= self._slots or now < self.resume_at:
            return False
        return any(batch.not_before <= now for batch in self._waiting)

    def next_to_send(self, now: float) -> Sendable | None:
        """Return the next batch to send, or ``None`` if none may be sent now."""
        if not self.ready(now):
            return None
        for index, batch in enumerate(self._waiting):
            if batch.not_before <= now:
                del self._waiting[index]
                batch.attempts += 1
                self.resent_batches += batch.attempts > 1
                batch.sent_at = now
                self._in_flight[batch.number] = batch
                return batch
        return None

    def answered(self, answer: usage_api.IngestUsageResponse, now: float) -> BatchResult | None:
        """Take the answer to a batch; return its result when no record is left without a status.

        Raises Internal if the answer is to no batch in flight or has another number of records.
        """
        batch = self._in_flight.get(answer.batch_number)
        rows = 0 if batch is None else len(batch.statuses if batch.rows is None else batch.rows)
        statuses = bytes(answer.statuses) or _ACCEPTED * rows
        reasons = bytes(answer.reasons) or bytes(rows)
        if batch is None or len(statuses) != rows or len(reasons) != rows:
            message = f"the answer to batch {answer.batch_number} does not fit what was sent"
            raise Internal(message, code=grpc.StatusCode.INTERNAL, reason="BAD_ANSWER")
        del self._in_flight[answer.batch_number]
        self._failures = 0
        self._suspects.discard(batch.number)
        if batch.rows is None:
            batch.statuses[:] = statuses
            batch.reasons[:] = reasons
        else:
            for row, status, reason in zip(batch.rows, statuses, reasons, strict=True):
                batch.statuses[row] = status
                batch.reasons[row] = reason
        if RecordStatus.RETRY not in batch.statuses:
            return batch.result()
        retry = int(RecordStatus.RETRY)
        batch.rows = [row for row, status in enumerate(batch.statuses) if status == retry]
        batch.tries_in_vain += 1
        batch.not_before = now + self._backoff(batch.tries_in_vain - 1)
        batch.troubled_since = now if batch.troubled_since is None else batch.troubled_since
        self._waiting.append(batch)
        return None

    def answers(self, answer: usage_api.IngestUsageResponse, now: float) -> list[BatchResult]:
        """Take any answer of a stream; return the results that it brings (errors: `answered`)."""
        result = self.answered(answer, now)
        return [] if result is None else [result]

    def withdraw(self) -> list[Batch]:
        """Give up the batches that wait, for another delivery to `adopt`; in their order."""
        batches = list(self._waiting)
        self._waiting.clear()
        self._suspects.difference_update(batch.number for batch in batches)
        return batches

    def adopt(self, batches: list[Batch]) -> None:
        """Take batches that another delivery gave up; they keep what is known of them."""
        for batch in batches:
            batch.number = self._next_number
            self._next_number += 1
            self._waiting.append(batch)

    def put_reported(self, payload: Payload) -> None:
        """Take a batch that has its result and may be asked for again; TypeError: not numbered."""
        kept = f"{payload.record_count} records"
        raise TypeError(f"only numbered batches are kept after their result, not {kept}")

    @property
    def kept_bytes(self) -> int:
        """Bytes of batches that have their result and are held in memory all the same."""
        return 0

    def opened(self) -> None:
        """A stream is being opened."""

    def reported(self, result: BatchResult) -> None:
        """The writer's user has this result."""

    def confirm(self) -> None:
        """The writer is closing, and all it was given is answered."""

    @property
    def settled(self) -> bool:
        """Whether nothing has to be kept any more, once all is answered."""
        return True

    def _backoff(self, failures: int) -> float:
        """Return the wait after so many failures in a row: doubling, less a random half."""
        options = self._options
        longest = options.backoff_initial_seconds * float(2 ** min(failures, 32))
        longest = min(options.backoff_max_seconds, longest)
        return longest * (1 - self._jitter() / 2)

    def _requeue(self) -> None:
        """Put what is in flight back in front, in its order."""
        self._waiting.extendleft(reversed(self._in_flight.values()))
        self._in_flight.clear()

    def lost(self, error: RatewrightError, now: float) -> list[BatchResult]:
        """Take the end of a stream, or that none could be opened.

        What was in flight will be sent again with the same ids. Returns the results of batches
        that end here: one that the server refused. A fatal error is raised, with all batches kept
        for `abandon`.
        """
        means = verdict(error)
        if means is Verdict.REFUSED:
            return self._refused(error)
        if error.code is not grpc.StatusCode.UNAVAILABLE:
            # The true reason may be hidden: with one batch in flight it is seen next time.
            self._suspects.update(self._in_flight)
        self._requeue()
        if means is Verdict.FATAL:
            raise error
        self.last_error = error
        for batch in self._waiting:
            batch.troubled_since = now if batch.troubled_since is None else batch.troubled_since
        wait = self._backoff(self._failures)
        if error.retry_after is not None:
            wait = error.retry_after + wait * self._jitter()
        self._failures += 1
        self.resume_at = now + wait
        return []

    def _refused(self, error: RatewrightError) -> list[BatchResult]:
        """End the batch at fault: the one that the error names, or the only one in flight.

        If it could be any of several, they are sent again one by one, which finds it.
        """
        named = error.metadata.get("batch_number", "")
        number = int(named) if named.isascii() and named.isdecimal() else None
        if number not in self._in_flight and len(self._in_flight) == 1:
            number = next(iter(self._in_flight))
        culprit = None if number is None else self._in_flight.pop(number, None)
        suspects = set(self._in_flight)
        nothing_sent = culprit is None and not suspects
        self._requeue()
        if nothing_sent:
            raise error
        if culprit is None:
            self._suspects = suspects
            return []
        self._suspects.discard(culprit.number)
        for row, status in enumerate(culprit.statuses):
            if status == RecordStatus.RETRY:
                culprit.statuses[row : row + 1] = _REJECTED
                culprit.reasons[row : row + 1] = _MALFORMED
        return [culprit.result(error)]

    def _deadline(self, batch: Batch) -> float | None:
        after = self._options.give_up_after_seconds
        if after is None or batch.troubled_since is None:
            return None
        return batch.troubled_since + after

    def stalled(self, now: float) -> bool:
        """Whether the stream must be given up: an answer is overdue."""
        patience = self._options.answer_timeout_seconds
        for batch in self._in_flight.values():
            deadline = self._deadline(batch)
            if now >= batch.sent_at + patience or (deadline is not None and now >= deadline):
                return True
        return False

    def expired(self, now: float) -> list[BatchResult]:
        """Return the results of waiting batches whose time is over; unknown records are RETRY."""
        results = []
        for batch in list(self._waiting):
            deadline = self._deadline(batch)
            if deadline is not None and now >= deadline:
                self._waiting.remove(batch)
                self._suspects.discard(batch.number)
                results.append(batch.result(self.last_error or _given_up()))
        return results

    def abandon(self, error: RatewrightError) -> list[BatchResult]:
        """Return the results of all batches as they stand, unknown records as RETRY."""
        self._requeue()
        results = [batch.result(error) for batch in self._waiting]
        self._waiting.clear()
        return results

    def send_at(self, now: float) -> float | None:
        """Return the instant from which the next batch may be sent; ``None`` without an event."""
        if not self._waiting or len(self._in_flight) >= self._slots:
            return None
        return max(now, self.resume_at, min(batch.not_before for batch in self._waiting))

    def deadline(self, now: float) -> float | None:
        """Return the next instant at which `stalled` or `expired` may change by time alone."""
        patience = self._options.answer_timeout_seconds
        instants = [batch.sent_at + patience for batch in self._in_flight.values()]
        for batch in (*self._waiting, *self._in_flight.values()):
            deadline = self._deadline(batch)
            if deadline is not None:
                instants.append(deadline)
        return max(now, min(instants)) if instants else None
