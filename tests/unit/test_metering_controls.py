"""Control calls of a shard: settings, subscriptions, closes, and their replay (P4, P11, S7.7)."""

from __future__ import annotations

import dataclasses
from decimal import Decimal

import pytest

from rating_core.catalog import (
    Aggregation,
    BillingPeriod,
    Charge,
    ChargeModel,
    LateUsage,
    Meter,
    Plan,
)
from rating_core.metering.calls import (
    DAY_US,
    Configure,
    Control,
    ControlAnswer,
    CreateSubscription,
    GetCounters,
    GetSettings,
    GetSubscriptions,
    RecordCall,
    Settings,
    StateDigest,
)
from rating_core.metering.contracts.ledger_calls import FinalizePeriod
from rating_core.metering.deciding.record import UsageRecord, batch_of
from rating_core.metering.shard import UsageShard

NOW = 1_767_571_200_000_000  # 2026-01-05T00:00Z
METERS = {"tokens": Meter("tokens", Aggregation.SUM), "calls": Meter("calls", Aggregation.COUNT)}
PLAN = Plan(
    "plan",
    "USD",
    BillingPeriod.DAY,
    (Charge("fee", ChargeModel.FLAT_FEE, amount=Decimal(7)),),
)
SUBSCRIBE = CreateSubscription(
    customer="acme",
    subscription_id="main",
    plan_id="plan",
    plan_version=3,
    billing_period=BillingPeriod.DAY,
    late_usage=LateUsage.REJECT,
    start_time=NOW - 3 * DAY_US + 7,
    bands={"calls": {"fee": (0, None)}},
    request_id="r1",
)


@pytest.fixture
def shard():
    return UsageShard(bytes(16), METERS.get, plan_of=lambda _: PLAN)


@pytest.fixture
def run(shard):
    def call(*calls, now=NOW):
        decision = shard.decide(calls, now)
        if decision.body is not None:
            shard.stage(decision, now)
            shard.confirm(shard.version + 1, bytes(16))
        return decision.answers[0]

    return call


def records(*rows):
    return RecordCall(
        batch_of([UsageRecord("acme", meter, name, q, time) for meter, name, q, time in rows])
    )


def test_a_subscription_can_be_read_back(shard, run):
    """What was created is answered, listed, and in force for the period that it starts in."""
    answer = run(SUBSCRIBE)
    assert answer.ok
    assert answer.value["create_time"] == NOW
    (stored,) = shard.query(GetSubscriptions("acme"))
    assert (stored.plan_version, stored.end_time, stored.start_time) == (
        3,
        None,
        NOW - 3 * DAY_US + 7,
    )
    assert stored.phases[0].bands == {"calls": {"fee": (0, None)}}
    assert shard.query(GetSubscriptions()) == (stored,)
    assert shard.query(GetSubscriptions("nobody")) == ()
    counters = shard.query(GetCounters("acme", stored.start_time))
    assert (counters.period_start, counters.period_end) == (stored.start_time, NOW - 2 * DAY_US)
    assert counters.subscription == stored
    assert shard.query(GetCounters("acme", stored.start_time - 1)).subscription is None
    assert shard.query(GetCounters("nobody", NOW)).subscription is None


def test_a_request_id_is_carried_out_once(shard, run):
    """The same request id and body get the earlier answer; another body is refused (P4)."""
    first = run(SUBSCRIBE)
    version = shard.version
    assert run(SUBSCRIBE, now=NOW + DAY_US) == dataclasses.replace(first, replayed=True)
    reused = run(dataclasses.replace(SUBSCRIBE, plan_version=4))
    assert reused == ControlAnswer(False, "REQUEST_ID_REUSED")
    assert run(Configure(request_id="r1")).reason == "REQUEST_ID_REUSED"
    assert shard.version == version


