"""The base of a session: what it holds, what it sends, and how answers leave it.

The state machine above it is `settlement.py`, the events are in `session.py`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

from rating_core.metering.log.ack_gate import AckGate
from rating_core.metering.log.flight import Batch, CallQueue, Pending, Verification
from rating_core.metering.log.protocol import (
    AckLevel,
    Answer,
    Check,
    Command,
    Commit,
    Effect,
    HeadReply,
    Machine,
    Refuse,
    SetTimer,
    Wait,
    WaitReply,
)


class Outbox(ABC):
    """Calls, entries in flight and answers of one session, and its output."""

    def __init__(
        self, machine: Machine, boot: bytes, level: AckLevel, clock: Callable[[], int]
    ) -> None:
        self._machine = machine
        self._boot = boot
        self._level = level
        self._clock = clock
        self._queue = CallQueue(machine)
        self._questions: list[Pending] = []
        self._flight: deque[Batch] = deque()
        self._checks: list[Verification] = []
        self._gate = AckGate()
        self._commands: list[Command] = []
        self._effects: list[Effect] = []
        self._expected: deque[Callable[[Any], None]] = deque()
        self._timers: set[str] = set()
        self._connected = False

    def take_commands(self) -> list[Command]:
        """Return the commands to send, in order, on the present connection."""
        commands, self._commands = self._commands, []
        return commands

    def take_effects(self) -> list[Effect]:
        """Return what the surroundings must do: answers, refusals, timers, a new connection."""
        effects, self._effects = self._effects, []
        return effects

    def _head(self) -> tuple[int, bytes, int]:
        """Return version, token and now of the provisional head: after all that is in flight."""
        if self._flight:
            last = self._flight[-1]
            return last.version, last.token, max(last.now, self._machine.now)
        return self._machine.version, self._machine.token, self._machine.now

    # --- commands --------------------------------------------------------------------------------

    def _send(self, command: Command, handler: Callable[[Any], None]) -> None:
        self._commands.append(command)
        self._expected.append(handler)

    def _timer(self, name: str, delay: int) -> None:
        if name not in self._timers:
            self._timers.add(name)
            self._effects.append(SetTimer(name, delay))

    def _commit(self, batch: Batch) -> None:
        batch.refusal = None
        self._send(
            Commit(
                batch.version - 1, batch.previous, batch.token, batch.now, self._boot, batch.entry
            ),
            lambda reply: self._on_commit(batch, reply),
        )

    def _check(self, verification: Verification, now: int) -> None:
        self._checks.append(verification)
        touch = self._level is AckLevel.REPLICATED  # P6: the wait needs a write
        self._send(
            Check(verification.version, verification.token, now, touch),
            lambda reply: self._on_check(verification, reply),
        )

    @abstractmethod
    def _on_commit(self, batch: Batch, reply: HeadReply) -> None:
        """Take the reply to a commit."""

    @abstractmethod
    def _on_check(self, verification: Verification, reply: HeadReply) -> None:
        """Take the reply to a check."""

    # --- answers ---------------------------------------------------------------------------------

    def _deliver(self, batch: Batch) -> None:
        answers = self._paired(batch.calls, batch.decision.answers) if batch.calls else []
        self._answer(batch.version, answers, batch)

    def _release(self, verification: Verification) -> None:
        answers = self._paired(verification.calls, verification.answers)
        query = self._machine.query
        answers += [(asked.ticket, query(asked.call)) for asked in verification.questions]
        self._answer(verification.version, answers, verification)

    def _answer(
        self, version: int, answers: list[tuple[int, object]], source: Batch | Verification
    ) -> None:
        if not answers:
            return
        if self._level is AckLevel.REPLICATED:
            self._gate.hold(version, answers, source)  # P6
        else:
            self._effects += [Answer(ticket, answer) for ticket, answer in answers]

    @staticmethod
    def _paired(calls: list[Pending], answers: Iterable[object]) -> list[tuple[int, object]]:
        return [(call.ticket, answer) for call, answer in zip(calls, answers, strict=True)]

    def _send_waits(self) -> None:
        if self._connected and self._gate.wait_needed:
            self._gate.wait_sent()
            self._send(Wait(), self._on_wait)

    def _on_wait(self, reply: WaitReply) -> None:
        self._effects += [Answer(*pair) for pair in self._gate.waited(reply.reached)]

    def _refuse(self, calls: Iterable[Pending], reason: str) -> None:
        self._effects += [Refuse(call.ticket, reason) for call in calls]

    def _take_back(self, verification: Verification) -> None:
        self._queue.take_back(verification.calls)
        self._questions += verification.questions
