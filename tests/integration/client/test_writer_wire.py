"""Both usage writers against a server that cuts, refuses, stalls: nothing lost, nothing doubled."""

from __future__ import annotations

import random
import threading
import time
from array import array
from contextlib import suppress
from datetime import datetime
from decimal import Decimal

import grpc
import pytest

from rating_client import (
    BatchFailed,
    BatchResult,
    Client,
    ClientOptions,
    RecordStatus,
    RejectReason,
    Unavailable,
    UsageColumns,
    WriterClosed,
)


def test_every_record_is_counted_once_and_reported_once(wire, open_writer, record):
    """Without faults: all records arrive with their values, each with one status, in order."""
    results: list[BatchResult] = []
    writer = open_writer(results.append, batch_records=100, batch_delay_seconds=100)
    numbers = [writer.write(record(n)) for n in range(1050)]
    counters = writer.close()
    assert numbers == list(range(1050))
    assert counters.written == counters.accepted == counters.counted == 1050
    assert counters.unanswered == counters.retry == counters.resent_batches == 0
    assert counters.streams == wire.streams == 1
    reported = sorted((result.first_record, len(result)) for result in results)
    assert reported == [(n, min(100, 1050 - n)) for n in range(0, 1050, 100)]
    assert wire.times_counted == len(wire.records) == 1050
    assert wire.records["customer-7", b"event-7"] == (
        "output-tokens",
        7 * 10**12,
        1772323207000000,
        (("model", "b"),),
    )
    assert wire.records["customer-5", b"event-5"][3] == ()


@pytest.mark.parametrize("seed", range(4))
def test_cut_streams_lose_and_double_nothing(wire, open_writer, record, fault, seed):
    """Random cuts, before or after counting, by abort or a clean end, with RETRY records too."""
    chance = random.Random(seed)
    for _ in range(25):
        wire.faults.append(
            fault(
                cut_after=chance.randrange(4),
                forget=chance.random() < 0.5,
                end_well=chance.random() < 0.3,
                retry_every=chance.choice([0, 0, 7]),
                retry_after=chance.choice([None, 0.01]),
                code=chance.choice(
                    [grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED]
                ),
            )
        )
        if wire.faults[-1].code is grpc.StatusCode.RESOURCE_EXHAUSTED:
            wire.faults[-1].retry_after = 0.01
    results: list[BatchResult] = []
    writer = open_writer(results.append, batch_records=50, backoff_max_seconds=0.02)
    for n in range(3000):
        writer.write(record(n))
    counters = writer.close()
    assert wire.times_counted == len(wire.records) == 3000
    assert counters.counted == counters.written == 3000
    assert counters.duplicate > 0
    assert counters.streams == wire.streams > 5
    positions = sorted(
        position
        for result in results
        for position in range(result.first_record, result.first_record + len(result))
    )
    assert positions == list(range(3000))
    assert all(result.attempts > 1 for result in results if result.count(RecordStatus.DUPLICATE))


def test_a_restarting_server_is_found_again(wire, open_writer, record):
    """Records written before, while and after the server is away are all counted."""
    # A connection made while the new server is not yet serving may be taken and never answered.
    writer = open_writer(batch_records=20, answer_timeout_seconds=2)
    for n in range(300):
        writer.write(record(n))
        if n == 100:
            wire.stop()
        if n == 200:
            wire.start()
    assert writer.close(timeout=40).counted == 300
    assert wire.times_counted == 300


def test_back_pressure_bounds_what_is_unanswered(wire, open_writer, record):
    """With a silent server, write takes up to the limit and then waits; it goes on afterwards."""
    wire.gate.clear()
    writer = open_writer(batch_records=10, max_unanswered_records=55, batches_in_flight=2)
    for n in range(55):
        writer.write(record(n), timeout=10)
    with pytest.raises(TimeoutError):
        writer.write(record(55), timeout=0.05)
    assert writer.counters.unanswered == writer.counters.written == 55
    with pytest.raises(TimeoutError):
        writer.flush(timeout=0.05)
    wire.gate.set()
    most = 0
    for n in range(55, 400):
        writer.write(record(n), timeout=10)
        most = max(most, writer.counters.unanswered)
    assert writer.close().accepted == 400
    assert most <= 55


