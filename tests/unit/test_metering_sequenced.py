"""Sequenced producers in one shard: statuses, resends, epochs, marks, what the log holds (P12)."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from rating_core.catalog import Aggregation, BillingPeriod, Meter
from rating_core.errors import LogCorrupt
from rating_core.metering.batch import RecordBatch, RejectReason
from rating_core.metering.calls import (
    DAY_US,
    CreateSubscription,
    GetCounters,
    RecordCall,
    StateDigest,
)
from rating_core.metering.deciding.record import UsageRecord, batch_of
from rating_core.metering.deciding.records_entry import RecordsEntry
from rating_core.metering.log.entry import decode_body, encode_producers
from rating_core.metering.sequencing import sequenced
from rating_core.metering.sequencing.producers import (
    GetProducer,
    ProducerEntry,
    ProducerFact,
    Producers,
    ProducerState,
)
from rating_core.metering.sequencing.sequenced import ProducerCall, SequencedCall, batch_checksum
from rating_core.metering.shard import UsageShard

NOW = 1_767_571_200_000_000
KEY = bytes(range(16))
METERS = {"x": Meter("x", Aggregation.SUM), "n": Meter("n", Aggregation.COUNT)}
ACCEPTED, DUPLICATE, REJECTED = 1, 2, 4


def numbered(*records):
    """Return a batch of (customer, meter, quantity) without event ids."""
    rows = [
        UsageRecord(customer, meter, "-", quantity, NOW) for customer, meter, quantity in records
    ]
    batch = batch_of(rows)
    return replace(batch, event_ids=b"", event_id_ends=np.zeros(len(batch), np.int64))


BATCH = numbered(("a", "x", 5), ("a", "n", 1), ("nobody", "x", 7), ("a", "gone", 1))
OTHER = numbered(("a", "x", 6))
REFUSED = numbered(("nobody", "x", 7), ("nobody", "x", 8), ("a", "gone", 1))


class Log:
    """One shard and what it wrote."""

    def __init__(self):
        self.shard = UsageShard(KEY, METERS.get)
        self.bodies = []
        self.call(
            CreateSubscription(
                customer="a",
                subscription_id="s",
                plan_id="p",
                plan_version=1,
                billing_period=BillingPeriod.DAY,
                start_time=NOW - DAY_US,
            )
        )

    def decide(self, *calls):
        return self.shard.decide(calls, NOW)

    def call(self, *calls):
        decision = self.decide(*calls)
        if decision.body is not None:
            self.shard.stage(decision, NOW)
            self.confirm(decision)
        return decision.answers[0] if len(calls) == 1 else decision.answers

    def confirm(self, decision):
        self.bodies.append(decision.body)
        version = self.shard.version + 1
        self.shard.confirm(version, version.to_bytes(16, "big"))

    def send(self, sequence, batch=BATCH, epoch=1, **confirmed):
        return self.call(call_of(sequence, batch, epoch, **confirmed))

    def value(self):
        answer = self.shard.query(GetCounters("a", NOW))
        return {counter.meter: counter.value for counter in answer.counters}

    def state(self):
        return self.shard.query(GetProducer("p"))


def call_of(sequence, batch=BATCH, epoch=1, **confirmed):
    return SequencedCall(
        producer="p",
        epoch=epoch,
        sequence=sequence,
        checksum=batch_checksum(batch),
        batch=batch,
        **confirmed,
    )


def statuses(answer):
    return answer.outcome[0].tolist()


FIRST_TRY = [ACCEPTED, ACCEPTED, REJECTED, REJECTED]


def test_records_without_ids_are_counted_by_the_number_of_their_batch():
    """The first try counts what it accepts; a resend counts nothing and repeats each status."""
    log = Log()
    first = log.send(1)
    assert statuses(first) == FIRST_TRY
    reasons = [0, 0, RejectReason.NO_SUBSCRIPTION, RejectReason.UNKNOWN_METER]
    assert first.outcome[1].tolist() == reasons
    again = log.send(1)
    assert (again.outcome == first.outcome).all()
    assert log.value() == {"x": 5, "n": 1}
    assert len(log.bodies) == 2


def test_the_id_index_stays_empty():
    """Numbered batches take no room among the ids: a shard for one id takes any number of them."""
    log = Log()
    log.shard._max_ids = 1
    for sequence in range(1, 5):
        log.send(sequence)
    assert log.shard.ids.count == 0
    one = RecordCall(batch_of([UsageRecord("a", "x", "e", 1, NOW)]))
    assert log.call(one).status.tolist() == [ACCEPTED]


def test_a_batch_below_the_highest_may_be_new():
    """P12: what is not in the set is new, whatever came after it."""
    log = Log()
    log.send(3, OTHER)
    assert statuses(log.send(1, OTHER)) == [ACCEPTED]
    assert log.value() == {"x": 12}
    assert log.state() == ProducerState(1, 0, 3)


def test_at_or_below_the_mark_all_is_duplicate():
    """P12, P13: the mark forgets the set below it; what is sent again from there is DUPLICATE."""
    log = Log()
    log.send(1)
    log.send(2, OTHER, confirmed=1, own=(1,))
    assert log.state() == ProducerState(1, 1, 2)
    answer = log.send(1)
    assert statuses(answer) == [DUPLICATE] * 4
    assert answer.mark == 1
    assert log.value() == {"x": 11, "n": 1}


def test_another_content_under_a_number_is_a_conflict():
    """P12: the checksum tells, above the mark, also within one decision."""
    log = Log()
    log.send(1)
    assert log.send(1, OTHER).error == sequenced.CONFLICT
    first, same, other = log.call(call_of(2), call_of(2), call_of(2, OTHER))
    assert (statuses(first), statuses(same)) == (FIRST_TRY, FIRST_TRY)
    assert other.error == sequenced.CONFLICT
    assert log.value() == {"x": 10, "n": 2}


def test_a_batch_whose_records_are_all_refused_leaves_an_entry():
    """P12: its resend is refused alike, even when its records would be accepted by now."""
    log = Log()
    first = log.send(1, REFUSED)
    assert len(log.bodies) == 2
    log.call(
        CreateSubscription(
            customer="nobody",
            subscription_id="s",
            plan_id="p",
            plan_version=1,
            billing_period=BillingPeriod.DAY,
            start_time=NOW - DAY_US,
        )
    )
    assert (log.send(1, REFUSED).outcome == first.outcome).all()
    assert log.value() == {}


def test_batches_in_flight_are_seen():
    """P1: a decision sees what is staged, refused positions included."""
    log = Log()
    decision = log.decide(call_of(1))
    log.shard.stage(decision, NOW)
    again = log.decide(call_of(1))
    assert again.body is None
    assert statuses(again.answers[0]) == FIRST_TRY
    log.shard.unstage()
    assert log.decide(call_of(1)).body is not None


def test_too_far_above_the_oldest_unconfirmed():
    """P12: 1,024 batches above the mark are taken, the next is not; a mark makes room."""
    log = Log()
    assert log.send(1024, OTHER).error == ""
    assert log.send(1025, OTHER).error == sequenced.TOO_FAR
    assert log.send(1025, OTHER, confirmed=1).error == ""


def test_an_older_epoch_is_fenced_off():
    """P13: once a newer epoch is in the log, nothing of an older one is taken."""
    log = Log()
    log.send(1)
    assert log.call(ProducerCall(producer="p", epoch=2)).epoch == 2
    for call in (call_of(2), ProducerCall(producer="p", epoch=1, confirmed=1, own=(1,))):
        answer = log.call(call)
        assert (answer.error, answer.epoch) == (sequenced.FENCED, 2)
    assert log.value() == {"x": 5, "n": 1}
    assert statuses(log.send(1, epoch=2)) == FIRST_TRY


def test_an_epoch_is_taken_only_after_the_one_that_was_looked_at():
    """P12: a shard that has moved on since refuses and stays; the same call again is no change."""
    log = Log()
    log.call(ProducerCall(producer="p", epoch=2))
    for _ in range(2):
        answer = log.call(ProducerCall(producer="p", epoch=4, after=1))
        assert (answer.error, answer.epoch) == (sequenced.LOST, 2)
    for _ in range(2):
        answer = log.call(ProducerCall(producer="p", epoch=4, after=2))
        assert (answer.error, answer.epoch) == ("", 4)


def test_a_mark_rises_only_as_far_as_the_log_bears_it_out():
    """P13: a confirmed batch that this shard's log lacks was lost; the caller hears of it."""
    log = Log()
    log.send(1)
    answer = log.call(ProducerCall(producer="p", epoch=1, confirmed=3, own=(1, 2)))
    assert (answer.error, answer.mark) == (sequenced.LOST, 0)
    answer = log.call(ProducerCall(producer="p", epoch=1, confirmed=3, own=(1,)))
    assert (answer.error, answer.mark) == ("", 3)
    bodies = len(log.bodies)
    log.call(ProducerCall(producer="p", epoch=1, confirmed=3))
    assert len(log.bodies) == bodies


