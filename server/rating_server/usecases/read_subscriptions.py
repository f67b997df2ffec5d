"""Get and list subscriptions."""

from __future__ import annotations

import asyncio

from rating_core.metering.calls import GetSubscriptions, Subscription
from rating_server.usecases.context import Context, check_customer, reach
from rating_server.usecases.failure import Failure
from rating_server.usecases.page import page_of


async def get_subscription(context: Context, customer: str, subscription_id: str) -> Subscription:
    """Return a subscription of a customer; Failure SUBSCRIPTION_NOT_FOUND."""
    check_customer(customer)
    for subscription in await _of_customer(context, customer):
        if subscription.subscription_id == subscription_id:
            return subscription
    name = f"customers/{customer}/subscriptions/{subscription_id}"
    raise Failure("SUBSCRIPTION_NOT_FOUND", f"{name} does not exist", name=name)


async def list_subscriptions(
    context: Context, customer: str | None, page_size: int, page_token: str
) -> tuple[list[Subscription], str]:
    """Return a page of one customer's subscriptions, or of all, by customer and start time."""
    if customer is not None:
        check_customer(customer)
        found = await _of_customer(context, customer)
    else:
        shards = range(context.store.shard_count)
        asked = (reach(context.store.ask(shard, GetSubscriptions(None))) for shard in shards)
        found = [one for answer in await asyncio.gather(*asked) for one in answer]
    scope = ("subscriptions", customer)
    return page_of(sorted(found, key=_key), _key, page_size, page_token, scope)


async def _of_customer(context: Context, customer: str) -> list[Subscription]:
    question = GetSubscriptions(customer)
    return list(await reach(context.store.ask(context.shard(customer), question)))


def _key(subscription: Subscription) -> str:
    start = f"{subscription.start_time:020d}"
    return f"{subscription.customer}\0{start}\0{subscription.subscription_id}"
