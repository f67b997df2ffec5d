"""Which server serves which shard best: a pure function of the living servers (DESIGN §8).

Every server commits records of every shard correctly, whoever else does (P1, P5). Ownership only
decides who keeps a shard's state in memory and folds its counters, and where clients send records.
So nothing here needs agreement: servers that see different members for a moment lose time, not
records.

Rendezvous hashing with a bound: each pair of shard and server has a hash, pairs are taken from the
highest down, and a server that has its share of ⌈shards ÷ servers⌉ gets no more. Without the bound
the busiest of two servers would have 10 of 16 shards on average; with it a server that comes or
goes moves a few more shards than it must (ADR 14).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache


@dataclass(frozen=True, slots=True, order=True)
class Member:
    """A living server: ``address`` as clients reach it, ``boot`` its run, ``since`` µs UTC.

    ``ready``: the shards whose logs it has read. ``leaving``: it stops once others have taken over.
    ``ids``: what its fullest id index holds, of ``most_ids`` (P15): for `doctor`, decides nothing.
    """

    address: str
    boot: str
    since: int
    leaving: bool = False
    ready: frozenset[int] = frozenset()
    ids: int = field(default=0, compare=False)
    most_ids: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class Topology:
    """Who serves what best. ``owners``: an address for each shard, empty without members.

    ``targets``: who shall own each shard as soon as it has read its log. Equal ``revision``s, equal
    topologies; 0 where there is nothing to tell, with one server or none.
    """

    shard_count: int
    members: tuple[Member, ...] = ()
    owners: tuple[str, ...] = ()
    targets: tuple[str, ...] = ()
    revision: int = 0

    def owned_by(self, address: str) -> list[int]:
        """Return the shards that this server serves best, ascending."""
        return [shard for shard, owner in enumerate(self.owners) if owner == address]

    def meant_for(self, address: str) -> list[int]:
        """Return the shards that this server shall own, ascending."""
        return [shard for shard, target in enumerate(self.targets) if target == address]


@lru_cache(maxsize=1 << 16)
def _weight(shard: int, address: str) -> int:
    digest = hashlib.blake2b(f"{shard}/{address}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little")


def assign_shards(shard_count: int, addresses: Iterable[str]) -> tuple[str, ...]:
    """Return the address that each shard is assigned to; empty if there are none.

    No server gets more than ⌈shards ÷ servers⌉.
    """
    servers = sorted(set(addresses))
    if not servers:
        return ()
    share = -(-shard_count // len(servers))
    pairs = sorted(
        ((shard, server) for shard in range(shard_count) for server in servers),
        key=lambda pair: _weight(*pair),
        reverse=True,
    )
    free = dict.fromkeys(servers, share)
    found: dict[int, str] = {}
    for shard, server in pairs:
        if shard not in found and free[server]:
            found[shard] = server
            free[server] -= 1
    return tuple(found[shard] for shard in range(shard_count))


def topology_of(shard_count: int, members: Iterable[Member]) -> Topology:
    """Return the topology of these members.

    A shard goes to the server it is assigned to, among those that stay. Until that one has read the
    shard's log, one that has is its owner: of those that stay before those that leave.
    """
    known = tuple(sorted(members))
    staying = [member.address for member in known if not member.leaving]
    targets = assign_shards(shard_count, staying or [member.address for member in known])
    holders: dict[int, list[Member]] = {shard: [] for shard in range(shard_count)}
    for member in known:
        for shard in member.ready:
            holders.get(shard, []).append(member)
    owners = tuple(_owner(shard, target, holders[shard]) for shard, target in enumerate(targets))
    return Topology(shard_count, known, owners, targets, _revision(known, owners))


def _owner(shard: int, target: str, holders: list[Member]) -> str:
    if not holders or any(member.address == target for member in holders):
        return target
    best = max(holders, key=lambda member: (not member.leaving, _weight(shard, member.address)))
    return best.address


def _revision(members: tuple[Member, ...], owners: tuple[str, ...]) -> int:
    if len(members) < 2:
        return 0
    facts = [(member.address, member.boot, member.leaving) for member in members]
    digest = hashlib.blake2b(repr((facts, owners)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") or 1
