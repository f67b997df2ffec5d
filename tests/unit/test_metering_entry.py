"""Bytes of entries: what is written is read back, anything else is LogCorrupt (P5)."""

from __future__ import annotations

import json
import random
import struct

import numpy as np
import pytest

from rating_core.catalog import Aggregation
from rating_core.errors import LogCorrupt
from rating_core.metering.deciding.records_entry import EntryMeter, RecordsEntry
from rating_core.metering.log.entry import (
    ControlEntry,
    decode_body,
    decode_envelope,
    encode_control,
    encode_envelope,
    encode_records,
)

BOOT = bytes(range(16))
CONTROL = ControlEntry("configure", "r", "f", {"window_us": None}, {"größe": [1, -(2**63)]})


def records(count, generator):
    ids = [("é" * generator.randint(1, 100)).encode() for _ in range(count)]
    wide = generator.choice([1, 200, 70_000, 2**33, 2**62])
    return RecordsEntry(
        customers=["acme", 'quote " \\ ü'],
        meters=[EntryMeter("m", Aggregation.SUM, 12), EntryMeter("n", Aggregation.COUNT, 0)],
        dimension_sets=[(), (("a", "1"), ("b", "ü"))],
        codes=np.array(
            [[generator.randrange(2) for _ in range(count)] for _ in range(3)], np.int32
        ),
        event_ids=b"".join(ids),
        ends=np.cumsum([len(text) for text in ids]),
        words=np.array(
            [[generator.randint(-wide, wide) for _ in range(count)] for _ in range(3)], np.int64
        ),
    )


def test_envelope_round_trip():
    """Boot id, counter, now and body come back; the counter is unsigned, now signed (P4)."""
    entry = encode_envelope(BOOT, 2**64 - 1, -5, b"body")
    found = decode_envelope(entry)
    assert (found.boot, found.counter, found.now, found.body) == (BOOT, 2**64 - 1, -5, b"body")


def test_envelope_refuses_what_it_did_not_write():
    """Short, long and foreign bytes are corrupt; a boot id of another length is a mistake."""
    entry = encode_envelope(BOOT, 1, 2, b"body")
    for bad in (b"", entry[:30], entry[:-1], entry + b"x", b"XXXX" + entry[4:]):
        with pytest.raises(LogCorrupt):
            decode_envelope(bad)
    with pytest.raises(ValueError, match="16 bytes"):
        encode_envelope(b"short", 1, 2, b"")


def test_control_round_trip():
    """A control entry comes back equal, integers at full size included."""
    assert decode_body(encode_control(CONTROL)) == CONTROL


@pytest.mark.parametrize("seed", range(12))
def test_records_round_trip(seed):
    """Columns of every width come back as they were, and encode to the same bytes again."""
    entry = records(1 + seed * 7, random.Random(seed))
    body = encode_records(entry)
    found = decode_body(body)
    assert (found.customers, found.meters, found.dimension_sets, found.event_ids) == (
        entry.customers,
        entry.meters,
        entry.dimension_sets,
        entry.event_ids,
    )
    for name in ("codes", "ends", "words"):
        assert np.array_equal(getattr(found, name), getattr(entry, name))
        assert getattr(found, name).flags.carray
    assert encode_records(found) == body


def test_narrow_columns_take_few_bytes():
    """A thousand alike records take little more than their ids."""
    ends = np.arange(16, 16_001, 16)
    entry = RecordsEntry(
        ["c"],
        [EntryMeter("m", Aggregation.SUM, 0)],
        [()],
        np.zeros((3, 1000), np.int32),
        bytes(16_000),
        ends,
        np.full((3, 1000), 10**15, np.int64),
    )
    assert len(encode_records(entry)) < 16_000 + 7 * 1000 + 600


def header_of(body):
    length = struct.unpack_from("<I", body, 4)[0]
    return json.loads(body[8 : 8 + length]), body[8 + length :]


def with_header(header, columns):
    text = json.dumps(header).encode()
    text += b" " * (-(len(text) + 8) % 8)
    return b"RWR1" + struct.pack("<I", len(text)) + text + columns


def spoil(name, position, value):
    def change(header):
        for column in header["columns"]:
            if column[0] == name:
                column[position] = value

    return change


CHANGES = [
    lambda header: header.pop("meters"),
    lambda header: header.update(more=1),
    lambda header: header["columns"].pop(),
    lambda header: header["columns"].append(header["columns"][0]),
    lambda header: header.update(customers=[1, 2]),
    lambda header: header.update(customers=[]),
    lambda header: header.update(customers=7),
    lambda header: header.update(meters=[["m", "sum", 13], ["n", "count", 0]]),
    lambda header: header.update(meters=[["m", "median", 1], ["n", "count", 0]]),
    lambda header: header.update(meters=[["m", "sum"], ["n", "count", 0]]),
    lambda header: header.update(dimension_sets=[[], [["a"]]]),
    spoil("quantity", 1, "<f8"),
    spoil("quantity", 1, "O"),
    spoil("quantity", 2, 3),
    spoil("quantity", 2, -1),
    spoil("quantity", 2, 10**9),
    spoil("quantity", 3, 2**63),
    spoil("quantity", 3, "1"),
    spoil("quantity", 4, -8),
    spoil("quantity", 4, 10**9),
    spoil("customer", 3, 2),
    spoil("customer", 3, -1),
    spoil("event_id_length", 3, 300),
    spoil("event_id_length", 3, -2),
    spoil("event_ids", 1, "<u2"),
    spoil("event_ids", 2, 1),
    spoil("event_ids", 4, 0),
]


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_header_is_corrupt(change):
    """Each thing that a header may get wrong is found before any column is used."""
    header, columns = header_of(encode_records(records(9, random.Random(3))))
    decode_body(with_header(header, columns))
    change(header)
    with pytest.raises(LogCorrupt):
        decode_body(with_header(header, columns))


def test_damaged_bodies_never_raise_anything_else():
    """Cut and flipped bytes either decode or are LogCorrupt; no other error gets out."""
    generator = random.Random(5)
    bodies = [encode_records(records(5, generator)), encode_control(CONTROL)]
    for _ in range(1500):
        body = bytearray(generator.choice(bodies))
        for _ in range(generator.randint(1, 3)):
            body[generator.randrange(len(body))] = generator.randrange(256)
        try:
            decode_body(bytes(body[: generator.randint(0, 2 * len(body))]))
        except LogCorrupt:
            continue


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"RWC1",
        b"RWC1\xff\xff\xff\xff{}",
        b"RWX1\x02\0\0\0{}",
        b"RWC1\x02\0\0\0[]",
        b"RWC1\x02\0\0\0{}",
        b"RWC1\x02\0\0\0\xff\xff",
        encode_control(CONTROL) + b" ",
        encode_control(ControlEntry("k", 5, "f", {}, {})),
        encode_control(ControlEntry("k", "r", "f", [], {})),
    ],
)
def test_other_bodies_are_corrupt(body):
    """Bytes of no known kind, without their JSON, or with wrong types are refused."""
    with pytest.raises(LogCorrupt):
        decode_body(body)
