"""A restored snapshot is the state it was taken of, after any history (P10)."""

from __future__ import annotations

import random
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rating_core.catalog import Aggregation, BillingPeriod, Charge, ChargeModel, Meter, Plan
from rating_core.contract.values import Grant, GrantKind, Promotion, PromotionKind
from rating_core.errors import SnapshotInvalid
from rating_core.metering.calls import (
    DAY_US,
    Configure,
    CreateSubscription,
    RecordCall,
    StateDigest,
)
from rating_core.metering.catalogue import Catalogue
from rating_core.metering.catalogue_calls import CreateMeter, CreatePlan
from rating_core.metering.contracts.ledger_calls import (
    CreateGrant,
    CreatePromotion,
    FinalizePeriod,
    VoidGrant,
)
from rating_core.metering.deciding.record import UsageRecord, batch_of
from rating_core.metering.log.snapshot import (
    Snapshot,
    TakeSnapshot,
    decode_snapshot,
    encode_snapshot,
    part_digest,
)
from rating_core.metering.shard import UsageShard

NOW = 1_767_571_200_000_000
KEY = bytes(range(16))
METERS = {
    meter.id: meter
    for meter in (
        Meter("tokens", Aggregation.SUM, "token", 2, ("model", "region")),
        Meter("calls", Aggregation.COUNT, "", 0, ("model",)),
        Meter("paid", Aggregation.SUM, "EUR", 1),
    )
}
PLAN = Plan(
    "p",
    "EUR",
    BillingPeriod.DAY,
    (Charge("fee", ChargeModel.FLAT_FEE, amount=Decimal(7)),),
)
CUSTOMERS = ("c0", "c1", "ü")
BANDS = {"paid": {"fee": (3, 20), "tax": (None, 7)}}


