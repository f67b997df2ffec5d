"""Replies that no store of ours gives are named, not guessed at."""

from __future__ import annotations

import pytest

from rating_core.metering.log.protocol import (
    EMPTY_TOKEN,
    Check,
    Command,
    FoldRead,
    LogEntry,
    LogPage,
    ReadLog,
    Wait,
)
from rating_server.store.keys import shard_keys
from rating_server.store.wire import ReplyUnreadable, Wire

KEYS = shard_keys(0)


@pytest.mark.parametrize(
    ("command", "raw"),
    [
        (Check(0, EMPTY_TOKEN, 0, touch=False), [b"OK", b"1", EMPTY_TOKEN]),
        (Check(0, EMPTY_TOKEN, 0, touch=False), [b"FINE", b"1", EMPTY_TOKEN, b"0"]),
        (Check(0, EMPTY_TOKEN, 0, touch=False), b"OK"),
        (Check(0, EMPTY_TOKEN, 0, touch=False), [b"OK", b"x", EMPTY_TOKEN, b"0"]),
        (ReadLog(0, 1), [[b"1-x", b"p"]]),
        (ReadLog(0, 1), None),
        (FoldRead(("a",)), [b"0", b"0"]),
        (Wait(), b"1"),
    ],
)
def test_unreadable_replies_are_named(command: Command, raw: object) -> None:
    """A reply that cannot be is one kind of error, whatever is wrong with it."""
    with pytest.raises(ReplyUnreadable):
        Wire(KEYS).decode(command, raw)


@pytest.mark.parametrize(
    ("item", "entry"),
    [
        ([b"1-1", [b"p", EMPTY_TOKEN, b"e", b"x"]], LogEntry(1, b"", b"x")),
        ([b"1-0", [b"p", EMPTY_TOKEN]], LogEntry(1, EMPTY_TOKEN, b"")),
        ([b"1-0", [b"hello", b"world"]], LogEntry(1, b"", b"")),
    ],
)
def test_what_others_wrote_to_a_log_continues_no_chain(item: object, entry: LogEntry) -> None:
    """P5: such an entry reaches the session, which refuses the log with a reason; no reconnects."""
    assert Wire(KEYS).decode(ReadLog(0, 1), [item]) == LogPage((entry,))
