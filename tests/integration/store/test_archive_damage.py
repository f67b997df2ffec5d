"""Damage in an archive: noticed before entries leave the log, told, and mended from the log."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import resource
import time
from pathlib import Path
from typing import Any

import pytest

from rating_core.metering.log.archiver import ArchiveReport
from rating_core.metering.log.protocol import AckLevel
from rating_server.cli.entry import run
from rating_server.store.adapter import LinkOptions
from rating_server.store.archive_files import ArchiveFiles
from rating_server.store.archiving import ArchivePolicy, LogArchiver
from rating_server.store.doctor import examine_store
from rating_server.store.findings import State
from rating_server.store.keys import shard_keys
from rating_server.store.usage_store import system_clock

KEYS = shard_keys(0)
NOW = ArchivePolicy(after_us=0, segment_bytes=2_000)


class Bench:
    """A server of one shard on a store, its archive, and rounds of archiving by hand."""

    def __init__(self, store: Any, folder: Path, server: Any) -> None:
        self.store, self.server = store, server
        self.files = ArchiveFiles(str(folder))
        self.segments = folder / "0" / "segments"
        self.link = LinkOptions(url=lambda: store.url)

    async def told(self, *command: str | bytes) -> Any:
        """What the store answers."""
        return await asyncio.to_thread(self.store.ask, *command)

    async def round(self, *, trims: bool) -> ArchiveReport:
        """Archive all there is; it may leave the log only where F says so."""
        head = await self.told("HGET", KEYS.head, "v")
        for _ in range(400):
            if await self.told("HGET", KEYS.fold, "mark") in (head, b"1"):
                break
            await asyncio.sleep(0.05)
        else:
            raise AssertionError("F does not reach the head")
        await self.told("HSET", KEYS.fold, "mark", head if trims else b"1")
        session = self.server._sessions.open[0]
        archiver = LogArchiver(KEYS, self.link, self.files, session, system_clock)
        return await archiver.round(NOW)

    async def log_length(self) -> int:
        """Entries that the log has in the store."""
        return int(await self.told("XLEN", KEYS.log))

    async def failures(self) -> list[str]:
        """What the doctor finds wrong with the archive."""
        found = await examine_store(self.link, self.files, AckLevel.DURABLE)
        return [f.found for f in found if (f.check, f.state) == ("archive", State.FAIL)]

    async def command(self, *words: str) -> int:
        """Run `ratewright log …` on this store and archive; return its exit status."""
        place = ["--redis-url", self.store.url, "--archive", self.files.place]
        return await asyncio.to_thread(run, ["log", *words, *place])


@pytest.fixture
def bench_of(store, tmp_path, server_of, traffic_of):
    """A context with a `Bench` whose server has counted 400 records."""

    @contextlib.asynccontextmanager
    async def opened():
        folder = tmp_path / "archive"
        server = server_of(store.url, shards=1, archive=str(folder))
        await server.start()
        try:
            traffic = traffic_of(server)
            await traffic.prepare()
            for _ in range(20):
                await traffic.send(traffic.rows(20))
            yield Bench(store, folder, server)
        finally:
            await server.close()

    return opened


def spoil(path: Path) -> None:
    """Cut a file in half."""
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def test_what_a_damaged_segment_held_stays_in_the_log_until_it_is_mended(
    bench_of, caplog, capsys
) -> None:
    """The round that would trim says which segment is damaged, the doctor fails, and after `log
    mend` the log is trimmed and the chain whole. What is nowhere any more is refused in one line.
    """

    async def scenario() -> None:
        async with bench_of() as bench:
            report = await bench.round(trims=False)
            assert (report.problem, report.trimmed) == ("", 1)
            assert report.segments > 2
            paths = sorted(bench.segments.iterdir())
            spoil(paths[-1])
            spoil(paths[1])
            length = await bench.log_length()
            assert (
                "is damaged; its entries stay in the log" in (await bench.round(trims=True)).problem
            )
            assert await bench.log_length() == length
            assert len(await bench.failures()) == 2
            capsys.readouterr()
            assert await bench.command("mend") == 0
            assert capsys.readouterr().out.count("mended") == 2
            assert len(list((bench.segments.parent / "damaged").iterdir())) == 2
            assert await bench.failures() == []
            assert (await bench.round(trims=True)).problem == ""
            assert await bench.log_length() == 1
            assert await bench.command("verify") == 0
            spoil(paths[0])
            capsys.readouterr()
            assert await bench.command("mend") == 1
            printed = capsys.readouterr().err
            assert printed.count("\n") == 1
            assert "entry 1 is neither in the log nor in another segment" in printed

    asyncio.run(scenario())
    assert "log 0 is not archived further: segment" in caplog.text


def test_a_segment_that_is_gone_is_written_again(bench_of) -> None:
    """Behind a gap nothing counts as archived: no entry leaves the log before it is closed."""

    async def scenario() -> None:
        async with bench_of() as bench:
            await bench.round(trims=False)
            paths = sorted(bench.segments.iterdir())
            paths[1].unlink()
            report = await bench.round(trims=True)
            assert (report.problem, await bench.log_length()) == ("", 1)
            assert await bench.command("verify") == 0

    asyncio.run(scenario())


def test_a_full_disk_stops_archiving_and_nothing_else(bench_of, caplog) -> None:
    """Where files may not grow, the round says so and leaves log and archive as they are; the next
    round after it goes on.
    """

    async def scenario() -> None:
        async with bench_of() as bench:
            length = await bench.log_length()
            limits = resource.getrlimit(resource.RLIMIT_FSIZE)
            resource.setrlimit(resource.RLIMIT_FSIZE, (1_000, limits[1]))  # of this process alone
            try:
                report = await bench.round(trims=True)
            finally:
                resource.setrlimit(resource.RLIMIT_FSIZE, limits)
            assert report.problem.endswith("cannot be written")
            assert await bench.log_length() == length
            assert list(bench.segments.iterdir()) == []
            report = await bench.round(trims=True)
            assert (report.problem, await bench.log_length()) == ("", 1)

    asyncio.run(scenario())
    assert "File too large" in caplog.text


def test_half_written_files_of_a_crash_are_removed(tmp_path) -> None:
    """Old `.part` files go unless a living writer holds them; young ones and others stay."""
    files, folder = ArchiveFiles(str(tmp_path)), tmp_path / "0" / "segments"
    folder.mkdir(parents=True)
    old = time.time() - 3600
    names = {
        "crashed": ".a.parquet.0123456789abcdef.part",
        "held": ".b.parquet.0123456789abcdef.part",
        "young": ".c.parquet.0123456789abcdef.part",
        "foreign": "notes.part",
    }
    for case, name in names.items():
        (folder / name).write_bytes(b"half")
        if case != "young":
            os.utime(folder / name, (old, old))
    with (folder / names["held"]).open("rb") as writer:
        fcntl.flock(writer, fcntl.LOCK_EX)
        assert files.sweep("0") == 1
        assert not (folder / names["crashed"]).exists()
        assert files.sweep("0") == 0
    assert files.sweep("0") == 1
    assert {path.name for path in folder.iterdir()} == {names["young"], names["foreign"]}
