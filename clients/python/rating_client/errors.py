"""Typed errors: the server's table of codes and reasons, inverted.

RatewrightError              code, reason, metadata, message, field_violations, retry_after
├── InvalidArgument          the request is wrong; `field_violations` names every fault
│   └── OutOfRange           a number does not fit (S1.2)
├── NotFound
├── AlreadyExists            also: a request_id that was used for another body
├── FailedPrecondition       the request is right, but not now
├── PermissionDenied
├── Unauthenticated
├── Aborted
├── ResourceExhausted        a limit; `retry_after` says when to try again, if ever
├── Unavailable              no server, no store, or it is going down: try again
├── DeadlineExceeded         no answer in time: the outcome is unknown
├── Cancelled
├── Unimplemented            the server is older than this client
├── Internal                 a fault of the server (also DATA_LOSS and UNKNOWN)
└── WriterError              of a usage writer; carries the code of what caused it
    ├── BatchFailed          the server refused a whole batch, or it was given up
    ├── WriterClosed         the writer was closed, or stopped by an error
    └── SpoolError           of a writer's spool: locked, of another producer, damaged
        └── SpoolFull        the spool or its disk has no room; nothing was taken
PlanDocumentError(ValueError)  a plan or usage document with faults, found before any call
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import grpc
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2

_DETAILS_KEY = "grpc-status-details-bin"
_NO_METADATA: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class FieldViolation:
    """One fault of a request: the field's path, the kind (UPPER_SNAKE, may be ""), and in words."""

    path: str
    reason: str
    message: str


