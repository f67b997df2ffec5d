"""The plan version that a subscription is put on, with the customer's own prices (S8.6)."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from rating_core.catalog import Plan
from rating_core.contract.hours import hours_differ
from rating_core.contract.usage import PlanRef
from rating_core.errors import PlanInvalid
from rating_core.metering.catalogue_calls import GetPlan, StoredPlan
from rating_core.plan.overrides import OVERRIDES_BYTES_MAX, read_overrides
from rating_core.zone import ZoneTable
from rating_server.documents import DocumentError, parse_json
from rating_server.usecases.context import Context, plan_not_found, reach
from rating_server.usecases.failure import (
    Failure,
    InvalidRequest,
    Violation,
    invalid,
)


@dataclass(frozen=True, slots=True)
class ChosenPlan:
    """A plan version with a customer's own prices, and what names it."""

    plan: Plan
    ref: PlanRef


async def choose_plan(
    context: Context, plan_id: str, version: int, start: int, overrides: str, field: str
) -> ChosenPlan:
    """Return a plan version; version 0 is the one in force for new subscriptions at ``start``, µs.

    ``overrides`` is the JSON of a patch as `read_overrides` takes it, empty for none; ``field`` is
    the request's. Failure PLAN_NOT_FOUND; InvalidRequest PLAN_INVALID with all faults of the patch.
    """
    if not version:
        found: StoredPlan | None = await reach(
            context.store.catalogue_ask(GetPlan(plan_id, start=start))
        )
        if found is None:
            raise plan_not_found(plan_id)
        version = found.version
    standing = await context.plan(plan_id, version)
    if not overrides:
        return ChosenPlan(standing.plan, PlanRef(plan_id, version))
    if len(overrides.encode(errors="surrogatepass")) > OVERRIDES_BYTES_MAX:
        raise invalid(field, "TOO_LARGE", f"expected at most {OVERRIDES_BYTES_MAX} bytes")
    try:
        patch = parse_json(overrides, "-")
        text, plan = await asyncio.to_thread(read_overrides, standing.plan, patch, field)
    except DocumentError as error:
        raise invalid(field, "NOT_A_DOCUMENT", error.message) from None
    except PlanInvalid as error:
        faults = [Violation(fault.path, fault.reason, fault.message) for fault in error.faults]
        raise InvalidRequest(faults, "PLAN_INVALID") from None
    return ChosenPlan(plan, PlanRef(plan_id, version, text))


def check_hours(plan: Plan, zone: ZoneTable | None, start: int) -> None:
    """Raise the Failure HOURS_DIFFER where a zone cannot have a plan's hours from ``start`` on."""
    why = hours_differ(plan, zone, start)
    if why is not None:
        raise Failure("HOURS_DIFFER", why)
