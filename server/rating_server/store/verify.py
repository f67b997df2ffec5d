"""Proof that the hashes in Redis say what the log says, and reads straight from both.

Neither function uses a running server: they read Redis and fold by themselves, so they tell whether
what a server shows is true. Hashes, versions and the mark F are read first and the log after (P9).
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import numpy as np
from redis.asyncio.connection import Connection

from rating_core.catalog import Aggregation
from rating_core.errors import LogCorrupt
from rating_core.metering.calls import Bands
from rating_core.metering.counter_names import field_name, hash_key_of
from rating_core.metering.entry import decode_body, decode_envelope
from rating_core.metering.protocol import LogEntry, LogPage, Machine, ReadLog, chain_token
from rating_core.metering.records_entry import RecordsEntry
from rating_server.ports import StoreUnavailable
from rating_server.store.adapter import LinkOptions, dial
from rating_server.store.connection import (
    CONNECTION_ERRORS,
    ask_redis,
    disconnect,
)
from rating_server.store.keys import HASH_VERSION_FIELD, LogKeys
from rating_server.store.wire import Wire

_PAGE_ENTRIES = 64
_SCAN_COUNT = b"1000"
_MOST_ATTEMPTS = 100


@dataclass(slots=True)
class Verification:
    """What was compared and what did not agree; ``differences`` holds one line each.

    ``version``: where the log ended; ``mark``: F; ``entries`` and ``hashes``: how many were read.
    """

    version: int = 0
    mark: int = 0
    entries: int = 0
    hashes: int = 0
    differences: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether everything agrees."""
        return not self.differences


@dataclass(frozen=True, slots=True)
class StoredCounters:
    """Counters of one customer and period at ``version``, by field name (log-format.md)."""

    version: int
    fields: dict[str, int]


class _Reader:
    def __init__(self, connection: Connection, keys: LogKeys) -> None:
        self._connection = connection
        self._keys = keys
        self._wire = Wire(keys)

    async def mark(self) -> int:
        stored = await ask_redis(self._connection, b"HGET", self._keys.fold, b"mark")
        return int(stored or 0)

    async def head(self) -> tuple[int, bytes]:
        version, token = await ask_redis(self._connection, b"HMGET", self._keys.head, b"v", b"t")
        return int(version or 0), token or bytes(16)

    async def hash(self, key: bytes) -> StoredCounters:
        flat = await ask_redis(self._connection, b"HGETALL", key)
        content = dict(zip(flat[0::2], flat[1::2], strict=True))
        version = int(content.pop(HASH_VERSION_FIELD, 0))
        fields = {name.decode(errors="surrogatepass"): int(v) for name, v in content.items()}
        return StoredCounters(version, fields)

    async def hashes(self) -> dict[str, StoredCounters]:
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

    async def log(self, after: int) -> AsyncIterator[LogEntry]:
        while True:
            command = ReadLog(after, _PAGE_ENTRIES)
            await self._connection.send_packed_command(self._wire.encode(command))
            page = self._wire.decode(command, await self._connection.read_response())
            if not isinstance(page, LogPage):
                raise TypeError("a page of the log was expected")
            for entry in page.entries:
                yield entry
                after = entry.version
            if len(page.entries) < _PAGE_ENTRIES:
                return


@contextlib.asynccontextmanager
async def _reader(options: LinkOptions, keys: LogKeys) -> AsyncIterator[_Reader]:
    """Read on a connection to the log's node; whatever goes wrong there is StoreUnavailable."""
    connection = None
    try:
        connection = await dial(options, keys.log)
        yield _Reader(connection, keys)
    except CONNECTION_ERRORS as error:
        raise StoreUnavailable(f"the store does not answer: {error}") from error
    finally:
        if connection is not None:
            await disconnect(connection)


async def verify_log(options: LinkOptions, keys: LogKeys, machine: Machine) -> Verification:
    """Replay a whole log on a fresh ``machine`` and compare every hash with it, at its version.

    Also checked: the chain of tokens and versions (P5), that the head is the last entry, and that
    no hash lags behind F (P8). StoreUnavailable if the store does not answer.
    """
    async with _reader(options, keys) as reader:
        return await _verify(reader, machine)


