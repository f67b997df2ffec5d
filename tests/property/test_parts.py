"""Parts of periods: what records are given, what is read, what adds up (S8.1–S8.5)."""

from __future__ import annotations

import random
from decimal import Decimal
from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest

from rating_core.catalog import (
    Aggregation,
    BillingPeriod,
    Charge,
    ChargeModel,
    LateUsage,
    Meter,
    Plan,
    Rounding,
)
from rating_core.metering.batch import RecordBatch, RecordStatus, RejectReason
from rating_core.metering.calls import (
    DAY_US,
    CancelSubscription,
    ChangePlan,
    Configure,
    CreateSubscription,
    GetCounters,
    GetSubscriptions,
    MigratePlan,
    RecordCall,
    StateDigest,
)
from rating_core.metering.contracts.ledger_calls import FinalizePeriod
from rating_core.metering.contracts.parts import part_at, period_at, periods_from, spans_from
from rating_core.metering.log.entry import decode_body
from rating_core.metering.log.protocol import Decision
from rating_core.metering.shard import UsageShard
from rating_core.period import HOUR_US
from rating_server.zones import zone_table

KEY = bytes(range(16))
JANUARY = 20_454 * DAY_US
"""2026-01-01."""
NOW = JANUARY + 500 * DAY_US
ZONES = [None, "Europe/Berlin", "Australia/Lord_Howe", "Asia/Kathmandu", "America/Santiago"]
METERS = {
    "calls": Meter("calls", Aggregation.SUM),
    "level": Meter("level", Aggregation.WEIGHTED_SUM),
}


PLAN = Plan(
    id="plan",
    currency="USD",
    billing_period=BillingPeriod.MONTH,
    rounding=Rounding(scale=2),
    meters=tuple(METERS.values()),
    charges=(Charge(id="calls", model=ChargeModel.PER_UNIT, meter="calls", unit_price=Decimal(1)),),
)


class Machine:
    """A shard whose calls are committed at once; ``bodies`` is its log."""

    def __init__(self, now=NOW):
        self.shard = UsageShard(KEY, METERS.get, plan_of=lambda _: PLAN)
        self.bodies, self.now = [], now

    def run(self, *calls):
        """Decide calls together, commit, and return the first answer."""
        decision = self.shard.decide(calls, self.now)
        if decision.body is not None:
            self.shard.stage(decision, self.now)
            self.commit(decision.body)
        return decision.answers[0]

    def commit(self, body):
        """Commit the oldest staged entry."""
        version = len(self.bodies) + 1
        self.shard.confirm(version, version.to_bytes(16, "big"))
        self.bodies.append(body)


def batch_of(customers, instants, prefix, meter="calls", quantity=1):
    """Return one record an instant, customers in turn."""
    ids = [f"{prefix}-{number}".encode() for number in range(len(instants))]
    count = len(instants)
    return RecordBatch(
        customers=customers,
        customer=(np.arange(count) % len(customers)).astype(np.int32),
        meters=[meter],
        scales=[0],
        meter=np.zeros(count, np.int32),
        dimension_sets=[()],
        dimension_set=np.zeros(count, np.int32),
        event_ids=b"".join(ids),
        event_id_ends=np.cumsum([len(text) for text in ids]),
        quantity=np.full(count, quantity, np.int64),
        event_time=np.array(instants, np.int64),
        malformed=np.zeros(count, np.bool_),
    )


def subscribe(drawn, customer, name, start, **changes):
    """Return the call of a subscription with random terms."""
    zone = drawn.choice(ZONES)
    terms = {
        "customer": customer,
        "subscription_id": name,
        "plan_id": "plan",
        "plan_version": 1,
        "billing_period": drawn.choice(list(BillingPeriod)),
        "start_time": start,
        "time_zone": zone or "UTC",
        "zone": None if zone is None else zone_table(zone),
        "anchor_day": drawn.choice([None, 1, 15, 31]),
    }
    return CreateSubscription(**{**terms, **changes})


def change(customer, name, instant, period, version=2, **changes):
    """Return the call of a plan change."""
    return ChangePlan(
        customer=customer,
        subscription_id=name,
        effective=instant,
        plan_id="plan",
        plan_version=version,
        billing_period=period,
        **changes,
    )


