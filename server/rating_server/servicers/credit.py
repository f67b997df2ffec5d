"""CustomerService, the methods about grants and promotions."""

from __future__ import annotations

from decimal import Decimal

from grpc import aio

from ratewright.v1 import credit_pb2 as pb
from rating_core.contract.values import (
    PRIORITY_DEFAULT,
    Grant,
    GrantKind,
    Promotion,
    PromotionKind,
)
from rating_core.metering.calls import Subscription
from rating_core.units import format_decimal, parse_decimal
from rating_server.servicers import customer
from rating_server.servicers.convert_time import from_proto_instant, to_proto_timestamp
from rating_server.servicers.names import parse_grant_name, parse_parent
from rating_server.servicers.rpc import add_service, unary
from rating_server.usecases import grant_credit
from rating_server.usecases.context import Context
from rating_server.usecases.failure import Violation, noting, require
from rating_server.usecases.grant_credit import Balance, Parent


class CreditServicer:
    """Serves the methods of CustomerService about grants and promotions."""

    def __init__(self, context: Context) -> None:
        self._context = context

    async def create_grant(self, request: pb.CreateGrantRequest) -> pb.CreateGrantResponse:
        """Grant a credit."""
        faults: list[Violation] = []
        parent = _parent(request.parent, "parent", faults)
        grant = _from_proto_grant(request.grant, self._context.now(), faults)
        made, replayed = await grant_credit.create_grant(
            self._context,
            parent,
            grant,
            request.request_id,
            faults,
            from_now=not request.grant.HasField("effective_time"),
        )
        return pb.CreateGrantResponse(grant=to_proto_grant(made), replayed=replayed)

    async def void_grant(self, request: pb.VoidGrantRequest) -> pb.VoidGrantResponse:
        """End a grant at once."""
        parent, grant_id = parse_grant_name(request.name)
        made, replayed = await grant_credit.void_grant(
            self._context, parent, grant_id, request.request_id
        )
        return pb.VoidGrantResponse(grant=to_proto_grant(made), replayed=replayed)

    async def list_grants(self, request: pb.ListGrantsRequest) -> pb.ListGrantsResponse:
        """List the grants of a subscription with their balances."""
        faults: list[Violation] = []
        time = _instant(request, faults)
        parent = _parent(request.parent, "parent", faults)
        require(faults, ())
        found, token = await grant_credit.list_grants(
            self._context,
            parent,
            time,
            request.page_size,
            request.page_token,
        )
        return pb.ListGrantsResponse(
            grants=[to_proto_grant(one) for one in found], next_page_token=token
        )

    async def get_balance(self, request: pb.GetBalanceRequest) -> pb.GetBalanceResponse:
        """Get what the grants of a subscription, or one of them, can still pay."""
        faults: list[Violation] = []
        time, grant_id = _instant(request, faults), None
        parent = Parent("")
        with noting(faults):
            if "/grants/" in request.name:
                parent, grant_id = parse_grant_name(request.name)
            else:
                parent = parse_parent(request.name, "name")
        require(faults, ())
        balance, currency = await grant_credit.get_balance(self._context, parent, grant_id, time)
        return pb.GetBalanceResponse(balance=format(balance, "f"), currency=currency)

    async def create_promotion(
        self, request: pb.CreatePromotionRequest
    ) -> pb.CreatePromotionResponse:
        """Add a promotion."""
        faults: list[Violation] = []
        parent = _parent(request.parent, "parent", faults)
        promotion = _from_proto_promotion(request.promotion, self._context.now(), faults)
        subscription, made, replayed = await grant_credit.create_promotion(
            self._context,
            parent,
            promotion,
            request.request_id,
            faults,
            from_now=not request.promotion.HasField("start_time"),
        )
        return pb.CreatePromotionResponse(
            promotion=to_proto_promotion(subscription, made), replayed=replayed
        )

    async def list_promotions(self, request: pb.ListPromotionsRequest) -> pb.ListPromotionsResponse:
        """List the promotions of a subscription."""
        subscription, page, token = await grant_credit.list_promotions(
            self._context, parse_parent(request.parent), request.page_size, request.page_token
        )
        return pb.ListPromotionsResponse(
            promotions=[to_proto_promotion(subscription, one) for one in page],
            next_page_token=token,
        )


def _instant(
    request: pb.ListGrantsRequest | pb.GetBalanceRequest, faults: list[Violation]
) -> int | None:
    return from_proto_instant(request.time, request.HasField("time"), "time", faults)


def _parent(name: str, field: str, faults: list[Violation]) -> Parent:
    """Return the subscription that a name names; notes one that names none."""
    with noting(faults):
        return parse_parent(name, field)
    return Parent("")


def _decimal(text: str, field: str, faults: list[Violation]) -> Decimal:
    try:
        return parse_decimal(text)
    except ValueError as error:
        faults.append(Violation(field, "NOT_A_NUMBER", str(error)))
        return Decimal(0)


