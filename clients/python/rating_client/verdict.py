"""What the end of a stream means for the batches that were under way."""

from __future__ import annotations

from enum import Enum

import grpc

from rating_client.errors import RatewrightError

_REFUSED_CODES = frozenset(
    {
        grpc.StatusCode.INVALID_ARGUMENT,
        grpc.StatusCode.OUT_OF_RANGE,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
    }
)
_TRANSPORT_CODES = frozenset({grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN})
_TRANSPORT_WORDS = (
    "RST_STREAM",
    "GOAWAY",
    "Stream removed",
    "Connection reset",
    "Broken pipe",
    "Internal error from Core",  # grpc.aio: a write met the end of the stream, and hides its status
)


_LOCAL_WORDS = ("Channel closed", "Locally cancelled")


def server_went(error: RatewrightError) -> bool:
    """Whether a call met a server that was ending: it may be sent again, there or elsewhere.

    gRPC was seen to answer CANCELLED, without any words, to calls that arrive while it stops.
    """
    if error.code is grpc.StatusCode.UNAVAILABLE:
        return True
    cancelled = error.code is grpc.StatusCode.CANCELLED and not error.reason
    return cancelled and not any(word in error.message for word in _LOCAL_WORDS)


class Verdict(Enum):
    """What an error of the stream means for its batches."""

    RETRY = "retry"
    """Connect again and resend."""
    REFUSED = "refused"
    """One batch is at fault; it must not be sent again."""
    FATAL = "fatal"
    """Nothing that this writer sends will be taken."""


def verdict(error: RatewrightError) -> Verdict:
    """Return what a stream error means: only what may be retried is RETRY."""
    if server_went(error):
        return Verdict.RETRY
    if error.code is grpc.StatusCode.RESOURCE_EXHAUSTED and error.retry_after is not None:
        return Verdict.RETRY
    if error.code in _REFUSED_CODES:
        return Verdict.REFUSED
    # A connection that breaks in the middle of a stream can surface under these codes, always
    # without the ErrorInfo that every error of the server itself carries.
    broken = error.code in _TRANSPORT_CODES and not error.reason
    if broken and any(word in error.message for word in _TRANSPORT_WORDS):
        return Verdict.RETRY
    return Verdict.FATAL
