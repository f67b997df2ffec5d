"""kill -9 of a server that archives: nothing is lost or doubled, and the commands prove it."""

from __future__ import annotations

import asyncio
import contextlib
import csv
import io
import json
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import grpc
import pyarrow.parquet as pq
import pytest

from ratewright.v1 import usage_service_pb2 as usage
from rating_server.cli.app import execute
from rating_server.store.connection import ask_redis, disconnect, establish, open_connection
from rating_server.store.embedded import status, unix_url

ROUNDS = 2
BATCHES = 30
RECORDS = 100
CUSTOMERS = [f"old-{number}" for number in range(6)]
JANUARY_US = 1_767_225_600_000_000


class Sent:
    """All records sent: (event id, customer, quantity), and their batches by round."""

    def __init__(self) -> None:
        self.records: list[tuple[str, str, int]] = []

    def batches(self, number: int) -> list[usage.IngestUsageRequest]:
        """Return the batches of a round, new ones the first time it is asked for."""
        rows = [
            (f"{number}-{row}", CUSTOMERS[row % len(CUSTOMERS)], (row * 7919 + number) % 1000)
            for row in range(BATCHES * RECORDS)
        ]
        self.records += [] if rows[0] in self.records else rows
        requests = []
        for start in range(0, len(rows), RECORDS):
            part = rows[start : start + RECORDS]
            batch = usage.UsageBatch(
                customers=CUSTOMERS,
                customer_index=[CUSTOMERS.index(row[1]) for row in part],
                meters=[usage.BatchMeter(meter="old-tokens")],
                event_ids="".join(row[0] for row in part).encode(),
                event_id_lengths=[len(row[0]) for row in part],
                quantities=[row[2] for row in part],
                event_times_micros=[JANUARY_US + row for row in range(start, start + len(part))],
            )
            requests.append(usage.IngestUsageRequest(batch_number=len(requests), batch=batch))
        return requests


def send(server, batches: list[usage.IngestUsageRequest]) -> int:
    """Stream batches until all are settled; return the records accepted."""
    left, accepted = {batch.batch_number: batch for batch in batches}, 0
    while left:
        if server.process.poll() is not None:
            server.kill()
            server.start()
        try:
            for answer in server.usage.IngestUsage(iter([*left.values()])):
                accepted += answer.accepted_count
                if answer.accepted_count + answer.duplicate_count == RECORDS:
                    left.pop(answer.batch_number)
        except grpc.RpcError:
            server.disconnect()
    return accepted


def kill_at_next_file(server, archive: Path) -> threading.Thread:
    """Kill the server at the very moment at which anything new appears in the archive."""
    before = {*archive.rglob("*")}

    def watch() -> None:
        expires = time.monotonic() + 20
        while {*archive.rglob("*")} <= before and time.monotonic() < expires:
            time.sleep(0.0005)
        server.process.kill()

    thread = threading.Thread(target=watch)
    thread.start()
    return thread


@dataclass
class Done:
    """What a command has printed, and its exit status."""

    returncode: int
    stdout: str
    stderr: str


