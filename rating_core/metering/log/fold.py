"""Folding committed counters into Redis hashes: one round at a time, one command at a time.

A round begins at the committed head (h0, t0) and covers every hash that changed after the mark F.
It reads where those hashes stand, some at a time, and writes the fields that changed since (P7).
Commits go on in between, so each call names the committed head of the moment its values were taken;
that is at h0 or later, so that at the end "every hash reflects all entries up to h0" is true and F
may become h0 (P8). One call at a time keeps commits from queueing behind a fold.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from rating_core.metering.log.protocol import (
    FoldRead,
    FoldReadReply,
    FoldReply,
    FoldWrite,
    HashWrite,
    Machine,
)

FOLD_BYTES = 2_000_000
FOLD_FIELDS = 3_900
"""Redis is held for about 2 ms by a call of this size (P15). A single larger hash goes alone."""
READ_KEYS = 500
_VALUE_BYTES = 20


class FoldRound:
    """The fold of one shard: `begin`, then the command for every reply until None comes back."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self.mark = 0
        """The mark F as Redis told it last (P8); 0 when unknown."""
        self.active = False
        self.hashes = 0
        """How many hashes the last round began with."""
        self._start = (0, b"")
        self._unread: deque[str] = deque()
        self._reading: tuple[str, ...] = ()
        self._standing: list[tuple[str, int]] = []
        self._ready: deque[HashWrite] = deque()
        self._made_at = (0, b"")
        """The committed head whose values the writes that are ready carry."""
        self._cursor = 0
        self._last = False

    @property
    def needed(self) -> bool:
        """Whether committed counters changed after the mark."""
        return bool(self._machine.changed_hashes(self.mark))

    def begin(self) -> FoldRead:
        """Start a round at the committed head (P7: committed state only)."""
        machine = self._machine
        self.active = True
        self._last = False
        self._start = (machine.version, machine.token)
        self._unread = deque(self._hashes_after(self.mark))
        self.hashes = len(self._unread)
        self._standing.clear()
        self._ready.clear()
        self._cursor = -1
        return self._read()

    def drop(self) -> None:
        """Give the round up; what it has written is right by itself (P7)."""
        self.active = False

    def reset(self) -> None:
        """Forget the mark too: the state is being rebuilt."""
        self.active = False
        self.mark = 0

    def on_read(self, reply: FoldReadReply) -> FoldRead | FoldWrite | None:
        """Take where the hashes stand; return the next command, None if the round is void."""
        if reply.mark < self.mark:
            # Redis has lost its last writes (P8): hashes that we took for folded are not.
            self.mark = reply.mark
            return self.begin()
        if self._cursor < 0:
            self._cursor = reply.cursor
        elif reply.cursor != self._cursor:
            self.active = False
            return None
        self.mark = reply.mark
        self._standing.extend(zip(self._reading, reply.versions, strict=True))
        return self._next()

    def on_write(self, reply: FoldReply) -> FoldRead | FoldWrite | None:
        """Take the outcome of a write; return the next command, None when the round has ended."""
        if not reply.ok:
            self.active = False
            return None
        self._cursor = reply.cursor
        if self._last:
            self.active = False
            self.mark = reply.mark
            self._machine.folded(min(self.mark, self._machine.version))
            return None
        return self._next()

    def _read(self) -> FoldRead:
        count = min(READ_KEYS, len(self._unread))
        self._reading = tuple(self._unread.popleft() for _ in range(count))
        return FoldRead(self._reading)

    def _next(self) -> FoldRead | FoldWrite:
        writes = self._fill()
        if writes:
            version, token = self._made_at
            return FoldWrite(version, token, self._cursor, tuple(writes), last=False)
        if self._unread:
            return self._read()
        self._last = True
        version, token = self._start
        return FoldWrite(version, token, self._cursor, (), last=True)

    def _fill(self) -> list[HashWrite]:
        if not self._ready:
            standing, self._standing = self._standing, []
            self._made_at = self._head()
            for (key, expected), fields in zip(standing, self._fields(standing), strict=True):
                if fields:
                    self._ready.append(HashWrite(key, expected, tuple(fields)))
        writes: list[HashWrite] = []
        size = fields_total = 0
        while self._ready:
            fields = self._ready[0].fields
            fields_size = sum([len(name) for name, _ in fields]) + _VALUE_BYTES * len(fields)
            if writes and (
                size + fields_size > FOLD_BYTES or fields_total + len(fields) > FOLD_FIELDS
            ):
                break
            writes.append(self._ready.popleft())
            size += fields_size
            fields_total += len(fields)
        return writes

    # What a fold may write, each in one place, so that a simulation can break it.

    def _head(self) -> tuple[int, bytes]:
        return self._machine.version, self._machine.token

    def _hashes_after(self, mark: int) -> Sequence[str]:
        return self._machine.changed_hashes(mark)

    def _fields(self, standing: Sequence[tuple[str, int]]) -> Sequence[Sequence[tuple[str, int]]]:
        # P7: everything that changed after the version at which the hash really stands, absolute.
        return self._machine.fields_of(standing)
