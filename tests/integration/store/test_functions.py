"""The functions of the library on a real store, one by one: each refusal writes nothing."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence

import pytest

from rating_core.metering.log.protocol import (
    EMPTY_TOKEN,
    Check,
    Command,
    Commit,
    FoldRead,
    FoldReadReply,
    FoldReply,
    FoldWrite,
    HashWrite,
    HeadReply,
    LogEntry,
    LogPage,
    Outcome,
    ReadLog,
    Reply,
    Turn,
    TurnReply,
    Wait,
    WaitReply,
    chain_token,
)
from rating_server.store.adapter import LinkOptions, connect
from rating_server.store.keys import shard_keys

BOOT = b"b" * 16
OTHER = b"o" * 16
KEYS = shard_keys(3)
ENTRY = b"first\x00\xff\r\nentry"
T1 = chain_token(EMPTY_TOKEN, ENTRY)
LARGE = bytes(range(256)) * 1200
T2 = chain_token(T1, LARGE)


def now_us() -> int:
    return time.time_ns() // 1000


def first(now: int | None = None, **changes: object) -> Commit:
    values: dict[str, object] = {
        "version": 0,
        "token": EMPTY_TOKEN,
        "new_token": T1,
        "now": now_us() if now is None else now,
        "boot": BOOT,
        "entry": ENTRY,
    }
    return Commit(**(values | changes))  # type: ignore[arg-type]


def second() -> Commit:
    return Commit(1, T1, T2, now_us(), BOOT, LARGE)


Talk = Callable[..., list[Reply]]


@pytest.fixture
def talk(store) -> Talk:
    """Send commands in one go on one connection and return their replies."""

    def run(*commands: Command) -> list[Reply]:
        async def scenario() -> list[Reply]:
            replies: list[Reply] = []
            done: asyncio.Future[str] = asyncio.get_running_loop().create_future()

            def on_reply(reply: Reply) -> None:
                replies.append(reply)
                if len(replies) == len(commands):
                    done.set_result("")

            options = LinkOptions(url=lambda: store.url)
            link = await connect(KEYS, options, on_reply, done.set_result)
            try:
                link.send(commands)
                async with asyncio.timeout(10):
                    assert await done == ""
            finally:
                link.close()
                await link.wait_closed()
            return replies

        return asyncio.run(scenario())

    return run


def state(store) -> list[object]:
    """Everything that the store holds of the log."""
    return [(key, store.ask("DUMP", key)) for key in sorted(store.ask("KEYS", "*"))]


def test_commit_appends_and_moves_the_head(talk: Talk, store) -> None:
    """A commit on the head appends its bytes unchanged under the next version."""
    one, two, page = talk(first(), second(), ReadLog(0, 10))
    assert isinstance(one, HeadReply)
    assert (one.outcome, one.version, one.token) == (Outcome.OK, 1, T1)
    assert abs(one.redis_now - now_us()) < 60_000_000
    assert isinstance(two, HeadReply)
    assert (two.outcome, two.version, two.token) == (Outcome.OK, 2, T2)
    assert page == LogPage((LogEntry(1, EMPTY_TOKEN, ENTRY), LogEntry(2, T1, LARGE)))
    assert store.ask("XLEN", KEYS.log) == 2


@pytest.mark.parametrize(
    "refused",
    [
        first(token=T2),
        first(version=1),
        first(version=1, token=T2, new_token=EMPTY_TOKEN),
        first(),
    ],
    ids=["foreign-token", "later-version", "other-chain", "same-again"],
)
def test_commit_on_another_head_is_moved(talk: Talk, store, refused: Commit) -> None:
    """A commit that names another head writes nothing and learns the head (P1)."""
    talk(first())
    before = state(store)
    (reply,) = talk(refused)
    assert isinstance(reply, HeadReply)
    assert (reply.outcome, reply.version, reply.token) == (Outcome.MOVED, 1, T1)
    assert state(store) == before


def test_successor_of_a_refused_commit_is_refused(talk: Talk) -> None:
    """Pipelined entries build on each other's tokens, so none survives its predecessor (P2)."""
    talk(first(entry=b"foreign", new_token=chain_token(EMPTY_TOKEN, b"foreign")))
    one, two = talk(first(), second())
    assert isinstance(one, HeadReply)
    assert isinstance(two, HeadReply)
    assert one.outcome == two.outcome == Outcome.MOVED


