"""A shard that commits what it decides, and words for its calls."""

from __future__ import annotations

from decimal import Decimal

import pytest

from rating_core.catalog import (
    Aggregation,
    BillingPeriod,
    Charge,
    ChargeModel,
    Meter,
    Plan,
)
from rating_core.metering.batch import RecordStatus, RejectReason
from rating_core.metering.calls import DAY_US, CreateSubscription, GetCounters, RecordCall
from rating_core.metering.deciding.record import batch_of
from rating_core.metering.shard import UsageShard

NOW = 1_767_571_200_000_000  # 2026-01-05T00:00Z
START = NOW - 30 * DAY_US
KEY = bytes(range(16))
METERS = {
    meter.id: meter
    for meter in (
        Meter("tokens", Aggregation.SUM, "token", 0, ("model", "region")),
        Meter("seconds", Aggregation.SUM, "s", 3),
        Meter("calls", Aggregation.COUNT),
        Meter("paid", Aggregation.SUM, "EUR", 2),
        Meter("users", Aggregation.UNIQUE_COUNT, of="user"),
    )
}
PLAN = Plan(
    "plan",
    "USD",
    BillingPeriod.DAY,
    (Charge("calls", ChargeModel.PER_UNIT, "calls", unit_price=Decimal("0.5")),),
    meters=(METERS["calls"],),
)
CLAMPS = {"paid": {"fee": (100, 5000), "tax": (None, 700)}}


class Driver:
    """A shard with a log: commits what it decides."""

    def __init__(self, max_ids=1000):
        self.shard = UsageShard(KEY, METERS.get, max_ids, plan_of=lambda _: PLAN)
        self.log = []

    def new_shard(self):
        """An empty shard that knows the same meters."""
        return UsageShard(KEY, METERS.get)

    def commit(self, decision, now=NOW):
        if decision.body is not None:
            self.shard.stage(decision, now)
            self.shard.confirm(self.shard.version + 1, bytes([len(self.log) % 256]) * 16)
            self.log.append((decision.body, now))
        return decision.answers

    def control(self, call, now=NOW):
        return self.commit(self.shard.decide([call], now), now)[0]

    def decide(self, *records, now=NOW):
        return self.shard.decide([RecordCall(batch_of(records))], now)

    def send(self, *records, now=NOW):
        return _statuses(self.commit(self.decide(*records, now=now), now)[0])

    def recovered(self):
        other = self.new_shard()
        for index, (body, now) in enumerate(self.log):
            other.apply(body, now, index + 1, bytes([index % 256]) * 16)
        return other

    def value(self, customer="acme", meter="tokens", instant=NOW):
        answer = self.shard.query(GetCounters(customer, instant))
        return sum(counter.value for counter in answer.counters if counter.meter == meter)


def _statuses(answer):
    return [
        RecordStatus(status).name if not reason else RejectReason(reason).name
        for status, reason in zip(answer.status.tolist(), answer.reason.tolist(), strict=True)
    ]


def _subscribe(customer="acme", **changes):
    values = {
        "customer": customer,
        "subscription_id": "main",
        "plan_id": "plan",
        "plan_version": 1,
        "billing_period": BillingPeriod.DAY,
        "start_time": START,
        "bands": CLAMPS,
    }
    return CreateSubscription(**{**values, **changes})


@pytest.fixture
def driver():
    made = Driver()
    made.control(_subscribe())
    return made


@pytest.fixture
def new_driver():
    """Return the class of drivers, for tests that begin without a subscription."""
    return Driver


@pytest.fixture
def subscribe():
    """Return the maker of subscriptions: ``acme`` on daily periods unless changed."""
    return _subscribe


@pytest.fixture
def statuses():
    """Return the function that names the statuses and reasons of an answer."""
    return _statuses
