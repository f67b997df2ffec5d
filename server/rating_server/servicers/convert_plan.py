"""Plans and meters: messages to documents and back, through the API package's one mapper."""

from __future__ import annotations

from typing import Any

from ratewright import document as api
from ratewright.v1 import plan_pb2
from ratewright.v1.catalog_service_pb2 import CreatePlanRequest
from rating_core.metering.catalogue_calls import StoredMeter, StoredPlan
from rating_core.plan.document import meter_to_document
from rating_server.servicers.convert_time import from_proto_instant, to_proto_timestamp
from rating_server.usecases.create_plan import Times
from rating_server.usecases.failure import InvalidRequest, Violation, invalid


def from_proto_plan(message: plan_pb2.Plan) -> dict[str, Any]:
    """Return the plan document of a message; output-only fields are ignored."""
    return api.plan_to_document(message)


def to_proto_plan(stored: StoredPlan) -> plan_pb2.Plan:
    """Return the message of a stored plan version."""
    message = api.plan_from_document(stored.document)
    message.version = stored.version
    message.name = f"plans/{message.id}/versions/{stored.version}"
    message.create_time.CopyFrom(to_proto_timestamp(stored.create_time))
    if stored.effective_time is not None:
        message.effective_time.CopyFrom(to_proto_timestamp(stored.effective_time))
    if stored.existing_effective_time is not None:
        existing = to_proto_timestamp(stored.existing_effective_time)
        message.existing_effective_time.CopyFrom(existing)
    return message


def from_proto_times(request: CreatePlanRequest) -> Times:
    """Return the effective times of a plan version; all faults at once (S8.6)."""
    violations: list[Violation] = []
    effective, existing = (
        from_proto_instant(getattr(request, field), request.HasField(field), field, violations)
        for field in ("effective_time", "existing_effective_time")
    )
    if violations:
        raise InvalidRequest(violations)
    return Times(effective, existing)


def from_proto_meter(message: plan_pb2.Meter) -> dict[str, Any]:
    """Return the meter document of a message; output-only fields are ignored."""
    return api.meter_to_document(message)


def to_proto_meter(stored: StoredMeter) -> plan_pb2.Meter:
    """Return the message of a stored meter."""
    message = api.meter_from_document(meter_to_document(stored.meter))
    message.name = f"meters/{message.id}"
    message.create_time.CopyFrom(to_proto_timestamp(stored.create_time))
    return message


def from_proto_usage(usage: Any) -> dict[str, list[Any]]:
    """Return the usage document (S6.5) of repeated MeterUsage; all faults at once."""
    document: dict[str, list[Any]] = {}
    violations: list[Violation] = []
    for index, item in enumerate(usage):
        if item.meter in document:
            where = f"usage[{index}].meter"
            violations.append(Violation(where, "DUPLICATE_METER", f"{item.meter} stands twice"))
        if not item.quantities:
            where = f"usage[{index}].quantities"
            violations.append(Violation(where, "MISSING", "expected at least one quantity"))
        document[item.meter] = [
            q.quantity
            if q.match_all
            else {"quantity": q.quantity, "dimensions": dict(q.dimensions)}
            for q in item.quantities
        ]
    if violations:
        raise InvalidRequest(violations)
    return document


def parse_plan_name(name: str, field: str) -> tuple[str, int]:
    """Return (plan id, version or 0) of `plans/{id}` or `plans/{id}/versions/{version}`."""
    match name.split("/"):
        case ["plans", plan_id] if plan_id:
            return plan_id, 0
        case ["plans", plan_id, "versions", version] if plan_id and _is_version(version):
            return plan_id, int(version)
    raise invalid(field, "BAD_NAME", "expected plans/{id} or plans/{id}/versions/{version}")


def parse_meter_name(name: str, field: str) -> str:
    """Return the id of `meters/{id}`."""
    match name.split("/"):
        case ["meters", meter_id] if meter_id:
            return meter_id
    raise invalid(field, "BAD_NAME", "expected meters/{id}")


def _is_version(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 9 and int(text) > 0