async def _verify(reader: _Reader, machine: Machine) -> Verification:
    report = Verification(mark=await reader.mark())
    hashes = await reader.hashes()
    head_version, head_token = await reader.head()
    report.hashes = len(hashes)
    by_version: dict[int, list[str]] = {}
    for key, stored in hashes.items():
        by_version.setdefault(stored.version, []).append(key)
    try:
        async for entry in reader.log(0):
            _replay(machine, entry)
            report.entries += 1
            for key in by_version.pop(machine.version, ()):
                _compare(report, machine, key, hashes[key])
            if machine.version == report.mark:
                _compare_with_mark(report, machine, hashes)
            if machine.version == head_version and machine.token != head_token:
                report.differences.append("the head's token is not the last entry's")
    except LogCorrupt as error:
        report.differences.append(str(error))
    report.version = machine.version
    if machine.version < head_version:
        report.differences.append(f"the head is at {head_version}, the log at {machine.version}")
    for version, keys_left in sorted(by_version.items()):
        report.differences += [f"{key}: at {version}, beyond the log" for key in keys_left]
    return report


def _replay(machine: Machine, entry: LogEntry) -> None:
    if (entry.version, entry.previous) != (machine.version + 1, machine.token):
        raise LogCorrupt(f"entry {entry.version} does not continue the log at {machine.version}")
    envelope = decode_envelope(entry.entry)
    token = chain_token(entry.previous, entry.entry)
    machine.apply(envelope.body, envelope.now, entry.version, token)


def _compare_with_mark(
    report: Verification, machine: Machine, hashes: dict[str, StoredCounters]
) -> None:
    """P8: no hash may lack anything of the entries up to F, at which the machine stands."""
    for key in machine.changed_hashes(0):
        stood = hashes[key].version if key in hashes else 0
        if stood < report.mark and machine.hash_fields(key, stood):
            report.differences.append(f"{key}: stands at {stood}, behind F {report.mark}")


def _compare(report: Verification, machine: Machine, key: str, stored: StoredCounters) -> None:
    expected = dict(machine.hash_fields(key, 0))
    for name in sorted(expected.keys() | stored.fields.keys()):
        if expected.get(name) != stored.fields.get(name):
            report.differences.append(
                f"{key} {name}: {stored.fields.get(name)} stored, {expected.get(name)} by the log "
                f"at {stored.version}"
            )


async def read_counters(
    options: LinkOptions, keys: LogKeys, customer: str, period_start: int, bands: Bands
) -> StoredCounters:
    """Return the counters of a period now: its hash, plus that customer's later records (P9).

    ``period_start`` in µs UTC; ``bands`` are the thresholds of the customer's subscription (S3.4).
    Starts over if the log no longer reaches back to what was read of the hash; StoreUnavailable if
    that goes on, or the store does not answer.
    """
    async with _reader(options, keys) as reader:
        for _ in range(_MOST_ATTEMPTS):
            mark = await reader.mark()
            stored = await reader.hash(keys.counter_hash(hash_key_of(customer, period_start)))
            found = await _add_later(reader, stored, mark, customer, period_start, bands)
            if found is not None:
                return found
    raise StoreUnavailable("the log was trimmed faster than it could be read")


async def _add_later(
    reader: _Reader,
    stored: StoredCounters,
    mark: int,
    customer: str,
    period_start: int,
    bands: Bands,
) -> StoredCounters | None:
    """Add the records after max(version, F); None if the log begins later than that."""
    version = max(stored.version, mark)
    totals = dict(stored.fields)
    async for entry in reader.log(version):
        if entry.version != version + 1:
            return None
        version = entry.version
        body = decode_body(decode_envelope(entry.entry).body)
        if isinstance(body, RecordsEntry) and customer in body.customers:
            _add_records(totals, body, customer, period_start, bands)
    return StoredCounters(version, totals)


def _add_records(
    totals: dict[str, int], body: RecordsEntry, customer: str, period_start: int, bands: Bands
) -> None:
    # A sender's dictionary may name a customer twice.
    numbers = [number for number, name in enumerate(body.customers) if name == customer]
    rows = (np.isin(body.codes[0], numbers) & (body.words[2] == period_start)).nonzero()[0]
    for row in rows.tolist():
        meter = body.meters[int(body.codes[1, row])]
        names = meter.id, body.dimension_sets[int(body.codes[2, row])]
        counted = meter.aggregation is Aggregation.COUNT
        amount = 1 if counted else int(body.words[0, row])
        changes: dict[tuple[str, ...], int] = {("value",): amount, ("events",): 1}
        for charge, (floor_max, ceiling_min) in bands.get(meter.id, {}).items():
            at_floor = floor_max is not None and amount <= floor_max
            at_ceiling = not at_floor and ceiling_min is not None and amount >= ceiling_min
            changes["floor", charge] = int(at_floor)
            changes["ceiling", charge] = int(at_ceiling)
            changes["between", charge] = 0 if at_floor or at_ceiling else amount
        for kind, change in changes.items():
            name = field_name(*names, *kind)
            totals[name] = totals.get(name, 0) + change
