"""RateBatch without end: flat memory, readers that stop reading, clients that cancel."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc

from ratewright.document import plan_from_document
from ratewright.v1 import plan_pb2
from ratewright.v1 import rating_service_pb2 as pb

RATE_BATCH = "/ratewright.v1.RatingService/RateBatch"
METERS = [
    {"id": "rb-tokens", "aggregation": "sum"},
    {"id": "rb-bytes", "aggregation": "sum", "scale": "3"},
]


def plan(plan_id: str, **keys) -> plan_pb2.Plan:
    """A plan on the two meters."""
    fixed = {"id": plan_id, "currency": "USD", "billing_period": "month", "meters": METERS}
    return plan_from_document({**fixed, **keys})


def request_of(rows: int, **keys) -> pb.RateBatchRequest:
    """A request with a plan of fees per event, its dictionary and so many rows."""
    charge = {
        "id": "pay",
        "meter": "rb-bytes",
        "model": "percentage",
        "percent": "2.9",
        "fixed_fee_per_event": "0.3",
        "min_per_event": "0.5",
        "max_per_event": "50",
    }
    dictionary = [pb.RateBatchPlan(plan=plan("rb-percentage", charges=[charge]))]
    return pb.RateBatchRequest(**{"row_count": rows, "plans": dictionary, **keys})


def resident_mb(pid: int) -> int:
    """Resident memory of a process in MB."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) // 1024


def test_an_endless_stream_runs_in_flat_memory(server_factory):
    """After a warm-up, hundreds of megabytes of columns leave the server's memory where it was."""
    server = server_factory().start()
    rows = 50_000
    head = request_of(rows).SerializeToString()
    rest = request_of(rows, plans=[]).SerializeToString()
    part = pb.RateBatchRequest(quantities=[pb.QuantityColumn(units=range(rows))] * 2)
    columns = part.SerializeToString()
    sizes = []

    def requests() -> Iterator[bytes]:
        yield head + columns
        while len(sizes) < 2:
            yield rest + columns

    call = server.connect().stream_stream(RATE_BATCH)(requests())
    for number, answer in enumerate(call):
        assert len(answer) > 2 * 8 * rows
        if number in (150, 600):
            sizes.append(resident_mb(server.process.pid))
    assert sizes[1] - sizes[0] < 40, sizes


def flat_requests(fees: int, rows: int) -> Iterator[bytes]:
    """Small requests without end, whose answers hold so many flat fees and their total."""
    charges = [{"id": f"f{n}", "model": "flat_fee", "amount": "1"} for n in range(fees)]
    dictionary = [pb.RateBatchPlan(plan=plan("rb-fees", charges=charges, meters=[]))]
    yield pb.RateBatchRequest(row_count=rows, plans=dictionary).SerializeToString()
    while True:
        yield pb.RateBatchRequest(row_count=rows).SerializeToString()


def unlimited(server) -> grpc.Channel:
    """A channel that takes answers of any size."""
    options = [("grpc.max_receive_message_length", -1)]
    return grpc.insecure_channel(server.target, options=options)


def test_readers_that_stop_reading_do_not_fill_the_memory(server_factory):
    """Answers count until they are taken: memory stays bounded, and what goes beyond is refused."""
    server = server_factory("--max-bytes-in-flight", str(32 << 20)).start()
    channel = unlimited(server)
    send = channel.stream_stream(RATE_BATCH)
    started = resident_mb(server.process.pid)
    calls, codes = [], []
    for _ in range(12):
        calls.append(send(flat_requests(9, 100_000)))
        try:
            assert len(next(calls[-1])) > 8_000_000
        except grpc.RpcError as error:
            codes.append(error.code())
    time.sleep(0.5)
    grown = resident_mb(server.process.pid) - started
    for call in calls:
        call.cancel()
    channel.close()
    # 32 MB that wait, beside what threads are pricing and gRPC is sending; 12 × 8 × 8 MB before.
    assert grown < 350, grown
    assert set(codes) == {grpc.StatusCode.RESOURCE_EXHAUSTED}
    assert len(codes) < 10
    request = request_of(1, quantities=[pb.QuantityColumn(units=[1])] * 2)
    (answer,) = retried(lambda: list(server.rating.RateBatch(iter([request]))))
    assert answer.row_count == 1


def retried(call: Callable[[], list[pb.RateBatchResponse]]) -> list[pb.RateBatchResponse]:
    """What a call returns once the server has room again."""
    expires = time.monotonic() + 10
    while True:
        try:
            return call()
        except grpc.RpcError as error:
            full = error.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
            if not full or time.monotonic() > expires:
                raise
        time.sleep(0.05)


def test_a_client_that_cancels_leaves_no_error_in_the_log(server_factory):
    """Streams that are cancelled at any moment end quietly."""
    server = server_factory("--log-level", "debug").start()
    channel = unlimited(server)
    send = channel.stream_stream(RATE_BATCH)
    for number in range(120):
        call = send(iter([b"\xff"]) if number % 10 == 9 else flat_requests(2, 50_000))
        for _ in range(number % 5 if number % 10 < 9 else 0):
            next(call)
        call.cancel()
    channel.close()
    assert server.stop() == 0
    text = server.log.read_text()
    assert "Traceback" not in text, text[-3000:]
    assert '"level": "error"' not in text
