"""What a shard keeps: staged entries, ids in their window, counters, hashes to fold."""

from __future__ import annotations

import pytest

from rating_core.catalog import BillingPeriod
from rating_core.errors import IndexFull, LogCorrupt
from rating_core.metering.calls import DAY_US, Configure, GetCounters, RecordCall, StateDigest
from rating_core.metering.deciding.record import UsageRecord, batch_of

NOW = 1_767_571_200_000_000  # 2026-01-05T00:00Z
START = NOW - 30 * DAY_US


def use(event_id="e", quantity=1, *, meter="tokens", time=NOW, customer="acme", dims=(), scale=0):
    return UsageRecord(customer, meter, event_id, quantity, time, dims, scale)


def test_staged_entries_are_seen_and_forgotten(driver, subscribe, statuses):
    """Ids, sums, series, subscriptions of entries in flight decide; unstaged, they never were."""
    shard = driver.shard
    driver.control(Configure(max_series=1))
    before = shard.query(StateDigest())
    records = (use("a", 2**63 - 1), use("n", customer="new"))
    shard.stage(shard.decide([subscribe("new")], NOW), NOW)
    for record in records:
        shard.stage(driver.decide(record), NOW)
    second = driver.decide(
        use("a", 2**63 - 1),
        use("a", 4),
        use("b", 1),
        use("c", 1, dims=(("model", "z"),)),
        use("n", customer="new"),
        use("m", 3, customer="new"),
    )
    assert statuses(second.answers[0]) == [
        "DUPLICATE",
        "CONFLICT",
        "QUANTITY_OUT_OF_RANGE",
        "TOO_MANY_SERIES",
        "DUPLICATE",
        "ACCEPTED",
    ]
    assert shard.query(StateDigest()) == before
    shard.unstage()
    assert shard.query(StateDigest()) == before
    assert statuses(driver.decide(*records).answers[0]) == ["ACCEPTED", "NO_SUBSCRIPTION"]


def test_ids_expire_by_the_entries_now_alone(driver):
    """An id is known until its segment's last acceptance is W + 1 day old; then it is TOO_OLD."""
    record = use("a", 1)
    driver.send(record)
    far = NOW + 8 * DAY_US
    assert driver.send(record, now=far) == ["DUPLICATE"]
    driver.send(use("tick", 1, time=far), now=far)
    assert driver.send(record, now=far) == ["TOO_OLD"]
    assert driver.shard.query(StateDigest()) == driver.recovered().query(StateDigest())


def test_unlimited_window_forgets_nothing(new_driver, subscribe):
    """With an unlimited window years pass and the id is still known (S7.5)."""
    driver = new_driver()
    driver.control(Configure(window_us=None))
    driver.control(subscribe())
    old = use("a", 1, time=START)
    assert driver.send(old) == ["ACCEPTED"]
    much_later = NOW + 4000 * DAY_US
    driver.send(use("tick", 1, time=much_later), now=much_later)
    assert driver.send(old, now=much_later) == ["DUPLICATE"]


def test_a_full_index_refuses_and_forgets_nothing(new_driver, subscribe, statuses):
    """Beyond the most ids a new id raises IndexFull, staged ones count, resends answer (P15)."""
    driver = new_driver(max_ids=3)
    driver.control(subscribe())
    driver.send(use("a"), use("b"))
    driver.shard.stage(driver.decide(use("c")), NOW)
    with pytest.raises(IndexFull, match="at most 3"):
        driver.decide(use("d"))
    assert statuses(driver.decide(use("a"), use("c")).answers[0]) == ["DUPLICATE"] * 2


def test_counters_of_clamped_charges(driver):
    """Floor, ceiling and between are counted per charge by the plan's thresholds (S3.4)."""
    amounts = [100, 101, 699, 700, 4999, 5000, 0]
    driver.send(*[use(f"p{i}", q, meter="paid", scale=2) for i, q in enumerate(amounts)])
    (counter,) = driver.shard.query(GetCounters("acme", NOW)).counters
    assert (counter.value, counter.events) == (sum(amounts), 7)
    fee, tax = counter.bands["fee"], counter.bands["tax"]
    assert (fee.floor_events, fee.ceiling_events, fee.between_sum) == (2, 1, 101 + 699 + 700 + 4999)
    assert (tax.floor_events, tax.ceiling_events, tax.between_sum) == (0, 3, 100 + 101 + 699)
    key = "c:acme:20260105T000000Z"
    assert driver.shard.changed_hashes(1) == [key]
    fields = dict(driver.shard.hash_fields(key, 0))
    assert fields == {
        '["paid",[],"value"]': sum(amounts),
        '["paid",[],"events"]': 7,
        '["paid",[],"floor","fee"]': 2,
        '["paid",[],"ceiling","fee"]': 1,
        '["paid",[],"between","fee"]': 6499,
        '["paid",[],"floor","tax"]': 0,
        '["paid",[],"ceiling","tax"]': 3,
        '["paid",[],"between","tax"]': 900,
    }