def test_many_batches_share_an_entry():
    """Group commit: batches of several producers, counted and remembered each by its own."""
    log = Log()
    second = replace(call_of(7, OTHER), producer="q")
    answers = log.call(call_of(1), second, call_of(2, REFUSED), call_of(3, OTHER))
    assert [statuses(answer) for answer in answers[1:]] == [[ACCEPTED], [REJECTED] * 3, [ACCEPTED]]
    assert len(log.bodies) == 2
    entry = decode_body(log.bodies[1])
    assert isinstance(entry, RecordsEntry)
    assert [(f.producer, f.sequence, f.accepted) for f in entry.producers] == [
        ("p", 1, 2),
        ("q", 7, 1),
        ("p", 2, 0),
        ("p", 3, 1),
    ]
    assert log.shard.query(GetProducer("q")) == ProducerState(1, 0, 7)


def test_only_like_calls_share_an_entry():
    """Records with ids, numbered batches, and marks are decided apart."""
    shard = Log().shard
    calls = [RecordCall(OTHER), call_of(1), ProducerCall(producer="p", epoch=1)]
    joined = [[shard.joins(first, call) for call in calls] for first in calls]
    assert joined == [[True, False, False], [False, True, False], [False, False, True]]


def test_too_many_producers():
    """Producers are remembered for ever, so there is a limit; known ones go on."""
    log = Log()
    log.shard._producers = Producers(most=1)
    assert log.send(1).error == ""
    assert log.call(ProducerCall(producer="q", epoch=1)).error == sequenced.TOO_MANY
    assert log.send(2).error == ""


