"""Entries of a log as an Arrow table that people can read, and back, bit for bit (P10).

One row a record; an entry without records has one row. The column `entry` holds the entry's bytes
in the first of its rows, so the chain of tokens can be computed from the table alone: the other
columns are there to be looked at and queried. Needs pyarrow (extra `parquet`).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from rating_core.metering.deciding.records_entry import RecordsEntry
from rating_core.metering.log.entry import ControlEntry, decode_body, decode_envelope
from rating_core.metering.log.protocol import LogEntry
from rating_core.metering.sequencing.producers import ProducerEntry
from rating_core.units import SCALE_MAX

_INSTANT = pa.timestamp("us", tz="UTC")
_QUANTITY = pa.decimal128(31, SCALE_MAX)
SCHEMA = pa.schema(
    [
        pa.field("version", pa.int64(), nullable=False),
        pa.field("row", pa.int32(), nullable=False),
        pa.field("now", _INSTANT, nullable=False),
        pa.field("kind", pa.string(), nullable=False),
        pa.field("customer", pa.string()),
        pa.field("meter", pa.string()),
        pa.field("dimensions", pa.string()),
        pa.field("attributes", pa.string()),
        pa.field("retraction", pa.bool_()),
        pa.field("event_id", pa.string()),
        pa.field("quantity", _QUANTITY),
        pa.field("event_time", _INSTANT),
        pa.field("period_start", _INSTANT),
        pa.field("producer", pa.string()),
        pa.field("sequence", pa.int64()),
        pa.field("facts", pa.string()),
        pa.field("previous", pa.binary(16)),
        pa.field("entry", pa.binary()),
    ]
)
"""Columns of a segment. ``dimensions``, ``attributes`` and ``facts`` are JSON; ``facts`` is of
entries without records: what a control call changed, or what was said of producers (P12).
``retraction`` is true where the record takes back the one that it repeats (S7.6)."""

RECORDS = "records"
PRODUCERS = "producers"


def entries_to_table(entries: Sequence[LogEntry]) -> pa.Table:
    """Return the table of consecutive entries; LogCorrupt if one cannot be decoded."""
    batches = [_batch(entry) for entry in entries]
    return pa.Table.from_batches(batches, SCHEMA)


def table_to_entries(table: pa.Table) -> tuple[LogEntry, ...]:
    """Return the entries of a table that holds the columns version, previous and entry."""
    held = table.filter(pc.is_valid(table.column("entry")))
    columns = (held.column(name).to_pylist() for name in ("version", "previous", "entry"))
    return tuple(LogEntry(*row) for row in zip(*columns, strict=True))


def _batch(entry: LogEntry) -> pa.RecordBatch:
    envelope = decode_envelope(entry.entry)
    body = decode_body(envelope.body)
    if isinstance(body, RecordsEntry):
        columns = _record_columns(body)
        count = len(body)
    else:
        columns, count = _control_columns(body), 1
    columns["version"] = pa.array(np.full(count, entry.version), pa.int64())
    columns["row"] = pa.array(np.arange(count), pa.int32())
    columns["now"] = pa.array(np.full(count, envelope.now), _INSTANT)
    rest = count - 1
    columns["previous"] = pa.array([entry.previous] + [None] * rest, pa.binary(16))
    columns["entry"] = pa.array([entry.entry] + [None] * rest, pa.binary())
    arrays = [columns.get(f.name, pa.nulls(count, f.type)) for f in SCHEMA]
    return pa.record_batch(arrays, SCHEMA)


def _control_columns(body: ControlEntry | ProducerEntry) -> dict[str, pa.Array]:
    if isinstance(body, ProducerEntry):
        facts: object = [fact.to_json() for fact in body.facts]
        return {"kind": pa.array([PRODUCERS]), "facts": pa.array([_json(facts)])}
    customer = body.facts.get("customer")
    return {
        "kind": pa.array([body.kind]),
        "customer": pa.array([_readable(customer) if isinstance(customer, str) else None]),
        "facts": pa.array([_json(body.facts)]),
    }


def _record_columns(body: RecordsEntry) -> dict[str, pa.Array]:
    sets, attributes = (
        [_json(dict(pairs)) if pairs else None for pairs in dictionary]
        for dictionary in (body.dimension_sets, body.attribute_sets)
    )
    scales = np.array([meter.scale for meter in body.meters], np.int64)
    quantity, event_time, period_start = body.words[:3]
    given: dict[str, pa.Array] = {}
    if body.producers:
        counts = [fact.accepted for fact in body.producers]
        whole = np.repeat(np.arange(len(counts)), counts)
        given["producer"] = _words([_readable(f.producer) for f in body.producers], whole)
        given["sequence"] = pa.array([f.sequence for f in body.producers]).take(pa.array(whole))
    if body.attribute_set is not None:
        given["attributes"] = _words(attributes, body.attribute_set)
    retraction = np.zeros(len(body), np.bool_) if body.retraction is None else body.retraction
    return given | {
        "kind": pa.array([RECORDS] * len(body)),
        "customer": _words([_readable(name) for name in body.customers], body.codes[0]),
        "meter": _words([_readable(meter.id) for meter in body.meters], body.codes[1]),
        "dimensions": _words(sets, body.codes[2]),
        "retraction": pa.array(retraction),
        "event_id": _event_ids(body),
        "quantity": _decimals(quantity, scales[body.codes[1]]),
        "event_time": pa.array(event_time, _INSTANT),
        "period_start": pa.array(period_start, _INSTANT),
    }


def _json(document: object) -> str:
    return _readable(json.dumps(document, ensure_ascii=False, separators=(",", ":")))


def _readable(text: str) -> str:
    """Return a text that is UTF-8: half a surrogate pair, which a log may hold, shows as ?."""
    return text.encode(errors="replace").decode()


def _words(words: Sequence[str | None], codes: Any) -> pa.Array:
    return pa.array(list(words), pa.string()).take(pa.array(codes))


def _event_ids(body: RecordsEntry) -> pa.Array:
    count = len(body)
    offsets = np.zeros(count + 1, np.int32)
    offsets[1:] = body.ends
    buffers = [None, pa.py_buffer(offsets.tobytes()), pa.py_buffer(body.event_ids)]
    raw = pa.Array.from_buffers(pa.binary(), count, buffers)
    try:
        return raw.cast(pa.string())
    except pa.ArrowInvalid:
        return pa.array([value.decode(errors="replace") for value in raw.to_pylist()])


def _decimals(units: Any, scales: Any) -> pa.Array:
    """Return exact decimals of units × 10^-scale, both int64[n] (S1.2)."""
    factors = pa.array(10 ** (SCALE_MAX - scales)).cast(pa.decimal128(19, 0))
    scaled = pc.multiply(
        pa.array(units).cast(pa.decimal128(19, 0)), factors.cast(pa.decimal128(13, 0))
    )
    # The same 128-bit integers, read with the point moved.
    wide = scaled.cast(pa.decimal128(38, 0))
    moved = pa.Array.from_buffers(pa.decimal128(38, SCALE_MAX), len(wide), wide.buffers())
    return moved.cast(_QUANTITY)
