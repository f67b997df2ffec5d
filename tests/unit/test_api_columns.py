"""Columns cut out of messages and appended to them: the same bytes that protobuf means."""

from __future__ import annotations

from array import array

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ratewright.columns import (
    column_field,
    column_values,
    cut_fields,
    encode_varint,
    field_bytes,
    int64_bytes,
)
from ratewright.v1 import rating_service_pb2 as pb

INT64 = st.integers(-(2**63), 2**63 - 1)
PLAN_INDEX, QUANTITIES = 4, 5


def read_units(data: bytes) -> list[int]:
    """A column as protobuf reads it."""
    return list(pb.QuantityColumn.FromString(data).units)


def units_of(values: memoryview) -> list[int]:
    """The numbers of a column's bytes."""
    return list(array("q", values.tobytes()))


@settings(derandomize=True, max_examples=200, deadline=None)
@given(
    st.lists(st.lists(INT64, max_size=20), max_size=5),
    st.lists(st.integers(0, 2**32 - 1), max_size=20),
    st.integers(-(2**63), 2**63 - 1),
    st.lists(st.text(st.characters(exclude_categories=("Cs",)), max_size=200), max_size=3),
)
def test_a_cut_message_holds_what_protobuf_wrote(columns, index, number, names):
    """Columns come out with their values in order; the rest parses to the message without them."""
    request = pb.RateBatchRequest(
        batch_number=number,
        row_count=7,
        plans=[pb.RateBatchPlan(plan_name=name) for name in names],
        plan_index=index,
        quantities=[pb.QuantityColumn(units=units) for units in columns],
    )
    cut = cut_fields(request.SerializeToString(), (PLAN_INDEX, QUANTITIES))
    assert cut is not None
    found = [units_of(column_values(c, read_units)) for c in cut.fields[QUANTITIES]]
    assert found == columns
    packed = b"".join(piece.tobytes() for piece in cut.fields[PLAN_INDEX])
    assert list(array("I", packed)) == index
    rest = pb.RateBatchRequest.FromString(cut.rest)
    request.ClearField("quantities")
    request.ClearField("plan_index")
    assert rest == request


@settings(derandomize=True, max_examples=100, deadline=None)
@given(st.lists(st.lists(INT64, max_size=40), max_size=4), st.binary(max_size=300))
def test_appended_columns_are_the_message(columns, statuses):
    """Protobuf reads the appended pieces as if it had written them."""
    known = bytes(status & 1 for status in statuses)
    pieces = [pb.RateBatchResponse(batch_number=-3).SerializeToString()]
    for units in columns:
        pieces += column_field(4, int64_bytes(array("q", units)))
    pieces += field_bytes(7, [known])
    message = pb.RateBatchResponse.FromString(b"".join(pieces))
    assert message.batch_number == -3
    assert [list(column.units) for column in message.charges] == columns
    assert list(message.statuses) == list(known)


def test_columns_in_other_legal_forms_are_read_as_well():
    """One by one, in several pieces, and with fields that this version does not know."""
    one_by_one = b"".join(b"\x09" + int64_bytes(array("q", [value])) for value in (5, -6))
    two_pieces = b"\x0a\x08" + int64_bytes(array("q", [7])) + b"\x0a\x08"
    two_pieces += int64_bytes(array("q", [8]))
    unknown = b"\x12\x01x" + b"\x0a\x08" + int64_bytes(array("q", [9]))
    for data, units in ((one_by_one, [5, -6]), (two_pieces, [7, 8]), (unknown, [9]), (b"", [])):
        assert units_of(column_values(memoryview(data), read_units)) == units


@pytest.mark.parametrize(
    "data",
    [
        b"\x08",
        b"\x2a\x05abc",
        b"\xff" * 12,
        b"\x0b\x0c",
        b"\x09\x00",
        b"\x0d\x00",
        b"\x2a" + b"\xff" * 9 + b"\x01",
        b"\x08\x01" * 40_000,
    ],
    ids=["ends", "too short", "no key", "group", "fixed64", "fixed32", "huge", "many fields"],
)
def test_what_is_not_simple_is_left_to_protobuf(data):
    """Broken bytes, groups and very many fields are not cut."""
    assert cut_fields(data, (5,)) is None


@settings(derandomize=True, max_examples=300, deadline=None)
@given(st.binary(max_size=60))
def test_any_bytes_are_cut_or_refused(data):
    """Random bytes never raise, and what is cut adds up to the bytes that came."""
    cut = cut_fields(data, (1, 5))
    if cut is not None:
        taken = [piece for pieces in cut.fields.values() for piece in pieces]
        heads = sum(1 + len(encode_varint(len(piece))) for piece in taken)
        assert len(cut.rest) + sum(map(len, taken)) + heads <= len(data)
