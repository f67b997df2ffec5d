"""Delivery of numbered batches without a server: the duties of a producer (P12, P13)."""

from __future__ import annotations

import grpc
import pytest

from ratewright.v1 import usage_service_pb2 as api
from rating_client import (
    FailedPrecondition,
    ResourceExhausted,
    Unavailable,
    UsageColumns,
    WriterOptions,
)
from rating_client.columns import Payload
from rating_client.sequenced import SequencedDelivery

LOST = Unavailable("gone", code=grpc.StatusCode.UNAVAILABLE)
ACCEPTED, DUPLICATE, REJECTED, RETRY = 1, 2, 4, 5


def payload(number):
    """Return a batch of two records that tells its number."""
    columns = UsageColumns(
        customers=["c"], meters=[("m", 0)], quantities=[number, 1], event_times_micros=[1, 1]
    )
    (only,) = columns.payloads(10, 10_000, named=False)
    return only


class Producer:
    """A delivery, and the server's side played by hand."""

    def __init__(self, batches=0, first_sequence=None, **options):
        self.delivery = SequencedDelivery(
            WriterOptions(**options), lambda: 0.0, "p", 3, first_sequence
        )
        self.results = []
        self.put_so_far = 0
        for _ in range(batches):
            self.put()

    def put(self):
        self.delivery.put(payload(self.put_so_far + 1), 2 * self.put_so_far)
        self.put_so_far += 1

    def sent(self, now=0.0):
        """Return what goes out next as a request, or None."""
        item = self.delivery.next_to_send(now)
        return None if item is None else api.IngestUsageRequest.FromString(item.request())

    def shake(self, durable, now=0.0):
        """Open a stream; return the handshake's request."""
        self.delivery.opened()
        request = self.sent(now)
        assert self.sent(now) is None
        self.take(api.IngestUsageResponse(durable_sequence=durable))
        return request

    def take(self, answer):
        results = self.delivery.answers(answer, 0.0)
        for result in results:
            self.delivery.reported(result)
        self.results += results

    def answer(self, request, durable=0, statuses=()):
        self.take(
            api.IngestUsageResponse(
                batch_number=request.batch_number,
                sequence=request.sequence,
                statuses=statuses,
                reasons=[6 if status == REJECTED else 0 for status in statuses],
                durable_sequence=durable,
            )
        )


def test_the_handshake_comes_first_and_alone():
    """P13: a stream begins with the producer; batches follow the durable sequence without a gap."""
    producer = Producer(batches=3)
    request = producer.shake(durable=40)
    assert (request.producer.producer_id, request.producer.epoch) == ("p", 3)
    assert request.producer.start_anew
    assert not request.HasField("batch")
    sent = [producer.sent() for _ in range(3)]
    assert [request.sequence for request in sent] == [41, 42, 43]
    assert [request.batch.quantities[0] for request in sent] == [1, 2, 3]
    assert not any(request.batch.event_id_lengths for request in sent)


def test_what_is_not_durable_is_sent_again_unchanged():
    """P13: after a lost stream all above the durable sequence comes again, answered or not."""
    producer = Producer(batches=4)
    producer.shake(durable=0)
    first = [producer.sent() for _ in range(4)]
    producer.answer(first[0], durable=1)
    producer.answer(first[1], durable=1, statuses=[ACCEPTED, REJECTED])
    assert producer.delivery.lost(LOST, 0.0) == []
    request = producer.shake(durable=1, now=9.0)
    assert not request.producer.start_anew
    again = [producer.sent(9.0) for _ in range(3)]
    assert [r.batch.SerializeToString() for r in again] == [
        r.batch.SerializeToString() for r in first[1:]
    ]
    assert [r.answered_sequence for r in again] == [2, 2, 2]
    for request in again:
        producer.answer(request, durable=1)
    assert [list(result.statuses) for result in producer.results] == [
        [ACCEPTED, ACCEPTED],
        [ACCEPTED, REJECTED],
        [ACCEPTED, ACCEPTED],
        [ACCEPTED, ACCEPTED],
    ]
    assert [result.attempts for result in producer.results] == [1, 1, 2, 2]


def test_a_batch_that_turns_out_durable_is_counted():
    """A lost reply below the durable sequence is reported as DUPLICATE: counted, once."""
    producer = Producer(batches=2, first_sequence=7)
    assert not producer.shake(durable=6).producer.start_anew
    producer.sent()
    producer.delivery.lost(LOST, 0.0)
    producer.shake(durable=7, now=9.0)
    (result,) = producer.results
    assert list(result.statuses) == [DUPLICATE, DUPLICATE]
    assert producer.sent(9.0).sequence == 8


