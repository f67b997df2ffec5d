"""kill -9 of the server and of the store in the middle of a stream: nothing is lost or doubled.

The ground truth is kept here, outside the system. After every crash the client resends what was not
answered, as any client must; then every counter equals the distinct records sent, and the counters
in the store equal the fold of the log.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import threading
import time

import grpc
import pytest

from ratewright.v1 import usage_service_pb2 as usage
from rating_core.metering.shard import UsageShard
from rating_server.store.adapter import LinkOptions
from rating_server.store.data_directory import DataDirectory
from rating_server.store.embedded import unix_url
from rating_server.store.keys import shard_keys
from rating_server.store.verify import verify_log

ROUNDS = 10
SHARDS = 4
BATCHES = 40
RECORDS = 400
CUSTOMERS = [f"crash-{number}" for number in range(25)]
JANUARY_US = 1_767_225_600_000_000


class Truth:
    """All batches of a run, and what they add up to by customer."""

    def __init__(self, seed: int) -> None:
        rng = random.Random(seed)
        self.batches: dict[int, usage.IngestUsageRequest] = {}
        self.sums = dict.fromkeys(CUSTOMERS, 0)
        for number in range(BATCHES):
            ids = [f"{seed}-{number}-{row}" for row in range(RECORDS)]
            quantities = [rng.randrange(1, 10**6) for _ in ids]
            owners = [rng.randrange(len(CUSTOMERS)) for _ in ids]
            for owner, quantity in zip(owners, quantities, strict=True):
                self.sums[CUSTOMERS[owner]] += quantity
            self.batches[number] = usage.IngestUsageRequest(
                batch_number=number,
                batch=usage.UsageBatch(
                    customers=CUSTOMERS,
                    customer_index=owners,
                    meters=[usage.BatchMeter(meter="crash-tokens")],
                    event_ids="".join(ids).encode(),
                    event_id_lengths=[len(event_id) for event_id in ids],
                    quantities=quantities,
                    event_times_micros=[JANUARY_US + row for row in range(RECORDS)],
                ),
            )


def paced(batches):
    """Yield batches one by one: sent all at once, they would share an entry and an answer."""
    for batch in batches:
        yield batch
        time.sleep(0.002)


def send(
    server, batches: dict[int, usage.IngestUsageRequest], kill=None, kill_after: int = 0
) -> tuple[set[int], int]:
    """Stream batches until the end or an error; return the settled ones and records accepted.

    ``kill`` is called when ``kill_after`` batches have been answered and the others are under way.
    """
    settled: set[int] = set()
    accepted = 0
    call = server.usage.IngestUsage(paced(batches.values()))
    try:
        for answer in call:
            accepted += answer.accepted_count
            if not answer.retry_count:
                assert answer.accepted_count + answer.duplicate_count == RECORDS
                settled.add(answer.batch_number)
            if kill is not None and len(settled) == kill_after:
                kill()
                kill = None
    except grpc.RpcError:
        # A broken stream: what is not settled is sent again.
        server.disconnect()
    assert call.code() in (grpc.StatusCode.OK, grpc.StatusCode.UNAVAILABLE)
    return settled, accepted


def counted(server, customer: str) -> tuple[int, int]:
    """Return (sum, number of records) of a customer."""
    request = usage.GetUsageRequest(customer=customer)
    request.time.FromMicroseconds(JANUARY_US)
    counters = server.usage.GetUsage(request).counters
    return sum(int(c.value) for c in counters), sum(c.event_count for c in counters)


def assert_counters_are_the_fold_of_the_log(server) -> None:
    """Recompute every hash of every shard from the log, beside the running server."""
    url = unix_url(DataDirectory(server.data_dir).read_record().socket)

    async def verify() -> list[str]:
        differences = []
        for shard in range(SHARDS):
            machine = UsageShard(bytes(16), lambda _: None)
            report = await verify_log(LinkOptions(url=lambda: url), shard_keys(shard), machine)
            assert report.entries > 0
            differences += report.differences
        return differences

    assert asyncio.run(verify()) == []


@pytest.mark.faults
@pytest.mark.timeout(240)
@pytest.mark.parametrize("victim", ["server", "store"])
def test_kill_in_the_middle_of_a_stream(server_factory, road, victim):
    """10 rounds: after kill -9 and a resend every counter equals the distinct records sent."""
    server = server_factory("--shards", str(SHARDS)).start()
    for customer in CUSTOMERS:
        road.subscribe(server, "crash", customer)
    rng = random.Random(20261121)
    sums = dict.fromkeys(CUSTOMERS, 0)
    broken_streams = 0
    killed: set[int] = set()
    for round_number in range(ROUNDS):
        truth = Truth(round_number)
        left = dict(truth.batches)

        def kill() -> None:
            if victim == "server":
                killed.add(server.process.pid)
                server.process.kill()
                server.process.wait()
            else:
                while server.store_pid in killed:  # a store that takes its place may be on its way
                    time.sleep(0.01)
                killed.add(server.store_pid)
                os.kill(server.store_pid, signal.SIGKILL)

        settled, _ = send(server, left, kill, rng.randrange(1, BATCHES // 2))
        broken_streams += len(settled) < BATCHES
        while True:
            left = {number: batch for number, batch in left.items() if number not in settled}
            if victim == "server" and server.process.poll() is not None:
                server.kill()
                server.start()
            if not left:
                break
            # A store that was still on its way breaks a stream before anything is killed.
            settled, _ = send(server, left, kill if len(killed) == round_number else None, 1)
        for customer in CUSTOMERS:
            sums[customer] += truth.sums[customer]
    assert len(killed) == ROUNDS
    if victim == "server":  # a store that dies is waited for: its streams need not break
        assert broken_streams >= ROUNDS // 2
    events = 0
    for customer in CUSTOMERS:
        total, count = counted(server, customer)
        assert total == sums[customer]
        events += count
    assert events == ROUNDS * BATCHES * RECORDS
    assert_counters_are_the_fold_of_the_log(server)


@pytest.mark.faults
def test_two_servers_count_the_same_ids_once(store_factory, server_factory, road):
    """Two servers, the same shards, the same ids at once: each id is ACCEPTED exactly once."""
    store = store_factory()
    first = server_factory("--shards", "2", url=store.url).start()
    second = server_factory("--shards", "2", url=store.url).start()
    for customer in CUSTOMERS:
        road.subscribe(first, "crash", customer)
    truth = Truth(99)
    results: dict[str, tuple[set[int], int]] = {}

    def run(name: str, server) -> None:
        results[name] = send(server, truth.batches)

    threads = [
        threading.Thread(target=run, args=("first", first)),
        threading.Thread(target=run, args=("second", second)),
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert results["first"][0] == results["second"][0] == set(truth.batches)
    assert results["first"][1] + results["second"][1] == BATCHES * RECORDS
    for customer in CUSTOMERS:
        assert counted(first, customer)[0] == truth.sums[customer]
        assert counted(second, customer)[0] == truth.sums[customer]
