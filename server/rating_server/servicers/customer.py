"""CustomerService: customers on plans."""

from __future__ import annotations

from grpc import aio

from ratewright.v1 import customer_service_pb2 as pb
from rating_core.metering.calls import Subscription
from rating_server.servicers.convert_time import (
    from_proto_timestamp,
    to_proto_timestamp,
    valid_timestamp,
)
from rating_server.servicers.rpc import add_service, unary
from rating_server.usecases import read_subscriptions
from rating_server.usecases.context import Context
from rating_server.usecases.create_subscription import NewSubscription, create_subscription
from rating_server.usecases.failure import invalid

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
        start = None
        if asked.HasField("start_time"):
            possible = valid_timestamp(asked.start_time)
            start = from_proto_timestamp(asked.start_time) if possible else _NEVER
        new = NewSubscription(asked.customer, asked.id, asked.plan_id, asked.plan_version, start)
        made, replayed = await create_subscription(self._context, new, request.request_id)
        return pb.CreateSubscriptionResponse(
            subscription=to_proto_subscription(made), replayed=replayed
        )

    async def get_subscription(
        self, request: pb.GetSubscriptionRequest
    ) -> pb.GetSubscriptionResponse:
        """Get a subscription."""
        match request.name.split("/"):
            case ["customers", customer, "subscriptions", subscription_id]:
                found = await read_subscriptions.get_subscription(
                    self._context, customer, subscription_id
                )
                return pb.GetSubscriptionResponse(subscription=to_proto_subscription(found))
        raise invalid("name", "BAD_NAME", "expected customers/{customer}/subscriptions/{id}")

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
            subscriptions=[to_proto_subscription(found) for found in page],
            next_page_token=token,
        )


def to_proto_subscription(subscription: Subscription) -> pb.Subscription:
    """Return the message of a subscription."""
    customer, subscription_id = subscription.customer, subscription.subscription_id
    message = pb.Subscription(
        name=f"customers/{customer}/subscriptions/{subscription_id}",
        customer=customer,
        id=subscription_id,
        plan_id=subscription.plan_id,
        plan_version=subscription.plan_version,
        start_time=to_proto_timestamp(subscription.start_time),
        create_time=to_proto_timestamp(subscription.create_time),
    )
    if subscription.end_time is not None:
        message.end_time.CopyFrom(to_proto_timestamp(subscription.end_time))
    return message


def register(server: aio.Server, servicer: CustomerServicer) -> None:
    """Register CustomerService on the server."""
    create, get, listing = "CreateSubscription", "GetSubscription", "ListSubscriptions"
    add_service(
        server,
        SERVICE,
        {
            create: unary(create, pb.CreateSubscriptionRequest, servicer.create_subscription),
            get: unary(get, pb.GetSubscriptionRequest, servicer.get_subscription),
            listing: unary(listing, pb.ListSubscriptionsRequest, servicer.list_subscriptions),
        },
    )
