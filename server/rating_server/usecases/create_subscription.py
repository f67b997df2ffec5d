"""Put a customer on a plan version."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from rating_core.bands import plan_bands
from rating_core.metering.calls import CreateSubscription, Subscription
from rating_core.metering.directory import subscription_from_facts
from rating_server.usecases.choose_plan import choose_plan
from rating_server.usecases.context import (
    Context,
    check_request_id,
    customer_violations,
    reach,
)
from rating_server.usecases.control import answered
from rating_server.usecases.failure import InvalidRequest, Violation

SUBSCRIPTION_ID_DEFAULT = "main"
_ID = re.compile(r"[a-z]([a-z0-9-]{0,61}[a-z0-9])?", re.ASCII)
_EARLIEST_START = 0
_LATEST_START = 253_370_764_800_000_000  # the year 9999


@dataclass(frozen=True, slots=True)
class NewSubscription:
    """A subscription as asked for. ``start_time`` in µs; None and version 0 take the default.

    ``overrides``: the customer's own prices, JSON, empty for none (S8.6).
    """

    customer: str
    subscription_id: str
    plan_id: str
    plan_version: int
    start_time: int | None
    overrides: str = ""


async def create_subscription(
    context: Context, new: NewSubscription, request_id: str
) -> tuple[Subscription, bool]:
    """Subscribe; return the subscription and whether the answer is a replay.

    InvalidRequest PLAN_INVALID for overrides that do not fit the plan (S8.6). Failures
    PLAN_NOT_FOUND, ALREADY_EXISTS, SUBSCRIPTION_OVERLAP (S7.7), REQUEST_ID_REUSED.
    """
    check_request_id(request_id)
    subscription_id = new.subscription_id or SUBSCRIPTION_ID_DEFAULT
    start = context.now() if new.start_time is None else new.start_time
    violations = list(_violations(new, subscription_id, start))
    if violations:
        raise InvalidRequest(violations)
    field = "subscription.overrides"
    chosen = await choose_plan(context, new.plan_id, new.plan_version, start, new.overrides, field)
    call = CreateSubscription(
        customer=new.customer,
        subscription_id=subscription_id,
        plan_id=new.plan_id,
        plan_version=chosen.ref.version,
        overrides=chosen.ref.overrides,
        billing_period=chosen.plan.billing_period,
        late_usage=chosen.plan.late_usage,
        start_time=start,
        bands=plan_bands(chosen.plan),
        request_id=request_id,
        asked={
            "customer": new.customer,
            "subscription_id": subscription_id,
            "plan_id": new.plan_id,
            "plan_version": new.plan_version,
            "start_time": new.start_time,
            **({"overrides": new.overrides} if new.overrides else {}),
        },
    )
    answer = answered(
        await reach(context.store.submit(context.shard(new.customer), call)),
        customer=new.customer,
        subscription_id=subscription_id,
    )
    return subscription_from_facts(answer.value), answer.replayed


def _violations(new: NewSubscription, subscription_id: str, start: int) -> Iterator[Violation]:
    where = "subscription."
    yield from customer_violations(new.customer, where + "customer")
    if not _ID.fullmatch(subscription_id):
        yield Violation(where + "id", "BAD_ID", f"expected {_ID.pattern}")
    if not new.plan_id:
        yield Violation(where + "plan_id", "MISSING", "a plan id is required")
    if new.plan_version < 0:
        yield Violation(where + "plan_version", "NEGATIVE", "expected 0 or more")
    if not _EARLIEST_START <= start < _LATEST_START:
        yield Violation(where + "start_time", "OUT_OF_RANGE", "expected the years 1970 to 9998")
