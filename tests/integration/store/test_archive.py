"""Archiving on a real store: what leaves the log is in the archive, whatever dies in between."""

from __future__ import annotations

import asyncio
import contextlib
import random
import threading
from decimal import Decimal
from pathlib import Path

import pyarrow.compute as pc
import pytest

from rating_core.catalog import BillingPeriod
from rating_core.metering.batch import RecordStatus, shard_of
from rating_core.metering.calls import CreateSubscription, RecordCall, StateDigest
from rating_core.metering.catalogue_calls import CreateMeter
from rating_core.metering.deciding.record import UsageRecord, batch_of
from rating_core.metering.log.archive import SegmentName
from rating_core.metering.log.archiver import WriteSegment
from rating_core.metering.log.protocol import Trim, TrimReply
from rating_core.metering.log.snapshot import Encoded, Snapshot
from rating_server.ports import StoreRefused, Window
from rating_server.store.adapter import LinkOptions, dial
from rating_server.store.archive_files import ArchiveFiles
from rating_server.store.archiving import ArchivePolicy, LogArchiver
from rating_server.store.connection import disconnect
from rating_server.store.keys import shard_keys
from rating_server.store.usage_store import RedisUsageStore, UsageStoreOptions, system_clock
from rating_server.store.wire import Wire

MARCH = 1_772_323_200_000_000
"""2026-03-01T00:00:00Z in µs."""
SHARDS = 2
CUSTOMERS = [f"c{number}" for number in range(8)]
NOW = ArchivePolicy(after_us=0, segment_bytes=20_000)
"""Everything is old enough; small segments, so that there are several."""


def options(url: str, archive: Path | str, **changes: object) -> UsageStoreOptions:
    values: dict[str, object] = {"url": url, "shards": SHARDS, "window": Window(None)}
    values["archive"] = str(archive)
    return UsageStoreOptions(**(values | changes))  # type: ignore[arg-type]


@contextlib.asynccontextmanager
async def serving(url: str, archive: Path | str):
    store = RedisUsageStore(options(url, archive))
    await store.start()
    try:
        yield store
    finally:
        await store.close()


async def prepare(store: RedisUsageStore) -> None:
    """Create the meter and put the customers on a plan."""
    document = {"id": "tokens", "aggregation": "sum", "scale": "2", "dimensions": ["model"]}
    await store.catalogue_call(CreateMeter(document=document))
    for customer in CUSTOMERS:
        call = CreateSubscription(
            customer=customer,
            subscription_id=f"s-{customer}",
            plan_id="p",
            plan_version=1,
            billing_period=BillingPeriod.MONTH,
            start_time=MARCH,
        )
        await store.submit(shard_of(customer, SHARDS), call)


def rows_of(count: int, seed: int) -> list[UsageRecord]:
    rng = random.Random(seed)
    return [
        UsageRecord(
            customer=rng.choice(CUSTOMERS),
            meter="tokens",
            event_id=f"{seed}-{number}",
            quantity=rng.randrange(100_000),
            event_time=MARCH + number,
            dimensions=rng.choice([(), (("model", "large"),)]),
            scale=2,
        )
        for number in range(count)
    ]


async def send(store: RedisUsageStore, rows: list[UsageRecord], size: int = 50) -> set[str]:
    """Record rows in batches of one shard each; return the statuses seen."""
    seen = set()
    for shard in range(SHARDS):
        mine = [row for row in rows if shard_of(row.customer, SHARDS) == shard]
        for start in range(0, len(mine), size):
            call = RecordCall(batch_of(mine[start : start + size]))
            answer = await store.submit(shard, call)
            seen |= {RecordStatus(status).name for status in answer.status.tolist()}
    return seen


async def digests(store: RedisUsageStore) -> list[bytes]:
    return [await store.ask(shard, StateDigest()) for shard in range(SHARDS)]


def archivers(store: RedisUsageStore, url: str, files: ArchiveFiles) -> list[LogArchiver]:
    link = LinkOptions(url=lambda: url)
    return [
        LogArchiver(shard_keys(n), link, files, store._sessions.open[n], system_clock)
        for n in range(SHARDS)
    ]


async def told(store, *command: str | bytes):
    """What the store answers, asked from inside the event loop."""
    return await asyncio.to_thread(store.ask, *command)


async def folded(store, shards=range(SHARDS)) -> None:
    """Wait until F has reached the head of every log."""
    for shard in shards:
        for _ in range(200):
            keys = shard_keys(shard)
            mark = await told(store, "HGET", keys.fold, "mark")
            head = await told(store, "HGET", keys.head, "v")
            if mark == head:
                break
            await asyncio.sleep(0.05)
        else:
            raise AssertionError("F does not reach the head")


class WatchedFiles(ArchiveFiles):
    """Files that note in which thread, and how far encoded, snapshots come to be written."""

    def __init__(self, place: str) -> None:
        super().__init__(place)
        self.seen: list[tuple[threading.Thread, frozenset[str]]] = []

    def write_snapshot(self, log: str, snapshot: Snapshot) -> bool:
        assert isinstance(snapshot.sections, Encoded)
        assert isinstance(snapshot.parts, Encoded)
        made = snapshot.sections.made | snapshot.parts.made
        self.seen.append((threading.current_thread(), made))
        return super().write_snapshot(log, snapshot)


