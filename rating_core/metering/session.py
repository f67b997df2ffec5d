"""The commit protocol of one log, sans I/O (DESIGN §6, rules P1–P9, P11, P14, P15).

Events in (`submit`, `ask`, `flush`, `on_connected`, `on_lost`, `on_reply`, `on_timer`, `close`),
commands and effects out (`take_commands`, `take_effects`, to be drained after every event). The
driver only moves bytes; the simulation in tests/simulation drives this very code.

The session's view of the log is its machine: committed state at (version, token), and up to three
entries in flight staged on top of it. Whatever was refused or is unknown is settled in one way:
read the log after the committed version, find there what was one's own, and only then go on.
"""

from __future__ import annotations

from collections.abc import Callable

from rating_core.errors import IndexFull
from rating_core.metering.log.entry import encode_envelope
from rating_core.metering.log.flight import GROUP_BYTES, Batch, Pending, Verification
from rating_core.metering.log.protocol import (
    AckLevel,
    Check,
    HeadReply,
    Machine,
    Outcome,
    Reconnect,
    Reply,
    chain_token,
)
from rating_core.metering.log.settlement import CLOCK_DELAY_US, Settlement

MAX_IN_FLIGHT = 3
GROUP_DELAY_US = 2_000
CLOCK_TRIES = 3


class ShardSession(Settlement):
    """One server's session on one log; generic over the machine (usage shard or catalogue).

    ``boot`` is 16 bytes that no other run of a server shares (P4), ``level`` what must be certain
    before an answer leaves, ``clock`` returns µs UTC. Every ticket given to `submit` or `ask` gets
    exactly one `Answer` or `Refuse` unless the store never answers. A ``prompt`` session decides
    what waits with each reply and timer; of another one the driver calls `flush` while `due`, so
    that it may give many sessions their turns (ADR 23).
    """

    def __init__(
        self,
        machine: Machine,
        boot: bytes,
        level: AckLevel,
        clock: Callable[[], int],
        *,
        prompt: bool = True,
    ) -> None:
        super().__init__(machine, boot, level, clock)
        self._prompt = prompt
        self._counter = 0
        self._due = False
        self._closed = False

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

    @property
    def due(self) -> bool:
        """Whether `flush` has something to do now: to decide, to ask, or to set a timer for it."""
        if not self._may_decide():
            return False
        room = not self._clock_wrong and len(self._flight) < MAX_IN_FLIGHT
        waits = room and len(self._queue) > 0
        # While calls wait for company, the timer will tell.
        grouping = "group" in self._timers and self._should_group()
        return bool(self._questions) or (waits and not grouping)

    @property
    def hurried(self) -> bool:
        """Whether a question or a small call waits: its sender waits for one round trip."""
        return bool(self._questions) or self._queue.hurried

    @property
    def awaited(self) -> bool:
        """Whether a question or a small call waits for a reply of the store."""
        sent = [*[batch.calls for batch in self._flight], *[each.calls for each in self._checks]]
        small = any(self._queue.is_small(call) for calls in sent for call in calls)
        return small or any(check.questions for check in self._checks)

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

    def flush(self, most: int = MAX_IN_FLIGHT) -> None:
        """Decide what waits, if it is time, in at most ``most`` entries: after a burst of calls."""
        if not self._may_decide():
            return
        if self._questions:
            version, token, now = self._head()
            questions, self._questions = self._questions, []
            self._check(Verification(version, token, questions=questions), now)
        while not self._clock_wrong and len(self._queue) and len(self._flight) < MAX_IN_FLIGHT:
            if self._should_group():
                self._timer("group", GROUP_DELAY_US)
                return
            if not most:
                return
            most -= 1
            self._decide(self._queue.take())
        self._due = self._due and len(self._queue) > 0

    def _may_decide(self) -> bool:
        return self._connected and not self._reading and self._proved and not self._paused

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
        self._fresh = False
        self._head_seen = 0
        if self._recovery is not None:
            self._recovery = None  # it begins again: half of one knows not what the log has kept
            self._machine.reset()
            self._known.clear()
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
        if self._prompt:
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
        if self._prompt:
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

    # --- deciding --------------------------------------------------------------------------------

    def _should_group(self) -> bool:
        # With nothing in flight waiting gains nothing; else calls share the next entry (DESIGN §8).
        return bool(self._flight) and not self._due and self._queue.bytes < GROUP_BYTES

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

    def _verify(self, verification: Verification, now: int) -> None:
        # P1: an answer without an entry leaves only when the head is found, after the decision, to
        # be the one it was decided on. P2: that head includes everything in flight.
        self._check(verification, now)

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
