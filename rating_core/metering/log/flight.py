"""What a session holds of its calls: those that wait, entries in flight, answers under a check."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from operator import attrgetter

from rating_core.metering.log.protocol import Decision, Machine, Outcome

ENTRY_AIM_BYTES = 100_000
"""By the estimate of `Machine.size`; the entries themselves are then at most 60–70 KB: they commit
fastest per byte without making anybody wait (DESIGN §6), and take about 2 ms to decide."""
ENTRY_CAP_BYTES = 512_000
"""No more calls join an entry beyond this, however many wait; one larger call goes alone."""
BACKLOG_BYTES = 4 * ENTRY_AIM_BYTES
"""Beyond this backlog throughput matters more than the delay of one entry."""
GROUP_BYTES = 40_000
"""With entries in flight, calls wait for each other up to this size (or 2 ms).

An entry costs about as much as 500 of its records, whatever it holds."""

HURRIED_BYTES = 4_000
"""Calls up to this size need not stand behind larger ones: about 100 records."""


@dataclass(slots=True)
class Pending:
    """One call or question that has no answer yet; ``order`` is its order of arrival."""

    order: int
    ticket: int
    call: object
    size: int
    clock_refusals: int = 0


@dataclass(slots=True)
class Batch:
    """One entry of this server: in flight, or committed and below its ack level.

    ``uncertain``: it was outstanding when a connection was lost, so a copy of it may still be
    appended (P3). ``refusal`` is what Redis said to the copy sent last.
    """

    version: int
    previous: bytes
    token: bytes
    now: int
    entry: bytes
    decision: Decision
    calls: list[Pending]
    uncertain: bool = False
    refusal: Outcome | None = None
    resends: int = 0


@dataclass(slots=True)
class Verification:
    """Answers without an entry, and questions, that wait for a check of the head (P1).

    (version, token) is the head that the answers were decided on, entries in flight included.
    """

    version: int
    token: bytes
    calls: list[Pending] = field(default_factory=list)
    answers: tuple[object, ...] = ()
    questions: list[Pending] = field(default_factory=list)


class CallQueue:
    """Calls in order of arrival, and which of them share the next entry (group commit).

    Small calls that promise nobody an order (`Machine.hurries`) have a lane of their own, which
    goes first. An entry takes of both lanes; one that could not is followed by one that begins with
    the other lane, so that neither starves.
    """

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._small: deque[Pending] = deque()
        self._large: deque[Pending] = deque()
        self._arrivals = 0
        self._alone = 0
        self._owed = False
        self.bytes = 0

    def __len__(self) -> int:
        return len(self._small) + len(self._large)

    @property
    def hurried(self) -> bool:
        """Whether a small call waits."""
        return bool(self._small)

    def arrive(self, ticket: int, call: object) -> None:
        """Append a call that has just come in."""
        pending = self.number(ticket, call, self._machine.size(call))
        (self._small if self.is_small(pending) else self._large).append(pending)
        self.bytes += pending.size

    def is_small(self, call: Pending) -> bool:
        """Whether a call has its place in the lane of small ones."""
        return call.size <= HURRIED_BYTES and self._machine.hurries(call.call)

    def number(self, ticket: int, call: object, size: int = 0) -> Pending:
        """Return a call or question with its place in the order of arrival."""
        self._arrivals += 1
        return Pending(self._arrivals, ticket, call, size)

    def take(self) -> list[Pending]:
        """Remove and return the calls that share the next entry; at least one must wait."""
        limit = ENTRY_CAP_BYTES if self.bytes > BACKLOG_BYTES else ENTRY_AIM_BYTES
        lane = self._small if self._small and not (self._owed and self._large) else self._large
        first = lane.popleft()
        large = len(self._large)
        taken, size = [first], first.size
        if self._alone:
            self._alone -= 1
        else:
            # Half of the entry at most is for small calls while a large one waits.
            size = self._join(self._small, taken, size, limit // (2 if self._large else 1))
            size = self._join(self._large, taken, size, limit)
        self._owed = lane is self._small and 0 < large == len(self._large)
        self.bytes -= size
        return taken

    def _join(self, lane: deque[Pending], taken: list[Pending], size: int, limit: int) -> int:
        """Move calls that may share the entry from a lane to ``taken``; return its new size."""
        first, joins = taken[0].call, self._machine.joins
        while lane and size + lane[0].size <= limit and joins(first, lane[0].call):
            size += lane[0].size
            taken.append(lane.popleft())
        return size

    def take_back(self, calls: Iterable[Pending]) -> None:
        """Put calls back where they stood in the order of arrival (P2)."""
        back = list(calls)
        if back:
            self.bytes += sum(call.size for call in back)
            waiting = sorted([*back, *self._small, *self._large], key=attrgetter("order"))
            self._small = deque(c for c in waiting if self.is_small(c))
            self._large = deque(c for c in waiting if not self.is_small(c))

    def separate(self, calls: list[Pending]) -> None:
        """Put calls back, each to be decided alone: one of them does not fit (P15)."""
        self.take_back(calls)
        self._alone = len(self)

    def remove_refused(self, limit: int) -> list[Pending]:
        """Remove and return the calls that were refused for the clock ``limit`` times."""
        gone = [call for call in self._waiting() if call.clock_refusals >= limit]
        if gone:
            self._small = deque(c for c in self._small if c.clock_refusals < limit)
            self._large = deque(c for c in self._large if c.clock_refusals < limit)
            self.bytes -= sum(call.size for call in gone)
        return gone

    def count_clock_refusal(self) -> None:
        """Count one more refusal for the clock against every waiting call (P11)."""
        for call in self._waiting():
            call.clock_refusals += 1

    def _waiting(self) -> list[Pending]:
        return [*self._small, *self._large]

    def clear(self) -> list[Pending]:
        """Remove and return every call."""
        gone = self._waiting()
        self._small.clear()
        self._large.clear()
        self.bytes = 0
        self._alone = 0
        return gone
