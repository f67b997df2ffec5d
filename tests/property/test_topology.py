"""Who serves which shard: balance, small moves, hand-over, by a pure function."""

from __future__ import annotations

import random
from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from rating_server.topology import Member, assign_shards, topology_of

ADDRESSES = st.sets(st.integers(1, 60).map(lambda n: f"10.0.0.{n}:50051"), min_size=1, max_size=12)
SHARDS = st.integers(1, 96)


def _member(address: str, ready=(), *, leaving: bool = False) -> Member:
    return Member(address, "b" * 32, 1, leaving, frozenset(ready))


@settings(derandomize=True, max_examples=150, deadline=None)
@given(SHARDS, ADDRESSES)
def test_every_shard_has_one_server_and_no_server_too_many(shards, addresses):
    """All shards are assigned, and no server gets more than its share, rounded up."""
    found = assign_shards(shards, addresses)
    assert len(found) == shards
    assert set(found) <= addresses
    assert max(Counter(found).values()) <= -(-shards // len(addresses))


@settings(derandomize=True, max_examples=50, deadline=None)
@given(SHARDS, ADDRESSES, st.randoms(use_true_random=False))
def test_the_order_of_servers_does_not_matter(shards, addresses, shuffler):
    """Two servers that learnt of the others in another order agree."""
    listed = sorted(addresses)
    shuffler.shuffle(listed)
    assert assign_shards(shards, listed) == assign_shards(shards, addresses)


def test_a_server_that_comes_or_goes_moves_few_shards():
    """A change of one server moves hardly more shards than it must, on average over many sets."""
    rng = random.Random(4)
    moved = must = 0
    for _ in range(60):
        count = rng.randint(2, 8)
        several = [f"10.1.{rng.randint(0, 255)}.{n}:50051" for n in range(count)]
        before, after = assign_shards(64, several[:-1]), assign_shards(64, several)
        moved += sum(old != new for old, new in zip(before, after, strict=True))
        must += 64 // count
        # What stays with the others is most of what they had.
        assert (
            sum(old != new and new != several[-1] for old, new in zip(before, after, strict=True))
            <= 16
        )
    assert moved <= 1.3 * must


@settings(derandomize=True, max_examples=100, deadline=None)
@given(st.integers(1, 32), ADDRESSES, st.data())
def test_a_shard_stays_with_who_has_it_until_the_next_one_has_read_it(shards, addresses, data):
    """An owner is always a server that holds the shard's state, if there is any; targets win."""
    members = [
        _member(
            address,
            data.draw(st.sets(st.integers(0, shards - 1))),
            leaving=data.draw(st.booleans()),
        )
        for address in sorted(addresses)
    ]
    topology = topology_of(shards, members)
    by_address = {member.address: member for member in members}
    for shard, (owner, target) in enumerate(zip(topology.owners, topology.targets, strict=True)):
        holders = {member.address for member in members if shard in member.ready}
        assert owner in (holders or {target})
        if target in holders:
            assert owner == target
        if by_address[owner].leaving:
            staying = {address for address in holders if not by_address[address].leaving}
            assert not staying


def test_a_server_that_leaves_hands_over_one_shard_after_the_other():
    """While it leaves it owns what the other has not read yet; in the end nothing."""
    leaving = _member("a:1", range(8), leaving=True)
    half = topology_of(8, [leaving, _member("b:1", range(4))])
    assert half.owned_by("b:1") == [0, 1, 2, 3]
    assert half.owned_by("a:1") == [4, 5, 6, 7]
    assert half.meant_for("b:1") == list(range(8))
    assert topology_of(8, [leaving, _member("b:1", range(8))]).owned_by("a:1") == []


def test_the_revision_tells_topologies_apart():
    """It is 0 for one server, equal for equal sets, and another one when boots or owners change."""
    one, two = _member("a:1", range(4)), _member("b:1", range(4))
    assert topology_of(4, [one]).revision == 0
    assert topology_of(4, []).revision == 0
    both = topology_of(4, [one, two])
    assert both.revision
    assert both.revision == topology_of(4, [two, one]).revision
    assert both.revision != topology_of(4, [one, _member("b:1", range(4), leaving=True)]).revision
    restarted = Member("b:1", "c" * 32, 2, ready=frozenset(range(4)))
    assert both.revision != topology_of(4, [one, restarted]).revision
