"""Usage records and batches from messages to columns; no Python loop per record of a batch."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

import numpy as np
import numpy.typing as npt

from ratewright.v1 import usage_service_pb2
from rating_core.metering.batch import RecordBatch
from rating_core.units import SCALE_MAX, decimals, fits_int64, parse_decimal, to_units
from rating_server.servicers.convert_time import from_proto_timestamp, valid_timestamp
from rating_server.usecases.context import valid_customer
from rating_server.usecases.failure import InvalidRequest, Violation

RECORDS_MAX = 1_000
_NO_TIME = np.int64(0)


def from_proto_batch(
    message: usage_service_pb2.UsageBatch, records_max: int, *, named: bool = True
) -> RecordBatch:
    """Return the columns of a batch; InvalidRequest BATCH_INVALID names every faulty column.

    What concerns one record alone (no id, no time, an impossible customer) marks that record
    malformed instead. ``named``: whether records have event ids; those of numbered batches have
    none, and there the quantities tell how many records there are (P12).
    """
    violations: list[Violation] = []
    lengths = np.array(message.event_id_lengths, np.int64)
    count = int(lengths.size)
    if not named:
        if count or message.event_ids:
            text = "expected none: the records of a sequenced stream are known by their batch"
            violations.append(Violation("batch.event_ids", "NOT_ALLOWED", text))
        count = len(message.quantities)
        lengths = np.zeros(count, np.int64)
    if count > records_max:
        text = f"expected at most {records_max} records, got {count}"
        raise _invalid([Violation("batch.event_id_lengths", "TOO_MANY_RECORDS", text)])
    if not count:
        raise _invalid([Violation("batch", "EMPTY", "expected at least one record")])
    if named and (bool((lengths < 0).any()) or int(lengths.sum()) != len(message.event_ids)):
        text = f"expected lengths ≥ 0 that add up to the {len(message.event_ids)} bytes of ids"
        violations.append(Violation("batch.event_id_lengths", "WRONG_LENGTH", text))
    for name in ("customers", "meters", "dimension_sets"):
        # Words cost time whether records use them or not.
        if len(getattr(message, name)) > records_max:
            text = f"expected at most {records_max} words"
            raise _invalid([Violation(f"batch.{name}", "TOO_MANY_WORDS", text)])
    customer = _index(message.customer_index, "customer", len(message.customers), count, violations)
    meter = _index(message.meter_index, "meter", len(message.meters), count, violations)
    sets = [_dimension_set(item.dimensions) for item in message.dimension_sets]
    if not sets and not len(message.dimension_set_index):
        sets = [()]
    codes = message.dimension_set_index
    dimension_set = _index(codes, "dimension_set", len(sets), count, violations)
    quantity = _column(message.quantities, "quantities", count, violations)
    event_time = _column(message.event_times_micros, "event_times_micros", count, violations)
    for index, item in enumerate(message.meters):
        if not 0 <= item.scale <= SCALE_MAX:
            where = f"batch.meters[{index}].scale"
            violations.append(Violation(where, "OUT_OF_RANGE", f"expected 0 to {SCALE_MAX}"))
    if violations:
        raise _invalid(violations)
    customers = [_customer(name) for name in message.customers]
    bad_customer = np.array([not name for name in customers], np.bool_)
    return RecordBatch(
        customers=customers,
        customer=customer,
        meters=[item.meter for item in message.meters],
        scales=[item.scale for item in message.meters],
        meter=meter,
        dimension_sets=sets,
        dimension_set=dimension_set,
        event_ids=message.event_ids,
        event_id_ends=np.cumsum(lengths, dtype=np.int64),
        quantity=quantity,
        event_time=event_time,
        malformed=bad_customer[customer] | (event_time == _NO_TIME),
    )


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
    count = len(records)
    customer, meter, dimension_set = (np.zeros(count, np.int32) for _ in range(3))
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
    )


def _units(value: Decimal) -> tuple[int, int, bool, bool]:
    """Return (scale, units, imprecise, out of range) of one quantity."""
    scale = decimals(value)
    if scale > SCALE_MAX:
        return 0, 0, True, False
    units = to_units(value, scale)
    return (scale, units, False, False) if fits_int64(units) else (0, 0, False, True)


def _customer(name: str) -> str:
    """Return a customer id; empty, which no customer is, for one that is impossible.

    So nothing behind this keeps, in a cache of names, a text of megabytes.
    """
    return name if valid_customer(name) else ""


def _dimension_set(dimensions: object) -> tuple[tuple[str, str], ...]:
    pairs: dict[str, str] = dict(dimensions)  # type: ignore[call-overload] # a protobuf map
    return tuple(sorted(pairs.items()))


def _index(
    codes: Sequence[int], name: str, words: int, count: int, violations: list[Violation]
) -> npt.NDArray[np.int32]:
    column = np.array(codes, np.int32)
    field = f"batch.{name}_index"
    if not column.size and words == 1:
        return np.zeros(count, np.int32)
    if column.size != count:
        text = f"expected {count} rows, one a record, got {column.size}"
        violations.append(Violation(field, "WRONG_LENGTH", text))
    elif int(column.min()) < 0 or int(column.max()) >= words:
        text = f"expected indices into a dictionary of {words}"
        violations.append(Violation(field, "OUT_OF_RANGE", text))
    return column


def _column(
    values: Sequence[int], name: str, count: int, violations: list[Violation]
) -> npt.NDArray[np.int64]:
    column = np.array(values, np.int64)
    if column.size != count:
        text = f"expected {count} rows, one a record, got {column.size}"
        violations.append(Violation(f"batch.{name}", "WRONG_LENGTH", text))
    return column


def _invalid(violations: list[Violation]) -> InvalidRequest:
    return InvalidRequest(violations, "BATCH_INVALID")
