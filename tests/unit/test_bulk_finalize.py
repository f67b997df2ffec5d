"""Finalising in columns books and tells what finalising one by one does (S9.2, S9.5)."""

from __future__ import annotations

import random
from decimal import Decimal

import pytest

from rating_core.catalog import Aggregation, BillingPeriod, Charge, ChargeModel, Meter, Plan, Tier
from rating_core.contract.values import Grant, GrantKind
from rating_core.metering.calls import (
    DAY_US,
    Configure,
    CreateSubscription,
    LateUsage,
    RecordCall,
    StateDigest,
)
from rating_core.metering.contracts.bulk_statement import bulk_statement_facts
from rating_core.metering.contracts.ledger_calls import (
    CreateGrant,
    FinalizePeriod,
    FinalizePeriods,
    GetAccount,
)
from rating_core.metering.contracts.statement_entry import entry_facts
from rating_core.metering.deciding.record import UsageRecord, batch_of
from rating_core.metering.log.entry import decode_body
from rating_core.metering.log.snapshot import TakeSnapshot, encode_snapshot
from rating_core.metering.shard import UsageShard

START = 1_767_225_600_000_000  # 2026-01-01T00:00Z
NOW = START + 40 * DAY_US
METERS = {
    "calls": Meter("calls", Aggregation.COUNT),
    "tokens": Meter("tokens", Aggregation.SUM, dimensions=("model",)),
    "peak": Meter("peak", Aggregation.MAX),
}
PLAN = Plan(
    "plan",
    "USD",
    BillingPeriod.MONTH,
    (
        Charge("base", ChargeModel.FLAT_FEE, amount=Decimal(5)),
        Charge(
            "tokens",
            ChargeModel.GRADUATED,
            "tokens",
            where=(("model", ("large",)),),
            included_units=Decimal(100),
            tiers=(Tier(Decimal(1000), Decimal("0.013")), Tier(None, Decimal("0.007"))),
            discount_percent=Decimal(10),
        ),
        Charge("calls", ChargeModel.PERCENTAGE, "calls", percent=Decimal(3)),
    ),
    meters=(METERS["calls"], METERS["tokens"]),
    maximum_amount=Decimal(20),
)
CUSTOMERS = [f"c{number}" for number in range(60)]


class Server:
    """A shard that commits what it decides, and keeps its log."""

    def __init__(self):
        self.shard = UsageShard(bytes(16), METERS.get, plan_of=lambda _: PLAN)
        self.log = {}

    def call(self, call, now=NOW):
        decision = self.shard.decide([call], now)
        if decision.body is not None:
            self.shard.stage(decision, now)
            self.shard.confirm(self.shard.version + 1, bytes(16))
            self.log[self.shard.version] = decision.body
        return decision.answers[0]

    def account(self, customer):
        return self.shard.query(GetAccount(customer, "", NOW)).account

    def facts(self, customer, statement):
        entry = decode_body(self.log[statement.version])
        if entry.kind == "finalize_period":
            return entry_facts(entry)
        return bulk_statement_facts(entry, customer, lambda _: PLAN)


def filled(seed=1):
    server, draw = Server(), random.Random(seed)
    server.call(Configure(window_us=None))
    for name in CUSTOMERS:
        server.call(
            CreateSubscription(
                customer=name,
                subscription_id="main",
                plan_id="plan",
                plan_version=1,
                billing_period=BillingPeriod.MONTH,
                late_usage=LateUsage.ADJUST,
                start_time=START + draw.choice([0, 0, 3 * DAY_US]),
            )
        )
    records = [
        UsageRecord(
            draw.choice(CUSTOMERS),
            draw.choice(["calls", "tokens", "tokens"]),
            f"e{number}",
            draw.choice([1, 90, 400, 5000]),
            START + draw.randrange(3, 39) * DAY_US,
            draw.choice([(("model", "large"),), (("model", "small"),)]),
        )
        for number in range(700)
    ]
    records = [
        UsageRecord(r.customer, r.meter, r.event_id, r.quantity, r.event_time)
        if r.meter == "calls"
        else r
        for r in records
    ]
    server.call(RecordCall(batch_of(records)))
    peak = UsageRecord("c7", "peak", "p", 3, START + 5 * DAY_US)
    server.call(RecordCall(batch_of([peak])))
    return server


def finalize_all(server, until=NOW, **options):
    """Finalise as the use case does; return the customers of bulk entries and the others."""
    bulk, single, cursor, more = [], [], 0, True
    while more:
        call = FinalizePeriods(cursor=cursor, limit=25, until=until, **options)
        value = server.call(call).value
        if value["customers"]:
            bulk += value["customers"]
            continue
        for customer, subscription_id, start in value["single"]:
            one = FinalizePeriod(
                customer=customer, subscription_id=subscription_id, period_start=start
            )
            assert server.call(one).ok
            single.append(customer)
        if not value["single"]:
            cursor, more = value["cursor"], value["more"]
    return bulk, single


