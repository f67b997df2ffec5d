"""The simulated world: clients that resend, two servers with the real session, Redis, faults.

A history is a list of atomic actions with every random choice among their arguments, so the same
list always gives the same run and any part of it may be left out. `World.act` returns False and
changes nothing where an action cannot happen. A broken invariant raises `Violation`.

The truth is not taken from any machine: every entry that Redis appends is read by its subject and
folded here in plain Python, one state for each chain token.
"""

from __future__ import annotations

from collections import Counter

from archive_model import ArchiveModel, Archiver
from promises import Promises
from redis_model import Connection, Node, RedisModel, State
from truth import DAY_US, START_US, WINDOW_US, Violation

from rating_core.metering.log.archiver import ArchiveRound
from rating_core.metering.log.entry import decode_envelope, encode_envelope
from rating_core.metering.log.protocol import (
    EMPTY_TOKEN,
    AckLevel,
    Answer,
    HistoryLost,
    Reconnect,
    SetTimer,
    chain_token,
)

FINAL = ("CONFLICT", "TOO_OLD", "PERIOD_CLOSED")


class Call:
    """One attempt of a client: records, a control, or a question."""

    __slots__ = (
        "began",
        "client",
        "control",
        "ended",
        "era",
        "number",
        "open",
        "records",
        "recount",
        "stable",
    )


class Server:
    """One process: its session, its tickets and its timers, and a clock that may be wrong."""

    __slots__ = ("archiver", "boots", "calls", "connection", "index", "session", "skew", "timers")

    def __init__(self, index):
        self.index = index
        self.boots = 0
        self.skew = 0
        self.session = None
        self.connection = None
        self.calls = {}
        self.timers = {}


