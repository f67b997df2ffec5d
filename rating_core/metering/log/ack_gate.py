"""Answers that wait for the replicas (P6): used at `AckLevel.REPLICATED` only.

A WAIT proves what was written before it *on its own connection*, nothing else: so every answer is
tied to a write of this connection made after the entry it rests on was seen, and leaves when a
WAIT that was sent after that write has returned.
"""

from __future__ import annotations

from dataclasses import dataclass

from rating_core.metering.log.flight import Batch, Verification


@dataclass(slots=True)
class _Held:
    version: int
    write: int | None
    answers: list[tuple[int, object]]
    source: Batch | Verification


class AckGate:
    """Holds answers back until their level is proved (P6). No I/O: the session sends the waits."""

    def __init__(self) -> None:
        self._held: list[_Held] = []
        self._writes = 0
        self._outstanding: int | None = None
        self.answered = 0
        """The latest version on which an answer has left that rested on it."""

    @property
    def unwritten(self) -> bool:
        """Whether an answer waits that no write of this connection stands behind."""
        return any(held.write is None for held in self._held)

    @property
    def wait_needed(self) -> bool:
        """Whether a wait should be sent now: a write is unproved and no wait is outstanding."""
        return self._outstanding is None and any(held.write is not None for held in self._held)

    def hold(
        self, version: int, answers: list[tuple[int, object]], source: Batch | Verification
    ) -> None:
        """Hold (ticket, answer) pairs that rest on the entries up to ``version``."""
        self._held.append(_Held(version, None, answers, source))

    def wrote(self, version: int) -> None:
        """Note a write of this connection, made on a head of ``version`` or as that entry."""
        self._writes += 1
        for held in self._held:
            if held.write is None and held.version <= version:
                held.write = self._writes

    def wait_sent(self) -> None:
        """Note that a wait goes out after all writes so far."""
        self._outstanding = self._writes

    def waited(self, reached: bool) -> list[tuple[int, object]]:
        """Return the answers that may leave now that the outstanding wait has returned."""
        proved = self._outstanding if reached else None
        self._outstanding = None
        if proved is None:
            return []
        free = [h for h in self._held if h.write is not None and h.write <= proved]
        self._held = [h for h in self._held if h.write is None or h.write > proved]
        self.answered = max([self.answered, *(held.version for held in free)])
        return [answer for held in free for answer in held.answers]

    def lost(self) -> list[Verification]:
        """The connection is gone: no write stands behind anything; return what must be redone.

        Committed entries stay. Answers that a check had verified are decided again, because that
        check may have asked a node that was no longer the master.
        """
        self._outstanding = None
        again = [h.source for h in self._held if isinstance(h.source, Verification)]
        self._held = [h for h in self._held if isinstance(h.source, Batch)]
        for held in self._held:
            held.write = None
        return again

    def clear(self) -> list[Batch | Verification]:
        """Forget everything and return whose answers were held."""
        sources = [held.source for held in self._held]
        self._held = []
        return sources
