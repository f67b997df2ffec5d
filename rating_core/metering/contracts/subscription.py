"""Subscriptions as JSON values, and what control entries make of a customer's (S7.7, S8.2, S8.6).

A customer's subscriptions are a tuple in order of their start; they never overlap. `changed` is the
one function that says what an entry does to them: committed state, staged entries and re-splits
use it alike.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from rating_core.catalog import BillingPeriod, LateUsage
from rating_core.contract.usage import PlanRef
from rating_core.metering.calls import Bands, Phase, Subscription
from rating_core.metering.log.entry import ControlEntry
from rating_core.zone import UTC_NAME, ZoneTable

CREATE_SUBSCRIPTION = "create_subscription"
CHANGE_PLAN = "change_plan"
CANCEL_SUBSCRIPTION = "cancel_subscription"
MIGRATE_PLAN = "migrate_plan"
ZONE_TABLE = "zone_table"
"""Key of the facts of a subscription that brings the table of its zone into the log (S8.1)."""

STAYING = "staying"
"""Key of the facts of a migration: whom it cannot take along, customer and subscription (S2.2)."""

RECOUNT = "recount"
"""Key of the facts of a change dated before counted records: those, counted anew (S8.6)."""

Contract = tuple[Subscription, ...]
"""All subscriptions of one customer, by start."""
Zones = Mapping[str, ZoneTable]
"""The tables of a shard's log by digest."""


def phase_facts(phase: Phase) -> dict[str, Any]:
    """Return a phase as JSON values."""
    facts: dict[str, Any] = {
        "plan_id": phase.plan_ref.plan_id,
        "plan_version": phase.plan_ref.version,
        "late_usage": phase.late_usage.value,
        "start_time": phase.start_time,
        "bands": {
            meter: {charge: list(band) for charge, band in charges.items()}
            for meter, charges in phase.bands.items()
        },
    }
    if phase.plan_ref.overrides:
        facts["overrides"] = phase.plan_ref.overrides
    return facts


def phase_from_facts(facts: Mapping[str, Any]) -> Phase:
    """Return the phase that `phase_facts` gave; other keys are ignored."""
    bands: Bands = {
        meter: {charge: (band[0], band[1]) for charge, band in charges.items()}
        for meter, charges in facts["bands"].items()
    }
    reference = PlanRef(facts["plan_id"], facts["plan_version"], facts.get("overrides", ""))
    return Phase(facts["start_time"], reference, LateUsage(facts["late_usage"]), bands)


def subscription_facts(subscription: Subscription) -> dict[str, Any]:
    """Return a subscription as JSON values; its zone's table is named by its digest only."""
    first, *later = subscription.phases
    facts: dict[str, Any] = {
        "customer": subscription.customer,
        "subscription_id": subscription.subscription_id,
        "billing_period": subscription.billing_period.value,
        "end_time": subscription.end_time,
        "create_time": subscription.create_time,
        **phase_facts(first),
    }
    if later:
        facts["phases"] = [phase_facts(phase) for phase in later]
    if subscription.time_zone != UTC_NAME:
        facts["time_zone"] = subscription.time_zone
    if subscription.zone is not None:
        facts["zone"] = subscription.zone.digest
    if subscription.anchor_day is not None:
        facts["anchor_day"] = subscription.anchor_day
    return facts


def subscription_from_facts(facts: Mapping[str, Any], zones: Zones | None = None) -> Subscription:
    """Return the subscription that `subscription_facts` gave.

    Without ``zones``, as for an answer that is only shown, it lacks its zone's table. LookupError
    for a zone that they do not hold.
    """
    zone = None
    if zones is not None and "zone" in facts:
        zone = zones[facts["zone"]]
    later = tuple(phase_from_facts(phase) for phase in facts.get("phases", ()))
    return Subscription(
        customer=facts["customer"],
        subscription_id=facts["subscription_id"],
        billing_period=BillingPeriod(facts["billing_period"]),
        start_time=facts["start_time"],
        end_time=facts["end_time"],
        create_time=facts["create_time"],
        phases=(phase_from_facts(facts), *later),
        time_zone=facts.get("time_zone", UTC_NAME),
        anchor_day=facts.get("anchor_day"),
        zone=zone,
    )


def facts_of(contract: Contract) -> list[dict[str, Any]]:
    """Return a customer's subscriptions as JSON values, to compare them."""
    return [subscription_facts(subscription) for subscription in contract]