def _from_proto_grant(message: pb.Grant, now: int, faults: list[Violation]) -> Grant:
    """Return the grant of a message; notes every field that cannot be read."""
    amount = _decimal(message.amount, "grant.amount", faults)
    given = message.HasField("effective_time")
    begins = from_proto_instant(message.effective_time, given, "grant.effective_time", faults)
    given = message.HasField("expire_time")
    expires = from_proto_instant(message.expire_time, given, "grant.expire_time", faults)
    bonus = message.kind == pb.GRANT_KIND_BONUS
    if message.kind not in pb.GrantKind.DESCRIPTOR.values_by_number:
        faults.append(Violation("grant.kind", "UNKNOWN_VALUE", "no such kind of grant"))
    if begins is None and message.HasField("effective_time"):
        expires = None  # no instant is too early for a start that could not be read
    return Grant(
        id=message.id,
        amount=amount,
        kind=GrantKind.BONUS if bonus else GrantKind.PREPAID,
        effective=now if begins is None else begins,
        expires=expires,
        priority=message.priority if message.HasField("priority") else PRIORITY_DEFAULT,
        covers=tuple(message.covers),
    )


def _from_proto_promotion(message: pb.Promotion, now: int, faults: list[Violation]) -> Promotion:
    """Return the promotion of a message; notes every field that cannot be read."""
    value = _decimal(message.value, "promotion.value", faults)
    given = message.HasField("start_time")
    start = from_proto_instant(message.start_time, given, "promotion.start_time", faults)
    given = message.HasField("end_time")
    until = from_proto_instant(message.end_time, given, "promotion.end_time", faults)
    if start is None and message.HasField("start_time"):
        until = None  # no instant is too early for a start that could not be read
    kind = PromotionKind.AMOUNT_OFF
    known = pb.PromotionKind.DESCRIPTOR.values_by_number.get(message.kind)
    if known is None or not known.number:
        faults.append(Violation("promotion.kind", "MISSING", "a kind is required"))
    else:
        kind = PromotionKind[known.name.removeprefix("PROMOTION_KIND_")]
    return Promotion(
        id=message.id,
        kind=kind,
        value=value,
        instant=now if start is None else start,
        charges=tuple(message.charges),
        periods=message.periods if message.HasField("periods") else None,
        until=until,
    )


def _name(subscription: Subscription, kind: str, name: str) -> str:
    parent = f"customers/{subscription.customer}/subscriptions/{subscription.subscription_id}"
    return f"{parent}/{kind}/{name}"


def to_proto_grant(found: Balance) -> pb.Grant:
    """Return the message of a grant with its balance."""
    grant = found.grant
    message = pb.Grant(
        name=_name(found.subscription, "grants", grant.id),
        id=grant.id,
        amount=format_decimal(grant.amount),
        kind=f"GRANT_KIND_{grant.kind.name}",
        priority=grant.priority,
        effective_time=to_proto_timestamp(grant.effective),
        covers=grant.covers,
        create_time=to_proto_timestamp(grant.create_time),
        balance=format(found.balance, "f"),
        drawn=format(found.drawn, "f"),
        currency=found.currency,
    )
    if grant.expires is not None:
        message.expire_time.CopyFrom(to_proto_timestamp(grant.expires))
    if grant.void_time is not None:
        message.void_time.CopyFrom(to_proto_timestamp(grant.void_time))
    return message


def to_proto_promotion(subscription: Subscription, promotion: Promotion) -> pb.Promotion:
    """Return the message of a promotion."""
    message = pb.Promotion(
        name=_name(subscription, "promotions", promotion.id),
        id=promotion.id,
        kind=f"PROMOTION_KIND_{promotion.kind.name}",
        value=format_decimal(promotion.value),
        start_time=to_proto_timestamp(promotion.instant),
        charges=promotion.charges,
        periods=promotion.periods,
    )
    if promotion.until is not None:
        message.end_time.CopyFrom(to_proto_timestamp(promotion.until))
    return message


def register(server: aio.Server, servicer: CreditServicer) -> None:
    """Register these methods of CustomerService on the server."""
    grant, void, grants = "CreateGrant", "VoidGrant", "ListGrants"
    balance, promote, promotions = "GetBalance", "CreatePromotion", "ListPromotions"
    add_service(
        server,
        customer.SERVICE,
        {
            grant: unary(grant, pb.CreateGrantRequest, servicer.create_grant),
            void: unary(void, pb.VoidGrantRequest, servicer.void_grant),
            grants: unary(grants, pb.ListGrantsRequest, servicer.list_grants),
            balance: unary(balance, pb.GetBalanceRequest, servicer.get_balance),
            promote: unary(promote, pb.CreatePromotionRequest, servicer.create_promotion),
            promotions: unary(promotions, pb.ListPromotionsRequest, servicer.list_promotions),
        },
    )
