"""Lines of a subscription share one name space, whatever comes first (S2.2)."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from rating_core.catalog import (
    Aggregation,
    BillingPeriod,
    Charge,
    ChargeModel,
    Commitment,
    Meter,
    Plan,
)
from rating_core.contract.usage import PlanRef
from rating_core.contract.values import Grant, GrantKind, Promotion, PromotionKind
from rating_core.metering.calls import (
    DAY_US,
    ChangePlan,
    CreateSubscription,
    GetSubscriptions,
    MigratePlan,
    StateDigest,
)
from rating_core.metering.contracts.ledger_calls import CreateGrant, CreatePromotion, VoidGrant
from rating_core.metering.shard import UsageShard

NOW = 1_767_571_200_000_000  # 2026-01-05T00:00Z
METERS = {"tokens": Meter("tokens", Aggregation.SUM)}


def plan(*charges: str, commitments: tuple[str, ...] = ()) -> Plan:
    """Return a plan whose lines have these names."""
    return Plan(
        "api",
        "USD",
        BillingPeriod.DAY,
        tuple(Charge(n, ChargeModel.PER_UNIT, "tokens", unit_price=Decimal(1)) for n in charges),
        commitments=tuple(Commitment(name, Decimal(5), covers=charges) for name in commitments),
        meters=(METERS["tokens"],),
    )


PLANS = {
    ("api", 1): plan("calls"),
    ("api", 2): plan("calls", "extra"),
    ("api", 3): plan("other", commitments=("calls",)),
    ("web", 1): plan("calls", commitments=("extra",)),
    ("web", 2): plan("other", commitments=("extra",)),
}


class Machine:
    """A shard, and the bodies of its log; it knows the plans of ``shelf`` alone."""

    def __init__(self, shelf: Any = None) -> None:
        self.shelf = PLANS if shelf is None else shelf
        self.shard = self._shard()
        self.bodies: list[bytes] = []

    def _shard(self) -> UsageShard:
        def plan_of(ref: PlanRef) -> Plan | None:
            return self.shelf.get((ref.plan_id, ref.version))

        return UsageShard(bytes(16), METERS.get, plan_of=plan_of)

    def run(self, *calls: Any, staged: bool = False) -> list[Any]:
        """Decide calls one by one, committed at once or all of them at the end."""
        answers = []
        for call in calls:
            decision = self.shard.decide([call], NOW)
            answers += decision.answers
            if decision.body is not None:
                self.shard.stage(decision, NOW)
                self.bodies.append(decision.body)
            if not staged:
                self._commit()
        self._commit()
        return answers

    def _commit(self) -> None:
        while self.shard.version < len(self.bodies):
            self.shard.confirm(self.shard.version + 1, bytes(16))

    def versions(self, customer: str) -> list[int]:
        """Return the plan versions that a customer is on, one after another."""
        (found,) = self.shard.query(GetSubscriptions(customer))
        return [phase.plan_ref.version for phase in found.phases]

    def digests(self) -> set[Any]:
        """Return what is decided by: live, as read from the log, and restored."""
        read, restored = self._shard(), self._shard()
        for version, body in enumerate(self.bodies, 1):
            read.apply(body, NOW, version, bytes(16))
        restored.restore(self.shard.snapshot())
        return {one.query(StateDigest()) for one in (self.shard, read, restored)}


def subscribe(customer: str = "acme", plan_id: str = "api") -> CreateSubscription:
    """Return the call that puts a customer on version 1 of a plan."""
    return CreateSubscription(
        customer=customer,
        subscription_id="main",
        plan_id=plan_id,
        plan_version=1,
        billing_period=BillingPeriod.DAY,
        start_time=NOW - DAY_US,
    )


def change(plan_id: str, version: int, effective: int | None = None) -> ChangePlan:
    """Return the call that puts acme on a plan version."""
    return ChangePlan(
        customer="acme",
        subscription_id="main",
        effective=effective,
        plan_id=plan_id,
        plan_version=version,
        billing_period=BillingPeriod.DAY,
    )


def move(version: int) -> MigratePlan:
    """Return the call that moves standing subscriptions to a version a day from now."""
    return MigratePlan(
        plan_id="api", version=version, instant=NOW + DAY_US, billing_period=BillingPeriod.DAY
    )


def grant(name: str, customer: str = "acme") -> CreateGrant:
    """Return the call that grants a customer 5 USD."""
    made = Grant(name, Decimal(5), GrantKind.BONUS, effective=NOW)
    return CreateGrant(customer=customer, subscription_id="main", grant=made)


def promotion(name: str) -> CreatePromotion:
    """Return the call that gives acme a promotion."""
    made = Promotion(name, PromotionKind.PERCENT_OFF, Decimal(5), instant=NOW)
    return CreatePromotion(customer="acme", subscription_id="main", promotion=made)


@pytest.mark.parametrize("staged", [False, True])
@pytest.mark.parametrize("given", [grant, promotion])
def test_a_plan_change_does_not_bring_the_name_of_a_grant_or_promotion(given, *, staged) -> None:
    """The new plan has a charge of that name: refused, named, and nothing has changed."""
    machine = Machine()
    *_, answer = machine.run(subscribe(), given("extra"), change("api", 2), staged=staged)
    assert (answer.reason, answer.value) == ("ID_TAKEN", {"id": "extra", "plan": "api"})
    assert machine.versions("acme") == [1]
    (again,) = machine.run(change("web", 2, NOW + 1))
    assert again.value["id"] == "extra", "the name of a commitment is one too"


def test_the_name_of_a_void_grant_stays_taken() -> None:
    """A void grant stands on earlier statements, so its name is free for no charge."""
    machine = Machine()
    void = VoidGrant(customer="acme", subscription_id="main", grant_id="extra")
    *_, answer = machine.run(subscribe(), grant("extra"), void, change("api", 2))
    assert answer.reason == "ID_TAKEN"


@pytest.mark.parametrize("given", [grant, promotion])
@pytest.mark.parametrize("booked", [change("api", 2, NOW + DAY_US), move(2)])
def test_a_grant_does_not_take_the_name_of_a_charge_booked_for_later(given, booked) -> None:
    """A plan change, or a move to a version, that is yet to come counts as one in force."""
    machine = Machine()
    *made, answer = machine.run(subscribe(), booked, given("extra"))
    assert [one.ok for one in made] == [True, True]
    assert (answer.reason, answer.value["id"]) == ("ID_TAKEN", "extra")
    assert machine.run(given("free"))[0].ok


def test_a_charge_does_not_become_a_commitment() -> None:
    """A line may go on under a new plan, but not as one of another kind, in either order."""
    machine = Machine()
    *_, answer, fits = machine.run(subscribe(), change("api", 3), change("api", 2))
    assert (answer.reason, answer.value["id"]) == ("ID_TAKEN", "calls")
    assert fits.ok
    (answer,) = machine.run(change("web", 1, NOW + 1))
    assert answer.value == {"id": "extra", "plan": "web"}, "the plan that brings it"


@pytest.mark.parametrize("staged", [False, True])
def test_a_move_leaves_those_whose_names_it_would_take(*, staged: bool) -> None:
    """Everybody else moves; who stays does so for good, in every copy of the state."""
    machine = Machine()
    answers = machine.run(
        subscribe("acme"),
        subscribe("free"),
        subscribe("other"),
        grant("extra", "acme"),
        grant("mine", "other"),
        move(2),
        staged=staged,
    )
    assert all(answer.ok for answer in answers)
    assert answers[-1].value["staying"] == [["acme", "main"]]
    for customer, versions in (("acme", [1]), ("free", [1, 2]), ("other", [1, 2])):
        assert machine.versions(customer) == versions
    assert machine.run(change("api", 1, NOW + 1))[0].ok
    assert machine.versions("acme") == [1, 1]
    assert len(machine.digests()) == 1


def test_a_move_leaves_those_whose_charge_would_become_a_commitment() -> None:
    """Also where it is the plan before, or one before that, which has the name."""
    machine = Machine()
    machine.run(subscribe("plain"), subscribe("acme", "web"), change("api", 1, NOW + 1))
    (answer,) = machine.run(move(3))
    assert answer.value["staying"] == [["plain", "main"], ["acme", "main"]]
    (answer,) = machine.run(move(2))
    assert answer.value["staying"] == [["acme", "main"]]


def test_plans_that_are_not_at_hand_are_asked_for() -> None:
    """A decision that needs a plan names it, and is made once it is there."""
    shelf: dict[Any, Plan] = {}
    machine = Machine(shelf)
    (_,) = machine.run(subscribe())
    for name, version in (("api", 1), ("api", 2)):
        (answer,) = machine.run(change("api", 2))
        assert (answer.reason, answer.value["version"]) == ("PLAN_NOT_LOADED", version)
        shelf[name, version] = PLANS[name, version]
    assert machine.run(change("api", 2))[0].ok
    shelf.clear()
    (answer,) = machine.run(move(3))
    assert answer.reason == "PLAN_NOT_LOADED"
