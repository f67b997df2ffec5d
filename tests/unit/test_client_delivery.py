"""The writer's state machine, without threads, sockets or a clock."""

from __future__ import annotations

import random
from typing import Any

import grpc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ratewright.v1 import usage_service_pb2 as api
from rating_client import (
    Internal,
    InvalidArgument,
    PermissionDenied,
    RatewrightError,
    RecordStatus,
    RejectReason,
    ResourceExhausted,
    Unavailable,
    UsageColumns,
    WriterOptions,
)
from rating_client.delivery import Batch, Delivery, Verdict, verdict
from rating_client.errors import Cancelled

ACCEPTED, DUPLICATE, REJECTED, RETRY = 1, 2, 4, 5
LOST = Unavailable("lost", code=grpc.StatusCode.UNAVAILABLE, reason="DRAINING")


def _delivery(**options: Any) -> Delivery:
    return Delivery(WriterOptions(**options), lambda: 0.0)


def _put(delivery: Delivery, first: int, count: int) -> None:
    columns = UsageColumns(
        customers=["c"],
        meters=[("m", 0)],
        event_ids=[f"id-{first + n}" for n in range(count)],
        quantities=[1] * count,
        event_times_micros=[1] * count,
    )
    (payload,) = columns.payloads(count, 1 << 20)
    delivery.put(payload, first)


def _answer(batch: Batch, statuses: list[int], reasons: list[int] | None = None) -> Any:
    return api.IngestUsageResponse(
        batch_number=batch.number, statuses=statuses, reasons=reasons or []
    )


def _ids(batch: Batch) -> list[str]:
    request = api.IngestUsageRequest.FromString(batch.request())
    assert request.batch_number == batch.number
    blob, ids = request.batch.event_ids.decode(), []
    for length in request.batch.event_id_lengths:
        ids.append(blob[:length])
        blob = blob[length:]
    return ids


def test_only_so_many_batches_are_in_flight():
    """The next batch waits for an answer, and goes in the order of writing."""
    delivery = _delivery(batches_in_flight=2)
    for n in range(3):
        _put(delivery, n, 1)
    first, second = delivery.next_to_send(0.0), delivery.next_to_send(0.0)
    assert (first.first_record, second.first_record) == (0, 1)
    assert delivery.next_to_send(0.0) is None
    assert delivery.answered(_answer(first, []), 0.0).counted == 1
    assert delivery.next_to_send(0.0).first_record == 2
    assert len(delivery) == 2


def test_a_lost_stream_puts_batches_back_in_order():
    """After a loss, unanswered batches go first, in their order, after a growing wait."""
    delivery = _delivery(batches_in_flight=2, backoff_initial_seconds=1, backoff_max_seconds=3)
    for n in range(3):
        _put(delivery, n, 1)
    delivery.next_to_send(0.0)
    delivery.next_to_send(0.0)
    waits = []
    now = 0.0
    for _ in range(4):
        assert delivery.lost(LOST, now) == []
        waits.append(delivery.resume_at - now)
        assert delivery.next_to_send(now) is None
        now = delivery.send_at(now)
        assert now == delivery.resume_at
    assert waits == [1, 2, 3, 3]
    again = delivery.next_to_send(now)
    assert (again.first_record, again.attempts) == (0, 2)
    assert delivery.answered(_answer(again, [DUPLICATE]), now).counted == 1
    delivery.lost(LOST, now)
    assert delivery.resume_at - now == 1


def test_the_server_may_ask_for_a_longer_wait():
    """RetryInfo is the least wait."""
    delivery = _delivery()
    _put(delivery, 0, 1)
    full = ResourceExhausted(
        "full", code=grpc.StatusCode.RESOURCE_EXHAUSTED, reason="STORE_FULL", retry_after=7.0
    )
    delivery.lost(full, 10.0)
    assert delivery.resume_at >= 17.0


