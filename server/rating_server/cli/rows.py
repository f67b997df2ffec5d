"""From the rows of a CSV or JSON lines file to usage records: the mapping that the flags state.

A row that cannot become records is a `RowFault` and the others go on: which rows are counted never
depends on what stands beside them.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from hashlib import blake2b
from typing import TextIO

from rating_server.cli.chunks import ChunkBuilder
from rating_server.cli.failure import bad_input
from rating_server.documents import DocumentError, parse_json

EVENT_ID_BYTES_MAX = 255
CUSTOMER_BYTES_MAX = 128
DECIMALS_MAX = 12

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_FIRST_MICROS = (datetime.min.replace(tzinfo=UTC) - _EPOCH) // _MICROSECOND
_LAST_MICROS = (datetime.max.replace(tzinfo=UTC) - _EPOCH) // _MICROSECOND
_INTEGER = re.compile(r"[+-]?\d{1,18}", re.ASCII)
_DECIMAL = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)", re.ASCII)
_EPOCH_DIGITS = {"epoch-s": 6, "epoch-ms": 3, "epoch-us": 0}
TIME_FORMATS = ("iso", *_EPOCH_DIGITS)

Row = Mapping[str, object]


class RowFault(Exception):
    """One row that cannot become records: its number, counted from 1, and why in one line."""

    def __init__(self, number: int, message: str) -> None:
        self.number = number
        self.message = message
        super().__init__(f"row {number}: {message}")


@dataclass(frozen=True, slots=True)
class RowMapping:
    """Which column is what; exactly one way to name the meters and one to name the customer.

    ``meters`` are (meter, column) pairs, so that a wide row feeds several meters; a meter without
    a column counts 1 a row. ``customer_hash`` spreads rows over so many customers (`c000`, …).
    """

    time_column: str
    source: str
    time_format: str = "iso"
    meters: tuple[tuple[str, str | None], ...] = ()
    meter_column: str | None = None
    quantity_column: str | None = None
    customer: str | None = None
    customer_column: str | None = None
    customer_hash: int | None = None
    dimensions: tuple[tuple[str, str], ...] = ()
    attributes: tuple[tuple[str, str], ...] = ()
    event_id_column: str | None = None

    def columns(self) -> list[str]:
        """Return every column that the mapping reads."""
        names = [self.time_column, self.meter_column, self.quantity_column, self.customer_column]
        names += [self.event_id_column, *[column for _, column in self.meters]]
        names += [column for _, column in (*self.dimensions, *self.attributes)]
        return [name for name in names if name is not None]


def derive_event_id(source: str, row: int, meter: str) -> str:
    """Return the id of a record without one: `source:row:meter`, hashed if longer than 255 bytes.

    The same file under the same name gives the same ids, so ingesting it again counts nothing.
    """
    event_id = f"{source}:{row}:{meter}"
    if len(event_id.encode()) <= EVENT_ID_BYTES_MAX:
        return event_id
    return blake2b(event_id.encode(), digest_size=32).hexdigest()


def hashed_customer(row_text: str, count: int) -> str:
    """Return `c` and blake2b-64 of the row's text (little-endian) modulo ``count``, ≥ 3 digits.

    It stands in for a customer column that a trace lacks: stable, whatever reads it.
    """
    digest = blake2b(row_text.encode(), digest_size=8).digest()
    return f"c{int.from_bytes(digest, 'little') % count:0{max(3, len(str(count - 1)))}d}"


def parse_instant(text: str, time_format: str = "iso") -> int:
    """Return an instant in microseconds since 1970, finer digits cut (S1.5); naive times are UTC.

    ``time_format`` is iso, or what an epoch number counts. Raises ValueError, also for an instant
    outside the years 1 to 9999, whatever the format.
    """
    if time_format == "iso":
        instant = datetime.fromisoformat(text)
        if instant.tzinfo is None:
            instant = instant.replace(tzinfo=UTC)
        micros = (instant - _EPOCH) // _MICROSECOND
    else:
        if not _DECIMAL.fullmatch(text) or len(text) > 32:
            raise ValueError(f"not a number: {text!r}")
        digits = _EPOCH_DIGITS[time_format]
        whole, _, places = text.lstrip("+-").partition(".")
        micros = int(whole + places[:digits].ljust(digits, "0") or "0")
        micros = -micros if text.startswith("-") else micros
    if not _FIRST_MICROS <= micros <= _LAST_MICROS:
        raise ValueError(f"outside the years 1 to 9999: {text!r}")
    return micros


def parse_quantity(text: str) -> int | Decimal:
    """Return the exact quantity of a cell (S1.1); ValueError beyond 12 decimals or 64 bits."""
    if _INTEGER.fullmatch(text):
        return int(text)
    if not _DECIMAL.fullmatch(text):
        raise ValueError(f"expected a decimal number, got {_short(text)}")
    whole, _, places = text.lstrip("+-").partition(".")
    places = places.rstrip("0")
    if len(places) > DECIMALS_MAX:
        raise ValueError(f"expected at most {DECIMALS_MAX} decimals, got {len(places)}")
    if len(whole.lstrip("0")) + len(places) > 19 or int(whole + places or "0") >= 2**63:
        raise ValueError(f"does not fit 64 bits: {_short(text)}")
    return Decimal(text)


def _short(text: str) -> str:
    return ascii(text if len(text) <= 40 else text[:40] + "...")


def csv_rows(file: TextIO, name: str, mapping: RowMapping) -> Iterator[tuple[int, str, Row | str]]:
    """Yield number, text and cells of each row of a CSV file with a header; a str says why not.

    The text of a row is its cells joined by commas. Ends the command (status 2) if the header
    lacks a column of the mapping or is no CSV.
    """
    reader = csv.reader(file, strict=True)
    header: list[str] = []
    try:
        header = next(reader, [])
    except csv.Error as error:
        raise bad_input(f"{name}:1: not CSV: {error}") from None
    missing = [column for column in mapping.columns() if column not in header]
    if missing:
        found = ", ".join(header) or "none"
        raise bad_input([f"{name}:1: no column {column!r}; it has: {found}" for column in missing])
    if len(set(header)) != len(header):
        raise bad_input(f"{name}:1: two columns have the same name")
    number = 0
    while True:
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            number += 1
            yield number, "", f"not CSV: {error}"
            continue
        if not cells:
            continue
        number += 1
        if len(cells) != len(header):
            yield number, "", f"expected {len(header)} cells, got {len(cells)}"
        else:
            yield number, ",".join(cells), dict(zip(header, cells, strict=True))


def json_rows(file: TextIO, name: str) -> Iterator[tuple[int, str, Row | str]]:
    """Yield number, text and members of each line of a JSON lines file; a str says why not."""
    number = 0
    for line in file:
        text = line.strip()
        if not text:
            continue
        number += 1
        try:
            document = parse_json(text, name, number)
        except DocumentError as error:
            yield number, text, error.message
            continue
        if not isinstance(document, dict):
            yield number, text, "expected a JSON object"
        elif "\\u" in text and not _is_text(document):
            yield number, text, "not Unicode: it holds half of a surrogate pair"
        else:
            yield number, text, document


def _is_text(document: object) -> bool:
    """Whether all of a document can be encoded; JSON can escape what is no text."""
    try:
        json.dumps(document, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return False
    return True


class RowReader:
    """Turns rows into records by one mapping."""

    def __init__(self, mapping: RowMapping) -> None:
        self._mapping = mapping

    def add(self, builder: ChunkBuilder, number: int, text: str, row: Row) -> None:
        """Append the records of one row: all of them, or none and RowFault.

        A blank quantity cell of a wide row makes no record for that meter.
        """
        try:
            time_us = self._time(row)
            customer = self._customer(row, text)
            dimensions = _pairs(row, self._mapping.dimensions)
            attributes = _pairs(row, self._mapping.attributes)
            records = [
                (meter, parse_quantity(quantity)) for meter, quantity in self._quantities(row)
            ]
            ids = [self._event_id(row, number, meter) for meter, _ in records]
        except ValueError as error:
            raise RowFault(number, str(error)) from None
        for (meter, quantity), event_id in zip(records, ids, strict=True):
            builder.append(
                number, event_id, customer, meter, quantity, time_us, dimensions, attributes
            )

    def _time(self, row: Row) -> int:
        column = self._mapping.time_column
        text = _cell(row, column)
        try:
            return parse_instant(text, self._mapping.time_format)
        except (ValueError, OverflowError):
            form = self._mapping.time_format
            words = "an ISO 8601 time" if form == "iso" else f"a number of {form}"
            words += " in the years 1 to 9999" if _DECIMAL.fullmatch(text) else ""
            raise ValueError(f"{column}: expected {words}, got {_short(text)}") from None

    def _customer(self, row: Row, text: str) -> str:
        mapping = self._mapping
        if mapping.customer is not None:
            return mapping.customer
        if mapping.customer_hash is not None:
            return hashed_customer(text, mapping.customer_hash)
        customer = _cell(row, mapping.customer_column or "")
        if not 1 <= len(customer.encode()) <= CUSTOMER_BYTES_MAX:
            message = f"expected 1 to {CUSTOMER_BYTES_MAX} bytes, got {_short(customer)}"
            raise ValueError(f"{mapping.customer_column}: {message}")
        return customer

    def _quantities(self, row: Row) -> list[tuple[str, str]]:
        mapping = self._mapping
        if mapping.meter_column is not None:
            meter = _cell(row, mapping.meter_column)
            if not meter:
                raise ValueError(f"{mapping.meter_column}: no meter")
            quantity = "1" if mapping.quantity_column is None else None
            return [(meter, quantity or _cell(row, mapping.quantity_column or ""))]
        pairs = [
            (meter, "1" if column is None else _cell(row, column))
            for meter, column in mapping.meters
        ]
        return [pair for pair in pairs if pair[1]]

    def _event_id(self, row: Row, number: int, meter: str) -> str:
        """Return the record's id; several meters of one row get an id each."""
        mapping = self._mapping
        if mapping.event_id_column is None:
            return derive_event_id(mapping.source, number, meter)
        event_id = _cell(row, mapping.event_id_column)
        if len(mapping.meters) > 1:
            event_id += f":{meter}" if event_id else ""
        if not 1 <= len(event_id.encode()) <= EVENT_ID_BYTES_MAX:
            message = f"expected 1 to {EVENT_ID_BYTES_MAX} bytes, got {_short(event_id)}"
            raise ValueError(f"{mapping.event_id_column}: {message}")
        return event_id


def _pairs(row: Row, mapping: tuple[tuple[str, str], ...]) -> tuple[tuple[str, str], ...]:
    """Return the sorted (name, value) pairs of a row; a blank cell has no value."""
    pairs = [(name, _cell(row, column)) for name, column in mapping]
    return tuple(sorted(pair for pair in pairs if pair[1]))


def _cell(row: Row, column: str) -> str:
    """Return a cell as text; "" for an absent one. `a.b` finds member b of member a."""
    value = row.get(column)
    if value is None and "." in column:
        value = row
        for name in column.split("."):
            value = value.get(name) if isinstance(value, dict) else None
    if value is None:
        return ""
    if not isinstance(value, str):
        raise ValueError(f"{column}: expected a text or a number")  # noqa: TRY004 - a row's fault
    return value.strip()