class RatewrightError(Exception):
    """Base of all errors of a call.

    ``code`` is the canonical gRPC code; ``reason`` the UPPER_SNAKE word of the server's ErrorInfo,
    "" if the error did not come from the server itself; ``metadata`` what it says further;
    ``retry_after`` the seconds after which trying again makes sense, ``None`` if not stated.
    """

    def __init__(
        self,
        message: str,
        *,
        code: grpc.StatusCode = grpc.StatusCode.UNKNOWN,
        reason: str = "",
        metadata: Mapping[str, str] = _NO_METADATA,
        field_violations: tuple[FieldViolation, ...] = (),
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.reason = reason
        self.metadata = metadata
        self.field_violations = field_violations
        self.retry_after = retry_after

    def __str__(self) -> str:
        """Return code, reason and message in one line, and every violation it does not name."""
        head = f"{self.code.name} {self.reason}".strip()
        faults = [f"{fault.path}: {fault.message}" for fault in self.field_violations]
        named = f"; {self.message};"  # the server joins the first faults to its message
        more = "".join(f"; {fault}" for fault in faults if f"; {fault};" not in named)
        return f"{head}: {self.message}{more}"


class InvalidArgument(RatewrightError):
    """The request is wrong, whatever the state of the server."""


class OutOfRange(InvalidArgument):
    """A number or amount does not fit its range (S1.2)."""


class NotFound(RatewrightError):
    """What the request names does not exist."""


class AlreadyExists(RatewrightError):
    """It exists with another content, or the request_id was used for another body."""


class FailedPrecondition(RatewrightError):
    """The request is right, but the state of the server does not allow it."""


class PermissionDenied(RatewrightError):
    """The caller may not do this."""


class Unauthenticated(RatewrightError):
    """The caller is not known."""


class Aborted(RatewrightError):
    """Another change came first."""


class ResourceExhausted(RatewrightError):
    """A limit is reached; ``retry_after`` is set where waiting helps."""


class Unavailable(RatewrightError):
    """The server or its store cannot be reached now."""


class DeadlineExceeded(RatewrightError):
    """No answer within the deadline; the outcome is unknown."""


class Cancelled(RatewrightError):
    """The call was cancelled."""


class Unimplemented(RatewrightError):
    """The server does not know the method."""


class Internal(RatewrightError):
    """A fault of the server."""


class WriterError(RatewrightError):
    """Base of the errors of a usage writer."""

    @classmethod
    def because(cls, message: str, cause: BaseException) -> WriterError:
        """Return the error that carries the code, reason and details of ``cause``."""
        if not isinstance(cause, RatewrightError):
            error = cls(f"{message}: {cause!r}", code=grpc.StatusCode.ABORTED)
        else:
            error = cls(
                f"{message}: {cause.message}",
                code=cause.code,
                reason=cause.reason,
                metadata=cause.metadata,
                field_violations=cause.field_violations,
                retry_after=cause.retry_after,
            )
        error.__cause__ = cause
        return error


class BatchFailed(WriterError):
    """The server refused a whole batch, or it was given up after the time that was set."""


class WriterClosed(WriterError):
    """The writer takes no more records: it was closed, or an error stopped it."""


class SpoolError(WriterError):
    """A writer's spool cannot be used: SPOOL_LOCKED, SPOOL_MISMATCH, SPOOL_DAMAGED, SPOOL_FAILED.

    Raised by a write, it says that nothing was taken; what was taken before is still there.
    """


class SpoolFull(SpoolError):
    """The spool (SPOOL_FULL) or its disk (SPOOL_DISK_FULL) has no room; nothing was taken."""


_CLASSES: Mapping[grpc.StatusCode, type[RatewrightError]] = {
    grpc.StatusCode.INVALID_ARGUMENT: InvalidArgument,
    grpc.StatusCode.OUT_OF_RANGE: OutOfRange,
    grpc.StatusCode.NOT_FOUND: NotFound,
    grpc.StatusCode.ALREADY_EXISTS: AlreadyExists,
    grpc.StatusCode.FAILED_PRECONDITION: FailedPrecondition,
    grpc.StatusCode.PERMISSION_DENIED: PermissionDenied,
    grpc.StatusCode.UNAUTHENTICATED: Unauthenticated,
    grpc.StatusCode.ABORTED: Aborted,
    grpc.StatusCode.RESOURCE_EXHAUSTED: ResourceExhausted,
    grpc.StatusCode.UNAVAILABLE: Unavailable,
    grpc.StatusCode.DEADLINE_EXCEEDED: DeadlineExceeded,
    grpc.StatusCode.CANCELLED: Cancelled,
    grpc.StatusCode.UNIMPLEMENTED: Unimplemented,
    grpc.StatusCode.INTERNAL: Internal,
    grpc.StatusCode.DATA_LOSS: Internal,
    grpc.StatusCode.UNKNOWN: Internal,
}


def _details(trailing_metadata: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """Return the arguments of RatewrightError that the rich status of a reply holds."""
    found: dict[str, Any] = {}
    raw = next((value for key, value in trailing_metadata if key == _DETAILS_KEY), None)
    if not isinstance(raw, bytes):
        return found
    try:
        status = status_pb2.Status.FromString(raw)
        for detail in status.details:
            info = error_details_pb2.ErrorInfo()
            bad = error_details_pb2.BadRequest()
            retry = error_details_pb2.RetryInfo()
            if detail.Unpack(info):
                found["reason"] = info.reason
                found["metadata"] = MappingProxyType(dict(info.metadata))
            elif detail.Unpack(bad):
                found["field_violations"] = tuple(
                    FieldViolation(fault.field, fault.reason, fault.description)
                    for fault in bad.field_violations
                )
            elif detail.Unpack(retry):
                delay = retry.retry_delay
                found["retry_after"] = delay.seconds + delay.nanos / 1e9
    except (DecodeError, ValueError):  # a proxy may put anything there
        return found
    return found


def error_from_rpc(error: grpc.RpcError) -> RatewrightError:
    """Return the typed error of a failed call, of grpc or of grpc.aio, with all its details."""
    call: Any = error
    code = call.code() or grpc.StatusCode.UNKNOWN
    message = call.details() or code.name
    details = _details(call.trailing_metadata() or ())
    return _CLASSES.get(code, Internal)(message, code=code, **details)
