"""Bytes of a log entry: the envelope that every entry has, and the two kinds of body.

The format is documented for readers in other languages in docs/reference/log-format.md. Decoding is
bounded and checks everything: bytes that were not written by this module raise LogCorrupt (P5).
"""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rating_core.errors import LogCorrupt
from rating_core.metering.batch import EVENT_ID_BYTES_MAX, DimensionSet
from rating_core.metering.calls import canonical_json
from rating_core.metering.deciding.records_entry import EntryMeter, RecordsEntry
from rating_core.metering.deciding.roll import RollNames
from rating_core.metering.log.packing import ALIGNMENT, pack_columns
from rating_core.metering.sequencing.producers import ProducerEntry, ProducerFact
from rating_core.units import INT64_MAX, INT64_MIN, SCALE_MAX

BOOT_BYTES = 16

_ENVELOPE = struct.Struct("<4s16sQqI")
_ENVELOPE_MAGIC = b"RWE1"
_BODY = struct.Struct("<4sI")
_RECORDS_MAGIC = b"RWR1"
_CONTROL_MAGIC = b"RWC1"
_PRODUCERS_MAGIC = b"RWP1"
_DTYPES = ("|u1", "<u2", "<u4", "<i8")
_CODES = ("customer", "meter", "dimension_set")
_WORDS = ("quantity", "event_time", "period_start")
_SEQUENCED_COLUMNS = (*_CODES, *_WORDS)
_COLUMNS = (*_CODES, "event_id_length", *_WORDS)
_ATTRIBUTES = "attribute_set"
_NO_CUSTOMERS = b'"customers":[]'
_RETRACTION = "retraction"
_OPTIONAL = (_ATTRIBUTES, _RETRACTION)


@dataclass(frozen=True, slots=True)
class Envelope:
    """An entry taken apart: its writer's boot id (16 bytes) and counter, its now (µs), its body.

    Boot id and counter make the bytes of no two decisions alike, so no two share a token (P4).
    """

    boot: bytes
    counter: int
    now: int
    body: bytes


@dataclass(frozen=True, slots=True)
class ControlEntry:
    """One control call that was carried out: its request id, fingerprint and answer (P4).

    ``facts`` is what the state machine applies; ``value`` the answer's value, both JSON values.
    """

    kind: str
    request_id: str
    fingerprint: str
    facts: dict[str, Any]
    value: dict[str, Any]


def encode_envelope(boot: bytes, counter: int, now: int, body: bytes) -> bytes:
    """Return the bytes of an entry. ``counter`` must not repeat for one ``boot`` (P4)."""
    if len(boot) != BOOT_BYTES:
        raise ValueError(f"a boot id has {BOOT_BYTES} bytes")
    return _ENVELOPE.pack(_ENVELOPE_MAGIC, boot, counter, now, len(body)) + body


def decode_envelope(entry: bytes) -> Envelope:
    """Return an entry taken apart; LogCorrupt unless it is one whole envelope."""
    if len(entry) < _ENVELOPE.size:
        raise LogCorrupt("entry is shorter than its envelope")
    magic, boot, counter, now, length = _ENVELOPE.unpack_from(entry)
    if magic != _ENVELOPE_MAGIC:
        raise LogCorrupt("entry does not begin with RWE1")
    if length != len(entry) - _ENVELOPE.size:
        raise LogCorrupt("length of the body does not fit the entry")
    return Envelope(boot, counter, now, bytes(entry[_ENVELOPE.size :]))


def encode_records(entry: RecordsEntry) -> bytes:
    """Return the body of a records entry: a JSON header, then little-endian columns."""
    count, customers = len(entry), entry.customers
    names = list(_SEQUENCED_COLUMNS if entry.producers else _COLUMNS)
    optional = {_ATTRIBUTES: entry.attribute_set, _RETRACTION: entry.retraction}
    given = [(name, column) for name, column in optional.items() if column is not None]
    columns = np.empty((len(names) + len(given), count), np.int64)
    columns[:3] = entry.codes
    if not entry.producers:
        columns[3] = entry.ends
        columns[3, 1:] -= entry.ends[:-1]
    columns[len(names) - 3 : len(names)] = entry.words
    for name, column in given:
        columns[len(names)] = column
        names.append(name)
    descriptors, packed = pack_columns(names, columns)
    parts: list[bytes | memoryview] = [packed.data]
    document: dict[str, object] = {
        "columns": descriptors,
        "customers": [] if isinstance(customers, RollNames) else customers,
        "dimension_sets": entry.dimension_sets,
        "meters": [meter.to_json() for meter in entry.meters],
    }
    if entry.attribute_set is not None:
        document[_ATTRIBUTES + "s"] = entry.attribute_sets
    if entry.producers:
        document["producers"] = [fact.to_json() for fact in entry.producers]
    else:
        descriptors.append(["event_ids", "|u1", len(entry.event_ids), 0, packed.size])
        parts.append(entry.event_ids)
    header = canonical_json(document)
    if isinstance(customers, RollNames):
        # Quotes inside texts are escaped in JSON, so this stands there once.
        head, _, tail = header.partition(_NO_CUSTOMERS)
        header = b"".join([head, _NO_CUSTOMERS[:-2], customers.json(), tail])
    # Blanks after JSON are no content; they keep every column aligned for zero-copy readers.
    header += b" " * (-(len(header) + _BODY.size) % ALIGNMENT)
    return b"".join([_BODY.pack(_RECORDS_MAGIC, len(header)), header, *parts])


