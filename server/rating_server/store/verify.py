"""Proof that the hashes in Redis say what the log says, and reads straight from both.

Neither function uses a running server: they read Redis and fold by themselves, so they tell whether
what a server shows is true. Hashes, versions and the mark F are read first and the log after (P9).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from rating_core.errors import LogCorrupt, SnapshotInvalid
from rating_core.metering.calls import Bands, StateDigest
from rating_core.metering.counting.counter_names import hash_key_of
from rating_core.metering.deciding.records_entry import RecordsEntry
from rating_core.metering.deciding.row_keys import entry_keys
from rating_core.metering.log.archive import SnapshotName
from rating_core.metering.log.entry import decode_body, decode_envelope
from rating_core.metering.log.protocol import LogEntry, Machine, chain_token
from rating_core.metering.shard import UsageShard
from rating_server.ports import StoreUnavailable
from rating_server.store.adapter import LinkOptions
from rating_server.store.field_fold import fold_record
from rating_server.store.keys import LogKeys
from rating_server.store.log_reader import LogReader, StoredCounters, log_reader
from rating_server.store.whole_log import whole_log

if TYPE_CHECKING:
    from rating_server.store.archive_files import ArchiveFiles

_MOST_ATTEMPTS = 100


@dataclass(frozen=True, slots=True)
class Repair:
    """What a hash should be: ``fields`` at ``version``, in place of what stands at ``stands_at``.

    No fields: the hash should not be there.
    """

    key: str
    stands_at: int
    version: int
    fields: dict[str, int]


@dataclass(slots=True)
class Verification:
    """What was compared and what did not agree; ``differences`` holds one line each,
    ``repairs`` what would mend them where it is a hash that is wrong;
    ``only_hashes``: nothing else is.

    ``version``: where the log ended; ``mark``: F; ``entries``, ``ids``, ``hashes`` and
    ``snapshots``: how many were read.
    """

    version: int = 0
    mark: int = 0
    entries: int = 0
    ids: int = 0
    hashes: int = 0
    snapshots: int = 0
    differences: list[str] = field(default_factory=list)
    repairs: list[Repair] = field(default_factory=list)
    only_hashes: bool = True

    def broken(self, line: str) -> None:
        """Note a difference that no repair of a hash mends."""
        self.differences.append(line)
        self.only_hashes = False

    @property
    def ok(self) -> bool:
        """Whether everything agrees."""
        return not self.differences


async def verify_log(
    options: LinkOptions,
    keys: LogKeys,
    machine: Machine,
    files: ArchiveFiles | None = None,
    seen: Callable[[LogEntry], None] = lambda _: None,
    spare: Machine | None = None,
) -> Verification:
    """Replay a whole log on a fresh ``machine`` and compare every hash with it, at its version.

    What was trimmed comes from ``files``, the archive; with a ``spare`` machine of the store's hash
    key, snapshots in it are restored and compared with the replay. Also checked: the chain of
    tokens and versions (P5), that no id is counted twice and each is known afterwards (S7), that
    the head is the last entry, and that no hash lags behind F (P8).
    ``seen`` is called with each entry. StoreUnavailable if the store does not answer.
    """
    async with log_reader(options, keys) as reader:
        snapshots = _Snapshots(files, keys.name, spare)
        await snapshots.list()
        return await _verify(reader, machine, files, snapshots, seen)


class _Snapshots:
    """The snapshots of one log's archive, each to be compared when the replay comes to it."""

    def __init__(self, files: ArchiveFiles | None, log: str, spare: Machine | None) -> None:
        self._files = files
        self._log = log
        self._spare = spare
        self._names: set[SnapshotName] = set()

    async def list(self) -> None:
        if self._files is not None and self._spare is not None:
            listing = await asyncio.to_thread(self._files.listing, self._log)
            self._names = set(listing.snapshots)

    async def compare(self, report: Verification, machine: Machine) -> None:
        name = SnapshotName(machine.version, machine.token)
        if name not in self._names or self._files is None or self._spare is None:
            return
        report.snapshots += 1
        snapshot = await asyncio.to_thread(self._files.snapshot, self._log, name)
        if snapshot is None:
            report.broken(f"snapshot {name.version}: cannot be read")
            return
        try:
            self._spare.restore(snapshot)
        except SnapshotInvalid as error:
            report.broken(f"snapshot {name.version}: {error}")
            return
        if self._spare.query(StateDigest()) != machine.query(StateDigest()):
            report.broken(f"snapshot {name.version}: not what the log says")


