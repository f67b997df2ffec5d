"""Moves of standing subscriptions on a real store: all shards take what any server began (S8.6)."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

from rating_core.metering.batch import shard_of
from rating_core.metering.calls import GetSubscriptions, MigratePlan
from rating_core.metering.catalogue_calls import MOVE_AHEAD_US, CreatePlan, ListMoves
from rating_server.store.usage_options import UsageStoreOptions
from rating_server.store.usage_store import RedisUsageStore, system_clock
from rating_server.usecases.choose_plan import choose_plan
from rating_server.usecases.context import Context
from rating_server.usecases.contract_plans import submit_with_plans
from rating_server.usecases.create_plan import Times, create_plan
from rating_server.usecases.create_subscription import NewSubscription, create_subscription
from rating_server.usecases.move_plans import finish_moves
from rating_server.usecases.plan_shelf import PlanShelf

CUSTOMERS = ["c1", "c2", "c3", "c4"]
AHEAD = 2 * MOVE_AHEAD_US


def plan(price: str) -> dict[str, Any]:
    """Return a plan document."""
    return {
        "id": "api",
        "currency": "USD",
        "billing_period": "month",
        "rounding": {"mode": "half_up", "scale": "2", "stage": "line"},
        "meters": [{"id": "calls", "aggregation": "count", "scale": "0"}],
        "charges": [{"id": "calls", "meter": "calls", "model": "per_unit", "unit_price": price}],
    }


def server_on(options: UsageStoreOptions) -> tuple[RedisUsageStore, Context]:
    """Return a server's adapter of a store, and its context, with one shelf of plans."""
    shelf = PlanShelf()
    store = RedisUsageStore(replace(options, plan_of=shelf.get))
    return store, Context(store, system_clock, {"USD": 2}.get, shelf=shelf)


async def versions(store: RedisUsageStore, customer: str) -> list[tuple[int, int]]:
    """Return start and plan version of a customer's phases."""
    shard = shard_of(customer, store.shard_count)
    (found,) = await store.ask(shard, GetSubscriptions(customer))  # type: ignore[misc]
    return [(phase.start_time, phase.plan_ref.version) for phase in found.phases]


async def subscribe(context: Context, customer: str, overrides: str = "") -> None:
    """Put a customer on the plan from now on."""
    new = NewSubscription(customer, "main", "api", 0, None, overrides=overrides)
    await create_subscription(context, new, "")


def test_a_version_moves_standing_ones_in_all_shards(store, options, serving) -> None:
    """Those who stand there, and those who come later; not those with prices of their own."""

    async def scenario() -> None:
        one, context = server_on(options(store.url))
        async with serving(one):
            await create_plan(context, plan("1"), Times(), "")
            for customer in CUSTOMERS:
                await subscribe(context, customer)
            await subscribe(context, "own", '{"charges":[{"id":"calls","unit_price":"0.5"}]}')
            when = system_clock() + AHEAD
            await create_plan(context, plan("2"), Times(when, when), "")
            assert await one.catalogue_ask(ListMoves()) == ()
            await subscribe(context, "late")
            for customer in [*CUSTOMERS, "late"]:
                (_, first), second = await versions(one, customer)
                assert (first, second) == (1, (when, 2))
            assert [version for _, version in await versions(one, "own")] == [1]
            later = await choose_plan(context, "api", 0, when, "", "overrides")
            assert later.ref.version == 2

    asyncio.run(scenario())


def test_what_a_server_left_unfinished_another_finishes(store, options, serving) -> None:
    """A crash after the catalogue's entry, or after some shards, delays the move only."""

    async def scenario() -> None:
        one, context = server_on(options(store.url))
        two, other = server_on(options(store.url))
        async with serving(one, two):
            published = await create_plan(context, plan("1"), Times(), "")
            for customer in CUSTOMERS:
                await subscribe(context, customer)
            document, when = published.stored.document, system_clock() + AHEAD
            call = CreatePlan(document=document, existing_effective_time=when)
            assert (await one.catalogue_call(call)).ok  # type: ignore[attr-defined]
            first = MigratePlan(
                plan_id="api",
                version=2,
                instant=when,
                billing_period=context.plans["api", 1].plan.billing_period,
                request_id="move:api@2",
                asked={"plan_id": "api", "version": 2},
            )
            assert (await submit_with_plans(context, 0, first)).ok
            await finish_moves(other)
            assert await one.catalogue_ask(ListMoves()) == ()
            for customer in CUSTOMERS:
                assert (await versions(one, customer))[1:] == [(when, 2)]

    asyncio.run(scenario())
