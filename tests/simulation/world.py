"""The simulated world: clients that resend, two servers with the real session, Redis, faults.

A history is a list of atomic actions with every random choice among their arguments, so the same
list always gives the same run and any part of it may be left out. `World.act` returns False and
changes nothing where an action cannot happen. A broken invariant raises `Violation`.

The truth is not taken from any machine: every entry that Redis appends is read by its subject and
folded here in plain Python, one state for each chain token.
"""

from __future__ import annotations

from collections import Counter

from redis_model import Connection, Node, RedisModel, State

from rating_core.metering.entry import decode_envelope, encode_envelope
from rating_core.metering.protocol import (
    EMPTY_TOKEN,
    AckLevel,
    Answer,
    Reconnect,
    SetTimer,
    chain_token,
)

SECOND_US = 1_000_000
DAY_US = 86_400 * SECOND_US
WINDOW_US = 7 * DAY_US
START_US = 20_000 * DAY_US + DAY_US // 2
CLOCK_TOLERANCE_US = 5 * SECOND_US
FINAL = ("CONFLICT", "TOO_OLD", "PERIOD_CLOSED")
MAX_NODES = 4


class Violation(Exception):
    """An invariant of the protocol does not hold."""


class Truth:
    """The plain fold of one chain of entries."""

    __slots__ = ("closed", "fields", "grants", "ids", "now", "requests", "subscribed", "totals")

    def __init__(self):
        self.ids = {}
        self.fields = {}
        self.totals = {}
        self.subscribed = frozenset()
        self.closed = frozenset()
        self.requests = {}
        self.grants = 0
        self.now = 0

    def after(self, records, control, increments, now):
        new = Truth.__new__(Truth)
        new.now = max(self.now, now)
        new.ids, new.fields, new.totals = self.ids, self.fields, self.totals
        if records:
            new.ids, new.fields = dict(self.ids), dict(self.fields)
            new.totals = dict(self.totals)
            for record in records:
                new.ids[record[0]] = (record, now)
                new.totals[record[1]] = new.totals.get(record[1], 0) + record[2]
            for key, field, increment in increments:
                new.fields[key, field] = new.fields.get((key, field), 0) + increment
        new.subscribed, new.closed, new.grants = self.subscribed, self.closed, self.grants
        new.requests = self.requests
        if control:
            op, customer, request_id, value = control
            if op == "subscribe":
                new.subscribed = self.subscribed | {customer}
            elif op == "close":
                new.closed = self.closed | {customer}
            else:
                new.grants += 1
            if request_id:
                new.requests = {**self.requests, request_id: value}
        return new


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
        "stable",
    )


class Server:
    """One process: its session, its tickets and its timers, and a clock that may be wrong."""

    __slots__ = ("boots", "calls", "connection", "index", "session", "skew", "timers")

    def __init__(self, index):
        self.index = index
        self.boots = 0
        self.skew = 0
        self.session = None
        self.connection = None
        self.calls = {}
        self.timers = {}


