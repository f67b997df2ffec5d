"""The wire of sequenced streams (P12, P13): handshake, resends, every error with its details."""

from __future__ import annotations

import queue
from datetime import UTC, datetime

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from ratewright.v1 import usage_service_pb2 as usage
from rating_client import Client, UsageRecord, WriterClosed, WriterOptions

JANUARY_US = 1_767_225_600_000_000
CUSTOMERS = [f"numbered-{number}" for number in range(6)]
ACCEPTED, DUPLICATE, REJECTED = 1, 2, 4


class Wire:
    """One open stream, driven a request at a time."""

    def __init__(self, server):
        self.requests: queue.Queue[usage.IngestUsageRequest | None] = queue.Queue()
        self.call = server.usage.IngestUsage(iter(self.requests.get, None), timeout=60)

    def ask(self, **fields) -> usage.IngestUsageResponse:
        """Send one request and return its answer."""
        self.requests.put(usage.IngestUsageRequest(**fields))
        return next(self.call)

    def open(self, producer: str, epoch: int = 1, *, start_anew: bool = False) -> int:
        """Shake hands; return the durable sequence."""
        answer = self.ask(
            producer=usage.Producer(producer_id=producer, epoch=epoch, start_anew=start_anew)
        )
        return answer.durable_sequence

    def end(self) -> None:
        """End the stream from this side; nothing more may come."""
        self.requests.put(None)
        assert list(self.call) == []


def batch(*quantities: int, customers=CUSTOMERS, meter: str = "numbered-tokens"):
    """Return a batch that gives each quantity to the next customer."""
    return usage.UsageBatch(
        customers=customers,
        customer_index=[row % len(customers) for row in range(len(quantities))],
        meters=[usage.BatchMeter(meter=meter)],
        quantities=quantities,
        event_times_micros=[JANUARY_US] * len(quantities),
    )


def total(server) -> int:
    """Return the sum over all customers."""
    value = 0
    for customer in CUSTOMERS:
        request = usage.GetUsageRequest(customer=customer)
        request.time.FromMicroseconds(JANUARY_US)
        value += sum(int(c.value) for c in server.usage.GetUsage(request).counters)
    return value


@pytest.fixture(scope="module")
def ready(road, server):
    """The running server, with customers subscribed; every test counts from what it finds."""
    for customer in CUSTOMERS:
        road.subscribe(server, "numbered", customer)
    return server


def failed(wire: Wire, **fields) -> tuple[grpc.StatusCode, error_details_pb2.ErrorInfo]:
    """Send a request that ends the stream; return its code and ErrorInfo."""
    with pytest.raises(grpc.RpcError) as raised:
        wire.ask(**fields)
    status = rpc_status.from_call(raised.value)
    info = error_details_pb2.ErrorInfo()
    assert status.details[0].Unpack(info)
    return raised.value.code(), info


def test_a_numbered_batch_is_counted_once(ready):
    """Resends on the same stream, and on another, get the statuses of the first try."""
    before = total(ready)
    wire = Wire(ready)
    assert wire.open("p-once") == 0
    first = wire.ask(batch=batch(1, 2, 4, 8, 16, 32, 64), sequence=1, batch_number=9)
    assert (first.accepted_count, first.sequence, first.batch_number) == (7, 1, 9)
    again = wire.ask(batch=batch(1, 2, 4, 8, 16, 32, 64), sequence=1, batch_number=9)
    assert again == first
    wire.end()
    wire = Wire(ready)
    assert wire.open("p-once", 2) == 0
    assert wire.ask(batch=batch(1, 2, 4, 8, 16, 32, 64), sequence=1, batch_number=9) == first
    wire.end()
    assert total(ready) - before == 127


def test_refused_records_are_told_again(ready):
    """Records that were rejected are rejected again, for the same reasons, in the same rows."""
    wire = Wire(ready)
    wire.open("p-refused")
    mixed = batch(1, 2, 4, customers=[CUSTOMERS[0], "a stranger", CUSTOMERS[1]])
    first = wire.ask(batch=mixed, sequence=1)
    assert list(first.statuses) == [ACCEPTED, REJECTED, ACCEPTED]
    alone = wire.ask(batch=batch(1, customers=["a stranger"]), sequence=2)
    assert (alone.rejected_count, list(alone.reasons)) == (
        1,
        [usage.REJECT_REASON_NO_SUBSCRIPTION],
    )
    wire.end()
    wire = Wire(ready)
    assert wire.open("p-refused") == 0
    assert wire.ask(batch=mixed, sequence=1) == first
    assert wire.ask(batch=batch(1, customers=["a stranger"]), sequence=2) == alone
    wire.end()


