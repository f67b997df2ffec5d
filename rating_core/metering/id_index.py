"""Which event ids are known, and with which payload (S7.1): all segments of one shard.

An identity is a row of three words: the high and low half of the keyed 128-bit hash of (customer,
event id), and a hash of the payload; `id_slots` tells what is kept of it. Identities lie in
segments by the time of acceptance; a whole segment is forgotten when its last acceptance is W + 1
day old by the entries' now (P11). By then the original event times are outside the acceptance
window, so a resend is TOO_OLD.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from rating_core.errors import IdsDamaged, SnapshotInvalid
from rating_core.metering.ids.run import read_run
from rating_core.metering.ids.segment import IdSegment, SegmentKey
from rating_core.metering.log.snapshot import Taken, take_state, unpack_state
from rating_core.period import DAY_US

_SEGMENTS_PER_WINDOW = 8
"""A longer window gets longer segments, so that a look-up visits about this many at most."""


class IdIndex:
    """All ids that are remembered, in segments by the time of acceptance (P11).

    Identities are uint64[n, 3]: high and low half of the keyed hash of (customer, event id), and
    the payload's hash, of which 32 bits count (`id_slots`).
    """

    def __init__(self) -> None:
        self._segments: dict[SegmentKey, IdSegment] = {}
        self.count = 0
        """How many ids are remembered."""
        self.forgotten = False
        """Whether any id was ever forgotten: then an old record may no longer be recognised."""
        self.stopped = False
        """Set from outside while memory is full: the machine takes no new ids then (P15)."""

    def find(
        self,
        identities: NDArray[np.uint64],
        found: NDArray[np.bool_],
        payloads: NDArray[np.uint64],
    ) -> None:
        """Set ``found`` and ``payloads`` for the identities that any live segment holds.

        IdsDamaged if a stored run cannot tell: the state must be built again.
        """
        # Most resends are of recent records.
        for segment in reversed(self._segments.values()):
            segment.find(identities, found, payloads)

    def insert(self, identities: NDArray[np.uint64], now: int, window_us: int | None) -> None:
        """Remember identities, none of them held, accepted by an entry of instant ``now``."""
        if window_us is None:
            # Nothing expires, so one table serves; days of their own would only slow look-ups.
            key = (0, 0)
        else:
            days = max(1, window_us // (_SEGMENTS_PER_WINDOW * DAY_US))
            key = (days, now // (days * DAY_US))
        segment = self._segment(key)
        segment.table.insert(identities)
        segment.last_acceptance = max(segment.last_acceptance, now)
        self.count += identities.shape[0]

    def _segment(self, key: SegmentKey) -> IdSegment:
        segment = self._segments.get(key)
        if segment is None:
            segment = self._segments[key] = IdSegment(key)
        return segment

    def expire(self, now: int, window_us: int | None) -> None:
        """Forget every segment whose last acceptance is W + 1 day old at ``now`` (P11)."""
        for key in self._expired(now, window_us):
            self.count -= self._segments.pop(key).count
            self.forgotten = True

    def remembers_all(self, now: int, window_us: int | None) -> bool:
        """Return whether no id was forgotten, nor will be by `expire` at ``now``."""
        return not self.forgotten and not self._expired(now, window_us)

    def _expired(self, now: int, window_us: int | None) -> list[SegmentKey]:
        if window_us is None:
            return []
        horizon = now - window_us - DAY_US
        return [
            key for key, segment in self._segments.items() if segment.last_acceptance <= horizon
        ]

    # --- what may be moved out of memory ---------------------------------------------------------

    def segments(self) -> list[IdSegment]:
        """Return the segments, oldest acceptance first. `IdSegment` tells how to move pieces."""
        return sorted(self._segments.values(), key=lambda segment: segment.last_acceptance)

    def holds(self, segment: IdSegment) -> bool:
        """Return whether a segment still is one of this index."""
        return self._segments.get(segment.key) is segment

    def bytes_held(self) -> int:
        """Return the bytes of memory in use."""
        return sum(segment.bytes_held() for segment in self._segments.values())

    # --- snapshots -------------------------------------------------------------------------------

    def take(self) -> tuple[Taken, dict[str, Taken]]:
        """Take the section of a snapshot, and its parts: runs as in log-format.md (P10).

        Both to be encoded later: what is open is copied now. What was closed gives the same bytes
        each time, so its part is not written again. A part may be any buffer.
        """
        facts, parts = [], {}
        for segment in self._segments.values():
            facts.append([*segment.key, segment.last_acceptance])
            for serial, part in enumerate(segment.exported()):
                parts[f"ids-{segment.key[0]}-{segment.key[1]}-{serial}"] = part
        document = {"forgotten": self.forgotten, "count": self.count, "segments": facts}
        return take_state(lambda: document, {}), parts

    def load(self, section: bytes, parts: Mapping[str, bytes]) -> None:
        """Take what `take` gave, into an empty index; SnapshotInvalid if an id is missing.

        Parts are not copied: they become the index's runs.
        """
        document, _ = unpack_state(section)
        for days, stretch, last_acceptance in document["segments"]:
            self._segment((days, stretch)).last_acceptance = last_acceptance
        try:
            for part in parts.values():
                run = read_run(part, resident=True)
                run.check()
                self._segments[run.segment].take(run)
        except (IdsDamaged, KeyError) as error:
            raise SnapshotInvalid(f"ids of a snapshot do not fit: {error}") from error
        self.count = sum(segment.count for segment in self._segments.values())
        if self.count != document["count"]:
            raise SnapshotInvalid("snapshot lacks ids")
        self.forgotten = document["forgotten"]

    def digest(self) -> bytes:
        """Return 32 bytes over what is remembered, wherever and however it is held."""
        total = hashlib.sha256(repr(self.forgotten).encode())
        for key, segment in sorted(self._segments.items()):
            total.update(repr((key, segment.last_acceptance, segment.count)).encode())
            total.update(segment.rows().tobytes())
        return total.digest()