def test_columns_wait_for_room_too(wire, open_writer):
    """Bulk columns are cut into batches, and never exceed the limit of unanswered records."""
    writer = open_writer(batch_records=100, max_unanswered_records=250)
    count = 2000
    columns = UsageColumns(
        customers=["a", "b", "c"],
        customer_index=array("i", [n % 3 for n in range(count)]),
        meters=[("tokens", 3)],
        event_ids=[f"id-{n}" for n in range(count)],
        quantities=array("q", range(count)),
        event_times_micros=memoryview(array("q", [1 + n for n in range(count)])),
        dimension_sets=[{}, {"model": "large"}],
        dimension_set_index=[n % 2 for n in range(count)],
    )
    assert writer.write_columns(columns, timeout=20) == range(count)
    assert writer.close().accepted == count
    assert wire.records["b", b"id-7"] == ("tokens", 7 * 10**9, 8, (("model", "large"),))
    assert max(wire.batch_sizes) == 100


def test_time_alone_sends_a_batch(open_writer, record):
    """A single record is sent after the batch delay, without flush or close."""
    done = threading.Event()
    writer = open_writer(lambda _: done.set(), batch_delay_seconds=0.02)
    writer.write(record(1))
    assert done.wait(10)
    assert writer.counters.accepted == 1


def test_flush_waits_for_every_answer(wire, open_writer, record):
    """After flush, everything written is answered; the writer goes on working."""
    writer = open_writer(batch_delay_seconds=100)
    for n in range(10):
        writer.write(record(n))
    assert writer.flush(timeout=20).accepted == 10
    writer.write(record(10))
    assert writer.close().accepted == 11
    assert wire.streams == 1


def test_after_close_writing_fails(open_writer, record):
    """A closed writer refuses records, and closing again is harmless."""
    writer = open_writer()
    writer.write(record(1))
    writer.close()
    assert writer.close().accepted == 1
    with pytest.raises(WriterClosed) as caught:
        writer.write(record(2))
    assert caught.value.reason == "WRITER_CLOSED"


def test_statuses_and_reasons_reach_the_callback(open_writer, record):
    """ACCEPTED, DUPLICATE, CONFLICT and REJECTED are told apart, with ids and reasons."""
    results: list[BatchResult] = []
    writer = open_writer(results.append, batch_delay_seconds=100)
    writer.write(record(1))
    writer.write(record(1))
    writer.write(record(1, quantity=Decimal("9.5")))
    writer.write(record(2, meter="unknown"))
    counters = writer.close()
    (result,) = results
    assert [result[row].status for row in range(4)] == [
        RecordStatus.ACCEPTED,
        RecordStatus.DUPLICATE,
        RecordStatus.CONFLICT,
        RecordStatus.REJECTED,
    ]
    assert result[3].reason is RejectReason.UNKNOWN_METER
    assert result.counted == counters.counted == 2
    found = [(number, event_id, at.status) for number, event_id, at in result.uncounted()]
    assert found == [
        (2, "event-1", RecordStatus.CONFLICT),
        (3, "event-2", RecordStatus.REJECTED),
    ]
    assert result.customers() == ["customer-1"] * 3 + ["customer-2"]


def test_a_fatal_error_surfaces(wire, open_writer, record, fault):
    """An error that no retry mends stops the writer: records get RETRY, write and flush raise."""
    wire.faults.append(
        fault(cut_after=0, code=grpc.StatusCode.PERMISSION_DENIED, reason="NOT_ALLOWED")
    )
    results: list[BatchResult] = []
    writer = open_writer(results.append)
    writer.write(record(1))
    with pytest.raises(WriterClosed) as caught:
        writer.flush(timeout=20)
    assert caught.value.code is grpc.StatusCode.PERMISSION_DENIED
    assert caught.value.reason == "NOT_ALLOWED"
    with pytest.raises(WriterClosed):
        writer.write(record(2))
    writer.close()
    assert [result[0].status for result in results] == [RecordStatus.RETRY]
    assert results[0].error.reason == "NOT_ALLOWED"
    assert writer.counters.retry == 1
    assert writer.counters.unanswered == 0


def test_closing_raises_an_error_that_nothing_else_raised(wire, open_writer, record, fault):
    """A writer that stopped unnoticed says so when it is closed, once."""
    wire.faults.append(fault(cut_after=0, code=grpc.StatusCode.UNIMPLEMENTED, reason=""))
    stopped = threading.Event()
    writer = open_writer(lambda _: stopped.set())
    writer.write(record(1))
    assert stopped.wait(20)
    with pytest.raises(WriterClosed) as caught:
        writer.close()
    assert caught.value.code is grpc.StatusCode.UNIMPLEMENTED
    writer.close()


