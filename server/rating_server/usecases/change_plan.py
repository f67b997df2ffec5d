"""Put a subscription on another plan version, or on other prices of its own (S8.2, S8.6)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rating_core.bands import plan_bands
from rating_core.catalog import Plan
from rating_core.metering.calls import ChangePlan, RecountedParts, Subscription
from rating_core.metering.contracts.subscription import subscription_from_facts
from rating_server.usecases.choose_plan import check_hours, choose_plan
from rating_server.usecases.context import (
    Context,
    customer_violations,
    request_id_violations,
)
from rating_server.usecases.control import answered
from rating_server.usecases.failure import Failure, Violation, require
from rating_server.usecases.read_subscriptions import get_subscription
from rating_server.usecases.recounted import recounted


@dataclass(frozen=True, slots=True)
class PlanChange:
    """A change as asked for: from ``effective_time`` (µs, None: now) on.

    Plan id "" is the plan that the subscription is on then, version 0 the one in force for new
    subscriptions; ``overrides``: JSON, empty for none.
    """

    customer: str
    subscription_id: str
    plan_id: str
    plan_version: int
    overrides: str
    effective_time: int | None


async def change_plan(
    context: Context, change: PlanChange, request_id: str, unread: Sequence[Violation] = ()
) -> tuple[Subscription, bool]:
    """Change the plan; return the subscription and whether the answer is a replay.

    The new plan has the billing period, currency and rounding of the present one, so that one
    statement can hold both parts (ADR 24). ``unread``: fields of the request whose value could not
    be read. InvalidRequest with all faults. Failures SUBSCRIPTION_NOT_FOUND, PLAN_NOT_FOUND,
    BILLING_PERIOD_DIFFERS, CURRENCY_DIFFERS, ROUNDING_DIFFERS, HOURS_DIFFER (S5.5), ID_TAKEN
    (S2.2), NOT_SUBSCRIBED, PERIOD_FINALIZED, REQUEST_ID_REUSED, and those of `recounted`.
    """
    require(unread, _violations(change, request_id))
    subscription = await get_subscription(context, change.customer, change.subscription_id)
    instant = context.now() if change.effective_time is None else change.effective_time
    present = subscription.phase_at(instant).plan_ref
    plan_id = change.plan_id or present.plan_id
    chosen = await choose_plan(
        context, plan_id, change.plan_version, instant, change.overrides, "overrides"
    )
    standing = await context.plan(present.plan_id, present.version)
    _check_alike(standing.plan, chosen.plan)
    check_hours(chosen.plan, subscription.zone, instant)

    def call_of(effective: int | None, recount: RecountedParts | None) -> ChangePlan:
        return ChangePlan(
            customer=change.customer,
            subscription_id=change.subscription_id,
            effective=change.effective_time if effective is None else effective,
            plan_id=plan_id,
            plan_version=chosen.ref.version,
            overrides=chosen.ref.overrides,
            billing_period=chosen.plan.billing_period,
            late_usage=chosen.plan.late_usage,
            bands=plan_bands(chosen.plan),
            recount=recount,
            request_id=request_id,
            asked={
                "customer": change.customer,
                "subscription_id": change.subscription_id,
                "plan_id": change.plan_id,
                "plan_version": change.plan_version,
                "overrides": change.overrides,
                "effective_time": change.effective_time,
            },
        )

    given = await recounted(context, change.customer, call_of)
    clash = {key: given.value[key] for key in ("id", "plan")} if given.reason == "ID_TAKEN" else {}
    named = {"customer": change.customer, "subscription_id": change.subscription_id}
    answer = answered(given, **named, **clash)
    return subscription_from_facts(answer.value), answer.replayed


def _violations(change: PlanChange, request_id: str) -> Iterator[Violation]:
    yield from customer_violations(change.customer, "name")
    yield from request_id_violations(request_id)
    if change.plan_version < 0:
        yield Violation("plan_version", "NEGATIVE", "expected 0 or more")


def _check_alike(standing: Plan, chosen: Plan) -> None:
    """Raise the Failure of plans that one statement cannot hold."""
    if standing.billing_period is not chosen.billing_period:
        reason, name = "BILLING_PERIOD_DIFFERS", "billing period"
    elif standing.currency != chosen.currency:
        reason, name = "CURRENCY_DIFFERS", "currency"
    elif standing.rounding != chosen.rounding:
        reason, name = "ROUNDING_DIFFERS", "rounding"
    else:
        return
    text = f"the plan has another {name} than the present one: cancel, and subscribe anew"
    raise Failure(reason, text)