def test_commit_of_the_future_is_refused(talk: Talk, store) -> None:
    """A now more than 5 s ahead of Redis is refused unless the head is already there (P11)."""
    (reply,) = talk(first(now=now_us() + 30_000_000))
    assert isinstance(reply, HeadReply)
    assert reply.outcome == Outcome.CLOCK
    assert state(store) == []
    (reply,) = talk(Check(0, EMPTY_TOKEN, now_us() + 30_000_000, touch=True))
    assert isinstance(reply, HeadReply)
    assert reply.outcome == Outcome.CLOCK
    assert state(store) == []
    near = now_us() + 3_000_000
    talk(first(now=near))
    assert store.ask("HGET", KEYS.head, "now") == b"%d" % near
    # A head that stands in the future, say after Redis' own clock was set back, is no obstacle.
    ahead = now_us() + 90_000_000
    store.ask("HSET", KEYS.head, "now", b"%d" % ahead)
    late = Commit(1, T1, T2, ahead, BOOT, LARGE)
    (reply,) = talk(late)
    assert isinstance(reply, HeadReply)
    assert reply.outcome == Outcome.OK


def test_head_keeps_the_greatest_now(talk: Talk, store) -> None:
    """An entry with an older now does not turn the log's clock back."""
    now = now_us()
    talk(first(now=now), Commit(1, T1, T2, now - 9_000_000, BOOT, LARGE))
    assert store.ask("HGET", KEYS.head, "now") == b"%d" % now


def test_turn_of_another_boot_yields(talk: Talk, store) -> None:
    """While another boot holds the turn a commit writes nothing, and its own turn is none (P14)."""
    store.ask("SET", KEYS.turn, OTHER, "PX", "60000")
    before = store.ask("EXISTS", KEYS.log, KEYS.head)
    mine, theirs, reply = talk(Turn(BOOT), Turn(OTHER), first())
    assert (mine, theirs) == (TurnReply(False), TurnReply(True))
    assert isinstance(reply, HeadReply)
    assert reply.outcome == Outcome.YIELD
    assert store.ask("EXISTS", KEYS.log, KEYS.head) == before == 0
    store.ask("DEL", KEYS.turn)
    turn, reply = talk(Turn(BOOT), first())
    assert turn == TurnReply(True)
    assert isinstance(reply, HeadReply)
    assert reply.outcome == Outcome.OK
    time.sleep(0.05)
    assert store.ask("EXISTS", KEYS.turn) == 0


def test_check_tells_the_head_and_touches_only_when_asked(talk: Talk, store) -> None:
    """Check compares, and writes its key only on request and on the right head (P1, P6)."""
    now = now_us()
    right, wrong = talk(Check(0, EMPTY_TOKEN, now, touch=False), Check(0, T1, now, touch=True))
    assert isinstance(right, HeadReply)
    assert isinstance(wrong, HeadReply)
    assert (right.outcome, right.version, right.token) == (Outcome.OK, 0, EMPTY_TOKEN)
    assert wrong.outcome == Outcome.MOVED
    assert state(store) == []
    touched, waited = talk(Check(0, EMPTY_TOKEN, now, touch=True), Wait())
    assert isinstance(touched, HeadReply)
    assert touched.outcome == Outcome.OK
    assert waited == WaitReply(True)
    assert store.ask("KEYS", "*") == [KEYS.touch]


def fields(count: int, value: int = 1) -> tuple[tuple[str, int], ...]:
    return tuple((f'["m",{i}]', value) for i in range(count))


def folded(*writes: HashWrite, cursor: int = 0, last: bool = True, version: int = 1) -> FoldWrite:
    return FoldWrite(version, T1 if version == 1 else T2, cursor, writes, last)