def test_fold_sees_only_what_changed(driver):
    """Hashes and fields after a version are those that later entries touched (P7, P8)."""
    shard = driver.shard
    driver.send(use("a", 1), use("b", 1, time=NOW - DAY_US))
    first = shard.version
    driver.send(use("c", 5, dims=(("model", "x"),)))
    today, yesterday = "c:acme:20260105T000000Z", "c:acme:20260104T000000Z"
    assert sorted(shard.changed_hashes(0)) == [yesterday, today]
    assert shard.changed_hashes(first) == [today]
    assert dict(shard.hash_fields(today, first)) == {
        '["tokens",[["model","x"]],"value"]': 5,
        '["tokens",[["model","x"]],"events"]': 1,
    }
    assert len(shard.hash_fields(today, 0)) == 4
    assert shard.hash_fields("c:nobody:20260105T000000Z", 0) == []
    standing = [(today, first), (yesterday, 0), ("c:nobody:20260105T000000Z", 0), (today, 0)]
    assert shard.fields_of(standing) == [shard.hash_fields(*each) for each in standing]
    shard.folded(first)
    assert shard.changed_hashes(first) == [today]
    shard.folded(shard.version)
    assert shard.changed_hashes(shard.version) == []
    mark = shard.version
    driver.send(use("d", 1, time=NOW - DAY_US))
    assert shard.changed_hashes(mark) == [yesterday]
    assert sorted(shard.changed_hashes(first)) == [yesterday, today]


def test_stub_period_is_its_own_hash(new_driver, subscribe):
    """A start inside a second names its stub hash with microseconds, and is found again."""
    driver = new_driver()
    driver.control(subscribe("a:b", start_time=NOW + 5, billing_period=BillingPeriod.MONTH))
    driver.send(use("x", 2, customer="a:b", time=NOW + 5))
    (key,) = driver.shard.changed_hashes(0)
    assert key == "c:a:b:20260105T000000.000005Z"
    assert dict(driver.shard.hash_fields(key, 0))['["tokens",[],"value"]'] == 2


def test_calls_of_other_machines_are_refused(driver):
    """What is not a call, a question or a key of the shard raises, it is never ignored."""
    with pytest.raises(TypeError):
        driver.shard.decide(["call"], NOW)
    with pytest.raises(TypeError):
        driver.shard.query("question")
    with pytest.raises(TypeError):
        driver.shard.stage(driver.decide(use("")), NOW)
    with pytest.raises(ValueError, match="not the key"):
        driver.shard.hash_fields("x", 0)
    driver.shard.stage(driver.decide(use()), NOW)
    with pytest.raises(ValueError, match="nothing is staged"):
        driver.shard.apply(driver.log[0][0], NOW, 2, bytes(16))


def test_records_before_their_subscription_are_corrupt(driver):
    """An entry with records of a customer whom the log does not know cannot be applied (P5)."""
    driver.send(use())
    with pytest.raises(LogCorrupt, match="without a subscription"):
        driver.new_shard().apply(driver.log[1][0], NOW, 1, bytes(16))


def test_grouping(driver, subscribe):
    """Records join records; a control call stays alone; sizes grow with the records."""
    call = RecordCall(batch_of([use()]))
    assert driver.shard.joins(call, call)
    assert not driver.shard.joins(call, subscribe())
    assert not driver.shard.joins(subscribe(), call)
    assert driver.shard.size(RecordCall(batch_of([use()] * 50))) > driver.shard.size(call)
    assert driver.shard.size(subscribe()) > 0


def test_an_empty_call_answers_without_an_entry(driver, statuses):
    """No records: no statuses, nothing to commit."""
    decision = driver.decide()
    assert decision.body is None
    assert statuses(decision.answers[0]) == []
