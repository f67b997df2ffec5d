"""Records into the columns of an ingest batch, with C-speed list operations.

`RecordBuffer` gathers single records; `UsageColumns` takes what is columnar already. Both give
payloads: one batch each, serialized without its number, which goes in front when it is known.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, compress
from typing import Any

from ratewright.columns import Buffer, field_bytes
from ratewright.v1 import usage_service_pb2 as usage_api
from rating_client.column_bytes import compact, index_bytes, int64_column, integers, row_count
from rating_client.values import INT64_MAX, UsageRecord, to_micros, to_units

EVENT_ID_BYTES_MAX = 255
CUSTOMER_BYTES_MAX = 128
_ROW_BYTES = 30
"""Most bytes of a row beside its event id: three indexes, a length, a quantity, a time."""
_ONE_BYTE_VARINT = 128
"""Numbers below it are their own encoding in a packed int32 column."""


@dataclass(frozen=True, slots=True)
class Payload:
    """A batch of ``record_count`` records as the bytes of an IngestUsageRequest."""

    record_count: int
    data: bytes

    def event_ids(self) -> list[str]:
        """Return the event id of every record, in order; empty ones in a numbered batch (P12)."""
        batch = usage_api.IngestUsageRequest.FromString(self.data).batch
        if not batch.event_id_lengths:
            return [""] * self.record_count
        blob = batch.event_ids
        ends = list(accumulate(batch.event_id_lengths))
        return [blob[start:end].decode() for start, end in zip([0, *ends], ends, strict=False)]

    def customers(self) -> list[str]:
        """Return the customer of every record, in order."""
        batch = usage_api.IngestUsageRequest.FromString(self.data).batch
        if not batch.customer_index:
            return [batch.customers[0]] * self.record_count
        return list(map(list(batch.customers).__getitem__, batch.customer_index))

    def subset(self, rows: Sequence[int]) -> Payload:
        """Return the payload of some of the rows, in rising order, with the same dictionaries."""
        request = usage_api.IngestUsageRequest.FromString(self.data)
        batch = request.batch
        keep = bytearray(self.record_count)
        for row in rows:
            keep[row] = 1
        lengths = list(batch.event_id_lengths)
        ends = list(accumulate(lengths))
        pieces = zip([0, *ends], ends, strict=False)
        batch.event_ids = b"".join(
            batch.event_ids[start:end] for start, end in compress(pieces, keep)
        )
        column: Any
        for column in (
            batch.customer_index,
            batch.meter_index,
            batch.dimension_set_index,
            batch.event_id_lengths,
            batch.quantities,
            batch.event_times_micros,
        ):
            if column:
                column[:] = list(compress(column, keep))
        return Payload(len(rows), request.SerializeToString())

    def numbered(self, number: int) -> bytes:
        """Return the bytes of the request with its batch number: protobuf messages concatenate."""
        return usage_api.IngestUsageRequest(batch_number=number).SerializeToString() + self.data


def _dimension_key(dimensions: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    return tuple(sorted((name, value) for name, value in dimensions.items() if value))


def _check_texts(record: UsageRecord) -> None:
    """Raise TypeError naming the first field that is no text; quick, for it sees every record."""
    if not isinstance(record, UsageRecord):
        raise TypeError(f"expected a UsageRecord, got {type(record).__name__}")
    event_id, customer, meter = record.event_id, record.customer, record.meter
    if not (isinstance(event_id, str) and isinstance(customer, str) and isinstance(meter, str)):
        fields = {"event_id": event_id, "customer": customer, "meter": meter}
        name, value = next(item for item in fields.items() if not isinstance(item[1], str))
        raise TypeError(f"{name}: expected str, got {type(value).__name__}")
    try:
        pairs = record.dimensions.items()
    except AttributeError:
        got = type(record.dimensions).__name__
        raise TypeError(f"dimensions: expected a mapping, got {got}") from None
    for name, value in pairs:
        if not (isinstance(name, str) and isinstance(value, str)):
            raise TypeError(f"dimensions[{name!r}]: expected str, got {type(value).__name__}")


class RecordBuffer:
    """Gathers records for one batch; not thread-safe.

    Quantities of one meter share one scale in a batch, the most decimals seen (S1.2).
    """

    def __init__(self, *, named: bool = True) -> None:
        """``named``: whether records have event ids; those of numbered batches have none (P12)."""
        self._named = named
        self._clear()

    def _clear(self) -> None:
        self._customers: dict[str, int] = {}
        self._meters: dict[str, int] = {}
        self._sets: dict[tuple[tuple[str, str], ...], int] = {}
        self._customer_index: list[int] = []
        self._meter_index: list[int] = []
        self._set_index: list[int] = []
        self._event_ids: list[bytes] = []
        self._units: list[int] = []
        self._scales: list[int] = []
        self._times: list[int] = []
        self._meter_scales: list[int] = []
        self._meter_peaks: list[tuple[int, int]] = []
        self.byte_count = 0
        self._mixed = False

    def __len__(self) -> int:
        return len(self._times)

    @staticmethod
    def read(record: UsageRecord, *, named: bool = True) -> tuple[bytes, int, int, int]:
        """Return event id, units, scale and time of a record.

        Raises ValueError for a missing or too long event id, an unaware time, a quantity with more
        than 12 decimals or beyond 64 bits; TypeError for a float, and wherever a text, a datetime
        or a mapping of texts is expected and something else given.
        """
        _check_texts(record)
        event_id = record.event_id.encode()
        if not named and event_id:
            raise ValueError("event_id: expected none from a writer with a producer_id")
        if named and not 1 <= len(event_id) <= EVENT_ID_BYTES_MAX:
            raise ValueError(
                f"event_id: expected 1 to {EVENT_ID_BYTES_MAX} bytes, got {len(event_id)}"
            )
        units, scale = to_units(record.quantity)
        return event_id, units, scale, to_micros(record.event_time)

    def fits(self, meter: str, units: int, scale: int) -> bool:
        """Whether the batch can hold this quantity: at one scale all of a meter's fit 64 bits."""
        index = self._meters.get(meter)
        if index is None or scale == self._meter_scales[index]:
            return True
        peak, peak_scale = self._meter_peaks[index]
        common = max(self._meter_scales[index], scale)
        greatest: int = max(peak * 10 ** (common - peak_scale), abs(units) * 10 ** (common - scale))
        return greatest <= INT64_MAX

    def add(self, record: UsageRecord, read: tuple[bytes, int, int, int]) -> None:
        """Append a record for which `fits` is true; ``read`` is what `read` returned for it."""
        event_id, units, scale, micros = read
        customer = self._customers.get(record.customer)
        if customer is None:
            size = len(record.customer.encode())
            if not 1 <= size <= CUSTOMER_BYTES_MAX:
                raise ValueError(f"customer: expected 1 to {CUSTOMER_BYTES_MAX} bytes, got {size}")
            customer = self._customers[record.customer] = len(self._customers)
            self.byte_count += size + 2
        meter = self._meters.get(record.meter)
        if meter is None:
            self.byte_count += len(record.meter.encode()) + 6
            meter = self._meters[record.meter] = len(self._meters)
            self._meter_scales.append(scale)
            self._meter_peaks.append((abs(units), scale))
        else:
            self._note_scale(meter, units, scale)
        if record.dimensions or self._sets:
            dimension_set = self._set(record.dimensions)  # may replace the column
            self._set_index.append(dimension_set)
        self._customer_index.append(customer)
        self._meter_index.append(meter)
        self._event_ids.append(event_id)
        self._units.append(units)
        self._scales.append(scale)
        self._times.append(micros)
        self.byte_count += len(event_id) + _ROW_BYTES

    def _note_scale(self, meter: int, units: int, scale: int) -> None:
        most = self._meter_scales[meter]
        if scale != most:
            self._mixed = True
            self._meter_scales[meter] = max(scale, most)
        peak, peak_scale = self._meter_peaks[meter]
        if abs(units) * 10**peak_scale > peak * 10**scale:
            self._meter_peaks[meter] = (abs(units), scale)

    def _set(self, dimensions: Mapping[str, str]) -> int:
        if not self._sets:
            # The rows before the first one with dimensions point to the empty combination.
            self._sets[()] = 0
            self._set_index = [0] * len(self._times)
        key = _dimension_key(dimensions)
        index = self._sets.get(key)
        if index is None:
            size = sum(len(name.encode()) + len(value.encode()) + 8 for name, value in key)
            index = self._sets[key] = len(self._sets)
            self.byte_count += size
        return index

    def seal(self) -> Payload:
        """Return the gathered records as a payload, and start anew."""
        scales = self._meter_scales
        units = self._units
        if self._mixed:
            units = [
                value * 10 ** (scales[meter] - scale)
                for value, meter, scale in zip(units, self._meter_index, self._scales, strict=True)
            ]
        batch = usage_api.UsageBatch(
            customers=self._customers,
            meters=[
                usage_api.BatchMeter(meter=meter, scale=scale)
                for meter, scale in zip(self._meters, scales, strict=True)
            ],
            dimension_sets=[usage_api.DimensionSet(dimensions=dict(key)) for key in self._sets],
            customer_index=self._customer_index if len(self._customers) > 1 else (),
            meter_index=self._meter_index if len(self._meters) > 1 else (),
            dimension_set_index=self._set_index,
            event_ids=b"".join(self._event_ids),
            event_id_lengths=list(map(len, self._event_ids)) if self._named else (),
            quantities=units,
            event_times_micros=self._times,
        )
        data = usage_api.IngestUsageRequest(batch=batch).SerializeToString()
        payload = Payload(len(self._times), data)
        self._clear()
        return payload


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

    def __post_init__(self) -> None:
        """Raise ValueError naming the column whose number of rows differs."""
        rows = len(self)
        columns: dict[str, tuple[int, bool]] = {
            "quantities": (row_count(self.quantities), False),
            "event_times_micros": (row_count(self.event_times_micros), False),
            "customer_index": (row_count(self.customer_index), len(self.customers) == 1),
            "meter_index": (row_count(self.meter_index), len(self.meters) == 1),
            "dimension_set_index": (row_count(self.dimension_set_index), True),
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
        pieces: list[Buffer] = [batch.SerializeToString()]
        for number, values in columns.items():
            pieces += field_bytes(number, [values])
        request = field_bytes(usage_api.IngestUsageRequest.BATCH_FIELD_NUMBER, pieces)
        return Payload(stop - start, b"".join(request))