class World:
    """One simulated installation. ``config`` fixes level, payloads and sizes; see `draw_config`."""

    def __init__(self, config, subject, session_class, broken=frozenset(), coverage=None):
        self.subject = subject
        self.session_class = session_class
        self.replicated = config["level"] == "replicated"
        self.level = AckLevel.REPLICATED if self.replicated else AckLevel.DURABLE
        self.config = config
        self.coverage = Counter() if coverage is None else coverage
        self.redis = RedisModel(self._appended, self.coverage, broken)
        self.time = START_US
        self.step = 0
        self.trace = None
        self.era = 0
        self.truth = {EMPTY_TOKEN: Truth()}
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
            if record[1] not in before.subscribed:
                raise Violation(f"ORDER: {record[0]} is counted without a subscription")
        if control:
            op, customer, request_id, value = control
            if request_id and request_id in before.requests:
                raise Violation(f"DOUBLE: request {request_id} is carried out twice")
            if op == "close":
                if customer in before.closed:
                    raise Violation("DOUBLE: a period is closed twice")
                if value != before.totals.get(customer, 0):
                    raise Violation("CLOSE: the entry does not hold the counters it closes")
        if token not in self.truth:
            self.truth[token] = before.after(records, control, increments, envelope.now)
            self.parents[token] = previous
            self.versions[token] = self.versions[previous] + 1
        if self.trace is not None and node is not None:
            ids = [record[0] for record in records]
            self.say("  appended", self.versions[token], token.hex()[:4], ids, control or "")

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
            self._check_control(call, outcome, value, holds)
            self.network.append(("reply", call, outcome))
            return
        statuses = self.subject.statuses(answer)
        self.say(f"  server {server.index} answers {call.number} {statuses}")
        for record, status in zip(call.records, statuses, strict=True):
            self.coverage[f"status {status}"] += 1
            self._check_status(call, record, status, current, holds)
        self.network.append(("reply", call, statuses))

    def _check_status(self, call, record, status, current, holds):
        head, before = self.head_truth(), self.truth[call.stable]
        here = head.ids.get(record[0])
        earlier = before.ids.get(record[0])
        if status in ("ACCEPTED", "DUPLICATE"):
            if holds and (not here or here[0] != record):
                raise Violation(f"LOST: {status} sent, but {record[0]} is not in the log")
            return
        if status == "CONFLICT":
            if current and (not here or here[0] == record):
                raise Violation(f"STATUS: CONFLICT for {record[0]} without a conflict")
            if current and earlier and earlier[0] == record:
                raise Violation(f"STATUS: CONFLICT for the counted payload of {record[0]}")
            return
        if status == "NO_SUBSCRIPTION" and record[1] in before.subscribed and holds:
            raise Violation("STATUS: NO_SUBSCRIPTION after a subscription")
        if status == "PERIOD_CLOSED" and record[1] not in head.closed and current:
            raise Violation("STATUS: PERIOD_CLOSED, but it is not closed")
        young = record[3] > self.time - WINDOW_US + CLOCK_TOLERANCE_US
        if status == "TOO_OLD" and young and head.now <= self.time + CLOCK_TOLERANCE_US:
            raise Violation("STATUS: TOO_OLD for a young record")
        if earlier and holds and status != "TOO_OLD":
            raise Violation(f"STATUS: {status} for {record[0]}, counted before the call began")

    def _check_control(self, call, outcome, value, holds):
        self.coverage[f"control {outcome}"] += 1
        if outcome != "OK":
            return
        op, _, request_id = call.control
        if request_id:
            requests = self.head_truth().requests
            if holds and requests.get(request_id, -1) != value:
                raise Violation(f"REQUEST: {request_id} answered {value}, the log says otherwise")
        elif op == "grant" and holds:
            self.grants_answered += 1
            if self.grants_answered > self.head_truth().grants:
                raise Violation("GRANT: more grants answered than the log holds")

    def _check_read(self, call, total, current, server):
        if not current or server.connection.node.isolated:
            return
        customer, token = call.control[1], self.head().token
        allowed = set()
        while True:
            allowed.add(self.truth[token].totals.get(customer, 0))
            if token in (call.stable, EMPTY_TOKEN):
                break
            token = self.parents[token]
        self.coverage["reads checked"] += 1
        if total not in allowed:
            raise Violation(f"READ: {customer} has {total}, the log says {sorted(allowed)}")

    # --- clients -------------------------------------------------------------------------------

    def _new_call(self, client, records, control):
        call = Call()
        call.number = len(self.calls)
        call.client, call.records, call.control = client, records, control
        call.era, call.began, call.ended, call.open = self.era, self.step, None, True
        node = self.master
        settled = min(node.synced, node.replicated) if self.replicated else node.synced
        call.stable = node.history[settled].token
        self.calls.append(call)
        return call

    def _deliver(self, call, server):
        if server.session is None:
            call.open = False
            return
        server.calls[call.number] = call
        subject = self.subject
        if call.client == "reader":
            server.session.ask(call.number, subject.question(call.control[1]))
        elif call.control:
            server.session.submit(call.number, subject.control_call(*call.control))
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
            elif status in FINAL:
                del todo[places[0]]
                if status != "CONFLICT":
                    self.rejected.append((record, status, call, call.era == self.era, self.time))

    # --- proofs over all of Redis --------------------------------------------------------------

    def check_hashes(self):
        """P9: every hash is the fold at its version, and F passes no hash that lacks entries."""
        state = self.head()
        log = state.log
        self.coverage["hash checks"] += bool(state.hashes)

        def token_at(version):
            return log[version - 1][0] if version else EMPTY_TOKEN

        at_mark = self.truth[token_at(state.mark)].fields if state.mark <= len(log) else None
        if at_mark is None:
            raise Violation("FOLD: the mark is beyond the log")
        for key, (version, fields) in state.hashes.items():
            if version > len(log):
                raise Violation(f"FOLD: {key} stands beyond the log")
            then = self.truth[token_at(version)].fields
            expected = {field: value for (owner, field), value in then.items() if owner == key}
            if fields != expected:
                raise Violation(f"FOLD: {key} at {version} is {fields}, the log says {expected}")
        for (owner, field), value in at_mark.items():
            version, fields = state.hashes.get(owner, (0, {}))
            if version < state.mark and fields.get(field) != value:
                raise Violation(f"FOLD: F is {state.mark}, but {owner} lacks entries up to it")
