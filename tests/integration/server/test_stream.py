"""IngestUsage: answers in order, flow control, graceful drain."""

from __future__ import annotations

import queue
import signal
import threading
import time
from collections.abc import Iterator

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_status import rpc_status

from ratewright.v1 import usage_service_pb2 as usage

JANUARY_US = 1_767_225_600_000_000


def batch(number: int, meter: str, customers: list[str], count: int) -> usage.IngestUsageRequest:
    """A batch of ``count`` records with ids that no other batch has, spread over customers."""
    ids = [f"b{number}-{row}" for row in range(count)]
    return usage.IngestUsageRequest(
        batch_number=number,
        batch=usage.UsageBatch(
            customers=customers,
            customer_index=[row % len(customers) for row in range(count)],
            meters=[usage.BatchMeter(meter=meter)],
            event_ids="".join(ids).encode(),
            event_id_lengths=[len(event_id) for event_id in ids],
            quantities=[row + 1 for row in range(count)],
            event_times_micros=[JANUARY_US + row for row in range(count)],
        ),
    )


def test_batches_are_answered_in_order_and_a_resend_changes_nothing(server, road):
    """Each batch gets its counts; the same stream again is all duplicates; the sums are exact."""
    customers = [f"stream-{number}" for number in range(40)]
    for customer in customers:
        road.subscribe(server, "stream", customer)
    batches = [batch(number, "stream-tokens", customers, 1000) for number in range(30)]
    answers = list(server.usage.IngestUsage(iter(batches)))
    assert [answer.batch_number for answer in answers] == list(range(30))
    assert [answer.accepted_count for answer in answers] == [1000] * 30
    assert all(not answer.statuses for answer in answers)
    again = list(server.usage.IngestUsage(iter(batches)))
    assert [answer.duplicate_count for answer in again] == [1000] * 30
    total = 0
    for customer in customers:
        request = usage.GetUsageRequest(customer=customer)
        request.time.FromMicroseconds(JANUARY_US)
        total += int(server.usage.GetUsage(request).counters[0].value)
    assert total == 30 * 1000 * 1001 // 2


def test_columns_carry_dimensions_scales_and_statuses(server, road):
    """Dimension sets and scales of a batch count like those of single records."""
    road.subscribe(server, "columns", "columns-customer")
    request = usage.IngestUsageRequest(
        batch=usage.UsageBatch(
            customers=["columns-customer", "stranger"],
            customer_index=[0, 0, 0, 1, 0],
            meters=[
                usage.BatchMeter(meter="columns-tokens", scale=1),
                usage.BatchMeter(meter="columns-payments", scale=4),
            ],
            meter_index=[0, 0, 1, 0, 1],
            dimension_sets=[
                usage.DimensionSet(),
                usage.DimensionSet(dimensions={"model": "large"}),
            ],
            dimension_set_index=[1, 0, 0, 0, 0],
            event_ids=b"abcde",
            event_id_lengths=[1] * 5,
            quantities=[50, 55, 12_300, 10, 12_345],
            event_times_micros=[JANUARY_US] * 5,
        )
    )
    (answer,) = server.usage.IngestUsage(iter([request]))
    assert list(answer.statuses) == [1, 4, 1, 4, 4]
    assert list(answer.reasons) == [
        0,
        usage.REJECT_REASON_QUANTITY_PRECISION,
        0,
        usage.REJECT_REASON_NO_SUBSCRIPTION,
        usage.REJECT_REASON_QUANTITY_PRECISION,
    ]
    asked = usage.GetUsageRequest(customer="columns-customer")
    asked.time.FromMicroseconds(JANUARY_US)
    counters = server.usage.GetUsage(asked).counters
    assert [(c.meter, dict(c.dimensions), c.value) for c in counters] == [
        ("columns-payments", {}, "1.23"),
        ("columns-tokens", {"model": "large"}, "5"),
    ]


class Feed:
    """A request iterator that the test feeds while the stream is open."""

    def __init__(self) -> None:
        self._queue: queue.Queue[usage.IngestUsageRequest | None] = queue.Queue()

    def put(self, request: usage.IngestUsageRequest | None) -> None:
        """Send a request; None ends the stream."""
        self._queue.put(request)

    def __iter__(self) -> Iterator[usage.IngestUsageRequest]:
        while (request := self._queue.get()) is not None:
            yield request


def test_sigterm_drains_open_streams(server_factory, road):
    """SIGTERM: health NOT_SERVING, what was read is answered, UNAVAILABLE + RetryInfo, exit 0."""
    server = server_factory().start()
    road.subscribe(server, "drain", "drain-customer")
    feed = Feed()
    call = server.usage.IngestUsage(iter(feed))
    answered = []
    errors = []

    def read() -> None:
        try:
            answered.extend(answer.batch_number for answer in call)
        except grpc.RpcError as error:
            errors.append(error)

    reader = threading.Thread(target=read)
    reader.start()
    for number in range(5):
        feed.put(batch(number, "drain-tokens", ["drain-customer"], 100))
    expires = time.monotonic() + 30
    while len(answered) < 5 and time.monotonic() < expires:
        time.sleep(0.01)
    states = health_pb2_grpc.HealthStub(server.connect()).Watch(
        health_pb2.HealthCheckRequest(service="")
    )
    serving, stopped = (
        health_pb2.HealthCheckResponse.SERVING,
        (health_pb2.HealthCheckResponse.NOT_SERVING),
    )
    assert next(states).status == serving
    began = time.monotonic()
    server.signal(signal.SIGTERM)
    assert next(states).status == stopped
    states.cancel()
    reader.join(20)
    feed.put(None)
    assert answered == [0, 1, 2, 3, 4]
    (error,) = errors
    assert error.code() == grpc.StatusCode.UNAVAILABLE
    retry = error_details_pb2.RetryInfo()
    assert any(detail.Unpack(retry) for detail in rpc_status.from_call(error).details)
    assert server.process.wait(20) == 0
    assert time.monotonic() - began < 10


def test_a_second_server_on_one_data_directory_is_refused(server_factory):
    """The data directory belongs to one server; the second says so in one line and exits 1 or 2."""
    first = server_factory().start()
    second = server_factory()
    second.data_dir = first.data_dir
    second._flags[second._flags.index("--data-dir") + 1] = str(first.data_dir)
    with pytest.raises(AssertionError):
        second.start()
    assert second.process.wait(20) in (1, 2)
    lines = second.log.read_text().strip().splitlines()
    assert str(first.process.pid) in lines[-1]
    assert "Traceback" not in second.log.read_text()


def test_a_taken_port_is_refused(server, server_factory):
    """Two servers never share a port: the second one says so in one line."""
    port = server.target.rpartition(":")[2]
    second = server_factory("--port", port)
    with pytest.raises(AssertionError, match=f"cannot listen on 127.0.0.1:{port}"):
        second.start()
    assert "Traceback" not in second.log.read_text()
