"""Batches: taking, joining and splitting rows keeps every record as it was."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from rating_core.metering.batch import RecordBatch, shard_of
from rating_core.metering.record import UsageRecord, batch_of

RECORDS = [
    UsageRecord(f"c{i % 5}", f"m{i % 3}", f"id-{i}é", i - 3, 1000 + i, (("d", str(i % 2)),), i % 4)
    for i in range(40)
]


def rows_of(batch):
    begins = [0, *batch.event_id_ends.tolist()[:-1]]
    return [
        (
            batch.customers[batch.customer[i]],
            batch.meters[batch.meter[i]],
            batch.scales[batch.meter[i]],
            batch.dimension_sets[batch.dimension_set[i]],
            batch.event_ids[begins[i] : batch.event_id_ends[i]].decode(),
            int(batch.quantity[i]),
            int(batch.event_time[i]),
        )
        for i in range(len(batch))
    ]


def test_take_keeps_rows_and_drops_unused_words():
    """Any rows in any order come out whole, with dictionaries of only their words."""
    batch = batch_of(RECORDS)
    rows = np.array([7, 2, 2, 12], np.int64)
    taken = batch.take(rows)
    taken.check()
    assert rows_of(taken) == [rows_of(batch)[row] for row in rows]
    assert sorted(taken.customers) == ["c2"]


def test_concatenate_merges_dictionaries():
    """Joined batches hold the same rows in order; a word stands once."""
    whole = RecordBatch.concatenate([batch_of(RECORDS[:13]), batch_of(RECORDS[13:])])
    whole.check()
    assert rows_of(whole) == rows_of(batch_of(RECORDS))
    assert len(set(whole.customers)) == len(whole.customers)


def test_concatenate_keeps_flags_of_either_side():
    """A flag column that only one batch has covers the rows of that batch alone."""
    huge = UsageRecord("c", "m", "x", 2**70, 1)
    fine = UsageRecord("c", "m", "y", 1, 1, scale=13)
    whole = RecordBatch.concatenate([batch_of([fine]), batch_of([huge])])
    assert whole.out_of_range.tolist() == [False, True]
    assert whole.imprecise.tolist() == [True, False]


def test_split_by_shard_covers_every_row_once():
    """Each row lies in the shard of its customer, exactly once, in order."""
    batch = batch_of(RECORDS)
    seen = []
    for shard, rows, part in batch.split_by_shard(4):
        assert rows_of(part) == [rows_of(batch)[row] for row in rows]
        assert {shard_of(name, 4) for name in part.customers} == {shard}
        assert rows.tolist() == sorted(rows.tolist())
        seen += rows.tolist()
    assert sorted(seen) == list(range(len(batch)))


def test_split_of_nothing_and_of_one_shard():
    """An empty batch has no part; with one shard the batch itself is the part."""
    assert batch_of([]).split_by_shard(4) == []
    batch = batch_of(RECORDS)
    ((shard, _, part),) = batch.split_by_shard(1)
    assert shard == 0
    assert part is batch


def test_shard_of_is_stable():
    """The shard of a customer never changes: fixed values."""
    assert [shard_of(name, 16) for name in ("acme", "", "größe", "c1")] == [0, 4, 4, 3]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"meter": np.zeros(3, np.int32)}, "meter: expected 40 rows"),
        ({"malformed": np.zeros(1, np.bool_)}, "malformed: expected 40 rows"),
        ({"scales": [0]}, "scales: expected one a meter"),
        ({"scales": [13] * 12}, "scales: expected 0 to 12"),
        ({"customer": np.full(40, 5, np.int32)}, "customer: index outside its dictionary of 5"),
        ({"customer": np.full(40, -1, np.int32)}, "customer: index outside its dictionary of 5"),
        ({"event_id_ends": np.arange(40)[::-1]}, "event_id_ends: must not decrease"),
        ({"event_ids": b""}, "event_id_ends: the last one must be the length of event_ids"),
    ],
)
def test_check_names_the_column_that_does_not_fit(change, message):
    """Columns that do not fit each other are refused before anything reads them."""
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(batch_of(RECORDS), **change).check()
