"""`ratewright doctor` on real stores: all is well, and each fault is named with what to do."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from rating_core.metering.log.protocol import AckLevel
from rating_core.metering.log.settlement import FOLD_DELAY_MOST_US
from rating_server.cli.entry import run
from rating_server.ports import Window
from rating_server.store.adapter import LinkOptions
from rating_server.store.doctor import examine_directory, examine_store, place_of
from rating_server.store.findings import (
    State,
    exit_status,
    judge_clock,
    judge_disk,
    judge_fold,
    judge_ids,
    judge_log,
    judge_memory,
)
from rating_server.store.id_files import IdFiles
from rating_server.store.id_spill import IdSpill
from rating_server.store.keys import shard_keys
from rating_server.store.usage_store import RedisUsageStore, UsageStoreOptions


def initialise(url: str, tmp_path: Path) -> None:
    """Let a server use a store once."""

    async def once() -> None:
        spill = IdSpill(IdFiles(tmp_path / "spill"))
        options = UsageStoreOptions(url=url, shards=2, window=Window(None), spill=spill)
        server = RedisUsageStore(options)
        await server.start()
        try:
            await server.announce("127.0.0.1:1")
            found = await examine_store(LinkOptions(lambda: url), None, AckLevel.DURABLE)
            assert [f for f in found if f.state is not State.OK] == []
            assert {f.check for f in found} >= {"servers", "id index", "log", "fold", "clock"}
        finally:
            await server.close()

    asyncio.run(once())


def doctor(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, dict[str, dict]]:
    """Run the command; return its status and what is not ok, by check."""
    status = run(["doctor", *arguments, "--json"])
    found = json.loads(capsys.readouterr().out)
    return status, {one["check"]: one for one in found if one["state"] != "ok"}


def test_all_is_well_with_a_server_beside_it(store, tmp_path, capsys) -> None:
    """A fresh store has no finding while a server serves it; without one, only that is said."""
    initialise(store.url, tmp_path)
    status, wrong = doctor(capsys, "--redis-url", store.url)
    assert status == 1
    assert set(wrong) == {"servers"}


def test_faults_of_a_node_are_named(store_factory, tmp_path, capsys) -> None:
    """Eviction, persistence, memory and a foreign library each fail, with what to do."""
    sick = store_factory()
    initialise(sick.url, tmp_path)
    sick.ask("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
    sick.ask("CONFIG", "SET", "appendfsync", "everysec")
    used = int(sick.ask("INFO", "memory").split(b"used_memory:")[1].split()[0])
    other = "#!lua name=ratewright_1\nredis.register_function('rw1_commit', function() end)"
    sick.ask("FUNCTION", "LOAD", "REPLACE", other)
    sick.ask("CONFIG", "SET", "maxmemory", str(used + used // 20))
    status, wrong = doctor(capsys, "--redis-url", sick.url)
    assert status == 2
    failed = {check for check, one in wrong.items() if one["state"] == "fail"}
    assert failed == {"store", "ack level", "memory", "function library"}
    assert all(wrong[check]["remedy"] for check in failed)
    assert "appendfsync everysec" in wrong["ack level"]["found"]


def test_a_head_that_is_not_the_logs_end_fails(store, tmp_path, capsys) -> None:
    """Entries that are gone from the end of a log are seen without reading it all."""
    initialise(store.url, tmp_path)
    keys = shard_keys(0)
    newest = store.ask("XREVRANGE", keys.log, "+", "-", "COUNT", "1")[0][0]
    store.ask("XDEL", keys.log, newest)
    status, wrong = doctor(capsys, "--redis-url", store.url)
    assert status == 2
    assert "but the head is" in wrong["log"]["found"]


def test_a_store_that_is_down_is_one_line_without_its_password(free_port, capsys) -> None:
    """No answer is a failure of one line; neither login nor password is printed."""
    url = f"redis://somebody:hush@127.0.0.1:{free_port}"
    assert run(["doctor", "--redis-url", url]) == 2
    printed = capsys.readouterr()
    assert printed.out.startswith("fail  store (all): no answer")
    assert "hush" not in printed.out + printed.err
    assert "somebody" not in printed.out + printed.err
    assert place_of(url) == f"127.0.0.1:{free_port}"


def test_a_data_directory_is_looked_at(tmp_path, capsys) -> None:
    """Rights that let others in, and the lock; the embedded store is started meanwhile."""
    data = tmp_path / "data"
    (data / "store").mkdir(parents=True)  # as of a server that was never started again
    data.chmod(0o755)
    found = {finding.check: finding for finding in examine_directory(data)}
    assert found["rights"].state is State.WARN
    assert found["lock"].found == "held by nobody"
    status, wrong = doctor(capsys, "--data-dir", str(data))
    assert status >= 1
    assert wrong["rights"]["remedy"] == f"chmod 700 {data}"
    assert "store" not in wrong


def test_judgements() -> None:
    """Limits of the pure judgements: clock, disk, inodes, memory, fold, log, id index."""
    gib = 1024**3
    assert judge_clock("n", 900_000).state is State.OK
    assert judge_clock("n", -2_000_000).state is State.WARN
    assert judge_clock("n", 6_000_000).state is State.FAIL
    assert [f.state for f in judge_disk("d", 100, gib, 5, 1_000)] == [State.FAIL, State.FAIL]
    assert [f.state for f in judge_disk("d", gib // 2, gib, 500, 1_000)] == [State.WARN, State.OK]
    assert len(judge_disk("d", gib * 9, gib * 10, 0, 0)) == 1
    assert judge_memory("n", {"used_memory": "80", "maxmemory": "100"}).state is State.WARN
    assert judge_memory("n", {"used_memory": "91", "maxmemory": "100"}).state is State.FAIL
    assert judge_fold("l", 9, 3, None, 0).state is State.OK
    paced = FOLD_DELAY_MOST_US
    assert judge_fold("l", 9, 3, paced + paced // 2, 2).state is State.OK  # rounds as they should
    assert judge_fold("l", 9, 3, 2 * paced, 0).state is State.WARN
    assert judge_fold("l", 9, 3, 90_000_000, 2).state is State.FAIL
    assert judge_log("l", 3, 10, 7, (9, 9), archive=False).state is State.FAIL
    assert judge_log("l", 3, 10, 7, (9, 9), archive=True).state is State.OK
    assert judge_ids("s", 80, 100).state is State.WARN
    assert judge_ids("s", 100, 100).state is State.FAIL
    assert exit_status([judge_ids("s", 1, 100)]) == 0
