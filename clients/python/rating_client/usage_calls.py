"""Calls about the history of usage, as values; see `calls`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import datetime
from typing import Any

from ratewright.v1 import usage_service_pb2 as usage_api
from rating_client.calls import Call, Page, instant_of, read_counter, timestamp_of
from rating_client.values import UsageBucket, UsageRecord


def list_usage(
    customer: str,
    start_time: datetime | None,
    end_time: datetime | None,
    meter: str | None,
    page_size: int,
    token: str,
) -> Call[Page[UsageBucket]]:
    """Return the call for one page of ListUsage."""
    request = usage_api.ListUsageRequest(
        customer=customer,
        start_time=timestamp_of(start_time, "start_time"),
        end_time=timestamp_of(end_time, "end_time"),
        meter=meter or "",
        page_size=page_size,
        page_token=token,
    )
    return Call("UsageService/ListUsage", request, usage_api.ListUsageResponse, _read_buckets)


def _read_buckets(answer: Any) -> Page[UsageBucket]:
    buckets = tuple(
        UsageBucket(
            instant_of(bucket, "start_time"),
            instant_of(bucket, "end_time"),
            read_counter(bucket.counter),
        )
        for bucket in answer.buckets
    )
    return Page(buckets, answer.next_page_token)


def retractions(records: Iterable[UsageRecord]) -> Iterator[UsageRecord]:
    """Yield what takes the records back: each whole, flagged (S7.6)."""
    return (replace(record, retraction=True) for record in records)