def test_a_staged_request_id_counts_too(shard):
    """A request id in flight is known before it is committed (P1, P4)."""
    shard.stage(shard.decide([SUBSCRIBE], NOW), NOW)
    decision = shard.decide([SUBSCRIBE], NOW)
    assert decision.body is None
    assert decision.answers[0].replayed
    shard.unstage()
    assert shard.decide([SUBSCRIBE], NOW).body is not None


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({}, "ALREADY_EXISTS"),
        ({"subscription_id": "second"}, "SUBSCRIPTION_OVERLAP"),
        ({"subscription_id": "second", "start_time": NOW + 900 * DAY_US}, "SUBSCRIPTION_OVERLAP"),
        ({"customer": "late", "start_time": 2**62}, "OUT_OF_RANGE"),
        ({"customer": ""}, "OUT_OF_RANGE"),
    ],
)
def test_refused_subscriptions_leave_no_entry(shard, run, change, reason):
    """At most one subscription of a customer; a refusal is not remembered (S7.7)."""
    run(SUBSCRIBE)
    call = dataclasses.replace(SUBSCRIBE, request_id="r2", **change)
    assert run(call) == ControlAnswer(False, reason)
    assert shard.version == 1
    assert run(dataclasses.replace(SUBSCRIBE, customer="fine", request_id="r2")).ok


def test_settings_change_only_by_entries(shard, run):
    """The first configure of an empty log sets no floor; the same values need no entry (P11)."""
    assert shard.query(GetSettings()) == Settings()
    assert run(Configure(window_us=DAY_US, max_series=5)).ok
    assert shard.query(GetSettings()) == Settings(DAY_US, 5, None, True)
    assert run(Configure(window_us=DAY_US, max_series=5)).ok
    assert shard.version == 1
    assert run(Configure(window_us=0)).reason == "OUT_OF_RANGE"
    assert run(Configure(max_series=0)).reason == "OUT_OF_RANGE"


def test_raising_the_window_admits_no_older_records(shard, run):
    """Once ids were forgotten, raising W leaves times up to (the change − old W) refused (P11)."""
    before = NOW - 3 * DAY_US
    run(Configure(window_us=DAY_US), now=before)
    run(dataclasses.replace(SUBSCRIBE, start_time=NOW - 100 * DAY_US), now=before)
    assert run(records(("tokens", "gone", 1, before)), now=before).status.tolist() == [1]
    run(Configure(window_us=None))
    assert shard.query(GetSettings()).floor == NOW - DAY_US
    old, edge = (
        records(("tokens", "a", 1, NOW - DAY_US)),
        records(("tokens", "b", 1, NOW - DAY_US + 1)),
    )
    assert run(old, now=NOW + DAY_US).reason.tolist() == [8]
    assert run(edge, now=NOW + DAY_US).reason.tolist() == [0]
    run(Configure(window_us=DAY_US), now=NOW + DAY_US)
    run(Configure(window_us=9 * DAY_US), now=NOW + DAY_US)
    assert shard.query(GetSettings()).floor == NOW
    run(Configure(window_us=8 * DAY_US), now=NOW + DAY_US)
    assert shard.query(GetSettings()).floor == NOW


def test_a_window_widens_freely_while_every_id_is_remembered(shard, run):
    """W may go down and up again: as long as no id was forgotten, no record can count twice."""
    run(Configure(window_us=DAY_US))
    run(dataclasses.replace(SUBSCRIBE, start_time=NOW - 900 * DAY_US))
    young = records(("tokens", "young", 1, NOW))
    assert run(young, now=NOW).status.tolist() == [1]
    run(Configure(window_us=None), now=NOW + DAY_US)
    assert shard.query(GetSettings()).floor is None
    old = records(("tokens", "old", 1, NOW - 800 * DAY_US))
    assert run(old, now=NOW + DAY_US).status.tolist() == [1]
    assert run(young, now=NOW + DAY_US).status.tolist() == [2]
    run(Configure(window_us=DAY_US), now=NOW + DAY_US)
    # A segment that expires with the very change counts as forgotten, staged or not.
    expiry = NOW + 5 * DAY_US
    run(Configure(window_us=None), now=expiry)
    assert shard.query(GetSettings()).floor == expiry - DAY_US


