"""What every use case works with."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from typing import TypeVar

from rating_core.catalog import Plan
from rating_core.compile import CompiledPlans, compile_plans
from rating_core.contract.usage import PlanRef
from rating_core.metering.batch import shard_of
from rating_core.metering.catalogue_calls import GetPlan, StoredPlan
from rating_core.plan.document import plan_from_document
from rating_core.plan.overrides import apply_overrides
from rating_server.ports import ClockRefused, HistoryTrimmed, StoreError, StoreFull, UsageStore
from rating_server.usecases.failure import Failure, Violation, require
from rating_server.usecases.plan_shelf import PlanShelf

CUSTOMER_BYTES_MAX = 128
REQUEST_ID_MAX = 255
_PLANS_CACHED = 1_000

_CONTROL = re.compile("[\\x00-\\x1f\\x7f]")

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class PricedPlan:
    """A plan version of the catalogue, parsed and compiled once: versions are immutable."""

    plan: Plan
    version: int
    compiled: CompiledPlans


@dataclass(slots=True)
class Context:
    """The ports and caches of one server.

    ``now`` returns microseconds UTC; ``minor_unit`` looks a currency up. ``shelf``: the plans that
    the shards' decisions see.
    """

    store: UsageStore
    now: Callable[[], int]
    minor_unit: Callable[[str], int | None]
    plans: dict[tuple[str, int], PricedPlan] = field(default_factory=dict)
    own_plans: dict[PlanRef, PricedPlan] = field(default_factory=dict)
    shelf: PlanShelf = field(default_factory=PlanShelf)

    def shard(self, customer: str) -> int:
        """Return the shard that holds this customer."""
        return shard_of(customer, self.store.shard_count)

    async def plan(self, plan_id: str, version: int = 0) -> PricedPlan:
        """Return a plan version, version 0 the latest; Failure PLAN_NOT_FOUND."""
        cached = self.plans.get((plan_id, version)) if version else None
        if cached is not None:
            return cached
        answer = await reach(
            self.store.catalogue_ask(GetPlan(plan_id, version)),
        )
        if answer is None:
            raise plan_not_found(plan_id, version)
        key = (plan_id, answer.version)
        cached = self.plans.get(key)
        if cached is None:
            # Compilation is the slow part of a first use: off the event loop.
            cached = await asyncio.to_thread(self._compile, answer)
            if len(self.plans) >= _PLANS_CACHED:
                self.plans.pop(next(iter(self.plans)))
            self.plans[key] = cached
        return cached

    async def contract_plan(self, ref: PlanRef) -> PricedPlan:
        """Return a plan version with a customer's overrides (S8.6).

        Failure PLAN_NOT_FOUND; PlanInvalid, with paths below `overrides`, if they do not fit.
        """
        if not ref.overrides:
            return await self.plan(ref.plan_id, ref.version)
        cached = self.own_plans.get(ref)
        if cached is None:
            standing = await self.plan(ref.plan_id, ref.version)
            cached = await asyncio.to_thread(_own_plan, standing, ref.overrides)
            if len(self.own_plans) >= _PLANS_CACHED:
                self.own_plans.pop(next(iter(self.own_plans)))
            self.own_plans[ref] = cached
        return cached

    def _compile(self, stored: StoredPlan) -> PricedPlan:
        plan = plan_from_document(stored.document, self.minor_unit, self.store.meters)
        return PricedPlan(plan, stored.version, compile_plans([plan]))


def plan_not_found(plan_id: str, version: int = 0) -> Failure:
    """Return the failure of a plan, or a version of it, that does not exist."""
    name = f"plans/{plan_id}" + (f"/versions/{version}" if version else "")
    return Failure("PLAN_NOT_FOUND", f"{name} does not exist", name=name)


def _own_plan(standing: PricedPlan, overrides: str) -> PricedPlan:
    plan = apply_overrides(standing.plan, overrides)
    return PricedPlan(plan, standing.version, compile_plans([plan]))


async def reach(call: Awaitable[T]) -> T:
    """Await a store call; its refusals become failures with a gRPC code."""
    try:
        return await call
    except StoreError as error:
        raise failure_of_store(error) from error


def failure_of_store(error: StoreError) -> Failure:
    """Return the failure that a refusal of the store is to a caller."""
    if isinstance(error, HistoryTrimmed):
        return Failure("HISTORY_TRIMMED", f"the log no longer reaches back so far: {error}")
    if isinstance(error, StoreFull):
        return Failure("STORE_FULL", f"the store takes no more: {error}")
    if isinstance(error, ClockRefused):
        text = "this server's clock is ahead of the store's by more than 5 s"
        return Failure("CLOCK_REFUSED", text)
    return Failure("STORE_UNAVAILABLE", f"the store did not answer: {error}")


def check_customer(customer: str) -> None:
    """Raise InvalidRequest unless ``customer`` may be one."""
    require((), customer_violations(customer, "customer"))


def customer_violations(customer: str, field_name: str) -> Iterator[Violation]:
    """Yield what is wrong with a customer id, if anything is."""
    if not customer:
        yield Violation(field_name, "MISSING", "a customer is required")
    elif not valid_customer(customer):
        text = f"expected 1 to {CUSTOMER_BYTES_MAX} bytes without control characters and `/`"
        yield Violation(field_name, "BAD_CUSTOMER", text)


def valid_customer(customer: str) -> bool:
    """Whether a customer id is 1–128 bytes of UTF-8 without control characters and `/`."""
    return valid_producer(customer) and "/" not in customer


def valid_producer(producer: str) -> bool:
    """Whether a producer id is 1–128 bytes of UTF-8 without control characters (P12)."""
    if not 0 < len(producer) <= CUSTOMER_BYTES_MAX or _CONTROL.search(producer):
        return False
    size = len(producer) if producer.isascii() else len(producer.encode("utf-8", "surrogatepass"))
    return size <= CUSTOMER_BYTES_MAX


def check_request_id(request_id: str) -> str:
    """Return ``request_id`` if it is short enough to remember."""
    require((), request_id_violations(request_id))
    return request_id


def request_id_violations(request_id: str) -> Iterator[Violation]:
    """Yield what is wrong with a request id, if anything is: it is too long to remember."""
    if len(request_id) > REQUEST_ID_MAX:
        text = f"expected at most {REQUEST_ID_MAX} characters"
        yield Violation("request_id", "TOO_LONG", text)