def test_batches_lost_by_the_store_and_by_us_are_an_error():
    """A handshake below what is kept is never passed over in silence."""
    producer = Producer(batches=2)
    producer.shake(durable=0)
    for durable in (0, 2):
        producer.answer(producer.sent(), durable=durable)
    producer.delivery.lost(LOST, 0.0)
    producer.put()
    with pytest.raises(FailedPrecondition, match="lost batches 1 to 2") as raised:
        producer.shake(durable=0, now=9.0)
    assert raised.value.reason == "SEQUENCE_LOST"


def test_at_most_1024_above_the_last_unbroken_answer():
    """P12: the producer itself keeps the window."""
    producer = Producer(batches=1030, batches_in_flight=64)
    producer.shake(durable=0)
    first = producer.sent()
    while (request := producer.sent()) is not None or len(producer.results) < 1023:
        if request is None:
            raise AssertionError("stopped too early")
        producer.answer(request)
    assert len(producer.results) == 1023
    producer.answer(first)
    assert producer.sent().sequence == 1025


def test_closing_asks_for_all_to_be_durable():
    """`confirm` sends what was taken, once all is answered, and not again when it is durable."""
    producer = Producer(batches=2)
    producer.shake(durable=0)
    requests = [producer.sent(), producer.sent()]
    producer.delivery.confirm()
    producer.answer(requests[0])
    assert producer.sent() is None
    producer.answer(requests[1])
    wish = producer.sent()
    assert (wish.sequence, wish.answered_sequence, wish.HasField("batch")) == (0, 2, False)
    assert not producer.delivery.settled
    assert producer.sent() is None
    producer.take(api.IngestUsageResponse(durable_sequence=2))
    assert producer.delivery.settled
    assert producer.sent() is None


def test_an_answer_overdue_counts_for_requests_without_a_batch():
    """A handshake that nobody answers does not hang the writer."""
    producer = Producer(batches=1, answer_timeout_seconds=5)
    producer.delivery.opened()
    producer.sent(1.0)
    assert not producer.delivery.stalled(5.9)
    assert producer.delivery.deadline(1.0) == 6.0
    assert producer.delivery.stalled(6.0)


@pytest.mark.parametrize("reason", ["PRODUCER_FENCED", "SEQUENCE_GAP", "SEQUENCE_CONFLICT"])
def test_what_cannot_be_mended_stops_the_writer(reason):
    """These errors are raised, and what has no status is reported with RETRY."""
    producer = Producer(batches=2)
    producer.shake(durable=0)
    producer.answer(producer.sent())
    producer.sent()
    error = FailedPrecondition("no", code=grpc.StatusCode.FAILED_PRECONDITION, reason=reason)
    with pytest.raises(FailedPrecondition):
        producer.delivery.lost(error, 0.0)
    (result,) = producer.delivery.abandon(error)
    assert (result.first_record, list(result.statuses)) == (2, [RETRY, RETRY])


def test_waiting_where_the_server_asks_for_it():
    """RESOURCE_EXHAUSTED with RetryInfo is tried again, not before the time it names."""
    producer = Producer(batches=1)
    producer.shake(durable=0)
    producer.sent()
    full = ResourceExhausted(
        "full", code=grpc.StatusCode.RESOURCE_EXHAUSTED, reason="STORE_FULL", retry_after=2.0
    )
    assert producer.delivery.lost(full, 10.0) == []
    assert not producer.delivery.ready(11.9)
    assert producer.delivery.send_at(11.0) >= 12.0
    assert producer.delivery.ready(13.0)


def test_a_numbered_batch_cannot_be_given_up():
    """Dropping one would leave a gap: the option is refused."""
    with pytest.raises(ValueError, match="give_up_after_seconds"):
        Producer(give_up_after_seconds=3)


def test_columns_have_event_ids_or_a_producer():
    """Ids where the writer numbers batches, or none where it does not, are a ValueError."""
    bare = UsageColumns(customers=["c"], meters=[("m", 0)], quantities=[1], event_times_micros=[1])
    named = UsageColumns(
        customers=["c"], meters=[("m", 0)], quantities=[1], event_times_micros=[1], event_ids=["e"]
    )
    assert (len(bare), len(named)) == (1, 1)
    with pytest.raises(ValueError, match="event_ids: expected 1"):
        list(bare.payloads(9, 9_999))
    with pytest.raises(ValueError, match="event_ids: expected none"):
        list(named.payloads(9, 9_999, named=False))
    assert isinstance(payload(1), Payload)
    assert payload(1).event_ids() == ["", ""]
