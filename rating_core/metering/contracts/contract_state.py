"""What decides about a contract, and what is asked about it, from the folds of a shard (S9)."""

from __future__ import annotations

from collections.abc import Sequence

from rating_core.metering.calls import Subscription
from rating_core.metering.contracts.contract_usage import (
    PlanNotLoaded,
    PlanOf,
    contract_usage,
)
from rating_core.metering.contracts.directory import DirectoryView
from rating_core.metering.contracts.finalize import ContractState
from rating_core.metering.contracts.ledger import StagedControl
from rating_core.metering.contracts.ledger_calls import (
    AccountAnswer,
    ContractAnswer,
    GetAccount,
    GetContract,
)
from rating_core.metering.contracts.parts import period_at
from rating_core.metering.deciding.in_flight import InFlight
from rating_core.metering.shard_state import Folds


def named_subscription(
    view: DirectoryView, customer: str, subscription_id: str, now: int
) -> Subscription | None:
    """Return a subscription; without an id the one that is active at ``now``, or was last."""
    if subscription_id:
        return view.subscription(customer, subscription_id)
    active = view.subscription_at(customer, now)
    if active is not None:
        return active
    contract = view.contract(customer)
    contract = tuple(one for one in contract if not one.void) or contract
    begun = [one for one in contract if one.start_time <= now]
    return (begun[-1] if begun else contract[0]) if contract else None


def contract_state(
    in_flight: InFlight,
    staged: Sequence[StagedControl],
    customer: str,
    subscription_id: str,
    now: int,
    plan_of: PlanOf,
    version: int,
) -> ContractState | None:
    """Return what decides about a subscription, ``None`` where the customer has no such one.

    ``version``: that of the entry which the decision would make.
    """
    view = DirectoryView(in_flight.folds.directory, in_flight.controls)
    subscription = named_subscription(view, customer, subscription_id, now)
    if subscription is None:
        return None
    return ContractState(
        subscription=subscription,
        account=in_flight.folds.ledger.account((customer, subscription.subscription_id), staged),
        counters=in_flight.customer_counters(customer),
        plan_of=plan_of,
        grace_us=view.settings().grace_us,
        version=version,
    )


def contract_answer(
    question: GetContract | GetAccount, folds: Folds, plan_of: PlanOf, version: int, token: bytes
) -> ContractAnswer | AccountAnswer:
    """Return what prices a period, or an account, as of (version, token) (S9.4)."""
    if isinstance(question, GetAccount):
        return account_answer(question, folds)
    view = DirectoryView(folds.directory, ())
    if question.subscription_id or question.correction:
        name = question.subscription_id
        subscription = named_subscription(view, question.customer, name, question.now)
    else:
        subscription = view.subscription_at(question.customer, question.instant)
    if subscription is None:
        return ContractAnswer(None, version=version, token=token)
    instant = question.instant
    if question.correction:
        if subscription.end_time is None:
            return ContractAnswer(subscription, version=version, token=token)
        instant = subscription.end_time - 1
    if not subscription.holds(instant):
        return ContractAnswer(None, version=version, token=token)
    span = period_at(subscription, instant)
    key = question.customer, subscription.subscription_id
    account = folds.ledger.account(key)
    counters = InFlight(folds, (), ()).customer_counters(question.customer)
    answer = ContractAnswer(subscription, span.start, span.end, version=version, token=token)
    statement = account.statement_of(span.start)
    if question.correction:
        if statement is None:
            return answer
    elif statement is not None:
        return ContractAnswer(
            subscription, span.start, span.end, statement=statement, version=version, token=token
        )
    try:
        counted = contract_usage(
            subscription,
            account,
            counters,
            span,
            question.now,
            plan_of,
            correction=question.correction,
        )
    except PlanNotLoaded as missing:
        return ContractAnswer(
            subscription, span.start, span.end, missing=missing.ref, version=version, token=token
        )
    return ContractAnswer(
        subscription,
        span.start,
        span.end,
        usage=counted.usage,
        meters=counted.meters,
        version=version,
        token=token,
    )


def account_answer(question: GetAccount, folds: Folds) -> AccountAnswer:
    """Return the account of a subscription."""
    view = DirectoryView(folds.directory, ())
    name = question.subscription_id
    subscription = named_subscription(view, question.customer, name, question.now)
    if subscription is None:
        return AccountAnswer(None, None)
    key = question.customer, subscription.subscription_id
    return AccountAnswer(subscription, folds.ledger.account(key))
