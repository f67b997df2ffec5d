"""Copies of the code of sequenced producers, each with one reading of P12 or P13 switched off."""

from __future__ import annotations

from dataclasses import dataclass

from broken import SimulatedSession

from rating_core.metering.sequencing.producer_stream import Opening, ProducerStream
from rating_core.metering.sequencing.producers import ProducerFact, runs_of
from rating_core.metering.sequencing.sequenced import SequencedDecision

# --- P12 ---


def _highest(view, producer):
    staged = [fact.sequence for fact in view._staged.get(producer, ())]
    return max([view._committed.state(producer).highest, view.mark(producer), *staged])


class HighestIsDuplicate(SequencedDecision):
    """All at or below the highest sequence is DUPLICATE."""

    def _below_mark(self, call):
        return call.sequence <= _highest(self._view, call.producer)


class BelowHighestIsRefused(SequencedDecision):
    """What is below the highest and not in the set is an error."""

    def _too_far(self, call, mark):
        return call.sequence < _highest(self._view, call.producer)


class NothingBelowTheMark(SequencedDecision):
    """What is at or below the mark is an error, not DUPLICATE."""

    def _too_far(self, call, mark):
        return call.sequence <= self._view.mark(call.producer) or super()._too_far(call, mark)

    def _below_mark(self, call):
        return False


class SetByEpoch(SequencedDecision):
    """A batch is known by epoch and sequence: each epoch counts anew."""

    def _known(self, call):
        known = super()._known(call)
        return known if known is None or known.epoch == call.epoch else None


class RefusedLeavesNothing(SequencedDecision):
    """A batch of which all records are refused leaves no entry."""

    def _settle(self, decide_records):
        begun = len(self._facts)
        staged = super()._settle(decide_records)
        self._facts[begun:] = [fact for fact in self._facts[begun:] if fact.accepted]
        return staged


class RemembersTheLast(SequencedDecision):
    """The set holds the last batches that came, however low the mark is."""

    def _known(self, call):
        known = super()._known(call)
        batches = self._view._committed._producers.get(call.producer)
        order = [] if batches is None else list(batches.batches)
        forgotten = call.sequence in order[:-2]
        return None if forgotten else known

    def _below_mark(self, call):
        return False

    def _too_far(self, call, mark):
        return super()._too_far(call, mark) or SequencedDecision._known(self, call) is not None


class Forgetful(SequencedDecision):
    """A resend gets ACCEPTED for refused records too."""

    def _repeat(self, index, call, known):
        forgotten = ProducerFact(
            known.producer, known.epoch, known.mark, known.sequence, known.checksum, known.rows
        )
        assert runs_of(forgotten.outcome()) == ()
        super()._repeat(index, call, forgotten)


class NoFence(SequencedDecision):
    """An older epoch is taken as long as it comes."""

    def _take(self, index, call):
        view, epoch = self._view, self._view.epoch
        view.epoch = lambda producer: 0 if producer == call.producer else epoch(producer)
        try:
            super()._take(index, call)
        finally:
            view.epoch = epoch


# --- P13 ---


class MarkFromMemory(SequencedDecision):
    """A shard believes the stream: its mark rises whatever its own log holds."""

    def _mark(self, call):
        return max(self._view.mark(call.producer), call.confirmed)


class GreatestMark(ProducerStream):
    """The low-water mark is the greatest of the shards' marks."""

    @property
    def durable(self):
        return max(self._marks)


class HomeMark(ProducerStream):
    """The low-water mark is that of the first shard."""

    @property
    def durable(self):
        return self._marks[0]


class ConfirmedBySome(ProducerStream):
    """A batch is confirmed when it has come; whether all shards have it does not matter."""

    def _settled(self):
        return self._newest


class FencesNothing(Opening):
    """A stream opens without its epoch in the shards' logs."""

    def error(self, states):
        return ""


def handshake(world, stream):
    """The handshake as servers do it: fence, then read the marks."""
    opening = stream.opening

    def read(_):
        world.round(
            stream,
            opening.question(),
            lambda states: world.opened(stream, states),
            question=True,
        )

    world.round(stream, opening.fence(), read)


def read_only(world, stream):
    """A handshake that commits no epoch."""
    world.round(
        stream,
        stream.opening.question(),
        lambda states: world.opened(stream, states),
        question=True,
    )


@dataclass(frozen=True)
class Variant:
    """What a world runs; by default the code as it is. ``focus``: (action, weight) drawn for it."""

    session: type = SimulatedSession
    decision: type = SequencedDecision
    opening: type = Opening
    stream: type = ProducerStream
    handshake: object = handshake
    windowed: bool = True
    focus: tuple = ()

    def call(self, real, shard, sequence, checksum, batch):
        """Return the call for a part of a batch."""
        return real.call(shard, sequence, checksum, batch)

    def mark_call(self, real, shard):
        """Return the call of the timer."""
        return real.mark_call(shard)


AS_IT_IS = Variant()
_FULL = (("full", 14), ("run", 10), ("lose", 4))
_FAILOVERS = (("failover", 5), ("run", 10), ("crash", 3), ("brk", 3))
BROKEN = {
    "P12 highest is duplicate": Variant(decision=HighestIsDuplicate, focus=_FULL),
    "P12 below highest is refused": Variant(decision=BelowHighestIsRefused, focus=_FULL),
    "P12 no duplicate below the mark": Variant(decision=NothingBelowTheMark),
    "P12 each epoch anew": Variant(decision=SetByEpoch),
    "P12 refused leaves nothing": Variant(decision=RefusedLeavesNothing),
    "P12 remembers the last": Variant(decision=RemembersTheLast),
    "P12 statuses forgotten": Variant(decision=Forgetful),
    "P12 no window": Variant(windowed=False),
    "P13 no fence": Variant(decision=NoFence),
    "P13 lazy fence": Variant(opening=FencesNothing, handshake=read_only),
    "P13 mark from memory": Variant(decision=MarkFromMemory, focus=_FAILOVERS),
    "P13 greatest mark": Variant(stream=GreatestMark, focus=_FAILOVERS),
    "P13 home mark": Variant(stream=HomeMark, focus=_FAILOVERS),
    "P13 confirmed by some": Variant(stream=ConfirmedBySome),
}
