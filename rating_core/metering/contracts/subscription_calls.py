"""Deciding what changes subscriptions: create, change the plan, cancel, migrate (S7.7, S8.2, S8.6).

What would move records that are already counted is refused with RECOUNT_NEEDED until the call
brings them re-split; whatever a finalised period holds stays.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from rating_core.contract.facts import to_facts
from rating_core.contract.usage import PlanRef
from rating_core.metering.calls import (
    CancelSubscription,
    ChangePlan,
    Control,
    ControlAnswer,
    CreateSubscription,
    MigratePlan,
    Phase,
    RecountedParts,
    Subscription,
)
from rating_core.metering.contracts.contract_usage import PlanNotLoaded
from rating_core.metering.contracts.directory import DirectoryView
from rating_core.metering.contracts.line_names import LineNames
from rating_core.metering.contracts.parts import part_at
from rating_core.metering.contracts.recount import continued
from rating_core.metering.contracts.subscription import (
    CANCEL_SUBSCRIPTION,
    CHANGE_PLAN,
    CREATE_SUBSCRIPTION,
    MIGRATE_PLAN,
    RECOUNT,
    STAYING,
    ZONE_TABLE,
    Contract,
    changed,
    facts_of,
    moved,
    phase_facts,
    staying_in,
    subscription_facts,
)
from rating_core.metering.deciding.decide import FUTURE_US
from rating_core.metering.deciding.records_entry import RecordsEntry
from rating_core.metering.log.entry import ControlEntry
from rating_core.period import INSTANT_MAX, INSTANT_MIN
from rating_core.zone import ZoneTable

SUBSCRIPTION_CALLS = (CreateSubscription, ChangePlan, CancelSubscription, MigratePlan)
Outcome = tuple[ControlAnswer, ControlEntry | None]


NewerOf = Callable[[int], Sequence[RecordsEntry] | None]


@dataclass(frozen=True, slots=True)
class Counted:
    """What is known of when a customer was counted.

    ``last``: the latest event time ever counted, µs, ``None`` for none; ``version``: of the last
    change of its counters; ``staged``: whether records of it are in flight;
    ``newer``: the records after a version, if they are at hand. ``head``: version and token of
    the committed state; ``knows`` says whether a version had a token, as far as is remembered (P5).
    """

    last: int | None
    version: int
    staged: bool
    newer: NewerOf
    head: tuple[int, bytes]
    knows: Callable[[int, bytes], bool]


CountedOf = Callable[[str], Counted]


@dataclass(frozen=True, slots=True)
class Standing:
    """What decides about subscriptions beside the directory: what is counted, what has a name."""

    counted_of: CountedOf
    names: LineNames


def refused(reason: str, **value: object) -> Outcome:
    """Return the outcome of a call that is not carried out, and why (UPPER_SNAKE)."""
    return ControlAnswer(False, reason, value), None


def decide_subscription(
    call: Control, view: DirectoryView, now: int, fingerprint: str, standing: Standing
) -> Outcome:
    """Return the answer, and the entry, of one of `SUBSCRIPTION_CALLS`."""
    counted_of = standing.counted_of
    try:
        if isinstance(call, CreateSubscription):
            return _create(call, view, now, fingerprint, counted_of)
        if isinstance(call, ChangePlan):
            return _change_plan(call, view, now, fingerprint, standing)
        if isinstance(call, CancelSubscription):
            return _cancel(call, view, now, fingerprint, counted_of)
        if isinstance(call, MigratePlan):
            return _migrate(call, now, fingerprint, standing.names)
    except PlanNotLoaded as missing:
        return refused("PLAN_NOT_LOADED", **to_facts(missing.ref))
    raise TypeError(f"not about subscriptions: {type(call).__name__}")


def _create(
    call: CreateSubscription,
    view: DirectoryView,
    now: int,
    fingerprint: str,
    counted_of: CountedOf,
) -> Outcome:
    if not INSTANT_MIN <= call.start_time <= INSTANT_MAX or not call.customer:
        return refused("OUT_OF_RANGE")
    contract = view.contract(call.customer)
    if any(one.subscription_id == call.subscription_id for one in contract):
        return refused("ALREADY_EXISTS")
    held = [one for one in contract if not one.void]
    if any(one.end_time is None or one.end_time > call.start_time for one in held):
        return refused("SUBSCRIPTION_OVERLAP")
    reference = PlanRef(call.plan_id, call.plan_version, call.overrides)
    subscription = Subscription(
        customer=call.customer,
        subscription_id=call.subscription_id,
        billing_period=call.billing_period,
        start_time=call.start_time,
        end_time=None,
        create_time=now,
        phases=(Phase(call.start_time, reference, call.late_usage, call.bands),),
        time_zone=call.time_zone,
        anchor_day=call.anchor_day,
        zone=call.zone,
    )
    value = subscription_facts(moved(subscription, view.moves()))
    facts = dict(value)
    if call.zone is not None and call.zone.digest not in view.zones():
        facts[ZONE_TABLE] = call.zone.to_facts()
    entry = ControlEntry(CREATE_SUBSCRIPTION, call.request_id, fingerprint, facts, value)
    if not contract:
        return ControlAnswer(True, "", value), entry
    after: Contract = changed(contract, entry, {**view.zones(), **_brought(call)})
    instant = call.start_time
    return _checked(entry, instant, instant, after, call.recount, counted_of(call.customer))


def _brought(call: CreateSubscription) -> dict[str, ZoneTable]:
    return {} if call.zone is None else {call.zone.digest: call.zone}


def _change_plan(
    call: ChangePlan, view: DirectoryView, now: int, fingerprint: str, standing: Standing
) -> Outcome:
    subscription = view.subscription(call.customer, call.subscription_id)
    if subscription is None:
        return refused("SUBSCRIPTION_NOT_FOUND")
    if call.billing_period is not subscription.billing_period:
        return refused("BILLING_PERIOD_DIFFERS")
    instant = now if call.effective is None else call.effective
    if not subscription.holds(instant):
        return refused("NOT_SUBSCRIBED")
    reference = PlanRef(call.plan_id, call.plan_version, call.overrides)
    phase = Phase(instant, reference, call.late_usage, call.bands)
    facts: dict[str, Any] = {
        "customer": call.customer,
        "subscription_id": call.subscription_id,
        **phase_facts(phase),
    }
    name = call.customer, call.subscription_id
    later = [
        {key: move[key] for key in move if key != STAYING}
        for move in view.moves()
        if move["start_time"] > instant and name not in staying_in(move)
    ]
    if later:
        facts["moves"] = later
    entry = ControlEntry(CHANGE_PLAN, call.request_id, fingerprint, facts, {})
    outcome = _changing(entry, subscription, instant, view, call.recount, standing.counted_of)
    if outcome[0].reason not in ("", "RECOUNT_NEEDED"):
        return outcome
    after = changed((subscription,), entry, view.zones())
    clash = standing.names.clash(after[0])
    return outcome if clash is None else refused("ID_TAKEN", id=clash.name, plan=clash.plan_id)


def _cancel(
    call: CancelSubscription,
    view: DirectoryView,
    now: int,
    fingerprint: str,
    counted_of: CountedOf,
) -> Outcome:
    subscription = view.subscription(call.customer, call.subscription_id)
    if subscription is None:
        return refused("SUBSCRIPTION_NOT_FOUND")
    instant = now if call.end_time is None else call.end_time
    # What ends by its start holds nothing (S8.2): it is void from there, and not before.
    instant = max(instant, subscription.start_time)
    if subscription.end_time is not None and subscription.end_time <= instant:
        return refused("ALREADY_CANCELLED")
    if instant > INSTANT_MAX:
        return refused("OUT_OF_RANGE")
    facts: dict[str, Any] = {
        "customer": call.customer,
        "subscription_id": call.subscription_id,
        "end_time": instant,
    }
    entry = ControlEntry(CANCEL_SUBSCRIPTION, call.request_id, fingerprint, facts, {})
    return _changing(entry, subscription, instant, view, call.recount, counted_of)


def _migrate(call: MigratePlan, now: int, fingerprint: str, names: LineNames) -> Outcome:
    if call.instant <= now + FUTURE_US:
        return refused("EFFECTIVE_TOO_SOON", earliest=now + FUTURE_US + 1)
    phase = Phase(call.instant, PlanRef(call.plan_id, call.version), call.late_usage, call.bands)
    facts: dict[str, Any] = {"billing_period": call.billing_period.value, **phase_facts(phase)}
    staying = names.staying(facts)
    if staying:
        facts[STAYING] = staying
    entry = ControlEntry(MIGRATE_PLAN, call.request_id, fingerprint, facts, dict(facts))
    return ControlAnswer(True, "", entry.value), entry


def _changing(
    entry: ControlEntry,
    subscription: Subscription,
    instant: int,
    view: DirectoryView,
    recount: RecountedParts | None,
    counted_of: CountedOf,
) -> Outcome:
    """Return the outcome of a change of a subscription from an instant on (S8.6)."""
    customer, name = subscription.customer, subscription.subscription_id
    closed_until = view.closed_until(customer, name)
    if instant < closed_until:
        return refused("PERIOD_FINALIZED", earliest=closed_until)
    after: Contract = changed(view.contract(customer), entry, view.zones())
    made = next(one for one in after if one.subscription_id == name)
    answering = replace(entry, value=subscription_facts(made))
    since = part_at(subscription, instant).start if subscription.holds(instant) else instant
    return _checked(answering, instant, since, after, recount, counted_of(customer))


def _checked(
    entry: ControlEntry,
    instant: int,
    since: int,
    after: Contract,
    recount: RecountedParts | None,
    counted: Counted,
) -> Outcome:
    """Refuse a change dated before records that are counted, unless it re-splits them (S8.6)."""
    if counted.last is None or counted.last < instant:
        return ControlAnswer(True, "", entry.value), entry
    fits = recount is not None and recount.since == since
    fits = fits and recount is not None and _borders(recount.contract) == _borders(facts_of(after))
    # P5: another log may have the same versions, after a failover between reading and deciding.
    fits = fits and recount is not None and counted.knows(recount.version, recount.token)
    newer = counted.newer(recount.version) if recount is not None and fits else None
    behind = recount is not None and (counted.staged or counted.version > recount.version)
    if recount is not None and fits and behind and newer is not None:
        recount = continued(recount, after, newer)
    elif recount is None or not fits or behind:
        # The log is another, or holds more by now: whoever asked reads on, and asks again.
        needed = {"instant": instant, "since": since, "contract": facts_of(after)}
        head = {"version": counted.head[0], "token": counted.head[1].hex()}
        return refused("RECOUNT_NEEDED", **needed, **head)
    carried = {
        "version": recount.version,
        "since": since,
        "last": recount.last,
        "parts": recount.parts,
    }
    changing = replace(entry, facts={**entry.facts, RECOUNT: carried})
    return ControlAnswer(True, "", entry.value), changing


def _borders(contract: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return what of subscriptions says how records are counted: not when they were made."""
    return [{key: one[key] for key in one if key != "create_time"} for one in contract]
