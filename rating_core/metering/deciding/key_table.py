"""128-bit keys to dense row numbers: the look-up under counters, committed or staged.

Rows are numbered in order of first insertion, so the columns of a table are plain arrays beside it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rating_core.jit import kernel

ABSENT = -1
"""Row of a key that a table does not hold, and of the empty key (0, 0)."""
FIRST_SLOTS = 64
"""Slots of a new table; a power of two, as all sizes are."""


def slots_for(count: int, least: int = FIRST_SLOTS) -> int:
    """Return the number of slots, a power of two, that hold ``count`` keys at a load ≤ 0.8."""
    slots = least
    while count * 5 > slots * 4:
        slots *= 2
    return slots


@kernel
def find_keys(
    slots: NDArray[np.uint64],
    slot_rows: NDArray[np.int32],
    keys: NDArray[np.uint64],
    out: NDArray[np.int32],
) -> None:
    """Write the row of each key, uint64[n, 2], or ABSENT."""
    mask = slots.shape[0] - 1
    for index in range(keys.shape[0]):
        high, low = keys[index, 0], keys[index, 1]
        out[index] = ABSENT
        if high == 0 and low == 0:
            continue
        slot = np.int64(low & np.uint64(mask))
        while slots[slot, 0] != 0 or slots[slot, 1] != 0:
            if slots[slot, 0] == high and slots[slot, 1] == low:
                out[index] = slot_rows[slot]
                break
            slot = (slot + 1) & mask


@kernel
def insert_keys(
    slots: NDArray[np.uint64],
    slot_rows: NDArray[np.int32],
    count: int,
    keys: NDArray[np.uint64],
    out: NDArray[np.int32],
    first: NDArray[np.int64],
) -> int:
    """Write the row of each key, numbering new ones from ``count``; return the new count.

    ``first[k]`` is the index of the key that made row count + k. The table must have room.
    """
    mask = slots.shape[0] - 1
    made = 0
    for index in range(keys.shape[0]):
        high, low = keys[index, 0], keys[index, 1]
        if high == 0 and low == 0:
            out[index] = ABSENT
            continue
        slot = np.int64(low & np.uint64(mask))
        while slots[slot, 0] != 0 or slots[slot, 1] != 0:
            if slots[slot, 0] == high and slots[slot, 1] == low:
                break
            slot = (slot + 1) & mask
        if slots[slot, 0] == 0 and slots[slot, 1] == 0:
            slots[slot, 0] = high
            slots[slot, 1] = low
            slot_rows[slot] = count + made
            first[made] = index
            made += 1
        out[index] = slot_rows[slot]
    return count + made


@kernel
def _move_keys(
    slots: NDArray[np.uint64],
    slot_rows: NDArray[np.int32],
    wider: NDArray[np.uint64],
    wider_rows: NDArray[np.int32],
) -> None:
    mask = wider.shape[0] - 1
    for old in range(slots.shape[0]):
        high, low = slots[old, 0], slots[old, 1]
        if high == 0 and low == 0:
            continue
        slot = np.int64(low & np.uint64(mask))
        while wider[slot, 0] != 0 or wider[slot, 1] != 0:
            slot = (slot + 1) & mask
        wider[slot, 0] = high
        wider[slot, 1] = low
        wider_rows[slot] = slot_rows[old]


class KeyTable:
    """Open addressing from keys, uint64[n, 2], to rows 0 … count − 1; grows by doubling."""

    __slots__ = ("_rows", "_slots", "count")

    def __init__(self, expected: int = 0) -> None:
        slots = slots_for(expected, 8 if expected else FIRST_SLOTS)
        self._slots = np.zeros((slots, 2), np.uint64)
        self._rows = np.zeros(slots, np.int32)
        self.count = 0

    def find(self, keys: NDArray[np.uint64]) -> NDArray[np.int32]:
        """Return the row of each key, or ABSENT."""
        out = np.empty(keys.shape[0], np.int32)
        find_keys(self._slots, self._rows, keys, out)
        return out

    def insert(self, keys: NDArray[np.uint64]) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
        """Return the row of each key, new rows made as needed, and what made each new row.

        The second array holds, for each new row in order, the index of the first key with it. The
        empty key gets ABSENT.
        """
        wanted = slots_for(self.count + keys.shape[0], self._slots.shape[0])
        if wanted != self._slots.shape[0]:
            wider = np.zeros((wanted, 2), np.uint64)
            wider_rows = np.zeros(wanted, np.int32)
            _move_keys(self._slots, self._rows, wider, wider_rows)
            self._slots, self._rows = wider, wider_rows
        out = np.empty(keys.shape[0], np.int32)
        first = np.empty(keys.shape[0], np.int64)
        before = self.count
        self.count = insert_keys(self._slots, self._rows, before, keys, out, first)
        return out, first[: self.count - before]

    def keys(self) -> NDArray[np.uint64]:
        """Return the keys in the order of their rows, uint64[count, 2]."""
        held = (self._slots != 0).any(axis=1)
        out = np.empty((self.count, 2), np.uint64)
        out[self._rows[held]] = self._slots[held]
        return out
