"""Methods of the asyncio client about statements, credits and promotions (S9, S10)."""

# ruff: noqa: ASYNC109 - timeout means the same as in the synchronous twin; gRPC keeps it
from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Iterable
from datetime import datetime
from decimal import Decimal
from typing import Any, TypeVar

import grpc

from ratewright.v1 import credit_pb2 as credit
from ratewright.v1 import rating_service_pb2 as rating
from rating_client import statement_calls as calls
from rating_client.calls import Call, Page
from rating_client.contract_values import FinalizedStatements, Verification
from rating_client.errors import error_from_rpc
from rating_client.values import Statement

Answer = TypeVar("Answer")


class AsyncContractMethods(ABC):
    """What a client can do about contracts; each method takes ``timeout`` in seconds.

    Without ``subscription_id`` the subscription that is active now is meant, or else the last.
    """

    @abstractmethod
    async def _call(self, call: Call[Answer], timeout: float | None) -> Answer:
        """Send a unary call."""

    @abstractmethod
    def _pages(
        self, page: Callable[[str], Call[Page[Answer]]], timeout: float | None
    ) -> AsyncIterator[Answer]:
        """Yield all of a list, page after page."""

    @abstractmethod
    def stream_channel(self, address: str | None = None) -> Any:
        """Return the channel of streams."""

    async def preview_statement(
        self,
        customer: str,
        time: datetime | None = None,
        *,
        as_of: datetime | None = None,
        subscription_id: str = "",
        correction: bool = False,
        timeout: float | None = None,
    ) -> Statement:
        """Price what is counted in the period that holds ``time`` (default: now) (S9.4).

        ``as_of``: what had been counted, granted and finalised up to then, read from the log. A
        period that is finalised gives its statement. ``correction``: what came after the
        subscription's last period was finalised.
        """
        return await self._call(
            calls.preview_statement(customer, time, as_of, subscription_id, correction), timeout
        )

    async def finalize_statement(
        self,
        customer: str,
        period_start: datetime | None = None,
        *,
        subscription_id: str = "",
        correction: bool = False,
        timeout: float | None = None,
    ) -> Statement:
        """Finalise a billing period, by default the one that ended last (S9.2).

        In order, and once: a period that is finalised already gives the same statement. Raises
        FailedPrecondition before its end + grace, with the earliest instant.
        """
        return await self._call(
            calls.finalize_statement(customer, period_start, subscription_id, correction), timeout
        )

    async def get_statement(
        self,
        customer: str = "",
        period_start: datetime | None = None,
        *,
        subscription_id: str = "",
        name: str = "",
        timeout: float | None = None,
    ) -> Statement:
        """Return a finalised statement: the last, a period's, or that of a ``name`` (S9.5)."""
        return await self._call(
            calls.get_statement(customer, period_start, subscription_id, name), timeout
        )

    async def verify_statement(
        self, name: str, *, from_log: bool = False, timeout: float | None = None
    ) -> Verification:
        """Have a finalised statement recomputed from the inputs that it names (S9.5).

        ``from_log``: these inputs are counted anew from the log too.
        """
        return await self._call(calls.verify_statement(name, from_log), timeout)

    async def create_grant(
        self,
        customer: str,
        grant_id: str,
        amount: Decimal | int | str,
        *,
        kind: str = "prepaid",
        priority: int | None = None,
        effective: datetime | None = None,
        expires: datetime | None = None,
        covers: Iterable[str] = (),
        subscription_id: str = "",
        request_id: str | None = None,
        timeout: float | None = None,
    ) -> credit.CreateGrantResponse:
        """Grant a credit, `prepaid` or `bonus`, valid from ``effective`` (now) on (S10.1).

        ``priority``: lower first, default 50. ``covers``: ids of the charges that it may pay.
        """
        return await self._call(
            calls.create_grant(
                customer,
                grant_id,
                amount,
                kind,
                priority,
                effective,
                expires,
                covers,
                subscription_id,
                request_id,
            ),
            timeout,
        )

    async def void_grant(
        self,
        customer: str,
        grant_id: str,
        *,
        subscription_id: str = "",
        request_id: str | None = None,
        timeout: float | None = None,
    ) -> credit.VoidGrantResponse:
        """End a grant at once (S10.1)."""
        return await self._call(
            calls.void_grant(customer, grant_id, subscription_id, request_id), timeout
        )

    async def get_balance(
        self,
        customer: str,
        grant_id: str = "",
        time: datetime | None = None,
        *,
        subscription_id: str = "",
        timeout: float | None = None,
    ) -> Decimal:
        """Return what all grants, or one, can still pay at ``time`` (default: now) (S10.1)."""
        return await self._call(
            calls.get_balance(customer, grant_id, time, subscription_id), timeout
        )

    async def create_promotion(
        self,
        customer: str,
        promotion_id: str,
        kind: str,
        value: Decimal | int | str,
        *,
        start: datetime | None = None,
        charges: Iterable[str] = (),
        periods: int | None = None,
        until: datetime | None = None,
        subscription_id: str = "",
        request_id: str | None = None,
        timeout: float | None = None,
    ) -> credit.CreatePromotionResponse:
        """Add a promotion: `allowance_multiplier`, `percent_off`, `amount_off` or
        `overage_percent_off` (S10.3).
        """
        return await self._call(
            calls.create_promotion(
                customer,
                promotion_id,
                kind,
                value,
                start,
                charges,
                periods,
                until,
                subscription_id,
                request_id,
            ),
            timeout,
        )

    def list_statements(
        self,
        customer: str,
        *,
        subscription_id: str = "",
        page_size: int = 0,
        timeout: float | None = None,
    ) -> AsyncIterator[Statement]:
        """Yield the statements of a subscription, with what stands booked for each now."""
        return self._pages(
            lambda token: calls.list_statements(customer, subscription_id, page_size, token),
            timeout,
        )

    def list_grants(
        self,
        customer: str,
        time: datetime | None = None,
        *,
        subscription_id: str = "",
        page_size: int = 0,
        timeout: float | None = None,
    ) -> AsyncIterator[credit.Grant]:
        """Yield the grants of a subscription with their balances at ``time`` (default: now)."""
        return self._pages(
            lambda token: calls.list_grants(customer, time, subscription_id, page_size, token),
            timeout,
        )

    def list_promotions(
        self,
        customer: str,
        *,
        subscription_id: str = "",
        page_size: int = 0,
        timeout: float | None = None,
    ) -> AsyncIterator[credit.Promotion]:
        """Yield the promotions of a subscription."""
        return self._pages(
            lambda token: calls.list_promotions(customer, subscription_id, page_size, token),
            timeout,
        )

    async def finalize_statements(
        self, until: datetime | None = None, *, plan_id: str = "", timeout: float | None = None
    ) -> AsyncIterator[FinalizedStatements]:
        """Finalise the statements of all customers that are due; yield them chunk by chunk (S9.2).

        ``until``: only periods that end then or before; ``plan_id``: only customers on this plan.
        ``timeout`` is that of the whole stream (default: none). The same call again goes on from
        where this one ended.
        """
        open_stream: Any = self.stream_channel().unary_stream(
            calls.FINALIZE_PATH,
            request_serializer=rating.FinalizeStatementsRequest.SerializeToString,
            response_deserializer=rating.FinalizeStatementsResponse.FromString,
        )
        call = open_stream(calls.finalize_request(until, plan_id), timeout=timeout)
        try:
            async for answer in call:
                yield calls.read_chunk(answer)
        except grpc.RpcError as error:
            raise error_from_rpc(error) from error
        finally:
            call.cancel()