def encode_producers(entry: ProducerEntry) -> bytes:
    """Return the body of an entry of producers without records: JSON (P12, P13)."""
    text = canonical_json({"producers": [fact.to_json() for fact in entry.facts]})
    return _BODY.pack(_PRODUCERS_MAGIC, len(text)) + text


def encode_control(entry: ControlEntry) -> bytes:
    """Return the body of a control entry: JSON."""
    text = canonical_json(
        {
            "kind": entry.kind,
            "request_id": entry.request_id,
            "fingerprint": entry.fingerprint,
            "facts": entry.facts,
            "value": entry.value,
        }
    )
    return _BODY.pack(_CONTROL_MAGIC, len(text)) + text


def decode_body(body: bytes) -> RecordsEntry | ControlEntry | ProducerEntry:
    """Return a body taken apart; LogCorrupt for anything that this module does not write."""
    if len(body) < _BODY.size:
        raise LogCorrupt("body is shorter than its head")
    magic, length = _BODY.unpack_from(body)
    if magic not in (_RECORDS_MAGIC, _CONTROL_MAGIC, _PRODUCERS_MAGIC):
        raise LogCorrupt("body of an unknown kind")
    if length > len(body) - _BODY.size:
        raise LogCorrupt("JSON is longer than its body")
    start = _BODY.size + length
    try:
        document = json.loads(body[_BODY.size : start].decode(errors="surrogatepass"))
        if not isinstance(document, dict):
            raise LogCorrupt("JSON is not an object")
        if magic == _CONTROL_MAGIC:
            return _control(document, len(body) - start)
        if magic == _PRODUCERS_MAGIC:
            _expect(list(document) == ["producers"] and start == len(body), "producers: bad form")
            return ProducerEntry(_facts(document))
        return _records(document, body, start)
    except (LookupError, TypeError, ValueError, OverflowError, RecursionError) as error:
        raise LogCorrupt(f"body cannot be read: {error}") from error


def _expect(holds: bool, message: str) -> None:
    if not holds:
        raise LogCorrupt(message)


def _control(document: dict[str, Any], trailing: int) -> ControlEntry:
    _expect(trailing == 0, "bytes after a control entry")
    entry = ControlEntry(**document)
    texts = (entry.kind, entry.request_id, entry.fingerprint)
    _expect(all(isinstance(text, str) for text in texts), "control entry: expected texts")
    trees = (entry.facts, entry.value)
    _expect(all(isinstance(tree, dict) for tree in trees), "control entry: expected objects")
    return entry


def _facts(document: dict[str, Any]) -> tuple[ProducerFact, ...]:
    facts = tuple(ProducerFact.from_json(fact) for fact in document["producers"])
    _expect(bool(facts), "producers: none")
    return facts


def _column(descriptor: list[Any], body: bytes, start: int) -> NDArray[np.int64]:
    """Return a column as int64[n], copied once: kernels want aligned, writable arrays."""
    name, dtype, _, base, _ = descriptor
    _expect(isinstance(base, int) and INT64_MIN <= base <= INT64_MAX, f"{name}: bad base")
    raw = _raw(descriptor, body, start)
    if dtype == "<i8":
        _expect(base == 0, f"{name}: a base needs an unsigned column")
        return _int64(raw)
    _expect(base + int(raw.max()) <= INT64_MAX, f"{name}: beyond int64")
    return _int64(raw) + np.int64(base)


def _int64(raw: NDArray[Any]) -> NDArray[np.int64]:
    column: NDArray[np.int64] = raw.astype(np.int64)
    return column


