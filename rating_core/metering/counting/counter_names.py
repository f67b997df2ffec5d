"""Names of counters outside this process: keys of hashes and their fields (log-format.md)."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from functools import lru_cache

from rating_core.metering.batch import DimensionSet

COUNTER_HASH = "c"
BUCKET_HASH = "b"

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@lru_cache(maxsize=4096)
def period_text(period_start: int) -> str:
    """Return the start of a period or bucket, µs, as ISO 8601 basic text: `20260101T000000Z`.

    A start inside a second, which only a stub period has (S8.1), shows its microseconds.
    """
    instant = _EPOCH + timedelta(microseconds=period_start)
    text = instant.strftime("%m%dT%H%M%S")
    fraction = f".{instant.microsecond:06d}" if instant.microsecond else ""
    return f"{instant.year:04d}{text}{fraction}Z"


def hash_key_of(customer: str, period_start: int, kind: str = COUNTER_HASH) -> str:
    """Return the key of a hash of counters, or of time buckets, without the shard's prefix."""
    return f"{kind}:{customer}:{period_text(period_start)}"


def parse_hash_key(key: str) -> tuple[str, str, int]:
    """Return (kind, customer, period start) of a hash's key; ValueError if it is none."""
    kind, _, rest = key.partition(":")
    customer, separator, text = rest.rpartition(":")
    if kind not in (COUNTER_HASH, BUCKET_HASH) or not separator:
        raise ValueError(f"not the key of a counter hash: {key!r}")
    form = "%Y%m%dT%H%M%S.%fZ" if "." in text else "%Y%m%dT%H%M%SZ"
    instant = datetime.strptime(text, form).replace(tzinfo=UTC)
    return kind, customer, (instant - _EPOCH) // timedelta(microseconds=1)


def field_name(meter: str, dimensions: DimensionSet, *kind: str) -> str:
    """Return the field of a counter: JSON `["meter",[["dimension","value"],…],"kind"(,"of")]`.

    Kinds: `value`, `events`; `time` and `order` of a latest; `moment` of a weighted_sum; `seen`,
    with a value, of a unique_count; and with the id of a charge with clamps `floor`, `ceiling`,
    `between` (S3.4). In a hash of buckets the start of the bucket follows.
    """
    return json.dumps([meter, dimensions, *kind], separators=(",", ":"), ensure_ascii=False)


def order_number(order: bytes) -> int:
    """Return the integer that stands for an order key in a field: its bytes, big-endian."""
    return int.from_bytes(order, "big")


def order_key(number: int) -> bytes:
    """Return the order key that `order_number` made an integer of; it has no leading zero byte."""
    return number.to_bytes((number.bit_length() + 7) // 8, "big")
