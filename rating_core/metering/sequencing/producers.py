"""What a shard knows of sequenced producers: a fold of its log (P12, P13; S7.3).

Per producer: its newest epoch, the shard's own mark (the sequence up to which all shards have
confirmed its batches), and every batch above the mark that left an entry here, with its checksum
and refused records, so that a resend gets the statuses of its first try. Batches need no event ids.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import astuple, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rating_core.errors import LogCorrupt
from rating_core.metering.batch import RecordStatus
from rating_core.metering.log.snapshot import Taken, take_state, unpack_state
from rating_core.units import INT64_MAX

SEQUENCES_MAX = 1024
"""No batch is taken that is more than this above the oldest unconfirmed one, less one (P12)."""
PRODUCERS_MAX = 100_000
"""Most producers of one shard; they are remembered for ever."""

Run = tuple[int, int, int]
"""(first row, number of rows, `RejectReason`): neighbours that were refused for one reason."""

_CHECKSUM_LIMIT = 1 << 64
_REJECTED = int(RecordStatus.REJECTED)


@dataclass(frozen=True, slots=True)
class ProducerFact:
    """What one entry says of one producer: at least its epoch and the shard's mark.

    ``sequence`` 0: no batch. Otherwise the shard's part of that batch: the checksum of all of it
    (uint64), the number of its rows here and those refused. A mark of 0 says nothing.
    """

    producer: str
    epoch: int
    mark: int
    sequence: int = 0
    checksum: int = 0
    rows: int = 0
    refused: tuple[Run, ...] = ()

    @property
    def accepted(self) -> int:
        """Number of rows that are counted."""
        return self.rows - sum(count for _, count, _ in self.refused)

    def to_json(self) -> list[object]:
        """Return `[producer, epoch, mark]`, and where there is a batch its four values too."""
        return list(astuple(self)) if self.sequence else [self.producer, self.epoch, self.mark]

    @staticmethod
    def from_json(document: list[Any]) -> ProducerFact:
        """Return the fact that `to_json` gave; LogCorrupt or ValueError for anything else."""
        if len(document) not in (3, 7):
            raise LogCorrupt("producer: wrong number of values")
        name, epoch, mark, sequence, checksum, rows, runs = [*document, 0, 0, 0, ()][:7]
        refused = tuple((first, count, reason) for first, count, reason in runs)
        fact = ProducerFact(name, epoch, mark, sequence, checksum, rows, refused)
        numbers = (fact.epoch, fact.mark, fact.sequence, fact.rows, *sum(fact.refused, ()))
        fits = isinstance(fact.producer, str) and type(fact.checksum) is int
        fits = fits and all(type(number) is int and 0 <= number <= INT64_MAX for number in numbers)
        if not fits or not 0 <= fact.checksum < _CHECKSUM_LIMIT or fact.epoch < 1:
            raise LogCorrupt("producer: bad value")
        end = 0
        for first, count, reason in fact.refused:
            if first < end or count < 1 or not 1 <= reason <= 255:
                raise LogCorrupt("producer: bad run of refused records")
            end = first + count
        if end > fact.rows or (fact.sequence == 0) != (len(document) == 3):
            raise LogCorrupt("producer: runs beyond its rows, or a batch without a number")
        return fact

    def outcome(self) -> NDArray[np.uint8]:
        """Return uint8[2, rows], status and reason of each row: those of the first try."""
        outcome = np.zeros((2, self.rows), np.uint8)
        outcome[0] = RecordStatus.ACCEPTED
        for first, count, reason in self.refused:
            outcome[0, first : first + count] = _REJECTED
            outcome[1, first : first + count] = reason
        return outcome


def runs_of(outcome: NDArray[np.uint8]) -> tuple[Run, ...]:
    """Return the runs of refused rows in uint8[2, n], statuses and reasons."""
    reasons = np.where(outcome[0] == _REJECTED, outcome[1], 0).astype(np.int64)
    if not reasons.any():
        return ()
    firsts = np.flatnonzero(np.diff(reasons, prepend=-1))
    counts = np.diff(firsts, append=reasons.size)
    rows = zip(firsts.tolist(), counts.tolist(), reasons[firsts].tolist(), strict=True)
    return tuple((first, count, reason) for first, count, reason in rows if reason)


@dataclass(frozen=True, slots=True)
class ProducerEntry:
    """An entry without records: an epoch, a mark, or a batch of which all records are refused.

    P12: every batch leaves an entry in each shard that it touches, even if all of it is refused.
    """

    facts: tuple[ProducerFact, ...]


@dataclass(frozen=True, slots=True)
class GetProducer:
    """Ask a shard for its `ProducerState` of one producer."""

    producer: str


@dataclass(frozen=True, slots=True)
class ProducerState:
    """``epoch`` (0: the producer is unknown), the shard's ``mark``, the ``highest`` sequence."""

    epoch: int
    mark: int
    highest: int


@dataclass(slots=True)
class _Producer:
    epoch: int = 0
    mark: int = 0
    batches: dict[int, ProducerFact] = field(default_factory=dict)


