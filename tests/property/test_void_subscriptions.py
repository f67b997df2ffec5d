"""A subscription that is cancelled by its start holds nothing, wherever it stands (S8.2)."""

from __future__ import annotations

from decimal import Decimal

import numpy as np
import pytest

from rating_core.catalog import Aggregation, BillingPeriod, Charge, ChargeModel, Meter, Plan
from rating_core.metering.batch import RecordBatch, RecordStatus, RejectReason
from rating_core.metering.calls import (
    DAY_US,
    CancelSubscription,
    ChangePlan,
    Configure,
    CreateSubscription,
    GetCounters,
    GetSubscriptions,
    RecordCall,
    StateDigest,
)
from rating_core.metering.contracts.ledger_calls import FinalizePeriod, FinalizePeriods, GetContract
from rating_core.metering.contracts.recount_reading import RecountReading
from rating_core.metering.contracts.subscription import subscription_from_facts
from rating_core.metering.log.entry import encode_envelope
from rating_core.metering.log.protocol import LogEntry, chain_token
from rating_core.metering.shard import UsageShard

JANUARY = 20_454 * DAY_US
"""2026-01-01, a Thursday."""
METERS = {"calls": Meter("calls", Aggregation.SUM)}
PLAN = Plan(
    "plan",
    "USD",
    BillingPeriod.MONTH,
    (
        Charge("fee", ChargeModel.FLAT_FEE, amount=Decimal(49)),
        Charge("calls", ChargeModel.PER_UNIT, "calls", unit_price=Decimal(1)),
    ),
    meters=(METERS["calls"],),
)


class Machine:
    """A shard whose calls are committed at once, and its log."""

    def __init__(self) -> None:
        self.shard = UsageShard(bytes(16), METERS.get, plan_of=lambda _: PLAN)
        self.log: list[LogEntry] = []
        self.now = JANUARY + 20 * DAY_US

    def run(self, call):
        """Decide and commit a call, with what it needs counted anew; return its answer."""
        decision = self.shard.decide([call], self.now)
        if decision.body is not None:
            version, token = self.shard.version + 1, self.shard.token
            entry = encode_envelope(bytes(16), version, self.now, decision.body)
            self.log.append(LogEntry(version, token, entry))
            self.shard.stage(decision, self.now)
            self.shard.confirm(version, chain_token(token, entry))
        return decision.answers[0]

    def cancel(self, end, name="main"):
        """Cancel a subscription of acme at an instant; return the answer."""
        call = CancelSubscription(customer="acme", subscription_id=name, end_time=end)
        answer = self.run(call)
        if answer.reason != "RECOUNT_NEEDED":
            return answer
        contract = tuple(subscription_from_facts(f, {}) for f in answer.value["contract"])
        reading = RecountReading(answer.value, contract)
        assert all(reading.take(entry) for entry in self.log)
        return self.run(
            CancelSubscription(
                customer="acme", subscription_id=name, end_time=end, recount=reading.parts()
            )
        )

    def count(self, name, day):
        """Count one unit of acme on a day of January; return its status and reason."""
        batch = RecordBatch(
            customers=["acme"],
            customer=np.zeros(1, np.int32),
            meters=["calls"],
            scales=[0],
            meter=np.zeros(1, np.int32),
            dimension_sets=[()],
            dimension_set=np.zeros(1, np.int32),
            event_ids=name.encode(),
            event_id_ends=np.array([len(name)]),
            quantity=np.ones(1, np.int64),
            event_time=np.array([JANUARY + (day - 1) * DAY_US], np.int64),
            malformed=np.zeros(1, np.bool_),
        )
        answer = self.run(RecordCall(batch))
        return RecordStatus(answer.status[0]), RejectReason(answer.reason[0])

    def digests(self):
        """Return what is decided by: live and restored."""
        restored = UsageShard(bytes(16), METERS.get)
        restored.restore(self.shard.snapshot())
        return {one.query(StateDigest()) for one in (self.shard, restored)}


@pytest.fixture
def machine():
    """A shard that takes records of any age."""
    made = Machine()
    made.run(Configure(window_us=None))
    return made


