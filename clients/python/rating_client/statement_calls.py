"""Calls about statements, credits and promotions as values; see `calls` (S9, S10)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any

from ratewright.document import usage_from_document
from ratewright.v1 import credit_pb2 as credit
from ratewright.v1 import rating_service_pb2 as rating
from rating_client.calls import (
    Call,
    Page,
    PlanLike,
    fresh_request_id,
    plan_message,
    plan_name,
    timestamp_of,
)
from rating_client.catalogue_calls import number_of
from rating_client.contract_values import (
    FinalizedStatements,
    StatementFailure,
    Verification,
)
from rating_client.statement_messages import read_statement, statement_value
from rating_client.values import Statement, to_text

FINALIZE_PATH = "/ratewright.v1.RatingService/FinalizeStatements"


def rate_usage(
    plan: str | PlanLike, usage: Mapping[str, Any], version: int | None
) -> Call[Statement]:
    """Return the call of RateUsage: ``plan`` by id, or whole."""
    request = rating.RateUsageRequest(usage=usage_from_document(usage))
    if isinstance(plan, str):
        request.plan_name = plan_name(plan, version)
    elif version is None:
        request.plan.CopyFrom(plan_message(plan))
    else:
        raise ValueError("version: only with the id of a plan")
    return Call("RatingService/RateUsage", request, rating.RateUsageResponse, read_statement)


def preview_statement(
    customer: str,
    time: datetime | None,
    as_of: datetime | None,
    subscription_id: str,
    correction: bool,
) -> Call[Statement]:
    """Return the call of PreviewStatement."""
    request = rating.PreviewStatementRequest(
        customer=customer,
        time=timestamp_of(time, "time"),
        as_of_time=timestamp_of(as_of, "as_of"),
        subscription_id=subscription_id,
        correction=correction,
    )
    response = rating.PreviewStatementResponse
    return Call("RatingService/PreviewStatement", request, response, read_statement)


def finalize_statement(
    customer: str, period_start: datetime | None, subscription_id: str, correction: bool
) -> Call[Statement]:
    """Return the call of FinalizeStatement."""
    request = rating.FinalizeStatementRequest(
        customer=customer,
        subscription_id=subscription_id,
        period_start=timestamp_of(period_start, "period_start"),
        correction=correction,
    )
    response = rating.FinalizeStatementResponse
    return Call("RatingService/FinalizeStatement", request, response, read_statement)


def get_statement(
    customer: str, period_start: datetime | None, subscription_id: str, name: str
) -> Call[Statement]:
    """Return the call of GetStatement."""
    request = rating.GetStatementRequest(
        name=name,
        customer=customer,
        subscription_id=subscription_id,
        period_start=timestamp_of(period_start, "period_start"),
    )
    return Call("RatingService/GetStatement", request, rating.GetStatementResponse, read_statement)


def list_statements(
    customer: str, subscription_id: str, page_size: int, token: str
) -> Call[Page[Statement]]:
    """Return the call for one page of ListStatements."""
    request = rating.ListStatementsRequest(
        parent=parent_name(customer, subscription_id), page_size=page_size, page_token=token
    )
    return Call(
        "RatingService/ListStatements",
        request,
        rating.ListStatementsResponse,
        lambda answer: Page(
            tuple(statement_value(one) for one in answer.statements), answer.next_page_token
        ),
    )


def verify_statement(name: str, from_log: bool) -> Call[Verification]:
    """Return the call of VerifyStatement."""
    request = rating.VerifyStatementRequest(name=name, from_log=from_log)
    return Call(
        "RatingService/VerifyStatement",
        request,
        rating.VerifyStatementResponse,
        lambda answer: Verification(
            read_statement(answer),
            tuple((one.path, one.finalized, one.recomputed) for one in answer.differences),
        ),
    )


def finalize_request(until: datetime | None, plan_id: str) -> rating.FinalizeStatementsRequest:
    """Return the request of FinalizeStatements."""
    return rating.FinalizeStatementsRequest(
        until=timestamp_of(until, "until"), plan_name=plan_name(plan_id, None) if plan_id else ""
    )


def read_chunk(answer: rating.FinalizeStatementsResponse) -> FinalizedStatements:
    """Return one chunk of FinalizeStatements as a value."""
    return FinalizedStatements(
        customers=tuple(answer.customers),
        subscription_ids=tuple(answer.subscription_ids),
        numbers=tuple(answer.numbers),
        period_starts_micros=tuple(answer.period_starts_micros),
        period_ends_micros=tuple(answer.period_ends_micros),
        totals=tuple(answer.totals),
        amounts_due=tuple(answer.amounts_due),
        scale=answer.scale,
        currency=answer.currency,
        failures=tuple(
            StatementFailure(one.customer, one.subscription_id, one.reason, one.message)
            for one in answer.failures
        ),
    )


def parent_name(customer: str, subscription_id: str) -> str:
    """Return the resource name of a subscription, or of the customer whose current one is meant."""
    name = f"customers/{customer}"
    return f"{name}/subscriptions/{subscription_id}" if subscription_id else name


def create_grant(
    customer: str,
    grant_id: str,
    amount: Decimal | int | str,
    kind: str,
    priority: int | None,
    effective: datetime | None,
    expires: datetime | None,
    covers: Iterable[str],
    subscription_id: str,
    request_id: str | None,
) -> Call[credit.CreateGrantResponse]:
    """Return the call of CreateGrant; ValueError for a kind that there is not."""
    grant = credit.Grant(
        id=grant_id,
        amount=to_text(amount, "amount"),
        kind=number_of(credit.GrantKind, "kind", kind),
        priority=priority,
        effective_time=timestamp_of(effective, "effective"),
        expire_time=timestamp_of(expires, "expires"),
        covers=covers,
    )
    request = credit.CreateGrantRequest(
        parent=parent_name(customer, subscription_id),
        grant=grant,
        request_id=fresh_request_id(request_id),
    )
    return Call("CustomerService/CreateGrant", request, credit.CreateGrantResponse, _same)


def void_grant(
    customer: str, grant_id: str, subscription_id: str, request_id: str | None
) -> Call[credit.VoidGrantResponse]:
    """Return the call of VoidGrant."""
    name = f"{parent_name(customer, subscription_id)}/grants/{grant_id}"
    request = credit.VoidGrantRequest(name=name, request_id=fresh_request_id(request_id))
    return Call("CustomerService/VoidGrant", request, credit.VoidGrantResponse, _same)


def list_grants(
    customer: str, time: datetime | None, subscription_id: str, page_size: int, token: str
) -> Call[Page[credit.Grant]]:
    """Return the call for one page of ListGrants."""
    request = credit.ListGrantsRequest(
        parent=parent_name(customer, subscription_id),
        time=timestamp_of(time, "time"),
        page_size=page_size,
        page_token=token,
    )
    return Call(
        "CustomerService/ListGrants",
        request,
        credit.ListGrantsResponse,
        lambda answer: Page(tuple(answer.grants), answer.next_page_token),
    )


def get_balance(
    customer: str, grant_id: str, time: datetime | None, subscription_id: str
) -> Call[Decimal]:
    """Return the call of GetBalance."""
    name = parent_name(customer, subscription_id)
    request = credit.GetBalanceRequest(
        name=f"{name}/grants/{grant_id}" if grant_id else name, time=timestamp_of(time, "time")
    )
    return Call(
        "CustomerService/GetBalance",
        request,
        credit.GetBalanceResponse,
        lambda answer: Decimal(answer.balance),
    )


def create_promotion(
    customer: str,
    promotion_id: str,
    kind: str,
    value: Decimal | int | str,
    start: datetime | None,
    charges: Iterable[str],
    periods: int | None,
    until: datetime | None,
    subscription_id: str,
    request_id: str | None,
) -> Call[credit.CreatePromotionResponse]:
    """Return the call of CreatePromotion; ValueError for a kind that there is not."""
    promotion = credit.Promotion(
        id=promotion_id,
        kind=number_of(credit.PromotionKind, "kind", kind),
        value=to_text(value, "value"),
        start_time=timestamp_of(start, "start"),
        charges=charges,
        periods=periods,
        end_time=timestamp_of(until, "until"),
    )
    request = credit.CreatePromotionRequest(
        parent=parent_name(customer, subscription_id),
        promotion=promotion,
        request_id=fresh_request_id(request_id),
    )
    return Call("CustomerService/CreatePromotion", request, credit.CreatePromotionResponse, _same)


def list_promotions(
    customer: str, subscription_id: str, page_size: int, token: str
) -> Call[Page[credit.Promotion]]:
    """Return the call for one page of ListPromotions."""
    request = credit.ListPromotionsRequest(
        parent=parent_name(customer, subscription_id), page_size=page_size, page_token=token
    )
    return Call(
        "CustomerService/ListPromotions",
        request,
        credit.ListPromotionsResponse,
        lambda answer: Page(tuple(answer.promotions), answer.next_page_token),
    )


def _same(response: Any) -> Any:
    return response
