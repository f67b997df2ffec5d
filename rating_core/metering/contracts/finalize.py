"""Deciding about money: grants, promotions and statements (S2.2, S9, S10).

Finalising is one control entry, decided on the exact state that it is appended to: the counters
that it closes, the amounts, the draw-downs, what it books again for earlier periods (P4). So a
statement and its draw-downs are one step, whatever crashes, and nothing is priced a second time.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from rating_core.catalog import RESERVED_LINE_IDS, Plan
from rating_core.contract.facts import to_facts
from rating_core.contract.rate import rate_contract
from rating_core.contract.values import Grant, Promotion, PromotionKind
from rating_core.errors import OutOfRange
from rating_core.metering.calls import ControlAnswer, Subscription
from rating_core.metering.contracts.account import (
    CREATE_GRANT,
    CREATE_PROMOTION,
    FINALIZE_PERIOD,
    VOID_GRANT,
    Account,
)
from rating_core.metering.contracts.contract_usage import (
    PlanNotLoaded,
    PlanOf,
    contract_usage,
)
from rating_core.metering.contracts.ledger_calls import (
    CreateGrant,
    CreatePromotion,
    FinalizePeriod,
    LedgerCall,
    VoidGrant,
)
from rating_core.metering.contracts.parts import PeriodSpan, period_at
from rating_core.metering.contracts.statement_entry import booking, details_facts
from rating_core.metering.counting.customer_counters import CustomerCounters
from rating_core.metering.log.entry import ControlEntry
from rating_core.units import decimals, fits_int64, to_units

Outcome = tuple[ControlAnswer, ControlEntry | None]


@dataclass(frozen=True, slots=True)
class ContractState:
    """What decides about one subscription, staged entries included (P1).

    ``grace_us`` after its end a period may be finalised (S7.5). ``version``: that of the entry
    which this decision would make.
    """

    subscription: Subscription
    account: Account
    counters: CustomerCounters
    plan_of: PlanOf
    grace_us: int
    version: int


def refused(reason: str, **value: object) -> Outcome:
    """Return a refusal, which leaves no entry."""
    return ControlAnswer(False, reason, value), None


def decide_ledger_call(
    call: LedgerCall, state: ContractState | None, now: int, fingerprint: str
) -> Outcome:
    """Return the answer, and the entry if the call changes anything.

    ``state`` is ``None`` where the customer has no such subscription. TypeError for other calls.
    """
    if state is None:
        return refused("NO_SUBSCRIPTION")
    try:
        if isinstance(call, FinalizePeriod):
            return _finalize(call, state, now)
        if isinstance(call, CreateGrant):
            facts = _grant(call.grant, state, now)
            kind = CREATE_GRANT
        elif isinstance(call, VoidGrant):
            facts, kind = _void(call.grant_id, state, now), VOID_GRANT
        elif isinstance(call, CreatePromotion):
            facts, kind = _promotion(call.promotion, state), CREATE_PROMOTION
        else:
            raise TypeError(f"a usage shard does not take {type(call).__name__}")
    except _Refusal as refusal:
        return refused(refusal.reason, **refusal.value)
    except PlanNotLoaded as missing:
        return refused("PLAN_NOT_LOADED", **to_facts(missing.ref))
    except OutOfRange as error:
        return refused("OUT_OF_RANGE", message=str(error))
    named = {**_names(state), **facts}
    entry = ControlEntry(kind, call.request_id, fingerprint, named, named)
    return ControlAnswer(True, "", named), entry


class _Refusal(Exception):
    def __init__(self, reason: str, **value: object) -> None:
        self.reason = reason
        self.value = value
        super().__init__(reason)


def _names(state: ContractState) -> dict[str, Any]:
    subscription = state.subscription
    return {
        "customer": subscription.customer,
        "subscription_id": subscription.subscription_id,
    }


# --- grants and promotions -----------------------------------------------------------------------


def _plans(state: ContractState) -> Iterator[Plan]:
    """Yield the plan of each phase of the subscription."""
    for phase in state.subscription.phases:
        plan = state.plan_of(phase.plan_ref)
        if plan is None:
            raise PlanNotLoaded(phase.plan_ref)
        yield plan


def _require_free(name: str, state: ContractState, plans: list[Plan]) -> None:
    """Refuse an id that a line of the subscription's statements has already (S2.2)."""
    if name in RESERVED_LINE_IDS:
        raise _Refusal("ID_RESERVED", id=name)
    if name in state.account.names():
        raise _Refusal("ALREADY_EXISTS", id=name)
    for plan in plans:
        lines = {charge.id for charge in plan.charges} | {one.id for one in plan.commitments}
        if name in lines:
            raise _Refusal("ID_TAKEN", id=name, plan=plan.id)


def _require_charges(names: tuple[str, ...], plans: list[Plan]) -> None:
    known = {charge.id for plan in plans for charge in plan.charges}
    for name in names:
        if name not in known:
            raise _Refusal("UNKNOWN_CHARGE", id=name)