def test_the_durable_sequence_follows_the_answers_that_were_taken(ready):
    """P13: it rises with `answered_sequence` in the shards that batches touch; a request without
    a batch brings up the others at once, and what lies below is DUPLICATE."""
    wire = Wire(ready)
    wire.open("p-durable")
    one = batch(1, customers=CUSTOMERS[:1])
    for sequence in (1, 2, 3):
        answer = wire.ask(batch=one, sequence=sequence, answered_sequence=sequence - 1)
        assert answer.durable_sequence == 0
    assert wire.ask(answered_sequence=2).durable_sequence == 2
    assert wire.ask(answered_sequence=3).durable_sequence == 3
    assert wire.ask(batch=one, sequence=2).duplicate_count == 1
    wire.end()
    assert Wire(ready).open("p-durable") == 3


def test_start_anew_begins_behind_the_highest(ready):
    """A producer that kept nothing goes on behind all that was ever sent under its name."""
    wire = Wire(ready)
    wire.open("p-anew")
    for sequence in (1, 2, 3):
        wire.ask(batch=batch(1, 2), sequence=sequence)
    wire.end()
    wire = Wire(ready)
    assert wire.open("p-anew", 2, start_anew=True) == 3
    assert wire.ask(batch=batch(5), sequence=4).accepted_count == 1
    wire.end()


def test_a_spool_whose_name_was_used_elsewhere_is_no_proof(ready, tmp_path):
    """Batches under numbers that a writer without this spool may have given are never called
    DUPLICATE; a spool of which all was answered goes on.
    """
    options = WriterOptions(batch_records=2, backoff_initial_seconds=0.001)
    record = UsageRecord(
        event_id="",
        customer=CUSTOMERS[0],
        meter="numbered-tokens",
        event_time=datetime(2026, 1, 1, tzinfo=UTC),
    )

    def write(records: int, spool: str, target: str = ready.target, timeout: float = 20.0):
        with Client(target) as client:
            place = tmp_path / spool
            writer = client.ingest(producer_id="elsewhere", options=options, spool_dir=place)
            for _ in range(records):
                writer.write(record)
            return writer.close(timeout)

    before = total(ready)
    assert write(2, "one").counted == 2
    with pytest.raises(TimeoutError):
        write(4, "one", "127.0.0.1:1", 0.1)
    assert write(2, "two").counted == 2
    with pytest.raises(WriterClosed) as caught:
        write(0, "one")
    assert caught.value.reason == "SPOOL_OVERTAKEN"
    assert caught.value.metadata["newest_epoch"]
    assert write(2, "two").counted == 2
    assert total(ready) == before + 6


def test_a_name_that_was_used_elsewhere_is_told_as_often_as_asked(ready):
    """A refused handshake changes nothing: whoever lost its answer, or died, is refused again."""
    own = Wire(ready)
    own.open("p-elsewhere", 1)
    for sequence in (1, 2, 3):
        own.ask(batch=batch(1, 2), sequence=sequence)
    own.end()
    other = Wire(ready)
    assert other.open("p-elsewhere", 2, start_anew=True) == 3
    for epoch, known in ((3, [1, 3]), (3, [1, 3]), (4, [1, 3, 4])):
        again = usage.Producer(producer_id="p-elsewhere", epoch=epoch, known_epochs=known)
        code, info = failed(Wire(ready), producer=again, answered_sequence=1)
        assert (code, info.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "SPOOL_OVERTAKEN")
        assert info.metadata["newest_epoch"] == "2"
    assert other.ask(batch=batch(7), sequence=4).accepted_count == 1  # nor is it fenced off
    other.end()
    for answered, known in (
        (3, [5]),
        (3, [5]),
        (0, [2, 5]),
    ):  # all was answered, or it was one's own
        again = usage.Producer(producer_id="p-elsewhere", epoch=5, known_epochs=known)
        assert Wire(ready).ask(producer=again, answered_sequence=answered).durable_sequence == 3
    again = usage.Producer(producer_id="p-elsewhere", epoch=6, known_epochs=[0])
    assert failed(Wire(ready), producer=again)[0] is grpc.StatusCode.INVALID_ARGUMENT


