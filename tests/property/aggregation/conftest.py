"""Records of every aggregation, a shard that counts them, and what S6.3 says of them."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction
from types import SimpleNamespace

import pytest

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
from rating_core.metering.calls import (
    DAY_US,
    Configure,
    CreateSubscription,
    GetCounters,
    RecordCall,
)
from rating_core.metering.deciding.record import UsageRecord, batch_of
from rating_core.metering.deciding.records_entry import RecordsEntry
from rating_core.metering.log.entry import decode_body
from rating_core.metering.shard import UsageShard
from rating_core.period import HOUR_US, period_bounds
from rating_server.store.field_fold import fold_record

NOW = 1_767_571_200_000_000  # 2026-01-05T00:00Z, a Monday
START = NOW - 5 * DAY_US - 7 * HOUR_US - 1
KEY = bytes(range(16))
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


@pytest.fixture(scope="session")
def lab():
    """The functions and values of this module that tests use, by name."""
    return SimpleNamespace(
        stream=stream,
        retracted=retracted,
        new_shard=new_shard,
        commit=commit,
        send=send,
        folded=folded,
        chunks=chunks,
        standing=standing,
        periods=periods,
        expected=expected,
        counters=counters,
        with_retractions=with_retractions,
        expected_buckets=expected_buckets,
        NOW=NOW,
        START=START,
        KEY=KEY,
        METERS=METERS,
        CUSTOMERS=CUSTOMERS,
    )
