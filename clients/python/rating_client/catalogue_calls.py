"""The unary calls of CatalogService as values; see `calls`."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from ratewright.v1 import catalog_service_pb2 as catalog
from ratewright.v1 import plan_pb2
from rating_client.calls import (
    Call,
    Page,
    PlanLike,
    fresh_request_id,
    plan_message,
    plan_name,
    timestamp_of,
    whole_answer,
)


def create_meter(
    meter_id: str,
    aggregation: str,
    unit: str,
    scale: int,
    dimensions: Iterable[str],
    request_id: str | None,
    of: str = "",
    per: str = "",
    buckets: str = "",
) -> Call[catalog.CreateMeterResponse]:
    """Return the call of CreateMeter (S6.3); ValueError for a word that is no choice."""
    meter = plan_pb2.Meter(
        id=meter_id,
        aggregation=number_of(plan_pb2.Aggregation, "aggregation", aggregation),
        unit=unit,
        scale=scale,
        dimensions=dimensions,
        of=of,
        per=number_of(plan_pb2.LevelUnit, "per", per) if per else None,
        buckets=number_of(plan_pb2.BucketLength, "buckets", buckets) if buckets else None,
    )
    request = catalog.CreateMeterRequest(meter=meter, request_id=fresh_request_id(request_id))
    return Call("CatalogService/CreateMeter", request, catalog.CreateMeterResponse, whole_answer)


def number_of(enum: Any, what: str, word: str) -> Any:
    """Return the value of an enum by its lower-case word."""
    prefix = enum.DESCRIPTOR.values_by_number[0].name.removesuffix("UNSPECIFIED")
    words = {v.name.removeprefix(prefix).lower(): v for v in enum.DESCRIPTOR.values if v.number}
    if word not in words:
        raise ValueError(f"{what}: expected {', '.join(words)}; got {word!r}")
    return words[word].number


def get_meter(meter_id: str) -> Call[plan_pb2.Meter]:
    """Return the call of GetMeter."""
    request = catalog.GetMeterRequest(name=f"meters/{meter_id}")
    return Call(
        "CatalogService/GetMeter", request, catalog.GetMeterResponse, lambda answer: answer.meter
    )


def list_meters(page_size: int, token: str) -> Call[Page[plan_pb2.Meter]]:
    """Return the call for one page of ListMeters."""
    request = catalog.ListMetersRequest(page_size=page_size, page_token=token)
    return Call(
        "CatalogService/ListMeters",
        request,
        catalog.ListMetersResponse,
        lambda answer: Page(tuple(answer.meters), answer.next_page_token),
    )


def create_plan(
    plan: PlanLike,
    request_id: str | None,
    effective_time: datetime | None = None,
    existing_effective_time: datetime | None = None,
) -> Call[catalog.CreatePlanResponse]:
    """Return the call of CreatePlan; ValueError for an instant that is not aware."""
    request = catalog.CreatePlanRequest(
        plan=plan_message(plan),
        request_id=fresh_request_id(request_id),
        effective_time=timestamp_of(effective_time, "effective_time"),
        existing_effective_time=timestamp_of(existing_effective_time, "existing_effective_time"),
    )
    return Call("CatalogService/CreatePlan", request, catalog.CreatePlanResponse, whole_answer)


def get_plan(plan_id: str, version: int | None) -> Call[plan_pb2.Plan]:
    """Return the call of GetPlan."""
    request = catalog.GetPlanRequest(name=plan_name(plan_id, version))
    return Call(
        "CatalogService/GetPlan", request, catalog.GetPlanResponse, lambda answer: answer.plan
    )


def list_plans(plan_id: str | None, page_size: int, token: str) -> Call[Page[plan_pb2.Plan]]:
    """Return the call for one page of ListPlans: of all plans, or the versions of one."""
    request = catalog.ListPlansRequest(
        parent="" if plan_id is None else plan_name(plan_id, None),
        page_size=page_size,
        page_token=token,
    )
    return Call(
        "CatalogService/ListPlans",
        request,
        catalog.ListPlansResponse,
        lambda answer: Page(tuple(answer.plans), answer.next_page_token),
    )


def check_plan(plan: PlanLike) -> Call[catalog.CheckPlanResponse]:
    """Return the call of CheckPlan."""
    request = catalog.CheckPlanRequest(plan=plan_message(plan))
    return Call("CatalogService/CheckPlan", request, catalog.CheckPlanResponse, whole_answer)