async def _verify(
    reader: LogReader,
    machine: Machine,
    files: ArchiveFiles | None,
    snapshots: _Snapshots,
    seen: Callable[[LogEntry], None],
) -> Verification:
    report = Verification(mark=await reader.mark())
    hashes = await reader.hashes()
    head_version, head_token = await reader.head()
    report.hashes = len(hashes)
    by_version: dict[int, list[str]] = {}
    for key, stored in hashes.items():
        by_version.setdefault(stored.version, []).append(key)
    try:
        async for entry in whole_log(reader, files):
            envelope = decode_envelope(entry.entry)
            token = chain_token(entry.previous, entry.entry)
            identities = _new_ids(report, machine, envelope.body, entry.version)
            machine.apply(envelope.body, envelope.now, entry.version, token)
            _require_known(report, machine, identities, entry.version)
            report.entries += 1
            seen(entry)
            await snapshots.compare(report, machine)
            for key in by_version.pop(machine.version, ()):
                _compare(report, machine, key, hashes[key])
            if machine.version == report.mark:
                _compare_with_mark(report, machine, hashes)
            if machine.version == head_version and machine.token != head_token:
                report.broken("the head's token is not the last entry's")
        read = True
    except LogCorrupt as error:
        read = False
        report.broken(str(error))
    report.version = machine.version
    if machine.version < head_version:
        read = False
        report.broken(f"the head is at {head_version}, the log at {machine.version}")
    if read:
        _compare_beyond(report, machine, by_version)
    elif by_version:
        count = sum(map(len, by_version.values()))
        report.broken(f"{count} hashes are not compared: the log cannot be read to where they are")
    return report


def _compare_beyond(
    report: Verification, machine: Machine, by_version: dict[int, list[str]]
) -> None:
    """Hashes that reflect more than the whole log holds, as after a failover that lost its tail.

    Never of a log that could not be read to its end: then it is the log that is wrong, or only the
    place of its archive, and the hashes may be all that is left.
    """
    for version, keys in sorted(by_version.items()):
        for key in keys:
            report.differences.append(f"{key}: at {version}, beyond the log")
            fields = dict(machine.hash_fields(key, 0))
            report.repairs.append(Repair(key, version, machine.version, fields))


def _new_ids(
    report: Verification, machine: Machine, body: bytes, version: int
) -> NDArray[np.uint64]:
    """Return the ids that an entry counts; S7: none of them twice, none that was counted before."""
    if not isinstance(machine, UsageShard):
        return np.zeros((0, 3), np.uint64)
    identities = _identities(machine, body)
    held = int(_held(machine, identities).sum())
    if held:
        report.broken(f"entry {version}: counts {held} records whose ids were counted before")
    twice = len(identities) - len(np.unique(identities[:, :2], axis=0))
    if twice:
        report.broken(f"entry {version}: counts {twice} records whose ids it has counted itself")
    report.ids += len(identities)
    return identities


def _identities(machine: UsageShard, body: bytes) -> NDArray[np.uint64]:
    """Return the identities of an entry's records with ids, uint64[n, 3] as in `IdIndex`."""
    entry = decode_body(body)
    if not isinstance(entry, RecordsEntry) or entry.producers:
        return np.zeros((0, 3), np.uint64)
    hashes = machine.hash_key.hash_names(entry.customers)
    return entry_keys(machine.hash_key, hashes, entry).identities


def _require_known(
    report: Verification, machine: Machine, identities: NDArray[np.uint64], version: int
) -> None:
    """S7: every counted id is known afterwards, so that a resend of it is a duplicate."""
    if isinstance(machine, UsageShard) and not _held(machine, identities).all():
        report.broken(f"entry {version}: the id index does not hold the ids that it counts")


def _held(machine: UsageShard, identities: NDArray[np.uint64]) -> NDArray[np.bool_]:
    found = np.zeros(len(identities), np.bool_)
    machine.ids.find(identities, found, np.zeros(len(identities), np.uint64))
    return found


def _compare_with_mark(
    report: Verification, machine: Machine, hashes: dict[str, StoredCounters]
) -> None:
    """P8: no hash may lack anything of the entries up to F, at which the machine stands."""
    for key in machine.changed_hashes(0):
        stood = hashes[key].version if key in hashes else 0
        if stood < report.mark and machine.hash_fields(key, stood):
            report.differences.append(f"{key}: stands at {stood}, behind F {report.mark}")
            fields = dict(machine.hash_fields(key, 0))
            report.repairs.append(Repair(key, stood, report.mark, fields))


def _compare(report: Verification, machine: Machine, key: str, stored: StoredCounters) -> None:
    expected = dict(machine.hash_fields(key, 0))
    if expected != stored.fields:
        report.repairs.append(Repair(key, stored.version, stored.version, expected))
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
    async with log_reader(options, keys) as reader:
        for _ in range(_MOST_ATTEMPTS):
            mark = await reader.mark()
            stored = await reader.hash(keys.counter_hash(hash_key_of(customer, period_start)))
            found = await _add_later(reader, stored, mark, customer, period_start, bands)
            if found is not None:
                return found
    raise StoreUnavailable("the log was trimmed faster than it could be read")


async def _add_later(
    reader: LogReader,
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
        fold_record(totals, body, row, bands)