class World(Promises):
    """One simulated installation. ``config`` fixes level, payloads and sizes; see drawing.py."""

    def __init__(
        self,
        config,
        subject,
        session_class,
        broken=frozenset(),
        coverage=None,
        round_class=ArchiveRound,
    ):
        self.subject = subject
        self.session_class = session_class
        self.replicated = config["level"] == "replicated"
        self.level = AckLevel.REPLICATED if self.replicated else AckLevel.DURABLE
        self.config = config
        self.coverage = Counter() if coverage is None else coverage
        self.archive = ArchiveModel(self.coverage, broken)
        self.redis = RedisModel(self._appended, self._trimmed, self.archive, self.coverage, broken)
        self.time = START_US
        self.step = 0
        self.trace = None
        self.era = 0
        self.truth = {EMPTY_TOKEN: subject.truth()}
        self.parents = {}
        self.versions = {EMPTY_TOKEN: 0}
        state = State()
        for now, body in subject.seeds:
            entry = encode_envelope(bytes(16), state.version + 1, now, body)
            token = chain_token(state.token, entry)
            self._appended(None, state.token, token, entry)
            new = state.copy()
            new.log = (*state.log, (token, state.token, entry))
            new.version, new.token, new.now = state.version + 1, token, now
            state = new
        self.master = Node([state])
        self.nodes = [self.master]
        self.connections = []
        self.network = []
        self.calls = []
        self.acknowledged = []
        self.rejected = []
        self.recounts = []
        self.grants_answered = 0
        t = self.time
        old = t - WINDOW_US + 3 * DAY_US
        soon = t + 2 * DAY_US
        first = ("r1", "a", 1, t, "x")
        other = first if config["same"] else ("r1", "a", 2, t, "x")
        self.todo = [
            dict(
                enumerate(
                    [
                        first,
                        ("r2", "a", 4, old, "y"),
                        ("r4", "b", 64, t, "x"),
                        ("r6", "a", 1024, soon, "x"),
                    ]
                )
            ),
            dict(
                enumerate(
                    [
                        ("r3", "a", 16, t, "x"),
                        other,
                        ("r5", "b", 256, t, "y"),
                        ("r6", "a", 1024, soon, "x"),
                    ]
                )
            ),
        ]
        self.servers = [Server(0), Server(1)]
        for server in self.servers:
            server.archiver = Archiver(self, server, round_class)
            self._start(server)

    def say(self, *words):
        if self.trace is not None:
            self.trace.append(f"{self.step:4d} " + " ".join(str(word) for word in words))

    # --- Redis ---------------------------------------------------------------------------------

    def _appended(self, node, previous, token, entry):
        """See an append: everything that an entry may not do to the state it stands on."""
        envelope = decode_envelope(entry)
        records, control, increments = self.subject.meaning(envelope.body)
        before = self.truth[previous]
        seen = set()
        for record in records:
            if record[0] in before.ids or record[0] in seen:
                raise Violation(f"DOUBLE: {record[0]} is counted twice")
            seen.add(record[0])
            if record[1] in before.closed:
                raise Violation(f"ORDER: {record[0]} is counted after its period was closed")
            if not before.covers(record):
                raise Violation(f"ORDER: {record[0]} is counted without a subscription")
        if control:
            op, customer, request_id, value = control
            if request_id and request_id in before.requests:
                raise Violation(f"DOUBLE: request {request_id} is carried out twice")
            if op == "close":
                if customer in before.closed:
                    raise Violation("DOUBLE: a period is closed twice")
                if value != before.held(customer):
                    raise Violation("CLOSE: the entry does not hold the counters it closes")
        if token not in self.truth:
            self.truth[token] = before.after(records, control, increments, envelope.now)
            self.parents[token] = previous
            self.versions[token] = self.versions[previous] + 1
        if self.trace is not None and node is not None:
            ids = [record[0] for record in records]
            self.say("  appended", self.versions[token], token.hex()[:4], ids, control or "")

    def _trimmed(self, state):
        """See a trim: nothing may go that is not to be had again (P8, P10)."""
        if state.first > max(state.mark, 1):
            raise Violation(f"TRIM: the log begins at {state.first}, F is {state.mark}")
        problem = self.archive.leads_to(state)
        if problem:
            raise Violation(f"TRIM: the log begins at {state.first}: {problem}")

    def head(self):
        return self.master.history[-1]

    def head_truth(self):
        return self.truth[self.master.history[-1].token]

    def _execute(self, connection):
        request = connection.requests[0]
        done = self.redis.execute(connection, self.time)
        if done and self.trace is not None:
            dead = "" if connection.open else " (dead connection)"
            reply = connection.replies[-1][0] if connection.open else ""
            name = type(request).__name__
            self.say(f"  redis: {name} of server {connection.server.index}{dead} {reply!r:.90}")
        return done

    # --- servers -------------------------------------------------------------------------------

    def _start(self, server):
        server.boots += 1
        boot = bytes([server.index + 1, server.boots]) + bytes(14)
        machine = self.subject.machine()
        server.session = self.session_class(
            machine, boot, self.level, lambda: self.time + server.skew
        )
        server.session.page_entries = self.config["page"]
        server.session.eager = self.config["eager"]
        # One server decides with each reply, the other when its turn comes, as the real one does.
        server.session._prompt = server.index == 0
        server.session.coverage = self.coverage
        server.calls = {}
        server.timers = {}
        self._connect(server)

    def _connect(self, server):
        server.connection = Connection(self.master, server)
        self.connections.append(server.connection)
        server.session.on_connected()
        self._drain(server)

    def _drain(self, server):
        """Carry out what the session wants, after every event."""
        session = server.session
        commands = session.take_commands()
        if commands:
            server.connection.requests += commands
        for effect in session.take_effects():
            kind = type(effect)
            if kind is SetTimer:
                server.timers[effect.name] = True
            elif kind is Reconnect:
                raise Violation(f"SESSION: {effect.reason}")
            elif kind is HistoryLost:
                self._check_loss(server, effect)
            else:
                call = server.calls.pop(effect.ticket)
                answer = effect.answer if kind is Answer else None
                self._reply(server, call, answer)

    def _lose(self, server):
        connection = server.connection
        if connection is None:
            return
        flight = server.session.in_flight
        self.coverage["connections lost with entries in flight"] += bool(flight)
        connection.open = False
        connection.replies = []
        server.connection = None
        server.session.on_lost()
        self._drain(server)

    def _kill_connections(self, node):
        for connection in self.connections:
            if connection.node is node:
                connection.requests = []
                connection.replies = []
                if connection.open:
                    self._lose(connection.server)
        self.connections = [c for c in self.connections if c.node is not node or c.open]

    def _receive(self, server):
        connection = server.connection
        reply, state = connection.replies[0]
        if connection.node.synced < state:
            return False  # DURABLE: a reply follows the sync of all that it may rest on
        connection.replies.pop(0)
        self.say(f"  server {server.index} gets {type(reply).__name__}")
        server.session.on_reply(reply)
        self._drain(server)
        return True

    # --- answers -------------------------------------------------------------------------------

    def _reply(self, server, call, answer):
        if call.client == "archiver":
            call.open = False
            server.archiver.answered(answer)
            return
        if answer is None:
            self.coverage["refusals"] += 1
            self.network.append(("reply", call, None))
            return
        if not self.replicated and server.connection.node is not self.master:
            call.era = -1  # DURABLE promises nothing across a split
        current = call.era == self.era
        holds = current or self.replicated
        if call.client == "reader":
            self._check_read(call, self.subject.total(answer), current, server)
            return
        if call.control:
            outcome, value = self.subject.control_outcome(answer)
            if outcome == "RECOUNT_NEEDED":
                self.recounts.append((call, answer))
            self._check_control(call, outcome, value, holds)
            self.network.append(("reply", call, outcome))
            return
        statuses = self.subject.statuses(answer)
        self.say(f"  server {server.index} answers {call.number} {statuses}")
        for record, status in zip(call.records, statuses, strict=True):
            self.coverage[f"status {status}"] += 1
            self._check_status(call, record, status, current, holds)
        self.network.append(("reply", call, statuses))

    # --- clients -------------------------------------------------------------------------------

    def _new_call(self, client, records, control):
        call = Call()
        call.number = len(self.calls)
        call.client, call.records, call.control = client, records, control
        call.recount = None
        call.era, call.began, call.ended, call.open = self.era, self.step, None, True
        node = self.master
        settled = min(node.synced, node.replicated) if self.replicated else node.synced
        call.stable = node.history[settled].token
        self.calls.append(call)
        return call

    def _deliver(self, call, server):
        if server.session is None:
            if not self.subject.moving:
                call.open = False
                return
            self.coverage["sessions opened by a call"] += 1
            self._start(server)
        server.calls[call.number] = call
        subject = self.subject
        if call.client == "reader":
            server.session.ask(call.number, subject.question(call.control[1]))
        elif call.control:
            more = () if call.recount is None else (call.recount,)
            server.session.submit(call.number, subject.control_call(*call.control, *more))
        else:
            server.session.submit(call.number, subject.record_call(call.records))
        self._drain(server)

    def _client_gets(self, call, answer):
        call.open = False
        call.ended = self.step
        if call.control or answer is None:
            return
        todo = self.todo[call.client]
        for record, status in zip(call.records, answer, strict=True):
            places = [place for place, wanted in todo.items() if wanted == record]
            if not places:
                continue
            if status in ("ACCEPTED", "DUPLICATE"):
                del todo[places[0]]
                self.acknowledged.append((record, call.era))
            elif status in FINAL or (status == "NO_SUBSCRIPTION" and self._ended(record)):
                del todo[places[0]]
                if status != "CONFLICT":
                    self.rejected.append((record, status, call, call.era == self.era, self.time))

    def _ended(self, record):
        """Whether the subscription of a record was cancelled at its event time or before."""
        head = self.head_truth()
        return record[1] in head.subscribed and not head.covers(record)