def test_periods_close_in_order_once_and_after_their_end(run):
    """Each refusal of a close has its reason; the order is that of the periods (S9.2)."""
    first, second = SUBSCRIBE.start_time, NOW - 2 * DAY_US
    run(Configure(grace_us=0))
    assert run(FinalizePeriod(customer="acme", period_start=first)).reason == "NO_SUBSCRIPTION"
    run(SUBSCRIBE)
    assert run(FinalizePeriod(customer="acme", period_start=second)).reason == "PERIOD_NOT_NEXT"
    assert run(FinalizePeriod(customer="acme", period_start=first)).ok
    assert run(FinalizePeriod(customer="acme", period_start=first)).replayed
    assert run(FinalizePeriod(customer="acme", period_start=second)).ok
    assert run(FinalizePeriod(customer="acme", period_start=NOW - DAY_US)).ok
    assert run(FinalizePeriod(customer="acme", period_start=NOW)).reason == "PERIOD_NOT_ENDED"
    assert run(records(("tokens", "a", 1, NOW - 1), ("tokens", "b", 1, NOW))).reason.tolist() == [
        9,
        0,
    ]


def test_a_close_holds_the_counters_that_it_closes(shard, run):
    """Committed and staged records are both in the close, folded as they will be (P4)."""
    run(Configure(grace_us=0))
    run(SUBSCRIBE)
    day = NOW - DAY_US
    run(records(("tokens", "a", 5, day), ("calls", "b", 7, day), ("tokens", "x", 1, NOW)))
    later = records(("tokens", "c", -2, day), ("calls", "d", 0, day), ("tokens", "y", 1, NOW))
    shard.stage(shard.decide([later], NOW), NOW)
    for start in (SUBSCRIBE.start_time, NOW - 2 * DAY_US, day):
        decision = shard.decide([FinalizePeriod(customer="acme", period_start=start)], NOW)
        shard.stage(decision, NOW)
    value = decision.answers[0].value
    counted = value["usage"]["periods"][-1]["parts"][0]["counters"]
    assert [(c["meter"], c["value"], c["events"]) for c in counted] == [
        ("calls", 2, 2),
        ("tokens", 3, 2),
    ]
    assert counted[0]["bands"] == {
        "fee": {"floor_events": 0, "ceiling_events": 0, "between_sum": 2}
    }
    refused = shard.decide([records(("tokens", "late", 1, day))], NOW)
    assert refused.answers[0].reason.tolist() == [9]
    for version in range(4, 8):
        shard.confirm(version, bytes(16))
    answer = shard.query(GetCounters("acme", day))
    assert answer.closed
    assert [(c.meter, c.value, c.events) for c in answer.counters] == [
        ("calls", 2, 2),
        ("tokens", 3, 2),
    ]


def test_a_close_sees_a_customer_that_is_only_staged(shard):
    """Subscription, records and close may all be in flight together."""
    day = NOW - DAY_US
    shard.stage(shard.decide([Configure(grace_us=0)], NOW), NOW)
    shard.stage(shard.decide([dataclasses.replace(SUBSCRIBE, start_time=day)], NOW), NOW)
    shard.stage(shard.decide([records(("calls", "a", 1, day))], NOW), NOW)
    answer = shard.decide([FinalizePeriod(customer="acme", period_start=day)], NOW).answers[0]
    (counted,) = answer.value["usage"]["periods"][0]["parts"][0]["counters"]
    assert counted["bands"]["fee"]["between_sum"] == 1


def test_all_control_entries_recover(shard):
    """A machine that reads the control entries stands where the one that wrote them stands."""
    other = UsageShard(bytes(16), METERS.get)
    calls = [
        Configure(window_us=None, max_series=9, grace_us=0, request_id="c"),
        SUBSCRIBE,
        FinalizePeriod(customer="acme", period_start=SUBSCRIBE.start_time),
    ]
    for version, call in enumerate(calls, 1):
        decision = shard.decide([call], NOW)
        shard.stage(decision, NOW)
        shard.confirm(version, bytes(16))
        other.apply(decision.body, NOW, version, bytes(16))
    assert shard.query(StateDigest()) == other.query(StateDigest())
    replay = other.decide([calls[2]], NOW).answers[0]
    assert replay.replayed
    assert replay.value == {"version": 3, "number": 0}
    other.reset()
    assert other.query(StateDigest()) == UsageShard(bytes(16), METERS.get).query(StateDigest())


def test_a_control_of_another_machine_raises(shard):
    """A control call that is not the shard's is a programming error."""
    with pytest.raises(TypeError):
        shard.decide([Control()], NOW)
