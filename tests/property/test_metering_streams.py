"""Laws of the usage shard on random streams: order, replay, recovery, roll-back (DESIGN §6)."""

from __future__ import annotations

import os
import random
from collections import Counter
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from rating_core.catalog import Aggregation, BillingPeriod, Meter
from rating_core.metering.batch import RecordStatus
from rating_core.metering.calls import (
    DAY_US,
    Configure,
    CreateSubscription,
    GetCounters,
    RecordCall,
    StateDigest,
)
from rating_core.metering.deciding.record import UsageRecord, batch_of
from rating_core.metering.shard import UsageShard
from rating_core.period import period_bounds

NOW = 1_767_571_200_000_000
KEY = bytes(range(16))
EXAMPLES = int(os.environ.get("RATEWRIGHT_STREAM_EXAMPLES", "60"))
METERS = {
    meter.id: meter
    for meter in (
        Meter("tokens", Aggregation.SUM, "token", 2, ("model", "region")),
        Meter("calls", Aggregation.COUNT, "", 0, ("model",)),
        Meter("paid", Aggregation.SUM, "EUR", 1),
    )
}
CUSTOMERS = {"c0": BillingPeriod.DAY, "c1": BillingPeriod.MONTH, "ü": BillingPeriod.HOUR}
BANDS = {"paid": {"fee": (3, 20), "tax": (None, 0)}}

random_streams = st.integers(0, 2**32).map(random.Random)


def stream(generator, count):
    """Records with repeated ids, changed payloads, and every kind of fault."""
    records = []
    for _ in range(count):
        record = UsageRecord(
            customer=generator.choice([*CUSTOMERS, *CUSTOMERS, "nobody"]),
            meter=generator.choice([*METERS, *METERS, "unknown"]),
            event_id=f"e{generator.randrange(count)}",
            quantity=generator.choice([0, 1, 7, 30, -4, 2**62, -(2**62), 2**70]),
            event_time=NOW - generator.randrange(-2, 9 * 24) * 3_600_000_000,
            dimensions=generator.choice(
                [(), (("model", "a"),), (("region", ""), ("model", "b")), (("odd", "x"),)]
            ),
            scale=generator.choice([0, 0, 1, 2, 3]),
        )
        records.append(
            generator.choice(records) if records and generator.random() < 0.3 else record
        )
    return records


def tame(records):
    """Return the records whose acceptance does not depend on what came before them."""
    seen = {}
    for record in records:
        if abs(record.quantity) < 2**60:
            seen.setdefault((record.customer, record.event_id), record)
    return list(seen.values())


def new_shard():
    shard = UsageShard(KEY, METERS.get)
    calls = [Configure(max_series=1000)]
    calls += [
        CreateSubscription(
            customer=name,
            subscription_id="s",
            plan_id="p",
            plan_version=1,
            billing_period=period,
            start_time=NOW - 8 * DAY_US - 12_345,
            bands=BANDS,
        )
        for name, period in CUSTOMERS.items()
    ]
    log = [commit(shard, call) for call in calls]
    return shard, [(body, NOW) for body, _ in log]


def commit(shard, *calls, now=NOW):
    decision = shard.decide(calls, now)
    if decision.body is not None:
        shard.stage(decision, now)
        shard.confirm(shard.version + 1, bytes(16))
    return decision.body, decision.answers


def counters(shard):
    found = {}
    for hour in range(-2, 9 * 24):
        for customer in CUSTOMERS:
            answer = shard.query(GetCounters(customer, NOW - hour * 3_600_000_000))
            for c in answer.counters:
                bands = {
                    k: (b.floor_events, b.ceiling_events, b.between_sum) for k, b in c.bands.items()
                }
                key = customer, answer.period_start, c.meter, c.dimensions
                found[key] = c.value, c.events, bands
    return found


def chunks(generator, records):
    rest = list(records)
    while rest:
        size = generator.choice([1, 1, 2, 5, 30])
        yield RecordCall(batch_of(rest[:size]))
        rest = rest[size:]


def accepted(records, answer):
    pairs = zip(records, answer.status.tolist(), strict=True)
    return [record for record, status in pairs if status == RecordStatus.ACCEPTED]


def fold(records):
    """Counters of accepted records by plain Python integers."""
    found = {}
    for record in records:
        meter = METERS[record.meter]
        start, _ = period_bounds(
            CUSTOMERS[record.customer], record.event_time, NOW - 8 * DAY_US - 12_345
        )
        dimensions = tuple(sorted(pair for pair in record.dimensions if pair[1]))
        quantity = record.quantity * 10**meter.scale // 10**record.scale
        amount = 1 if meter.aggregation is Aggregation.COUNT else quantity
        key = record.customer, start, record.meter, dimensions
        value, events, bands = found.get(key, (0, 0, {}))
        bands = dict(bands)
        for charge, (floor, ceiling) in BANDS.get(record.meter, {}).items():
            cell = list(bands.get(charge, (0, 0, 0)))
            if floor is not None and amount <= floor:
                cell[0] += 1
            elif ceiling is not None and amount >= ceiling:
                cell[1] += 1
            else:
                cell[2] += amount
            bands[charge] = tuple(cell)
        found[key] = value + amount, events + 1, bands
    return found