def test_snapshots_are_encoded_off_the_event_loop(store, tmp_path) -> None:
    """The session only copies: nothing of a snapshot is encoded before a thread writes it."""
    files = WatchedFiles((tmp_path / "archive").as_uri())

    async def scenario() -> None:
        async with serving(store.url, files.place) as server:
            await prepare(server)
            await send(server, rows_of(200, seed=1))
            await folded(store)
            for archiver in archivers(server, store.url, files):
                assert (await archiver.round(NOW)).problem == ""
            assert len(files.seen) == SHARDS
            for thread, made in files.seen:
                assert thread is not threading.current_thread()
                assert not made

    asyncio.run(scenario())


def test_what_is_archived_leaves_the_store_and_stays_known(store, tmp_path) -> None:
    """The log shrinks to one entry, the store to a part; a start from the archive has the same
    digest, a resend is DUPLICATE, and the Parquet files say what was recorded.
    """
    rows = rows_of(6_000, seed=1)
    files = ArchiveFiles((tmp_path / "archive").as_uri())

    async def scenario() -> None:
        async with serving(store.url, files.place) as server:
            await prepare(server)
            assert await send(server, rows) == {"ACCEPTED"}
            await folded(store)
            full = [await told(store, "MEMORY", "USAGE", shard_keys(n).log) for n in range(SHARDS)]
            for archiver in archivers(server, store.url, files):
                report = await archiver.round(NOW)
                assert report.problem == ""
                assert report.segments > 1
                assert report.trimmed == report.version
                assert (await archiver.round(NOW)).segments == 0
            for shard, before in enumerate(full):
                assert await told(store, "XLEN", shard_keys(shard).log) == 1
                assert await told(store, "MEMORY", "USAGE", shard_keys(shard).log) < before / 5
            wanted = await digests(server)
        async with serving(store.url, files.place) as again:
            assert await digests(again) == wanted
            assert await send(again, rows) == {"DUPLICATE"}
            assert await send(again, rows_of(100, seed=2)) == {"ACCEPTED"}
            wanted = await digests(again)
        for shard in range(SHARDS):
            for path in (tmp_path / "archive" / str(shard) / "snapshots").iterdir():
                path.write_bytes(b"rotten")
        async with serving(store.url, files.place) as replayed:
            assert await digests(replayed) == wanted  # from the segments alone

    asyncio.run(scenario())
    found = {}
    for shard in range(SHARDS):
        for name in files.listing(str(shard)).segments:
            table = files.table(str(shard), name, ["kind", "event_id", "quantity", "dimensions"])
            records = table.filter(pc.equal(table.column("kind"), "records")).to_pylist()
            found |= {row["event_id"]: (row["quantity"], row["dimensions"]) for row in records}
    expected = {
        row.event_id: (
            Decimal(row.quantity).scaleb(-2),
            '{"model":"large"}' if row.dimensions else None,
        )
        for row in rows
    }
    assert found == expected


def test_a_server_without_the_archive_says_so(store, tmp_path) -> None:
    """A trimmed log is never read from its middle: the start fails with a line that says why."""
    files = ArchiveFiles(str(tmp_path / "archive"))

    async def scenario() -> None:
        async with serving(store.url, files.place) as server:
            await prepare(server)
            await send(server, rows_of(500, seed=3))
            await folded(store)
            for archiver in archivers(server, store.url, files):
                await archiver.round(NOW)
        for place, words in (("", "given no archive"), (tmp_path / "other", "does not lead there")):
            with pytest.raises(StoreRefused, match=words):
                async with serving(store.url, place):
                    pass

    asyncio.run(scenario())


class Crash(Exception):
    """The archiver's process is gone."""


class CrashingArchiver(LogArchiver):
    """Ends before or after its ``left``-th command that changes anything."""

    left = 0

    async def _carry_out(self, connection, command):
        if self.left == 0:
            raise Crash
        self.left -= 1
        return await super()._carry_out(connection, command)


def test_a_crash_at_any_step_loses_nothing(store, tmp_path) -> None:
    """After a crash before each command of a round a fresh server has the live one's digest, and
    the next round ends the work.
    """
    files = ArchiveFiles(str(tmp_path / "archive"))

    async def scenario() -> None:
        async with serving(store.url, files.place) as server:
            await prepare(server)
            link = LinkOptions(url=lambda: store.url)
            step, ended = 0, 0
            while ended < 2:
                await send(server, rows_of(60, seed=100 + step), size=15)
                await folded(store, [0])
                archiver = CrashingArchiver(
                    shard_keys(0), link, files, server._sessions.open[0], system_clock
                )
                archiver.left = step
                try:
                    report = await archiver.round(NOW)
                except Crash:
                    pass
                else:
                    ended += 1
                    assert report.trimmed == report.version
                step += 2
                wanted = await digests(server)
                if step % 3 == 0:
                    async with serving(store.url, files.place) as fresh:
                        assert await digests(fresh) == wanted
            assert step > 10

    asyncio.run(scenario())


