"""Deciding calls of sequenced producers: numbered batches, epochs, marks (P12, P13).

Sequenced records have no event ids: what makes them count once is the number of their batch. Hence
no identity is hashed and none is looked up; all other rules of S7.3 hold for each record.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rating_core.metering.batch import RecordBatch, RecordStatus
from rating_core.metering.calls import canonical_json
from rating_core.metering.deciding.standing import StagedRecords
from rating_core.metering.log.entry import ControlEntry, encode_producers, encode_records
from rating_core.metering.log.protocol import Decision
from rating_core.metering.sequencing.producers import (
    SEQUENCES_MAX,
    ProducerEntry,
    ProducerFact,
    ProducerView,
    runs_of,
)

FENCED = "PRODUCER_FENCED"
CONFLICT = "SEQUENCE_CONFLICT"
TOO_FAR = "SEQUENCE_TOO_FAR"
LOST = "SEQUENCE_LOST"
TOO_MANY = "TOO_MANY_PRODUCERS"

Staged = StagedRecords | ControlEntry | ProducerEntry
"""What a shard may have in flight."""

DecideRecords = Callable[[RecordBatch], tuple[NDArray[np.uint8], StagedRecords | None]]
"""Decide records without ids: uint8[2, n], status and reason, and what is to be staged."""


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class ProducerCall:
    """Put a producer's epoch, and how far its batches are confirmed, into the shard's log.

    ``confirmed``: the sequence up to which all shards have confirmed and the producer has taken the
    answers; ``known_mark``: where the caller has seen the shard's mark; ``own``: the confirmed
    sequences above it that touch this shard (P13). With an ``epoch`` alone it opens a stream;
    ``after``: only if the shard stands at that epoch, or at this one already.
    """

    producer: str
    epoch: int
    confirmed: int = 0
    known_mark: int = 0
    own: tuple[int, ...] = ()
    after: int | None = None


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class SequencedCall(ProducerCall):
    """Count this shard's part of a numbered batch; its records have no event ids (P12).

    ``checksum``: of the whole batch (`batch_checksum`).
    """

    sequence: int
    checksum: int
    batch: RecordBatch


@dataclass(frozen=True, slots=True, eq=False)
class ProducerAnswer:
    """What became of a call.

    ``error``: empty, or why nothing was done: PRODUCER_FENCED, SEQUENCE_CONFLICT, SEQUENCE_TOO_FAR,
    SEQUENCE_LOST (the log no longer holds what it had confirmed, or the shard stands at another
    epoch than ``after``: open the stream anew), TOO_MANY_PRODUCERS. ``epoch`` and ``mark``: the
    shard's own, this call included. ``outcome``: uint8[2, n], status and reason of each record of a
    batch. ``previous``: the shard's epoch before this call.
    """

    error: str
    epoch: int
    mark: int
    outcome: NDArray[np.uint8]
    previous: int = 0


def batch_checksum(batch: RecordBatch) -> int:
    """Return 64 bits of the content of a whole batch: dictionaries in their order, and columns.

    The same on every server, for ever. Order within dimensions does not matter.
    """
    digest = hashlib.blake2b(digest_size=8)
    sets = [sorted(pairs) for pairs in batch.dimension_sets]
    meters = list(zip(batch.meters, batch.scales, strict=True))
    digest.update(canonical_json([len(batch), list(batch.customers), meters, sets]))
    for codes, words in (
        (batch.customer, batch.customers),
        (batch.meter, meters),
        (batch.dimension_set, sets),
    ):
        if len(words) > 1:  # into a dictionary of one word every index is 0
            digest.update(np.ascontiguousarray(codes, "<i4").data)
    for numbers in (batch.quantity, batch.event_time):
        digest.update(np.ascontiguousarray(numbers, "<i8").data)
    if batch.attribute_set is not None:
        digest.update(canonical_json([sorted(pairs) for pairs in batch.attribute_sets]))
        digest.update(np.ascontiguousarray(batch.attribute_set, "<i4").data)
    if batch.retraction is not None:
        digest.update(b"retraction")
        digest.update(np.ascontiguousarray(batch.retraction, "|u1").data)
    return int.from_bytes(digest.digest(), "little")


@dataclass(slots=True)
class _New:
    """A batch that this shard has not seen, its rows in the joint batch from ``begin`` on."""

    index: int
    call: SequencedCall
    mark: int
    begin: int


def facts_of(entry: Staged) -> tuple[ProducerFact, ...]:
    """Return what a staged entry says of producers (P12)."""
    if isinstance(entry, StagedRecords):
        return entry.entry.producers
    return entry.facts if isinstance(entry, ProducerEntry) else ()


class SequencedDecision:
    """Decides calls of producers together, in order, over one `ProducerView`."""

    def __init__(self, calls: Sequence[ProducerCall], view: ProducerView) -> None:
        self._calls = calls
        self._view = view
        self._answers: list[ProducerAnswer | None] = [None] * len(calls)
        self._repeats: list[tuple[int, int]] = []
        self._facts: list[ProducerFact] = []
        self._new: list[_New] = []
        self._rows = 0

    def run(self, decide_records: DecideRecords) -> Decision:
        """Return the decision; records are decided by ``decide_records``, all new ones at once."""
        for index, call in enumerate(self._calls):
            self._take(index, call)
        staged = self._settle(decide_records) if self._new else None
        for index, number in self._repeats:
            self._answers[index] = self._answers[number]
        answers = tuple(self._answers)
        facts = tuple(self._facts)
        if staged is not None:
            entry = staged.entry.of_producers(facts)
            return Decision(
                answers,
                encode_records(entry),
                StagedRecords(entry, staged.keys, staged.provisional),
            )
        if not facts:
            return Decision(answers, None)
        return Decision(answers, encode_producers(ProducerEntry(facts)), ProducerEntry(facts))

    def _answer(
        self,
        index: int,
        error: str,
        outcome: NDArray[np.uint8] | None = None,
        previous: int = 0,
    ) -> None:
        producer = self._calls[index].producer
        epoch, mark = self._view.epoch(producer), self._view.mark(producer)
        if outcome is None:
            outcome = np.zeros((2, 0), np.uint8)
        self._answers[index] = ProducerAnswer(error, epoch, mark, outcome, previous)

    def _take(self, index: int, call: ProducerCall) -> None:
        view, producer = self._view, call.producer
        if call.epoch < view.epoch(producer):
            self._answer(index, FENCED)
            return
        if call.after is not None and view.epoch(producer) not in (call.after, call.epoch):
            self._answer(index, LOST)
            return
        if view.full(producer):
            self._answer(index, TOO_MANY)
            return
        mark = self._mark(call)
        if mark is None:
            self._answer(index, LOST)
        elif isinstance(call, SequencedCall):
            self._take_batch(index, call, mark)
        else:
            previous = view.epoch(producer)
            if mark > view.mark(producer) or call.epoch > previous:
                self._add(ProducerFact(producer, call.epoch, mark))
            self._answer(index, "", previous=previous)

    def _mark(self, call: ProducerCall) -> int | None:
        return self._view.borne_out(call.producer, call.confirmed, call.own, call.known_mark)

    def _add(self, fact: ProducerFact) -> None:
        self._facts.append(fact)
        self._view.add(fact)

    def _take_batch(self, index: int, call: SequencedCall, mark: int) -> None:
        # P12: in the set: as the first time; at or below the mark: DUPLICATE; all else is new,
        # also below the highest.
        known = self._known(call)
        if known is not None:
            self._repeat(index, call, known)
        elif self._below_mark(call):
            outcome = np.zeros((2, len(call.batch)), np.uint8)
            outcome[0] = RecordStatus.DUPLICATE
            self._answer(index, "", outcome)
        elif self._too_far(call, mark):
            self._answer(index, TOO_FAR)
        else:
            self._new.append(_New(index, call, mark, self._rows))
            self._rows += len(call.batch)
            # What is refused is known only when all records are decided; nobody reads it before.
            self._view.add(
                ProducerFact(
                    call.producer, call.epoch, mark, call.sequence, call.checksum, len(call.batch)
                )
            )

    def _known(self, call: SequencedCall) -> ProducerFact | None:
        return self._view.batch(call.producer, call.sequence)

    def _below_mark(self, call: SequencedCall) -> bool:
        return call.sequence <= self._view.mark(call.producer)

    def _too_far(self, call: SequencedCall, mark: int) -> bool:
        return call.sequence > mark + SEQUENCES_MAX

    def _repeat(self, index: int, call: SequencedCall, known: ProducerFact) -> None:
        if known.checksum != call.checksum or known.rows != len(call.batch):
            self._answer(index, CONFLICT)
            return
        for new in self._new:
            if (new.call.producer, new.call.sequence) == (call.producer, call.sequence):
                self._repeats.append((index, new.index))
                return
        self._answer(index, "", known.outcome())

    def _settle(self, decide_records: DecideRecords) -> StagedRecords | None:
        joint = RecordBatch.concatenate([new.call.batch for new in self._new])
        outcome, staged = decide_records(joint)
        for new in self._new:
            call = new.call
            part = outcome[:, new.begin : new.begin + len(call.batch)]
            fact = ProducerFact(
                producer=call.producer,
                epoch=call.epoch,
                mark=new.mark,
                sequence=call.sequence,
                checksum=call.checksum,
                rows=len(call.batch),
                refused=runs_of(part),
            )
            self._facts.append(fact)  # P12: also where every record is refused
            self._answer(new.index, "", part)
        return staged
