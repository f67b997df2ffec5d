"""Commands of `rating_core.metering.log.protocol` as bytes for Redis, and its replies as values.

No I/O here. A command is one Redis command; packing is done in one join, because redis-py's own
packing costs microseconds an argument and a fold has thousands.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

from rating_core.metering.log.protocol import (
    Check,
    Command,
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
    Reply,
    Trim,
    TrimReply,
    Turn,
    TurnReply,
    Wait,
    WaitReply,
)
from rating_server.store.keys import (
    ENTRY_BODY_FIELD,
    ENTRY_PREVIOUS_FIELD,
    LogKeys,
)

LIBRARY_NAME = b"ratewright_1"
TURN_MILLISECONDS = 20
_LARGE_ARGUMENT = 16_384


class ReplyUnreadable(Exception):
    """Redis answered a command with something that its reply cannot be."""


def library_source() -> bytes:
    """Return the text of the function library, as FUNCTION LOAD takes it."""
    return (Path(__file__).parent / "library" / "ratewright.lua").read_bytes()


def pack(*arguments: bytes) -> list[bytes]:
    """Return one Redis command in RESP, in pieces to be written in order.

    A large argument stays a piece of its own, so that its bytes are not copied.
    """
    pieces: list[bytes] = []
    small = [b"*%d\r\n" % len(arguments)]
    for argument in arguments:
        if len(argument) < _LARGE_ARGUMENT:
            small.append(b"$%d\r\n%b\r\n" % (len(argument), argument))
        else:
            small.append(b"$%d\r\n" % len(argument))
            pieces.append(b"".join(small))
            pieces.append(argument)
            small = [b"\r\n"]
    pieces.append(b"".join(small))
    return pieces


def _text(number: int) -> bytes:
    return b"%d" % number


def _bulk(argument: bytes) -> bytes:
    return b"$%d\r\n%b\r\n" % (len(argument), argument)


@lru_cache(maxsize=1 << 12)
def _number(number: int) -> bytes:
    return _bulk(_text(number))


@lru_cache(maxsize=1 << 12)
def _name(field: str) -> bytes:
    return _bulk(field.encode(errors="surrogatepass"))


class Wire:
    """Encodes the commands of one log's session and decodes their replies.

    ``replicas`` and ``wait_ms`` are the number of replicas that must hold a write at REPLICATED,
    and how long one WAIT may take (P6).
    """

    def __init__(self, keys: LogKeys, replicas: int = 0, wait_ms: int = 1000) -> None:
        self._keys = keys
        self._replicas = replicas
        self._wait_ms = wait_ms

    @property
    def log_name(self) -> str:
        """Name of the log: the number of a shard, or `catalogue`."""
        return self._keys.name

    def encode(self, command: Command | Trim) -> list[bytes]:
        """Return the bytes of a command, in pieces to be written in order."""
        keys = self._keys
        match command:
            case Commit():
                return pack(
                    *(b"FCALL", b"rw1_commit", b"3", keys.log, keys.head, keys.turn),
                    *(_text(command.version), command.token, _text(command.version + 1)),
                    *(command.new_token, _text(command.now), command.boot, command.entry),
                )
            case Check():
                return pack(
                    *(b"FCALL", b"rw1_check", b"2", keys.head, keys.touch),
                    *(_text(command.version), command.token, _text(command.now)),
                    b"1" if command.touch else b"0",
                )
            case ReadLog():
                first = b"%d-0" % (command.after + 1)
                return pack(b"XRANGE", keys.log, first, b"+", b"COUNT", _text(command.limit))
            case Turn():
                # GET tells whether the holder is this very boot; NX with GET needs Redis 7.
                return pack(
                    *(b"SET", keys.turn, command.boot, b"NX", b"GET"),
                    *(b"PX", _text(TURN_MILLISECONDS)),
                )
            case Wait():
                return pack(b"WAIT", _text(self._replicas), _text(self._wait_ms))
            case FoldRead():
                hashes = [keys.counter_hash(key) for key in command.keys]
                count = _text(1 + len(hashes))
                return pack(b"FCALL", b"rw1_standing", count, keys.fold, *hashes)
            case FoldWrite():
                return self._encode_fold(command)
            case Trim():
                kept = command.snapshot
                return pack(
                    *(b"FCALL", b"rw1_trim", b"3", keys.log, keys.head, keys.fold),
                    *(_text(command.version), command.token, _text(kept.version), kept.token),
                )
        raise TypeError(f"not a command: {command!r}")

    def _encode_fold(self, command: FoldWrite) -> list[bytes]:
        keys = self._keys
        writes = command.writes
        head = [b"FCALL", b"rw1_fold", _text(3 + len(writes)), keys.log, keys.head, keys.fold]
        facts = [_text(command.version), command.token, _text(command.cursor)]
        facts.append(b"1" if command.last else b"0")
        fields = [field for write in writes for field in write.fields]
        count = len(head) + len(facts) + 3 * len(writes) + 2 * len(fields)
        bulks = [b"*%d\r\n" % count, *map(_bulk, head)]
        bulks += [_bulk(keys.counter_hash(write.key)) for write in writes]
        bulks += map(_bulk, facts)
        for write in writes:
            bulks += (_number(write.expected), _number(len(write.fields)))
            for field, value in write.fields:
                digits = b"%d" % value
                bulks.append(b"%b$%d\r\n%b\r\n" % (_name(field), len(digits), digits))
        return [b"".join(bulks)]

    def decode(self, command: Command | Trim, raw: object) -> Reply:
        """Return the reply to ``command``. ReplyUnreadable if Redis sent something else."""
        try:
            return self._decode(command, raw)
        except (ValueError, TypeError, IndexError, AttributeError, KeyError) as error:
            kind = type(command).__name__
            raise ReplyUnreadable(f"{self._keys.name}: reply to {kind}: {error}") from error

    def _decode(self, command: Command | Trim, raw: object) -> Reply:
        match command:
            case Commit() | Check():
                outcome, version, token, redis_now = _items(raw)
                return HeadReply(
                    Outcome(_bytes(outcome).decode()), int(version), _bytes(token), int(redis_now)
                )
            case ReadLog():
                return LogPage(tuple(_log_entry(item) for item in _items(raw)))
            case Turn():
                return TurnReply(raw is None or raw == command.boot)
            case Wait():
                return WaitReply(_integer(raw) >= self._replicas)
            case FoldRead():
                mark, cursor, *versions = (int(item) for item in _items(raw))
                if len(versions) != len(command.keys):
                    raise ValueError("another number of hashes")
                return FoldReadReply(mark, cursor, tuple(versions))
            case FoldWrite():
                ok, mark_text, cursor_text = _items(raw)
                return FoldReply(ok == b"1", int(mark_text), int(cursor_text))
            case Trim():
                ok, mark_text = _items(raw)
                return TrimReply(ok == b"1", int(mark_text))
        raise TypeError(f"not a command: {command!r}")

    def full(self, command: Command) -> Reply | None:
        """Return the reply that stands for Redis' refusal for want of memory (P15), if one does.

        The head is not told then: a refused commit's reply names the head that it expected.
        """
        match command:
            case Commit():
                return HeadReply(Outcome.FULL, command.version, command.token, 0)
            case Turn():
                return TurnReply(False)
        return None


def _items(raw: object) -> Sequence[bytes]:
    if not isinstance(raw, list):
        raise TypeError(f"a list was expected, not {type(raw).__name__}")
    return raw


def _bytes(raw: object) -> bytes:
    if not isinstance(raw, bytes):
        raise TypeError(f"bytes were expected, not {type(raw).__name__}")
    return raw


def _integer(raw: object) -> int:
    if not isinstance(raw, int):
        raise TypeError(f"an integer was expected, not {type(raw).__name__}")
    return raw


def _log_entry(item: object) -> LogEntry:
    entry_id, fields = _items(item)
    names = _items(fields)
    by_name = dict(zip(names[0::2], names[1::2], strict=True))
    version, _, sequence = entry_id.partition(b"-")
    # What is not an entry of ours continues no chain: the session says so, once and clearly (P5).
    previous = by_name.get(ENTRY_PREVIOUS_FIELD, b"") if sequence == b"0" else b""
    return LogEntry(int(version), previous, by_name.get(ENTRY_BODY_FIELD, b""))