def test_two_servers_archive_one_log_under_load(store, tmp_path) -> None:
    """Two archivers of the same logs, while both servers record: one chain, nothing lost."""
    files = ArchiveFiles(str(tmp_path / "archive"))

    async def scenario() -> None:
        async with serving(store.url, files.place) as one, serving(store.url, files.place) as two:
            await prepare(one)
            running = True

            async def keep_archiving(server: RedisUsageStore) -> int:
                trimmed = 0
                while running:
                    for archiver in archivers(server, store.url, files):
                        report = await archiver.round(NOW)
                        trimmed = max(trimmed, report.trimmed)
                        assert report.problem == ""
                    await asyncio.sleep(0.02)
                return trimmed

            tasks = [asyncio.create_task(keep_archiving(server)) for server in (one, two)]
            rows = rows_of(4_000, seed=4)
            await asyncio.gather(send(one, rows[:2000], 20), send(two, rows[2000:], 20))
            await folded(store)
            await asyncio.sleep(0.2)
            running = False
            assert max(await asyncio.gather(*tasks)) > 50
            assert await send(two, rows) == {"DUPLICATE"}
            wanted = await digests(one)
            assert await digests(two) == wanted
            async with serving(store.url, files.place) as fresh:
                assert await digests(fresh) == wanted

    asyncio.run(scenario())


def test_trim_refuses_what_would_lose_entries(store, tmp_path) -> None:
    """In the function itself: beyond F, without the token, without a snapshot of this log."""
    files = ArchiveFiles(str(tmp_path / "archive"))

    async def scenario() -> None:
        async with serving(store.url, files.place) as server:
            await prepare(server)
            await send(server, rows_of(300, seed=5))
            await folded(store, [0])
            keys = shard_keys(0)
            wire, link = Wire(keys), LinkOptions(url=lambda: store.url)
            connection = await dial(link, keys.log)
            log = await told(store, "XRANGE", keys.log, "-", "+")
            tokens = {int(i.split(b"-")[0]): fields[3] for i, fields in log}
            head = max(tokens)

            async def trim(version, token, at, of) -> bool:
                snapshot = type("Name", (), {"version": at, "token": of})()
                command = Trim(version, token, snapshot)
                await connection.send_packed_command(wire.encode(command))
                reply = wire.decode(command, await connection.read_response())
                assert isinstance(reply, TrimReply)
                return reply.ok

            await told(store, "HSET", keys.fold, "mark", str(head - 2))
            bad = bytes(16)
            assert not await trim(head - 1, tokens[head - 1], head, tokens[head])  # beyond F
            assert not await trim(3, bad, head, tokens[head])
            assert not await trim(3, tokens[3], head, bad)
            assert not await trim(3, tokens[3], 2, tokens[2])  # an older snapshot
            assert len(log) == await told(store, "XLEN", keys.log)
            await told(store, "CONFIG", "SET", "maxmemory", "1")
            assert await trim(3, tokens[3], head, tokens[head])  # P15: also when memory is full
            await told(store, "CONFIG", "SET", "maxmemory", "0")
            assert await told(store, "XLEN", keys.log) == len(log) - 2
            assert not await trim(2, tokens[2], head, tokens[head])  # gone already
            await disconnect(connection)

    asyncio.run(scenario())


def test_segments_are_never_overwritten_and_damage_is_seen(store, tmp_path) -> None:
    """A second writer leaves the first's file as it is; a damaged one is not taken for good."""
    files = ArchiveFiles(str(tmp_path / "archive"))
    written: list[WriteSegment] = []

    class Watching(LogArchiver):
        async def _carry_out(self, connection, command):
            if isinstance(command, WriteSegment):
                written.append(command)
            return await super()._carry_out(connection, command)

    async def scenario() -> None:
        async with serving(store.url, files.place) as server:
            await prepare(server)
            await send(server, rows_of(200, seed=6))
            link = LinkOptions(url=lambda: store.url)
            archiver = Watching(shard_keys(0), link, files, server._sessions.open[0], system_clock)
            assert (await archiver.round(NOW)).problem == ""

    asyncio.run(scenario())
    command = written[0]
    assert files.segment("0", command.name) == command.entries
    (path,) = (tmp_path / "archive" / "0" / "segments").glob(f"{command.name.first:020d}-*")
    before = path.stat()
    assert files.write_segment("0", command.name, command.entries)
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert not [p for p in path.parent.iterdir() if p.name.startswith(".")]
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    assert files.segment("0", command.name) == ()
    assert not files.write_segment("0", command.name, command.entries)
    path.write_bytes(data)
    wrong = SegmentName(command.name.first, command.name.last, bytes(16), bytes(16))
    path.rename(path.with_name(path.name.replace(command.name.token.hex(), bytes(16).hex())))
    assert files.segment("0", wrong) == ()
