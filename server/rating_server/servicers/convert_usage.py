"""Usage records and batches from messages to columns; no Python loop per record of a batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

import numpy as np
import numpy.typing as npt
from google.protobuf.message import DecodeError

from ratewright.columns import cut_fields
from ratewright.v1 import usage_service_pb2
from rating_core.metering.batch import RecordBatch
from rating_core.metering.deciding.field_scan import LEFT, cut_columns, find_texts, read_varints
from rating_core.metering.deciding.roll import Roll, RollNames
from rating_core.units import SCALE_MAX, decimals, fits_int64, parse_decimal, to_units
from rating_server.servicers.convert_time import from_proto_timestamp, valid_timestamp
from rating_server.servicers.rpc import parse
from rating_server.usecases.context import valid_customer
from rating_server.usecases.failure import InvalidRequest, Violation

RECORDS_MAX = 1_000
_NO_TIME = np.int64(0)

_BATCH = usage_service_pb2.IngestUsageRequest.BATCH_FIELD_NUMBER
_FIELDS = usage_service_pb2.UsageBatch
_CUSTOMERS = _FIELDS.CUSTOMERS_FIELD_NUMBER
_CUSTOMER = _FIELDS.CUSTOMER_INDEX_FIELD_NUMBER
_METER = _FIELDS.METER_INDEX_FIELD_NUMBER
_DIMENSION_SET = _FIELDS.DIMENSION_SET_INDEX_FIELD_NUMBER
_ATTRIBUTE_SET = _FIELDS.ATTRIBUTE_SET_INDEX_FIELD_NUMBER
_EVENT_IDS = _FIELDS.EVENT_IDS_FIELD_NUMBER
_LENGTHS = _FIELDS.EVENT_ID_LENGTHS_FIELD_NUMBER
_QUANTITY = _FIELDS.QUANTITIES_FIELD_NUMBER
_EVENT_TIME = _FIELDS.EVENT_TIMES_MICROS_FIELD_NUMBER
_COLUMN_TYPES = {
    _CUSTOMER: ("customer_index", "<u4"),
    _METER: ("meter_index", "<u4"),
    _DIMENSION_SET: ("dimension_set_index", "<u4"),
    _ATTRIBUTE_SET: ("attribute_set_index", "<u4"),
    _EVENT_IDS: ("event_ids", ""),
    _LENGTHS: ("event_id_lengths", ""),
    _QUANTITY: ("quantities", "<i8"),
    _EVENT_TIME: ("event_times_micros", "<i8"),
}
"""Names of the columns and, of those with numbers of fixed width, their types (ADR 7)."""


@dataclass(frozen=True, slots=True)
class CutRequest:
    """An ingest request, parsed, and the columns of its batch, by field number, as raw bytes.

    A column that stands in ``columns`` is empty in ``message``. ``rest``: the bytes of the batch
    without those columns.
    """

    message: usage_service_pb2.IngestUsageRequest
    columns: Mapping[int, npt.NDArray[np.uint8]]
    rest: npt.NDArray[np.uint8] | None = None

    def customers(self, roll: Roll) -> RollNames:
        """Return the batch's customers by number."""
        names = self.message.batch.customers
        spans = None if self.rest is None else find_texts(self.rest, _CUSTOMERS)
        if spans is None or self.rest is None or spans.shape[0] != len(names):
            return roll.names_of(list(names))
        return roll.names_in(self.rest, spans)


def cut_request(data: bytes) -> CutRequest:
    """Return the request that ``data`` holds; InvalidRequest REQUEST_UNPARSABLE."""
    cut = cut_fields(data, (_BATCH,))
    if cut is None or len(cut.fields[_BATCH]) != 1:
        return CutRequest(parse(data, usage_service_pb2.IngestUsageRequest), {})
    raw = np.frombuffer(cut.fields[_BATCH][0], np.uint8)
    spans = np.full((max(_COLUMN_TYPES) + 1, 2), -1, np.int64)
    spans[list(_COLUMN_TYPES)] = 0
    rest = np.empty(raw.size, np.uint8)
    used = cut_columns(raw, spans, rest)
    if used == LEFT:
        return CutRequest(parse(data, usage_service_pb2.IngestUsageRequest), {})
    message = parse(cut.rest, usage_service_pb2.IngestUsageRequest)
    try:
        message.batch.MergeFromString(rest[:used].tobytes())
    except DecodeError as error:
        raise _unparsable("batch") from error
    found = {
        number: raw[begin:end] for number, (begin, end) in enumerate(spans.tolist()) if end > 0
    }
    return CutRequest(message, found, rest[:used])


class _Columns:
    """The columns of one batch as arrays, from raw bytes or from the parsed message."""

    def __init__(self, request: CutRequest) -> None:
        self._batch = request.message.batch
        self._raw = request.columns

    def values(self, number: int) -> npt.NDArray[np.int64]:
        """Return one column of numbers, int64[n]; InvalidRequest REQUEST_UNPARSABLE."""
        name, kind = _COLUMN_TYPES[number]
        raw = self._raw.get(number)
        if raw is None:
            return np.array(getattr(self._batch, name), np.int64)
        if kind:
            # A copy, so that kernels get aligned memory.
            return _fixed(raw, kind, name)
        lengths = read_varints(raw)
        if lengths is None:
            raise _unparsable(f"batch.{name}")
        return lengths

    def event_ids(self) -> bytes:
        """Return the ids' bytes, concatenated."""
        raw = self._raw.get(_EVENT_IDS)
        return self._batch.event_ids if raw is None else raw.tobytes()