def touches(entry: ControlEntry, customer: str) -> bool:
    """Whether a control entry may change the subscriptions of a customer."""
    if entry.kind == MIGRATE_PLAN:
        return True
    kinds = (CREATE_SUBSCRIPTION, CHANGE_PLAN, CANCEL_SUBSCRIPTION)
    return entry.kind in kinds and entry.facts["customer"] == customer


def changed(contract: Contract, entry: ControlEntry, zones: Zones) -> Contract:
    """Return a customer's subscriptions after an entry that `touches` them.

    ``zones`` holds the table that the entry brings. LookupError if the entry does not fit.
    """
    facts = entry.facts
    if entry.kind == CREATE_SUBSCRIPTION:
        made = subscription_from_facts(facts, zones)
        return tuple(sorted((*contract, made), key=lambda one: one.start_time))
    if entry.kind == MIGRATE_PLAN:
        return tuple(migrated(subscription, facts) for subscription in contract)
    names = [subscription.subscription_id for subscription in contract]
    if facts["subscription_id"] not in names:
        raise LookupError("an entry about a subscription that does not exist")
    place = names.index(facts["subscription_id"])
    held = contract[place]
    if entry.kind == CHANGE_PLAN:
        moves = facts.get("moves", ())
        after = moved(with_phase(_without(held, moves), phase_from_facts(facts)), moves)
    else:
        after = ended(held, facts["end_time"])
    return (*contract[:place], after, *contract[place + 1 :])


def with_phase(subscription: Subscription, phase: Phase) -> Subscription:
    """Return a subscription with another phase; one of the same instant is replaced (S8.2).

    Later phases stay: a phase holds until the next one.
    """
    kept = [other for other in subscription.phases if other.start_time != phase.start_time]
    phases = tuple(sorted((*kept, phase), key=lambda one: one.start_time))
    return replace(subscription, phases=phases)


def ended(subscription: Subscription, end_time: int) -> Subscription:
    """Return a subscription that ends at an instant, without the phases from then on (S8.2).

    One that ends where it starts is void, and keeps its first phase.
    """
    phases = tuple(phase for phase in subscription.phases if phase.start_time < end_time)
    return replace(subscription, end_time=end_time, phases=phases or subscription.phases[:1])


def moved(subscription: Subscription, moves: Iterable[Mapping[str, Any]]) -> Subscription:
    """Return a subscription after migrations that stood in the log before it did (S8.6)."""
    for facts in moves:
        subscription = migrated(subscription, facts)
    return subscription


def _without(subscription: Subscription, moves: Iterable[Mapping[str, Any]]) -> Subscription:
    """Return a subscription without the phases that migrations made: they may no longer hold."""
    made = [phase_from_facts(facts) for facts in moves]
    phases = tuple(phase for phase in subscription.phases if phase not in made)
    return replace(subscription, phases=phases)


def migrated(subscription: Subscription, facts: Mapping[str, Any]) -> Subscription:
    """Return a subscription moved to a new version of its plan, if it stands on it (S8.6)."""
    for _, made in movers([subscription], facts):
        return made
    return subscription


def movers(
    subscriptions: Sequence[Subscription], facts: Mapping[str, Any]
) -> Iterator[tuple[int, Subscription]]:
    """Yield place and new value of each subscription that a migration moves (S8.6).

    Those that its entry names as staying do not: a line would share a name with theirs (S2.2).
    """
    phase, period = phase_from_facts(facts), BillingPeriod(facts["billing_period"])
    staying = staying_in(facts)
    for place, subscription in enumerate(subscriptions):
        after = moved_to(subscription, phase, period)
        if after is subscription:
            continue
        if (subscription.customer, subscription.subscription_id) not in staying:
            yield place, after


def staying_in(facts: Mapping[str, Any]) -> frozenset[tuple[str, str]]:
    """Return customer and subscription id of those that a migration does not take along (S2.2)."""
    return frozenset((customer, name) for customer, name in facts.get(STAYING, ()))


def moved_to(subscription: Subscription, phase: Phase, period: BillingPeriod) -> Subscription:
    """Return a subscription with the phase of a new version, itself if it does not stand there.

    It does if at that instant it is active on an earlier version of that plan, in the same billing
    period, without overrides, which belong to the version they were made for (S8.6).
    """
    reference = subscription.phase_at(phase.start_time).plan_ref
    stands = (
        reference.plan_id == phase.plan_ref.plan_id
        and reference.version < phase.plan_ref.version
        and not reference.overrides
        and subscription.billing_period is period
        and subscription.holds(phase.start_time)
    )
    return with_phase(subscription, phase) if stands else subscription
