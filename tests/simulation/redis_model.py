"""A Redis that forgets what was not synced, fails over to a replica that lags, and splits in two.

A node is a history of immutable states, one a write. `synced` and `replicated` are indexes into it:
what is on disk, and what the replica holds. A crash cuts the history back to somewhere at or after
`synced`, a failover starts a new node from somewhere at or after `replicated`. Connections queue
their requests; a closed one may still have requests that execute ("zombie").
"""

from __future__ import annotations

from typing import ClassVar

from rating_core.metering.log.archive import ListArchive, LoadSnapshot, ReadSegment
from rating_core.metering.log.protocol import (
    EMPTY_TOKEN,
    Check,
    Commit,
    FoldRead,
    FoldReadReply,
    FoldReply,
    FoldWrite,
    HeadReply,
    LogEntry,
    LogPage,
    Outcome,
    ReadLog,
    TrimReply,
    Turn,
    TurnReply,
    Wait,
    WaitReply,
)

CLOCK_TOLERANCE_US = 5_000_000
TURN_US = 20_000


class State:
    """One immutable state of a node."""

    __slots__ = ("cursor", "first", "hashes", "log", "mark", "now", "token", "version")

    def __init__(self):
        self.log = ()
        self.first = 1
        self.version = 0
        self.token = EMPTY_TOKEN
        self.now = 0
        self.hashes = {}
        self.mark = 0
        self.cursor = 0

    def copy(self):
        """Return a copy that may be changed before it becomes a state."""
        new = State.__new__(State)
        new.log, new.version, new.token, new.now = self.log, self.version, self.token, self.now
        new.hashes, new.mark, new.cursor = self.hashes, self.mark, self.cursor
        new.first = self.first
        return new

    def holds(self, version, token):
        """Whether the log holds this entry: ``log`` is (token, previous, entry) a version.

        Entries before ``first`` were trimmed; they stay in ``log`` for the proofs alone.
        """
        if version == 0:
            return token == EMPTY_TOKEN and self.version == 0
        return self.first <= version <= len(self.log) and self.log[version - 1][0] == token


class Node:
    """One Redis server with its history."""

    __slots__ = ("alive", "full", "history", "isolated", "replicated", "synced", "turn")

    def __init__(self, history):
        self.history = history
        self.synced = self.replicated = len(history) - 1
        self.alive = True
        self.isolated = False
        self.full = False
        self.turn = (b"", -1)


class Connection:
    """Requests on their way in, and replies with the state index that must be synced first."""

    __slots__ = ("node", "open", "replies", "requests", "server", "written")

    def __init__(self, node, server):
        self.node = node
        self.server = server
        self.requests = []
        self.replies = []
        self.open = True
        self.written = 0


