"""Publish a plan version."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

from rating_core.metering import catalogue
from rating_core.plan_document import plan_to_document
from rating_server.usecases.check_plan import check_plan
from rating_server.usecases.context import Context, check_request_id, reach
from rating_server.usecases.control import answered
from rating_server.usecases.failure import InvalidRequest, Violation


@dataclass(frozen=True, slots=True)
class Published:
    """The stored plan version, what looks like a mistake in it, and whether this is a replay."""

    stored: catalogue.StoredPlan
    warnings: list[str]
    replayed: bool


async def create_plan(
    context: Context, document: Mapping[str, object], request_id: str
) -> Published:
    """Publish a plan whose examples come out as stated (S2.3), as its id's next version.

    InvalidRequest names every fault, or every example that differs.
    """
    check_request_id(request_id)
    await reach(context.store.refresh_catalogue())
    check = await asyncio.to_thread(check_plan, document, context.minor_unit, context.store.meters)
    if check.faults:
        faults = [Violation(f"plan.{f.path}", f.reason, f.message) for f in check.faults]
        raise InvalidRequest(faults, "PLAN_INVALID")
    if check.plan is None or not check.publishable:
        failed = [
            Violation(f"plan.examples[{index}]", "EXAMPLE_FAILED", "; ".join(differences))
            for index, differences in enumerate(check.examples)
            if differences
        ]
        raise InvalidRequest(failed, "EXAMPLE_FAILED")
    call = catalogue.CreatePlan(document=plan_to_document(check.plan), request_id=request_id)
    answer = answered(await reach(context.store.catalogue_call(call)), plan=check.plan.id)
    value = answer.value
    stored = catalogue.StoredPlan(
        check.plan.id, value["version"], value["plan"], value["create_time"]
    )
    return Published(stored, check.warnings, answer.replayed)
