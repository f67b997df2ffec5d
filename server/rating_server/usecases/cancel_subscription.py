"""End a subscription at an instant (S8.2)."""

from __future__ import annotations

from collections.abc import Sequence

from rating_core.metering.calls import CancelSubscription, RecountedParts, Subscription
from rating_core.metering.contracts.subscription import subscription_from_facts
from rating_server.usecases.context import (
    Context,
    customer_violations,
    request_id_violations,
)
from rating_server.usecases.control import answered
from rating_server.usecases.failure import Violation, require
from rating_server.usecases.recounted import recounted


async def cancel_subscription(
    context: Context,
    customer: str,
    subscription_id: str,
    end_time: int | None,
    request_id: str,
    unread: Sequence[Violation] = (),
) -> tuple[Subscription, bool]:
    """Cancel; return the subscription and whether the answer is a replay.

    ``end_time`` is exclusive, µs, None for now; by the start it makes the subscription void from
    its start (S8.2). ``unread``: fields of the request whose value could not be read.
    InvalidRequest with all faults. Failures SUBSCRIPTION_NOT_FOUND, ALREADY_CANCELLED,
    OUT_OF_RANGE, PERIOD_FINALIZED, REQUEST_ID_REUSED, and those of `recounted`.
    """
    faults = [*request_id_violations(request_id), *customer_violations(customer, "name")]
    require(unread, faults)

    def call_of(instant: int | None, recount: RecountedParts | None) -> CancelSubscription:
        return CancelSubscription(
            customer=customer,
            subscription_id=subscription_id,
            end_time=end_time if instant is None else instant,
            recount=recount,
            request_id=request_id,
            asked={
                "customer": customer,
                "subscription_id": subscription_id,
                "end_time": end_time,
            },
        )

    answer = answered(
        await recounted(context, customer, call_of),
        customer=customer,
        subscription_id=subscription_id,
    )
    return subscription_from_facts(answer.value), answer.replayed
