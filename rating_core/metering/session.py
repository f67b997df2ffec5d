"""The commit protocol of one log, sans I/O (DESIGN §6, rules P1–P9, P11, P14, P15).

Events in (`submit`, `ask`, `flush`, `on_connected`, `on_lost`, `on_reply`, `on_timer`, `close`),
commands and effects out (`take_commands`, `take_effects`, to be drained after every event). The
driver only moves bytes; the simulation in tests/simulation drives this very code.

The session's view of the log is its machine: committed state at (version, token), and up to three
entries in flight staged on top of it. Whatever was refused or is unknown is settled in one way:
read the log after the committed version, find there what was one's own, and only then go on.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

from rating_core.errors import IndexFull, LogCorrupt
from rating_core.metering.ack_gate import AckGate
from rating_core.metering.entry import decode_envelope, encode_envelope
from rating_core.metering.flight import GROUP_BYTES, Batch, CallQueue, Pending, Verification
from rating_core.metering.fold import FoldRound
from rating_core.metering.protocol import (
    AckLevel,
    Answer,
    Check,
    Command,
    Commit,
    Effect,
    FoldRead,
    FoldWrite,
    HeadReply,
    LogEntry,
    LogPage,
    Machine,
    Outcome,
    ReadLog,
    Reconnect,
    Refuse,
    Reply,
    SetTimer,
    Turn,
    TurnReply,
    Wait,
    WaitReply,
    chain_token,
)

MAX_IN_FLIGHT = 3
PAGE_ENTRIES = 64
GROUP_DELAY_US = 2_000
YIELD_DELAY_US = 2_000
UNCERTAIN_DELAY_US = 100_000
UNCERTAIN_TRIES = 20
CLOCK_DELAY_US = 100_000
CLOCK_TRIES = 3
FOLD_DELAY_US = 250_000
CORRUPT_DELAY_US = 1_000_000
TURN_AFTER_REFUSALS = 2


class ShardSession:
    """One server's session on one log; generic over the machine (usage shard or catalogue).

    ``boot`` is 16 bytes that no other run of a server shares (P4), ``level`` what must be certain
    before an answer leaves, ``clock`` returns µs UTC. Every ticket given to `submit` or `ask` gets
    exactly one `Answer` or `Refuse` unless the store never answers.
    """

    page_entries = PAGE_ENTRIES

    def __init__(
        self, machine: Machine, boot: bytes, level: AckLevel, clock: Callable[[], int]
    ) -> None:
        self._machine = machine
        self._boot = boot
        self._level = level
        self._clock = clock
        self._counter = 0
        self._queue = CallQueue(machine)
        self._questions: list[Pending] = []
        self._overtaken: list[Pending] = []
        self._flight: deque[Batch] = deque()
        self._lost_track: dict[bytes, Batch] = {}
        self._gate = AckGate()
        self._fold = FoldRound(machine)
        self._commands: list[Command] = []
        self._effects: list[Effect] = []
        self._expected: deque[Callable[[Any], None]] = deque()
        self._timers: set[str] = set()
        self._checks: list[Verification] = []
        self._connected = False
        self._reading = False
        self._rebuilding = True
        self._whole = True
        self._progress = False
        self._proved = False
        self._paused = False
        self._clock_wrong = False
        self._due = False
        self._refusals = 0
        self._closed = False
        self._fault: str | None = None

    # --- what the driver sees --------------------------------------------------------------------

    @property
    def ready(self) -> bool:
        """Whether the session serves: state built, head proved, clock good."""
        return self._proved and not self._rebuilding and not self._clock_wrong and not self._closed

    @property
    def fault(self) -> str | None:
        """Why the log cannot be read (LogCorrupt), or None."""
        return self._fault

    @property
    def in_flight(self) -> int:
        """The number of entries sent and not yet settled, 0–3."""
        return len(self._flight)

    @property
    def queued_bytes(self) -> int:
        """About how many bytes of entries the waiting calls will need."""
        return self._queue.bytes

    def take_commands(self) -> list[Command]:
        """Return the commands to send, in order, on the present connection."""
        commands, self._commands = self._commands, []
        return commands

    def take_effects(self) -> list[Effect]:
        """Return what the surroundings must do: answers, refusals, timers, a new connection."""
        effects, self._effects = self._effects, []
        return effects

    def submit(self, ticket: int, call: object) -> None:
        """Take a call to be decided; `flush` follows at the end of the driver's event."""
        if self._closed:
            self._refuse([Pending(0, ticket, call, 0)], "CLOSED")
        else:
            self._queue.arrive(ticket, call)

    def ask(self, ticket: int, question: object) -> None:
        """Take a question about committed state; `flush` follows."""
        if self._closed:
            self._refuse([Pending(0, ticket, question, 0)], "CLOSED")
        else:
            self._questions.append(self._queue.number(ticket, question))

    def flush(self) -> None:
        """Decide what waits, if it is time: called once after a burst of `submit` and `ask`."""
        if not self._connected or self._reading or not self._proved or self._paused:
            return
        if self._questions:
            version, token, now = self._head()
            questions, self._questions = self._questions, []
            self._check(Verification(version, token, questions=questions), now)
        while not self._clock_wrong and len(self._queue) and len(self._flight) < MAX_IN_FLIGHT:
            if self._should_group():
                self._timer("group", GROUP_DELAY_US)
                return
            self._decide(self._queue.take())
        self._due = self._due and len(self._queue) > 0

    def on_connected(self) -> None:
        """A new connection is there: see what the log holds before anything else (P1, P3)."""
        if self._connected:
            self.on_lost()
        if not self._closed:
            self._connected = True
            self._whole = self._machine.version == 0
            self._read_on()

    def on_lost(self) -> None:
        """The connection is gone: what was outstanding has no known outcome (P3)."""
        self._connected = self._reading = self._proved = self._paused = False
        self._commands.clear()
        self._expected.clear()
        for batch in self._flight:
            batch.uncertain = batch.uncertain or batch.refusal is None
        for verification in [*self._checks, *self._gate.lost()]:
            self._take_back(verification)
        self._checks.clear()
        self._questions, self._overtaken = [*self._overtaken, *self._questions], []
        self._fold.drop()

    def on_reply(self, reply: Reply) -> None:
        """Take the reply to the oldest outstanding command."""
        if self._closed:
            return
        if not self._expected:
            self.on_lost()
            self._effects.append(Reconnect("a reply that no command asked for"))
            return
        self._expected.popleft()(reply)
        self._send_waits()
        self.flush()

    def on_timer(self, name: str) -> None:
        """A timer set by `SetTimer` has run out."""
        self._timers.discard(name)
        if self._closed:
            return
        if name == "group":
            self._due = True
        elif name == "settle" and self._paused:
            self._paused = False
            self._read_on()
        elif name == "clock":
            self._probe_clock()
        elif name == "fold":
            self._begin_fold()
        elif name == "corrupt" and self._connected and self._fault:
            self._rebuild()
        self.flush()

    def close(self) -> None:
        """End the session: every call that has no answer is refused as CLOSED."""
        self.on_lost()
        for batch in [*self._flight, *self._lost_track.values()]:
            self._refuse(batch.calls, "CLOSED")
        for source in self._gate.clear():
            self._refuse(source.calls, "CLOSED")
        self._refuse([*self._queue.clear(), *self._questions], "CLOSED")
        self._questions = []
        self._flight.clear()
        self._lost_track.clear()
        self._machine.unstage()
        self._closed = True

    def _should_group(self) -> bool:
        # With nothing in flight waiting gains nothing; else calls share the next entry (DESIGN §8).
        return bool(self._flight) and not self._due and self._queue.bytes < GROUP_BYTES

    # --- deciding --------------------------------------------------------------------------------

    def _head(self) -> tuple[int, bytes, int]:
        """Return version, token and now of the provisional head: after all that is in flight."""
        if self._flight:
            last = self._flight[-1]
            return last.version, last.token, max(last.now, self._machine.now)
        return self._machine.version, self._machine.token, self._machine.now

    def _decide(self, calls: list[Pending]) -> None:
        version, token, last_now = self._head()
        now = max(self._clock(), last_now)  # P11: never behind the log
        try:
            decision = self._machine.decide([call.call for call in calls], now)
        except IndexFull:
            if len(calls) == 1:
                self._refuse(calls, "FULL")  # P15: no id is forgotten to make room
            else:
                self._queue.separate(calls)
            return
        if decision.body is None:
            self._verify(Verification(version, token, calls, decision.answers), now)
            return
        self._counter += 1
        entry = encode_envelope(self._boot, self._counter, now, decision.body)  # P4
        new_token = chain_token(token, entry)
        self._machine.stage(decision, now)  # P1: the next decision sees it
        batch = Batch(version + 1, token, new_token, now, entry, decision, calls)
        self._flight.append(batch)
        self._commit(batch)

    def _commit(self, batch: Batch) -> None:
        batch.refusal = None
        self._send(
            Commit(
                batch.version - 1, batch.previous, batch.token, batch.now, self._boot, batch.entry
            ),
            lambda reply: self._on_commit(batch, reply),
        )

    def _verify(self, verification: Verification, now: int) -> None:
        # P1: an answer without an entry leaves only when the head is found, after the decision, to
        # be the one it was decided on. P2: that head includes everything in flight.
        self._check(verification, now)

    def _check(self, verification: Verification, now: int) -> None:
        self._checks.append(verification)
        touch = self._level is AckLevel.REPLICATED  # P6: the wait needs a write
        self._send(
            Check(verification.version, verification.token, now, touch),
            lambda reply: self._on_check(verification, reply),
        )

    # --- replies ---------------------------------------------------------------------------------

    def _on_commit(self, batch: Batch, reply: HeadReply) -> None:
        if reply.outcome is Outcome.OK:
            # Behind a refused entry (which an earlier copy of it may have appended) the reading
            # that is under way settles this one too.
            if self._flight and self._flight[0] is batch:
                self._confirm(batch, written=True)
            return
        batch.refusal = reply.outcome
        if reply.outcome is Outcome.FULL:
            self._refuse(batch.calls, "FULL")  # P15
            batch.calls = []
        self._refused(reply, wait=batch.uncertain and self._hopeless(batch))

    def _on_check(self, verification: Verification, reply: HeadReply) -> None:
        self._checks.remove(verification)
        if reply.outcome is not Outcome.OK:
            self._check_failed(verification, reply)
            return
        self._proved = True
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
        self._refusals = 0
        self._deliver(batch)
        if written:
            self._gate.wrote(batch.version)
        self._arm_fold()

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
                self._rebuild()
                return
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

    def _read_on(self) -> None:
        self._progress = self._progress and self._reading
        self._reading = True
        self._send(ReadLog(self._machine.version, self.page_entries), self._on_page)

    def _on_page(self, page: LogPage) -> None:
        for entry in page.entries:
            try:
                self._take_entry(entry)
            except LogCorrupt as error:
                self._unreadable(str(error))
                return
            self._progress = True
        if len(page.entries) == self.page_entries:
            self._read_on()
        else:
            self._end_reading()

    def _continues(self, entry: LogEntry) -> bool:
        # P5: nothing left out, and the chain is ours up to here.
        machine = self._machine
        return entry.version == machine.version + 1 and entry.previous == machine.token

    def _take_entry(self, entry: LogEntry) -> None:
        if not self._continues(entry):
            raise LogCorrupt(f"entry {entry.version} does not continue the log")
        token = chain_token(entry.previous, entry.entry)  # P5: computed, never believed
        if self._flight and self._flight[0].token == token:
            self._confirm(self._flight[0], written=False)  # P3: an unknown outcome was OK
            return
        if self._flight:
            self._roll_back()  # P3: a foreign entry has taken the place of ours
        envelope = decode_envelope(entry.entry)
        self._machine.apply(envelope.body, envelope.now, entry.version, token)
        own = self._lost_track.pop(token, None)
        if own is not None:
            self._deliver(own)

    def _end_reading(self) -> None:
        self._reading = self._rebuilding = self._whole = False
        self._fault = None
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

    def _take_back(self, verification: Verification) -> None:
        self._queue.take_back(verification.calls)
        self._questions += verification.questions

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
        self._machine.unstage()
        self._machine.reset()
        self._fold.reset()
        self._rebuilding = self._whole = True
        self._proved = False
        self._read_on()

    def _unreadable(self, reason: str) -> None:
        if self._whole:
            # Read from its first entry on one connection: it is the log that is wrong, not us.
            self._fault = reason
            self._timer("corrupt", CORRUPT_DELAY_US)
        else:
            self._rebuild()

    def _on_turn(self, reply: TurnReply) -> None:
        if reply.granted:
            self._refusals = 0

    # --- the clock (P11) -------------------------------------------------------------------------

    def _probe_clock(self) -> None:
        if not self._clock_wrong:
            return
        self._timer("clock", CLOCK_DELAY_US)  # first: the probe's reply may be lost
        if not self._connected or self._reading or self._paused or not self._proved:
            return
        version, token, now = self._head()
        check = Check(version, token, max(self._clock(), now), touch=False)
        self._send(check, self._on_clock_probe)

    def _on_clock_probe(self, reply: HeadReply) -> None:
        if reply.outcome is Outcome.OK:
            self._clock_wrong = False
            return
        if reply.outcome is Outcome.CLOCK:
            self._queue.count_clock_refusal()
            self._refuse(self._queue.remove_refused(CLOCK_TRIES), "CLOCK")
        else:
            self._refused(reply)

    # --- folding (P7, P8) ------------------------------------------------------------------------

    def _arm_fold(self) -> None:
        if not self._fold.active and "fold" not in self._timers:
            self._timer("fold", FOLD_DELAY_US)

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

    # --- output ----------------------------------------------------------------------------------

    def _send(self, command: Command, handler: Callable[[Any], None]) -> None:
        self._commands.append(command)
        self._expected.append(handler)

    def _timer(self, name: str, delay: int) -> None:
        if name not in self._timers:
            self._timers.add(name)
            self._effects.append(SetTimer(name, delay))

    def _refuse(self, calls: Iterable[Pending], reason: str) -> None:
        self._effects += [Refuse(call.ticket, reason) for call in calls]
