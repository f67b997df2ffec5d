"""Columns of a batch: what was written is what is in them, at one scale a meter."""

from __future__ import annotations

from array import array
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import accumulate
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ratewright.v1 import usage_service_pb2 as api
from rating_client import UsageColumns, UsageRecord
from rating_client.columns import Payload, RecordBuffer

START = datetime(2026, 1, 1, tzinfo=UTC)
QUANTITY = st.decimals(-(10**6), 10**6, places=None, allow_nan=False).map(
    lambda value: round(value, 12)
)


def _rows(payload: Payload) -> list[tuple[Any, ...]]:
    batch = api.IngestUsageRequest.FromString(payload.data).batch
    ends = list(accumulate(batch.event_id_lengths))
    count = len(ends)
    customers = list(batch.customer_index) or [0] * count
    meters = list(batch.meter_index) or [0] * count
    sets = list(batch.dimension_set_index)
    return [
        (
            batch.event_ids[([0, *ends])[row] : ends[row]].decode(),
            batch.customers[customers[row]],
            batch.meters[meters[row]].meter,
            Decimal(batch.quantities[row]).scaleb(-batch.meters[meters[row]].scale),
            batch.event_times_micros[row],
            dict(batch.dimension_sets[sets[row]].dimensions) if sets else {},
        )
        for row in range(count)
    ]


@settings(derandomize=True, max_examples=100, database=None, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20),
            st.sampled_from(["acme", "zürich", "c"]),
            st.sampled_from(["m", "n"]),
            QUANTITY,
            st.dictionaries(st.sampled_from(["model", "region"]), st.sampled_from(["", "x", "y"])),
        ),
        min_size=1,
        max_size=30,
    )
)
def test_a_buffer_holds_what_was_added(rows: list[tuple[Any, ...]]):
    """Ids, customers, meters, exact quantities, times, dimensions: all there, in order."""
    buffer = RecordBuffer()
    for number, (event_id, customer, meter, quantity, dimensions) in enumerate(rows):
        record = UsageRecord(
            event_id=event_id,
            customer=customer,
            meter=meter,
            quantity=quantity,
            event_time=START + timedelta(microseconds=number),
            dimensions=dimensions,
        )
        read = buffer.read(record)
        assert buffer.fits(meter, read[1], read[2])
        buffer.add(record, read)
    payload = buffer.seal()
    assert len(buffer) == 0
    expected = [
        (event_id, customer, meter, quantity, 1767225600000000 + number, kept(dimensions))
        for number, (event_id, customer, meter, quantity, dimensions) in enumerate(rows)
    ]
    assert _rows(payload) == expected
    assert payload.event_ids() == [row[0] for row in rows]
    assert payload.customers() == [row[1] for row in rows]
    some = list(range(0, len(rows), 2))
    assert _rows(payload.subset(some)) == expected[::2]


def kept(dimensions: dict[str, str]) -> dict[str, str]:
    """Leave out empty values: they are the same as lacking ones (S6.1)."""
    return {name: value for name, value in dimensions.items() if value}


def test_quantities_that_share_no_scale_do_not_share_a_batch():
    """2^62 and 10^-12 of one meter fit 64 bits each by itself, but at no common scale (S1.2)."""
    buffer = RecordBuffer()
    great = UsageRecord(event_id="a", customer="c", meter="m", event_time=START, quantity=2**62)
    small = "0.000000000001"
    tiny = UsageRecord(event_id="b", customer="c", meter="m", event_time=START, quantity=small)
    buffer.add(great, buffer.read(great))
    assert not buffer.fits("m", 1, 12)
    assert buffer.fits("other", 1, 12)
    buffer.seal()
    buffer.add(tiny, buffer.read(tiny))
    assert not buffer.fits("m", 2**62, 0)
    assert buffer.fits("m", 9, 0)


def test_a_record_that_fails_leaves_the_buffer_as_it_was():
    """After a bad dimension or customer the next record still lands in the right row."""
    buffer = RecordBuffer()
    good = UsageRecord(event_id="a", customer="c", meter="m", event_time=START)
    buffer.add(good, buffer.read(good))
    for changes in ({"customer": "x" * 129}, {"dimensions": {"model": "\ud800"}}):
        bad = UsageRecord(
            **{"event_id": "b", "customer": "c", "meter": "m", "event_time": START} | changes
        )
        with pytest.raises(ValueError, match=r"customer|surrogates"):
            buffer.add(bad, buffer.read(bad))
    last = UsageRecord(
        event_id="z", customer="d", meter="n", event_time=START, dimensions={"model": "x"}
    )
    buffer.add(last, buffer.read(last))
    assert [(row[0], row[1], row[2], row[5]) for row in _rows(buffer.seal())] == [
        ("a", "c", "m", {}),
        ("z", "d", "n", {"model": "x"}),
    ]


def _columns(**changes: Any) -> UsageColumns:
    values: dict[str, Any] = {
        "customers": ["a", "b"],
        "customer_index": [0, 1, 1, 0],
        "meters": [("m", 1), ("n", 0)],
        "meter_index": array("h", [0, 0, 1, 1]),
        "event_ids": ["one", "zwölf", "3", "4"],
        "quantities": [1, -2, 3, 4],
        "event_times_micros": (5, 6, 7, 8),
        "dimension_sets": [{}, {"model": "x"}],
        "dimension_set_index": np.array([0, 1, 1, 0], np.int32),
    }
    return UsageColumns(**(values | changes))


