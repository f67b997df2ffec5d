"""A change dated back leaves the counters that it would have had from the start (S8.6)."""

from __future__ import annotations

import random
from decimal import Decimal
from itertools import count

import numpy as np
import pytest

from rating_core.catalog import (
    Aggregation,
    BillingPeriod,
    BucketLength,
    Charge,
    ChargeModel,
    Meter,
    Plan,
)
from rating_core.contract.usage import PlanRef
from rating_core.metering.batch import RecordBatch
from rating_core.metering.calls import (
    DAY_US,
    CancelSubscription,
    ChangePlan,
    Configure,
    CreateSubscription,
    GetBuckets,
    GetCounters,
    GetSubscriptions,
    RecordCall,
    StateDigest,
)
from rating_core.metering.contracts.recount_reading import RecountReading
from rating_core.metering.contracts.subscription import subscription_from_facts
from rating_core.metering.log.entry import decode_envelope, encode_envelope
from rating_core.metering.log.protocol import LogEntry, chain_token
from rating_core.metering.shard import UsageShard

KEY = bytes(range(16))
START = 20_454 * DAY_US
"""2026-01-01."""
METERS = {
    meter.id: meter
    for meter in (
        Meter("sum", Aggregation.SUM, dimensions=("region",), buckets=BucketLength.HOUR),
        Meter("count", Aggregation.COUNT),
        Meter("max", Aggregation.MAX),
        Meter("latest", Aggregation.LATEST, buckets=BucketLength.DAY),
        Meter("unique", Aggregation.UNIQUE_COUNT, of="user", buckets=BucketLength.DAY),
        Meter("level", Aggregation.WEIGHTED_SUM),
    )
}
NAMES = list(METERS)


class Ledger:
    """A shard with the log that it wrote, one entry a call."""

    def __init__(self):
        self.shard = UsageShard(KEY, METERS.get, plan_of=PLANS.get)
        self.log = []
        self.now = START + 20 * DAY_US

    def run(self, call):
        """Decide and commit one call; return its answer."""
        decision = self.shard.decide([call], self.now)
        if decision.body is not None:
            self.shard.stage(decision, self.now)
            self.commit(decision.body)
        return decision.answers[0]

    def commit(self, body):
        """Commit the oldest staged entry, whose body is given."""
        version, token = len(self.log) + 1, self.shard.token
        entry = encode_envelope(bytes(16), version, self.now, body)
        self.log.append(LogEntry(version, token, entry))
        self.shard.confirm(version, chain_token(token, entry))

    def change(self, call_of, later=()):
        """Run a change with all that it needs counted anew, while ``later`` calls are made."""
        answer = self.run(call_of(None))
        if answer.reason != "RECOUNT_NEEDED":
            return answer
        recount = recounted(answer, self.log)
        for call in later:
            self.run(call)
        return self.run(call_of(recount))

    def replayed(self):
        """Return another shard that has read this one's log."""
        other = UsageShard(KEY, METERS.get)
        for at in self.log:
            body = decode_envelope(at.entry).body
            other.apply(body, self.now, at.version, chain_token(at.previous, at.entry))
        return other


def recounted(answer, log):
    """Return what a refusal needs counted anew, read from a log; ``None`` if it is another one."""
    contract = tuple(subscription_from_facts(facts, {}) for facts in answer.value["contract"])
    reading = RecountReading(answer.value, contract)
    for entry in log:
        if entry.version <= reading.until and not reading.take(entry):
            return None
    return reading.parts()


def batch_of(rows):
    """Return rows (id, meter, quantity, time, region, user, retracted) as one batch of acme."""
    ids = [row[0].encode() for row in rows]
    regions = [(("region", row[4]),) if row[1] == "sum" else () for row in rows]
    users = [(("user", row[5]),) for row in rows]
    return RecordBatch(
        customers=["acme"],
        customer=np.zeros(len(rows), np.int32),
        meters=NAMES,
        scales=[0] * len(NAMES),
        meter=np.array([NAMES.index(row[1]) for row in rows], np.int32),
        dimension_sets=regions,
        dimension_set=np.arange(len(rows), dtype=np.int32),
        event_ids=b"".join(ids),
        event_id_ends=np.cumsum([len(text) for text in ids]),
        quantity=np.array([row[2] for row in rows], np.int64),
        event_time=np.array([row[3] for row in rows], np.int64),
        malformed=np.zeros(len(rows), np.bool_),
        attribute_sets=users,
        attribute_set=np.arange(len(rows), dtype=np.int32),
        retraction=np.array([row[6] for row in rows]),
    )