class RedisModel:
    """Executes requests. ``on_append(node, previous token, token, entry)`` sees every append.

    ``rules`` is a set of rules that this Redis keeps; a broken copy lacks one.
    """

    def __init__(self, on_append, on_trim, archive, coverage, broken=frozenset()):
        self.on_append = on_append
        self.on_trim = on_trim
        self.archive = archive
        self.coverage = coverage
        self.broken = broken

    def execute(self, connection, time):
        """Execute the oldest request; False if it must wait. ``time`` is Redis TIME in µs."""
        node = connection.node
        request = connection.requests[0]
        kind = type(request)
        if kind is Wait:
            if node.isolated or node.replicated < connection.written:
                return False
            connection.requests.pop(0)
            if connection.open:
                connection.replies.append((WaitReply(True), 0))
            return True
        connection.requests.pop(0)
        if not connection.open:
            self.coverage["requests of a dead connection"] += 1
        state = node.history[-1]
        reply, written = self._execute[kind](self, node, state, request, time)
        if written is not None:
            node.history.append(written)
            connection.written = len(node.history) - 1
        if connection.open:
            connection.replies.append((reply, len(node.history) - 1))
        return True

    def _commit(self, node, state, request, time):
        if node.full:
            head = (request.version, request.token)
            self.coverage["commits refused: full"] += 1
            return HeadReply(Outcome.FULL, *head, time), None
        boot, expires = node.turn
        outcome = Outcome.OK
        if expires > time and boot != request.boot:
            outcome = Outcome.YIELD
        elif (state.version, state.token) != (request.version, request.token):
            outcome = Outcome.MOVED
        elif request.now > max(state.now, time + CLOCK_TOLERANCE_US):
            outcome = Outcome.CLOCK
        if outcome is not Outcome.OK:
            self.coverage[f"commits refused: {outcome}"] += 1
            return HeadReply(outcome, state.version, state.token, time), None
        new = state.copy()
        new.log = (*state.log, (request.new_token, request.token, request.entry))
        new.version = state.version + 1
        new.token = request.new_token
        new.now = max(state.now, request.now)
        self.on_append(node, request.token, request.new_token, request.entry)
        self.coverage["commits"] += 1
        return HeadReply(Outcome.OK, new.version, new.token, time), new

    def _check(self, node, state, request, time):
        outcome = Outcome.OK
        if (state.version, state.token) != (request.version, request.token):
            outcome = Outcome.MOVED
        elif request.now > max(state.now, time + CLOCK_TOLERANCE_US):
            outcome = Outcome.CLOCK
        self.coverage[f"checks: {outcome}"] += 1
        written = state.copy() if outcome is Outcome.OK and request.touch else None
        return HeadReply(outcome, state.version, state.token, time), written

    def _read(self, node, state, request, time):
        first = max(request.after + 1, state.first)
        page = state.log[first - 1 : first - 1 + request.limit]
        entries = (LogEntry(first + i, e[1], e[2]) for i, e in enumerate(page))
        return LogPage(tuple(entries)), None

    def _turn(self, node, state, request, time):
        boot, expires = node.turn
        granted = expires <= time or boot == request.boot
        if expires <= time:
            node.turn = (request.boot, time + TURN_US)
            self.coverage["turns taken"] += 1
        return TurnReply(granted), None

    def _fold_read(self, node, state, request, time):
        versions = tuple(state.hashes.get(key, (0, None))[0] for key in request.keys)
        return FoldReadReply(state.mark, state.cursor, versions), None

    def _fold_write(self, node, state, request, time):
        refused = FoldReply(False, state.mark, state.cursor), None
        if "fold cursor" not in self.broken and state.cursor != request.cursor:
            return refused
        if "fold token" not in self.broken and not state.holds(request.version, request.token):
            return refused
        new = state.copy()
        new.hashes = dict(state.hashes)
        for write in request.writes:
            version, fields = state.hashes.get(write.key, (0, {}))
            if version >= request.version:
                continue
            if version != write.expected:
                if "fold expected" in self.broken:
                    continue
                return refused
            new.hashes[write.key] = (request.version, {**fields, **dict(write.fields)})
            self.coverage["hashes folded"] += 1
        new.cursor = state.cursor + 1
        if request.last:
            new.mark = max(state.mark, request.version)
            self.coverage["fold rounds"] += 1
        return FoldReply(True, new.mark, new.cursor), new

    def trim(self, node, request):
        """Execute a Trim, which comes from an archiver's connection; return its reply."""
        state = node.history[-1]
        allowed = "trim mark" in self.broken or request.version <= state.mark
        if "trim token" not in self.broken:
            allowed = allowed and state.holds(request.version, request.token)
        if "trim snapshot" not in self.broken:
            kept = request.snapshot
            allowed = allowed and kept.version >= request.version
            allowed = allowed and state.holds(kept.version, kept.token)
        if not allowed:
            self.coverage["trims refused"] += 1
            return TrimReply(False, state.mark)
        if state.first < request.version <= state.version:
            new = state.copy()
            new.first = request.version
            node.history.append(new)
            self.coverage["trims"] += 1
            self.on_trim(new)
        return TrimReply(True, state.mark)

    def _archived(self, node, state, request, time):
        return self.archive.read(request), None

    _execute: ClassVar = {
        Commit: _commit,
        Check: _check,
        ReadLog: _read,
        Turn: _turn,
        FoldRead: _fold_read,
        FoldWrite: _fold_write,
        ListArchive: _archived,
        LoadSnapshot: _archived,
        ReadSegment: _archived,
    }
