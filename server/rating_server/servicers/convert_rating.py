"""Batches of RateBatch from bytes to columns and back; no Python loop per row.

Columns never pass through message objects: they are cut out of the request's bytes and appended to
the answer's (`ratewright.columns`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ratewright.columns import Buffer, column_field, column_values, cut_fields, field_bytes
from ratewright.v1 import rating_service_pb2 as pb
from rating_core.bulk import BatchAmounts
from rating_core.errors import RowStatus
from rating_server.servicers import convert_plan
from rating_server.servicers.rpc import parse
from rating_server.usecases.failure import InvalidRequest, Violation
from rating_server.usecases.plan_sets import PLANS_MAX, PlanSet, StatedPlan

_FIELDS = pb.RateBatchRequest.DESCRIPTOR.fields_by_name
_PLAN_INDEX = _FIELDS["plan_index"].number
_QUANTITIES = _FIELDS["quantities"].number
_ANSWER_FIELDS = pb.RateBatchResponse.DESCRIPTOR.fields_by_name
_CHARGES = _ANSWER_FIELDS["charges"].number
_COMMITMENTS = _ANSWER_FIELDS["commitments"].number
_TOTALS = _ANSWER_FIELDS["totals"].number
_STATUSES = _ANSWER_FIELDS["statuses"].number
_COLUMNS_MAX = 32_768
_INDEX_TYPE = np.dtype("<u4")
_UNITS_TYPE = np.dtype("<i8")

_STATUS_CODES = np.zeros(len(RowStatus), np.uint8)
_STATUS_CODES[RowStatus.OK] = pb.RATE_STATUS_OK
_STATUS_CODES[RowStatus.OUT_OF_RANGE] = pb.RATE_STATUS_OUT_OF_RANGE


@dataclass(frozen=True, slots=True)
class RowBatch:
    """One request: ``plans`` is its dictionary, if it brings one; columns are little-endian bytes.

    ``plan_index`` holds 4 bytes a row, ``quantities`` columns of 8 bytes a row; their lengths are
    not checked yet.
    """

    batch_number: int
    row_count: int
    plans: Sequence[pb.RateBatchPlan]
    plan_index: Buffer
    quantities: list[Buffer]


def parse_row_batch(data: bytes) -> RowBatch:
    """Return the batch that ``data`` holds.

    InvalidRequest REQUEST_UNPARSABLE, or BATCH_INVALID for more columns than any plan has meters.
    """
    cut = cut_fields(data, (_PLAN_INDEX, _QUANTITIES))
    rest = parse(data if cut is None else cut.rest, pb.RateBatchRequest)
    pieces = [] if cut is None else cut.fields[_PLAN_INDEX]
    if cut is None or rest.plan_index or len(pieces) > 1 or (pieces and len(pieces[0]) % 4):
        rest = parse(data, pb.RateBatchRequest)
        if len(rest.quantities) > _COLUMNS_MAX:
            text = f"expected at most {_COLUMNS_MAX} columns, got {len(rest.quantities)}"
            raise invalid_batch([Violation("quantities", "WRONG_COUNT", text)])
        index: Buffer = np.array(rest.plan_index, _INDEX_TYPE).tobytes()
        columns = [np.array(item.units, _UNITS_TYPE).tobytes() for item in rest.quantities]
        return RowBatch(rest.batch_number, rest.row_count, rest.plans, index, list(columns))
    index = pieces[0] if pieces else b""
    quantities: list[Buffer] = [_values(piece) for piece in cut.fields[_QUANTITIES]]
    return RowBatch(rest.batch_number, rest.row_count, rest.plans, index, quantities)


def _values(column: memoryview) -> memoryview:
    """Return the bytes of a column's values; InvalidRequest REQUEST_UNPARSABLE."""
    return column_values(column, lambda data: parse(data, pb.QuantityColumn).units)


def from_proto_plans(
    plans: Sequence[pb.RateBatchPlan],
) -> list[tuple[str, int] | StatedPlan]:
    """Return a dictionary's entries: (plan id, version or 0), or whole plans; all faults at once.

    InvalidRequest BATCH_INVALID.
    """
    if len(plans) > PLANS_MAX:
        text = f"expected at most {PLANS_MAX} plans, got {len(plans)}"
        raise invalid_batch([Violation("plans", "TOO_MANY_PLANS", text)])
    entries: list[tuple[str, int] | StatedPlan] = []
    violations: list[Violation] = []
    for index, item in enumerate(plans):
        match item.WhichOneof("pricing"):
            case "plan_name":
                try:
                    name = convert_plan.parse_plan_name(item.plan_name, f"plans[{index}].plan_name")
                    entries.append(name)
                except InvalidRequest as error:
                    violations += error.violations
            case "plan":
                document = convert_plan.from_proto_plan(item.plan)
                key = item.plan.SerializeToString(deterministic=True)
                entries.append(StatedPlan(key, document))
            case _:
                text = "expected plan_name or plan"
                violations.append(Violation(f"plans[{index}].pricing", "MISSING", text))
    if violations:
        raise invalid_batch(violations)
    return entries


