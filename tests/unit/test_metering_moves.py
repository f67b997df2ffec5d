"""Moves of standing subscriptions to a new version: whom they reach, whenever made (S8.6)."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from rating_core.catalog import Aggregation, BillingPeriod, Charge, ChargeModel, Meter, Plan
from rating_core.metering.calls import (
    DAY_US,
    SECOND_US,
    ChangePlan,
    CreateSubscription,
    GetSubscriptions,
    MigratePlan,
    StateDigest,
)
from rating_core.metering.shard import UsageShard

NOW = 1_767_571_200_000_000  # 2026-01-05T00:00Z
METERS = {"tokens": Meter("tokens", Aggregation.SUM)}
PLAN = Plan(
    "api",
    "USD",
    BillingPeriod.DAY,
    (Charge("fee", ChargeModel.PER_UNIT, "tokens", unit_price=Decimal(1)),),
    meters=(METERS["tokens"],),
)
MOVE = MigratePlan(
    plan_id="api",
    version=2,
    instant=NOW + DAY_US,
    billing_period=BillingPeriod.DAY,
    bands={"tokens": {"fee": (1, None)}},
    request_id="move",
)


def subscribe(customer: str, version: int = 1, plan_id: str = "api", **keys: Any) -> Any:
    """Return the call that puts a customer on a version, a day ago."""
    return CreateSubscription(
        customer=customer,
        subscription_id="main",
        plan_id=plan_id,
        plan_version=version,
        billing_period=BillingPeriod.DAY,
        **{"start_time": NOW - DAY_US, **keys},
    )


def change(customer: str, effective: int, plan_id: str = "api") -> ChangePlan:
    """Return the call that puts a customer on version 1 of a plan."""
    return ChangePlan(
        customer=customer,
        subscription_id="main",
        effective=effective,
        plan_id=plan_id,
        plan_version=1,
        billing_period=BillingPeriod.DAY,
    )


@pytest.fixture
def shard() -> UsageShard:
    """An empty shard."""
    return UsageShard(bytes(16), METERS.get, plan_of=lambda _: PLAN)


def run(shard: UsageShard, *calls: Any, staged: bool = False) -> list[Any]:
    """Have a shard decide calls one by one, committed at once or all of them at the end."""
    answers = []
    for call in calls:
        decision = shard.decide([call], NOW)
        answers += decision.answers
        if decision.body is not None:
            shard.stage(decision, NOW)
            if not staged:
                shard.confirm(shard.version + 1, bytes(16))
    while staged and shard.version < sum(answer.ok for answer in answers):
        shard.confirm(shard.version + 1, bytes(16))
    return answers


def phases(shard: UsageShard, customer: str) -> list[tuple[int, str, int]]:
    """Return start after NOW, plan and version of a customer's phases."""
    (found,) = shard.query(GetSubscriptions(customer))
    return [
        (phase.start_time - NOW, phase.plan_ref.plan_id, phase.plan_ref.version)
        for phase in found.phases
    ]


@pytest.mark.parametrize("staged", [False, True])
def test_a_move_reaches_those_before_and_after_it(shard: UsageShard, *, staged: bool) -> None:
    """Who stands on an earlier version at the instant moves, also if subscribed later."""
    answers = run(
        shard,
        subscribe("before"),
        subscribe("other", plan_id="web"),
        subscribe("own", overrides='{"minimum_amount":"1"}'),
        MOVE,
        subscribe("after"),
        subscribe("newer", version=3),
        subscribe("later", start_time=NOW + DAY_US + 1),
        subscribe("changed", plan_id="web"),
        change("changed", NOW + 5),
        change("other", NOW + 2 * DAY_US),
        staged=staged,
    )
    assert all(answer.ok for answer in answers)
    moved = [(-DAY_US, "api", 1), (DAY_US, "api", 2)]
    assert phases(shard, "before") == phases(shard, "after") == moved
    assert phases(shard, "own") == [(-DAY_US, "api", 1)]
    assert phases(shard, "newer") == [(-DAY_US, "api", 3)]
    assert phases(shard, "later") == [(DAY_US + 1, "api", 1)]
    assert phases(shard, "changed") == [(-DAY_US, "web", 1), (5, "api", 1), (DAY_US, "api", 2)]
    assert phases(shard, "other") == [(-DAY_US, "web", 1), (2 * DAY_US, "api", 1)]


def test_who_leaves_the_plan_before_a_move_does_not_come_back(shard: UsageShard) -> None:
    """A change of plan before the instant takes the move with it, one back brings it again."""
    run(shard, subscribe("gone"), MOVE, change("gone", NOW + 5, "web"))
    assert phases(shard, "gone") == [(-DAY_US, "api", 1), (5, "web", 1)]
    run(shard, change("gone", NOW + 7))
    assert phases(shard, "gone")[2:] == [(7, "api", 1), (DAY_US, "api", 2)]


def test_a_move_is_carried_out_once_and_not_too_late(shard: UsageShard) -> None:
    """The same request moves once; an instant whose records may be counted is refused (P4)."""
    (soon,) = run(shard, MigratePlan(**_keys(MOVE) | {"instant": NOW + 60 * SECOND_US}))
    assert soon.reason == "EFFECTIVE_TOO_SOON"
    first, again = run(shard, MOVE, MOVE)
    assert (first.ok, again.replayed) == (True, True)
    assert shard.version == 1


def test_a_snapshot_knows_the_moves(shard: UsageShard) -> None:
    """A restored shard moves later subscriptions as the first one does (P10)."""
    run(shard, subscribe("before"), MOVE)
    other = UsageShard(bytes(16), METERS.get)
    other.restore(shard.snapshot())
    assert other.query(StateDigest()) == shard.query(StateDigest())
    for each in (shard, other):
        run(each, subscribe("after"))
        assert phases(each, "after") == [(-DAY_US, "api", 1), (DAY_US, "api", 2)]
    assert other.query(StateDigest()) == shard.query(StateDigest())


def _keys(call: MigratePlan) -> dict[str, Any]:
    return {name: getattr(call, name) for name in MigratePlan.__dataclass_fields__}