def _grant(grant: Grant, state: ContractState, now: int) -> dict[str, Any]:
    plans = list(_plans(state))
    _require_free(grant.id, state, plans)
    _require_charges(grant.covers, plans)
    scale = plans[-1].rounding.scale
    if decimals(grant.amount) > scale:
        raise _Refusal("AMOUNT_PRECISION", id=grant.id, scale=scale)
    units = to_units(grant.amount, scale)
    if units <= 0 or not fits_int64(units):
        raise _Refusal("OUT_OF_RANGE", id=grant.id)
    if grant.expires is not None and grant.expires <= grant.effective:
        raise _Refusal("OUT_OF_RANGE", id=grant.id)
    made = replace(grant, create_time=now, void_time=None)
    return {"grant": to_facts(made), "scale": scale}


def _void(grant_id: str, state: ContractState, now: int) -> dict[str, Any]:
    grant = state.account.grants.get(grant_id)
    if grant is None:
        raise _Refusal("GRANT_NOT_FOUND", id=grant_id)
    return {"id": grant_id, "time": now if grant.void_time is None else grant.void_time}


_PERCENT_MAX = 100


def _promotion(promotion: Promotion, state: ContractState) -> dict[str, Any]:
    plans = list(_plans(state))
    _require_free(promotion.id, state, plans)
    _require_charges(promotion.charges, plans)
    percent = promotion.kind in (PromotionKind.PERCENT_OFF, PromotionKind.OVERAGE_PERCENT_OFF)
    bad = promotion.value < 0 or (percent and promotion.value > _PERCENT_MAX)
    bad = bad or (promotion.periods is not None and promotion.periods < 1)
    bad = bad or (promotion.until is not None and promotion.until <= promotion.instant)
    if bad or (promotion.periods is not None and promotion.until is not None):
        raise _Refusal("OUT_OF_RANGE", id=promotion.id)
    return {"promotion": to_facts(promotion)}


# --- statements ----------------------------------------------------------------------------------


def period_that_ended_last(subscription: Subscription, now: int) -> PeriodSpan:
    """Return the last period of a subscription that has ended at ``now``; its first if none has."""
    instant = now
    if subscription.end_time is not None and instant >= subscription.end_time:
        instant = subscription.end_time - 1
        return period_at(subscription, instant)
    if instant < subscription.start_time:
        return period_at(subscription, subscription.start_time)
    current = period_at(subscription, instant)
    before = current.start - 1
    return period_at(subscription, before) if subscription.holds(before) else current


def _asked_period(call: FinalizePeriod, state: ContractState, now: int) -> PeriodSpan:
    subscription = state.subscription
    if subscription.void:
        raise _Refusal("PERIOD_NOT_FOUND")
    if call.correction:
        if subscription.end_time is None:
            raise _Refusal("NOTHING_TO_CORRECT")
        return period_at(subscription, subscription.end_time - 1)
    if call.period_start is None:
        return period_that_ended_last(subscription, now)
    if subscription.holds(call.period_start):
        span = period_at(subscription, call.period_start)
        if span.start == call.period_start:
            return span
    raise _Refusal("PERIOD_NOT_FOUND")


def _finalize(call: FinalizePeriod, state: ContractState, now: int) -> Outcome:
    subscription, account = state.subscription, state.account
    span = _asked_period(call, state, now)
    known = account.statement_of(span.start)
    if known is not None and not call.correction:
        value = {"version": known.version, "number": known.number}
        return ControlAnswer(True, "", value, replayed=True), None
    if call.correction:
        if known is None:
            raise _Refusal("NOTHING_TO_CORRECT")
    else:
        next_start = account.closed_until
        next_start = subscription.start_time if next_start is None else next_start
        if span.start != next_start:
            raise _Refusal("PERIOD_NOT_NEXT", next=next_start)
        if now < span.end + state.grace_us:
            raise _Refusal("PERIOD_NOT_ENDED", earliest=span.end + state.grace_us)
    counted = contract_usage(
        subscription,
        account,
        state.counters,
        span,
        now,
        state.plan_of,
        correction=call.correction,
    )
    rows = rate_contract(counted.usage)
    if not rows:
        raise _Refusal("NOTHING_TO_CORRECT")
    rated = rows[-1]
    facts = {
        **_names(state),
        "period_start": span.start,
        "period_end": span.end,
        "number": account.statements[-1].number + 1 if call.correction else span.number,
        "correction": call.correction,
        "time": now,
        **booking(rated),
    }
    details = details_facts(counted.usage, rated, counted.meters, state.version)
    # Not remembered by its request id: the period itself says whether it is finalised (S9.2).
    entry = ControlEntry(FINALIZE_PERIOD, "", "", facts, details)
    return ControlAnswer(True, "", {**facts, **details}), entry
