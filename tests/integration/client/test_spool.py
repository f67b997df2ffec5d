"""Writers with a spool: killed producers on a real server, servers that are away, full spools."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import grpc
import pytest

from rating_client import (
    Client,
    SpoolError,
    SpoolFull,
    WriterClosed,
    WriterOptions,
)

START = datetime(2026, 3, 1, tzinfo=UTC)
PER_CUSTOMER = 17
RECORDS = 2_040
PLAN = {
    "id": "spooled",
    "currency": "USD",
    "billing_period": "month",
    "meters": [{"id": "input-tokens", "aggregation": "sum"}],
    "charges": [
        {"id": "input", "meter": "input-tokens", "model": "per_unit", "unit_price": "0.01"}
    ],
}


def run_until_killed(arguments: list[str], seconds: float | None) -> int | None:
    """Run a producer and kill -9 it after a while; return the number that it reached, if any."""
    script = str(Path(__file__).with_name("spool_producer.py"))
    command = [sys.executable, script, *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        said = process.stdout.read(8)
        if seconds is not None:
            time.sleep(seconds)
            process.kill()
        said += process.stdout.read()
        status = process.wait(60)
        assert status == 0 or seconds is not None
    whole = len(said) // 8 * 8
    return int.from_bytes(said[whole - 8 : whole], "little") if whole else None


@pytest.mark.parametrize(
    ("producer_id", "bulk"), [("ids", 0), ("ids", 30), ("seq", 0), ("seq", 30)]
)
def test_a_killed_producer_loses_and_doubles_nothing(
    server: Any, tmp_path: Path, producer_id: str, bulk: int
):
    """kill -9 at random points: what `write` returned for is counted once, the rest at most once.

    Every record is a decimal place of its customer's sum, so that it is seen how often it counts.
    """
    chance = random.Random(f"{producer_id}{bulk}")
    plan = f"spooled-{producer_id}-{bulk}"
    customers = [f"{producer_id}{bulk}-{n}" for n in range(RECORDS // PER_CUSTOMER)]
    with Client(server.target) as client:
        client.create_plan(PLAN | {"id": plan})
        for customer in customers:
            client.create_subscription(customer, plan, start_time=START)
        taken: set[int] = set()
        first, kills = 0, 0
        while first < RECORDS:
            pause = chance.random() * 0.03 if kills < 4 else None
            arguments = [server.target, str(tmp_path), producer_id, str(first), str(RECORDS)]
            reached = run_until_killed([*arguments, str(bulk)], pause)
            kills += pause is not None
            if reached is not None:
                taken.update(range(first, reached))
                # What was under way when it died may be in the spool: its source skips it here.
                first = reached + max(1, bulk) if pause is not None else reached
        # The last one may have been killed too: another sends what is left.
        arguments = [server.target, str(tmp_path), producer_id, str(RECORDS), str(RECORDS)]
        assert run_until_killed([*arguments, str(bulk)], None) is None
        counted = set()
        for number, customer in enumerate(customers):
            total = int(client.get_usage(customer, START).total("input-tokens"))
            digits = f"{total:0{PER_CUSTOMER}}"[::-1]
            assert len(digits) == PER_CUSTOMER
            assert set(digits) <= {"0", "1"}, (customer, digits)
            places = (place for place, digit in enumerate(digits) if digit == "1")
            counted.update(number * PER_CUSTOMER + place for place in places)
        assert taken <= counted
        assert len(counted - taken) <= kills * max(1, bulk)
        assert kills >= 1


@pytest.fixture
def spooled(open_writer: Any, tmp_path: Path) -> Iterator[Any]:
    """A function that opens a writer with a spool."""
    return lambda on_batch=None, **options: open_writer(
        on_batch, spool_dir=tmp_path / "spool", **({"spool_fsync": "none"} | options)
    )


def test_a_server_that_is_away_stops_nobody(wire, spooled, record):
    """More than memory may hold is taken while nobody answers, and counted when somebody does."""
    wire.stop()
    writer = spooled(batch_records=20, max_unanswered_records=60, backoff_max_seconds=0.05)
    for n in range(1000):
        writer.write(record(n), timeout=5)
    assert writer.counters.unanswered == 1000
    wire.start()
    assert writer.close(timeout=40).counted == 1000
    assert wire.times_counted == 1000


def test_what_a_closed_writer_left_is_sent_by_the_next(wire, spooled, record, tmp_path):
    """Without an answer in time the records stay, come first next time, and are gone afterwards."""
    wire.gate.clear()
    results: list[Any] = []
    writer = spooled(results.append, batch_records=50)
    for n in range(130):
        writer.write(record(n))
    with pytest.raises(TimeoutError):
        writer.close(timeout=0.2)
    assert results == []
    wire.gate.set()
    again = spooled(results.append, batch_records=50)
    assert again.write(record(130)) == 0
    counters = again.close(timeout=30)
    assert (counters.recovered, counters.written, counters.counted) == (130, 1, 131)
    assert wire.times_counted == 131
    # Where batches end depends on the pace of writing; no record is missing or told twice.
    covered = sorted(n for r in results for n in range(r.first_record, r.first_record + len(r)))
    assert covered == list(range(-130, 1))
    assert [path.name for path in (tmp_path / "spool").iterdir()] == ["lock"]


def taken_until_full(writer: Any, record: Any, timeout: float) -> int:
    """Write until that takes too long; return the number of records taken."""
    taken = 0
    try:
        while True:
            writer.write(record(taken), timeout=timeout)
            taken += 1
    except TimeoutError:
        return taken


def test_a_full_spool_waits_or_raises(wire, spooled, record):
    """By option: TimeoutError after waiting for room, or SpoolFull at once; then it goes on."""
    wire.stop()
    small = {"spool_max_bytes": 1 << 20, "batch_records": 100}
    writer = spooled(**small)
    taken = taken_until_full(writer, record, timeout=0.05)
    assert taken > 3000
    with pytest.raises(TimeoutError):
        writer.close(timeout=0)
    full = spooled(spool_full="raise", **small)
    with pytest.raises(SpoolFull) as raised:
        full.write(record(taken))
    assert raised.value.reason == "SPOOL_FULL"
    assert isinstance(raised.value, SpoolError)
    wire.start()
    full.flush(timeout=40)
    full.write(record(taken))
    assert full.close(timeout=40).counted == taken + 1
    assert wire.times_counted == taken + 1


def test_two_writers_of_one_spool(spooled, record):
    """The second one is refused, and the first goes on."""
    writer = spooled()
    with pytest.raises(SpoolError, match="another writer uses it"):
        spooled()
    writer.write(record(1))
    assert writer.close(timeout=20).counted == 1
    with pytest.raises(WriterClosed):
        writer.write(record(2))


def test_a_refused_batch_does_not_come_back(wire, spooled, record, fault):
    """What the server refused for good is reported once and leaves the spool."""
    wire.faults.append(fault(refuse=lambda batch: True))
    writer = spooled(batch_delay_seconds=100)
    writer.write(record(1))
    with pytest.raises(Exception, match="a batch was not counted"):
        writer.close(timeout=20)
    again = spooled()
    assert again.counters.recovered == 0
    again.write(record(2))
    assert again.close(timeout=20).counted == 1


@pytest.mark.parametrize("policy", ["each", "flush", "interval"])
def test_every_sync_policy_counts_everything(wire, spooled, record, policy):
    """The policies differ in what a crash of the machine may take, in nothing else."""
    writer = spooled(spool_fsync=policy, spool_fsync_interval_seconds=0.01, batch_records=7)
    for n in range(40):
        writer.write(record(n))
    assert writer.close(timeout=30).counted == 40


def test_memory_is_bounded_by_bytes_too(wire, open_writer, record):
    """Without a spool, writing waits at the limit of bytes, whatever the number of records."""
    wire.gate.clear()
    options = WriterOptions(batch_bytes=1 << 10, max_unanswered_bytes=16 << 10)
    writer = open_writer(
        batch_bytes=options.batch_bytes, max_unanswered_bytes=options.max_unanswered_bytes
    )
    taken = taken_until_full(writer, record, timeout=0.1)
    assert 100 < taken < 600
    wire.gate.set()
    assert writer.close(timeout=30).counted == taken


def test_exhausted_servers_are_waited_for(wire, spooled, record, fault):
    """RESOURCE_EXHAUSTED with RetryInfo: nothing is lost, and the wait is at least what it says."""
    for _ in range(3):
        wire.faults.append(
            fault(cut_after=0, code=grpc.StatusCode.RESOURCE_EXHAUSTED, retry_after=0.1)
        )
    writer = spooled()
    began = time.monotonic()
    writer.write(record(1))
    assert writer.close(timeout=20).counted == 1
    assert time.monotonic() - began >= 0.3