def subscribe(day, name="main"):
    """Return the call that subscribes acme from a day of January on."""
    return CreateSubscription(
        customer="acme",
        subscription_id=name,
        plan_id="plan",
        plan_version=1,
        billing_period=BillingPeriod.MONTH,
        start_time=JANUARY + (day - 1) * DAY_US,
    )


@pytest.mark.parametrize("early", [0, 1, 40 * DAY_US])
def test_nothing_is_counted_or_billed(machine, early):
    """What was counted is taken out, records are refused, and there is no period to finalise."""
    assert machine.run(subscribe(5)).ok
    assert machine.count("a", 6)[0] is RecordStatus.ACCEPTED
    start = JANUARY + 4 * DAY_US
    answer = machine.cancel(start - early)
    assert (answer.ok, answer.value["end_time"]) == (True, start), "never before its start"
    assert machine.cancel(start + 1).reason == "ALREADY_CANCELLED"
    assert machine.count("b", 6) == (RecordStatus.REJECTED, RejectReason.NO_SUBSCRIPTION)
    assert machine.shard.query(GetCounters("acme", start + DAY_US)).subscription is None
    question = GetContract("acme", "main", start, machine.now)
    assert machine.shard.query(question).subscription is None
    machine.now += 90 * DAY_US
    for correction in (False, True):
        call = FinalizePeriod(customer="acme", subscription_id="main", correction=correction)
        assert machine.run(call).reason == "PERIOD_NOT_FOUND"
    due = machine.run(FinalizePeriods(until=machine.now)).value
    assert (due["customers"], due["single"]) == ((), ())
    change = ChangePlan(
        customer="acme",
        subscription_id="main",
        effective=start,
        plan_id="plan",
        plan_version=2,
        billing_period=BillingPeriod.MONTH,
    )
    assert machine.run(change).reason == "NOT_SUBSCRIBED"
    assert len(machine.digests()) == 1


@pytest.mark.parametrize("day", [2, 5, 9])
def test_another_subscription_may_begin_anywhere(machine, day):
    """Before, at and after the void one; it takes the records, and its statement is found."""
    machine.run(subscribe(5))
    machine.count("a", 12)
    assert machine.cancel(JANUARY).ok
    answer = machine.run(subscribe(day, "second"))
    if answer.reason == "RECOUNT_NEEDED":
        contract = tuple(subscription_from_facts(f, {}) for f in answer.value["contract"])
        reading = RecountReading(answer.value, contract)
        assert all(reading.take(entry) for entry in machine.log)
        call = subscribe(day, "second")
        fields = {name: getattr(call, name) for name in call.__dataclass_fields__}
        answer = machine.run(CreateSubscription(**{**fields, "recount": reading.parts()}))
    assert answer.ok
    assert machine.count("b", 13)[0] is RecordStatus.ACCEPTED
    assert machine.count("c", day)[0] is RecordStatus.ACCEPTED
    assert machine.count("a", 12)[0] is RecordStatus.DUPLICATE
    (counter,) = machine.shard.query(GetCounters("acme", JANUARY + 20 * DAY_US)).counters
    assert counter.value == 3
    names = [one.subscription_id for one in machine.shard.query(GetSubscriptions("acme"))]
    assert sorted(names) == ["main", "second"]
    machine.now += 90 * DAY_US
    due = machine.run(FinalizePeriods(until=JANUARY + 32 * DAY_US)).value
    assert [one[:2] for one in due["single"]] == [("acme", "second")]
    made = machine.run(FinalizePeriod(customer="acme", period_start=due["single"][0][2]))
    assert (made.ok, made.value["total"]) == (True, 5_200)
    assert len(machine.digests()) == 1


def test_what_is_finalised_stays(machine):
    """A subscription of which a period is finalised does not become void any more."""
    machine.run(subscribe(1))
    machine.now += 60 * DAY_US
    assert machine.run(FinalizePeriod(customer="acme", period_start=JANUARY)).ok
    answer = machine.cancel(JANUARY)
    assert (answer.reason, answer.value["earliest"]) == ("PERIOD_FINALIZED", JANUARY + 31 * DAY_US)
