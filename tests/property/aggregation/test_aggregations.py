"""Every aggregation against a naive fold over the raw records, in any order and any cut (S6.3)."""

from __future__ import annotations

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from rating_core.catalog import Aggregation
from rating_core.metering.calls import RecordCall, StateDigest
from rating_core.metering.contracts.ledger_calls import FinalizePeriod
from rating_core.metering.counting.counter_names import parse_hash_key
from rating_core.metering.deciding.record import batch_of
from rating_core.metering.shard import UsageShard

EXAMPLES = 60
random_streams = st.integers(0, 2**32).map(random.Random)


@settings(max_examples=EXAMPLES, deadline=None, derandomize=True)
@given(random_streams)
def test_counters_are_the_naive_fold_of_the_records(lab, generator):
    """Each aggregation's value, retractions included, is what the rules say of the records."""
    shard, _ = lab.new_shard()
    accepted = []
    for part in lab.chunks(generator, lab.with_retractions(generator, lab.stream(generator, 60))):
        accepted += lab.send(shard, part)
    assert lab.counters(shard) == lab.expected(accepted)


@settings(max_examples=EXAMPLES, deadline=None, derandomize=True)
@given(random_streams)
def test_order_of_arrival_and_cut_never_change_any_field(lab, generator):
    """Shuffled and cut otherwise, the same records leave the same counters, buckets and values."""
    records = lab.stream(generator, 60)
    found = []
    for _ in range(2):
        shard, _ = lab.new_shard()
        for part in lab.chunks(generator, records):
            assert len(lab.send(shard, part)) == len(part)
        found.append({key: shard.hash_fields(key, 0) for key in sorted(shard.changed_hashes(0))})
        generator.shuffle(records)
    assert found[0] == found[1]
    assert any(key.startswith("b:") for key in found[0])


@settings(max_examples=EXAMPLES, deadline=None, derandomize=True)
@given(random_streams)
def test_recovery_and_snapshots_agree_with_the_live_state(lab, generator):
    """Read from the log, or restored from a snapshot, the state goes on as the live one (P10)."""
    shard, log = lab.new_shard()
    staged = 0
    for part in lab.chunks(generator, lab.with_retractions(generator, lab.stream(generator, 50))):
        decision = shard.decide([RecordCall(batch_of(part))], lab.NOW)
        if decision.body is not None:
            shard.stage(decision, lab.NOW)
            log.append((decision.body, lab.NOW))
            staged += 1
        while staged > generator.randrange(4):
            shard.confirm(shard.version + 1, bytes(16))
            staged -= 1
    while staged:
        shard.confirm(shard.version + 1, bytes(16))
        staged -= 1
    other = UsageShard(lab.KEY, lab.METERS.get)
    for version, (body, now) in enumerate(log, 1):
        other.apply(body, now, version, bytes(16))
    restored = UsageShard(lab.KEY, lab.METERS.get)
    restored.restore(shard.snapshot())
    later = lab.stream(generator, 20)
    for machine in (shard, other, restored):
        lab.send(machine, later)
        assert machine.query(StateDigest()) == shard.query(StateDigest())
        for key in shard.changed_hashes(0):
            assert shard.hash_fields(key, 4) == machine.hash_fields(key, 4)
        standing = [(key, after) for after in (0, 4) for key in shard.changed_hashes(0)]
        assert machine.fields_of(standing) == [machine.hash_fields(*each) for each in standing]
    assert lab.counters(restored) == lab.counters(shard)


@settings(max_examples=EXAMPLES, deadline=None, derandomize=True)
@given(random_streams)
def test_a_reader_of_the_log_gets_the_fields_of_the_hashes(lab, generator):
    """Folded record by record from the log's format, every field of a hash has its value."""
    shard, log = lab.new_shard()
    for part in lab.chunks(generator, lab.with_retractions(generator, lab.stream(generator, 50))):
        body, _ = lab.commit(shard, RecordCall(batch_of(part)))
        if body is not None:
            log.append((body, lab.NOW))
    for key in shard.changed_hashes(0):
        kind, customer, start = parse_hash_key(key)
        if kind == "c":
            assert dict(shard.hash_fields(key, 0)) == lab.folded(log, customer, start)


@settings(max_examples=EXAMPLES, deadline=None, derandomize=True)
@given(random_streams)
def test_retracting_everything_leaves_nothing(lab, generator):
    """What is added and taken back leaves no counter; max and latest refuse to be taken back."""
    shard, _ = lab.new_shard()
    records = lab.stream(generator, 40)
    lab.send(shard, records)
    backward = [lab.retracted(record) for record in records]
    generator.shuffle(backward)
    taken = []
    for part in lab.chunks(generator, backward):
        taken += lab.send(shard, part)
    assert not lab.send(shard, backward)
    kept = {r.meter for r in records} & {"max", "latest"}
    assert {meter for _, _, meter, _ in lab.counters(shard)} == kept
    assert len(taken) == sum(r.meter not in ("max", "latest") for r in records)


@settings(max_examples=EXAMPLES, deadline=None, derandomize=True)
@given(random_streams)
def test_a_close_holds_what_is_staged(lab, generator):
    """A close decided over staged records holds the counters that they leave (P4)."""
    records = lab.with_retractions(generator, lab.stream(generator, 40))
    shard, _ = lab.new_shard()
    twin, _ = lab.new_shard()
    for part in lab.chunks(generator, records):
        call = RecordCall(batch_of(part))
        decision = shard.decide([call], lab.NOW)
        if decision.body is not None:
            shard.stage(decision, lab.NOW)
        lab.commit(twin, call)
    for start, end, _ in lab.periods("c0"):
        if end <= lab.NOW:
            close = FinalizePeriod(customer="c0", period_start=start)
            decision = shard.decide([close], lab.NOW)
            shard.stage(decision, lab.NOW)
            _, answer = lab.commit(twin, close)
            left, right = (a.value["usage"]["periods"][-1] for a in (decision.answers[0], answer))
            assert left == right
            for facts in right["parts"][0]["counters"]:
                kind = lab.METERS[facts["meter"]].aggregation
                assert (facts["exact"] is not None) == (kind is Aggregation.WEIGHTED_SUM)
                assert (facts["latest"] is not None) == (kind is Aggregation.LATEST)
                if kind is Aggregation.UNIQUE_COUNT:
                    assert len(set(facts["values"])) == facts["value"]
