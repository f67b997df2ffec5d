"""Requests of RateBatch from bytes: exactly what protobuf reads, however odd the bytes."""

from __future__ import annotations

from array import array
from random import Random

import pytest
from google.protobuf.message import DecodeError

from ratewright.v1 import rating_service_pb2 as pb
from rating_server.servicers.convert_rating import parse_row_batch
from rating_server.usecases.failure import InvalidRequest

REQUEST = pb.RateBatchRequest(
    batch_number=1,
    row_count=3,
    plans=[pb.RateBatchPlan(plan_name="plans/x")],
    plan_index=[0, 1, 2],
    quantities=[pb.QuantityColumn(units=[1, -2, 3]), pb.QuantityColumn(units=[4])],
).SerializeToString()


def by_protobuf(data: bytes) -> tuple[object, ...] | None:
    """The batch as protobuf reads it; None if it does not."""
    try:
        message = pb.RateBatchRequest.FromString(data)
    except DecodeError:
        return None
    columns = [list(column.units) for column in message.quantities]
    names = [plan.plan_name for plan in message.plans]
    return message.batch_number, message.row_count, names, list(message.plan_index), columns


def by_us(data: bytes) -> tuple[object, ...] | None:
    """The batch as the server reads it; None if it does not."""
    try:
        batch = parse_row_batch(data)
    except InvalidRequest:
        return None
    columns = [list(array("q", bytes(column))) for column in batch.quantities]
    names = [plan.plan_name for plan in batch.plans]
    index = list(array("I", bytes(batch.plan_index)))
    return batch.batch_number, batch.row_count, names, index, columns


def mutated(draw: Random) -> bytes:
    """The request with one to four bytes changed, dropped, or put in."""
    data = bytearray(REQUEST)
    for _ in range(draw.randint(1, 4)):
        place = draw.randrange(len(data))
        match draw.randrange(3):
            case 0:
                data[place] = draw.randrange(256)
            case 1:
                del data[place]
            case _:
                data.insert(place, draw.choice([0x09, 0x0A, 0x22, 0x25, 0x2A, 0]))
    return bytes(data)


def test_mutated_requests_are_read_as_protobuf_reads_them():
    """20,000 damaged requests: the same values where protobuf reads them, refused elsewhere."""
    draw = Random(5)
    read = 0
    for _ in range(20_000):
        data = mutated(draw)
        expected = by_protobuf(data)
        assert by_us(data) == expected, data.hex()
        read += expected is not None
    assert read > 1_000


def test_more_columns_than_any_plan_has_meters_are_refused_at_once():
    """A message of a million empty columns costs no million steps."""
    with pytest.raises(InvalidRequest) as caught:
        parse_row_batch(b"\x2a\x00" * 1_000_000)
    assert [fault.field for fault in caught.value.violations] == ["quantities"]
