"""Get and list meters and plan versions."""

from __future__ import annotations

from rating_core.metering import catalogue_calls
from rating_server.usecases.context import Context, plan_not_found, reach
from rating_server.usecases.failure import Failure
from rating_server.usecases.page import page_of


async def get_meter(context: Context, meter_id: str) -> catalogue_calls.StoredMeter:
    """Return a meter; Failure METER_NOT_FOUND."""
    found: catalogue_calls.StoredMeter | None = await reach(
        context.store.catalogue_ask(catalogue_calls.GetMeter(meter_id))
    )
    if found is None:
        name = f"meters/{meter_id}"
        raise Failure("METER_NOT_FOUND", f"{name} does not exist", name=name)
    return found


async def list_meters(
    context: Context, page_size: int, page_token: str
) -> tuple[list[catalogue_calls.StoredMeter], str]:
    """Return a page of all meters by id, and the next page's token."""
    stored: tuple[catalogue_calls.StoredMeter, ...] = await reach(
        context.store.catalogue_ask(catalogue_calls.ListMeters())
    )
    return page_of(sorted(stored, key=_meter_key), _meter_key, page_size, page_token, ("meters",))


async def get_plan(context: Context, plan_id: str, version: int) -> catalogue_calls.StoredPlan:
    """Return a plan version, version 0 the latest; Failure PLAN_NOT_FOUND."""
    found: catalogue_calls.StoredPlan | None = await reach(
        context.store.catalogue_ask(catalogue_calls.GetPlan(plan_id, version))
    )
    if found is None:
        raise plan_not_found(plan_id, version)
    return found


async def list_plans(
    context: Context, plan_id: str | None, page_size: int, page_token: str
) -> tuple[list[catalogue_calls.StoredPlan], str]:
    """Return a page of the latest version of every plan, or of all versions of one."""
    stored: tuple[catalogue_calls.StoredPlan, ...] = await reach(
        context.store.catalogue_ask(catalogue_calls.ListPlans(plan_id))
    )
    if plan_id is None:
        stored = tuple({plan.plan_id: plan for plan in sorted(stored, key=_plan_key)}.values())
    scope = ("plans", plan_id)
    return page_of(sorted(stored, key=_plan_key), _plan_key, page_size, page_token, scope)


def _meter_key(stored: catalogue_calls.StoredMeter) -> str:
    return stored.meter.id


def _plan_key(stored: catalogue_calls.StoredPlan) -> str:
    return f"{stored.plan_id}@{stored.version:010d}"