def create(plan="old"):
    """Return the call that starts the subscription."""
    return CreateSubscription(
        customer="acme",
        subscription_id="main",
        plan_id=plan,
        plan_version=1,
        billing_period=BillingPeriod.WEEK,
        start_time=START,
        bands=BANDS[plan],
    )


PLANS = {
    PlanRef(name, version, ""): Plan(
        name,
        "USD",
        BillingPeriod.WEEK,
        (Charge(name, ChargeModel.PER_UNIT, "sum", unit_price=Decimal(1)),),
        meters=(METERS["sum"],),
    )
    for name, version in (("old", 1), ("new", 2))
}
BANDS = {"old": {"sum": {"fee": (100, None)}}, "new": {"sum": {"cut": (None, 300)}}}


def change(instant):
    """Return what makes the call of a plan change at an instant."""
    return lambda recount: ChangePlan(
        customer="acme",
        subscription_id="main",
        effective=instant,
        plan_id="new",
        plan_version=2,
        billing_period=BillingPeriod.WEEK,
        bands=BANDS["new"],
        recount=recount,
    )


def cancel(instant):
    """Return what makes the call of a cancellation at an instant."""
    return lambda recount: CancelSubscription(
        customer="acme", subscription_id="main", end_time=instant, recount=recount
    )


def random_batches(seed):
    """Return batches of random records, some of them taken back later."""
    drawn, numbers, sent, batches = random.Random(seed), count(), [], []
    for _ in range(6):
        rows = []
        for _ in range(40):
            if sent and drawn.random() < 0.15:
                row = drawn.choice(sent)
                if row[1] not in ("max", "latest"):
                    rows.append((*row[:6], True))
                continue
            meter = drawn.choice(NAMES)
            # Clamps refuse negative quantities on `sum` (S3.4).
            low = -50 if meter == "level" else 0
            rows.append(
                (
                    f"e{next(numbers)}",
                    meter,
                    drawn.randint(low, 400),
                    START + drawn.randrange(19 * DAY_US),
                    drawn.choice(["eu", "us"]),
                    f"u{drawn.randint(0, 6)}",
                    False,
                )
            )
        sent += [row for row in rows if not row[6]]
        batches.append(batch_of(rows))
    return batches


