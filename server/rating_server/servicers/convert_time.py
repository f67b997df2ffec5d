"""Timestamps ↔ microseconds UTC; finer digits are cut (S1.5)."""

from __future__ import annotations

from google.protobuf.timestamp_pb2 import Timestamp

from rating_server.usecases.failure import Violation

_SECONDS_MIN = -62_135_596_800  # 0001-01-01
_SECONDS_MAX = 253_402_300_799  # 9999-12-31T23:59:59


def valid_timestamp(message: Timestamp) -> bool:
    """Whether a Timestamp is within years 1–9999 and its nanos within a second."""
    return _SECONDS_MIN <= message.seconds <= _SECONDS_MAX and 0 <= message.nanos <= 999_999_999


def from_proto_timestamp(message: Timestamp) -> int:
    """Return microseconds of a valid Timestamp."""
    return message.seconds * 1_000_000 + message.nanos // 1_000


def from_proto_instant(
    message: Timestamp, present: bool, field: str, violations: list[Violation]
) -> int | None:
    """Return microseconds, or None if the field is not set; notes an impossible one."""
    if not present:
        return None
    if not valid_timestamp(message):
        violations.append(Violation(field, "BAD_TIMESTAMP", "expected years 1 to 9999"))
        return None
    return from_proto_timestamp(message)


def to_proto_timestamp(micros: int) -> Timestamp:
    """Return the Timestamp of microseconds UTC."""
    seconds, rest = divmod(micros, 1_000_000)
    return Timestamp(seconds=seconds, nanos=rest * 1_000)