def test_fold_writes_absolute_values_and_the_mark(talk: Talk, store) -> None:
    """A round sets fields and versions, its last call F; a hash of 9,000 fields needs no more."""
    largest = 2**63 - 1
    writes = (HashWrite("c:a:1", 0, fields(9000)), HashWrite("c:b:1", 0, (("x", -largest - 1),)))
    _, reply = talk(first(), folded(*writes, last=False))
    assert reply == FoldReply(True, 0, 1)
    assert store.ask("HLEN", KEYS.counter_hash("c:a:1")) == 9001
    reply, read = talk(
        folded(HashWrite("c:c:1", 0, (("x", largest),)), cursor=1),
        FoldRead(("c:a:1", "c:b:1", "c:c:1", "c:none:1")),
    )
    assert reply == FoldReply(True, 1, 2)
    assert read == FoldReadReply(1, 2, (1, 1, 1, 0))
    assert store.ask("HGET", KEYS.counter_hash("c:b:1"), "x") == b"%d" % (-largest - 1)
    assert store.ask("HGET", KEYS.counter_hash("c:c:1"), "x") == b"%d" % largest


@pytest.mark.parametrize(
    "refused",
    [
        folded(HashWrite("c:a:1", 0, (("x", 7),)), cursor=5),
        FoldWrite(1, T2, 0, (HashWrite("c:a:1", 0, (("x", 7),)),), last=True),
        FoldWrite(9, T2, 0, (HashWrite("c:a:1", 0, (("x", 7),)),), last=True),
        folded(HashWrite("c:b:1", 0, (("x", 7),)), HashWrite("c:a:1", 1, (("x", 7),))),
    ],
    ids=["cursor", "token", "version", "a-hash-that-lags"],
)
def test_void_fold_writes_nothing(talk: Talk, store, refused: FoldWrite) -> None:
    """A fold of another log, another round, or on a hash that lags, writes nothing (P7, P8)."""
    talk(first(), second())
    before = state(store)
    (reply,) = talk(refused)
    assert reply == FoldReply(False, 0, 0)
    assert state(store) == before


def test_fold_leaves_a_later_hash_alone(talk: Talk, store) -> None:
    """A hash that another server has folded further is not turned back, nor is F (P7, P8)."""
    talk(first(), second(), folded(HashWrite("c:a:1", 0, (("x", 2),)), version=2))
    (reply,) = talk(folded(HashWrite("c:a:1", 0, (("x", 1),)), cursor=1))
    assert reply == FoldReply(True, 2, 2)
    assert store.ask("HGET", KEYS.counter_hash("c:a:1"), "x") == b"2"
    assert store.ask("HGET", KEYS.counter_hash("c:a:1"), "v") == b"2"


def test_two_rounds_at_once_cannot_interleave(talk: Talk) -> None:
    """The cursor never returns to a value, so an old round never passes for the next one (P8)."""
    talk(first())
    started, *_ = talk(FoldRead(("c:a:1",)))
    assert isinstance(started, FoldReadReply)
    talk(folded(HashWrite("c:a:1", 0, (("x", 1),)), cursor=started.cursor))
    (late,) = talk(folded(HashWrite("c:b:1", 0, (("x", 1),)), cursor=started.cursor))
    assert late == FoldReply(False, 1, 1)


def test_pages_of_the_log(talk: Talk) -> None:
    """The log is read in order from after a version, at most the limit at once."""
    entries: list[Commit] = []
    token = EMPTY_TOKEN
    for version in range(12):
        entry = b"%d" % version
        entries.append(Commit(version, token, chain_token(token, entry), now_us(), BOOT, entry))
        token = entries[-1].new_token
    talk(*entries)
    middle, end, beyond = talk(ReadLog(3, 4), ReadLog(9, 10), ReadLog(12, 10))
    assert _versions(middle) == [4, 5, 6, 7]
    assert _versions(end) == [10, 11, 12]
    assert _versions(beyond) == []


def _versions(page: Reply) -> Sequence[int]:
    assert isinstance(page, LogPage)
    return [entry.version for entry in page.entries]


def test_functions_are_loaded_on_demand_and_old_versions_stay(talk: Talk, store) -> None:
    """A connection loads the library where it is missing, and leaves others alone."""
    other = "#!lua name=ratewright_0\nredis.register_function('rw0_f', function() return 1 end)"
    store.ask("FUNCTION", "LOAD", other)
    talk(first())
    listed = store.ask("FUNCTION", "LIST")
    assert sorted(library[1] for library in listed) == [b"ratewright_0", b"ratewright_1"]