def test_only_records_with_retry_are_sent_again():
    """Statuses of several answers are put together; the caller sees one result."""
    delivery = _delivery(backoff_initial_seconds=1)
    _put(delivery, 100, 5)
    batch = delivery.next_to_send(0.0)
    statuses = [ACCEPTED, RETRY, REJECTED, RETRY, RETRY]
    assert delivery.answered(_answer(batch, statuses, [0, 0, 6, 0, 0]), 0.0) is None
    assert delivery.next_to_send(0.5) is None
    again = delivery.next_to_send(1.0)
    assert _ids(again) == ["id-101", "id-103", "id-104"]
    assert delivery.answered(_answer(again, [ACCEPTED, RETRY, DUPLICATE]), 1.0) is None
    last = delivery.next_to_send(delivery.send_at(1.0))
    assert _ids(last) == ["id-103"]
    result = delivery.answered(_answer(last, []), 4.0)
    assert list(result.statuses) == [ACCEPTED, ACCEPTED, REJECTED, ACCEPTED, DUPLICATE]
    assert result[2].reason is RejectReason.NO_SUBSCRIPTION
    assert (result.first_record, result.attempts, result.counted) == (100, 3, 4)
    assert [row[:2] for row in result.uncounted()] == [(102, "id-102")]


def test_the_batch_at_fault_is_found_one_by_one():
    """INVALID_ARGUMENT with several in flight: resend singly until it can only be one."""
    delivery = _delivery(batches_in_flight=4)
    for n in range(6):
        _put(delivery, n, 1)
    bad = InvalidArgument("no", code=grpc.StatusCode.INVALID_ARGUMENT, reason="BATCH_INVALID")
    while delivery.next_to_send(0.0):
        pass
    assert delivery.lost(bad, 0.0) == []
    first = delivery.next_to_send(0.0)
    assert delivery.next_to_send(0.0) is None
    delivery.answered(_answer(first, [DUPLICATE]), 0.0)
    second = delivery.next_to_send(0.0)
    (result,) = delivery.lost(bad, 0.0)
    assert result.first_record == second.first_record == 1
    assert result.error is bad
    assert result[0].status is RecordStatus.REJECTED
    assert delivery.next_to_send(0.0).first_record == 2
    assert delivery.next_to_send(0.0) is None
    assert len(delivery) == 4


def test_an_error_that_names_its_batch_ends_that_one():
    """With `batch_number` in the error's metadata nothing has to be tried."""
    delivery = _delivery()
    for n in range(3):
        _put(delivery, n, 1)
    sent = [delivery.next_to_send(0.0) for _ in range(3)]
    named = InvalidArgument(
        "no",
        code=grpc.StatusCode.INVALID_ARGUMENT,
        reason="BATCH_INVALID",
        metadata={"batch_number": str(sent[1].number)},
    )
    (result,) = delivery.lost(named, 0.0)
    assert result.first_record == 1
    assert [delivery.next_to_send(0.0).first_record for _ in range(2)] == [0, 2]


def test_a_refusal_of_nothing_is_fatal():
    """INVALID_ARGUMENT without anything in flight would come again for ever."""
    delivery = _delivery()
    _put(delivery, 0, 1)
    with pytest.raises(InvalidArgument):
        delivery.lost(InvalidArgument("no", code=grpc.StatusCode.INVALID_ARGUMENT), 0.0)
    assert len(delivery) == 1