class History:
    """A shard whose entries are random; ``now`` moves on by up to days."""

    def __init__(self, seed):
        self.random = random.Random(seed)
        self.shard = UsageShard(KEY, METERS.get, plan_of=lambda _: PLAN)
        self.now = NOW
        self.log = []
        self.closed = dict.fromkeys(CUSTOMERS, 0)

    def commit(self, *calls):
        decision = self.shard.decide(calls, self.now)
        if decision.body is not None:
            version = self.shard.version + 1
            self.shard.stage(decision, self.now)
            self.shard.confirm(version, version.to_bytes(16, "big"))
            self.log.append((decision.body, self.now))

    def step(self):
        draw = self.random
        self.now += draw.choice([0, 1000, DAY_US // 3, DAY_US])
        kind = draw.randrange(8)
        if kind == 0:
            window = draw.choice([None, DAY_US, 7 * DAY_US, 35 * DAY_US])
            request = draw.choice(["", f"r{draw.randrange(3)}"])
            self.commit(Configure(window_us=window, max_series=50, request_id=request, grace_us=0))
        elif kind == 1:
            self.commit(
                CreateSubscription(
                    customer=draw.choice(CUSTOMERS),
                    subscription_id="s",
                    plan_id="p",
                    plan_version=draw.randrange(1, 4),
                    billing_period=draw.choice([BillingPeriod.DAY, BillingPeriod.HOUR]),
                    start_time=NOW - 2 * DAY_US,
                    bands=draw.choice([BANDS, {}]),
                )
            )
        elif kind == 2:
            start = NOW - 2 * DAY_US
            self.ledger_step(draw.choice(CUSTOMERS), start)
        else:
            self.commit(RecordCall(batch_of([self.record() for _ in range(draw.randrange(1, 40))])))

    def ledger_step(self, customer, start):
        draw = self.random
        name = f"g{draw.randrange(4)}"
        grant = Grant(name, Decimal(draw.randrange(1, 9)), GrantKind.BONUS, start)
        promotion = Promotion(f"p{name}", PromotionKind.PERCENT_OFF, Decimal(5), self.now)
        self.commit(
            draw.choice(
                [
                    FinalizePeriod(customer=customer),
                    FinalizePeriod(customer=customer, period_start=start),
                    CreateGrant(customer=customer, grant=grant),
                    VoidGrant(customer=customer, grant_id=name, request_id=draw.choice(["", "v"])),
                    CreatePromotion(customer=customer, promotion=promotion),
                ]
            )
        )

    def record(self):
        draw = self.random
        return UsageRecord(
            customer=draw.choice(CUSTOMERS),
            meter=draw.choice([*METERS]),
            event_id=f"e{draw.randrange(200)}",
            quantity=draw.choice([0, 1, 7, 30]),
            event_time=self.now - draw.randrange(0, 3 * 24) * 3_600_000_000,
            dimensions=draw.choice([(), (("model", "a"),), (("model", "b\u00fc"),)]),
            scale=0,
        )


def through_bytes(snapshot):
    """The snapshot after it was written and read."""
    pieces = {part_digest(content): content for content in snapshot.parts.values()}
    return decode_snapshot(encode_snapshot(snapshot), pieces.__getitem__)


def digest(machine):
    return machine.query(StateDigest())


@settings(max_examples=60, derandomize=True, deadline=None)
@given(st.integers(0, 2**32))
def test_a_restored_snapshot_has_the_digest_of_its_machine(seed):
    """restore(snapshot(m)) decides as m, and goes on as m: whatever came before and comes after.

    A snapshot is encoded when it is read; what was committed since is not in it.
    """
    history = History(seed)
    for _ in range(history.random.randrange(0, 25)):
        history.step()
    original = history.shard
    restored = UsageShard(KEY, METERS.get)
    late = original.query(TakeSnapshot())
    early = original.query(TakeSnapshot())
    restored.restore(through_bytes(early))
    assert (restored.version, restored.token, restored.now) == (
        original.version,
        original.token,
        original.now,
    )
    assert digest(restored) == digest(original)
    assert restored.changed_hashes(0) == original.changed_hashes(0)
    for key in original.changed_hashes(0):
        for after in (0, original.version // 2):
            assert restored.hash_fields(key, after) == original.hash_fields(key, after)
    before = original.version
    for _ in range(12):
        history.step()
    for version, (body, now) in enumerate(history.log[before:], before + 1):
        restored.apply(body, now, version, version.to_bytes(16, "big"))
    assert digest(restored) == digest(original)
    assert digest(through_state(restored)) == digest(original)
    assert not late.sections.made | late.parts.made
    assert encode_snapshot(late) == encode_snapshot(early)
    assert late.parts == early.parts


def through_state(machine):
    again = UsageShard(KEY, METERS.get)
    again.restore(through_bytes(machine.snapshot()))
    return again


def test_an_unchanged_segment_of_ids_is_the_same_part():
    """What does not change between two snapshots keeps its name, so it is written once."""
    history = History(5)
    for _ in range(30):
        history.step()
    first = history.shard.snapshot()
    history.now += 30 * DAY_US
    history.commit(Configure(window_us=None, max_series=77))
    history.now += DAY_US
    history.commit(RecordCall(batch_of([history.record()])))
    second = history.shard.snapshot()
    assert {*first.parts.values()} & {*second.parts.values()}


def test_a_snapshot_that_does_not_fit_is_refused_whole():
    """Damage, another key, another machine, unknown or missing pieces: never a half-right state."""
    history = History(11)
    for _ in range(30):
        history.step()
    good = history.shard.snapshot()
    data = encode_snapshot(good)
    pieces = {part_digest(content): content for content in good.parts.values()}
    rng = random.Random(1)
    for _ in range(300):
        place = rng.randrange(len(data))
        bad = data[:place] + bytes([data[place] ^ (1 << rng.randrange(8))]) + data[place + 1 :]
        with pytest.raises(SnapshotInvalid):
            decode_snapshot(bad, pieces.__getitem__)
        with pytest.raises(SnapshotInvalid):
            decode_snapshot(data[:place], pieces.__getitem__)
    with pytest.raises(SnapshotInvalid):
        decode_snapshot(data, lambda digest: pieces[digest][:-1])
    shard = UsageShard(KEY, METERS.get)
    head = (good.version, good.token, good.now)
    for wrong in (
        Snapshot("catalogue", *head, good.sections, good.parts),
        Snapshot("usage", *head, {**good.sections, "new": b""}, good.parts),
        Snapshot("usage", *head, {**good.sections, "counters": b"\1\2\3"}, good.parts),
        Snapshot("usage", *head, {**good.sections, "directory": good.sections["ids"]}, good.parts),
        Snapshot("usage", *head, good.sections, dict([*good.parts.items()][1:])),
    ):
        with pytest.raises(SnapshotInvalid):
            shard.restore(wrong)
        assert shard.version == 0
        assert digest(shard) == digest(UsageShard(KEY, METERS.get))
    with pytest.raises(SnapshotInvalid):
        UsageShard(bytes(16), METERS.get).restore(good)


def test_a_restored_catalogue_is_the_catalogue():
    """Meters, plan versions and request ids come back, and the next version follows."""
    meter = {"id": "m", "aggregation": "sum", "scale": "0"}
    plan = {"id": "p", "currency": "USD", "billing_period": "month", "meters": [meter]}
    plan["charges"] = [{"id": "c", "meter": "m", "model": "per_unit", "unit_price": "1"}]
    catalogue = Catalogue()
    for version, call in enumerate(
        (CreateMeter(document=meter, request_id="r"), CreatePlan(document=plan)), 1
    ):
        catalogue.stage(catalogue.decide([call], NOW), NOW)
        catalogue.confirm(version, bytes(16))
    again = Catalogue()
    again.restore(through_bytes(catalogue.query(TakeSnapshot())))
    assert digest(again) == digest(catalogue)
    (answer,) = again.decide([CreatePlan(document=plan)], NOW).answers
    assert answer.value["version"] == 2
    with pytest.raises(SnapshotInvalid):
        again.restore(UsageShard(KEY, METERS.get).snapshot())
