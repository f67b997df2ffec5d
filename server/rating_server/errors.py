"""One table: failure reason → gRPC code; and the status that goes out (AIP-193).

Every error carries ErrorInfo (reason, domain, metadata); bad input also BadRequest with every
violation at once; what may be tried again also RetryInfo.
"""

from __future__ import annotations

import grpc
from google.protobuf import any_pb2
from google.protobuf.duration_pb2 import Duration
from google.rpc import error_details_pb2, status_pb2

from rating_core.errors import OutOfRange, PlanInvalid, UsageInvalid
from rating_server.usecases.failure import Failure, InvalidRequest, Violation

DOMAIN = "ratewright.v1"
RETRY_DELAY_MS = 250
_MESSAGE_MAX = 1_000
_DETAILS_BYTES_MAX = 5_000
"""gRPC peers drop responses whose trailing metadata exceeds 8 KiB; base64 takes a third more."""

CODES: dict[str, grpc.StatusCode] = {
    "REQUEST_UNPARSABLE": grpc.StatusCode.INVALID_ARGUMENT,
    "REQUEST_INVALID": grpc.StatusCode.INVALID_ARGUMENT,
    "BATCH_INVALID": grpc.StatusCode.INVALID_ARGUMENT,
    "PLAN_INVALID": grpc.StatusCode.INVALID_ARGUMENT,
    "USAGE_INVALID": grpc.StatusCode.INVALID_ARGUMENT,
    "EXAMPLE_FAILED": grpc.StatusCode.INVALID_ARGUMENT,
    "OUT_OF_RANGE": grpc.StatusCode.OUT_OF_RANGE,
    "METER_NOT_FOUND": grpc.StatusCode.NOT_FOUND,
    "PLAN_NOT_FOUND": grpc.StatusCode.NOT_FOUND,
    "SUBSCRIPTION_NOT_FOUND": grpc.StatusCode.NOT_FOUND,
    "STATEMENT_NOT_FOUND": grpc.StatusCode.NOT_FOUND,
    "GRANT_NOT_FOUND": grpc.StatusCode.NOT_FOUND,
    "PERIOD_NOT_FOUND": grpc.StatusCode.NOT_FOUND,
    "NO_SUBSCRIPTION": grpc.StatusCode.NOT_FOUND,
    "PERIOD_NOT_NEXT": grpc.StatusCode.FAILED_PRECONDITION,
    "PERIOD_NOT_ENDED": grpc.StatusCode.FAILED_PRECONDITION,
    "NOTHING_TO_CORRECT": grpc.StatusCode.FAILED_PRECONDITION,
    "HISTORY_TRIMMED": grpc.StatusCode.FAILED_PRECONDITION,
    "ID_RESERVED": grpc.StatusCode.INVALID_ARGUMENT,
    "ID_TAKEN": grpc.StatusCode.ALREADY_EXISTS,
    "AMOUNT_PRECISION": grpc.StatusCode.INVALID_ARGUMENT,
    "UNKNOWN_CHARGE": grpc.StatusCode.INVALID_ARGUMENT,
    "ALREADY_EXISTS": grpc.StatusCode.ALREADY_EXISTS,
    "UNKNOWN_METER": grpc.StatusCode.FAILED_PRECONDITION,
    "METER_MISMATCH": grpc.StatusCode.FAILED_PRECONDITION,
    "EFFECTIVE_TOO_SOON": grpc.StatusCode.FAILED_PRECONDITION,
    "HOURS_DIFFER": grpc.StatusCode.FAILED_PRECONDITION,
    "CURRENCY_DIFFERS": grpc.StatusCode.FAILED_PRECONDITION,
    "BILLING_PERIOD_DIFFERS": grpc.StatusCode.FAILED_PRECONDITION,
    "ROUNDING_DIFFERS": grpc.StatusCode.FAILED_PRECONDITION,
    "SUBSCRIPTION_OVERLAP": grpc.StatusCode.FAILED_PRECONDITION,
    "NOT_SUBSCRIBED": grpc.StatusCode.FAILED_PRECONDITION,
    "ALREADY_CANCELLED": grpc.StatusCode.FAILED_PRECONDITION,
    "PERIOD_FINALIZED": grpc.StatusCode.FAILED_PRECONDITION,
    "LOG_TRIMMED": grpc.StatusCode.FAILED_PRECONDITION,
    "CUSTOMER_BUSY": grpc.StatusCode.ABORTED,
    "REQUEST_ID_REUSED": grpc.StatusCode.ALREADY_EXISTS,
    "PRODUCER_FENCED": grpc.StatusCode.FAILED_PRECONDITION,
    "SEQUENCE_GAP": grpc.StatusCode.FAILED_PRECONDITION,
    "SEQUENCE_TOO_FAR": grpc.StatusCode.FAILED_PRECONDITION,
    "SEQUENCE_CONFLICT": grpc.StatusCode.ALREADY_EXISTS,
    "SEQUENCE_LOST": grpc.StatusCode.UNAVAILABLE,
    "SPOOL_OVERTAKEN": grpc.StatusCode.FAILED_PRECONDITION,
    "TOO_MANY_PRODUCERS": grpc.StatusCode.FAILED_PRECONDITION,
    "STORE_UNAVAILABLE": grpc.StatusCode.UNAVAILABLE,
    "STORE_FULL": grpc.StatusCode.RESOURCE_EXHAUSTED,
    "TOO_MUCH_IN_FLIGHT": grpc.StatusCode.RESOURCE_EXHAUSTED,
    "CLOCK_REFUSED": grpc.StatusCode.UNAVAILABLE,
    "DRAINING": grpc.StatusCode.UNAVAILABLE,
    "INTERNAL": grpc.StatusCode.INTERNAL,
}