def random_contracts(machine, drawn, customers):
    """Give every customer up to three subscriptions, one after another, with plan changes."""
    for customer in customers:
        start = JANUARY + drawn.randrange(40 * DAY_US)
        for name in ("a", "b", "c")[: drawn.randint(1, 3)]:
            call = subscribe(drawn, customer, name, start)
            assert machine.run(call).ok
            end = start + 1 + drawn.randrange(90 * DAY_US)
            for version in range(2, drawn.randint(2, 5)):
                at = start + drawn.randrange(end - start)
                assert machine.run(change(customer, name, at, call.billing_period, version)).ok
            if name != "c" and drawn.random() < 0.8:
                cancel = CancelSubscription(customer=customer, subscription_id=name, end_time=end)
                assert machine.run(cancel).ok
                start = end + drawn.choice([0, 0, drawn.randrange(20 * DAY_US)])
            else:
                break


def contract_of(machine, customer):
    """Return a customer's subscriptions."""
    return machine.shard.query(GetSubscriptions(customer))


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("in_flight", [False, True])
def test_records_are_counted_in_the_part_that_holds_them(seed, in_flight):
    """What judging gives a record is what `part_at` says, committed or in flight."""
    drawn = random.Random(seed)
    machine = Machine()
    machine.run(Configure(window_us=None))
    customers = [f"c{number}" for number in range(12)]
    random_contracts(machine, drawn, customers)
    if in_flight:
        # The same again, but the control entries are not committed when records are decided.
        other, replay = UsageShard(KEY, METERS.get), machine.bodies
        for version, body in enumerate(replay, 1):
            if version > len(replay) // 2:
                break
            other.apply(body, NOW, version, version.to_bytes(16, "big"))
        for body in replay[version - 1 :]:
            other.stage(Decision((), body, decode_body(body)), NOW)
        deciding = other
    else:
        deciding = machine.shard
    borders = [
        span.start
        for customer in customers
        for one in contract_of(machine, customer)
        for span in list(spans_from(one, JANUARY, JANUARY + 60 * DAY_US))[:50]
    ]
    instants = [
        border + shift
        for border in drawn.sample(borders, min(300, len(borders)))
        for shift in (-1, 0)
    ]
    instants += [JANUARY + drawn.randrange(300 * DAY_US) for _ in range(600)]
    batch = batch_of(customers, instants, "e")
    decision = deciding.decide([RecordCall(batch)], NOW)
    answer, entry = decision.answers[0], decode_body(decision.body)
    taken = iter(entry.words[2].tolist())
    for row, instant in enumerate(instants):
        contract = contract_of(machine, customers[row % len(customers)])
        held = [one for one in contract if one.holds(instant)]
        if held:
            assert answer.status[row] == RecordStatus.ACCEPTED
            assert next(taken) == part_at(held[0], instant).start
        else:
            assert answer.reason[row] == RejectReason.NO_SUBSCRIPTION
    assert next(taken, None) is None


@pytest.mark.parametrize("seed", range(5))
def test_parts_fill_their_periods_and_shares_add_up(seed):
    """Parts follow each other without gaps; over a full period their shares are 1, both ways."""
    drawn = random.Random(seed)
    machine = Machine()
    random_contracts(machine, drawn, ["one", "two", "three"])
    for customer in ("one", "two", "three"):
        for subscription in contract_of(machine, customer):
            until = min(subscription.end_time or NOW, subscription.start_time + 100 * DAY_US)
            periods = list(periods_from(subscription, subscription.start_time, until))[:200]
            assert [period.number for period in periods[:1]] == [0]
            for before, period in pairwise(periods):
                assert (before.end, before.number + 1) == (period.start, period.number)
                assert not before.last
            for period in periods:
                assert [part.start for part in period.parts[1:]] == [
                    part.end for part in period.parts[:-1]
                ]
                first, last = period.parts[0], period.parts[-1]
                assert (first.start, last.end) == (period.start, period.end)
                assert all(part.start < part.end for part in period.parts)
                assert all(part.window_start <= part.start for part in period.parts)
                seconds = sum((part.share_by_second for part in period.parts), Fraction(0))
                days = sum((part.share_by_day for part in period.parts), Fraction(0))
                whole = (period.start, period.end) == (first.full_start, first.full_end)
                assert (seconds == 1) == whole
                assert days == 1 if whole else 0 <= days <= 1
            spans = list(spans_from(subscription, subscription.start_time, until))
            parts = [part for period in periods for part in period.parts]
            assert [part.span for part in parts] == spans[: len(parts)]


@pytest.mark.parametrize("seed", range(3))
def test_a_snapshot_holds_zones_phases_and_ends(seed):
    """State restored from a snapshot, and state read from the log, decide alike."""
    machine = Machine()
    random_contracts(machine, random.Random(seed), [f"c{number}" for number in range(6)])
    digest = machine.shard.query(StateDigest())
    restored, read = UsageShard(KEY, METERS.get), UsageShard(KEY, METERS.get)
    restored.restore(machine.shard.snapshot())
    for version, body in enumerate(machine.bodies, 1):
        read.apply(body, NOW, version, version.to_bytes(16, "big"))
    assert restored.query(StateDigest()) == read.query(StateDigest()) == digest
    assert restored.query(GetSubscriptions(None)) == machine.shard.query(GetSubscriptions(None))