def from_proto_rows(
    batch: RowBatch, plans: PlanSet, rows_max: int
) -> tuple[npt.NDArray[np.int32] | int, npt.NDArray[np.int64]]:
    """Return the plan index, 0 for the only plan, and the quantities, rows × meter positions.

    InvalidRequest BATCH_INVALID names every faulty column.
    """
    count = batch.row_count
    if not 1 <= count <= rows_max:
        text = f"expected 1 to {rows_max} rows, got {count}"
        raise invalid_batch([Violation("row_count", "OUT_OF_RANGE", text)])
    violations: list[Violation] = []
    plan_index = _plan_index(batch, len(plans.plans), violations)
    meters = plans.compiled.meter_count
    if len(batch.quantities) != meters:
        text = f"expected {meters} columns, one a meter position, got {len(batch.quantities)}"
        violations.append(Violation("quantities", "WRONG_COUNT", text))
    for position, column in enumerate(batch.quantities[:meters]):
        _check_rows(len(column) // 8, count, f"quantities[{position}].units", violations)
    if violations:
        raise invalid_batch(violations)
    quantities = np.empty((count, meters), np.int64)
    for position, column in enumerate(batch.quantities):
        quantities[:, position] = np.frombuffer(column, _UNITS_TYPE)
    return plan_index, quantities


def _plan_index(
    batch: RowBatch, plan_count: int, violations: list[Violation]
) -> npt.NDArray[np.int32] | int:
    column = np.frombuffer(batch.plan_index, _INDEX_TYPE)
    if not column.size and plan_count == 1:
        return 0
    if column.size != batch.row_count:
        _check_rows(column.size, batch.row_count, "plan_index", violations)
    elif int(column.max()) >= plan_count:
        text = f"expected positions in a dictionary of {plan_count} plans"
        violations.append(Violation("plan_index", "OUT_OF_RANGE", text))
    else:
        return column.astype(np.int32)
    return 0


def _check_rows(rows: int, expected: int, field: str, violations: list[Violation]) -> None:
    if rows != expected:
        text = f"expected {expected} rows as `row_count` says, got {rows}"
        violations.append(Violation(field, "WRONG_LENGTH", text))


def to_proto_amounts(
    batch: RowBatch, plans: PlanSet, amounts: BatchAmounts, bytes_max: int
) -> bytes:
    """Return the bytes of the answer to a batch; it names the plans if the batch brought them.

    InvalidRequest BATCH_INVALID if they are more than ``bytes_max``.
    """
    head = pb.RateBatchResponse(batch_number=batch.batch_number, row_count=batch.row_count)
    if batch.plans:
        head.plans.extend(
            _rated_plan(plan, version)
            for plan, version in zip(plans.plans, plans.versions, strict=True)
        )
    pieces: list[Buffer] = [head.SerializeToString()]
    for number, columns in ((_CHARGES, amounts.charges), (_COMMITMENTS, amounts.commitments)):
        for position in range(columns.shape[1]):
            pieces += column_field(number, _bytes(columns[:, position]))
    pieces += column_field(_TOTALS, _bytes(amounts.totals))
    if amounts.statuses.any():
        # One byte each: a packed enum of numbers below 128.
        pieces += field_bytes(_STATUSES, [_STATUS_CODES[amounts.statuses].tobytes()])
    size = sum(len(piece) for piece in pieces)
    if size > bytes_max:
        text = f"the answer would have {size} bytes, more than {bytes_max}; send fewer rows"
        raise invalid_batch([Violation("row_count", "ANSWER_TOO_LARGE", text)])
    return b"".join(pieces)


def _rated_plan(plan: Any, version: int) -> pb.RatedPlan:
    return pb.RatedPlan(
        plan_id=plan.id,
        version=version,
        currency=plan.currency,
        scale=plan.rounding.scale,
        meters=[pb.RatedMeter(meter=meter.id, scale=meter.scale) for meter in plan.meters],
        charges=[charge.id for charge in plan.charges],
        commitments=[commitment.id for commitment in plan.commitments],
    )


def _bytes(column: npt.NDArray[np.int64]) -> memoryview:
    return np.ascontiguousarray(column, _UNITS_TYPE).data.cast("B")


def invalid_batch(violations: Sequence[Violation]) -> InvalidRequest:
    """Return the failure of a batch with faults."""
    return InvalidRequest(violations, "BATCH_INVALID")
