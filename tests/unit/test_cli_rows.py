"""Rows to records: times, quantities, ids and customers, exactly as the flags state."""

from __future__ import annotations

import io
from decimal import Decimal
from hashlib import blake2b

import pytest

from rating_server.cli.chunks import ChunkBuilder, CountedRecord
from rating_server.cli.rows import (
    RowFault,
    RowMapping,
    RowReader,
    csv_rows,
    derive_event_id,
    hashed_customer,
    json_rows,
    parse_instant,
    parse_quantity,
)

SECOND = 1_000_000
NEW_YEAR = 1_767_225_600 * SECOND


@pytest.mark.parametrize(
    ("text", "form", "micros"),
    [
        ("2026-01-01", "iso", NEW_YEAR),
        ("2026-01-01 00:00:00", "iso", NEW_YEAR),
        ("2026-01-01T00:00:00.9999999", "iso", NEW_YEAR + 999_999),
        ("2026-01-01T01:30:00+01:30", "iso", NEW_YEAR),
        ("2026-01-01T00:00:00Z", "iso", NEW_YEAR),
        ("1767225600", "epoch-s", NEW_YEAR),
        ("1767225600.1234567", "epoch-s", NEW_YEAR + 123_456),
        ("1767225600001.5", "epoch-ms", NEW_YEAR + 1_500),
        ("1767225600000007", "epoch-us", NEW_YEAR + 7),
        ("-1.5", "epoch-s", -1_500_000),
        (".5", "epoch-s", 500_000),
        (".5", "epoch-us", 0),
        ("0.999999999999999999999999999999", "epoch-s", 999_999),
        ("9999-12-31T23:59:59.999999Z", "iso", 253_402_300_799_999_999),
    ],
)
def test_instants(text: str, form: str, micros: int) -> None:
    """Naive times are UTC, digits finer than a microsecond are cut (S1.5)."""
    assert parse_instant(text, form) == micros


@pytest.mark.parametrize("form", ["csv", "jsonl"])
@pytest.mark.parametrize(
    ("text", "time_format"),
    [
        ("99999999999999", "epoch-s"),
        ("-99999999999999", "epoch-s"),
        ("9" * 32, "epoch-s"),
        ("9" * 32, "epoch-ms"),
        ("9" * 32, "epoch-us"),
        ("9223372036854775808", "epoch-us"),
        ("0001-01-01T00:00:00+01:00", "iso"),
        ("9999-12-31T23:59:59-01:00", "iso"),
        ("10000-01-01", "iso"),
    ],
)
def test_a_time_out_of_range_is_a_fault_of_its_row(text: str, time_format: str, form: str) -> None:
    """An instant outside the years 1 to 9999 spoils its row alone, in every format."""
    good = "2026-01-01" if time_format == "iso" else "0"
    mapping = RowMapping("t", "s", time_format, meters=(("in", "a"),), customer="acme")
    if form == "csv":
        rows = csv_rows(io.StringIO(f"t,a\n{text},1\n{good},2\n", newline=""), "f", mapping)
    else:
        lines = f'{{"t": "{text}", "a": 1}}\n{{"t": "{good}", "a": 2}}\n'
        rows = json_rows(io.StringIO(lines), "f")
    builder, faults = ChunkBuilder(), []
    for number, words, row in rows:
        assert not isinstance(row, str)
        try:
            RowReader(mapping).add(builder, number, words, row)
        except RowFault as fault:
            faults.append(fault.message)
    assert list(builder.seal().columns.event_ids) == ["s:2:in"]
    assert [fault.split(", got")[0] for fault in faults] == [
        "t: expected an ISO 8601 time"
        if time_format == "iso"
        else f"t: expected a number of {time_format} in the years 1 to 9999"
    ]


@pytest.mark.parametrize(
    ("text", "quantity"),
    [
        ("12", 12),
        ("-3", -3),
        ("0.10", Decimal("0.1")),
        ("9223372036854775807", Decimal(2**63 - 1)),
        ("0.000000000001", Decimal("1e-12")),
        ("1.0000000000000", Decimal(1)),
    ],
)
def test_quantities(text: str, quantity: Decimal | int) -> None:
    """Quantities are exact (S1.1)."""
    assert parse_quantity(text) == quantity


@pytest.mark.parametrize(
    "text", ["", "1e3", "NaN", "1,5", "0.0000000000001", "9223372036854775808", "٣", "1_000", "0x1"]
)
def test_bad_quantities(text: str) -> None:
    """What is no decimal of 12 places and 64 bits is refused, never rounded (S1.2)."""
    with pytest.raises(ValueError, match=r"expected|does not fit"):
        parse_quantity(text)


def test_derived_ids_are_stable_and_short() -> None:
    """Ids name source, row and meter; long ones are hashed, and stay different."""
    assert derive_event_id("a.csv", 7, "calls") == "a.csv:7:calls"
    one, other = (derive_event_id("x" * 300, row, "calls") for row in (1, 2))
    assert one != other
    assert len(one) == len(other) == 64


