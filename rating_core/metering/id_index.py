"""Which event ids are known, and with which payload (S7.1): 24 bytes a slot, driven by kernels.

An identity is a row of three words: the high and low half of the keyed 128-bit hash of (customer,
event id), and a 64-bit hash of the payload. Identities lie in segments by the time of acceptance; a
whole segment is forgotten when its last acceptance is W + 1 day old by the entries' now (P11). By
then the original event times are outside the acceptance window, so a resend is TOO_OLD.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from rating_core.errors import SnapshotInvalid
from rating_core.jit import kernel
from rating_core.metering.snapshot import pack_state, unpack_state
from rating_core.period import DAY_US

FIRST_SLOTS = 64
"""Slots of a new table; a power of two, as all sizes are."""

_SEGMENTS_PER_WINDOW = 8
"""A longer window gets longer segments, so that a look-up visits about this many at most."""


def slots_for(count: int, least: int = FIRST_SLOTS) -> int:
    """Return the number of slots, a power of two, that hold ``count`` keys at a load ≤ 0.8."""
    slots = least
    while count * 5 > slots * 4:
        slots *= 2
    return slots


@kernel
def find_ids(
    slots: NDArray[np.uint64],
    identities: NDArray[np.uint64],
    found: NDArray[np.bool_],
    payloads: NDArray[np.uint64],
) -> None:
    """Set ``found`` and ``payloads`` for the identities that the table holds; others stay as is."""
    mask = slots.shape[0] - 1
    for row in range(identities.shape[0]):
        high, low = identities[row, 0], identities[row, 1]
        if found[row] or (high == 0 and low == 0):
            continue
        slot = np.int64(low & np.uint64(mask))
        while slots[slot, 0] != 0 or slots[slot, 1] != 0:
            if slots[slot, 0] == high and slots[slot, 1] == low:
                found[row] = True
                payloads[row] = slots[slot, 2]
                break
            slot = (slot + 1) & mask


@kernel
def insert_ids(slots: NDArray[np.uint64], identities: NDArray[np.uint64]) -> None:
    """Enter identities that the table does not hold; it must have room. Empty rows are skipped."""
    mask = slots.shape[0] - 1
    for row in range(identities.shape[0]):
        high, low = identities[row, 0], identities[row, 1]
        if high == 0 and low == 0:
            continue
        slot = np.int64(low & np.uint64(mask))
        while slots[slot, 0] != 0 or slots[slot, 1] != 0:
            slot = (slot + 1) & mask
        slots[slot, 0] = high
        slots[slot, 1] = low
        slots[slot, 2] = identities[row, 2]


class IdTable:
    """One open-addressing table of identities; it grows by doubling and never shrinks."""

    def __init__(self) -> None:
        self.slots = np.zeros((FIRST_SLOTS, 3), np.uint64)
        self.count = 0
        self.last_acceptance = 0
        """The now of the latest entry with an id in this table, µs."""

    def insert(self, identities: NDArray[np.uint64]) -> None:
        """Enter new identities, uint64[n, 3]."""
        self.count += identities.shape[0]
        wanted = slots_for(self.count, self.slots.shape[0])
        if wanted != self.slots.shape[0]:
            grown = np.zeros((wanted, 3), np.uint64)
            insert_ids(grown, self.slots)
            self.slots = grown
        insert_ids(self.slots, identities)


class IdIndex:
    """All ids that are remembered, in segments by the time of acceptance (P11)."""

    def __init__(self) -> None:
        self._segments: dict[tuple[int, int], IdTable] = {}
        self.count = 0
        """How many ids are remembered."""
        self.forgotten = False
        """Whether any id was ever forgotten: then an old record may no longer be recognised."""

    def find(
        self,
        identities: NDArray[np.uint64],
        found: NDArray[np.bool_],
        payloads: NDArray[np.uint64],
    ) -> None:
        """Set ``found`` and ``payloads`` for the identities that any live segment holds."""
        for segment in self._segments.values():
            find_ids(segment.slots, identities, found, payloads)

    def insert(self, identities: NDArray[np.uint64], now: int, window_us: int | None) -> None:
        """Remember identities, uint64[n, 3], accepted by an entry of instant ``now``."""
        if window_us is None:
            # Nothing expires, so one table serves; days of their own would only slow look-ups.
            key = (0, 0)
        else:
            days = max(1, window_us // (_SEGMENTS_PER_WINDOW * DAY_US))
            key = (days, now // (days * DAY_US))
        segment = self._segments.get(key)
        if segment is None:
            segment = self._segments[key] = IdTable()
        segment.insert(identities)
        segment.last_acceptance = max(segment.last_acceptance, now)
        self.count += identities.shape[0]

    def expire(self, now: int, window_us: int | None) -> None:
        """Forget every segment whose last acceptance is W + 1 day old at ``now`` (P11)."""
        for key in self._expired(now, window_us):
            self.count -= self._segments.pop(key).count
            self.forgotten = True

    def remembers_all(self, now: int, window_us: int | None) -> bool:
        """Return whether no id was forgotten, nor will be by `expire` at ``now``."""
        return not self.forgotten and not self._expired(now, window_us)

    def _expired(self, now: int, window_us: int | None) -> list[tuple[int, int]]:
        if window_us is None:
            return []
        horizon = now - window_us - DAY_US
        return [
            key for key, segment in self._segments.items() if segment.last_acceptance <= horizon
        ]

    def bytes_held(self) -> int:
        """Return the bytes of all tables."""
        return sum(segment.slots.nbytes for segment in self._segments.values())

    def dump(self) -> tuple[bytes, dict[str, bytes]]:
        """Return the section of a snapshot, and one part a segment (P10).

        A segment that has not changed gives the same bytes, so its part is not written again.
        """
        parts = {}
        for key, segment in self._segments.items():
            facts = [*key, segment.last_acceptance]
            held = segment.slots[(segment.slots[:, :2] != 0).any(axis=1)]
            parts[f"ids-{key[0]}-{key[1]}"] = pack_state(facts, {"identities": held})
        return pack_state({"forgotten": self.forgotten, "count": self.count}, {}), parts

    def load(self, section: bytes, parts: Mapping[str, bytes]) -> None:
        """Take what `dump` gave, into an empty index; SnapshotInvalid if an id is missing."""
        document, _ = unpack_state(section)
        for part in parts.values():
            (days, number, last_acceptance), arrays = unpack_state(part)
            segment = self._segments[days, number] = IdTable()
            segment.insert(arrays["identities"])
            segment.last_acceptance = last_acceptance
            self.count += segment.count
        if self.count != document["count"]:
            raise SnapshotInvalid("snapshot lacks ids")
        self.forgotten = document["forgotten"]

    def digest(self) -> bytes:
        """Return 32 bytes over what is remembered, whatever the layout of the tables."""
        total = hashlib.sha256(repr(self.forgotten).encode())
        for key, segment in sorted(self._segments.items()):
            held = segment.slots[(segment.slots[:, :2] != 0).any(axis=1)]
            held = held[np.lexsort((held[:, 1], held[:, 0]))]
            total.update(repr((key, segment.last_acceptance, segment.count)).encode())
            total.update(held.tobytes())
        return total.digest()
