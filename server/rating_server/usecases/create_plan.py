"""Publish a plan version."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

from rating_core.instant import format_instant
from rating_core.metering import catalogue, catalogue_calls
from rating_core.metering.calls import ControlAnswer
from rating_core.plan.document import plan_to_document
from rating_server.usecases.check_plan import check_plan
from rating_server.usecases.context import Context, check_request_id, reach
from rating_server.usecases.control import answered
from rating_server.usecases.failure import InvalidRequest, Violation
from rating_server.usecases.move_plans import try_move


@dataclass(frozen=True, slots=True)
class Published:
    """The stored plan version, what looks like a mistake in it, and whether this is a replay."""

    stored: catalogue_calls.StoredPlan
    warnings: list[str]
    replayed: bool


@dataclass(frozen=True, slots=True)
class Times:
    """From when on new subscriptions take a version, and when standing ones move to it (S8.6).

    In µs; ``None`` for always, and for never.
    """

    effective: int | None = None
    existing_effective: int | None = None


async def create_plan(
    context: Context, document: Mapping[str, object], times: Times, request_id: str
) -> Published:
    """Publish a plan whose examples come out as stated (S2.3), as its id's next version.

    InvalidRequest names every fault, or every example that differs. Failures EFFECTIVE_TOO_SOON,
    CURRENCY_DIFFERS, BILLING_PERIOD_DIFFERS, ROUNDING_DIFFERS (S8.6), UNKNOWN_METER,
    METER_MISMATCH, REQUEST_ID_REUSED. Standing subscriptions move before this returns, or where a
    shard does not answer, soon after (`move_plans`).
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
    call = catalogue_calls.CreatePlan(
        document=plan_to_document(check.plan),
        effective_time=times.effective,
        existing_effective_time=times.existing_effective,
        request_id=request_id,
    )
    answer: ControlAnswer = await reach(context.store.catalogue_call(call))
    more: dict[str, str] = {}
    if "earliest" in answer.value:
        more["earliest"] = format_instant(answer.value["earliest"])
    stored = catalogue.stored_plan_of(answered(answer, plan=check.plan.id, **more).value)
    if stored.moves:
        await try_move(context, stored)
    return Published(stored, check.warnings, answer.replayed)
