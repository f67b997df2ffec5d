"""Sets of plans for RateBatch: kept and refused by size, keyed by all that they rest on."""

from __future__ import annotations

import asyncio
from typing import Any, NamedTuple, cast

import pytest

from rating_core.catalog import Aggregation, Meter
from rating_server.usecases.context import Context
from rating_server.usecases.failure import Failure, InvalidRequest
from rating_server.usecases.plan_sets import PlanSets, StatedPlan


class Catalogue(NamedTuple):
    """What whole plans ask the store for."""

    meters: dict[str, Meter]


def plan_sets_on(meters: dict[str, Meter], **limits: int) -> PlanSets:
    """Plan sets of a server whose catalogue has these meters."""
    return PlanSets(Context(cast("Any", Catalogue(meters)), lambda: 0, lambda _: 2), **limits)


def stated(plan_id: str, tier_count: int) -> StatedPlan:
    """A whole plan of one charge."""
    tiers = [{"up_to": str(n + 1), "unit_price": "1"} for n in range(tier_count - 1)]
    charge = {"id": "t", "meter": "m", "model": "graduated"}
    document = {
        "id": plan_id,
        "currency": "USD",
        "billing_period": "month",
        "meters": [{"id": "m", "aggregation": "sum"}],
        "charges": [charge | {"tiers": [*tiers, {"unit_price": "1"}]}],
    }
    return StatedPlan(plan_id.encode(), document)


def test_few_large_sets_are_kept_and_many_small_ones():
    """The cache is bounded by what the sets take, not by how many they are."""

    async def kept(tier_count: int) -> int:
        sets = plan_sets_on({}, cached_bytes_max=300_000)
        first = [await sets.get([stated(f"p{n}", tier_count)]) for n in range(20)]
        again = [await sets.get([stated(f"p{n}", tier_count)]) for n in reversed(range(20))]
        return sum(one is other for one, other in zip(first, reversed(again), strict=True))

    assert asyncio.run(kept(2)) == 20
    assert asyncio.run(kept(200)) == 2


def test_sets_in_use_bound_what_is_compiled():
    """While other streams hold their plans there is no room for more; later there is."""

    async def run() -> None:
        sets = plan_sets_on({}, live_bytes_max=300_000)
        held = [await sets.get([stated(f"p{n}", 200)]) for n in range(2)]
        with pytest.raises(Failure) as caught:
            await sets.get([stated("more", 200)])
        assert caught.value.reason == "TOO_MUCH_IN_FLIGHT"
        held.clear()
        assert (await sets.get([stated("more", 200)])).plans[0].id == "more"

    asyncio.run(run())


def test_a_set_that_would_be_too_large_is_refused():
    """Tiers count, and so do the empty rows of plans with few charges beside one with many."""

    async def refused(entries: list[StatedPlan]) -> str:
        with pytest.raises(InvalidRequest) as caught:
            await plan_sets_on({}).get(entries)
        assert [fault.reason for fault in caught.value.violations] == ["TOO_LARGE"]
        return caught.value.message

    assert "260 plans of 260000 tiers" in asyncio.run(refused([stated("p", 1_000)] * 260))
    wide = stated("wide", 1)
    wide.document["charges"] *= 1_000
    assert "would take" in asyncio.run(refused([wide, *[stated("p", 1)] * 999]))


def test_a_set_is_looked_up_by_the_meters_too():
    """What is accepted does not depend on what was compiled before (S2)."""

    async def run() -> None:
        meters: dict[str, Meter] = {}
        sets = plan_sets_on(meters)
        first = await sets.get([stated("p", 2)])
        assert await sets.get([stated("p", 2)]) is first
        meters["m"] = Meter("m", Aggregation.SUM, scale=3)
        with pytest.raises(InvalidRequest) as caught:
            await sets.get([stated("p", 2)])
        assert [fault.field for fault in caught.value.violations] == ["plans[0].plan.meters[0]"]

    asyncio.run(run())


def test_compiling_goes_on_two_at_a_time():
    """However many streams bring their plans at once, each gets its own set."""

    async def run() -> None:
        sets = plan_sets_on({})
        found = await asyncio.gather(*(sets.get([stated(f"p{n}", 9)]) for n in range(12)))
        assert [each.plans[0].id for each in found] == [f"p{n}" for n in range(12)]

    asyncio.run(run())