def seen(shard):
    """Return all that a reader can see of the counters of acme."""
    days = range(START, START + 20 * DAY_US, DAY_US // 4)
    counters = []
    for instant in days:
        answer = shard.query(GetCounters("acme", instant))
        counters.append((answer.part_start, answer.part_end, answer.plan_ref, answer.counters))
    buckets = shard.query(GetBuckets("acme", START, START + 20 * DAY_US, limit=10_000)).buckets
    return counters, buckets


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("made", [change, cancel])
def test_a_change_dated_back_counts_as_if_it_had_been_known(seed, made):
    """Counters after it equal those of a shard that took the change first; replay agrees."""
    instant = START + random.Random(seed).choice([0, 1, 7 * DAY_US, 9 * DAY_US + 12_345])
    if made is cancel:
        instant = max(instant, START + 1)
    late, early = Ledger(), Ledger()
    for ledger in (late, early):
        ledger.run(Configure(window_us=None))
        assert ledger.run(create()).ok
    assert early.change(made(instant)).ok
    batches = random_batches(seed)
    calls = [RecordCall(batch) for batch in batches]
    for call in calls:
        early.run(call)
    for call in calls[:4]:
        late.run(call)
    meanwhile = seed % 3
    assert late.change(made(instant), later=calls[4 : 4 + meanwhile]).ok
    for call in calls[4 + meanwhile :]:
        late.run(call)
    assert seen(late.shard) == seen(early.shard)
    digest = late.shard.query(StateDigest())
    assert late.replayed().query(StateDigest()) == digest
    restored = UsageShard(KEY, METERS.get)
    restored.restore(late.shard.snapshot())
    assert restored.query(StateDigest()) == digest
    assert restored.query(GetSubscriptions("acme")) == late.shard.query(GetSubscriptions("acme"))


@pytest.mark.parametrize("known", [0, 1, 2])
def test_records_in_flight_do_not_keep_a_change_from_being_made(known):
    """Staged records are counted anew too, once, however many were committed when it was asked."""
    ledger, instant = Ledger(), START + 8 * DAY_US
    ledger.run(Configure(window_us=None))
    ledger.run(create())
    ledger.run(RecordCall(batch_of([("a", "sum", 1, instant, "eu", "u", False)])))
    rows = [[(f"f{n}", "sum", 10, instant + n, "eu", "u", False)] for n in range(2)]
    flying = []
    for row in rows:
        decision = ledger.shard.decide([RecordCall(batch_of(row))], ledger.now)
        ledger.shard.stage(decision, ledger.now)
        flying.append(decision.body)
    for body in flying[:known]:
        ledger.commit(body)
    (refused,) = ledger.shard.decide([change(instant)(None)], ledger.now).answers
    recount = recounted(refused, ledger.log)
    decision = ledger.shard.decide([change(instant)(recount)], ledger.now)
    assert decision.answers[0].ok
    ledger.shard.stage(decision, ledger.now)
    after = ledger.shard.decide(
        [RecordCall(batch_of([("last", "sum", 100, instant, "eu", "u", False)]))], ledger.now
    )
    ledger.shard.stage(after, ledger.now)
    for body in [*flying[known:], decision.body, after.body]:
        ledger.commit(body)
    (counter,) = ledger.shard.query(GetCounters("acme", instant)).counters
    assert (counter.value, counter.events) == (121, 4)
    assert ledger.replayed().query(StateDigest()) == ledger.shard.query(StateDigest())


def test_a_log_that_lost_entries_after_it_was_read_is_not_believed():
    """P5: records of a history that a failover took are in no recount, whatever their version."""
    instant = START + 8 * DAY_US
    before, gone, kept = (
        RecordCall(batch_of([(name, "sum", quantity, instant, "eu", "u", False)]))
        for name, quantity in (("a", 1), ("gone", 1_000), ("kept", 10))
    )
    former, ledger = Ledger(), Ledger()
    for one in (former, ledger):
        one.run(Configure(window_us=None))
        one.run(create())
        one.run(before)
    former.run(gone)
    refused = former.run(change(instant)(None))
    stale = recounted(refused, former.log)
    assert stale.version == len(former.log)
    ledger.run(kept)
    again = ledger.run(change(instant)(stale))
    assert again.reason == "RECOUNT_NEEDED"
    assert recounted(again, former.log) is None
    assert ledger.run(change(instant)(recounted(again, ledger.log))).ok
    (counter,) = ledger.shard.query(GetCounters("acme", instant)).counters
    assert (counter.value, counter.events) == (11, 2)


def test_reading_goes_on_only_along_one_chain():
    """P5: entries of another history that follow in number are not taken into what was read."""
    instant = START + 8 * DAY_US
    former, ledger = Ledger(), Ledger()
    for one in (former, ledger):
        one.run(Configure(window_us=None))
        one.run(create())
    former.run(RecordCall(batch_of([("gone", "sum", 1_000, instant, "eu", "u", False)])))
    refused = former.run(change(instant)(None))
    reading = RecountReading(
        refused.value, tuple(subscription_from_facts(f, {}) for f in refused.value["contract"])
    )
    assert all(reading.take(entry) for entry in former.log)
    for name in "ab":
        ledger.run(RecordCall(batch_of([(name, "sum", 1, instant, "eu", "u", False)])))
    later = ledger.run(change(instant)(reading.parts()))
    assert reading.goes_on(later.value)
    assert not reading.take(ledger.log[-1])
    assert reading.parts() is None
