"""Compiles, or loads from the cache, every kernel that counting uses.

A first compilation takes many seconds, in which this process answers nothing: it has to happen
before connections with deadlines are open, not in the first call of a user.
"""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import numpy as np

from rating_core.catalog import (
    Aggregation,
    BillingPeriod,
    BucketLength,
    Charge,
    ChargeModel,
    Meter,
    Plan,
    Tier,
)
from rating_core.contract.usage import PlanRef
from rating_core.metering.batch import RecordBatch, shard_of
from rating_core.metering.calls import CreateSubscription, GetCounters, RecordCall
from rating_core.metering.contracts.ledger_calls import FinalizePeriods
from rating_core.metering.deciding.field_scan import find_texts
from rating_core.metering.deciding.record import UsageRecord, batch_of
from rating_core.metering.deciding.roll import Roll
from rating_core.metering.ids.run import merged_run
from rating_core.metering.log.protocol import EMPTY_TOKEN, Decision, Machine
from rating_core.metering.shard import UsageShard
from rating_core.units import INT64_MAX

_NOW_US = 1_000_000
_LATER_US = 1_000 * 3_600_000_000
"""When the first hour and its grace are over."""
_METER = Meter("m", Aggregation.SUM, scale=1)
_METERS = {
    meter.id: meter
    for meter in (
        _METER,
        Meter("peak", Aggregation.MAX, buckets=BucketLength.DAY),
        Meter("last", Aggregation.LATEST),
        Meter("users", Aggregation.UNIQUE_COUNT, of="user"),
        Meter("level", Aggregation.WEIGHTED_SUM),
    )
}
_RECORDS = 500


def warm_up() -> None:
    """Count a few records of a customer of its own on machines that are thrown away."""
    shard = UsageShard(bytes(16), _METERS.get)
    bodies = [
        _commit(
            shard,
            CreateSubscription(
                customer="c",
                subscription_id="s",
                plan_id="p",
                plan_version=1,
                billing_period=BillingPeriod.MONTH,
                start_time=0,
                bands={_METER.id: {"fee": (1, 2)}},
            ),
        )
    ]
    # Two that overlap: staged records, known ids and known series take paths of their own. Many:
    # tables must grow.
    first, second = RecordCall(_batch(0)), RecordCall(_batch(_RECORDS // 2))
    joined = RecordCall(RecordBatch.concatenate([first.batch, second.batch]))
    shard.decide([first, second], _NOW_US)
    bodies += [_commit(shard, first), _commit(shard, second)]
    shard.decide([joined], _NOW_US)
    joined.batch.split_by_shard(1)
    _warm_roll(shard, joined.batch)
    joined.batch.take(np.arange(0, _RECORDS, 2, dtype=np.int64))
    _warm_others(shard, bodies)
    _warm_statements()
    recovered = UsageShard(bytes(16), _METERS.get)
    for version, body in enumerate(bodies, start=1):
        recovered.apply(body, _NOW_US, version, EMPTY_TOKEN)
    recovered.fields_of([(key, 0) for key in recovered.changed_hashes(0)])
    recovered.query(GetCounters("c", _NOW_US))
    # Ids in a table that has been closed, and in a run.
    (segment,) = recovered.ids.segments()
    segment.seal()
    segment.exchange(segment.closed(), merged_run(segment.closed(), segment.key))
    recovered.decide([joined], _NOW_US)


def _warm_roll(shard: UsageShard, batch: RecordBatch) -> None:
    """Count customers by number, from a message's bytes, in batches that are joined."""
    roll = Roll(shard.hash_key, 2, shard_of, bool)
    data = np.frombuffer(b"\x0a\x01c", np.uint8)
    spans = find_texts(data, 1)
    if spans is not None:
        numbered = replace(batch, customers=roll.names_in(data, spans))
        shard.decide([RecordCall(numbered), RecordCall(numbered)], _NOW_US)
        fresh = replace(numbered, event_ids=b"x" * len(batch.event_ids))
        shard.decide([RecordCall(fresh)], _NOW_US)


def _warm_others(shard: UsageShard, bodies: list[bytes]) -> None:
    """Count what takes paths of its own: other aggregations, attributes, buckets, retractions."""
    records = [
        UsageRecord("c", meter, f"{meter}-{n}", n, _NOW_US, attributes=(("user", str(n)),))
        for meter in _METERS
        for n in range(2)
    ]
    back = [replace(record, retraction=True) for record in records[:2]]
    bodies += [_commit(shard, RecordCall(batch_of(part))) for part in (records, back)]


def _warm_statements() -> None:
    """Finalise statements in columns, which loads what prices many rows (S9.2)."""
    tiers = (Tier(Decimal(1), Decimal(1)), Tier(None, Decimal(2)))
    charges = (
        Charge("fee", ChargeModel.FLAT_FEE, amount=Decimal(1)),
        Charge("each", ChargeModel.PER_UNIT, _METER.id, unit_price=Decimal(1)),
        Charge("tiers", ChargeModel.GRADUATED, _METER.id, tiers=tiers),
    )
    plain = Plan("p", "USD", BillingPeriod.HOUR, charges, meters=(_METER,))
    for plan in (plain, replace(plain, maximum_amount=Decimal(1))):
        shard = UsageShard(bytes(16), _METERS.get, plan_of={PlanRef("p", 1): plan}.get)
        for customer in ("c", "d"):
            subscription = CreateSubscription(
                customer=customer,
                subscription_id="s",
                plan_id="p",
                plan_version=1,
                billing_period=BillingPeriod.HOUR,
                start_time=0,
            )
            _commit(shard, subscription)
        _commit(shard, RecordCall(_batch(0)))
        shard.decide([FinalizePeriods(cursor=0, limit=2, until=INT64_MAX)], _LATER_US)


def _commit(machine: Machine, call: object) -> bytes:
    decision: Decision = machine.decide([call], _NOW_US)
    machine.stage(decision, _NOW_US)
    machine.decide([call], _NOW_US)
    machine.confirm(machine.version + 1, EMPTY_TOKEN)
    return decision.body or b""


def _batch(first_id: int) -> RecordBatch:
    ids = [b"%d" % number for number in range(first_id, first_id + _RECORDS)]
    return RecordBatch(
        customers=["c"],
        customer=np.zeros(_RECORDS, np.int32),
        meters=[_METER.id],
        scales=[0],
        meter=np.zeros(_RECORDS, np.int32),
        dimension_sets=[()],
        dimension_set=np.zeros(_RECORDS, np.int32),
        event_ids=b"".join(ids),
        event_id_ends=np.cumsum([len(text) for text in ids]).astype(np.int64),
        quantity=np.ones(_RECORDS, np.int64),
        event_time=np.full(_RECORDS, _NOW_US, np.int64),
        malformed=np.zeros(_RECORDS, np.bool_),
    )