@settings(max_examples=EXAMPLES, deadline=None, derandomize=True)
@given(random_streams)
def test_counters_are_the_fold_of_accepted_records(generator):
    """Counters are what plain Python sums over exactly the records that were ACCEPTED."""
    shard, _ = new_shard()
    taken = []
    records = stream(generator, 60)
    for call in chunks(generator, records):
        _, (answer,) = commit(shard, call)
        part, records = records[: len(call.batch)], records[len(call.batch) :]
        taken += accepted(part, answer)
    assert counters(shard) == fold(taken)
    assert len({(record.customer, record.event_id) for record in taken}) == len(taken)


@settings(max_examples=EXAMPLES, deadline=None, derandomize=True)
@given(random_streams)
def test_order_of_arrival_never_changes_counters(generator):
    """Shuffled and cut into other batches, the same records leave the same counters."""
    records = tame(stream(generator, 60))
    results = []
    for _ in range(2):
        shard, _ = new_shard()
        for call in chunks(generator, records):
            commit(shard, call)
        results.append(counters(shard))
        generator.shuffle(records)
    assert results[0] == results[1]


@settings(max_examples=EXAMPLES, deadline=None, derandomize=True)
@given(random_streams)
def test_replay_never_changes_anything(generator):
    """Sent again in any cut, accepted records are DUPLICATE and the state stays."""
    shard, _ = new_shard()
    records = tame(stream(generator, 60))
    _, (answer,) = commit(shard, RecordCall(batch_of(records)))
    taken = accepted(records, answer)
    before = shard.query(StateDigest())
    generator.shuffle(taken)
    for call in chunks(generator, taken):
        body, (answer,) = commit(shard, call)
        assert body is None
        assert Counter(answer.status.tolist()).keys() <= {int(RecordStatus.DUPLICATE)}
    assert shard.query(StateDigest()) == before


@settings(max_examples=EXAMPLES, deadline=None, derandomize=True)
@given(random_streams)
def test_recovery_equals_the_live_state(generator):
    """Live, with up to three entries in flight, and recovered machines have one digest."""
    shard, log = new_shard()
    now, staged = NOW, 0
    for call in chunks(generator, stream(generator, 60)):
        now += generator.choice([0, 1, 3_600_000_000, DAY_US])
        decision = shard.decide([call], now)
        if decision.body is not None:
            shard.stage(decision, now)
            log.append((decision.body, now))
            staged += 1
        while staged > generator.randrange(4):
            shard.confirm(shard.version + 1, bytes(16))
            staged -= 1
    while staged:
        shard.confirm(shard.version + 1, bytes(16))
        staged -= 1
    other = UsageShard(KEY, METERS.get)
    for version, (body, instant) in enumerate(log, 1):
        other.apply(body, instant, version, bytes(16))
    assert other.query(StateDigest()) == shard.query(StateDigest())
    for key in shard.changed_hashes(0):
        assert shard.hash_fields(key, 5) == other.hash_fields(key, 5)


@settings(max_examples=EXAMPLES, deadline=None, derandomize=True)
@given(random_streams)
def test_staging_decides_as_committing_does_and_leaves_no_trace(generator):
    """Decisions over staged entries equal those over committed ones; unstage restores all."""
    shard, log = new_shard()
    twin = UsageShard(KEY, METERS.get)
    for version, (body, instant) in enumerate(log, 1):
        twin.apply(body, instant, version, bytes(16))
    calls = list(chunks(generator, stream(generator, 25)))
    before, first = shard.query(StateDigest()), shard.decide(calls, NOW)
    for call in calls:
        provisional = shard.decide([call], NOW)
        body, (answer,) = commit(twin, call)
        assert provisional.body == body
        assert provisional.answers[0].status.tolist() == answer.status.tolist()
        assert provisional.answers[0].reason.tolist() == answer.reason.tolist()
        if body is not None:
            shard.stage(provisional, NOW)
    assert shard.query(StateDigest()) == before
    shard.unstage()
    again = shard.decide(calls, NOW)
    assert again.body == first.body
    for one, other in zip(first.answers, again.answers, strict=True):
        assert one.status.tolist() == other.status.tolist()


def test_nothing_wraps_without_compilation(pass_without_compiled_code):
    """The same laws hold in plain Python with overflow warnings as errors (DESIGN §2)."""
    shard = Path(__file__).parents[1] / "unit" / "shard"
    pass_without_compiled_code(__file__, shard, RATEWRIGHT_STREAM_EXAMPLES="2")
