"""Show what is counted for a customer in one billing period."""

from __future__ import annotations

from rating_core.metering.calls import CountersAnswer, GetCounters, Subscription
from rating_core.period import INSTANT_MAX
from rating_server.usecases.context import Context, check_customer, reach
from rating_server.usecases.failure import Failure, invalid


async def get_usage(
    context: Context, customer: str, instant: int | None
) -> tuple[Subscription, CountersAnswer]:
    """Return the subscription and the counters of the period that holds ``instant``.

    The instant is in µs, None is now; the counters are exact at the moment of the answer.
    Failure SUBSCRIPTION_NOT_FOUND if no subscription of the customer holds the instant;
    InvalidRequest if no message can hold the end of its period.
    """
    check_customer(customer)
    at = context.now() if instant is None else instant
    shard = context.shard(customer)
    answer: CountersAnswer = await reach(context.store.ask(shard, GetCounters(customer, at)))
    if answer.subscription is None:
        raise Failure(
            "SUBSCRIPTION_NOT_FOUND",
            f"customer {customer} has no subscription at that instant",
            customer=customer,
        )
    if answer.period_end > INSTANT_MAX:
        raise invalid("time", "OUT_OF_RANGE", "its billing period ends beyond year 9999")
    return answer.subscription, answer
