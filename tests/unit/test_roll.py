"""Customers by number: the same names, shards and hashes as when they are handled as texts."""

import json

import numpy as np
import pytest

from ratewright.v1 import usage_service_pb2 as usage
from rating_core.metering.batch import RecordBatch, shard_of
from rating_core.metering.deciding.field_scan import find_texts
from rating_core.metering.deciding.keyed_hash import HashKey
from rating_core.metering.deciding.roll import Roll, RollNames
from rating_core.metering.deciding.words import compact_names, merge_names

KEY = HashKey(bytes(range(16)))
SHARDS = 4


def valid(name):
    """Stand for the rule of the server: no blanks."""
    return bool(name) and " " not in name


@pytest.fixture
def roll():
    """An empty roll that begins anew after eight names."""
    return Roll(KEY, SHARDS, shard_of, valid, most=9)


def batch(names, codes):
    """Build a batch of these customers; the id of each row names its customer."""
    count = len(codes)
    ids = [f"id-of-{names[code]}-{row}" for row, code in enumerate(codes)]
    return RecordBatch(
        customers=names,
        customer=np.array(codes, np.int32),
        meters=["m"],
        scales=[0],
        meter=np.zeros(count, np.int32),
        dimension_sets=[()],
        dimension_set=np.zeros(count, np.int32),
        event_ids="".join(ids).encode(),
        event_id_ends=np.cumsum([len(each.encode()) for each in ids]),
        quantity=np.arange(count),
        event_time=np.arange(count),
        malformed=np.zeros(count, np.bool_),
    )


def test_names_have_their_hashes_and_shards(roll):
    """What a roll knows of a name is what the pure functions say, also at the second time."""
    for names in (["acme", "größe", "c1"], ["c1", "new", "acme", "c1"]):
        found = roll.names_of(names)
        assert list(found) == names
        assert (KEY.hash_names(found) == KEY.hash_names(names)).all()
        assert found.page.shards[found.numbers].tolist() == [shard_of(n, SHARDS) for n in names]
        assert [found[place] for place in range(len(names))] == names
        assert list(found[1:]) == names[1:]
    assert found.hashes(HashKey(bytes(16))) is None


def test_names_as_json_are_those_of_the_header(roll):
    """The list that entries hold is JSON of the very names, quotes and control characters too."""
    names = ['a"b', "größe", "back\\slash", "c1", '"customers":[]', "c1"]
    for _ in range(2):
        assert json.loads(roll.names_of(names).json()) == names
    assert roll.names_of([]).json() == b"[]"


def test_impossible_names_are_nobody(roll):
    """A name that no customer can have is number 0, the empty name, each time."""
    for _ in range(2):
        assert list(roll.names_of(["a", "b c", "", "d"])) == ["a", "", "", "d"]


def test_names_are_read_from_a_message(roll):
    """The texts of a repeated field are found among other fields, and numbered without copies."""
    names = ["acme", "größe", "x" * 200, ""]
    message = usage.UsageBatch(customers=names, quantities=[1, 2], event_id_lengths=[1, 300])
    message.dimension_sets.add(dimensions={"a": "b"})
    data = np.frombuffer(message.SerializeToString(), np.uint8)
    spans = find_texts(data, usage.UsageBatch.CUSTOMERS_FIELD_NUMBER)
    assert list(roll.names_in(data, spans)) == names
    assert list(roll.names_of(names[::-1])) == names[::-1]


@pytest.mark.parametrize("data", [b"\x0a\x05abc", b"\x0a", b"\x0b", b"\x0d\x01", b"\x0a" * 3])
def test_bytes_that_are_no_message_are_left(data):
    """Truncated fields and unknown wire types are for protobuf to judge."""
    assert find_texts(np.frombuffer(data, np.uint8), 1) is None


def test_a_full_roll_begins_anew(roll):
    """Names that were numbered before stay what they are; merging falls back to texts."""
    before = roll.names_of([f"c{number}" for number in range(8)])
    after = roll.names_of(["c1", "d1", "d2"])
    assert after.page is not before.page
    assert list(before) == [f"c{number}" for number in range(8)]
    columns = [(before, np.array([1, 7], np.int32)), (after, np.array([0, 2], np.int32))]
    names, codes = merge_names(columns)
    assert [names[code] for code in codes] == ["c1", "c7", "c1", "d2"]
    assert list(roll.names_of([f"e{number}" for number in range(30)]))[29] == "e29"


def test_batches_are_split_and_joined_as_with_texts(roll):
    """Every row has its customer after split, concatenation and compaction."""
    names = ["a", "b", "c", "d", "e"]
    codes = [4, 0, 0, 3, 2, 4, 1]
    by_text = batch(names, codes).split_by_shard(SHARDS)
    by_number = batch(roll.names_of(names), codes).split_by_shard(SHARDS)
    assert len(by_text) == len(by_number) > 1
    for (shard, rows, one), (same, others, two) in zip(by_text, by_number, strict=True):
        assert (shard, rows.tolist(), one.event_ids) == (same, others.tolist(), two.event_ids)
        assert isinstance(two.customers, RollNames)
        assert list(one.customers) == list(two.customers)
        assert one.customer.tolist() == two.customer.tolist()
    joined = RecordBatch.concatenate([part for _, _, part in by_number] * 2)
    assert isinstance(joined.customers, RollNames)
    assert sorted(joined.customers) == names
    owners = [joined.customers[code] for code in joined.customer]
    ends = joined.event_id_ends.tolist()
    for owner, begin, end in zip(owners, [0, *ends], ends, strict=False):
        assert joined.event_ids[begin:end].startswith(f"id-of-{owner}-".encode())
    kept, renumbered = compact_names(joined.customers, joined.customer[:1])
    assert [kept[code] for code in renumbered] == owners[:1]
