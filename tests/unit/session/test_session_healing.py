"""The commit protocol after a start, a lost connection or another history (P3, P5, P6)."""

import json

import pytest

from rating_core.metering.log.entry import encode_envelope
from rating_core.metering.log.protocol import (
    EMPTY_TOKEN,
    AckLevel,
    Answer,
    Check,
    Commit,
    HeadReply,
    HistoryLost,
    LogPage,
    Outcome,
    ReadLog,
    Reconnect,
    SetTimer,
    Wait,
    WaitReply,
)

BOOT = bytes(range(16))
NOW = 1_000_000


def kinds(commands):
    return [type(command) for command in commands]


def test_a_start_reads_the_log_and_checks_the_head(new_bench):
    """P1, P5: the whole log is read and verified, then the head checked, before anything else."""
    made = new_bench(entries=[b'["a"]', b'["b"]'])
    made.session.submit(1, "c")
    made.session.flush()
    assert not made.session.ready
    sent = made.connect()
    assert kinds(sent) == [ReadLog, Check, Commit]
    assert made.session.ready
    assert made.machine.words == ["a", "b", "c"]
    assert made.effects() == [Answer(1, ("c", 2))]


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


def test_an_unreadable_log_is_a_fault_and_is_tried_again_later(new_bench):
    """P5: no tight loop, a reason for the operator, and recovery when the log is readable."""
    made = new_bench(entries=[b"rubbish"])
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
def test_a_head_that_is_not_the_logs_is_a_fault_and_no_endless_rebuild(lost, new_bench):
    """P5: a log that its head does not bear out is refused with a reason, and tried again later."""
    made = new_bench(entries=[b'["a"]', b'["b"]'])
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


def test_pages_of_the_log_shrink_with_the_size_of_entries(new_bench):
    """P15: one reply holds about 2 MB, however large entries are, and at least one entry."""
    made = new_bench(entries=[json.dumps(["w" * 1_500_000]).encode()] * 3 + [b'["a"]'] * 100)
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


def test_replicated_answers_wait_for_the_replicas(new_bench):
    """P6: a commit's answer leaves after a wait of its own connection; a wait may be repeated."""
    made = new_bench(AckLevel.REPLICATED)
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


def test_replicated_answers_need_a_write_of_the_new_connection(new_bench):
    """P6: after a lost connection only a touch and a wait prove what is committed."""
    made = new_bench(AckLevel.REPLICATED)
    made.connect()
    made.answer(made.submit("a")[0])
    made.session.on_lost()
    sent = made.connect()
    assert kinds(sent) == [ReadLog, Check, Wait]
    assert sent[1].touch
    assert made.effects() == [Answer(1, ("a", 0))]


def test_a_reply_that_nothing_asked_for_drops_the_connection(bench):
    """A connection out of step is not to be trusted."""
    bench.session.on_reply(WaitReply(True))
    assert bench.effects(Reconnect) == [Reconnect("a reply that no command asked for")]


def test_a_lost_tail_is_told_with_what_is_kept(new_bench):
    """P5: after a failover that lost entries the session says from which version on, once."""
    made = new_bench(entries=[b'["a"]', b'["b"]', b'["c"]'])
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


def test_a_lost_tail_that_nobody_was_told_of_is_no_loss(new_bench):
    """P6: at REPLICATED what is lost before its replicas confirmed was never answered."""
    made = new_bench(AckLevel.REPLICATED)
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