def test_replay_and_snapshot_give_the_same_state():
    """Entries read from the log, and a restored snapshot, decide as the writer does (P5, P10)."""
    log = Log()
    log.send(1)
    log.send(2, REFUSED, confirmed=1, own=(1,))
    log.call(ProducerCall(producer="q", epoch=9))
    log.send(4, OTHER)
    digest = log.shard.query(StateDigest())
    reader = UsageShard(KEY, METERS.get)
    for version, body in enumerate(log.bodies, 1):
        reader.apply(body, NOW, version, version.to_bytes(16, "big"))
    assert reader.query(StateDigest()) == digest
    restored = UsageShard(KEY, METERS.get)
    restored.restore(log.shard.snapshot())
    assert restored.query(StateDigest()) == digest
    again = restored.decide([call_of(2, REFUSED)], NOW)
    assert (again.body, statuses(again.answers[0])) == (None, [REJECTED] * 3)


@pytest.mark.parametrize(
    "facts",
    [
        [ProducerFact("p", 1, 0)],
        [ProducerFact("p", 2, 0, 1, 7, 0)],
        [ProducerFact("p", 2, 0, 2, 7, 0), ProducerFact("p", 2, 0, 2, 7, 0)],
    ],
    ids=["fenced epoch", "at the mark", "twice"],
)
def test_an_entry_that_counts_twice_is_corrupt(facts):
    """P5: a log that breaks P12 is not applied."""
    log = Log()
    log.call(ProducerCall(producer="p", epoch=2, confirmed=1))
    body = encode_producers(ProducerEntry(tuple(facts)))
    with pytest.raises(LogCorrupt):
        log.shard.apply(body, NOW, 3, bytes(16))


@pytest.mark.parametrize(
    "fact",
    [
        ["p", 0, 0],
        ["p", 1, -1],
        ["p", 1],
        [1, 1, 1],
        ["p", 1, 0, 0, 0, 0, []],
        ["p", 1, 0, 1, -1, 0, []],
        ["p", 1, 0, 1, 0, 1, [[0, 2, 1]]],
        ["p", 1, 0, 1, 0, 3, [[1, 1, 1], [0, 1, 1]]],
        ["p", 1, 0, 1, 0, 3, [[0, 1, 0]]],
        ["p", 1, 0, 1, 0, 3, [[0, 1]]],
    ],
)
def test_facts_that_nobody_writes_are_refused(fact):
    """Bytes that this code does not write are LogCorrupt, never believed (P5)."""
    log = Log()
    body = encode_producers(ProducerEntry((ProducerFact("p", 1, 0),)))
    text = body[8:].replace(b'["p",1,0]', repr(fact).replace("'", '"').encode())
    with pytest.raises(LogCorrupt):
        log.shard.apply(body[:4] + len(text).to_bytes(4, "little") + text, NOW, 2, bytes(16))


def test_the_checksum_is_of_the_content():
    """The same batch has one checksum wherever it is built; every column counts."""
    batch = numbered(("a", "x", 5), ("b", "n", 1))
    assert batch_checksum(batch) == batch_checksum(numbered(("a", "x", 5), ("b", "n", 1)))
    changed = [
        replace(batch, quantity=batch.quantity + 1),
        replace(batch, event_time=batch.event_time + 1),
        replace(batch, customers=["a", "c"]),
        replace(batch, customer=batch.customer[::-1]),
        replace(batch, scales=[1, 0]),
        replace(batch, dimension_sets=[(("k", "v"),)]),
        replace(batch, attribute_sets=[(("k", "v"),)], attribute_set=np.zeros(2, np.int32)),
        replace(batch, retraction=np.zeros(2, np.bool_)),
    ]
    sums = {batch_checksum(other) for other in changed}
    assert len(sums | {batch_checksum(batch)}) == len(changed) + 1
    swapped = [replace(batch, dimension_sets=[pairs]) for pairs in (AB, AB[::-1])]
    assert len({batch_checksum(other) for other in swapped}) == 1


AB = (("a", "1"), ("b", "2"))


def test_malformed_records_are_rejected():
    """S7.3: what the decoder could not read is MALFORMED, without an id as with one."""
    log = Log()
    batch = replace(OTHER, malformed=np.ones(1, np.bool_))
    answer = log.send(1, batch)
    assert answer.outcome.tolist() == [[REJECTED], [RejectReason.MALFORMED]]
    assert isinstance(RecordBatch.concatenate([batch]), RecordBatch)
