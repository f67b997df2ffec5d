"""The calls about subscriptions, for the client and the asyncio client alike."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from ratewright.v1 import customer_service_pb2 as customers
from rating_client.calls import (
    VERSION_MAX,
    Call,
    Page,
    fresh_request_id,
    timestamp_of,
    whole_answer,
)

Overrides = Mapping[str, Any] | str
"""A customer's own prices: a mapping in the form of a plan document, or its JSON (S8.6)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SubscriptionTerms:
    """How a subscription counts time, and what it pays that others do not.

    ``time_zone``: an IANA name, "" for UTC; ``anchor_day``: 1–31, ``None`` for none (S8.1);
    ``overrides``: the customer's own prices, with numbers as text (S8.6).
    """

    time_zone: str = ""
    anchor_day: int | None = None
    overrides: Overrides = ""


def create_subscription(
    customer: str,
    plan_id: str,
    plan_version: int | None,
    start_time: datetime | None,
    subscription_id: str,
    terms: SubscriptionTerms,
    request_id: str | None,
) -> Call[customers.CreateSubscriptionResponse]:
    """Return the call of CreateSubscription; ValueError for a version that cannot exist."""
    subscription = customers.Subscription(
        customer=customer,
        id=subscription_id,
        plan_id=plan_id,
        plan_version=_version(plan_version),
        start_time=timestamp_of(start_time, "start_time"),
        time_zone=terms.time_zone,
        anchor_day=terms.anchor_day or 0,
        overrides=_overrides(terms.overrides),
    )
    request = customers.CreateSubscriptionRequest(
        subscription=subscription, request_id=fresh_request_id(request_id)
    )
    response = customers.CreateSubscriptionResponse
    return Call("CustomerService/CreateSubscription", request, response, whole_answer)


def change_plan(
    customer: str,
    subscription_id: str,
    plan_id: str,
    plan_version: int | None,
    overrides: Overrides,
    effective_time: datetime | None,
    request_id: str | None,
) -> Call[customers.ChangePlanResponse]:
    """Return the call of ChangePlan; ValueError for a version that cannot exist."""
    request = customers.ChangePlanRequest(
        name=_name(customer, subscription_id),
        plan_id=plan_id,
        plan_version=_version(plan_version),
        overrides=_overrides(overrides),
        effective_time=timestamp_of(effective_time, "effective_time"),
        request_id=fresh_request_id(request_id),
    )
    response = customers.ChangePlanResponse
    return Call("CustomerService/ChangePlan", request, response, whole_answer)


def cancel_subscription(
    customer: str, subscription_id: str, end_time: datetime | None, request_id: str | None
) -> Call[customers.CancelSubscriptionResponse]:
    """Return the call of CancelSubscription."""
    request = customers.CancelSubscriptionRequest(
        name=_name(customer, subscription_id),
        end_time=timestamp_of(end_time, "end_time"),
        request_id=fresh_request_id(request_id),
    )
    response = customers.CancelSubscriptionResponse
    return Call("CustomerService/CancelSubscription", request, response, whole_answer)


def get_subscription(
    customer: str, subscription_id: str, time: datetime | None
) -> Call[customers.Subscription]:
    """Return the call of GetSubscription."""
    request = customers.GetSubscriptionRequest(
        name=_name(customer, subscription_id), time=timestamp_of(time, "time")
    )
    return Call(
        "CustomerService/GetSubscription",
        request,
        customers.GetSubscriptionResponse,
        lambda answer: answer.subscription,
    )


def list_subscriptions(
    customer: str | None, page_size: int, token: str
) -> Call[Page[customers.Subscription]]:
    """Return the call for one page of ListSubscriptions: of all customers, or of one."""
    request = customers.ListSubscriptionsRequest(
        parent="" if customer is None else f"customers/{customer}",
        page_size=page_size,
        page_token=token,
    )
    return Call(
        "CustomerService/ListSubscriptions",
        request,
        customers.ListSubscriptionsResponse,
        lambda answer: Page(tuple(answer.subscriptions), answer.next_page_token),
    )


def _name(customer: str, subscription_id: str) -> str:
    return f"customers/{customer}/subscriptions/{subscription_id}"


def _version(plan_version: int | None) -> int:
    if plan_version is not None and not 1 <= plan_version <= VERSION_MAX:
        raise ValueError(f"plan_version: expected 1 to {VERSION_MAX}, got {plan_version}")
    return plan_version or 0


def _overrides(overrides: Overrides) -> str:
    return overrides if isinstance(overrides, str) else json.dumps(overrides)