EXPECTED = [
    ("one", "a", "m", Decimal("0.1"), 5, {}),
    ("zwölf", "b", "m", Decimal("-0.2"), 6, {"model": "x"}),
    ("3", "b", "n", Decimal(3), 7, {"model": "x"}),
    ("4", "a", "n", Decimal(4), 8, {}),
]


@pytest.mark.parametrize("size", [1, 2, 3, 100])
def test_columns_are_cut_into_batches(size: int):
    """However they are cut, the rows are the same; ids may come as one blob of bytes."""
    ids = ["one", "zwölf", "3", "4"]
    blob = _columns(
        event_ids="".join(ids).encode(),
        event_id_lengths=array("q", [len(event_id.encode()) for event_id in ids]),
    )
    for columns in (_columns(), blob):
        payloads = list(columns.payloads(size, 1 << 20))
        assert [row for payload in payloads for row in _rows(payload)] == EXPECTED
        assert max(payload.record_count for payload in payloads) <= size


def test_dictionaries_hold_only_what_a_batch_uses():
    """A batch does not carry the customers of other batches."""
    (first, *_) = _columns().payloads(1, 1 << 20)
    batch = api.IngestUsageRequest.FromString(first.data).batch
    assert list(batch.customers) == ["a"]
    assert [meter.meter for meter in batch.meters] == ["m"]


def test_batches_keep_to_their_bytes():
    """Long ids make smaller batches."""
    count = 100
    columns = UsageColumns(
        customers=["a"],
        meters=[("m", 0)],
        event_ids=[f"{n:0200d}" for n in range(count)],
        quantities=range(count),
        event_times_micros=range(1, count + 1),
    )
    payloads = list(columns.payloads(1000, 4096))
    assert sum(payload.record_count for payload in payloads) == count
    assert max(len(payload.data) for payload in payloads) <= 4096


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"quantities": [1, 2, 3]}, ValueError, "quantities: expected 4 rows"),
        ({"customer_index": []}, ValueError, "customer_index: expected 4 rows"),
        ({"customer_index": [0, 1, 2, 0]}, ValueError, "customer_index: an index is outside"),
        ({"meter_index": [0, -1, 0, 0]}, ValueError, "meter_index: an index is outside"),
        ({"event_ids": ["a", "", "b", "c"]}, ValueError, "event_ids: expected 1 to 255 bytes"),
        ({"event_ids": ["a", "b", "c", "d" * 256]}, ValueError, "event_ids: expected 1 to 255"),
        ({"event_id_lengths": [1]}, ValueError, "event_id_lengths: only with"),
        (
            {"event_ids": b"abcd", "event_id_lengths": [1, 1, 1, 2]},
            ValueError,
            "event_id_lengths: their sum",
        ),
        ({"quantities": np.zeros(4)}, TypeError, "quantities: expected one dimension of integers"),
        ({"quantities": [1, 2, 3, 4.0]}, TypeError, "float"),
        ({"quantities": [1, 2, 3, 2**63]}, ValueError, "out of range"),
    ],
)
def test_faulty_columns(changes, error, message):
    """Wrong lengths, indexes, ids and types are errors that name the column."""
    with pytest.raises(error, match=f"(?i){message}"):
        list(_columns(**changes).payloads(100, 1 << 20))


@pytest.mark.parametrize(
    ("field", "value", "error"),
    [
        ("event_id", 5, TypeError),
        ("event_id", None, TypeError),
        ("event_id", b"e", TypeError),
        ("event_id", "", ValueError),
        ("customer", 5, TypeError),
        ("customer", ["acme"], TypeError),
        ("meter", None, TypeError),
        ("event_time", "2026-01-01T00:00:00Z", TypeError),
        ("event_time", 1767225600, TypeError),
        ("event_time", datetime(2026, 1, 1), ValueError),  # noqa: DTZ001 - that is the mistake
        ("dimensions", {"model": 5}, TypeError),
        ("dimensions", {5: "xl"}, TypeError),
        ("dimensions", [("model", "xl")], TypeError),
        ("dimensions", None, TypeError),
        ("quantity", 0.5, TypeError),
        ("quantity", None, TypeError),
    ],
)
def test_a_field_of_the_wrong_type_is_named(field: str, value: Any, error: type[Exception]):
    """What is no text, time or quantity is a TypeError or ValueError that names the field."""
    fields = {"event_id": "e", "customer": "acme", "meter": "m", "event_time": START}
    record = UsageRecord(**(fields | {field: value}))
    with pytest.raises(error, match=field):
        RecordBuffer.read(record)


def test_what_is_no_record_is_a_type_error():
    """Neither a mapping instead of a record nor numbers as event ids of columns get further."""
    not_a_record: Any = {"event_id": "e"}
    with pytest.raises(TypeError, match="expected a UsageRecord, got dict"):
        RecordBuffer.read(not_a_record)
    ids: Any = ["a", 5]
    columns = UsageColumns(
        customers=["acme"],
        meters=[("m", 0)],
        event_ids=ids,
        quantities=[1, 2],
        event_times_micros=[0, 0],
    )
    with pytest.raises(TypeError, match="event_ids: expected str, got int"):
        list(columns.payloads(10, 1 << 20))
