"""CustomerService: customers on plans."""

from __future__ import annotations

from typing import Any

from grpc import aio

from ratewright.v1 import customer_service_pb2 as pb
from rating_core.metering.calls import Subscription
from rating_server.servicers.convert_time import (
    from_proto_instant,
    from_proto_timestamp,
    to_proto_timestamp,
    valid_timestamp,
)
from rating_server.servicers.rpc import add_service, unary
from rating_server.usecases import read_subscriptions
from rating_server.usecases.cancel_subscription import cancel_subscription
from rating_server.usecases.change_plan import PlanChange, change_plan
from rating_server.usecases.context import Context, customer_violations
from rating_server.usecases.create_subscription import NewSubscription, create_subscription
from rating_server.usecases.failure import Violation, invalid, require

SERVICE = pb.DESCRIPTOR.services_by_name["CustomerService"].full_name


_NEVER = -1
"""An instant that no subscription may start at: the use case names the field."""


class CustomerServicer:
    """Serves CustomerService."""

    def __init__(self, context: Context) -> None:
        self._context = context

    async def create_subscription(
        self, request: pb.CreateSubscriptionRequest
    ) -> pb.CreateSubscriptionResponse:
        """Put a customer on a plan version."""
        if not request.HasField("subscription"):
            raise invalid("subscription", "MISSING", "a subscription is required")
        asked = request.subscription
        new = NewSubscription(
            customer=asked.customer,
            subscription_id=asked.id,
            plan_id=asked.plan_id,
            plan_version=asked.plan_version,
            start_time=_instant(asked, "start_time"),
            time_zone=asked.time_zone,
            anchor_day=asked.anchor_day,
            overrides=asked.overrides,
        )
        made, replayed = await create_subscription(self._context, new, request.request_id)
        return pb.CreateSubscriptionResponse(
            subscription=self._message(made, made.start_time), replayed=replayed
        )

    async def change_plan(self, request: pb.ChangePlanRequest) -> pb.ChangePlanResponse:
        """Put a subscription on another plan version or other prices."""
        faults: list[Violation] = []
        customer, subscription_id = _named(request.name, faults)
        change = PlanChange(
            customer=customer,
            subscription_id=subscription_id,
            plan_id=request.plan_id,
            plan_version=request.plan_version,
            overrides=request.overrides,
            effective_time=_possible(request, "effective_time", faults),
        )
        made, replayed = await change_plan(self._context, change, request.request_id, faults)
        return pb.ChangePlanResponse(subscription=self._message(made), replayed=replayed)

    async def cancel_subscription(
        self, request: pb.CancelSubscriptionRequest
    ) -> pb.CancelSubscriptionResponse:
        """End a subscription."""
        faults: list[Violation] = []
        named = _named(request.name, faults)
        end_time = _possible(request, "end_time", faults)
        made, replayed = await cancel_subscription(
            self._context, *named, end_time, request.request_id, faults
        )
        return pb.CancelSubscriptionResponse(subscription=self._message(made), replayed=replayed)

    async def get_subscription(
        self, request: pb.GetSubscriptionRequest
    ) -> pb.GetSubscriptionResponse:
        """Get a subscription."""
        faults: list[Violation] = []
        named = _named(request.name, faults)
        instant = _possible(request, "time", faults)
        require(faults, customer_violations(named[0], "name"))
        found = await read_subscriptions.get_subscription(self._context, *named)
        return pb.GetSubscriptionResponse(subscription=self._message(found, instant))

    async def list_subscriptions(
        self, request: pb.ListSubscriptionsRequest
    ) -> pb.ListSubscriptionsResponse:
        """List subscriptions of one customer, or of all."""
        customer = None
        if request.parent:
            kind, _, customer = request.parent.partition("/")
            if kind != "customers" or not customer:
                raise invalid("parent", "BAD_NAME", "expected customers/{customer}")
        page, token = await read_subscriptions.list_subscriptions(
            self._context, customer, request.page_size, request.page_token
        )
        return pb.ListSubscriptionsResponse(
            subscriptions=[self._message(found) for found in page],
            next_page_token=token,
        )

    def _message(self, subscription: Subscription, instant: int | None = None) -> pb.Subscription:
        at = self._context.now() if instant is None else instant
        return to_proto_subscription(subscription, at)


def _named(name: str, faults: list[Violation]) -> tuple[str, str]:
    """Return the customer and the id that a resource name holds; notes one that holds none."""
    match name.split("/"):
        case ["customers", customer, "subscriptions", subscription_id]:
            return customer, subscription_id
    text = "expected customers/{customer}/subscriptions/{id}"
    faults.append(Violation("name", "BAD_NAME", text))
    return "", ""


def _instant(message: Any, field: str) -> int | None:
    """Return an instant, `_NEVER` for an impossible one, ``None`` if it is not set."""
    if not message.HasField(field):
        return None
    instant = getattr(message, field)
    return from_proto_timestamp(instant) if valid_timestamp(instant) else _NEVER


def _possible(message: Any, field: str, faults: list[Violation]) -> int | None:
    """Return an instant, ``None`` if it is not set; notes an impossible one."""
    return from_proto_instant(getattr(message, field), message.HasField(field), field, faults)


def to_proto_subscription(subscription: Subscription, instant: int) -> pb.Subscription:
    """Return the message of a subscription, with the plan that it is on at ``instant``, µs."""
    present = subscription.phase_at(instant).plan_ref
    customer, subscription_id = subscription.customer, subscription.subscription_id
    message = pb.Subscription(
        name=f"customers/{customer}/subscriptions/{subscription_id}",
        customer=customer,
        id=subscription_id,
        plan_id=present.plan_id,
        plan_version=present.version,
        overrides=present.overrides,
        time_zone=subscription.time_zone,
        anchor_day=subscription.anchor_day or 0,
        phases=[
            pb.SubscriptionPhase(
                start_time=to_proto_timestamp(phase.start_time),
                plan_id=phase.plan_ref.plan_id,
                plan_version=phase.plan_ref.version,
                overrides=phase.plan_ref.overrides,
            )
            for phase in subscription.phases
        ],
        start_time=to_proto_timestamp(subscription.start_time),
        create_time=to_proto_timestamp(subscription.create_time),
    )
    if subscription.end_time is not None:
        message.end_time.CopyFrom(to_proto_timestamp(subscription.end_time))
    return message


def register(server: aio.Server, servicer: CustomerServicer) -> None:
    """Register CustomerService on the server."""
    create, change, cancel = "CreateSubscription", "ChangePlan", "CancelSubscription"
    get, listing = "GetSubscription", "ListSubscriptions"
    add_service(
        server,
        SERVICE,
        {
            create: unary(create, pb.CreateSubscriptionRequest, servicer.create_subscription),
            change: unary(change, pb.ChangePlanRequest, servicer.change_plan),
            cancel: unary(cancel, pb.CancelSubscriptionRequest, servicer.cancel_subscription),
            get: unary(get, pb.GetSubscriptionRequest, servicer.get_subscription),
            listing: unary(listing, pb.ListSubscriptionsRequest, servicer.list_subscriptions),
        },
    )
