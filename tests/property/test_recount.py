"""A change dated back leaves the counters that it would have had from the start (S8.6)."""

from __future__ import annotations

import random
from itertools import count

import numpy as np
import pytest

from rating_core.catalog import Aggregation, BillingPeriod, BucketLength, Meter
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
from rating_core.metering.entry import decode_body
from rating_core.metering.records_entry import RecordsEntry
from rating_core.metering.recount import Recount
from rating_core.metering.shard import UsageShard
from rating_core.metering.subscription import subscription_from_facts

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
        self.shard = UsageShard(KEY, METERS.get)
        self.log = []
        self.now = START + 20 * DAY_US

    def run(self, call):
        """Decide and commit one call; return its answer."""
        decision = self.shard.decide([call], self.now)
        if decision.body is not None:
            self.shard.stage(decision, self.now)
            version = len(self.log) + 1
            self.shard.confirm(version, version.to_bytes(16, "big"))
            self.log.append(decision.body)
        return decision.answers[0]

    def change(self, call_of, lag=0):
        """Run a change with all that it needs counted anew, from a log read ``lag`` entries ago."""
        answer = self.run(call_of(None))
        if answer.reason != "RECOUNT_NEEDED":
            return answer
        contract = tuple(subscription_from_facts(facts, {}) for facts in answer.value["contract"])
        recount = Recount(contract, answer.value["since"])
        for version, body in enumerate(self.log[: len(self.log) - lag], 1):
            entry = decode_body(body)
            if isinstance(entry, RecordsEntry):
                recount.add(entry, version)
            recount.passed(version)
        return self.run(call_of(recount.parts()))

    def replayed(self):
        """Return another shard that has read this one's log."""
        other = UsageShard(KEY, METERS.get)
        for version, body in enumerate(self.log, 1):
            other.apply(body, self.now, version, version.to_bytes(16, "big"))
        return other


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
    for number, batch in enumerate(batches):
        if number == 4:
            assert late.change(made(instant), lag=seed % 3).ok
        for ledger in (late, early):
            ledger.run(RecordCall(batch))
    assert seen(late.shard) == seen(early.shard)
    digest = late.shard.query(StateDigest())
    assert late.replayed().query(StateDigest()) == digest
    restored = UsageShard(KEY, METERS.get)
    restored.restore(late.shard.snapshot())
    assert restored.query(StateDigest()) == digest
    assert restored.query(GetSubscriptions("acme")) == late.shard.query(GetSubscriptions("acme"))


@pytest.mark.parametrize("known", [0, 1, 2])
def test_records_in_flight_do_not_keep_a_change_from_being_made(known):
    """Staged records are counted anew too, once, whether the log that was read held them or not."""
    ledger, instant = Ledger(), START + 8 * DAY_US
    ledger.run(Configure(window_us=None))
    ledger.run(create())
    ledger.run(RecordCall(batch_of([("a", "sum", 1, instant, "eu", "u", False)])))
    refused = ledger.run(change(instant)(None))
    rows = [[(f"f{n}", "sum", 10, instant + n, "eu", "u", False)] for n in range(2)]
    flying = []
    for row in rows:
        decision = ledger.shard.decide([RecordCall(batch_of(row))], ledger.now)
        ledger.shard.stage(decision, ledger.now)
        flying.append(decision.body)
    contract = tuple(subscription_from_facts(facts, {}) for facts in refused.value["contract"])
    recount = Recount(contract, refused.value["since"])
    for version, body in enumerate([*ledger.log, *flying[:known]], 1):
        entry = decode_body(body)
        if isinstance(entry, RecordsEntry):
            recount.add(entry, version)
        recount.passed(version)
    decision = ledger.shard.decide([change(instant)(recount.parts())], ledger.now)
    assert decision.answers[0].ok
    ledger.shard.stage(decision, ledger.now)
    after = ledger.shard.decide(
        [RecordCall(batch_of([("last", "sum", 100, instant, "eu", "u", False)]))], ledger.now
    )
    ledger.shard.stage(after, ledger.now)
    for body in [*flying, decision.body, after.body]:
        ledger.log.append(body)
        ledger.shard.confirm(len(ledger.log), len(ledger.log).to_bytes(16, "big"))
    (counter,) = ledger.shard.query(GetCounters("acme", instant)).counters
    assert (counter.value, counter.events) == (121, 4)
    assert ledger.replayed().query(StateDigest()) == ledger.shard.query(StateDigest())
