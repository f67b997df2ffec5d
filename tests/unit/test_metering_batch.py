"""Batches: taking, joining and splitting rows keeps every record as it was."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from rating_core.metering.batch import RecordBatch, shard_of
from rating_core.metering.deciding.record import UsageRecord, batch_of

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


@pytest.mark.parametrize("words", [3, 20])
def test_split_by_shard_takes_every_column_along(words):
    """Whatever columns a batch has, also optional ones: each part has the values of its rows."""
    count = 200
    rng = np.random.default_rng(7)
    lengths = rng.integers(1, 9, count)
    whole = RecordBatch(
        customers=[f"c{n}" for n in range(50)],
        customer=rng.integers(0, 50, count).astype(np.int32),
        meters=[f"m{n}" for n in range(words)],
        scales=[n % 13 for n in range(words)],
        meter=rng.integers(0, words, count).astype(np.int32),
        dimension_sets=[(("d", str(n)),) for n in range(words)],
        dimension_set=rng.integers(0, words, count).astype(np.int32),
        event_ids=rng.bytes(int(lengths.sum())),
        event_id_ends=np.cumsum(lengths),
        quantity=rng.integers(-9, 9, count),
        event_time=rng.integers(1, 10**15, count),
        malformed=rng.random(count) < 0.5,
        out_of_range=rng.random(count) < 0.5,
        imprecise=rng.random(count) < 0.5,
        attribute_sets=[(("a", str(n)),) for n in range(words)],
        attribute_set=rng.integers(0, words, count).astype(np.int32),
        retraction=rng.random(count) < 0.5,
    )
    assert all(getattr(whole, each.name) is not None for each in dataclasses.fields(RecordBatch))
    parts = whole.split_by_shard(4)
    assert len(parts) == 4
    for _, rows, part in parts:
        part.check()
        assert spelled(part) == [spelled(whole)[row] for row in rows]


def spelled(batch):
    """Each row with its words in place of their indices, and all other columns."""
    ends = batch.event_id_ends.tolist()
    ids = [batch.event_ids[begin:end] for begin, end in zip([0, *ends], ends, strict=False)]
    words = [
        [batch.customers[code] for code in batch.customer],
        [(batch.meters[code], batch.scales[code]) for code in batch.meter],
        [batch.dimension_sets[code] for code in batch.dimension_set],
        [batch.attribute_sets[code] for code in batch.attribute_set],
    ]
    indexed = ("customer", "meter", "dimension_set", "attribute_set", "event_id_ends")
    columns = [getattr(batch, each.name) for each in dataclasses.fields(RecordBatch)]
    plain = [
        column.tolist()
        for each, column in zip(dataclasses.fields(RecordBatch), columns, strict=True)
        if isinstance(column, np.ndarray) and each.name not in indexed
    ]
    return list(zip(ids, *words, *plain, strict=True))


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