def test_both_ways_book_and_tell_the_same():
    """Amounts, numbers, counters and explained lines are those of statements made one by one."""
    columns, values = filled(), filled()
    bulk, single = finalize_all(columns)
    assert single == ["c7"]
    assert sorted(bulk + single) == sorted(CUSTOMERS)
    for name in CUSTOMERS:
        assert values.call(FinalizePeriod(customer=name)).ok
        (left,), (right,) = columns.account(name).statements, values.account(name).statements
        assert (left.number, left.start, left.end, left.total) == (
            right.number,
            right.start,
            right.end,
            right.total,
        )
        assert left.booked == right.booked
        shown, told = columns.facts(name, left), values.facts(name, right)
        assert shown["statement"] == told["statement"]
        assert shown["booked"] == told["booked"]
        assert shown["usage"]["periods"] == told["usage"]["periods"]
        assert shown["meters"] == told["meters"]


def test_what_is_not_plain_is_named():
    """Grants, records in flight and late usage are left to the way that sees them (P1, S9.3)."""
    server = filled()
    grant = Grant("g", Decimal(1), GrantKind.BONUS, START)
    assert server.call(CreateGrant(customer="c3", grant=grant)).ok
    record = UsageRecord("c5", "calls", "late", 1, START + 9 * DAY_US)
    staged = server.shard.decide([RecordCall(batch_of([record]))], NOW)
    server.shard.stage(staged, NOW)
    decision = server.shard.decide([FinalizePeriods(limit=100, until=NOW)], NOW)
    assert {"c3", "c5", "c7"}.isdisjoint(decision.answers[0].value["customers"])
    server.shard.confirm(server.shard.version + 1, bytes(16))
    _, single = finalize_all(server)
    assert single == ["c3", "c7"]
    # c5 was finalised with what came in flight; what comes now is late for the next period.
    again = UsageRecord("c5", "calls", "later", 1, START + 9 * DAY_US)
    assert server.call(RecordCall(batch_of([again]))).status.tolist() == [1]
    later = NOW + 30 * DAY_US
    decision = server.shard.decide([FinalizePeriods(limit=100, until=later)], later)
    assert "c5" not in decision.answers[0].value["customers"]


def test_it_waits_for_grace_and_obeys_its_limits():
    """Nothing is finalised before end + grace, after `until`, or of another plan (S7.5)."""
    server = filled()
    server.call(Configure(window_us=None, grace_us=30 * DAY_US))
    assert finalize_all(server) == ([], [])
    server.call(Configure(window_us=None))
    assert finalize_all(server, until=START + 20 * DAY_US) == ([], [])
    assert finalize_all(server, plan_id="other") == ([], [])
    bulk, _ = finalize_all(server, plan_id="plan")
    assert len(bulk) == len(CUSTOMERS) - 1
    assert finalize_all(server) == ([], [])


def test_bulk_entries_recover_and_keep_in_snapshots():
    """A machine that reads the log, or a snapshot, decides as the one that wrote it (P5, P10)."""
    server = filled()
    finalize_all(server)
    other = UsageShard(bytes(16), METERS.get)
    for version, body in server.log.items():
        other.apply(body, NOW, version, bytes(16))
    restored = UsageShard(bytes(16), METERS.get)
    restored.restore(server.shard.query(TakeSnapshot()))
    digests = {machine.query(StateDigest()) for machine in (server.shard, other, restored)}
    assert len(digests) == 1
    account = restored.query(GetAccount("c1", "main", NOW)).account
    assert account.statements == server.account("c1").statements


def test_what_is_booked_later_is_not_in_a_snapshot():
    """A snapshot that is encoded after statements and grants were booked has none of them (P10)."""
    server = filled()
    early, late = (server.shard.query(TakeSnapshot()) for _ in range(2))
    wanted = encode_snapshot(early)
    finalize_all(server)
    grant = Grant("g2", Decimal(1), GrantKind.BONUS, START)
    assert server.call(CreateGrant(customer="c3", grant=grant)).ok
    assert encode_snapshot(late) == wanted
    assert encode_snapshot(server.shard.query(TakeSnapshot())) != wanted


def test_a_plan_that_is_not_at_hand_is_named():
    """Deciding never waits: the missing plan is named, and nothing is booked."""
    shard = filled().shard
    other = UsageShard(bytes(16), METERS.get)
    other.restore(shard.query(TakeSnapshot()))
    answer = other.decide([FinalizePeriods(until=NOW)], NOW).answers[0]
    assert (answer.ok, answer.reason) == (False, "PLAN_NOT_LOADED")
    assert answer.value == {"plan_id": "plan", "version": 1, "overrides": ""}


@pytest.mark.parametrize("customer", ["c1", "c7"])
def test_the_past_of_one_customer_is_read_alone(customer):
    """A machine fed with what entries say of one customer knows its account as it stood."""
    server = filled()
    finalize_all(server)
    past = UsageShard(bytes(16), METERS.get)
    for version, body in server.log.items():
        past.apply_of(customer, body, NOW, version)
    found = past.query(GetAccount(customer, "", NOW)).account
    assert found.statements == server.account(customer).statements
