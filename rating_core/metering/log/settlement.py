"""How a session settles what was refused or is unknown (P1–P5, P14): by reading the log.

The events that a driver gives are in `session.py`, what is held and sent in `outbox.py`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from rating_core.errors import LogCorrupt
from rating_core.metering.log.entry import decode_envelope
from rating_core.metering.log.flight import Batch, Pending, Verification
from rating_core.metering.log.fold import FoldRound
from rating_core.metering.log.outbox import Outbox
from rating_core.metering.log.protocol import (
    AckLevel,
    FoldRead,
    FoldWrite,
    HeadReply,
    HistoryLost,
    LogEntry,
    LogPage,
    Machine,
    Outcome,
    ReadLog,
    Reply,
    Turn,
    TurnReply,
    chain_token,
)
from rating_core.metering.log.recovery import Recovery, recover, tokens_to

PAGE_ENTRIES = 64
FIRST_PAGE_ENTRIES = 8
PAGE_BYTES = 2_000_000
"""About what one reply to a ReadLog holds, whatever the size of entries (P15)."""
YIELD_DELAY_US = 2_000
UNCERTAIN_DELAY_US = 100_000
UNCERTAIN_TRIES = 20
CLOCK_DELAY_US = 100_000
FOLD_DELAY_US = 250_000
FOLD_DELAY_PER_HASH_US = 2_000
FOLD_DELAY_MOST_US = 10_000_000
"""A round waits longer the more hashes the last one wrote: what is touched again meanwhile is
written once, and folding takes a bounded share of the time however many customers are busy."""
CORRUPT_DELAY_US = 1_000_000
TURN_AFTER_REFUSALS = 2
KNOWN_TOKENS = 1024
"""Entries whose tokens are kept, to tell how much of a history is lost when one is (P5)."""


class Settlement(Outbox):
    """Replies to commits and checks, reading the log, rolling back, rebuilding, folding."""

    page_entries = PAGE_ENTRIES

    def __init__(
        self, machine: Machine, boot: bytes, level: AckLevel, clock: Callable[[], int]
    ) -> None:
        super().__init__(machine, boot, level, clock)
        self._overtaken: list[Pending] = []
        self._lost_track: dict[bytes, Batch] = {}
        self._known: deque[tuple[int, bytes]] = deque(maxlen=KNOWN_TOKENS)
        self._former: deque[tuple[int, bytes]] = deque()
        """What was known before a rebuild, until that has read to the end."""
        self._kept, self._replaced = 0, False
        self._fold = FoldRound(machine)
        self._reading = False
        self._rebuilding = True
        self._whole = True
        self._fresh = False
        """The state was read whole on this connection; its head has not been confirmed yet."""
        self._head_seen = 0
        """The latest head that this connection told: the log reaches at least so far."""
        self._page_limit = FIRST_PAGE_ENTRIES
        self._progress = False
        self._proved = False
        self._paused = False
        self._clock_wrong = False
        self._refusals = 0
        self._fault: str | None = None
        self._recovery: Recovery | None = None

    # --- replies ---------------------------------------------------------------------------------

    def _on_commit(self, batch: Batch, reply: HeadReply) -> None:
        if reply.outcome is Outcome.OK:
            # Behind a refused entry (which an earlier copy of it may have appended) the reading
            # that is under way settles this one too.
            if self._flight and self._flight[0] is batch:
                self._confirm(batch, written=True)
            return
        batch.refusal = reply.outcome
        if reply.outcome is Outcome.FULL and not batch.uncertain:
            self._refuse(batch.calls, "FULL")  # P15
            batch.calls = []
        self._refused(reply, wait=batch.uncertain and self._hopeless(batch))

    def _on_check(self, verification: Verification, reply: HeadReply) -> None:
        self._checks.remove(verification)
        if reply.outcome is not Outcome.OK:
            self._check_failed(verification, reply)
            return
        self._proved = True
        self._fresh = False
        if verification.calls:
            self._refusals = 0
        if verification.calls or verification.questions:
            self._release(verification)
        self._gate.wrote(verification.version)
        self._arm_fold()

    def _check_failed(self, verification: Verification, reply: HeadReply) -> None:
        self._overtaken += verification.questions
        verification.questions = []
        if reply.outcome is Outcome.CLOCK:
            for call in verification.calls:
                call.clock_refusals += 1
        self._take_back(verification)  # P2: decided anew
        self._refused(reply)

    def _confirm(self, batch: Batch, *, written: bool) -> None:
        """The oldest entry in flight is in the log: make it committed, answer its calls."""
        self._flight.popleft()
        self._machine.confirm(batch.version, batch.token)
        self._learn(batch.version, batch.token)
        self._refusals = 0
        self._deliver(batch)
        if written:
            self._gate.wrote(batch.version)
        self._arm_fold()

    # --- refusals and unknown outcomes -----------------------------------------------------------

    def _refused(self, reply: HeadReply, wait: bool = False) -> None:
        """Redis refused something of ours: settle it by reading, once for a burst of refusals."""
        if reply.outcome is Outcome.CLOCK and not self._clock_wrong:
            self._clock_wrong = True
            self._timer("clock", CLOCK_DELAY_US)
        if self._reading or self._paused:
            return
        if reply.outcome is Outcome.MOVED:
            self._refusals += 1
            if self._diverged(reply):
                ours = self._machine.version
                self._unreadable(f"the log ends at {ours}, its head is another {reply.version}")
                return
            self._head_seen = reply.version
        if reply.outcome is Outcome.YIELD or wait:
            self._paused = True
            delay = YIELD_DELAY_US if reply.outcome is Outcome.YIELD else UNCERTAIN_DELAY_US
            self._timer("settle", delay)
            return
        self._read_on()

    def _diverged(self, reply: HeadReply) -> bool:
        # P5: a head before our committed version, or another entry at it, is another history.
        machine = self._machine
        if reply.version != machine.version:
            return reply.version < machine.version
        return reply.token != machine.token

    def _hopeless(self, batch: Batch) -> bool:
        return batch.refusal in (Outcome.CLOCK, Outcome.FULL)

    def _may_resend(self, batch: Batch) -> bool:
        # P3: while no foreign entry has taken its place, a copy of an uncertain entry may still be
        # appended; only the same bytes are safe. One that was never uncertain and was refused for
        # clock or memory is gone for good. After 2 s of such refusals on a live connection no older
        # connection has commands left.
        if not self._hopeless(batch):
            return True
        return batch.uncertain and batch.resends < UNCERTAIN_TRIES

    def _roll_back(self) -> None:
        # P2: the entry and all that were decided on top of it, in order of arrival.
        self._machine.unstage()
        for batch in self._flight:
            if batch.refusal is Outcome.CLOCK:
                for call in batch.calls:
                    call.clock_refusals += 1
            self._queue.take_back(batch.calls)
        self._flight.clear()

    def _on_turn(self, reply: TurnReply) -> None:
        if reply.granted:
            self._refusals = 0

    # --- reading the log -------------------------------------------------------------------------

    def _read_on(self) -> None:
        self._progress = self._progress and self._reading
        self._reading = True
        limit = min(self._page_limit, self.page_entries)
        self._send(ReadLog(self._machine.version, limit), lambda page: self._on_page(page, limit))

    def _on_page(self, page: LogPage, limit: int) -> None:
        for entry in page.entries:
            if entry.version > self._machine.version + 1 and not self._flight:
                self._behind(entry)
                return
            try:
                self._take_entry(entry)
            except LogCorrupt as error:
                self._unreadable(f"entry {entry.version}: {error}")
                return
            self._progress = True
        size = sum(len(entry.entry) for entry in page.entries)
        if size:
            self._page_limit = max(1, PAGE_BYTES * len(page.entries) // size)
        if len(page.entries) == limit:
            self._read_on()
        else:
            self._end_reading()

    # --- a log that was trimmed (P9, P10) --------------------------------------------------------

    def _behind(self, entry: LogEntry) -> None:
        """The log goes on later than our state: the archive has what lies between."""
        if self._whole:
            self._recovery = self._recovering(entry)
            self._recover(None)
        else:
            self._rebuild()

    def _recovering(self, first: LogEntry) -> Recovery:
        problem = yield from recover(self._machine, first)
        if problem:
            return problem
        self._known.clear()
        version, token = self._machine.version, self._machine.token
        if self._former or self._lost_track:
            # The snapshot stands after entries that we knew, or look for: the log has them (P3).
            for seen in (yield from tokens_to(first, version, self._former)):
                self._recognise(*seen)
        if not self._known or self._known[-1] != (version, token):
            self._known.clear()
            self._learn(version, token)
        return ""

    def _recover(self, reply: Reply | None) -> None:
        if self._recovery is None:
            return
        try:
            command = self._recovery.send(reply)
        except StopIteration as end:
            self._recovery = None
            if end.value:
                self._unreadable(end.value)
            else:
                self._read_on()
        else:
            self._send(command, self._recover)

    def _continues(self, entry: LogEntry) -> bool:
        # P5: nothing left out, and the chain is ours up to here.
        machine = self._machine
        return entry.version == machine.version + 1 and entry.previous == machine.token

    def _take_entry(self, entry: LogEntry) -> None:
        if not self._continues(entry):
            raise LogCorrupt("it does not continue the log")
        token = chain_token(entry.previous, entry.entry)  # P5: computed, never believed
        if self._flight and self._flight[0].token == token:
            self._confirm(self._flight[0], written=False)  # P3: an unknown outcome was OK
            return
        if self._flight:
            self._roll_back()  # P3: a foreign entry has taken the place of ours
        envelope = decode_envelope(entry.entry)
        self._machine.apply(envelope.body, envelope.now, entry.version, token)
        self._recognise(entry.version, token)

    def _recognise(self, version: int, token: bytes) -> None:
        self._learn(version, token)
        own = self._lost_track.pop(token, None)
        if own is not None:
            self._deliver(own)

    def _learn(self, version: int, token: bytes) -> None:
        """Note an entry that is committed, and compare it with what was known before a rebuild."""
        self._known.append((version, token))
        if self._former and self._former[0][0] <= version <= self._former[-1][0]:
            if self._former[version - self._former[0][0]][1] == token:
                self._kept = version
            else:
                self._replaced = True

    def _end_reading(self) -> None:
        if self._machine.version < self._head_seen:
            ours = self._machine.version
            self._unreadable(f"the log ends at {ours}, its head is at {self._head_seen}")
            return
        self._fresh = self._fresh or self._whole
        self._reading = self._rebuilding = self._whole = False
        self._fault = None
        if self._former:
            version, token = self._former[-1]
            if self._replaced or self._machine.version < version:
                replicated = self._level is AckLevel.REPLICATED
                answered = self._gate.answered if replicated else version
                self._effects.append(HistoryLost(self._kept, version, token, answered))
                self._gate.answered = min(self._gate.answered, self._kept)
            self._former.clear()
        for batch in self._lost_track.values():
            self._queue.take_back(batch.calls)  # not in this log: decided anew
        self._lost_track.clear()
        self._serve_overtaken()
        if self._refusals >= TURN_AFTER_REFUSALS:
            self._send(Turn(self._boot), self._on_turn)  # P14
        if self._flight:
            if self._may_resend(self._flight[0]):
                for batch in self._flight:
                    batch.resends += self._hopeless(batch)
                    self._commit(batch)  # P3: the same bytes
            else:
                self._roll_back()
        if not self._proved or self._gate.unwritten:
            version, token, now = self._head()
            self._check(Verification(version, token), now)  # P1: first thing on a connection
        self._arm_fold()

    def _serve_overtaken(self) -> None:
        """Answer questions whose check came too late, or ask again.

        The reading was sent after they were asked. If it found entries, and ended, its end was the
        head at that instant, which is what a check would prove: so a busy log starves no question.
        """
        questions, self._overtaken = self._overtaken, []
        if self._progress and self._level is not AckLevel.REPLICATED:
            machine = self._machine
            self._release(Verification(machine.version, machine.token, questions=questions))
        else:
            self._questions = [*questions, *self._questions]

    def _rebuild(self) -> None:
        """Our history is not the log's: discard the state and read it all again (P5)."""
        for batch in self._flight:
            self._lost_track[batch.token] = batch
        for source in self._gate.clear():
            if isinstance(source, Batch):
                self._lost_track[source.token] = source
            else:
                self._take_back(source)
        self._flight.clear()
        if not self._former:
            self._former = self._known.copy()
        self._known.clear()
        self._kept, self._replaced = 0, False
        self._machine.unstage()
        self._machine.reset()
        self._fold.reset()
        self._rebuilding = self._whole = True
        self._proved = self._fresh = False
        self._head_seen = 0
        self._recovery = None
        self._read_on()

    def _unreadable(self, reason: str) -> None:
        """What the log or its head says does not fit our state: read all again, or give up (P5)."""
        if self._whole or self._fresh:
            # Read from its first entry on one connection: it is the log that is wrong, not us.
            self._fault = reason
            self._reading = True  # and nothing is decided until it has been read once more
            self._timer("corrupt", CORRUPT_DELAY_US)
        else:
            self._rebuild()

    # --- folding (P7, P8) ------------------------------------------------------------------------

    def _arm_fold(self) -> None:
        if not self._fold.active and "fold" not in self._timers:
            delay = max(FOLD_DELAY_US, FOLD_DELAY_PER_HASH_US * self._fold.hashes)
            self._timer("fold", min(delay, FOLD_DELAY_MOST_US))

    def _begin_fold(self) -> None:
        if self._fold.active or not self._fold.needed:
            return
        if self._connected and self._proved and not self._reading:
            self._send_fold(self._fold.begin())
        else:
            self._arm_fold()

    def _send_fold(self, command: FoldRead | FoldWrite | None) -> None:
        if command is None:
            if self._fold.needed:
                self._arm_fold()
            return
        step = self._fold.on_read if isinstance(command, FoldRead) else self._fold.on_write
        self._send(command, lambda reply: self._on_fold(step, reply))

    def _on_fold(self, step: Callable[[Any], FoldRead | FoldWrite | None], reply: Reply) -> None:
        if self._fold.active:
            self._send_fold(step(reply))
