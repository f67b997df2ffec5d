"""More than a server can take: memory stays bounded, and nobody waits without end."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from ratewright.v1 import usage_service_pb2 as usage
from rating_client import Client
from rating_client.errors import Unavailable

JANUARY_US = 1_767_225_600_000_000
ROWS = 20_000
STREAMS = 16
WAITING_MIB = 32
WATCHED_S = 5


def _resident_mib(pid: int) -> int:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") >> 20


def _refused_batch(rows: int = ROWS) -> usage.IngestUsageRequest:
    """A batch of records that are all refused, so that its answer names each of them."""
    ids = [f"greedy-{row:08d}" for row in range(rows)]
    return usage.IngestUsageRequest(
        batch=usage.UsageBatch(
            customers=["nobody"],
            meters=[usage.BatchMeter(meter="no-such-meter")],
            customer_index=[0] * rows,
            event_ids="".join(ids).encode(),
            event_id_lengths=[len(each) for each in ids],
            quantities=[1] * rows,
            event_times_micros=[JANUARY_US] * rows,
        )
    )


def test_streams_that_never_read_do_not_fill_the_memory(server_factory):
    """16 senders that take no answers: whatever they send, the server grows by a bounded amount."""
    server = server_factory("--max-bytes-in-flight", str(WAITING_MIB << 20)).start()
    assert server.process is not None
    request = _refused_batch()
    for answer in server.usage.IngestUsage(iter([request] * 4)):
        assert answer.rejected_count == ROWS
    # Code, compiled or loaded at its first use, is in memory by now.
    before = _resident_mib(server.process.pid)
    sent = [0] * STREAMS
    stop = threading.Event()

    def requests(stream: int) -> Iterator[usage.IngestUsageRequest]:
        while not stop.is_set():
            sent[stream] += 1
            yield request

    calls = [server.usage.IngestUsage(requests(stream)) for stream in range(STREAMS)]
    try:
        grown = []
        expires = time.monotonic() + WATCHED_S
        while time.monotonic() < expires:
            time.sleep(0.2)
            grown.append(_resident_mib(server.process.pid) - before)
        # A byte that waits is one of the message, and at most four of its columns and its answer;
        # gRPC reads a message or so ahead of each stream. 135 to 147 MiB were seen; without a bound
        # on what gRPC reads ahead, up to 1,229.
        assert sum(sent) > 4 * STREAMS
        assert max(grown) < 8 * WAITING_MIB, grown
    finally:
        stop.set()
        for call in calls:
            call.cancel()
        server.kill()


def test_what_finds_no_room_is_told_when_to_try_again(server_factory, road):
    """More bytes than may wait: RESOURCE_EXHAUSTED with RetryInfo, and smaller calls go on."""
    server = server_factory("--max-bytes-in-flight", str(1 << 20)).start()
    (answer,) = server.usage.IngestUsage(iter([_refused_batch(100)]))
    assert answer.rejected_count == 100
    with pytest.raises(grpc.RpcError) as caught:
        list(server.usage.IngestUsage(iter([_refused_batch(40_000)])))
    code, reason, _ = road.error_of(caught.value)
    assert (code, reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "TOO_MUCH_IN_FLIGHT")
    status = rpc_status.from_call(caught.value)
    assert status is not None
    retry = error_details_pb2.RetryInfo()
    assert any(detail.Unpack(retry) for detail in status.details)
    assert retry.retry_delay.ToMilliseconds() > 0
    (answer,) = server.usage.IngestUsage(iter([_refused_batch(100)]))
    assert answer.rejected_count == 100


def test_a_store_that_stands_still_is_unavailable_in_time(server_factory, road):
    """SIGSTOP of the store: UNAVAILABLE within the deadline; afterwards a resend counts once."""
    server = server_factory("--store-timeout", "500").start()
    road.subscribe(server, "still", "still-customer")
    request = usage.RecordUsageRequest(
        records=[road.record("one", "still-customer", "still-tokens", "1")]
    )
    os.kill(server.store_pid, signal.SIGSTOP)
    try:
        began = time.monotonic()
        with pytest.raises(grpc.RpcError) as caught:
            server.usage.RecordUsage(request, timeout=20)
        assert time.monotonic() - began < 10
        code, reason, _ = road.error_of(caught.value)
        assert (code, reason) == (grpc.StatusCode.UNAVAILABLE, "STORE_UNAVAILABLE")
    finally:
        os.kill(server.store_pid, signal.SIGCONT)
    expires = time.monotonic() + 30
    while True:
        try:
            (result,) = server.usage.RecordUsage(request, timeout=20).results
            break
        except grpc.RpcError as error:
            if error.code() is not grpc.StatusCode.UNAVAILABLE or time.monotonic() > expires:
                raise
            time.sleep(0.1)
    assert result.status in (usage.RECORD_STATUS_ACCEPTED, usage.RECORD_STATUS_DUPLICATE)
    asked = usage.GetUsageRequest(customer="still-customer")
    asked.time.FromMicroseconds(JANUARY_US)
    assert [counter.value for counter in server.usage.GetUsage(asked).counters] == ["1"]


def test_a_client_that_cannot_wait_learns_why(server_factory, road):
    """The deadline of a call is shorter than a store call, or than its retries: UNAVAILABLE with
    the reason before it ends, not DEADLINE_EXCEEDED.
    """
    server = server_factory("--store-timeout", "1500").start()
    road.subscribe(server, "short", "short-customer")
    os.kill(server.store_pid, signal.SIGSTOP)
    try:
        with Client(server.target) as client:
            for timeout in (0.3, 2.0):
                with pytest.raises(Unavailable) as caught:
                    client.get_usage("short-customer", timeout=timeout)
                assert caught.value.reason == "STORE_UNAVAILABLE"
    finally:
        os.kill(server.store_pid, signal.SIGCONT)


def test_a_full_id_index_refuses_and_forgets_nothing(server_factory, road):
    """P15: with no room for new ids they are RESOURCE_EXHAUSTED; known ones stay DUPLICATE."""
    server = server_factory("--max-ids", "1000", "--shards", "1").start()
    road.subscribe(server, "full", "full-customer")

    def record(first: int, count: int) -> list[int]:
        records = [
            road.record(f"id-{number}", "full-customer", "full-tokens", "1")
            for number in range(first, first + count)
        ]
        request = usage.RecordUsageRequest(records=records)
        return [result.status for result in server.usage.RecordUsage(request).results]

    assert set(record(0, 900)) == {usage.RECORD_STATUS_ACCEPTED}
    with pytest.raises(grpc.RpcError) as caught:
        record(900, 200)
    code, reason, _ = road.error_of(caught.value)
    assert (code, reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "STORE_FULL")
    assert set(record(0, 900)) == {usage.RECORD_STATUS_DUPLICATE}