def test_late_usage_is_judged_by_the_plan_of_its_part():
    """After the close a part whose plan says `adjust` takes records, one that says `reject` not."""
    machine = Machine(JANUARY + 40 * DAY_US)
    machine.run(Configure(window_us=None))
    middle = JANUARY + 14 * DAY_US
    call = subscribe(
        random.Random(0),
        "acme",
        "main",
        JANUARY,
        billing_period=BillingPeriod.MONTH,
        zone=None,
        time_zone="UTC",
        anchor_day=None,
    )
    machine.run(call)
    period = BillingPeriod.MONTH
    machine.run(change("acme", "main", middle, period, late_usage=LateUsage.ADJUST))
    machine.run(RecordCall(batch_of(["acme"], [JANUARY, middle], "early")))
    assert machine.run(FinalizePeriod(customer="acme", period_start=JANUARY)).ok
    late = machine.run(RecordCall(batch_of(["acme"], [middle - 1, middle], "late")))
    assert late.reason.tolist() == [RejectReason.PERIOD_CLOSED, 0]
    assert machine.shard.query(GetCounters("acme", middle)).counters[0].value == 2
    refused = machine.run(change("acme", "main", middle + 1, period, 3))
    february = JANUARY + 31 * DAY_US
    assert (refused.reason, refused.value) == ("PERIOD_FINALIZED", {"earliest": february})


def test_a_level_goes_on_over_a_plan_change():
    """A weighted sum of a part counts from its start, with the level that stood there (S6.4)."""
    machine = Machine(JANUARY + 31 * DAY_US)
    machine.run(Configure(window_us=None))
    call = subscribe(
        random.Random(0),
        "acme",
        "main",
        JANUARY,
        billing_period=BillingPeriod.MONTH,
        zone=None,
        time_zone="UTC",
        anchor_day=None,
    )
    machine.run(call)
    machine.run(RecordCall(batch_of(["acme"], [JANUARY], "on", "level", 31)))
    middle = JANUARY + 10 * DAY_US
    assert machine.run(change("acme", "main", middle, BillingPeriod.MONTH)).ok
    values = [
        machine.shard.query(GetCounters("acme", instant)).counters[0].value
        for instant in (JANUARY, middle)
    ]
    assert values == [10, 21]


def test_a_migration_moves_those_that_stand_on_the_plan():
    """Standing subscriptions move at the instant; own prices and later versions stay (S8.6)."""
    machine = Machine(JANUARY)
    drawn = random.Random(1)
    period = BillingPeriod.MONTH
    for name, changes in (
        ("plain", {}),
        ("own", {"overrides": '{"minimum_amount":"1"}'}),
        ("later", {"plan_version": 7}),
        ("other", {"plan_id": "else"}),
    ):
        machine.run(subscribe(drawn, name, "main", JANUARY, billing_period=period, **changes))
    instant = JANUARY + DAY_US
    move = MigratePlan(plan_id="plan", version=3, instant=instant, billing_period=period)
    assert machine.run(move).ok
    found = {name: len(contract_of(machine, name)[0].phases) for name in ("plain", "own", "later")}
    assert found == {"plain": 2, "own": 1, "later": 1}
    assert len(contract_of(machine, "other")[0].phases) == 1
    plain = contract_of(machine, "plain")[0]
    assert [plain.phase_at(instant + shift).plan_ref.version for shift in (-1, 0)] == [1, 3]
    soon = MigratePlan(plan_id="plan", version=4, instant=JANUARY + 1, billing_period=period)
    assert machine.run(soon).reason == "EFFECTIVE_TOO_SOON"


def test_years_of_a_window_hold_whole_periods():
    """Each year but the first begins with the period that holds the anniversary (S8.5)."""
    machine = Machine()
    drawn = random.Random(0)
    start = JANUARY + 14 * DAY_US + 3 * HOUR_US
    terms = {"billing_period": BillingPeriod.MONTH, "zone": None, "time_zone": "UTC"}
    machine.run(subscribe(drawn, "acme", "main", start, anchor_day=None, **terms))
    (subscription,) = contract_of(machine, "acme")
    next_january = JANUARY + 365 * DAY_US
    assert period_at(subscription, next_january - 1).parts[0].window_start == start
    assert period_at(subscription, next_january).parts[0].window_start == next_january
    assert (
        period_at(subscription, next_january + 300 * DAY_US).parts[0].window_start == next_january
    )