def _raw(descriptor: list[Any], body: bytes, start: int) -> NDArray[Any]:
    name, dtype, count, _, offset = descriptor
    _expect(dtype in _DTYPES, f"{name}: unknown dtype")
    for number in (count, offset):
        _expect(type(number) is int and number >= 0, f"{name}: bad count or offset")
    end = start + offset + count * np.dtype(dtype).itemsize
    _expect(end <= len(body), f"{name}: beyond the body")
    return np.frombuffer(body, dtype, count, start + offset)


def _dictionary(pairs_of_sets: list[Any]) -> list[DimensionSet]:
    return [tuple((name, value) for name, value in pairs) for pairs in pairs_of_sets]


def _codes(descriptor: list[Any], words: int, body: bytes, start: int) -> NDArray[np.int32]:
    column = _column(descriptor, body, start)
    fits = int(column.min()) >= 0 and int(column.max()) < words
    _expect(fits, f"{descriptor[0]}: no such word")
    return column.astype(np.int32)


def _descriptors(document: dict[str, Any]) -> dict[str, list[Any]]:
    """Return the columns' descriptors by name; LogCorrupt unless header and columns are known."""
    descriptors = {column[0]: column for column in document["columns"]}
    given = [name for name in _OPTIONAL if name in descriptors]
    _expect(len(document["columns"]) == len(descriptors), "header: a column twice")
    numbered = "producers" in document
    wanted = _SEQUENCED_COLUMNS if numbered else (*_COLUMNS, "event_ids")
    _expect(sorted(descriptors) == sorted((*wanted, *given)), "header: wrong columns")
    keys = ["columns", "customers", "dimension_sets", "meters"]
    keys += ["attribute_sets"] * (_ATTRIBUTES in given) + ["producers"] * numbered
    _expect(sorted(document) == sorted(keys), "header: wrong keys")
    counts = {column[2] for name, column in descriptors.items() if name != "event_ids"}
    _expect(len(counts) == 1 and counts != {0}, "columns of different or no length")
    return descriptors


def _records(document: dict[str, Any], body: bytes, start: int) -> RecordsEntry:
    descriptors = _descriptors(document)
    meters = [EntryMeter.from_json(meter) for meter in document["meters"]]
    for meter in meters:
        fits = isinstance(meter.id, str) and type(meter.scale) is int and isinstance(meter.of, str)
        _expect(fits and 0 <= meter.scale <= SCALE_MAX, "meters: bad id or scale")
    dimension_sets = _dictionary(document["dimension_sets"])
    attribute_sets = _dictionary(document.get("attribute_sets", [[]]))
    sets = (*dimension_sets, *attribute_sets)
    texts = [*document["customers"], *(text for s in sets for p in s for text in p)]
    _expect(all(isinstance(text, str) for text in texts), "dictionaries: expected texts")
    words = [len(document["customers"]), len(meters), len(dimension_sets)]
    codes = [
        _codes(descriptors[name], limit, body, start)
        for name, limit in zip(_CODES, words, strict=True)
    ]
    words_columns = np.stack([_column(descriptors[name], body, start) for name in _WORDS])
    producers = _facts(document) if "producers" in document else ()
    if producers:
        rows = sum(fact.accepted for fact in producers)
        _expect(rows == words_columns.shape[1], "producers: rows differ from the columns")
        event_ids, ends = b"", np.zeros(rows, np.int64)
    else:
        event_ids, ends = _event_ids(descriptors, body, start)
    attributes, retraction = (descriptors.get(name) for name in _OPTIONAL)
    return RecordsEntry(
        customers=document["customers"],
        meters=meters,
        dimension_sets=dimension_sets,
        codes=np.stack(codes),
        event_ids=event_ids,
        ends=ends,
        words=words_columns,
        producers=producers,
        attribute_sets=attribute_sets,
        attribute_set=None
        if attributes is None
        else _codes(attributes, len(attribute_sets), body, start),
        retraction=None
        if retraction is None
        else _codes(retraction, 2, body, start).astype(np.bool_),
    )


def _event_ids(
    descriptors: dict[str, list[Any]], body: bytes, start: int
) -> tuple[bytes, NDArray[np.int64]]:
    lengths = _column(descriptors["event_id_length"], body, start)
    fits = int(lengths.min()) >= 1 and int(lengths.max()) <= EVENT_ID_BYTES_MAX
    _expect(fits, "event ids: bad length")
    ends = np.cumsum(lengths)
    event_ids = _raw(descriptors["event_ids"], body, start)
    _expect(event_ids.dtype == np.uint8 and int(ends[-1]) == event_ids.size, "event ids: bad size")
    last = start + descriptors["event_ids"][4] + event_ids.size
    _expect(last == len(body), "bytes after the last column")
    return event_ids.tobytes(), ends
