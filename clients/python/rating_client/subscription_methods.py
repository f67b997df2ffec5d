"""The methods of both clients that are about subscriptions."""
# ruff: noqa: ASYNC109 - the deadline goes to the server with the call

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import datetime
from typing import TypeVar

from ratewright.v1 import customer_service_pb2 as customers
from rating_client import subscription_requests as requests
from rating_client.calls import Call, Page
from rating_client.subscription_requests import Overrides, SubscriptionTerms

Answer = TypeVar("Answer")


class SubscriptionMethods(ABC):
    """What a client can do with subscriptions."""

    @abstractmethod
    def _call(self, call: Call[Answer], timeout: float | None) -> Answer: ...

    @abstractmethod
    def _pages(
        self, page: Callable[[str], Call[Page[Answer]]], timeout: float | None
    ) -> Iterator[Answer]: ...

    def create_subscription(
        self,
        customer: str,
        plan_id: str,
        *,
        plan_version: int | None = None,
        start_time: datetime | None = None,
        subscription_id: str = "",
        time_zone: str = "",
        anchor_day: int | None = None,
        overrides: Overrides = "",
        request_id: str | None = None,
        timeout: float | None = None,
    ) -> customers.CreateSubscriptionResponse:
        """Put a customer on a plan version (default: the latest) from an instant (now) on (S7.7).

        ``subscription_id`` defaults to `main`. ``time_zone``: an IANA name, by default UTC;
        ``anchor_day``: on which periods start, 1–31 (S8.1); ``overrides``: the customer's own
        prices, numbers as text, in the form of a plan document (S8.6).
        """
        terms = SubscriptionTerms(time_zone=time_zone, anchor_day=anchor_day, overrides=overrides)
        call = requests.create_subscription(
            customer, plan_id, plan_version, start_time, subscription_id, terms, request_id
        )
        return self._call(call, timeout)

    def change_plan(
        self,
        customer: str,
        plan_id: str = "",
        *,
        plan_version: int | None = None,
        overrides: Overrides = "",
        effective_time: datetime | None = None,
        subscription_id: str = "main",
        request_id: str | None = None,
        timeout: float | None = None,
    ) -> customers.ChangePlanResponse:
        """Put a subscription on another plan version or other prices from an instant (now) on.

        Without ``plan_id`` the plan stays, at its latest version unless one is given (S8.2, S8.6).
        """
        call = requests.change_plan(
            customer, subscription_id, plan_id, plan_version, overrides, effective_time, request_id
        )
        return self._call(call, timeout)

    def cancel_subscription(
        self,
        customer: str,
        *,
        end_time: datetime | None = None,
        subscription_id: str = "main",
        request_id: str | None = None,
        timeout: float | None = None,
    ) -> customers.CancelSubscriptionResponse:
        """End a subscription at an instant (default: now), exclusive (S8.2)."""
        call = requests.cancel_subscription(customer, subscription_id, end_time, request_id)
        return self._call(call, timeout)

    def get_subscription(
        self,
        customer: str,
        subscription_id: str = "main",
        *,
        time: datetime | None = None,
        timeout: float | None = None,
    ) -> customers.Subscription:
        """Return a subscription, with the plan that it is on at ``time`` (default: now)."""
        return self._call(requests.get_subscription(customer, subscription_id, time), timeout)

    def list_subscriptions(
        self, customer: str | None = None, *, page_size: int = 0, timeout: float | None = None
    ) -> Iterator[customers.Subscription]:
        """Yield the subscriptions of all customers, or of one, by customer and start time."""
        return self._pages(
            lambda token: requests.list_subscriptions(customer, page_size, token), timeout
        )


class AsyncSubscriptionMethods(ABC):
    """What a client can do with subscriptions, with asyncio."""

    @abstractmethod
    async def _call(self, call: Call[Answer], timeout: float | None) -> Answer: ...

    @abstractmethod
    def _pages(
        self, page: Callable[[str], Call[Page[Answer]]], timeout: float | None
    ) -> AsyncIterator[Answer]: ...

    async def create_subscription(
        self,
        customer: str,
        plan_id: str,
        *,
        plan_version: int | None = None,
        start_time: datetime | None = None,
        subscription_id: str = "",
        time_zone: str = "",
        anchor_day: int | None = None,
        overrides: Overrides = "",
        request_id: str | None = None,
        timeout: float | None = None,
    ) -> customers.CreateSubscriptionResponse:
        """Put a customer on a plan version (default: the latest) from an instant (now) on (S7.7).

        ``subscription_id`` defaults to `main`. ``time_zone``: an IANA name, by default UTC;
        ``anchor_day``: on which periods start, 1–31 (S8.1); ``overrides``: the customer's own
        prices, numbers as text, in the form of a plan document (S8.6).
        """
        terms = SubscriptionTerms(time_zone=time_zone, anchor_day=anchor_day, overrides=overrides)
        call = requests.create_subscription(
            customer, plan_id, plan_version, start_time, subscription_id, terms, request_id
        )
        return await self._call(call, timeout)

    async def change_plan(
        self,
        customer: str,
        plan_id: str = "",
        *,
        plan_version: int | None = None,
        overrides: Overrides = "",
        effective_time: datetime | None = None,
        subscription_id: str = "main",
        request_id: str | None = None,
        timeout: float | None = None,
    ) -> customers.ChangePlanResponse:
        """Put a subscription on another plan version or other prices from an instant (now) on.

        Without ``plan_id`` the plan stays, at its latest version unless one is given (S8.2, S8.6).
        """
        call = requests.change_plan(
            customer, subscription_id, plan_id, plan_version, overrides, effective_time, request_id
        )
        return await self._call(call, timeout)

    async def cancel_subscription(
        self,
        customer: str,
        *,
        end_time: datetime | None = None,
        subscription_id: str = "main",
        request_id: str | None = None,
        timeout: float | None = None,
    ) -> customers.CancelSubscriptionResponse:
        """End a subscription at an instant (default: now), exclusive (S8.2)."""
        call = requests.cancel_subscription(customer, subscription_id, end_time, request_id)
        return await self._call(call, timeout)

    async def get_subscription(
        self,
        customer: str,
        subscription_id: str = "main",
        *,
        time: datetime | None = None,
        timeout: float | None = None,
    ) -> customers.Subscription:
        """Return a subscription, with the plan that it is on at ``time`` (default: now)."""
        return await self._call(requests.get_subscription(customer, subscription_id, time), timeout)

    def list_subscriptions(
        self, customer: str | None = None, *, page_size: int = 0, timeout: float | None = None
    ) -> AsyncIterator[customers.Subscription]:
        """Yield the subscriptions of all customers, or of one, by customer and start time."""
        return self._pages(
            lambda token: requests.list_subscriptions(customer, page_size, token), timeout
        )