def _fixed(raw: npt.NDArray[np.uint8], kind: str, name: str) -> npt.NDArray[np.int64]:
    if raw.size % np.dtype(kind).itemsize:
        raise _unparsable(f"batch.{name}")
    return raw.view(kind).astype(np.int64)


def _unparsable(field: str) -> InvalidRequest:
    text = "the bytes are not what the field's type allows"
    return InvalidRequest([Violation(field, "REQUEST_UNPARSABLE", text)], "REQUEST_UNPARSABLE")


def from_proto_batch(
    request: CutRequest, records_max: int, roll: Roll, *, named: bool = True
) -> RecordBatch:
    """Return the columns of a batch; InvalidRequest BATCH_INVALID names every faulty column.

    What concerns one record alone (no id, no time, an impossible customer) marks that record
    malformed instead. Customers are numbered by ``roll``. ``named``: whether records have event
    ids; those of numbered batches have none, and there the quantities tell how many records there
    are (P12).
    """
    violations: list[Violation] = []
    message, columns = request.message.batch, _Columns(request)
    lengths = columns.values(_LENGTHS)
    count = int(lengths.size)
    event_ids = columns.event_ids()
    if not named:
        if count or event_ids:
            text = "expected none: the records of a sequenced stream are known by their batch"
            violations.append(Violation("batch.event_ids", "NOT_ALLOWED", text))
        count = int(columns.values(_QUANTITY).size)
        lengths = np.zeros(count, np.int64)
    if count > records_max:
        text = f"expected at most {records_max} records, got {count}"
        raise _invalid([Violation("batch.event_id_lengths", "TOO_MANY_RECORDS", text)])
    if not count:
        raise _invalid([Violation("batch", "EMPTY", "expected at least one record")])
    if named and (bool((lengths < 0).any()) or int(lengths.sum()) != len(event_ids)):
        text = f"expected lengths ≥ 0 that add up to the {len(event_ids)} bytes of ids"
        violations.append(Violation("batch.event_id_lengths", "WRONG_LENGTH", text))
    for name in ("customers", "meters", "dimension_sets", "attribute_sets"):
        # Words cost time whether records use them or not.
        if len(getattr(message, name)) > records_max:
            text = f"expected at most {records_max} words"
            raise _invalid([Violation(f"batch.{name}", "TOO_MANY_WORDS", text)])
    customer = _index(columns, _CUSTOMER, len(message.customers), count, violations)
    meter = _index(columns, _METER, len(message.meters), count, violations)
    sets = [_dimension_set(item.dimensions) for item in message.dimension_sets]
    codes = columns.values(_DIMENSION_SET)
    if not sets and not codes.size:
        sets = [()]
    dimension_set = _index(columns, _DIMENSION_SET, len(sets), count, violations)
    quantity = _column(columns, _QUANTITY, count, violations)
    event_time = _column(columns, _EVENT_TIME, count, violations)
    attribute_sets, attribute_set = _attributes(request, columns, count, violations)
    retraction = _retraction(message, count, violations)
    for index, item in enumerate(message.meters):
        if not 0 <= item.scale <= SCALE_MAX:
            where = f"batch.meters[{index}].scale"
            violations.append(Violation(where, "OUT_OF_RANGE", f"expected 0 to {SCALE_MAX}"))
    if violations:
        raise _invalid(violations)
    customers, malformed = request.customers(roll), event_time == _NO_TIME
    impossible = customers.numbers == 0
    if impossible.any():
        malformed |= impossible[customer]
    return RecordBatch(
        customers=customers,
        customer=customer,
        meters=[item.meter for item in message.meters],
        scales=[item.scale for item in message.meters],
        meter=meter,
        dimension_sets=sets,
        dimension_set=dimension_set,
        event_ids=event_ids,
        event_id_ends=np.cumsum(lengths, dtype=np.int64),
        quantity=quantity,
        event_time=event_time,
        malformed=malformed,
        attribute_sets=attribute_sets,
        attribute_set=attribute_set,
        retraction=retraction,
    )


def _attributes(
    request: CutRequest, columns: _Columns, count: int, violations: list[Violation]
) -> tuple[list[tuple[tuple[str, str], ...]], npt.NDArray[np.int32] | None]:
    given = request.message.batch.attribute_sets
    if not len(given) and not columns.values(_ATTRIBUTE_SET).size:
        return [()], None
    sets = [_dimension_set(item.attributes) for item in given]
    return sets, _index(columns, _ATTRIBUTE_SET, len(sets), count, violations)