class Producers:
    """Committed state of all producers of a shard."""

    def __init__(self, most: int = PRODUCERS_MAX) -> None:
        self.most = most
        self._producers: dict[str, _Producer] = {}

    def __len__(self) -> int:
        return len(self._producers)

    def __contains__(self, producer: str) -> bool:
        return producer in self._producers

    def epoch(self, producer: str) -> int:
        """Return the newest epoch, 0 for an unknown producer."""
        known = self._producers.get(producer)
        return 0 if known is None else known.epoch

    def mark(self, producer: str) -> int:
        """Return the shard's own mark, 0 before the first (P13)."""
        known = self._producers.get(producer)
        return 0 if known is None else known.mark

    def batch(self, producer: str, sequence: int) -> ProducerFact | None:
        """Return what is known of a batch above the mark."""
        known = self._producers.get(producer)
        return None if known is None else known.batches.get(sequence)

    def state(self, producer: str) -> ProducerState:
        """Return what a stream is opened with (P13)."""
        known = self._producers.get(producer, _Producer())
        return ProducerState(known.epoch, known.mark, max(known.batches, default=known.mark))

    def apply(self, facts: Iterable[ProducerFact]) -> None:
        """Put the facts of one committed entry in force; LogCorrupt if they do not fit (P5)."""
        for fact in facts:
            known = self._producers.setdefault(fact.producer, _Producer())
            if fact.epoch < known.epoch:
                raise LogCorrupt("an entry of a producer that was fenced off")
            if fact.sequence:
                if fact.sequence <= known.mark or fact.sequence in known.batches:
                    raise LogCorrupt("a batch of a producer is counted twice")
                known.batches[fact.sequence] = fact
            known.epoch = fact.epoch
            if fact.mark > known.mark:
                known.mark = fact.mark
                for sequence in [s for s in known.batches if s <= fact.mark]:
                    del known.batches[sequence]

    def document(self) -> list[object]:
        """Return all of it as JSON values, in one order: what digest and snapshot hold."""
        return _document(self._producers)

    def take(self) -> Taken:
        """Take all of it for a snapshot (P10), to be encoded later."""
        held = {n: _Producer(p.epoch, p.mark, dict(p.batches)) for n, p in self._producers.items()}
        return take_state(lambda: _document(held), {})

    def load(self, section: bytes) -> None:
        """Take what `take` gave, into an empty state."""
        document, _ = unpack_state(section)
        for name, epoch, mark, batches in document:
            facts = [ProducerFact.from_json(batch) for batch in batches]
            known = {fact.sequence: fact for fact in facts}
            self._producers[name] = _Producer(epoch, mark, known)


def _document(producers: Mapping[str, _Producer]) -> list[object]:
    return [
        [name, p.epoch, p.mark, [p.batches[s].to_json() for s in sorted(p.batches)]]
        for name, p in sorted(producers.items())
    ]


class ProducerView:
    """Committed state with the facts of staged entries, oldest first, on top (P1)."""

    def __init__(self, committed: Producers, staged: Iterable[ProducerFact]) -> None:
        self._committed = committed
        self._staged: dict[str, list[ProducerFact]] = {}
        for fact in staged:
            self.add(fact)

    def add(self, fact: ProducerFact) -> None:
        """Put one more fact on top."""
        self._staged.setdefault(fact.producer, []).append(fact)

    def epoch(self, producer: str) -> int:
        """Return the newest epoch, 0 for an unknown producer."""
        staged = self._staged.get(producer)
        return staged[-1].epoch if staged else self._committed.epoch(producer)

    def mark(self, producer: str) -> int:
        """Return the shard's own mark (P13)."""
        marks = (fact.mark for fact in self._staged.get(producer, ()))
        return max(self._committed.mark(producer), *marks, 0)

    def batch(self, producer: str, sequence: int) -> ProducerFact | None:
        """Return what is known of a batch above the mark."""
        for fact in self._staged.get(producer, ()):
            if fact.sequence == sequence:
                return fact
        return self._committed.batch(producer, sequence)

    def full(self, producer: str) -> bool:
        """Whether this would be a producer too many."""
        if producer in self._committed or producer in self._staged:
            return False
        new = sum(name not in self._committed for name in self._staged)
        return len(self._committed) + new >= self._committed.most

    def borne_out(
        self, producer: str, confirmed: int, own: Sequence[int], known_mark: int
    ) -> int | None:
        """Return the mark that this shard's own log bears out, at least ``confirmed`` (P13).

        ``own``: the sequences of batches up to ``confirmed`` that touch this shard, above
        ``known_mark``, where its mark was seen. ``None`` if the log lacks one of them, or stands
        below that mark: a failover has lost what was confirmed.
        """
        mark = self.mark(producer)
        if mark < known_mark:
            return None
        for sequence in own:
            if sequence > mark and self.batch(producer, sequence) is None:
                return None
        return max(mark, confirmed)