def test_hashed_customers_follow_the_stated_hash() -> None:
    """c, and blake2b-64 of the row modulo N with at least three digits."""
    number = int.from_bytes(blake2b(b"a,1", digest_size=8).digest(), "little")
    assert hashed_customer("a,1", 10) == f"c{number % 10:03d}"
    assert hashed_customer("a,1", 5_000) == f"c{number % 5_000:04d}"


MAPPING = RowMapping(
    time_column="t",
    source="s",
    meters=(("in", "a"), ("out", "b"), ("calls", None)),
    customer_column="c",
    dimensions=(("model", "m"),),
)


def _records(mapping: RowMapping, text: str) -> tuple[list[CountedRecord], list[str], list[str]]:
    """Return records, their event ids, and the faults of a CSV text."""
    builder, faults = ChunkBuilder(), []
    reader = RowReader(mapping)
    for number, words, row in csv_rows(io.StringIO(text, newline=""), "f", mapping):
        if isinstance(row, str):
            faults.append(f"row {number}: {row}")
            continue
        try:
            reader.add(builder, number, words, row)
        except RowFault as fault:
            faults.append(str(fault))
    chunk = builder.seal()
    return list(chunk.records()), list(chunk.columns.event_ids), faults


def test_wide_rows_feed_several_meters() -> None:
    """Each filled cell makes a record; a blank one makes none; a meter alone counts 1."""
    text = "t,a,b,c,m\n2026-01-01,5,0.25,acme,xl\n2026-01-01,,1.5,acme,\n"
    records, ids, faults = _records(MAPPING, text)
    xl = (("model", "xl"),)
    assert faults == []
    assert records == [
        CountedRecord("acme", "in", Decimal(5), NEW_YEAR, xl),
        CountedRecord("acme", "out", Decimal("0.25"), NEW_YEAR, xl),
        CountedRecord("acme", "calls", Decimal(1), NEW_YEAR, xl),
        CountedRecord("acme", "out", Decimal("1.5"), NEW_YEAR, ()),
        CountedRecord("acme", "calls", Decimal(1), NEW_YEAR, ()),
    ]
    assert ids == ["s:1:in", "s:1:out", "s:1:calls", "s:2:out", "s:2:calls"]


def test_a_faulty_row_makes_no_record_at_all() -> None:
    """A row with any mistake is left out whole, and named; the next ones keep their numbers."""
    text = (
        "t,a,b,c,m\n2026-01-01,5,x,acme,\nnoon,1,1,acme,\n2026-01-01,1,1,,\n2026-01-01,1\n"
        "\n2026-01-01,1,,acme,\n"
    )
    records, ids, faults = _records(MAPPING, text)
    assert [record.meter for record in records] == ["in", "calls"]
    assert ids == ["s:5:in", "s:5:calls"]
    assert faults == [
        "row 1: expected a decimal number, got 'x'",
        "row 2: t: expected an ISO 8601 time, got 'noon'",
        "row 3: c: expected 1 to 128 bytes, got ''",
        "row 4: expected 5 cells, got 2",
    ]


def test_ids_of_a_column_differ_by_meter() -> None:
    """Several meters of one row get an id each; one meter gets the cell itself (S7.1)."""
    text = "t,a,b,c,m,id\n2026-01-01,5,6,acme,,e1\n"
    wide = RowMapping("t", "s", meters=MAPPING.meters, customer="acme", event_id_column="id")
    assert _records(wide, text)[1] == ["e1:in", "e1:out", "e1:calls"]
    one = RowMapping("t", "s", meters=(("in", "a"),), customer="acme", event_id_column="id")
    assert _records(one, text)[1] == ["e1"]


def test_the_hash_sees_the_row_not_its_quoting() -> None:
    """The same cells give the same customer, quoted or not, whatever ends the line."""
    mapping = RowMapping("t", "s", meters=(("in", "a"),), customer_hash=1000)
    plain = _records(mapping, "t,a\n2026-01-01,5\n")[0][0].customer
    quoted = _records(mapping, 't,a\r\n"2026-01-01","5"\r\n')[0][0].customer
    assert plain == quoted == hashed_customer("2026-01-01,5", 1000)


def test_json_lines() -> None:
    """Members are found by name or by path; what is no object, or no Unicode, is named."""
    text = '{"t": 1, "usage": {"in": 0.5}}\n[1]\n\n{"t": 1\n{"t": "\\ud800"}\n'
    rows = list(json_rows(io.StringIO(text), "f"))
    assert [(number, type(row).__name__) for number, _, row in rows] == [
        *[(1, "dict"), (2, "str"), (3, "str"), (4, "str")]
    ]
    mapping = RowMapping("t", "s", "epoch-s", meters=(("in", "usage.in"),), customer="acme")
    builder = ChunkBuilder()
    first = rows[0][2]
    assert isinstance(first, dict)
    RowReader(mapping).add(builder, 1, rows[0][1], first)
    assert list(builder.seal().records()) == [
        CountedRecord("acme", "in", Decimal("0.5"), SECOND, ())
    ]
