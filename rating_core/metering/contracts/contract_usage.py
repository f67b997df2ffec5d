"""What a statement is priced from: counters, booked periods and grants of one contract (S9.5).

Built from the folds of a shard, with what is staged on top, for finalising (P4), for previews and
for whoever asks. The periods begin with the first that must be priced (again): one that was
finalised before records of it came, or the first that is not finalised (S9.1, S9.3).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from rating_core.catalog import BillingPeriod, Plan
from rating_core.contract.rate import needs_calendar
from rating_core.contract.usage import (
    Carry,
    ContractUsage,
    HourUsage,
    PartUsage,
    PeriodUsage,
    PlanRef,
)
from rating_core.counter import SeriesCounter
from rating_core.metering.calls import Subscription
from rating_core.metering.contracts.account import Account
from rating_core.metering.contracts.parts import (
    PartSpan,
    PeriodSpan,
    calendar_of,
    period_at,
    periods_from,
)
from rating_core.metering.counting.customer_counters import CustomerCounters
from rating_core.metering.deciding.records_entry import EntryMeter

PlanOf = Callable[[PlanRef], Plan | None]
"""Looks a plan version up among those at hand; ``None`` where it must be loaded first."""


def no_plan(ref: PlanRef) -> None:
    """Return that a plan is not at hand: a machine that decides nothing about money needs none."""


class PlanNotLoaded(LookupError):
    """A plan version is needed that is not at hand: load ``ref`` and call again."""

    def __init__(self, ref: PlanRef) -> None:
        self.ref = ref
        super().__init__(f"plan {ref.plan_id}@{ref.version} is not loaded")


@dataclass(frozen=True, slots=True)
class Counted:
    """A contract's usage, and the meters of its counters by id, as the log has them."""

    usage: ContractUsage
    meters: Mapping[str, EntryMeter]


def contract_usage(
    subscription: Subscription,
    account: Account,
    counters: CustomerCounters,
    target: PeriodSpan,
    now: int,
    plan_of: PlanOf,
    *,
    correction: bool = False,
) -> Counted:
    """Return what prices the period ``target``, or a correction after the last one (S9.3).

    Periods before it that are not finalised come with it (S9.4). PlanNotLoaded if ``plan_of``
    lacks a plan.
    """
    first = first_period(subscription, account, counters, target)
    before = [one for one in account.statements if one.period and one.start < first.start]
    periods = []
    for span in periods_from(subscription, first.start, target.end):
        statement = account.statement_of(span.start)
        parts = tuple(_part(subscription, part, counters, now, plan_of) for part in span.parts)
        booked = None if statement is None else statement.booked
        period = PeriodUsage(span.start, span.end, span.number, parts, booked, span.last)
        periods.append(period)
    promotions = tuple(account.promotions.values())
    usage = ContractUsage(
        customer=subscription.customer,
        subscription_id=subscription.subscription_id,
        subscription_start=subscription.start_time,
        first_period_end=period_at(subscription, subscription.start_time).end,
        periods=tuple(periods),
        carry=before[-1].booked.carry if before else Carry(),
        grants=tuple(account.grants.values()),
        promotions=promotions,
        drawn=account.drawn,
        now=now,
        correction=correction,
        # an entry holds the usage: a zone's table only where pricing looks at it
        calendar=calendar_of(subscription) if needs_calendar(periods, promotions) else None,
    )
    return Counted(usage, counters.meters)


def first_period(
    subscription: Subscription, account: Account, counters: CustomerCounters, target: PeriodSpan
) -> PeriodSpan:
    """Return the first period that must be priced, ``target`` at the latest."""
    for one in account.statements:
        if not one.period or one.start > target.start:
            continue
        span = period_at(subscription, one.start)
        if any(counters.changed(part.start, account.settled) for part in span.parts):
            return span
    closed_until = account.closed_until
    start = subscription.start_time if closed_until is None else closed_until
    return target if start >= target.start else period_at(subscription, start)


def _part(
    subscription: Subscription,
    part: PartSpan,
    counters: CustomerCounters,
    now: int,
    plan_of: PlanOf,
) -> PartUsage:
    plan = plan_of(part.plan_ref)
    if plan is None:
        raise PlanNotLoaded(part.plan_ref)
    window: tuple[SeriesCounter, ...] = ()
    window_start = None
    if any(charge.tier_window is not None for charge in plan.charges):
        window_start = part.window_start
        window = _window(subscription, part, counters)
    hours: tuple[HourUsage, ...] = ()
    hourly = any(commitment.hourly for commitment in plan.commitments)
    if hourly and plan.billing_period is not BillingPeriod.HOUR:
        hours = tuple(counters.hours(part.span, now))
    return PartUsage(
        start=part.start,
        end=part.end,
        plan=plan,
        plan_ref=part.plan_ref,
        counters=counters.counters(part.span),
        share_by_second=part.share_by_second,
        share_by_day=part.share_by_day,
        window=window,
        hours=hours,
        window_start=window_start,
    )


def _window(
    subscription: Subscription, part: PartSpan, counters: CustomerCounters
) -> tuple[SeriesCounter, ...]:
    """Return the counters of the parts before ``part`` in its tier window (S8.5)."""
    found: list[SeriesCounter] = []
    for span in periods_from(subscription, part.window_start, part.start):
        for earlier in span.parts:
            if part.window_start <= earlier.start < part.start:
                found += counters.counters(earlier.span)
    return tuple(found)
