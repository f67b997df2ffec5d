"""Ids that went to files: still known, never wrong when damaged, removed when nobody uses them."""

from __future__ import annotations

import asyncio
import errno
import gc
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from rating_core.metering.batch import RecordStatus
from rating_core.metering.calls import StateDigest
from rating_core.metering.id_index import IdIndex
from rating_core.metering.ids.run import PAGE_BYTES
from rating_core.metering.ids.table import IdTable
from rating_core.period import DAY_US
from rating_server.ports import StoreFull
from rating_server.store.id_files import IdFiles
from rating_server.store.id_spill import IdSpill

LIMIT = 300_000
SHARDS = 2
RECORDS = 16_000


class Machine:
    """What holds an index, and nothing else."""

    def __init__(self):
        self.ids = IdIndex()


def identities(count, seed=1):
    """Return random identities."""
    return np.random.default_rng(seed).integers(0, 2**64, (count, 3), dtype=np.uint64)


def known(index, rows):
    """Return which identities an index knows."""
    found = np.zeros(len(rows), np.bool_)
    index.find(rows, found, np.zeros(len(rows), np.uint64))
    return found


def files(place: Path) -> list[Path]:
    """Return the files of ids below a place."""
    return sorted(place.glob("ids-*/*.ids"))


async def until(what):
    """Wait until something is so."""
    for _ in range(600):
        if what():
            return
        await asyncio.sleep(0.05)
    raise AssertionError("it did not come about")


async def settle(spill):
    """Move what is to be moved."""
    while await spill.step():
        pass


