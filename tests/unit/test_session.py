"""The commit protocol step by step, with a machine that counts words."""

import json

import pytest

from rating_core.errors import IndexFull, LogCorrupt
from rating_core.metering.entry import decode_envelope, encode_envelope
from rating_core.metering.protocol import (
    EMPTY_TOKEN,
    AckLevel,
    Answer,
    Check,
    Commit,
    Decision,
    FoldRead,
    FoldReadReply,
    FoldReply,
    FoldWrite,
    HeadReply,
    HistoryLost,
    LogEntry,
    LogPage,
    Outcome,
    ReadLog,
    Reconnect,
    Refuse,
    SetTimer,
    Turn,
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

    def changed_hashes(self, after):
        return ["c:words"] if self.version > after else []

    def hash_fields(self, key, after):
        return [("count", len(self.words))]

    def folded(self, mark):
        self.marks.append(mark)


class Bench:
    """A session with a log beside it, driven by hand."""

    def __init__(self, level=AckLevel.DURABLE, entries=()):
        self.machine = WordMachine()
        self.time = NOW
        self.log = []
        for body in entries:
            self.foreign(body)
        self.session = ShardSession(self.machine, BOOT, level, lambda: self.time)

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
def bench():
    """A connected session on an empty log, nothing waiting."""
    made = Bench()
    made.connect()
    made.session.on_timer("fold")  # nothing to fold yet
    made.session.take_effects()
    return made


def kinds(commands):
    return [type(command) for command in commands]


def test_a_start_reads_the_log_and_checks_the_head():
    """P1, P5: the whole log is read and verified, then the head checked, before anything else."""
    made = Bench(entries=[b'["a"]', b'["b"]'])
    made.session.submit(1, "c")
    made.session.flush()
    assert not made.session.ready
    sent = made.connect()
    assert kinds(sent) == [ReadLog, Check, Commit]
    assert made.session.ready
    assert made.machine.words == ["a", "b", "c"]
    assert made.effects() == [Answer(1, ("c", 2))]


def test_calls_that_wait_share_an_entry(bench):
    """Group commit: one burst is one entry, a call that joins nothing has its own."""
    (commit,) = bench.submit("a", "b", "alone")
    assert json.loads(decode_envelope(commit.entry).body) == ["a", "b"]
    assert bench.effects(SetTimer) == [SetTimer("group", 2000)]
    bench.session.on_timer("group")
    (second,) = bench.session.take_commands()
    assert (second.version, second.token) == (1, commit.new_token)
    assert bench.session.in_flight == 2


def test_a_small_call_waits_for_company_while_an_entry_is_in_flight(bench):
    """With an entry in flight calls wait 2 ms, or until 40 KB wait."""
    bench.submit("a")
    assert bench.submit("b") == []
    assert kinds(bench.submit("c" * 5000)) == [Commit]


def test_an_entry_has_a_nonce(bench):
    """P4: the same call twice makes different bytes."""
    first = bench.submit("a")[0]
    bench.answer(first)
    second = bench.submit("a")[0]
    envelopes = decode_envelope(first.entry), decode_envelope(second.entry)
    assert [e.boot for e in envelopes] == [BOOT, BOOT]
    assert envelopes[0].counter != envelopes[1].counter


def test_an_answer_without_an_entry_waits_for_a_check(bench):
    """P1: it leaves only when the head is found to be the one it was decided on."""
    (check,) = bench.submit("?a")
    assert isinstance(check, Check)
    assert bench.effects() == []
    bench.answer(check)
    assert bench.effects() == [Answer(1, ("?a", 0))]


def test_an_overtaken_answer_is_decided_again(bench):
    """P1: a foreign entry in between makes the decision void."""
    (check,) = bench.submit("?a")
    bench.foreign(b'["x"]')
    bench.answer(check)
    assert bench.effects() == []
    assert kinds(bench.serve()) == [ReadLog, Check]
    assert bench.effects() == [Answer(1, ("?a", 1))]


def test_a_refused_entry_takes_its_successors_and_their_answers_along(bench):
    """P2: all that was decided on it is decided again, in order of arrival."""
    commands = bench.submit("a")
    bench.session.submit(2, "alone")
    bench.session.on_timer("group")
    bench.session.submit(3, "?c")
    bench.session.on_timer("group")
    commands += bench.session.take_commands()
    assert kinds(commands) == [Commit, Commit, Check]
    bench.foreign(b'["x"]')
    for command in commands:
        bench.answer(command)
    assert bench.effects() == []
    bench.serve()
    bench.session.on_timer("group")
    bench.serve()
    assert bench.machine.words == ["x", "a", "alone"]
    answers = {e.ticket: e.answer for e in bench.effects()}
    assert answers == {1: ("a", 1), 2: ("alone", 2), 3: ("?c", 3)}


def test_an_unknown_outcome_is_found_in_the_log(bench):
    """P3: one's own token in the log settles it; nothing is sent again."""
    (commit,) = bench.submit("a")
    bench.log.append((commit.token, commit.new_token, commit.entry))
    bench.session.on_lost()
    assert kinds(bench.connect()) == [ReadLog, Check]
    assert bench.effects() == [Answer(1, ("a", 0))]


def test_an_unknown_outcome_with_an_unmoved_head_is_sent_again_unchanged(bench):
    """P3: the same bytes, since the first copy may still arrive."""
    (commit,) = bench.submit("a")
    bench.session.on_lost()
    bench.time += 5_000_000
    sent = bench.connect()
    assert sent[1] == commit
    assert bench.machine.words == ["a"]


def test_an_unknown_outcome_behind_a_foreign_entry_is_decided_anew(bench):
    """P3: once another entry has taken its place it can never be appended."""
    (commit,) = bench.submit("a")
    bench.session.on_lost()
    bench.foreign(b'["x"]')
    sent = bench.connect()
    assert commit not in sent
    assert bench.machine.words == ["x", "a"]
    assert bench.effects() == [Answer(1, ("a", 1))]


def test_another_history_discards_the_state(bench):
    """P5: a log that does not hold our head is read again from its first entry."""
    for command in bench.submit("a"):
        bench.answer(command)
    bench.session.on_lost()
    bench.log.clear()
    bench.foreign(b'["x"]')
    bench.foreign(b'["y"]')
    sent = bench.connect()
    assert [c.after for c in sent if isinstance(c, ReadLog)] == [1, 0]
    assert bench.machine.words == ["x", "y"]


def test_a_head_that_went_back_discards_the_state(bench):
    """P5: a log that ends before our committed version is another history."""
    for command in bench.submit("a"):
        bench.answer(command)
    bench.session.on_lost()
    bench.log.clear()
    bench.connect()
    assert bench.machine.words == []
    assert bench.session.ready


def test_an_unreadable_log_is_a_fault_and_is_tried_again_later():
    """P5: no tight loop, a reason for the operator, and recovery when the log is readable."""
    made = Bench(entries=[b"rubbish"])
    made.connect()
    assert made.session.fault == "entry 1: rubbish"
    assert not made.session.ready
    assert made.effects(SetTimer) == [SetTimer("corrupt", 1_000_000)]
    made.log.clear()
    made.session.on_timer("corrupt")
    made.serve()
    assert made.session.ready
    assert made.session.fault is None


@pytest.mark.parametrize("lost", ["the last entry", "a bit of the last entry", "the head"])
def test_a_head_that_is_not_the_logs_is_a_fault_and_no_endless_rebuild(lost):
    """P5: a log that its head does not bear out is refused with a reason, and tried again later."""
    made = Bench(entries=[b'["a"]', b'["b"]'])
    head, whole = (2, made.head[1]), list(made.log)
    if lost == "the last entry":
        made.log.pop()
    elif lost == "a bit of the last entry":
        made.log[-1] = (*made.log[-1][:2], encode_envelope(bytes(16), 1, NOW, b'["c"]'))
    else:
        head = (0, EMPTY_TOKEN)
    made.reply = lambda outcome: made.session.on_reply(HeadReply(Outcome.MOVED, *head, NOW))
    made.submit("d")
    sent = made.connect()
    assert len(sent) < 10
    assert Commit not in kinds(sent)
    assert not made.session.ready
    assert made.session.fault.startswith("the log ends at ")
    assert SetTimer("corrupt", 1_000_000) in made.effects(SetTimer)
    made.log = whole
    del made.reply
    made.session.on_timer("corrupt")
    made.serve()
    assert made.session.fault is None
    assert made.machine.words == ["a", "b", "d"]


def test_a_head_that_went_back_while_connected_rebuilds_once(bench):
    """P5: a state read long ago is discarded first; only a fresh one puts the blame on the log."""
    (commit,) = bench.submit("a")
    bench.answer(commit)
    (check,) = bench.submit("?b")
    bench.log.clear()
    bench.answer(check)
    assert kinds(bench.serve())[:1] == [ReadLog]
    assert bench.session.ready
    assert bench.session.fault is None


def test_pages_of_the_log_shrink_with_the_size_of_entries():
    """P15: one reply holds about 2 MB, however large entries are, and at least one entry."""
    made = Bench(entries=[json.dumps(["w" * 1_500_000]).encode()] * 3 + [b'["a"]'] * 100)
    pages = made.page
    made.answer_limits = []

    def page(command):
        made.answer_limits.append(command.limit)
        return LogPage(pages(command.after).entries[: command.limit])

    answer = made.answer
    made.answer = lambda command: (
        made.session.on_reply(page(command)) if isinstance(command, ReadLog) else answer(command)
    )
    made.connect()
    assert len(made.machine.words) == 103
    assert made.answer_limits[0] == 8
    assert made.answer_limits[1] <= 3
    assert made.answer_limits[-1] == 64


def test_the_turn_of_another_server_is_waited_out(bench):
    """P14: YIELD sends the same bytes again after 2 ms."""
    (commit,) = bench.submit("a")
    bench.reply(Outcome.YIELD)
    assert bench.effects(SetTimer) == [SetTimer("settle", 2000)]
    bench.session.on_timer("settle")
    assert commit in bench.serve()
    assert bench.machine.words == ["a"]


def test_two_refusals_in_a_row_ask_for_the_turn(bench):
    """P14: a server that is refused twice asks before it tries again."""
    (commit,) = bench.submit("a")
    bench.foreign(b'["x"]')
    bench.answer(commit)
    (read,) = bench.session.take_commands()
    bench.answer(read)
    (again,) = bench.session.take_commands()
    bench.foreign(b'["y"]')
    bench.answer(again)
    assert kinds(bench.serve()) == [ReadLog, Turn, Commit]


def test_a_full_store_refuses_the_calls(bench):
    """P15: FULL is told at once, and the next call is tried again."""
    bench.submit("a")
    bench.reply(Outcome.FULL)
    assert bench.effects(Refuse) == [Refuse(1, "FULL")]
    bench.serve()
    assert bench.session.in_flight == 0
    for command in bench.submit("b"):
        bench.answer(command)
    assert bench.machine.words == ["b"]


def test_a_full_index_refuses_only_the_calls_that_do_not_fit(bench):
    """P15: of a group, the call that the index has no room for is refused, the others go on."""
    for command in bench.submit("a", "full", "b"):
        bench.answer(command)
    bench.serve()
    effects = bench.session.take_effects()
    assert Refuse(2, "FULL") in effects
    assert {e.ticket for e in effects if isinstance(e, Answer)} == {1, 3}


def test_a_wrong_clock_refuses_calls_and_heals(bench):
    """P11: after three refusals a call is refused as CLOCK; a good probe ends it."""
    bench.submit("a")
    bench.reply(Outcome.CLOCK)
    bench.serve()
    assert not bench.session.ready
    for _ in range(2):
        bench.session.on_timer("clock")
        (probe,) = bench.session.take_commands()
        assert not probe.touch
        bench.reply(Outcome.CLOCK)
    assert bench.effects(Refuse) == [Refuse(1, "CLOCK")]
    bench.session.on_timer("clock")
    bench.serve()
    assert bench.session.ready


def test_now_never_runs_behind_the_log():
    """P11: a clock that is behind decides at the log's now."""
    made = Bench(entries=[b"[]"])
    made.connect()
    made.time = 5
    assert made.submit("a")[0].now == NOW


def test_a_question_is_answered_from_a_checked_state(bench):
    """A read sees every entry that was committed before it was asked."""
    bench.session.ask(7, "how many")
    bench.session.flush()
    bench.foreign(b'["x"]')
    sent = bench.serve()
    assert kinds(sent) == [Check, ReadLog]
    assert bench.effects() == [Answer(7, 1)]


def test_replicated_answers_wait_for_the_replicas():
    """P6: a commit's answer leaves after a wait of its own connection; a wait may be repeated."""
    made = Bench(AckLevel.REPLICATED)
    made.connect()
    (commit,) = made.submit("a")
    made.answer(commit)
    assert made.effects() == []
    assert kinds(made.session.take_commands()) == [Wait]
    made.session.on_reply(WaitReply(False))
    assert made.effects() == []
    assert kinds(made.session.take_commands()) == [Wait]
    made.session.on_reply(WaitReply(True))
    assert made.effects() == [Answer(1, ("a", 0))]


def test_replicated_answers_need_a_write_of_the_new_connection():
    """P6: after a lost connection only a touch and a wait prove what is committed."""
    made = Bench(AckLevel.REPLICATED)
    made.connect()
    made.answer(made.submit("a")[0])
    made.session.on_lost()
    sent = made.connect()
    assert kinds(sent) == [ReadLog, Check, Wait]
    assert sent[1].touch
    assert made.effects() == [Answer(1, ("a", 0))]


def test_a_fold_writes_absolute_values_and_moves_the_mark(bench):
    """P7, P8: values of the committed head, where the hash stands, and F at the end."""
    bench.answer(bench.submit("a")[0])
    assert SetTimer("fold", 250_000) in bench.session.take_effects()
    bench.session.on_timer("fold")
    assert bench.session.take_commands() == [FoldRead(("c:words",))]
    bench.session.on_reply(FoldReadReply(0, 5, (0,)))
    (write,) = bench.session.take_commands()
    assert (write.version, write.cursor, write.last) == (1, 5, False)
    assert write.writes[0].fields == (("count", 1),)
    bench.session.on_reply(FoldReply(True, 0, 6))
    (last,) = bench.session.take_commands()
    assert last == FoldWrite(1, bench.head[1], 6, (), last=True)
    bench.session.on_reply(FoldReply(True, 1, 7))
    assert bench.machine.marks == [1]


def test_a_refused_fold_is_dropped_and_tried_later(bench):
    """P8: another server's round voids ours."""
    bench.answer(bench.submit("a")[0])
    bench.session.take_effects()
    bench.session.on_timer("fold")
    bench.session.take_commands()
    bench.session.on_reply(FoldReadReply(0, 5, (0,)))
    bench.session.take_commands()
    bench.session.on_reply(FoldReply(False, 0, 6))
    assert bench.session.take_commands() == []
    assert bench.effects(SetTimer) == [SetTimer("fold", 250_000)]


def test_closing_refuses_what_has_no_answer(bench):
    """A closed session leaves no call without an end and takes no more."""
    bench.submit("a")
    bench.session.submit(2, "b")
    bench.session.ask(3, "how many")
    bench.session.close()
    bench.session.submit(4, "c")
    refused = bench.effects(Refuse)
    assert refused == [Refuse(ticket, "CLOSED") for ticket in (1, 2, 3, 4)]
    assert not bench.session.ready


def test_a_reply_that_nothing_asked_for_drops_the_connection(bench):
    """A connection out of step is not to be trusted."""
    bench.session.on_reply(WaitReply(True))
    assert bench.effects(Reconnect) == [Reconnect("a reply that no command asked for")]


def test_a_lost_tail_is_told_with_what_is_kept():
    """P5: after a failover that lost entries the session says from which version on, once."""
    made = Bench(entries=[b'["a"]', b'["b"]', b'["c"]'])
    made.connect()
    token = made.log[2][1]
    made.effects()
    made.session.on_lost()
    del made.log[1:]
    made.foreign(b'["d"]')
    made.foreign(b'["e"]')
    made.foreign(b'["f"]')
    made.connect()
    assert made.machine.words == ["a", "d", "e", "f"]
    assert made.effects(HistoryLost) == [HistoryLost(1, 3, token, 3)]
    made.session.on_lost()
    made.connect()
    assert made.effects(HistoryLost) == []


def test_a_lost_tail_that_nobody_was_told_of_is_no_loss():
    """P6: at REPLICATED what is lost before its replicas confirmed was never answered."""
    made = Bench(AckLevel.REPLICATED)
    made.connect()
    for command in made.submit("a"):
        made.answer(command)
    made.serve()
    assert len(made.effects()) == 1
    made.session.submit(2, "b")
    made.session.flush()
    (commit,) = made.session.take_commands()
    made.answer(commit)
    token = made.log[1][1]
    made.session.on_lost()
    del made.log[1:]
    made.connect()
    assert made.machine.words == ["a", "b"]
    effects = made.session.take_effects()
    assert [e for e in effects if isinstance(e, HistoryLost)] == [HistoryLost(1, 2, token, 1)]
