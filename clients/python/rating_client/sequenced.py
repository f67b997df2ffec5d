"""Delivery of numbered batches, sans I/O: the duties of a sequenced producer (P12, P13).

`SequencedDelivery` has the face of `Delivery`. Each stream begins with a handshake; every batch is
kept, unchanged, until the server says that it is durable in all shards, and all that is kept is
sent again on the next stream.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum

import grpc

from ratewright.v1 import usage_service_pb2 as usage_api
from rating_client.columns import Payload
from rating_client.delivery import BatchResult, Delivery, Sendable
from rating_client.errors import Internal, RatewrightError
from rating_client.numbered import (
    Keeper,
    Note,
    NumberedBatch,
    batch_damaged,
    sequence_lost,
    spool_behind,
    spool_overtaken,
)
from rating_client.options import WriterOptions
from rating_client.values import RecordStatus
from rating_client.verdict import Verdict, verdict

SEQUENCES_MAX = 1024
"""Batches that may be sent above the last one of an unbroken row of answers (P12)."""
KEPT_BYTES = 64 << 20
"""Beyond so many bytes of answered batches the server is asked to make them durable at once."""

_DUPLICATE = bytes([RecordStatus.DUPLICATE])


class _Phase(Enum):
    NO_STREAM = 0
    HANDSHAKE_DUE = 1
    HANDSHAKE_SENT = 2
    OPEN = 3


class SequencedDelivery(Delivery):
    """The batches of one producer that are not durable.

    ``first_sequence``: the number of the first batch that will be put, for a producer that knows
    it; without it numbering begins behind all that was ever sent under this producer's name.
    """

    def __init__(
        self,
        options: WriterOptions,
        jitter: Callable[[], float],
        producer_id: str,
        epoch: int,
        first_sequence: int | None = None,
        keeper: Keeper | None = None,
    ) -> None:
        if options.give_up_after_seconds is not None:
            raise ValueError("give_up_after_seconds: a numbered batch cannot be given up")
        super().__init__(options, jitter)
        self._producer_id = producer_id
        self._epoch = epoch
        self._offset = None if first_sequence is None else first_sequence - 1
        self._phase = _Phase.NO_STREAM
        self._note_sent_at: float | None = None
        self._kept: dict[int, NumberedBatch] = {}
        self._kept_bytes = 0
        self._durable = 0
        self._taken = 0
        self._reported_ahead: set[int] = set()
        self._confirm = False
        self._numbers: dict[int, int] = {}
        self._keeper = keeper
        self._sent = 0 if keeper is None else keeper.left_over

    # --- what is known -------------------------------------------------------------------------

    @property
    def durable_sequence(self) -> int:
        """The sequence up to which all is durable in all shards, 0 before the first handshake."""
        return (self._offset or 0) + self._durable

    @property
    def kept_bytes(self) -> int:
        """Bytes of batches that are answered and held in memory until they are durable."""
        return self._kept_bytes

    @property
    def settled(self) -> bool:
        """Whether every batch that was put is durable: nothing has to be kept."""
        return self._durable >= self._next_number - 1

    def confirm(self) -> None:
        """Ask the server, when all is answered, to make all of it durable now."""
        self._confirm = True

    def sequence_of(self, number: int) -> int:
        """Return the sequence of the ``number``-th batch that was put, from 1 (P12).

        Known after the first handshake, or from the start if ``first_sequence`` was given.
        """
        return (self._offset or 0) + number

    # --- sending -------------------------------------------------------------------------------

    def put(self, payload: Payload, first_record: int) -> None:
        """Take a batch; it gets the next number, and is kept until it is durable."""
        count = payload.record_count
        number = self._next_number
        self._waiting.append(
            NumberedBatch(
                number=number,
                first_record=first_record,
                payload=payload,
                statuses=bytearray([RecordStatus.RETRY] * count),
                reasons=bytearray(count),
            )
        )
        self._numbers[first_record] = number
        self._next_number += 1

    def put_reported(self, payload: Payload) -> None:
        """Take a batch whose result an earlier writer has reported; it may not be durable yet."""
        self._waiting.append(self._reported_batch(self._next_number, payload))
        self._taken_too(self._next_number)
        self._next_number += 1

    @staticmethod
    def _reported_batch(number: int, payload: Payload) -> NumberedBatch:
        count = payload.record_count
        statuses = bytearray([RecordStatus.RETRY] * count)
        return NumberedBatch(number, 0, payload, statuses, bytearray(count), reported=True)

    def opened(self) -> None:
        """A stream is being opened: the handshake comes first (P13)."""
        self._phase = _Phase.HANDSHAKE_DUE

    def ready(self, now: float) -> bool:
        """Whether something may be sent now; without a stream: whether one is worth opening."""
        if self._phase is _Phase.HANDSHAKE_DUE:
            return True
        if self._phase is _Phase.HANDSHAKE_SENT or now < self.resume_at:
            return False
        return self._confirm_due() or self._batch_due()

    def _batch_due(self) -> bool:
        if not self._waiting or len(self._in_flight) >= self._slots:
            return False
        return self._waiting[0].number <= self._taken + SEQUENCES_MAX

    def _confirm_due(self) -> bool:
        if self._note_sent_at is not None or self._taken <= self._durable:
            return False
        if self._confirm and self._taken == self._next_number - 1:
            return True
        return self._kept_bytes > KEPT_BYTES

    def next_to_send(self, now: float) -> Sendable | None:
        """Return what to send next, or ``None`` if nothing may be sent now."""
        if not self.ready(now) or self._phase is _Phase.NO_STREAM:
            return None
        if self._phase is _Phase.HANDSHAKE_DUE:
            self._phase = _Phase.HANDSHAKE_SENT
            self._note_sent_at = now
            return Note(self._handshake())
        if self._confirm_due():
            self._note_sent_at = now
            return Note(self._head(0, 0))
        batch = self._waiting.popleft()
        if not isinstance(batch, NumberedBatch):
            raise TypeError("a sequenced producer sends numbered batches only")
        batch.attempts += 1
        self.resent_batches += batch.attempts > 1
        batch.sent_at = now
        batch.head = self._head(batch.number, self.sequence_of(batch.number))
        self._in_flight[batch.number] = batch
        self._sent = max(self._sent, batch.number)
        return batch

    def _handshake(self) -> bytes:
        producer = usage_api.Producer(
            producer_id=self._producer_id, epoch=self._epoch, start_anew=self._offset is None
        )
        if self._keeper is None or self._offset is None or self._taken >= self._sent:
            return usage_api.IngestUsageRequest(producer=producer).SerializeToString()
        # Whoever used the name in between is told of once only: so the server looks first.
        producer.known_epochs.extend(self._keeper.epochs)
        return usage_api.IngestUsageRequest(
            producer=producer, answered_sequence=self.sequence_of(self._taken)
        ).SerializeToString()

    def _head(self, number: int, sequence: int) -> bytes:
        return usage_api.IngestUsageRequest(
            batch_number=number,
            sequence=sequence,
            answered_sequence=self.sequence_of(self._taken),
        ).SerializeToString()

    # --- answers -------------------------------------------------------------------------------

    def answers(self, answer: usage_api.IngestUsageResponse, now: float) -> list[BatchResult]:
        """Take an answer; return the results of the batches that have all their statuses now.

        Raises FailedPrecondition SEQUENCE_LOST if the store lost batches that are kept no more,
        Internal if the answer fits nothing that was sent.
        """
        self._failures = 0
        if self._phase is _Phase.HANDSHAKE_SENT:
            self._note_sent_at = None
            self._phase = _Phase.OPEN
            return self._shaken(answer.durable_sequence, answer.previous_epoch)
        results = []
        if answer.sequence:
            result = self.answered(answer, now)
            results += [] if result is None else [result]
        else:
            self._note_sent_at = None
        self._drop(answer.durable_sequence)
        return results

    def _shaken(self, durable: int, previous_epoch: int) -> list[BatchResult]:
        if self._offset is None:
            self._offset = durable
            if self._keeper is not None:
                self._keeper.offset_known(durable)
        number = durable - self._offset
        self._check_kept(number, previous_epoch)
        self._fetch_back(number)
        results = []
        while self._waiting and self._waiting[0].number <= number:
            batch = self._waiting.popleft()
            if isinstance(batch, NumberedBatch) and not batch.reported:
                batch.reported = True
                batch.statuses[:] = _DUPLICATE * len(batch.statuses)
                results.append(batch.result())
        self._durable = max(self._durable, number)
        if self._keeper is not None:
            self._keeper.durable(number)
        return results

    def _check_kept(self, number: int, previous_epoch: int) -> None:
        """Refuse a spool that does not go with what the server has."""
        if self._keeper is None:
            return
        own = previous_epoch in (0, self._epoch) or previous_epoch in self._keeper.epochs
        if not own and self._taken < min(number, self._sent):
            # Those batches may have been counted in part, or others in their place.
            unknown = (self.sequence_of(self._taken + 1), self.sequence_of(number))
            raise spool_overtaken(previous_epoch, *unknown)
        if number > self._sent:
            raise spool_behind(self.sequence_of(number), self.sequence_of(self._sent))
        lost = sorted(missing for missing in self._keeper.missing if missing > number)
        if lost:
            raise batch_damaged(self.sequence_of(lost[0]))

    def _fetch_back(self, number: int) -> None:
        """Queue again what was durable until the store lost it (DESIGN: failover)."""
        held = self._waiting[0].number if self._waiting else self._next_number
        if number + 1 >= held:
            return
        payloads = None if self._keeper is None else self._keeper.again(number + 1, held - 1)
        if payloads is None:
            raise sequence_lost(self.sequence_of(number + 1), self.sequence_of(held - 1))
        again = [self._reported_batch(number + 1 + n, data) for n, data in enumerate(payloads)]
        self._waiting.extendleft(reversed(again))
        self._durable = number

    def answered(self, answer: usage_api.IngestUsageResponse, now: float) -> BatchResult | None:
        """Take the answer to a batch; its result, unless it was reported on an earlier stream."""
        batch = self._in_flight.get(answer.batch_number)
        sequence = self.sequence_of(answer.batch_number)
        if answer.sequence != sequence or not isinstance(batch, NumberedBatch):
            message = f"the answer to batch {answer.sequence} does not fit what was sent"
            raise Internal(message, code=grpc.StatusCode.INTERNAL, reason="BAD_ANSWER")
        result = super().answered(answer, now)
        if batch.number > self._durable:
            self._kept[batch.number] = batch
            self._hold(batch)
        if batch.reported:
            return None
        batch.reported = True
        return result

    def _hold(self, batch: NumberedBatch) -> None:
        if self._keeper is None:
            batch.kept_bytes = len(batch.payload.data)
            self._kept_bytes += batch.kept_bytes
        else:
            batch.payload = self._keeper.stored(batch.number)

    def reported(self, result: BatchResult) -> None:
        """The writer's user has the result: its answer is taken (P13)."""
        number = self._numbers.pop(result.first_record, None)
        if number is not None:
            self._taken_too(number)

    def _taken_too(self, number: int) -> None:
        self._reported_ahead.add(number)
        while self._taken + 1 in self._reported_ahead:
            self._taken += 1
            self._reported_ahead.discard(self._taken)

    def _drop(self, durable: int) -> None:
        number = durable - (self._offset or 0)
        if number <= self._durable:
            return
        self._durable = number
        for kept in [n for n in self._kept if n <= number]:
            self._kept_bytes -= self._kept.pop(kept).kept_bytes
        if self._keeper is not None:
            self._keeper.durable(number)

    # --- when a stream ends --------------------------------------------------------------------

    def lost(self, error: RatewrightError, now: float) -> list[BatchResult]:
        """Take the end of a stream: all that is kept will be sent again, in order, unchanged.

        A batch that the server refuses as a whole would leave a gap: what cannot be tried again is
        raised, with all batches kept for `abandon`.
        """
        self._phase = _Phase.NO_STREAM
        self._note_sent_at = None
        open_batches = [*self._kept.values(), *self._in_flight.values(), *self._waiting]
        self._waiting.clear()
        self._waiting.extend(sorted(open_batches, key=lambda batch: batch.number))
        self._in_flight.clear()
        self._kept.clear()
        self._kept_bytes = 0
        if verdict(error) is not Verdict.RETRY:
            raise error
        self.last_error = error
        wait = self._backoff(self._failures)
        if error.retry_after is not None:
            wait = error.retry_after + wait * self._jitter()
        self._failures += 1
        self.resume_at = now + wait
        return []

    def abandon(self, error: RatewrightError) -> list[BatchResult]:
        """Return the results of all batches that have none, unknown records as RETRY."""
        self._requeue()
        results = [
            batch.result(error)
            for batch in self._waiting
            if not (isinstance(batch, NumberedBatch) and batch.reported)
        ]
        self._waiting.clear()
        return results

    # --- time ----------------------------------------------------------------------------------

    def stalled(self, now: float) -> bool:
        """Whether the stream must be given up: an answer is overdue."""
        sent_at = self._note_sent_at
        overdue = sent_at is not None and now >= sent_at + self._options.answer_timeout_seconds
        return overdue or super().stalled(now)

    def send_at(self, now: float) -> float | None:
        """Return the instant from which something may be sent; ``None`` without an event."""
        if self._phase is _Phase.HANDSHAKE_DUE:
            return now
        if self._phase is _Phase.HANDSHAKE_SENT:
            return None
        if not self._batch_due() and not self._confirm_due():
            return None
        return max(now, self.resume_at)

    def deadline(self, now: float) -> float | None:
        """Return the next instant at which `stalled` may change by time alone."""
        instants = [super().deadline(now)]
        if self._note_sent_at is not None:
            instants.append(self._note_sent_at + self._options.answer_timeout_seconds)
        due = [instant for instant in instants if instant is not None]
        return max(now, min(due)) if due else None
