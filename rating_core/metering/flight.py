"""What a session holds of its calls: those that wait, entries in flight, answers under a check."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from operator import attrgetter

from rating_core.metering.protocol import Decision, Machine, Outcome

ENTRY_AIM_BYTES = 60_000
"""Entries of 10–60 KB commit fastest per byte without making anybody wait (DESIGN §6)."""
ENTRY_CAP_BYTES = 512_000
"""No more calls join an entry beyond this, however many wait; one larger call goes alone."""
BACKLOG_BYTES = 4 * ENTRY_AIM_BYTES
"""Beyond this backlog throughput matters more than the delay of one entry."""
GROUP_BYTES = 40_000
"""With entries in flight, calls wait for each other up to this size (or 2 ms).

An entry costs about as much as 500 of its records, whatever it holds."""


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
    """Calls in order of arrival, and which of them share the next entry (group commit)."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._calls: deque[Pending] = deque()
        self._arrivals = 0
        self._alone = 0
        self.bytes = 0

    def __len__(self) -> int:
        return len(self._calls)

    def arrive(self, ticket: int, call: object) -> None:
        """Append a call that has just come in."""
        size = self._machine.size(call)
        self._calls.append(self.number(ticket, call, size))
        self.bytes += size

    def number(self, ticket: int, call: object, size: int = 0) -> Pending:
        """Return a call or question with its place in the order of arrival."""
        self._arrivals += 1
        return Pending(self._arrivals, ticket, call, size)

    def take(self) -> list[Pending]:
        """Remove and return the calls that share the next entry; at least one must wait."""
        limit = ENTRY_CAP_BYTES if self.bytes > BACKLOG_BYTES else ENTRY_AIM_BYTES
        calls = self._calls
        first = calls.popleft()
        taken, size = [first], first.size
        if self._alone:
            self._alone -= 1
        else:
            joins = self._machine.joins
            while calls and size + calls[0].size <= limit and joins(first.call, calls[0].call):
                size += calls[0].size
                taken.append(calls.popleft())
        self.bytes -= size
        return taken

    def take_back(self, calls: Iterable[Pending]) -> None:
        """Put calls back where they stood in the order of arrival (P2)."""
        back = list(calls)
        if back:
            self.bytes += sum(call.size for call in back)
            self._calls = deque(sorted([*back, *self._calls], key=attrgetter("order")))

    def separate(self, calls: list[Pending]) -> None:
        """Put calls back, each to be decided alone: one of them does not fit (P15)."""
        self.take_back(calls)
        self._alone = len(calls)

    def remove_refused(self, limit: int) -> list[Pending]:
        """Remove and return the calls that were refused for the clock ``limit`` times."""
        gone = [call for call in self._calls if call.clock_refusals >= limit]
        if gone:
            self._calls = deque(c for c in self._calls if c.clock_refusals < limit)
            self.bytes -= sum(call.size for call in gone)
        return gone

    def count_clock_refusal(self) -> None:
        """Count one more refusal for the clock against every waiting call (P11)."""
        for call in self._calls:
            call.clock_refusals += 1

    def clear(self) -> list[Pending]:
        """Remove and return every call."""
        gone = list(self._calls)
        self._calls.clear()
        self.bytes = 0
        self._alone = 0
        return gone
