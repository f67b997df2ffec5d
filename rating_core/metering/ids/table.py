"""A table of ids that grows without a pause: 18–24 bytes an id from 100,000 on (P15).

A full table is not doubled, unless it has less than a megabyte. A table one quarter larger is begun
beside it, and each insertion moves a bounded number of slots there, in order; what was moved is
given back to the system. So a batch never waits for the whole table, and there are never two whole
tables.
"""

from __future__ import annotations

import contextlib
import mmap

import numpy as np
from numpy.typing import NDArray

from rating_core.metering.ids.slots import (
    LAST_KEY,
    end_of,
    find_slots,
    home_of,
    insert_slots,
    move_slots,
)

FIRST_CAPACITY = 64
SLOT_BYTES = 16
MOVED_PER_ID = 16
"""Slots moved for each id that is entered while a table grows."""

_LOAD = (43, 50)
"""A table grows when 43 of 50 slots are used; it is at 92 % when all has moved."""
_GROWTH = (5, 4)
_SMALL, _SMALL_GROWTH = 1 << 16, (2, 1)
"""Tables of less slots, 1 MB, grow in larger steps: each moves all, and new memory is slow."""
_LEAST_MOVED = 4096
_SPARE = 64
_MOST_SPARE = 1024
_MAPPED_BYTES = 1 << 18
_HUGE_BYTES = 1 << 23
_RELEASED_BYTES, _RELEASED_HUGE_BYTES = 1 << 16, 1 << 21
_FIRST_KEY = np.uint64(0)
_ONE = np.uint64(1)


