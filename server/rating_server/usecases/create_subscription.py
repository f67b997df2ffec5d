"""Put a customer on a plan version."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from dataclasses import dataclass

from rating_core.bands import plan_bands
from rating_core.calendar import ANCHOR_DAY_MAX
from rating_core.metering.calls import CreateSubscription, RecountedParts, Subscription
from rating_core.metering.contracts.subscription import subscription_from_facts
from rating_core.zone import UTC_NAME
from rating_server.usecases.choose_plan import check_hours, choose_plan
from rating_server.usecases.context import Context, customer_violations, request_id_violations
from rating_server.usecases.control import answered
from rating_server.usecases.failure import Violation, require
from rating_server.usecases.recounted import recounted
from rating_server.zones import zone_table

SUBSCRIPTION_ID_DEFAULT = "main"
_ID = re.compile(r"[a-z]([a-z0-9-]{0,61}[a-z0-9])?", re.ASCII)
_EARLIEST_START = 0
_LATEST_START = 253_370_764_800_000_000  # the year 9999


@dataclass(frozen=True, slots=True)
class NewSubscription:
    """A subscription as asked for. ``start_time`` in µs; None and version 0 take the default.

    ``time_zone`` empty is UTC, ``anchor_day`` 0 none (S8.1); ``overrides``: JSON, empty for none.
    """

    customer: str
    subscription_id: str
    plan_id: str
    plan_version: int
    start_time: int | None
    time_zone: str = ""
    anchor_day: int = 0
    overrides: str = ""


async def create_subscription(
    context: Context, new: NewSubscription, request_id: str
) -> tuple[Subscription, bool]:
    """Subscribe; return the subscription and whether the answer is a replay.

    InvalidRequest PLAN_INVALID for overrides that do not fit the plan (S8.6). Failures
    PLAN_NOT_FOUND, HOURS_DIFFER (S5.5), ALREADY_EXISTS, SUBSCRIPTION_OVERLAP (S7.7),
    REQUEST_ID_REUSED, and those of `recounted`.
    """
    subscription_id = new.subscription_id or SUBSCRIPTION_ID_DEFAULT
    start = context.now() if new.start_time is None else new.start_time
    violations = [*request_id_violations(request_id), *_violations(new, subscription_id, start)]
    time_zone = new.time_zone or UTC_NAME
    table = await asyncio.to_thread(zone_table, time_zone)
    if table is None:
        text = "expected the name of an IANA time zone, such as Europe/Berlin"
        violations.append(Violation("subscription.time_zone", "UNKNOWN_TIME_ZONE", text))
    require((), violations)
    zone = None if time_zone == UTC_NAME else table
    field = "subscription.overrides"
    chosen = await choose_plan(context, new.plan_id, new.plan_version, start, new.overrides, field)
    check_hours(chosen.plan, zone, start)

    def call_of(_: int | None, recount: RecountedParts | None) -> CreateSubscription:
        return CreateSubscription(
            customer=new.customer,
            subscription_id=subscription_id,
            plan_id=new.plan_id,
            plan_version=chosen.ref.version,
            billing_period=chosen.plan.billing_period,
            late_usage=chosen.plan.late_usage,
            start_time=start,
            bands=plan_bands(chosen.plan),
            overrides=chosen.ref.overrides,
            time_zone=time_zone,
            zone=zone,
            anchor_day=new.anchor_day or None,
            recount=recount,
            request_id=request_id,
            asked=_asked(new, subscription_id),
        )

    answer = answered(
        await recounted(context, new.customer, call_of, zone),
        customer=new.customer,
        subscription_id=subscription_id,
    )
    return subscription_from_facts(answer.value), answer.replayed


def _asked(new: NewSubscription, subscription_id: str) -> dict[str, object]:
    """Return what the same request sent again has in common with this one (P4)."""
    asked: dict[str, object] = {
        "customer": new.customer,
        "subscription_id": subscription_id,
        "plan_id": new.plan_id,
        "plan_version": new.plan_version,
        "start_time": new.start_time,
    }
    more = {
        "time_zone": new.time_zone,
        "anchor_day": new.anchor_day,
        "overrides": new.overrides,
    }
    return asked | {key: value for key, value in more.items() if value}


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
    if not 0 <= new.anchor_day <= ANCHOR_DAY_MAX:
        text = f"expected 1 to {ANCHOR_DAY_MAX}, or 0 for none"
        yield Violation(where + "anchor_day", "OUT_OF_RANGE", text)
