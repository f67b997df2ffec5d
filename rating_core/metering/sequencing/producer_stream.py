"""One sequenced stream of a server, sans I/O: what it asks the shards, and what is durable (P13).

The stream knows which shards each batch touches, hence which batches all shards have confirmed. It
tells each shard with every call; the shard raises its own mark as far as its own log bears that
out. What is durable is the least of the shards' own marks, never this memory.
"""

from __future__ import annotations

from bisect import bisect_right, insort
from collections.abc import Sequence

from rating_core.metering.batch import RecordBatch
from rating_core.metering.sequencing.producers import GetProducer, ProducerState
from rating_core.metering.sequencing.sequenced import (
    FENCED,
    LOST,
    ProducerAnswer,
    ProducerCall,
    SequencedCall,
)

GAP = "SEQUENCE_GAP"
OVERTAKEN = "SPOOL_OVERTAKEN"


class Opening:
    """The handshake: three rounds over all shards, each begun when the one before is complete.

    `fence`, then `question`, then, only for a producer that starts anew, `settle`. The order is the
    point: marks are read when no older epoch can add anything any more (P13).

    A producer that names the epochs ``known`` to it and what it has ``answered`` has a round before
    the first: `question`, `refusal`, and then the calls of `fence_after`, which hold only while no
    shard's epoch has changed. So a refusal leaves everything as it was, and comes again.
    """

    def __init__(
        self,
        producer: str,
        epoch: int,
        *,
        start_anew: bool,
        known: Sequence[int] = (),
        answered: int = 0,
    ) -> None:
        self._producer = producer
        self._epoch = epoch
        self._start_anew = start_anew
        self._known = {0, epoch, *known}
        self._answered = answered
        self.looks_first = bool(known)
        """Whether there is a round before the first."""

    def refusal(self, states: Sequence[ProducerState]) -> str:
        """Return why no epoch may be committed: PRODUCER_FENCED, SPOOL_OVERTAKEN, or nothing.

        An epoch numbers no batch before it stands in all shards: the least is one that may have.
        Where that is another's, what is durable and was not answered may be another's too.
        """
        epochs = [state.epoch for state in states]
        if max(epochs) > self._epoch:
            return FENCED
        durable = min(state.mark for state in states)
        overtaken = min(epochs) not in self._known and durable > self._answered
        return OVERTAKEN if overtaken else ""

    def fence_after(self, states: Sequence[ProducerState]) -> list[ProducerCall]:
        """Return the first round's calls, a shard each, on what the round before has found."""
        return [
            ProducerCall(producer=self._producer, epoch=self._epoch, after=state.epoch)
            for state in states
        ]

    def fence(self) -> ProducerCall:
        """Return the first round's call, the same for every shard."""
        return ProducerCall(producer=self._producer, epoch=self._epoch)

    def question(self) -> GetProducer:
        """Return the second round's question, the same for every shard."""
        return GetProducer(self._producer)

    def error(self, states: Sequence[ProducerState]) -> str:
        """Return why the stream cannot be opened with these states, or nothing.

        A shard that stands at an older epoch has lost what the first round wrote.
        """
        epochs = [state.epoch for state in states]
        if max(epochs) > self._epoch:
            return FENCED
        return LOST if min(epochs) < self._epoch else ""

    def settle(self, states: Sequence[ProducerState]) -> ProducerCall | None:
        """Return the third round's call: all up to the highest sequence counts as confirmed.

        Its producer holds none of those batches, so nobody will ever send them again.
        """
        highest = max(state.highest for state in states)
        if not self._start_anew or all(state.mark >= highest for state in states):
            return None
        return ProducerCall(producer=self._producer, epoch=self._epoch, confirmed=highest)


class ProducerStream:
    """Batches of one open stream. ``marks``: the shards' own, as the handshake found them."""

    def __init__(self, producer: str, epoch: int, marks: Sequence[int]) -> None:
        self.producer = producer
        self.epoch = epoch
        self._marks = list(marks)
        self._touching: list[list[int]] = [[] for _ in marks]
        self._open: dict[int, set[int]] = {}
        self._confirmed = self._newest = self.durable
        self._answered = 0

    @property
    def durable(self) -> int:
        """The low-water mark: the least of the shards' own marks (P13)."""
        return min(self._marks)

    @property
    def expected(self) -> int:
        """The greatest sequence that may come next: one more than the greatest so far."""
        return self._newest + 1

    def admit(self, sequence: int) -> str:
        """Take notice of a batch that has come; return SEQUENCE_GAP if one before it is missing.

        Without the missing one nothing after it could ever be confirmed.
        """
        if sequence > self.expected:
            return GAP
        self._newest = max(self._newest, sequence)
        return ""

    def taken(self, answered: int) -> None:
        """The producer has taken the answers to all batches up to ``answered``."""
        self._answered = max(self._answered, answered)

    def begin(self, sequence: int, shards: Sequence[int]) -> None:
        """Note which shards a batch touches, before any of them is called."""
        if sequence <= self._confirmed or sequence in self._open:
            return
        self._open[sequence] = set(shards)
        for shard in shards:
            insort(self._touching[shard], sequence)

    def call(self, shard: int, sequence: int, checksum: int, batch: RecordBatch) -> SequencedCall:
        """Return the call that counts a shard's part of a batch."""
        return SequencedCall(
            producer=self.producer,
            epoch=self.epoch,
            confirmed=self._settled(),
            known_mark=self._marks[shard],
            own=self._own(shard),
            sequence=sequence,
            checksum=checksum,
            batch=batch,
        )

    def mark_call(self, shard: int) -> ProducerCall:
        """Return the call that raises the mark of a shard without a batch, or finds it lost."""
        return ProducerCall(
            producer=self.producer,
            epoch=self.epoch,
            confirmed=self._settled(),
            known_mark=self._marks[shard],
            own=self._own(shard),
        )

    def lagging(self) -> list[int]:
        """Return the shards whose mark could be raised now."""
        settled = self._settled()
        return [shard for shard, mark in enumerate(self._marks) if mark < settled]

    def heard(self, shard: int, answer: ProducerAnswer, sequence: int = 0) -> None:
        """Take a shard's answer without an error; ``sequence``: of the batch it was about."""
        if answer.mark > self._marks[shard]:
            self._marks[shard] = answer.mark
            touching = self._touching[shard]
            del touching[: bisect_right(touching, answer.mark)]
        waiting = self._open.get(sequence)
        if waiting is None:
            return
        waiting.discard(shard)
        while not self._open.get(self._confirmed + 1, {0}):
            self._confirmed += 1
            del self._open[self._confirmed]

    def _settled(self) -> int:
        # P13: confirmed by all shards. A batch whose answer the producer has not taken stays in
        # the shards' sets too, so that its refused records can still be told.
        return min(self._confirmed, self._answered)

    def _own(self, shard: int) -> tuple[int, ...]:
        touching = self._touching[shard]
        return tuple(touching[: bisect_right(touching, self._settled())])
