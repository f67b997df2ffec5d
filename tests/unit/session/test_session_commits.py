"""The commit protocol step by step while connected, with a machine that counts words."""

import json

from rating_core.metering.log.entry import decode_envelope
from rating_core.metering.log.protocol import (
    Answer,
    Check,
    Commit,
    FoldRead,
    FoldReadReply,
    FoldReply,
    FoldWrite,
    Outcome,
    ReadLog,
    Refuse,
    SetTimer,
    Turn,
)

BOOT = bytes(range(16))
NOW = 1_000_000


def kinds(commands):
    return [type(command) for command in commands]


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


def test_a_session_that_is_not_prompt_decides_when_it_is_told(new_bench):
    """A driver that gives turns: replies and timers decide nothing, `due` tells, one at a time."""
    made = new_bench(prompt=False)
    made.connect()
    assert not made.session.due
    made.session.submit(1, "a")
    made.session.submit(2, "alone")
    assert made.session.due
    assert made.session.hurried
    made.session.flush(1)
    (first,) = made.session.take_commands()
    assert json.loads(decode_envelope(first.entry).body) == ["a"]
    assert made.effects(SetTimer)[-1] == SetTimer("group", 2000)
    assert not made.session.due
    made.answer(first)
    assert made.session.take_commands() == []
    assert made.session.due
    made.session.flush(1)
    assert kinds(made.serve()) == [Commit]
    assert not made.session.due
    assert [effect.ticket for effect in made.effects()] == [1, 2]


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


def test_now_never_runs_behind_the_log(new_bench):
    """P11: a clock that is behind decides at the log's now."""
    made = new_bench(entries=[b"[]"])
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
