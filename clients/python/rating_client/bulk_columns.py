"""Records that are columns already, into payloads: for bulk writing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

from ratewright.columns import Buffer, field_bytes
from ratewright.v1 import usage_service_pb2 as usage_api
from rating_client.column_bytes import compact, index_bytes, int64_column, integers, row_count
from rating_client.columns import EVENT_ID_BYTES_MAX, Payload

_ONE_BYTE_VARINT = 128
"""Numbers below it are their own encoding in a packed int32 column."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class UsageColumns:
    """Records as columns, for bulk writing: row i of every column is record i (DESIGN of the API).

    Columns are lists, tuples, `array.array`s, or anything with the buffer protocol and an integer
    format (NumPy arrays). Index columns point into the dictionaries, counted from 0.
    """

    customers: Sequence[str]
    """Dictionary of customers."""
    meters: Sequence[tuple[str, int]]
    """Dictionary of meters: (id, scale of the quantities in this batch, 0–12)."""
    event_ids: Sequence[str] | bytes = ()
    """The event ids; or their UTF-8 bytes one after the other, with ``event_id_lengths``. None for
    a writer with a ``producer_id``."""
    quantities: Any
    """Integers in units of 10^-scale of the row's meter."""
    event_times_micros: Any
    """Microseconds since 1970-01-01T00:00:00Z."""
    event_id_lengths: Any = ()
    """Bytes of each event id; only with ``event_ids`` as bytes."""
    customer_index: Any = ()
    """May be empty if there is exactly one customer."""
    meter_index: Any = ()
    """May be empty if there is exactly one meter."""
    dimension_sets: Sequence[Mapping[str, str]] = ()
    """Dictionary of combinations of dimension values."""
    dimension_set_index: Any = ()
    """Empty: no record has dimensions."""
    attribute_sets: Sequence[Mapping[str, str]] = ()
    """Dictionary of combinations of attributes (S7.2)."""
    attribute_set_index: Any = ()
    """Empty: no record has attributes."""
    retractions: Any = ()
    """Whether each row takes back the record that it repeats (S7.6): 0 or 1. Empty: none does."""

    def __post_init__(self) -> None:
        """Raise ValueError naming the column whose number of rows differs."""
        rows = len(self)
        columns: dict[str, tuple[int, bool]] = {
            "quantities": (row_count(self.quantities), False),
            "event_times_micros": (row_count(self.event_times_micros), False),
            "customer_index": (row_count(self.customer_index), len(self.customers) == 1),
            "meter_index": (row_count(self.meter_index), len(self.meters) == 1),
            "dimension_set_index": (row_count(self.dimension_set_index), True),
            "attribute_set_index": (row_count(self.attribute_set_index), True),
            "retractions": (row_count(self.retractions), True),
        }
        for name, (size, may_be_empty) in columns.items():
            if size != rows and not (may_be_empty and size == 0):
                raise ValueError(f"{name}: expected {rows} rows, as many as event ids, got {size}")
        if isinstance(self.event_ids, bytes):
            lengths = integers(self.event_id_lengths, 0, rows, "event_id_lengths")
            if sum(lengths) != len(self.event_ids):
                raise ValueError("event_id_lengths: their sum is not the length of event_ids")
        elif row_count(self.event_id_lengths):
            raise ValueError("event_id_lengths: only with event_ids as bytes")

    def __len__(self) -> int:
        """Return the number of records."""
        if not len(self.event_ids):
            return row_count(self.quantities)
        return row_count(
            self.event_id_lengths if isinstance(self.event_ids, bytes) else self.event_ids
        )

    def payloads(
        self, records_max: int, bytes_max: int, *, named: bool = True
    ) -> Iterator[Payload]:
        """Yield the batches, each of at most so many records and about so many bytes.

        Raises ValueError for an index outside its dictionary, an event id without 1 to 255 bytes,
        a number beyond 64 bits; TypeError for a column that holds no integers. ``named``: whether
        records must have event ids; those of numbered batches must have none (P12).
        """
        rows = len(self)
        if rows and named != bool(len(self.event_ids)):
            raise ValueError(f"event_ids: expected {rows if named else 'none'}")
        ends = [0]
        if isinstance(self.event_ids, bytes):
            ends += accumulate(integers(self.event_id_lengths, 0, rows, "event_id_lengths"))
        start = 0
        while start < rows:
            stop = min(rows, start + records_max)
            payload = self._payload(start, stop, ends)
            while len(payload.data) > bytes_max and stop - start > 1:
                stop = start + max(1, (stop - start) * bytes_max // (len(payload.data) + 1))
                payload = self._payload(start, stop, ends)
            yield payload
            start = stop

    def _ids(self, start: int, stop: int, ends: list[int]) -> tuple[bytes, list[int]]:
        if isinstance(self.event_ids, bytes):
            lengths = integers(self.event_id_lengths, start, stop, "event_id_lengths")
            blob = self.event_ids[ends[start] : ends[stop]]
        else:
            event_ids = self.event_ids[start:stop]
            wrong = next((item for item in event_ids if not isinstance(item, str)), None)
            if wrong is not None:
                raise TypeError(f"event_ids: expected str, got {type(wrong).__name__}")
            encoded = [event_id.encode() for event_id in event_ids]
            lengths = list(map(len, encoded))
            blob = b"".join(encoded)
        if min(lengths) < 1 or max(lengths) > EVENT_ID_BYTES_MAX:
            raise ValueError(f"event_ids: expected 1 to {EVENT_ID_BYTES_MAX} bytes each")
        return blob, lengths

    def _payload(self, start: int, stop: int, ends: list[int]) -> Payload:
        batch = usage_api.UsageBatch()
        columns = {
            usage_api.UsageBatch.QUANTITIES_FIELD_NUMBER: int64_column(
                self.quantities, start, stop, "quantities"
            ),
            usage_api.UsageBatch.EVENT_TIMES_MICROS_FIELD_NUMBER: int64_column(
                self.event_times_micros, start, stop, "event_times_micros"
            ),
        }
        if len(self.event_ids):
            blob, lengths = self._ids(start, stop, ends)
            columns[usage_api.UsageBatch.EVENT_IDS_FIELD_NUMBER] = blob
            if max(lengths) < _ONE_BYTE_VARINT:
                columns[usage_api.UsageBatch.EVENT_ID_LENGTHS_FIELD_NUMBER] = bytes(lengths)
            else:
                batch.event_id_lengths.extend(lengths)
        used: Sequence[int] = [0]
        if row_count(self.customer_index):
            index = integers(self.customer_index, start, stop, "customer_index")
            used, index = compact(index, len(self.customers), "customer_index")
            columns[usage_api.UsageBatch.CUSTOMER_INDEX_FIELD_NUMBER] = index_bytes(index)
        batch.customers.extend(map(self.customers.__getitem__, used))
        used = [0]
        if row_count(self.meter_index):
            index = integers(self.meter_index, start, stop, "meter_index")
            used, index = compact(index, len(self.meters), "meter_index")
            columns[usage_api.UsageBatch.METER_INDEX_FIELD_NUMBER] = index_bytes(index)
        for meter, scale in map(self.meters.__getitem__, used):
            batch.meters.add(meter=meter, scale=scale)
        if row_count(self.dimension_set_index):
            index = integers(self.dimension_set_index, start, stop, "dimension_set_index")
            used, index = compact(index, len(self.dimension_sets), "dimension_set_index")
            for place in used:
                batch.dimension_sets.add(dimensions=dict(self.dimension_sets[place]))
            columns[usage_api.UsageBatch.DIMENSION_SET_INDEX_FIELD_NUMBER] = index_bytes(index)
        if row_count(self.attribute_set_index):
            index = integers(self.attribute_set_index, start, stop, "attribute_set_index")
            used, index = compact(index, len(self.attribute_sets), "attribute_set_index")
            for place in used:
                batch.attribute_sets.add(attributes=dict(self.attribute_sets[place]))
            columns[usage_api.UsageBatch.ATTRIBUTE_SET_INDEX_FIELD_NUMBER] = index_bytes(index)
        if row_count(self.retractions):
            batch.retractions.extend(map(bool, integers(self.retractions, start, stop, "flags")))
        pieces: list[Buffer] = [batch.SerializeToString()]
        for number, values in columns.items():
            pieces += field_bytes(number, [values])
        request = field_bytes(usage_api.IngestUsageRequest.BATCH_FIELD_NUMBER, pieces)
        return Payload(stop - start, b"".join(request))
