"""Every aggregation against a naive fold over the raw records, in any order and any cut (S6.3)."""

from __future__ import annotations

import random
import sys
from collections import Counter
from decimal import Decimal
from fractions import Fraction

from hypothesis import given, settings
from hypothesis import strategies as st

from rating_core.catalog import (
    Aggregation,
    BillingPeriod,
    BucketLength,
    Charge,
    ChargeModel,
    LevelUnit,
    Meter,
    Plan,
)
from rating_core.metering.batch import RecordStatus
from rating_core.metering.calls import DAY_US, GetBuckets
from rating_core.metering.counter_names import parse_hash_key
from rating_core.metering.counter_table import CounterTable
from rating_core.metering.entry import decode_body
from rating_core.metering.ledger_calls import FinalizePeriod
from rating_core.metering.record import UsageRecord, batch_of
from rating_core.metering.records_entry import RecordsEntry
from rating_core.metering.shard import (
    Configure,
    CreateSubscription,
    GetCounters,
    RecordCall,
    StateDigest,
    UsageShard,
)
from rating_core.period import HOUR_US, period_bounds
from rating_server.store.field_fold import fold_record

NOW = 1_767_571_200_000_000  # 2026-01-05T00:00Z, a Monday
START = NOW - 5 * DAY_US - 7 * HOUR_US - 1
KEY = bytes(range(16))
EXAMPLES = 60
METERS = {
    meter.id: meter
    for meter in (
        Meter("sum", Aggregation.SUM, scale=12, dimensions=("zone",), buckets=BucketLength.HOUR),
        Meter("count", Aggregation.COUNT, buckets=BucketLength.DAY),
        Meter("max", Aggregation.MAX, scale=1, dimensions=("zone",), buckets=BucketLength.DAY),
        Meter("latest", Aggregation.LATEST, dimensions=("zone",), buckets=BucketLength.HOUR),
        Meter(
            "users",
            Aggregation.UNIQUE_COUNT,
            dimensions=("zone",),
            of="user",
            buckets=BucketLength.DAY,
        ),
        Meter(
            "disk",
            Aggregation.WEIGHTED_SUM,
            scale=3,
            dimensions=("zone",),
            buckets=BucketLength.DAY,
        ),
        Meter("seats", Aggregation.WEIGHTED_SUM, per=LevelUnit.HOUR),
    )
}
CUSTOMERS = {"c0": BillingPeriod.DAY, "c1": BillingPeriod.MONTH}

random_streams = st.integers(0, 2**32).map(random.Random)