def test_a_later_epoch_fences_the_earlier_one_off(ready):
    """P13: the older stream fails at its next batch, and cannot be opened again."""
    before = total(ready)
    old = Wire(ready)
    old.open("p-fenced", 4)
    Wire(ready).open("p-fenced", 7)
    for wire, fields in (
        (old, {"batch": batch(1), "sequence": 1}),
        (Wire(ready), {"producer": usage.Producer(producer_id="p-fenced", epoch=6)}),
    ):
        code, info = failed(wire, **fields)
        assert (code, info.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "PRODUCER_FENCED")
        assert (info.metadata["newest_epoch"], info.metadata["producer_id"]) == ("7", "p-fenced")
    assert total(ready) == before


def test_gap_conflict_and_too_far(ready):
    """P12: each ends the stream with its own reason, and counts nothing."""
    before = total(ready)
    wire = Wire(ready)
    wire.open("p-errors")
    code, info = failed(wire, batch=batch(1), sequence=2)
    assert (code, info.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "SEQUENCE_GAP")
    assert info.metadata["expected_sequence"] == "1"
    wire = Wire(ready)
    wire.open("p-errors")
    wire.ask(batch=batch(1), sequence=1)
    code, info = failed(wire, batch=batch(2), sequence=1, batch_number=5)
    assert (code, info.reason) == (grpc.StatusCode.ALREADY_EXISTS, "SEQUENCE_CONFLICT")
    assert (info.metadata["sequence"], info.metadata["batch_number"]) == ("1", "5")
    wire = Wire(ready)
    wire.open("p-errors")
    for sequence in range(1, 1025):
        wire.requests.put(usage.IngestUsageRequest(batch=batch(1), sequence=sequence))
    assert [next(wire.call).sequence for _ in range(1024)] == list(range(1, 1025))
    code, info = failed(wire, batch=batch(1), sequence=1025)
    assert (code, info.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "SEQUENCE_TOO_FAR")
    assert total(ready) - before == 1024


MISTAKES = {
    "no producer": ({"batch": batch(1), "sequence": 1}, "sequence"),
    "no id": ({"producer": usage.Producer(epoch=1)}, "producer.producer_id"),
    "no epoch": ({"producer": usage.Producer(producer_id="p")}, "producer.epoch"),
    "batch in the handshake": (
        {"producer": usage.Producer(producer_id="p", epoch=1), "batch": batch(1)},
        "batch",
    ),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes_before_the_handshake(ready, road, name):
    """A first request that cannot begin a stream is INVALID_ARGUMENT with its field."""
    fields, field = MISTAKES[name]
    with pytest.raises(grpc.RpcError) as raised:
        Wire(ready).ask(**fields)
    code, _, violated = road.error_of(raised.value)
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert field in violated


NUMBERED_MISTAKES = {
    "no sequence": ({"batch": batch(1)}, "sequence"),
    "no batch": ({"sequence": 1}, "sequence"),
    "negative": ({"answered_sequence": -1}, "answered_sequence"),
    "again": ({"producer": usage.Producer(producer_id="p-bad", epoch=1)}, "producer"),
    "ids": (
        {
            "batch": usage.UsageBatch(event_ids=b"e", event_id_lengths=[1], quantities=[1]),
            "sequence": 1,
        },
        "batch.event_ids",
    ),
}


@pytest.mark.parametrize("name", NUMBERED_MISTAKES)
def test_mistakes_in_a_sequenced_stream(ready, road, name):
    """A request that does not fit an open stream is INVALID_ARGUMENT with its field."""
    fields, field = NUMBERED_MISTAKES[name]
    wire = Wire(ready)
    wire.open("p-bad")
    with pytest.raises(grpc.RpcError) as raised:
        wire.ask(**fields)
    code, _, violated = road.error_of(raised.value)
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert field in violated