def test_oldest_segments_go_first_and_files_go_with_them(tmp_path):
    """Memory stays below the limit, all ids stay known, and a file ends when its ids expire."""

    async def scenario():
        machine, rows, window = Machine(), identities(60_000), 30 * DAY_US
        reference = IdIndex()
        spill = IdSpill(IdFiles(tmp_path), LIMIT)
        spill.watch(machine)
        spill.start()
        for day, part in enumerate(np.array_split(rows, 60)):
            for index in (machine.ids, reference):
                index.insert(part, day // 2 * 3 * DAY_US // 2, window)
            await settle(spill)
            assert spill.bytes_held() < LIMIT + 64 * 1024
            assert not machine.ids.stopped
        assert known(machine.ids, rows).all()
        assert not known(machine.ids, identities(5000, seed=2)).any()
        assert machine.ids.digest() == reference.digest()
        kept = len(files(tmp_path))
        assert kept > 5
        machine.ids.expire(45 * DAY_US + window, window)
        gc.collect()
        assert len(files(tmp_path)) < kept
        await spill.close()
        assert list(tmp_path.iterdir()) == []

    asyncio.run(scenario())


def test_one_segment_in_many_files_is_merged(tmp_path):
    """Where nothing expires, the files of the one segment are merged, so that few are asked."""

    async def scenario():
        machine, rows = Machine(), identities(100_000)
        spill = IdSpill(IdFiles(tmp_path), LIMIT)
        spill.watch(machine)
        spill.start()
        for part in np.array_split(rows, 50):
            machine.ids.insert(part, 5, None)
            await settle(spill)
        assert spill.moved > 6
        gc.collect()
        assert len(files(tmp_path)) <= 5
        assert known(machine.ids, rows).all()
        await spill.close()

    asyncio.run(scenario())


def test_a_state_that_was_rebuilt_drops_the_file(tmp_path):
    """What was written for an index that is no longer used goes; the new one is left alone."""

    async def scenario():
        machine, rows = Machine(), identities(20_000)
        spill = IdSpill(IdFiles(tmp_path), LIMIT)
        spill.watch(machine)
        spill.start()
        machine.ids.insert(rows, 5, None)
        moving = asyncio.create_task(spill.step())
        await asyncio.sleep(0)
        machine.ids = IdIndex()
        await moving
        gc.collect()
        assert files(tmp_path) == []
        assert not known(machine.ids, rows).any()
        await spill.close()

    asyncio.run(scenario())


def test_files_of_dead_processes_are_removed(tmp_path):
    """A directory whose lock nobody holds goes at start; a living one's stays."""
    living, dead = IdFiles(tmp_path), tmp_path / "ids-dead"
    table = IdTable()
    table.insert(identities(1000))
    run = living.write([table], (1, 2))
    dead.mkdir()
    (dead / "1-2-3.ids").write_bytes(b"left")
    IdFiles(tmp_path).clean()
    assert not dead.exists()
    assert files(tmp_path) != []
    living.close()
    assert files(tmp_path) == []
    assert known(run, identities(1000)).all()


def test_a_disk_without_room_keeps_ids_in_memory(tmp_path):
    """Nothing is lost when files cannot be written; beyond 1.5 limits new ids are refused."""
    full = [True]

    def reserve(*place):
        if full[0]:
            raise OSError(errno.ENOSPC, "No space left on device")
        os.posix_fallocate(*place)

    async def scenario():
        machine, rows = Machine(), identities(40_000)
        spill = IdSpill(IdFiles(tmp_path, reserve), LIMIT)
        spill.watch(machine)
        spill.start()
        machine.ids.insert(rows, 5, None)
        await settle(spill)
        assert machine.ids.stopped
        assert known(machine.ids, rows).all()
        assert list(tmp_path.glob("ids-*/*")) == list(tmp_path.glob("ids-*/lock"))
        full[0] = False
        await settle(spill)
        await settle(spill)
        assert not machine.ids.stopped
        assert known(machine.ids, rows).all()
        await spill.close()

    asyncio.run(scenario())


@pytest.mark.parametrize("damage", [True, False])
def test_records_of_spilled_ids_count_once(store, server_of, traffic_of, tmp_path, damage):
    """On a real store: resends of spilled ids are DUPLICATE, also after their files are damaged.

    A damaged page is noticed when it is read; the shard is built from its log again.
    """

    async def scenario():
        spill = IdSpill(IdFiles(tmp_path), LIMIT)
        server = server_of(store.url, shards=SHARDS, spill=spill, deadline=10.0)
        await server.start()
        try:
            traffic = traffic_of(server)
            await traffic.prepare()
            rows = traffic.rows(RECORDS)
            for begin in range(0, RECORDS, 2000):
                assert set(await traffic.send(rows[begin : begin + 2000])) == {
                    RecordStatus.ACCEPTED
                }
            await until(lambda: files(tmp_path) and spill.bytes_held() < LIMIT)
            before = [await server.ask(shard, StateDigest()) for shard in range(SHARDS)]
            if damage:
                for path in files(tmp_path):
                    with path.open("r+b") as file:
                        for page in range(1, path.stat().st_size // PAGE_BYTES - 1):
                            file.seek(page * PAGE_BYTES + 8)
                            file.write(b"\x55" * 8)
            assert set(await traffic.send(rows)) == {RecordStatus.DUPLICATE}
            assert (traffic.unavailable > 0) == damage
            after = [await server.ask(shard, StateDigest()) for shard in range(SHARDS)]
            assert after == before
            await traffic.assert_true(store.url)
        finally:
            await server.close()
        assert files(tmp_path) == []

    asyncio.run(scenario())


def test_full_memory_refuses_new_ids_only(store, server_of, traffic_of, tmp_path):
    """While memory is full, known ids are answered and new ones are refused, none forgotten."""

    async def scenario():
        spill = IdSpill(IdFiles(tmp_path), LIMIT)
        server = server_of(store.url, shards=SHARDS, spill=spill)
        await server.start()
        try:
            traffic = traffic_of(server)
            await traffic.prepare()
            rows = traffic.rows(100)
            await traffic.send(rows)
            spill._limit = 1
            shutil.rmtree(tmp_path)
            tmp_path.touch()
            await until(lambda: all(machine.ids.stopped for machine in spill._machines))
            assert set(await traffic.send(rows)) == {RecordStatus.DUPLICATE}
            with pytest.raises(StoreFull):
                await traffic.send(traffic.rows(100))
        finally:
            await server.close()

    asyncio.run(scenario())
