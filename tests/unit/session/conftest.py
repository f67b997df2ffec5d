"""A machine that counts words, and a session on it driven by hand."""

import json

import pytest

from rating_core.errors import IndexFull, LogCorrupt
from rating_core.metering.log.entry import encode_envelope
from rating_core.metering.log.protocol import (
    EMPTY_TOKEN,
    AckLevel,
    Answer,
    Check,
    Commit,
    Decision,
    HeadReply,
    LogEntry,
    LogPage,
    Outcome,
    ReadLog,
    TurnReply,
    Wait,
    WaitReply,
    chain_token,
)
from rating_core.metering.session import ShardSession

BOOT = bytes(range(16))
NOW = 1_000_000


class WordMachine:
    """Counts words; "?…" needs no entry, "full" finds no room, "alone" joins nothing."""

    def __init__(self):
        self.reset()

    def reset(self):
        self.version, self.token, self.now = 0, EMPTY_TOKEN, 0
        self.words, self.staged, self.marks = [], [], []

    def decide(self, calls, now):
        if "full" in calls:
            raise IndexFull("no room")
        seen = self.words + [word for entry in self.staged for word in entry]
        answers = tuple((call, len(seen)) for call in calls)
        new = [call for call in calls if not call.startswith("?")]
        return Decision(answers, json.dumps(new).encode() if new else None, new)

    def stage(self, decision, now):
        self.staged.append(decision.staged)

    def unstage(self):
        self.staged.clear()

    def confirm(self, version, token):
        self.words += self.staged.pop(0)
        self.version, self.token = version, token

    def apply(self, body, now, version, token):
        if body == b"rubbish":
            raise LogCorrupt("rubbish")
        self.words += json.loads(body)
        self.version, self.token, self.now = version, token, max(now, self.now)

    def query(self, question):
        return len(self.words)

    def joins(self, first, call):
        return first != "alone" != call

    def size(self, call):
        return 10 * len(call)

    def hurries(self, call):
        return True

    def changed_hashes(self, after):
        return ["c:words"] if self.version > after else []

    def fields_of(self, hashes):
        return [self.hash_fields(*each) for each in hashes]

    def hash_fields(self, key, after):
        return [("count", len(self.words))]

    def folded(self, mark):
        self.marks.append(mark)


class Bench:
    """A session with a log beside it, driven by hand."""

    def __init__(self, level=AckLevel.DURABLE, entries=(), *, prompt=True):
        self.machine = WordMachine()
        self.time = NOW
        self.log = []
        for body in entries:
            self.foreign(body)
        self.session = ShardSession(self.machine, BOOT, level, lambda: self.time, prompt=prompt)

    def foreign(self, body):
        previous = self.log[-1][1] if self.log else EMPTY_TOKEN
        entry = encode_envelope(bytes(16), len(self.log), NOW, body)
        self.log.append((previous, chain_token(previous, entry), entry))

    @property
    def head(self):
        return (len(self.log), self.log[-1][1] if self.log else EMPTY_TOKEN)

    def page(self, after):
        entries = enumerate(self.log[after:], after + 1)
        return LogPage(tuple(LogEntry(version, e[0], e[2]) for version, e in entries))

    def reply(self, outcome=Outcome.OK):
        self.session.on_reply(HeadReply(outcome, *self.head, self.time))

    def answer(self, command):
        """Answer one command as Redis would."""
        if isinstance(command, ReadLog):
            self.session.on_reply(self.page(command.after))
        elif isinstance(command, Wait):
            self.session.on_reply(WaitReply(True))
        elif isinstance(command, Commit | Check):
            good = (command.version, command.token) == self.head
            if good and isinstance(command, Commit):
                self.log.append((command.token, command.new_token, command.entry))
            self.reply(Outcome.OK if good else Outcome.MOVED)
        else:
            self.session.on_reply(TurnReply(True))

    def serve(self):
        """Answer commands until none comes."""
        sent = []
        while commands := self.session.take_commands():
            sent += commands
            for command in commands:
                self.answer(command)
        return sent

    def connect(self):
        self.session.on_connected()
        return self.serve()

    def submit(self, *calls):
        for ticket, call in enumerate(calls, 1):
            self.session.submit(ticket, call)
        self.session.flush()
        return self.session.take_commands()

    def effects(self, kind=Answer):
        return [e for e in self.session.take_effects() if isinstance(e, kind)]


@pytest.fixture
def new_bench():
    """Return the class of benches, for tests that begin with a log or a level of their own."""
    return Bench


@pytest.fixture
def bench():
    """A connected session on an empty log, nothing waiting."""
    made = Bench()
    made.connect()
    made.session.on_timer("fold")  # nothing to fold yet
    made.session.take_effects()
    return made