def stream(generator, count):
    """Records of every meter with few distinct times, values and ids, so that they meet."""
    records = []
    for number in range(count):
        meter = METERS[generator.choice([*METERS])]
        user = generator.choice(["", "ann", "bob", "Zoë", "ann "])
        records.append(
            UsageRecord(
                customer=generator.choice([*CUSTOMERS]),
                meter=meter.id,
                event_id=f"e{number}-{generator.randrange(9)}",
                quantity=generator.choice(
                    [0, 1, 7, -4, 30, -2, 10**6 if meter.id == "sum" else 10**14]
                ),
                event_time=START + generator.randrange(1 + (NOW - START) // HOUR_US) * HOUR_US,
                dimensions=generator.choice([(), (("zone", "a"),), (("zone", "b"),)])
                if meter.dimensions
                else (),
                scale=generator.choice([0, meter.scale]),
                attributes=generator.choice([(), (("user", user),), (("x", "y"), ("user", user))]),
            )
        )
    return records


def retracted(record):
    values = {name: getattr(record, name) for name in record.__slots__}
    return UsageRecord(**{**values, "retraction": True})


PLAN = Plan(
    "p",
    "EUR",
    BillingPeriod.DAY,
    (Charge("fee", ChargeModel.FLAT_FEE, amount=Decimal(7)),),
)


def new_shard():
    shard = UsageShard(KEY, METERS.get, plan_of=lambda _: PLAN)
    calls = [Configure(window_us=None, grace_us=0)]
    calls += [
        CreateSubscription(
            customer=name,
            subscription_id="s",
            plan_id="p",
            plan_version=1,
            billing_period=period,
            start_time=START,
        )
        for name, period in CUSTOMERS.items()
    ]
    return shard, [(commit(shard, call)[0], NOW) for call in calls]


def commit(shard, call):
    decision = shard.decide([call], NOW)
    if decision.body is not None:
        shard.stage(decision, NOW)
        shard.confirm(shard.version + 1, bytes(16))
    return decision.body, decision.answers[0]


def send(shard, records):
    _, answer = commit(shard, RecordCall(batch_of(records)))
    pairs = zip(records, answer.status.tolist(), strict=True)
    return [record for record, status in pairs if status == RecordStatus.ACCEPTED]


def folded(log, customer, start):
    """The fields of one hash by the reader's own fold of the log."""
    fields = {}
    for body, _ in log:
        entry = decode_body(body)
        if isinstance(entry, RecordsEntry):
            for row in range(len(entry)):
                named = entry.customers[int(entry.codes[0, row])]
                if (named, int(entry.words[2, row])) == (customer, start):
                    fold_record(fields, entry, row, {})
    return fields


def chunks(generator, records):
    rest = list(records)
    while rest:
        size = generator.choice([1, 3, 7, 40])
        yield rest[:size]
        rest = rest[size:]


def standing(accepted):
    """The records that count: those accepted and not taken back."""
    gone = {(r.customer, r.event_id) for r in accepted if r.retraction}
    return [r for r in accepted if (r.customer, r.event_id) not in gone and not r.retraction]


def quantity_of(record):
    scale = METERS[record.meter].scale
    return record.quantity * 10**scale // 10**record.scale


def rounded(value):
    sign = -1 if value < 0 else 1
    return sign * int(abs(value) + Fraction(1, 2))


def naive(records, customer, meter, start, end, length):
    """The value of a meter's records of one series in [start, end), by the words of S6.3, S6.4."""
    inside = [r for r in records if start <= r.event_time < end]
    if meter.aggregation is Aggregation.SUM:
        return sum(quantity_of(r) for r in inside)
    if meter.aggregation is Aggregation.COUNT:
        return len(inside)
    if meter.aggregation is Aggregation.MAX:
        return max((quantity_of(r) for r in inside), default=0)
    if meter.aggregation is Aggregation.LATEST:
        last = max(inside, key=lambda r: (r.event_time, r.event_id.encode()), default=None)
        return 0 if last is None else quantity_of(last)
    if meter.aggregation is Aggregation.UNIQUE_COUNT:
        users = {dict(r.attributes).get(meter.of, "") for r in inside}
        return len(users - {""})
    level_time = sum(
        quantity_of(r) * (end - max(r.event_time, start)) for r in records if r.event_time < end
    )
    return rounded(Fraction(level_time, HOUR_US if meter.per else length))


def periods(customer):
    start = START
    while start <= NOW:
        begin, end = period_bounds(CUSTOMERS[customer], start)
        yield max(begin, START), end, end - begin
        start = end


def expected(accepted):
    """Counters by (customer, period, meter, dimensions), of all series with a record or a level."""
    found = {}
    counted = standing(accepted)
    for record in counted:
        name, meter = record.customer, METERS[record.meter]
        series = [
            r
            for r in counted
            if (r.customer, r.meter, r.dimensions) == (name, record.meter, record.dimensions)
        ]
        for start, end, length in periods(name):
            events = sum(start <= r.event_time < end for r in series)
            level = sum(quantity_of(r) for r in series if r.event_time < start)
            if events or (level and meter.aggregation is Aggregation.WEIGHTED_SUM):
                value = naive(series, name, meter, start, end, length)
                found[name, start, record.meter, record.dimensions] = value, events
    return found


def counters(shard):
    found = {}
    for customer in CUSTOMERS:
        for start, _, _ in periods(customer):
            for counter in shard.query(GetCounters(customer, start)).counters:
                key = customer, start, counter.meter, counter.dimensions
                found[key] = counter.value, counter.events
    return found


def with_retractions(generator, records):
    """The records with retractions of some, each somewhere after what it takes back."""
    mixed = list(records)
    for record in generator.sample(records, len(records) // 4):
        place = generator.randrange(mixed.index(record) + 1, len(mixed) + 1)
        mixed.insert(place, retracted(record))
    return mixed


@settings(max_examples=EXAMPLES, deadline=None, derandomize=True)
@given(random_streams)
def test_counters_are_the_naive_fold_of_the_records(generator):
    """Each aggregation's value, retractions included, is what the rules say of the records."""
    shard, _ = new_shard()
    accepted = []
    for part in chunks(generator, with_retractions(generator, stream(generator, 60))):
        accepted += send(shard, part)
    assert counters(shard) == expected(accepted)


@settings(max_examples=EXAMPLES, deadline=None, derandomize=True)
@given(random_streams)
def test_order_of_arrival_and_cut_never_change_any_field(generator):
    """Shuffled and cut otherwise, the same records leave the same counters, buckets and values."""
    records = stream(generator, 60)
    found = []
    for _ in range(2):
        shard, _ = new_shard()
        for part in chunks(generator, records):
            assert len(send(shard, part)) == len(part)
        found.append({key: shard.hash_fields(key, 0) for key in sorted(shard.changed_hashes(0))})
        generator.shuffle(records)
    assert found[0] == found[1]
    assert any(key.startswith("b:") for key in found[0])


@settings(max_examples=EXAMPLES, deadline=None, derandomize=True)
@given(random_streams)
def test_recovery_and_snapshots_agree_with_the_live_state(generator):
    """Read from the log, or restored from a snapshot, the state goes on as the live one (P10)."""
    shard, log = new_shard()
    staged = 0
    for part in chunks(generator, with_retractions(generator, stream(generator, 50))):
        decision = shard.decide([RecordCall(batch_of(part))], NOW)
        if decision.body is not None:
            shard.stage(decision, NOW)
            log.append((decision.body, NOW))
            staged += 1
        while staged > generator.randrange(4):
            shard.confirm(shard.version + 1, bytes(16))
            staged -= 1
    while staged:
        shard.confirm(shard.version + 1, bytes(16))
        staged -= 1
    other = UsageShard(KEY, METERS.get)
    for version, (body, now) in enumerate(log, 1):
        other.apply(body, now, version, bytes(16))
    restored = UsageShard(KEY, METERS.get)
    restored.restore(shard.snapshot())
    later = stream(generator, 20)
    for machine in (shard, other, restored):
        send(machine, later)
        assert machine.query(StateDigest()) == shard.query(StateDigest())
        for key in shard.changed_hashes(0):
            assert shard.hash_fields(key, 4) == machine.hash_fields(key, 4)
        standing = [(key, after) for after in (0, 4) for key in shard.changed_hashes(0)]
        assert machine.fields_of(standing) == [machine.hash_fields(*each) for each in standing]
    assert counters(restored) == counters(shard)


@settings(max_examples=EXAMPLES, deadline=None, derandomize=True)
@given(random_streams)
def test_a_reader_of_the_log_gets_the_fields_of_the_hashes(generator):
    """Folded record by record from the log's format, every field of a hash has its value."""
    shard, log = new_shard()
    for part in chunks(generator, with_retractions(generator, stream(generator, 50))):
        body, _ = commit(shard, RecordCall(batch_of(part)))
        if body is not None:
            log.append((body, NOW))
    for key in shard.changed_hashes(0):
        kind, customer, start = parse_hash_key(key)
        if kind == "c":
            assert dict(shard.hash_fields(key, 0)) == folded(log, customer, start)


@settings(max_examples=EXAMPLES, deadline=None, derandomize=True)
@given(random_streams)
def test_retracting_everything_leaves_nothing(generator):
    """What is added and taken back leaves no counter; max and latest refuse to be taken back."""
    shard, _ = new_shard()
    records = stream(generator, 40)
    send(shard, records)
    backward = [retracted(record) for record in records]
    generator.shuffle(backward)
    taken = []
    for part in chunks(generator, backward):
        taken += send(shard, part)
    assert not send(shard, backward)
    kept = {r.meter for r in records} & {"max", "latest"}
    assert {meter for _, _, meter, _ in counters(shard)} == kept
    assert len(taken) == sum(r.meter not in ("max", "latest") for r in records)


@settings(max_examples=EXAMPLES, deadline=None, derandomize=True)
@given(random_streams)
def test_a_close_holds_what_is_staged(generator):
    """A close decided over staged records holds the counters that they leave (P4)."""
    records = with_retractions(generator, stream(generator, 40))
    shard, _ = new_shard()
    twin, _ = new_shard()
    for part in chunks(generator, records):
        call = RecordCall(batch_of(part))
        decision = shard.decide([call], NOW)
        if decision.body is not None:
            shard.stage(decision, NOW)
        commit(twin, call)
    for start, end, _ in periods("c0"):
        if end <= NOW:
            close = FinalizePeriod(customer="c0", period_start=start)
            decision = shard.decide([close], NOW)
            shard.stage(decision, NOW)
            _, answer = commit(twin, close)
            left, right = (a.value["usage"]["periods"][-1] for a in (decision.answers[0], answer))
            assert left == right
            for facts in right["parts"][0]["counters"]:
                kind = METERS[facts["meter"]].aggregation
                assert (facts["exact"] is not None) == (kind is Aggregation.WEIGHTED_SUM)
                assert (facts["latest"] is not None) == (kind is Aggregation.LATEST)
                if kind is Aggregation.UNIQUE_COUNT:
                    assert len(set(facts["values"])) == facts["value"]


def bucket_length(meter):
    return DAY_US if meter.buckets is BucketLength.DAY else HOUR_US


def expected_buckets(accepted, customer):
    """Value and events by (start, end, meter, dimensions) of all buckets with a record or level."""
    found = {}
    counted = [r for r in standing(accepted) if r.customer == customer]
    for meter_id, dimensions in {(r.meter, r.dimensions) for r in counted}:
        meter = METERS[meter_id]
        series = [r for r in counted if (r.meter, r.dimensions) == (meter_id, dimensions)]
        length = bucket_length(meter)
        begin = START - START % length
        while meter.buckets and begin <= NOW:
            start, end = max(begin, START), begin + length
            events = sum(start <= r.event_time < end for r in series)
            level = sum(quantity_of(r) for r in series if r.event_time < start)
            if events or (level and meter.aggregation is Aggregation.WEIGHTED_SUM):
                value = naive(series, customer, meter, start, end, length)
                found[start, end, meter_id, dimensions] = value, events
            begin = end
    return found


@settings(max_examples=EXAMPLES, deadline=None, derandomize=True)
@given(random_streams)
def test_buckets_are_the_naive_fold_of_their_records(generator):
    """The history of a customer, page by page, is what the rules say of the records (S6.3)."""
    shard, _ = new_shard()
    accepted = []
    for part in chunks(generator, with_retractions(generator, stream(generator, 60))):
        accepted += send(shard, part)
    for customer in CUSTOMERS:
        found, after = [], None
        while True:
            question = GetBuckets(customer, START, NOW + 1, after=after, limit=7)
            page = shard.query(question).buckets
            if not page:
                break
            found += page
            after = page[-1].key
        assert [bucket.key for bucket in found] == sorted(bucket.key for bucket in found)
        shown = {
            (b.start, b.end, b.counter.meter, b.counter.dimensions): (
                b.counter.value,
                b.counter.events,
            )
            for b in found
        }
        assert len(shown) == len(found)
        assert shown == expected_buckets(accepted, customer)


def test_a_page_of_buckets_costs_what_it_shows():
    """However long the history and many its series, a page reads one bucket a series beyond it."""
    shard, _ = new_shard()
    zones, hours = [f"z{number}" for number in range(20)], range(0, 600, 3)
    records = [
        UsageRecord("c1", "sum", f"{zone}-{hour}", 1, time, (("zone", zone),))
        for zone in zones
        for hour in hours
        if (time := START + hour * HOUR_US) <= NOW
    ]
    send(shard, records)
    visited = Counter()
    found, after = 0, None
    for _ in range(5):
        visited.clear()
        question = GetBuckets("c1", START, NOW + 1, after=after, limit=10)
        sys.setprofile(lambda frame, event, _: visited.update([(event, frame.f_code)]))
        try:
            page = shard.query(question).buckets
        finally:
            sys.setprofile(None)
        assert 0 < visited["call", CounterTable.bucket_state.__code__] <= 10 + 3 * len(zones)
        found, after = found + len(page), page[-1].key
    assert found == 50