def test_unary_calls_are_tried_again(wire, record):
    """RecordUsage that finds the server UNAVAILABLE twice succeeds at the third try."""
    wire.unary_failures = 2
    with Client(wire.target) as client:
        assert [found.status for found in client.record_usage([record(1), record(1)])] == [
            RecordStatus.ACCEPTED,
            RecordStatus.DUPLICATE,
        ]
        wire.unary_failures = 1
        with Client(wire.target, ClientOptions(unary_attempts=1)) as hasty:
            with pytest.raises(Unavailable) as caught:
                hasty.record_usage([record(2)])
            assert caught.value.retry_after == 0.25


def test_a_refused_batch_is_found_and_the_others_are_counted(wire, open_writer, record, fault):
    """INVALID_ARGUMENT ends one batch, never resent to success; all others are counted."""

    def refuse(batch):
        return b"event-57" in batch.event_ids

    wire.faults.extend(fault(refuse=refuse) for _ in range(20))
    results: list[BatchResult] = []
    writer = open_writer(results.append, batch_records=10, batch_delay_seconds=100)
    for n in range(200):
        writer.write(record(n))
    with pytest.raises(BatchFailed) as caught:
        writer.flush(timeout=20)
    assert caught.value.reason == "BATCH_INVALID"
    refused = [result for result in results if result.error is not None]
    assert [result.first_record for result in refused] == [50]
    assert set(refused[0].statuses) == {RecordStatus.REJECTED}
    assert writer.flush(timeout=20).accepted + writer.counters.duplicate == 190
    assert writer.close().rejected == 10


def test_giving_up_reports_retry(wire, open_writer, record):
    """After give_up_after_seconds, records of which nothing is known are reported with RETRY."""
    wire.stop()
    results: list[BatchResult] = []
    writer = open_writer(results.append, give_up_after_seconds=0.2)
    writer.write(record(1))
    with pytest.raises(BatchFailed) as caught:
        writer.flush(timeout=30)
    assert caught.value.code is grpc.StatusCode.UNAVAILABLE
    assert results[0][0].status is RecordStatus.RETRY
    assert not results[0][0].counted
    wire.start()
    while not writer.counters.counted:  # gRPC itself may wait a second before it connects again
        writer.write(record(1))
        with suppress(BatchFailed):
            writer.flush(timeout=30)
    assert writer.close(timeout=30).counted == 1  # DUPLICATE if a given-up try was counted


def test_a_silent_server_is_left_and_its_batches_resent(wire, open_writer, record):
    """A stream without answers is given up after answer_timeout_seconds, and opened anew."""
    wire.gate.clear()
    writer = open_writer(answer_timeout_seconds=0.2)
    writer.write(record(1))
    expires = time.monotonic() + 20
    while wire.streams < 2 and time.monotonic() < expires:
        time.sleep(0.01)
    wire.gate.set()
    assert writer.close(timeout=20).counted == 1
    assert wire.times_counted == 1
    assert wire.streams >= 2


def test_close_with_a_timeout_reports_what_is_open(wire, open_writer, record):
    """Closing with a silent server raises after the timeout, and every record has a result."""
    wire.gate.clear()
    results: list[BatchResult] = []
    writer = open_writer(results.append, batch_records=10)
    for n in range(25):
        writer.write(record(n))
    with pytest.raises(TimeoutError):
        writer.close(timeout=0.1)
    assert sum(map(len, results)) == 25
    assert {result.error.reason for result in results} == {"WRITER_CLOSED"}
    assert writer.counters.retry == 25


def test_an_error_in_the_callback_stops_the_writer(open_writer, record):
    """A callback that raises is not swallowed: the next flush raises it as the cause."""

    def fail(_):
        raise LookupError("in the callback")

    writer = open_writer(fail)
    writer.write(record(1))
    with pytest.raises(WriterClosed, match="in the callback") as caught:
        writer.flush(timeout=20)
    assert isinstance(caught.value.__cause__, LookupError)


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"event_id": ""}, ValueError),
        ({"event_id": "x" * 256}, ValueError),
        ({"customer": ""}, ValueError),
        ({"quantity": "1.0000000000001"}, ValueError),
        ({"quantity": 1.5}, TypeError),
        ({"quantity": 2**63}, ValueError),
        ({"quantity": "1e3"}, ValueError),
        ({"event_time": datetime(2026, 1, 1)}, ValueError),  # noqa: DTZ001 - that is the mistake
    ],
)
def test_a_record_that_cannot_be_sent_is_refused_at_write(open_writer, record, changes, error):
    """A bad record raises at once, and the writer goes on without it."""
    writer = open_writer()
    with pytest.raises(error):
        writer.write(record(1, **changes))
    writer.write(record(2))
    assert writer.close().written == 1
