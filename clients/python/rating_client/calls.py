"""Every unary call as a value: which method, which request, and how its answer is read.

Shared by `Client` and `AsyncClient`, which only send them.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from fractions import Fraction
from typing import Any, Generic, TypeVar

from google.protobuf.descriptor import EnumDescriptor
from google.protobuf.timestamp_pb2 import Timestamp

from ratewright.document import plan_from_document
from ratewright.v1 import plan_pb2, statement_pb2
from ratewright.v1 import usage_service_pb2 as usage_api
from rating_client.values import (
    Counter,
    CounterBand,
    RecordOutcome,
    Usage,
    UsageRecord,
    from_micros,
    outcome,
    to_micros,
    to_text,
)

Answer = TypeVar("Answer")

PlanLike = plan_pb2.Plan | Mapping[str, Any]
"""A plan: the message, or a document of S2."""

VERSION_MAX = 2**31 - 1
"""Greatest version that a plan can have."""


@dataclass(frozen=True, slots=True)
class Call(Generic[Answer]):
    """One unary call: ``method`` as `Service/Method`, and ``read`` from its response."""

    method: str
    request: Any
    response: Any
    read: Callable[[Any], Answer]


@dataclass(frozen=True, slots=True)
class Page(Generic[Answer]):
    """One page of a list; ``next_token`` is empty at the end."""

    items: tuple[Answer, ...]
    next_token: str


def timestamp_of(instant: datetime | None, what: str) -> Timestamp | None:
    """Return an instant as a message; ValueError if it is not aware."""
    if instant is None:
        return None
    seconds, micros = divmod(to_micros(instant, what), 1_000_000)
    return Timestamp(seconds=seconds, nanos=micros * 1_000)


def instant_of(message: Any, field: str) -> Any:
    """Return the instant of a field as an aware datetime, ``None`` if it is not set."""
    if not message.HasField(field):
        return None
    stamp = getattr(message, field)
    return from_micros(stamp.seconds * 1_000_000 + stamp.nanos // 1_000)


def word_of(enum: EnumDescriptor, number: int) -> str:
    """Return the lower-case word of an enum value; "" for one that this client does not know."""
    value = enum.values_by_number.get(number)
    prefix = enum.values_by_number[0].name.removesuffix("UNSPECIFIED")
    return "" if value is None else value.name.removeprefix(prefix).lower()


def maybe_decimal(text: str) -> Decimal | None:
    """Return a number, ``None`` for an empty text."""
    return Decimal(text) if text else None


def whole_answer(response: Any) -> Any:
    """Return a response as it is."""
    return response


def fresh_request_id(given: str | None) -> str:
    """Return the caller's request id, or a new one, which makes retrying a creation safe."""
    return str(uuid.uuid4()) if given is None else given


def plan_name(plan_id: str, version: int | None) -> str:
    """Return the resource name of a plan, by default its latest version; names stay."""
    name = plan_id if plan_id.startswith("plans/") else f"plans/{plan_id}"
    return name if version is None else f"{name}/versions/{version}"


def plan_message(plan: PlanLike) -> plan_pb2.Plan:
    """Return a plan as a message; PlanDocumentError for a faulty document."""
    return plan if isinstance(plan, plan_pb2.Plan) else plan_from_document(plan)


def read_counter(counter: statement_pb2.Counter) -> Counter:
    """Return a counter of the wire as a value."""
    bands = tuple(
        CounterBand(
            band.charge,
            band.floor_event_count,
            band.ceiling_event_count,
            Decimal(band.between_sum or "0"),
        )
        for band in counter.bands
    )
    return Counter(
        meter=counter.meter,
        dimensions=dict(counter.dimensions),
        value=Decimal(counter.value or "0"),
        event_count=counter.event_count,
        bands=bands,
        match_all=counter.match_all,
        latest_time=instant_of(counter, "latest_time"),
        exact_value=Fraction(counter.exact_value) if counter.exact_value else None,
        aggregation=word_of(plan_pb2.Aggregation.DESCRIPTOR, counter.aggregation),
        scale=counter.scale,
    )


def _stated(pairs: Mapping[str, str]) -> dict[str, str]:
    """Leave out empty values, which are the same as lacking ones (S6.1), as writers do."""
    return {name: value for name, value in pairs.items() if value != ""}


def record_usage(records: Iterable[UsageRecord]) -> Call[list[RecordOutcome]]:
    """Return the call of RecordUsage; ValueError or TypeError for what no message can hold."""
    request = usage_api.RecordUsageRequest(
        records=[
            usage_api.UsageRecord(
                event_id=record.event_id,
                customer=record.customer,
                meter=record.meter,
                quantity=to_text(record.quantity, "quantity"),
                event_time=timestamp_of(record.event_time, "event_time"),
                dimensions=_stated(record.dimensions),
                attributes=_stated(record.attributes),
                retraction=record.retraction,
            )
            for record in records
        ]
    )
    return Call(
        "UsageService/RecordUsage",
        request,
        usage_api.RecordUsageResponse,
        lambda answer: [outcome(result.status, result.reason) for result in answer.results],
    )


def _read_usage(answer: usage_api.GetUsageResponse) -> Usage:
    return Usage(
        customer=answer.customer,
        subscription_id=answer.subscription_id,
        period_start=instant_of(answer, "period_start"),
        period_end=instant_of(answer, "period_end"),
        counters=tuple(read_counter(counter) for counter in answer.counters),
        log_version=answer.log_version,
    )


def get_usage(customer: str, time: datetime | None) -> Call[Usage]:
    """Return the call of GetUsage."""
    request = usage_api.GetUsageRequest(customer=customer, time=timestamp_of(time, "time"))
    return Call("UsageService/GetUsage", request, usage_api.GetUsageResponse, _read_usage)
