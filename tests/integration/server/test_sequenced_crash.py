"""kill -9 of the producer, of the server and of the store in a sequenced stream: counters exact."""

from __future__ import annotations

import os
import random
import runpy
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from ratewright.v1 import usage_service_pb2 as usage

SCRIPT = Path(__file__).with_name("sequenced_producer.py")
PRODUCER = runpy.run_path(str(SCRIPT))
ROUNDS = 6
BATCHES_A_ROUND = 60
SHARDS = "4"


def start(server, epoch: int, last: int) -> subprocess.Popen[str]:
    """Start a producer process that sends all batches up to ``last``."""
    command = [sys.executable, str(SCRIPT), str(server.root / "port"), str(epoch), str(last)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def counted(server, customer: str) -> int:
    """Return the sum of a customer."""
    request = usage.GetUsageRequest(customer=customer)
    request.time.FromMicroseconds(PRODUCER["JANUARY_US"])
    return sum(int(c.value) for c in server.usage.GetUsage(request).counters)


@pytest.mark.faults
@pytest.mark.timeout(240)
def test_kill_in_a_sequenced_stream(server_factory, road):
    """After each kill, and whoever died, every batch of the producer is counted exactly once."""
    server = server_factory("--shards", SHARDS).start()
    for customer in PRODUCER["CUSTOMERS"]:
        road.subscribe(server, "killed", customer)
    rng = random.Random(20261122)
    epoch = last = 0
    for number in range(ROUNDS):
        victim = ("producer", "server", "store")[number % 3]
        epoch, last = epoch + 1, last + BATCHES_A_ROUND
        producer = start(server, epoch, last)
        for _ in range(rng.randrange(1, BATCHES_A_ROUND // 2)):
            assert producer.stdout.readline()
        if victim == "producer":
            producer.kill()
            producer.communicate()
            epoch += 1
            producer = start(server, epoch, last)
        elif victim == "server":
            server.kill()
            server.start()
        else:
            os.kill(server.store_pid, signal.SIGKILL)
        _, _ = producer.communicate(timeout=120)
        assert producer.returncode == 0
    sums = dict.fromkeys(PRODUCER["CUSTOMERS"], 0)
    for sequence in range(1, last + 1):
        for customer, quantity in PRODUCER["rows"](sequence):
            if customer != PRODUCER["STRANGER"]:
                sums[customer] += quantity
    assert {customer: counted(server, customer) for customer in sums} == sums