_RETRYABLE = frozenset({grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED})


def failure_of(error: Exception) -> Failure:
    """Return the failure that stands for any exception of a use case."""
    if isinstance(error, Failure):
        return error
    if isinstance(error, PlanInvalid):
        faults = [Violation(f"plan.{f.path}", f.reason, f.message) for f in error.faults]
        return InvalidRequest(faults, "PLAN_INVALID")
    if isinstance(error, UsageInvalid):
        faults = [Violation(f.path, f.reason, f.message) for f in error.faults]
        return InvalidRequest(faults, "USAGE_INVALID")
    if isinstance(error, OutOfRange):
        return Failure("OUT_OF_RANGE", str(error))
    return Failure("INTERNAL", "an error of the server; its log tells more")


def code_of(failure: Failure) -> grpc.StatusCode:
    """Return the canonical code of a failure; a reason that the table lacks is INTERNAL."""
    return CODES.get(failure.reason, grpc.StatusCode.INTERNAL)


def status_of(failure: Failure) -> status_pb2.Status:
    """Return the google.rpc.Status of a failure, with its details.

    Violations beyond what trailing metadata can carry are counted in the ErrorInfo's metadata as
    `violations_omitted`; CheckPlan returns all faults of a plan, however many.
    """
    code = code_of(failure)
    metadata = {key: value[:255] for key, value in failure.metadata.items()}
    details: list[any_pb2.Any] = []
    if isinstance(failure, InvalidRequest):
        bad = _bad_request(failure.violations)
        omitted = len(failure.violations) - len(bad.field_violations)
        if omitted:
            metadata["violations_omitted"] = str(omitted)
        details.append(_packed(bad))
    if code in _RETRYABLE:
        delay = Duration(nanos=RETRY_DELAY_MS * 1_000_000)
        details.append(_packed(error_details_pb2.RetryInfo(retry_delay=delay)))
    info = error_details_pb2.ErrorInfo(reason=failure.reason, domain=DOMAIN, metadata=metadata)
    return status_pb2.Status(
        code=code.value[0],
        message=failure.message[:_MESSAGE_MAX],
        details=[_packed(info), *details],
    )


def _bad_request(violations: tuple[Violation, ...]) -> error_details_pb2.BadRequest:
    bad = error_details_pb2.BadRequest()
    size = 0
    for violation in violations:
        added = error_details_pb2.BadRequest.FieldViolation(
            field=violation.field[:255], description=violation.message, reason=violation.reason
        )
        size += added.ByteSize() + 4
        if size > _DETAILS_BYTES_MAX:
            break
        bad.field_violations.append(added)
    return bad


def _packed(
    message: error_details_pb2.ErrorInfo
    | error_details_pb2.BadRequest
    | error_details_pb2.RetryInfo,
) -> any_pb2.Any:
    packed = any_pb2.Any()
    packed.Pack(message)
    return packed
