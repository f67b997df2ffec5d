"""Grants and promotions of a subscription (S10.1, S10.3)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal

from rating_core.catalog import Plan
from rating_core.contract.facts import from_facts, to_facts
from rating_core.contract.values import Grant, Promotion, PromotionKind
from rating_core.instant import format_instant
from rating_core.metering.calls import Subscription
from rating_core.metering.contracts.account import Account
from rating_core.metering.contracts.ledger_calls import CreateGrant, CreatePromotion, VoidGrant
from rating_core.units import NUMBER_LIMIT, PERCENT_SCALE_MAX, SCALE_MAX, decimals, from_units
from rating_server.usecases.context import (
    Context,
    customer_violations,
    request_id_violations,
)
from rating_server.usecases.contract_plans import plan_on_shelf, submit_contract_call
from rating_server.usecases.failure import Failure, Violation, require
from rating_server.usecases.page import page_of
from rating_server.usecases.read_statements import account_of

_ID = re.compile(r"[a-z]([a-z0-9-]{0,61}[a-z0-9])?", re.ASCII)
_PERCENT_MAX = 100


@dataclass(frozen=True, slots=True)
class Parent:
    """A subscription by customer and id; an empty id is the one that is active now or was last."""

    customer: str
    subscription_id: str = ""


@dataclass(frozen=True, slots=True)
class Balance:
    """A grant, what it can still pay at an instant, and what was drawn up to it."""

    subscription: Subscription
    grant: Grant
    balance: Decimal
    drawn: Decimal
    currency: str


async def create_grant(
    context: Context,
    parent: Parent,
    grant: Grant,
    request_id: str,
    unread: Sequence[Violation] = (),
    *,
    from_now: bool = False,
) -> tuple[Balance, bool]:
    """Grant a credit; return it, and whether the answer is a replay.

    ``unread``: fields of the request whose value could not be read. ``from_now``: its ``effective``
    is the server's own, so that the same request sent again may have another (P4). Failures:
    InvalidRequest with all faults, and the reasons of `CreateGrant`.
    """
    require(unread, [*_call_violations(parent, request_id), *grant_violations(grant)])
    answer = await submit_contract_call(
        context,
        CreateGrant(
            customer=parent.customer,
            subscription_id=parent.subscription_id,
            grant=grant,
            request_id=request_id,
            asked=_asked(parent, "grant", grant, "effective") if from_now else {},
        ),
    )
    holder = Parent(parent.customer, answer.value["subscription_id"])
    return await _one(context, holder, grant.id, None), answer.replayed


async def void_grant(
    context: Context, parent: Parent, grant_id: str, request_id: str
) -> tuple[Balance, bool]:
    """End a grant at once; return it, and whether the answer is a replay.

    Failures SUBSCRIPTION_NOT_FOUND, GRANT_NOT_FOUND.
    """
    require((), _call_violations(parent, request_id, "name"))
    answer = await submit_contract_call(
        context,
        VoidGrant(
            customer=parent.customer,
            subscription_id=parent.subscription_id,
            grant_id=grant_id,
            request_id=request_id,
        ),
    )
    holder = Parent(parent.customer, answer.value["subscription_id"])
    return await _one(context, holder, grant_id, None), answer.replayed


async def list_grants(
    context: Context, parent: Parent, time: int | None, page_size: int, page_token: str
) -> tuple[list[Balance], str]:
    """Return a page of the grants with their balances at ``time`` (µs, None: now)."""
    found = await balances(context, parent, time)
    numbered = [(f"{place:012d}", balance) for place, balance in enumerate(found)]
    holder = found[0].subscription.subscription_id if found else parent.subscription_id
    scope = ("grants", parent.customer, holder, time)
    page, token = page_of(numbered, lambda item: item[0], page_size, page_token, scope)
    return [balance for _, balance in page], token


async def balances(context: Context, parent: Parent, time: int | None) -> list[Balance]:
    """Return every grant that was made by ``time`` (µs, None: now) with its balance then (S10.1).

    Failure SUBSCRIPTION_NOT_FOUND.
    """
    subscription, account = await account_of(context, parent.customer, parent.subscription_id)
    grants = list(account.grants.values())
    # The log's clock may be ahead of this server's: what stands in the log was made by now.
    instant = max([context.now(), *(g.create_time for g in grants)]) if time is None else time
    plan = await _plan(context, subscription)
    return [
        _balance(subscription, account, grant, instant, plan)
        for grant in grants
        if grant.create_time <= instant
    ]


async def get_balance(
    context: Context, parent: Parent, grant_id: str | None, time: int | None
) -> tuple[Decimal, str]:
    """Return what all grants, or one, can still pay at ``time`` (µs, None: now), and its currency.

    Failures SUBSCRIPTION_NOT_FOUND, GRANT_NOT_FOUND, which a grant is before it was made.
    """
    if grant_id is not None:
        found = await _one(context, parent, grant_id, time)
        return found.balance, found.currency
    subscription, _ = await account_of(context, parent.customer, parent.subscription_id)
    plan = await _plan(context, subscription)
    zero = from_units(0, plan.rounding.scale)
    every = await balances(context, parent, time)
    return sum((one.balance for one in every), zero), plan.currency


async def create_promotion(
    context: Context,
    parent: Parent,
    promotion: Promotion,
    request_id: str,
    unread: Sequence[Violation] = (),
    *,
    from_now: bool = False,
) -> tuple[Subscription, Promotion, bool]:
    """Add a promotion; return it with its subscription, and whether the answer is a replay.

    ``unread`` and ``from_now`` as in `create_grant`, the latter of its ``instant``. Failures:
    InvalidRequest with all faults, and the reasons of `CreatePromotion`.
    """
    require(unread, [*_call_violations(parent, request_id), *promotion_violations(promotion)])
    answer = await submit_contract_call(
        context,
        CreatePromotion(
            customer=parent.customer,
            subscription_id=parent.subscription_id,
            promotion=promotion,
            request_id=request_id,
            asked=_asked(parent, "promotion", promotion, "instant") if from_now else {},
        ),
    )
    subscription, _ = await account_of(context, parent.customer, answer.value["subscription_id"])
    return subscription, from_facts(Promotion, answer.value["promotion"]), answer.replayed


async def list_promotions(
    context: Context, parent: Parent, page_size: int, page_token: str
) -> tuple[Subscription, list[Promotion], str]:
    """Return a page of the promotions, in order of creation; Failure SUBSCRIPTION_NOT_FOUND."""
    subscription, account = await account_of(context, parent.customer, parent.subscription_id)
    numbered = [(f"{n:012d}", item) for n, item in enumerate(account.promotions.values())]
    scope = ("promotions", parent.customer, subscription.subscription_id)
    page, token = page_of(numbered, lambda item: item[0], page_size, page_token, scope)
    return subscription, [promotion for _, promotion in page], token


def _asked(parent: Parent, key: str, made: Grant | Promotion, default: str) -> dict[str, object]:
    """Return what the same request sent again has in common with this one (P4)."""
    given = {name: value for name, value in to_facts(made).items() if name != default}
    return {"customer": parent.customer, "subscription_id": parent.subscription_id, key: given}


async def _one(context: Context, parent: Parent, grant_id: str, time: int | None) -> Balance:
    for balance in await balances(context, parent, time):
        if balance.grant.id == grant_id:
            return balance
    _, account = await account_of(context, parent.customer, parent.subscription_id)
    later = account.grants.get(grant_id)
    if later is None:
        raise Failure("GRANT_NOT_FOUND", f"no grant {grant_id}", id=grant_id)
    made = format_instant(later.create_time)
    text = f"no grant {grant_id} yet: it was made at {made}"
    raise Failure("GRANT_NOT_FOUND", text, id=grant_id, create_time=made)


async def _plan(context: Context, subscription: Subscription) -> Plan:
    return await plan_on_shelf(context, subscription.phases[-1].plan_ref)


def _balance(
    subscription: Subscription, account: Account, grant: Grant, instant: int, plan: Plan
) -> Balance:
    drawn = from_units(account.drawn_until(grant.id, instant), plan.rounding.scale)
    balance = account.balance(grant, instant)
    return Balance(subscription, grant, balance, drawn, plan.currency)


def grant_violations(grant: Grant) -> Iterator[Violation]:
    """Yield what is wrong with a grant whatever its subscription, field by field (S10.1)."""
    yield from _id_violations(grant.id, "grant")
    if grant.amount <= 0:
        yield Violation("grant.amount", "OUT_OF_RANGE", "expected a number above 0")
    if grant.expires is not None and grant.expires <= grant.effective:
        text = "expected an instant after effective_time"
        yield Violation("grant.expire_time", "OUT_OF_RANGE", text)


def promotion_violations(promotion: Promotion) -> Iterator[Violation]:
    """Yield what is wrong with a promotion whatever its subscription, field by field (S10.3)."""
    yield from _id_violations(promotion.id, "promotion")
    percent = promotion.kind in (PromotionKind.PERCENT_OFF, PromotionKind.OVERAGE_PERCENT_OFF)
    if promotion.value < 0 or (percent and promotion.value > _PERCENT_MAX):
        text = f"expected 0 to {_PERCENT_MAX}" if percent else "expected a number of 0 or more"
        yield Violation("promotion.value", "OUT_OF_RANGE", text)
    most = PERCENT_SCALE_MAX if percent else SCALE_MAX
    if decimals(promotion.value) > most or promotion.value >= NUMBER_LIMIT:
        text = f"expected at most {most} decimals, and less than 10^15"
        yield Violation("promotion.value", "OUT_OF_RANGE", text)
    if promotion.periods is not None and promotion.periods < 1:
        yield Violation("promotion.periods", "OUT_OF_RANGE", "expected 1 or more")
    if promotion.until is not None and promotion.until <= promotion.instant:
        text = "expected an instant after start_time"
        yield Violation("promotion.end_time", "OUT_OF_RANGE", text)
    if promotion.periods is not None and promotion.until is not None:
        text = "expected either periods or end_time, not both"
        yield Violation("promotion.end_time", "OUT_OF_RANGE", text)


def _id_violations(name: str, field: str) -> Iterator[Violation]:
    if not _ID.fullmatch(name):
        yield Violation(f"{field}.id", "BAD_ID", f"expected {_ID.pattern}")


def _call_violations(parent: Parent, request_id: str, field: str = "parent") -> Iterator[Violation]:
    yield from customer_violations(parent.customer, field)
    yield from request_id_violations(request_id)