def _retraction(
    message: usage_service_pb2.UsageBatch, count: int, violations: list[Violation]
) -> npt.NDArray[np.bool_] | None:
    if not len(message.retractions):
        return None
    column = np.array(message.retractions, np.bool_)
    if column.size != count:
        text = f"expected {count} rows, one a record, or none, got {column.size}"
        violations.append(Violation("batch.retractions", "WRONG_LENGTH", text))
    return column


def from_proto_records(records: Sequence[usage_service_pb2.UsageRecord]) -> RecordBatch:
    """Return the columns of 1 to 1,000 single records.

    A record that cannot be read (no time, no decimal quantity) is marked malformed.
    """
    if not 0 < len(records) <= RECORDS_MAX:
        text = f"expected 1 to {RECORDS_MAX} records, got {len(records)}"
        raise InvalidRequest([Violation("records", "WRONG_COUNT", text)])
    customers: dict[str, int] = {}
    meters: dict[tuple[str, int], int] = {}
    sets: dict[tuple[tuple[str, str], ...], int] = {}
    attribute_sets: dict[tuple[tuple[str, str], ...], int] = {}
    count = len(records)
    customer, meter, dimension_set, attribute_set = (np.zeros(count, np.int32) for _ in range(4))
    retraction = np.array([record.retraction for record in records], np.bool_)
    quantity, event_time = np.zeros(count, np.int64), np.zeros(count, np.int64)
    malformed, out_of_range, imprecise = (np.zeros(count, np.bool_) for _ in range(3))
    ids = [record.event_id.encode() for record in records]
    for row, record in enumerate(records):
        scale = 0
        try:
            value = parse_decimal(record.quantity or "1")
        except ValueError:
            malformed[row] = True
        else:
            scale, units, imprecise[row], out_of_range[row] = _units(value)
            quantity[row] = units
        timed = record.HasField("event_time") and valid_timestamp(record.event_time)
        if timed:
            event_time[row] = from_proto_timestamp(record.event_time)
        name = _customer(record.customer)
        malformed[row] |= not timed or not name
        customer[row] = customers.setdefault(name, len(customers))
        meter[row] = meters.setdefault((record.meter, scale), len(meters))
        dimensions = _dimension_set(record.dimensions)
        dimension_set[row] = sets.setdefault(dimensions, len(sets))
        attributes = _dimension_set(record.attributes)
        attribute_set[row] = attribute_sets.setdefault(attributes, len(attribute_sets))
    return RecordBatch(
        customers=list(customers),
        customer=customer,
        meters=[name for name, _ in meters],
        scales=[scale for _, scale in meters],
        meter=meter,
        dimension_sets=list(sets),
        dimension_set=dimension_set,
        event_ids=b"".join(ids),
        event_id_ends=np.cumsum([len(event_id) for event_id in ids], dtype=np.int64),
        quantity=quantity,
        event_time=event_time,
        malformed=malformed,
        out_of_range=out_of_range,
        imprecise=imprecise,
        attribute_sets=list(attribute_sets),
        attribute_set=attribute_set if any(attribute_sets) else None,
        retraction=retraction if retraction.any() else None,
    )


def _units(value: Decimal) -> tuple[int, int, bool, bool]:
    """Return (scale, units, imprecise, out of range) of one quantity."""
    scale = decimals(value)
    if scale > SCALE_MAX:
        return 0, 0, True, False
    units = to_units(value, scale)
    # The scale is told of what is out of range too: lacking precision comes first (S7.3).
    return (scale, units, False, False) if fits_int64(units) else (scale, 0, False, True)


def _customer(name: str) -> str:
    """Return a customer id; empty, which no customer is, for one that is impossible.

    So nothing behind this keeps, in a cache of names, a text of megabytes.
    """
    return name if valid_customer(name) else ""


def _dimension_set(dimensions: object) -> tuple[tuple[str, str], ...]:
    pairs: dict[str, str] = dict(dimensions)  # type: ignore[call-overload] # a protobuf map
    return tuple(sorted(pairs.items()))


def _index(
    columns: _Columns, number: int, words: int, count: int, violations: list[Violation]
) -> npt.NDArray[np.int32]:
    column = columns.values(number)
    field = f"batch.{_COLUMN_TYPES[number][0]}"
    if not column.size and words == 1:
        return np.zeros(count, np.int32)
    if column.size != count:
        text = f"expected {count} rows, one a record, got {column.size}"
        violations.append(Violation(field, "WRONG_LENGTH", text))
    elif int(column.min()) < 0 or int(column.max()) >= words:
        text = f"expected indices into a dictionary of {words}"
        violations.append(Violation(field, "OUT_OF_RANGE", text))
    return column.astype(np.int32)


def _column(
    columns: _Columns, number: int, count: int, violations: list[Violation]
) -> npt.NDArray[np.int64]:
    column = columns.values(number)
    if column.size != count:
        text = f"expected {count} rows, one a record, got {column.size}"
        violations.append(Violation(f"batch.{_COLUMN_TYPES[number][0]}", "WRONG_LENGTH", text))
    return column


def _invalid(violations: list[Violation]) -> InvalidRequest:
    return InvalidRequest(violations, "BATCH_INVALID")