def room_for(count: int) -> int:
    """Return the capacity of a table that takes ``count`` ids without growing."""
    return max(FIRST_CAPACITY, count * _LOAD[1] // _LOAD[0] + 1)


class _Slots:
    """Empty slots: uint64[capacity + spare, 2]. Large ones can be given back in part."""

    def __init__(self, capacity: int, spare: int) -> None:
        self.capacity = np.uint64(capacity)
        self.released = 0
        size = (capacity + spare) * SLOT_BYTES
        self._memory: mmap.mmap | None = None
        if size < _MAPPED_BYTES:
            self.words: NDArray[np.uint64] = np.zeros((capacity + spare, 2), np.uint64)
            return
        # Anonymous memory of its own: it can be returned page by page, which malloc does not do.
        # Private, not mmap's default: shared pages would stay with the system until the end.
        self._memory = mmap.mmap(-1, size, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        if size >= _HUGE_BYTES:
            with contextlib.suppress(OSError, AttributeError):
                self._memory.madvise(mmap.MADV_HUGEPAGE)
        self.words = np.frombuffer(self._memory, np.uint64).reshape(-1, 2)

    def release(self, slots: int) -> None:
        """Give back the memory of the first ``slots``; their content is lost."""
        if self._memory is None:
            return
        whole = _RELEASED_BYTES if self.words.nbytes < _HUGE_BYTES else _RELEASED_HUGE_BYTES
        until = slots * SLOT_BYTES // whole * whole
        if until > self.released:
            self._memory.madvise(mmap.MADV_DONTNEED, self.released, until - self.released)
            self.released = until


class IdTable:
    """One table of identities, uint64[n, 3]: hash high, hash low, payload."""

    def __init__(self, expected: int = 0) -> None:
        self.count = 0
        self._spare = _SPARE
        self._slots = _Slots(room_for(expected), self._spare)
        # While the table grows: slots of the old one from the frontier on, whose first words are
        # ``_bound`` or greater, have not moved; ``_end`` is the end of what is used in the new one.
        self._old: _Slots | None = None
        self._frontier = 0
        self._bound = _FIRST_KEY
        self._end = 0

    @property
    def growing(self) -> bool:
        """Whether a part still stands in the smaller table."""
        return self._old is not None

    def find(
        self,
        identities: NDArray[np.uint64],
        found: NDArray[np.bool_],
        payloads: NDArray[np.uint64],
    ) -> None:
        """Set ``found`` and ``payloads`` of the identities that the table holds."""
        for slots, begin, least, most in self._parts():
            find_slots(slots.words, slots.capacity, begin, least, most, identities, found, payloads)

    def insert(self, identities: NDArray[np.uint64]) -> None:
        """Enter identities that the table does not hold, uint64[n, 3]."""
        # In pieces, so that a large batch cannot overfill a small table before it grows.
        row = 0
        while row < identities.shape[0]:
            self._grow(identities.shape[0] - row)
            piece = identities[row : row + max(_LEAST_MOVED, int(self._slots.capacity) // 100)]
            row += piece.shape[0]
            if self._old is None:
                self._insert(piece, None)
            else:
                moved = np.maximum(piece[:, 0], _ONE) < self._bound
                self._insert(piece[moved], None)
                self._insert(piece[~moved], self._old)
                self._move(max(_LEAST_MOVED, MOVED_PER_ID * piece.shape[0]))
            self.count += piece.shape[0]

    def _parts(self) -> list[tuple[_Slots, int, np.uint64, np.uint64]]:
        """Return each part as (slots, first slot, least and greatest first word)."""
        if self._old is None:
            return [(self._slots, 0, _FIRST_KEY, LAST_KEY)]
        bound = self._bound
        last = np.uint64(int(bound) - 1) if bound else _FIRST_KEY
        return [
            (self._slots, 0, _FIRST_KEY, last),
            (self._old, self._frontier, bound, LAST_KEY),
        ]

    def _insert(self, rows: NDArray[np.uint64], old: _Slots | None) -> None:
        row = 0
        while row < rows.shape[0]:
            # A crowded end may have put all in one table meanwhile.
            into = self._slots if old is None or old is not self._old else old
            begin = 0 if into is self._slots else self._frontier
            row, end = insert_slots(into.words, into.capacity, begin, rows, row, self._end)
            if into is self._slots:
                self._end = end
            if row < rows.shape[0]:
                self._finish()
                self._respace()

    def _grow(self, coming: int) -> None:
        capacity = int(self._slots.capacity)
        wanted = self.count + coming
        if wanted <= capacity * _LOAD[0] // _LOAD[1]:
            return
        small = MOVED_PER_ID * coming >= capacity
        if self._old is None or small:
            growth = _GROWTH if capacity >= _SMALL else _SMALL_GROWTH
            larger = capacity * growth[0] // growth[1] + 1
            if small:
                larger = max(larger, room_for(wanted) * _GROWTH[0] // _GROWTH[1])
            elif self.count < capacity * _LOAD[0] // _LOAD[1]:
                return
            self._finish()
            self._begin(larger)
            if small:
                self._finish()

    def _begin(self, capacity: int) -> None:
        self._spare = max(self._spare, min(_MOST_SPARE, capacity // 8))
        self._old, self._slots = self._slots, _Slots(capacity, self._spare)
        self._frontier = self._end = 0
        self._bound = _FIRST_KEY
        self._move(_LEAST_MOVED)

    def _finish(self) -> None:
        while self._old is not None:
            self._move(self._old.words.shape[0])

    def _move(self, most: int) -> None:
        old = self._old
        if old is None:
            return
        frontier, end, bound = move_slots(
            old.words, self._frontier, most, self._slots.words, self._slots.capacity, self._end
        )
        self._frontier, self._bound = frontier, np.uint64(bound)
        if end < 0:
            self._end = self._used_end()
            self._respace()
            return
        self._end = end
        if frontier >= old.words.shape[0]:
            self._old = None
        else:
            old.release(frontier)

    def _used_end(self) -> int:
        used = np.flatnonzero(self._slots.words[:, 0])
        return int(used[-1]) + 1 if used.size else 0

    def _respace(self) -> None:
        """Give the newer table twice the room behind its last home."""
        self._spare *= 2
        crowded = self._slots
        self._slots = _Slots(int(crowded.capacity), self._spare)
        self._slots.words[: crowded.words.shape[0]] = crowded.words

    def rows_between(self, least: int, most: int) -> NDArray[np.uint64]:
        """Return the slots, in order, whose first words are in [least, most], uint64[n, 2]."""
        bounds = np.array([least, most], np.uint64)
        pieces = []
        for slots, begin, _, _ in self._parts():
            first = max(home_of(bounds[0], slots.capacity), begin)
            last = end_of(slots.words, max(home_of(bounds[1], slots.capacity), begin), bounds[1])
            rows = slots.words[first:last]
            pieces.append(rows[(rows[:, 0] >= max(bounds[0], _ONE)) & (rows[:, 0] <= bounds[1])])
        return np.concatenate(pieces)

    def check(self) -> None:
        """Memory of our own is not checked; runs are."""

    def bytes_held(self) -> int:
        """Return the bytes of memory in use."""
        if self._old is None:
            return self._slots.words.nbytes
        return self._end * SLOT_BYTES + self._old.words.nbytes - self._old.released
