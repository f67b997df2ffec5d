"""Reads one log and its counter hashes straight from Redis, without a server."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

from redis.asyncio.connection import Connection

from rating_core.errors import LogCorrupt
from rating_core.metering.log.protocol import LogEntry, LogPage, ReadLog, chain_token
from rating_server.ports import StoreUnavailable
from rating_server.store.adapter import LinkOptions, dial
from rating_server.store.connection import (
    CONNECTION_ERRORS,
    ask_redis,
    disconnect,
    words_of,
)
from rating_server.store.keys import (
    CONFIG_HASH_KEY_FIELD,
    CONFIG_KEY,
    CONFIG_SHARDS_FIELD,
    ENTRY_TOKEN_FIELD,
    HASH_VERSION_FIELD,
    LogKeys,
)
from rating_server.store.preflight import Initialised
from rating_server.store.wire import Wire

_PAGE_ENTRIES = 64
_SCAN_COUNT = b"1000"


@dataclass(frozen=True, slots=True)
class StoredCounters:
    """Counters of one customer and period at ``version``, by field name (log-format.md)."""

    version: int
    fields: dict[str, int]


class LogReader:
    """One log as it stands in Redis, read over one connection."""

    def __init__(self, connection: Connection, keys: LogKeys) -> None:
        self._connection = connection
        self._keys = keys
        self._wire = Wire(keys)

    @property
    def log_name(self) -> str:
        """Name of the log: the number of a shard, or `catalogue`."""
        return self._keys.name

    async def mark(self) -> int:
        """Return the mark F (P8)."""
        stored = await ask_redis(self._connection, b"HGET", self._keys.fold, b"mark")
        return int(stored or 0)

    async def head(self) -> tuple[int, bytes]:
        """Return version and token of the head."""
        version, token = await ask_redis(self._connection, b"HMGET", self._keys.head, b"v", b"t")
        return int(version or 0), token or bytes(16)

    async def hash(self, key: bytes) -> StoredCounters:
        """Return a counter hash by its full key."""
        flat = await ask_redis(self._connection, b"HGETALL", key)
        content = dict(zip(flat[0::2], flat[1::2], strict=True))
        version = int(content.pop(HASH_VERSION_FIELD, 0))
        fields = {name.decode(errors="surrogatepass"): int(v) for name, v in content.items()}
        return StoredCounters(version, fields)

    async def hashes(self) -> dict[str, StoredCounters]:
        """Return all counter hashes by the machine's names."""
        found: dict[str, StoredCounters] = {}
        cursor = b"0"
        while True:
            cursor, names = await ask_redis(
                self._connection,
                *(b"SCAN", cursor, b"MATCH", self._keys.counter_pattern, b"COUNT", _SCAN_COUNT),
            )
            for name in names:
                found[self._keys.machine_key(name)] = await self.hash(name)
            if cursor == b"0":
                return found

    async def extent(self) -> tuple[int, int]:
        """Return how many entries the store has of the log, and the version of the last, or 0."""
        entries = await ask_redis(self._connection, b"XLEN", self._keys.log)
        newest = await ask_redis(
            self._connection, b"XREVRANGE", self._keys.log, b"+", b"-", b"COUNT", b"1"
        )
        return int(entries), int(newest[0][0].partition(b"-")[0]) if newest else 0

    async def memory(self) -> int:
        """Return the bytes that the log takes in the store, as it says."""
        return int(await ask_redis(self._connection, b"MEMORY", b"USAGE", self._keys.log) or 0)

    async def log(self, after: int, most: int | None = None) -> AsyncIterator[LogEntry]:
        """Yield the entries with version > ``after`` that the log still has, ``most`` at most.

        LogCorrupt at an entry whose bytes are not those of the token beside them (P5).
        """
        while True:
            limit = _PAGE_ENTRIES if most is None else most
            command = ReadLog(after, limit)
            await self._connection.send_packed_command(self._wire.encode(command))
            raw = await self._connection.read_response()
            page = self._wire.decode(command, raw)
            if not isinstance(page, LogPage):
                raise TypeError("a page of the log was expected")
            for entry, (_, fields) in zip(page.entries, raw, strict=True):
                _require_token(entry, fields)
                yield entry
                after = entry.version
            if most is not None or len(page.entries) < limit:
                return


def _require_token(entry: LogEntry, fields: Sequence[bytes]) -> None:
    stored = dict(zip(fields[0::2], fields[1::2], strict=True)).get(ENTRY_TOKEN_FIELD)
    if stored != chain_token(entry.previous, entry.entry):
        raise LogCorrupt(f"entry {entry.version}: its bytes are not those of its token")


@contextlib.asynccontextmanager
async def log_reader(options: LinkOptions, keys: LogKeys) -> AsyncIterator[LogReader]:
    """Read on a connection to the log's node; whatever goes wrong there is StoreUnavailable."""
    connection = None
    try:
        connection = await dial(options, keys.log)
        yield LogReader(connection, keys)
    except CONNECTION_ERRORS as error:
        raise StoreUnavailable(f"the store does not answer: {words_of(error)}") from error
    finally:
        if connection is not None:
            await disconnect(connection)


async def read_initialised(options: LinkOptions) -> Initialised | None:
    """Return what was fixed when the store was first used; None if it never was.

    StoreUnavailable if the store does not answer.
    """
    connection = None
    try:
        connection = await dial(options, CONFIG_KEY)
        shards, hash_key = await ask_redis(
            connection, b"HMGET", CONFIG_KEY, CONFIG_SHARDS_FIELD, CONFIG_HASH_KEY_FIELD
        )
    except (*CONNECTION_ERRORS, TimeoutError) as error:
        raise StoreUnavailable(f"the store does not answer: {words_of(error)}") from error
    finally:
        if connection is not None:
            await disconnect(connection)
    return None if shards is None else Initialised(int(shards), hash_key or b"")
