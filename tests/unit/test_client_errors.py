"""Typed errors of the client: from the rich status of a reply, and from its absence."""

from __future__ import annotations

import grpc
import pytest
from google.protobuf import any_pb2
from google.protobuf.duration_pb2 import Duration
from google.rpc import error_details_pb2, status_pb2

from rating_client import (
    Internal,
    InvalidArgument,
    OutOfRange,
    RatewrightError,
    ResourceExhausted,
    WriterClosed,
    catalogue_calls,
    errors,
    statement_calls,
    subscription_requests,
)
from rating_server import errors as server_errors
from rating_server.usecases.failure import Failure, InvalidRequest, Violation


class Reply(grpc.RpcError):
    """A failed call as grpc hands it out."""

    def __init__(self, code, details, trailing=()):
        self._values = (code, details, trailing)

    def code(self):
        """Return the canonical code."""
        return self._values[0]

    def details(self):
        """Return the message."""
        return self._values[1]

    def trailing_metadata(self):
        """Return the trailing metadata."""
        return self._values[2]


def _reply(failure: Failure) -> Reply:
    status = server_errors.status_of(failure)
    details = (("grpc-status-details-bin", status.SerializeToString()),)
    return Reply(server_errors.code_of(failure), status.message, details)


@pytest.mark.parametrize("reason", sorted(server_errors.CODES))
def test_the_servers_table_is_inverted(reason: str):
    """Every reason that the server can give arrives with its code, reason and metadata."""
    error = errors.error_from_rpc(_reply(Failure(reason, "in words", key="value")))
    assert error.code is server_errors.CODES[reason]
    assert error.reason == reason
    assert error.metadata["key"] == "value"
    assert error.message == "in words"
    assert type(error).__name__ == "".join(word.capitalize() for word in error.code.name.split("_"))
    retryable = error.code in (
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
    )
    assert error.retry_after == (0.25 if retryable else None)


def test_all_field_violations_arrive():
    """Every violation of a request is there, and in the text of the error."""
    failure = InvalidRequest(
        [Violation("plan.id", "BAD_ID", "expected an id"), Violation("plan.x", "UNKNOWN", "no")]
    )
    error = errors.error_from_rpc(_reply(failure))
    assert isinstance(error, InvalidArgument)
    assert [(fault.path, fault.reason) for fault in error.field_violations] == [
        ("plan.id", "BAD_ID"),
        ("plan.x", "UNKNOWN"),
    ]
    assert str(error).endswith(": plan.id: expected an id; plan.x: no")


def test_no_violation_is_said_twice():
    """The server's message names the first violations; the text adds those it does not name."""
    many = [Violation(f"f{number}", "BAD", "no") for number in range(7)]
    text = str(errors.error_from_rpc(_reply(InvalidRequest(many))))
    assert [text.count(f"f{number}: no") for number in range(7)] == [1] * 7
    inner = InvalidArgument(
        "plan.id: no", field_violations=(errors.FieldViolation("id", "BAD", "no"),)
    )
    assert str(inner).endswith(": plan.id: no; id: no")


def test_a_status_without_details():
    """What comes from the transport has a code and a message, and no reason."""
    error = errors.error_from_rpc(Reply(grpc.StatusCode.RESOURCE_EXHAUSTED, "too big"))
    assert isinstance(error, ResourceExhausted)
    assert (error.reason, error.retry_after, error.field_violations) == ("", None, ())
    assert str(error) == "RESOURCE_EXHAUSTED: too big"
    broken = Reply(grpc.StatusCode.UNKNOWN, "", (("grpc-status-details-bin", b"\xff"),))
    assert type(errors.error_from_rpc(broken)) is Internal


def test_every_code_has_a_class():
    """No code but OK falls through the table by chance; OUT_OF_RANGE is an InvalidArgument too."""
    for code in grpc.StatusCode:
        error = errors.error_from_rpc(Reply(code, "x"))
        assert error.code is code
        assert isinstance(error, RatewrightError)
    assert issubclass(OutOfRange, InvalidArgument)


def test_retry_delays_keep_their_fraction():
    """RetryInfo's seconds and nanoseconds are one number of seconds."""
    packed = any_pb2.Any()
    packed.Pack(error_details_pb2.RetryInfo(retry_delay=Duration(seconds=2, nanos=500_000_000)))
    status = status_pb2.Status(code=14, details=[packed])
    trailing = (("grpc-status-details-bin", status.SerializeToString()),)
    error = errors.error_from_rpc(Reply(grpc.StatusCode.UNAVAILABLE, "x", trailing))
    assert error.retry_after == 2.5


def test_a_writer_error_carries_its_cause():
    """WriterClosed has the code and reason of what stopped the writer, which is its cause."""
    cause = ResourceExhausted("full", code=grpc.StatusCode.RESOURCE_EXHAUSTED, reason="STORE_FULL")
    error = WriterClosed.because("the writer stopped", cause)
    assert (error.code, error.reason) == (cause.code, "STORE_FULL")
    assert error.__cause__ is cause
    assert WriterClosed.because("stopped", KeyError("x")).code is grpc.StatusCode.ABORTED


def test_creations_always_carry_a_request_id():
    """The client makes a request id where none is given, so that a retry creates nothing twice."""
    first = catalogue_calls.create_meter("m", "sum", "", 0, (), None).request.request_id
    second = catalogue_calls.create_meter("m", "sum", "", 0, (), None).request.request_id
    assert len(first) == len(second) == 36
    assert first != second
    assert catalogue_calls.create_plan({"id": "p"}, "mine").request.request_id == "mine"
    terms = subscription_requests.SubscriptionTerms()
    call = subscription_requests.create_subscription("c", "p", None, None, "", terms, None)
    assert len(call.request.request_id) == 36


def test_calls_refuse_what_no_message_can_hold():
    """Unknown aggregations, and a version with a whole plan, are errors before any call."""
    with pytest.raises(ValueError, match="expected sum, count, max"):
        catalogue_calls.create_meter("m", "median", "", 0, (), None)
    with pytest.raises(ValueError, match="version"):
        statement_calls.rate_usage({"id": "p"}, {}, 2)
    terms = subscription_requests.SubscriptionTerms()
    for version in (0, 2**31):
        with pytest.raises(ValueError, match="plan_version: expected 1 to"):
            subscription_requests.create_subscription("c", "p", version, None, "", terms, None)
    assert catalogue_calls.get_plan("p", 3).request.name == "plans/p/versions/3"
    assert catalogue_calls.get_plan("plans/p", None).request.name == "plans/p"