@pytest.mark.parametrize(
    "answer",
    [
        {"batch_number": 99},
        {"batch_number": 1, "statuses": [1]},
        {"batch_number": 1, "statuses": [1, 4], "reasons": [0]},
    ],
)
def test_an_answer_that_does_not_fit_is_an_error(answer: dict[str, Any]):
    """Unknown batches and wrong numbers of statuses are never taken for an answer."""
    delivery = _delivery()
    _put(delivery, 0, 2)
    delivery.next_to_send(0.0)
    with pytest.raises(Internal) as caught:
        delivery.answered(api.IngestUsageResponse(**answer), 0.0)
    assert verdict(caught.value) is Verdict.FATAL


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (LOST, Verdict.RETRY),
        (Internal("Received RST_STREAM", code=grpc.StatusCode.INTERNAL), Verdict.RETRY),
        (Internal("Stream removed", code=grpc.StatusCode.UNKNOWN), Verdict.RETRY),
        (Cancelled("CANCELLED", code=grpc.StatusCode.CANCELLED), Verdict.RETRY),
        (Cancelled("Channel closed!", code=grpc.StatusCode.CANCELLED), Verdict.FATAL),
        (Internal("an error", code=grpc.StatusCode.INTERNAL, reason="INTERNAL"), Verdict.FATAL),
        (Internal("unexpected KeyError", code=grpc.StatusCode.UNKNOWN), Verdict.FATAL),
        (PermissionDenied("no", code=grpc.StatusCode.PERMISSION_DENIED), Verdict.FATAL),
        (InvalidArgument("no", code=grpc.StatusCode.INVALID_ARGUMENT), Verdict.REFUSED),
        (
            ResourceExhausted("too big", code=grpc.StatusCode.RESOURCE_EXHAUSTED),
            Verdict.REFUSED,
        ),
    ],
)
def test_verdicts(error: RatewrightError, expected: Verdict):
    """Only what may be retried is retried."""
    assert verdict(error) is expected


def test_time_limits_are_kept():
    """An overdue answer makes the stream stall; a batch in trouble too long ends as RETRY."""
    delivery = _delivery(answer_timeout_seconds=10, give_up_after_seconds=25)
    _put(delivery, 0, 1)
    delivery.next_to_send(0.0)
    assert delivery.send_at(0.0) is None
    assert delivery.deadline(0.0) == 10
    assert not delivery.stalled(9.9)
    assert delivery.stalled(10.0)
    delivery.lost(LOST, 10.0)
    assert delivery.expired(34.9) == []
    (result,) = delivery.expired(35.0)
    assert result[0].status is RecordStatus.RETRY
    assert result.error is LOST
    assert len(delivery) == 0
    assert delivery.deadline(35.0) is None
    assert delivery.send_at(35.0) is None


@settings(derandomize=True, max_examples=200, database=None, deadline=None)
@given(st.integers(0, 2**32))
def test_random_histories_report_every_record_once(seed: int):
    """Losses, refusals, RETRY and answers in any order: each record has one result, at the end."""
    chance = random.Random(seed)
    delivery = Delivery(WriterOptions(batches_in_flight=chance.randint(1, 4)), chance.random)
    now, first, batches = 0.0, 0, chance.randint(1, 8)
    for _ in range(batches):
        count = chance.randint(1, 5)
        _put(delivery, first, count)
        first += count
    refused = chance.randrange(batches) + 1 if chance.random() < 0.3 else 0
    flying: list[Batch] = []
    results = []
    while len(delivery):
        batch = delivery.next_to_send(now)
        if batch is not None:
            flying.append(batch)
        elif not flying:
            due = delivery.send_at(now)
            assert due is not None
            now = max(due, now + 1e-6)
        if flying and chance.random() < 0.15:
            delivery.lost(LOST, now)
            flying.clear()
        elif flying and chance.random() < 0.5:
            batch = flying.pop(0)
            if batch.number == refused:
                bad = InvalidArgument("no", code=grpc.StatusCode.INVALID_ARGUMENT)
                results += delivery.lost(bad, now)
                flying.clear()
                continue
            rows = len(batch.statuses) if batch.rows is None else len(batch.rows)
            statuses = [chance.choice([ACCEPTED, DUPLICATE, REJECTED, RETRY]) for _ in range(rows)]
            result = delivery.answered(_answer(batch, statuses), now)
            results += [] if result is None else [result]
    rows = sorted(row for r in results for row in range(r.first_record, r.first_record + len(r)))
    assert rows == list(range(first))
    assert all(RETRY not in result.statuses for result in results)
    assert len([result for result in results if result.error]) == bool(refused)
