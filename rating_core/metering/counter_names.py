"""Names of counter hashes and of their fields, as readers of Redis see them (log-format.md)."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from functools import lru_cache

from rating_core.metering.batch import DimensionSet

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@lru_cache(maxsize=4096)
def period_text(period_start: int) -> str:
    """Return the start of a period, µs, as ISO 8601 basic text: `20260101T000000Z`.

    A start inside a second, which only a stub period has (S8.1), shows its microseconds.
    """
    instant = _EPOCH + timedelta(microseconds=period_start)
    text = instant.strftime("%m%dT%H%M%S")
    fraction = f".{instant.microsecond:06d}" if instant.microsecond else ""
    return f"{instant.year:04d}{text}{fraction}Z"


def hash_key_of(customer: str, period_start: int) -> str:
    """Return the key of a counter hash, without the shard's prefix."""
    return f"c:{customer}:{period_text(period_start)}"


def parse_hash_key(key: str) -> tuple[str, int]:
    """Return (customer, period start) of a counter hash's key; ValueError if it is none."""
    kind, _, rest = key.partition(":")
    customer, separator, text = rest.rpartition(":")
    if kind != "c" or not separator:
        raise ValueError(f"not the key of a counter hash: {key!r}")
    form = "%Y%m%dT%H%M%S.%fZ" if "." in text else "%Y%m%dT%H%M%SZ"
    instant = datetime.strptime(text, form).replace(tzinfo=UTC)
    return customer, (instant - _EPOCH) // timedelta(microseconds=1)


def field_name(meter: str, dimensions: DimensionSet, *kind: str) -> str:
    """Return the field of a counter: JSON `["meter",[["dimension","value"],…],"kind"(,"charge")]`.

    Kinds: `value`, `events`; and for a charge with clamps `floor`, `ceiling`, `between` (S3.4).
    """
    return json.dumps([meter, dimensions, *kind], separators=(",", ":"), ensure_ascii=False)