def command(server, *words: str) -> Done:
    """Run a `ratewright` command on the server's data directory, in this process."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = execute([*words, "--data-dir", str(server.data_dir)])
    return Done(status, out.getvalue(), err.getvalue())


def table(server, *words: str) -> list[dict]:
    """Run a command that must succeed; return its JSON."""
    done = command(server, *words, "--format", "json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.faults
@pytest.mark.timeout(240)
def test_kill_while_archiving(server_factory, road, tmp_path):
    """After kills in the middle of rounds: sums, resends, chain, counters, export are the truth."""
    server = server_factory("--shards", "2", "--archive-after", "1s").start()
    archive = server.data_dir / "archive"
    for customer in CUSTOMERS:
        road.subscribe(server, "old", customer)
    sent = Sent()
    for number in range(ROUNDS):
        killer = kill_at_next_file(server, archive)
        send(server, sent.batches(number))
        killer.join()
        assert send(server, sent.batches(number)) == 0
    expires = time.monotonic() + 30
    while any(
        row["where"] == "log" and row["first"] == "1" for row in table(server, "log", "list")
    ):
        assert time.monotonic() < expires, "the logs are not trimmed"
        time.sleep(0.1)
    for number in range(ROUNDS):
        assert send(server, sent.batches(number)) == 0  # archived ids are DUPLICATE
    kinds = {row["where"] for row in table(server, "log", "list")}
    assert kinds == {"segment", "snapshot", "log"}
    verified = table(server, "log", "verify")
    assert sum(int(row["records"]) for row in verified) == ROUNDS * BATCHES * RECORDS
    assert all(row["ok"] and row["snapshots"] for row in table(server, "verify"))
    for form in ("csv", "jsonl", "parquet"):
        assert_export_is_the_truth(server, sent, tmp_path / f"out.{form}")
    assert_damage_is_named_and_mended(server)
    assert_a_missing_archive_spoils_nothing(server, tmp_path / "nothing")
    assert server.stop() == 0
    assert all(row["ok"] for row in table(server, "verify"))  # also when nothing runs


def assert_export_is_the_truth(server, sent: Sent, out: Path) -> None:
    """The export of one customer holds each of its records in the period, once."""
    customer, until = CUSTOMERS[2], 1_000
    limits = ("--from", "2026-01-01", "--to", "2026-01-01T00:00:00.001Z")
    done = command(server, "log", "export", "--customer", customer, *limits, "--out", str(out))
    assert done.returncode == 0, done.stderr
    if out.suffix == ".csv":
        with out.open(newline="") as file:
            rows = [(row["event_id"], int(row["quantity"])) for row in csv.DictReader(file)]
    elif out.suffix == ".jsonl":
        lines = [json.loads(line) for line in out.read_text().splitlines()]
        rows = [(row["event_id"], int(row["quantity"])) for row in lines]
    else:
        found = pq.read_table(out).to_pylist()
        rows = [(row["event_id"], int(row["quantity"])) for row in found]
    expected = [
        (event_id, quantity)
        for event_id, owner, quantity in sent.records
        if owner == customer and int(event_id.split("-")[1]) < until
    ]
    assert sorted(rows) == sorted(expected)


def assert_a_missing_archive_spoils_nothing(server, place: Path) -> None:
    """A log that cannot be read is no reason to write counters; the doctor sees it too (P10)."""
    place.mkdir()
    done = command(server, "rebuild", "--repair", "--archive", str(place))
    assert done.returncode == 1
    assert "the archive does not lead there" in done.stderr
    assert "not compared" in done.stderr
    assert all(row["ok"] for row in table(server, "verify"))
    done = command(server, "doctor", "--archive", str(place))
    assert done.returncode == 2
    assert "it holds nothing that leads to entry" in done.stdout
    assert command(server, "doctor").returncode == 0


def assert_damage_is_named_and_mended(server) -> None:
    """A counter that is changed by hand is named, exit status 1, and repaired on demand."""

    async def spoil() -> str:
        connection = open_connection(unix_url(status(server.data_dir).socket), 2.0)
        await establish(connection)
        _, keys = await ask_redis(connection, b"SCAN", b"0", b"MATCH", b"rw:*:c:*", b"COUNT", b"99")
        fields = await ask_redis(connection, b"HKEYS", keys[0])
        name = next(field for field in fields if b'"value"' in field)
        await ask_redis(connection, b"HINCRBY", keys[0], name, b"5")
        await disconnect(connection)
        return keys[0].split(b":", 3)[3].decode()

    time.sleep(1)  # the last fold is done: the hash stands still
    spoilt = asyncio.run(spoil())
    for words in (("verify",), ("rebuild",)):
        done = command(server, *words)
        assert done.returncode == 1
        assert spoilt in done.stderr
    assert sum(row["repaired"] for row in table(server, "rebuild", "--repair")) == 1
    assert all(row["ok"] for row in table(server, "verify"))
    done = command(server, "log", "verify", "--shard", "7")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
