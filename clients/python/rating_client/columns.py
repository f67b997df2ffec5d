"""Records into the columns of an ingest batch, with C-speed list operations.

`RecordBuffer` gathers single records; `UsageColumns` (bulk_columns.py) takes what is columnar
already. Both give payloads: one batch each, serialized without its number, which goes in front when
it is known.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, compress
from typing import Any

from ratewright.v1 import usage_service_pb2 as usage_api
from rating_client.values import INT64_MAX, UsageRecord, to_micros, to_units

EVENT_ID_BYTES_MAX = 255
CUSTOMER_BYTES_MAX = 128
_ROW_BYTES = 36
"""Most bytes of a row beside its event id: indexes, a length, a quantity, a time, a flag."""


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
        blob = batch.event_ids  # once: each look at the field copies all of it
        batch.event_ids = b"".join(blob[start:end] for start, end in compress(pieces, keep))
        column: Any
        for column in (
            batch.customer_index,
            batch.meter_index,
            batch.dimension_set_index,
            batch.event_id_lengths,
            batch.quantities,
            batch.event_times_micros,
            batch.attribute_set_index,
            batch.retractions,
        ):
            if column:
                column[:] = list(compress(column, keep))
        return Payload(len(rows), request.SerializeToString())

    def numbered(self, number: int) -> bytes:
        """Return the bytes of the request with its batch number: protobuf messages concatenate."""
        return usage_api.IngestUsageRequest(batch_number=number).SerializeToString() + self.data


class StoredPayload(Payload):
    """A batch whose bytes are kept elsewhere, and read whenever they are needed."""

    __slots__ = ("_read",)

    def __init__(self, record_count: int, read: Callable[[], bytes]) -> None:
        object.__setattr__(self, "record_count", record_count)
        object.__setattr__(self, "_read", read)

    @property
    def data(self) -> bytes:
        """The batch as the bytes of an IngestUsageRequest."""
        read: Callable[[], bytes] = object.__getattribute__(self, "_read")
        return read()


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
    if record.attributes:
        _check_attributes(record)


def _check_attributes(record: UsageRecord) -> None:
    if not isinstance(record.attributes, Mapping):
        got = type(record.attributes).__name__
        raise TypeError(f"attributes: expected a mapping, got {got}")
    for name, value in record.attributes.items():
        if not (isinstance(name, str) and isinstance(value, str)):
            raise TypeError(f"attributes[{name!r}]: expected str, got {type(value).__name__}")


class _Sets:
    """A dictionary of combinations of names and values, and its column; empty until needed."""

    def __init__(self) -> None:
        self.words: dict[tuple[tuple[str, str], ...], int] = {}
        self.index: list[int] = []

    def add(self, pairs: Mapping[str, str], rows_before: int) -> int:
        """Append a row; return by how many bytes the dictionary grew."""
        if not pairs and not self.words:
            return 0
        if not self.words:
            # The rows before the first one with values point to the empty combination.
            self.words[()] = 0
            self.index = [0] * rows_before
        key = _dimension_key(pairs)
        place = self.words.get(key)
        grown = 0
        if place is None:
            grown = sum(len(name.encode()) + len(value.encode()) + 8 for name, value in key)
            place = self.words[key] = len(self.words)
        self.index.append(place)
        return grown


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
        self._sets = _Sets()
        self._attributes = _Sets()
        self._retractions: list[bool] = []
        self._customer_index: list[int] = []
        self._meter_index: list[int] = []
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
        rows = len(self._times)
        self.byte_count += self._sets.add(record.dimensions, rows)
        self.byte_count += self._attributes.add(record.attributes, rows)
        if record.retraction or self._retractions:
            self._retractions += [False] * (rows - len(self._retractions))
            self._retractions.append(record.retraction)
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
            dimension_sets=[
                usage_api.DimensionSet(dimensions=dict(key)) for key in self._sets.words
            ],
            attribute_sets=[
                usage_api.AttributeSet(attributes=dict(key)) for key in self._attributes.words
            ],
            attribute_set_index=self._attributes.index,
            retractions=self._retractions,
            customer_index=self._customer_index if len(self._customers) > 1 else (),
            meter_index=self._meter_index if len(self._meters) > 1 else (),
            dimension_set_index=self._sets.index,
            event_ids=b"".join(self._event_ids),
            event_id_lengths=list(map(len, self._event_ids)) if self._named else (),
            quantities=units,
            event_times_micros=self._times,
        )
        data = usage_api.IngestUsageRequest(batch=batch).SerializeToString()
        payload = Payload(len(self._times), data)
        self._clear()
        return payload
