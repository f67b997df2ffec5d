"""Which server a client sends to: what it knows of the topology, and who did not answer. Sans I/O.

Any server takes any record; the topology only says who serves a customer's shard best. So nothing
here can be wrong, only slower than it need be. A client of a single server never asks.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import grpc

from ratewright.v1 import usage_service_pb2 as usage_api
from rating_client.calls import Call
from rating_client.errors import RatewrightError
from rating_client.values import from_micros
from rating_client.verdict import server_went

ASK_INTERVAL_SECONDS = 0.25
ASK_TIMEOUT_SECONDS = 2.0
LOOK_INTERVAL_SECONDS = 30.0
"""How often a client that makes unary calls looks who the servers are: their answers do not say."""
_DOWN_FIRST_SECONDS = 1.0
_DOWN_LONGEST_SECONDS = 15.0
_SHARDS_REMEMBERED = 1 << 18
_DIGEST_BYTES = 8


@dataclass(frozen=True, slots=True)
class ServerInfo:
    """A living server. ``shards``: those it serves best. ``leaving``: it stops soon."""

    address: str
    boot_id: str
    leaving: bool
    shards: tuple[int, ...]
    start_time: datetime


@dataclass(frozen=True, slots=True)
class Topology:
    """The living servers of a store. Equal ``revision``s, equal topologies; 0: at most one."""

    revision: int
    shard_count: int
    servers: tuple[ServerInfo, ...]

    def owners(self) -> dict[int, str]:
        """Return the address of each shard's server."""
        return {shard: server.address for server in self.servers for shard in server.shards}


def shard_of(customer: str, shard_count: int) -> int:
    """Return the shard of a customer: SHARD_HASH_BLAKE2B_64 of the API."""
    digest = hashlib.blake2b(customer.encode(), digest_size=_DIGEST_BYTES).digest()
    return int.from_bytes(digest, "little") % shard_count


def read_topology(response: usage_api.GetTopologyResponse) -> Topology:
    """Return a topology of the wire as a value."""
    servers = tuple(
        ServerInfo(
            address=server.address,
            boot_id=server.boot_id,
            leaving=server.state == usage_api.SERVER_STATE_LEAVING,
            shards=tuple(server.shards),
            start_time=from_micros(server.start_time.ToMicroseconds()),
        )
        for server in response.servers
    )
    return Topology(response.revision, response.shard_count, servers)


def get_topology() -> Call[Topology]:
    """Ask a server for the topology."""
    return Call(
        "UsageService/GetTopology",
        usage_api.GetTopologyRequest(),
        usage_api.GetTopologyResponse,
        read_topology,
    )


def shard_ranges(shards: Sequence[int]) -> str:
    """Return ascending shards as words: `0-3, 7`; empty for none."""
    ranges: list[list[int]] = []
    for shard in shards:
        if ranges and ranges[-1][1] == shard - 1:
            ranges[-1][1] = shard
        else:
            ranges.append([shard, shard])
    return ", ".join(str(low) if low == high else f"{low}-{high}" for low, high in ranges)


class Routes:
    """What one client knows of its servers; shared by its writers, safe to use from any thread.

    ``home`` is the target that the client was given. ``follow``: False means that it sends
    everything there. ``clock`` returns seconds and only runs forward.
    """

    def __init__(
        self, home: str, *, follow: bool = True, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.home = home
        self.clock = clock
        self._follow = follow
        self._lock = threading.Lock()
        self._known: Topology | None = None
        self._owners: dict[int, str] = {}
        self._usable = False
        self._shards: dict[str, int] = {}
        self._revision = 0
        self._stale = False
        self._ask_at = 0.0
        self._look_at: float | None = None
        self._failures: dict[str, int] = {}
        self._down_until: dict[str, float] = {}

    @property
    def topology(self) -> Topology | None:
        """What was last learnt; None before."""
        return self._known

    @property
    def addresses(self) -> list[str]:
        """All places to send to, the best first: servers that stay, those that leave, home."""
        servers = () if self._known is None else self._known.servers
        staying = [server.address for server in servers if not server.leaving]
        leaving = [server.address for server in servers if server.leaving]
        return list(dict.fromkeys([*staying, *leaving, self.home]))

    def owner(self, customer: str) -> str:
        """Return the address of the server of a customer's shard; home where that is unknown."""
        known = self._known
        if known is None or not self._usable:
            return self.home
        shard = self._shards.get(customer)
        if shard is None:
            if len(self._shards) >= _SHARDS_REMEMBERED:
                self._shards.clear()
            shard = self._shards[customer] = shard_of(customer, known.shard_count)
        return self._owners.get(shard, self.home)

    @property
    def single(self) -> str | None:
        """The one address that everything goes to, None if there are several."""
        if not self._usable:
            return self.home
        several = set(self._owners.values())
        return next(iter(several)) if len(several) == 1 else None

    def instead_of(self, address: str) -> str | None:
        """Return another address, one that did not fail lately; None if there is none."""
        now = self.clock()
        for other in self.addresses:
            if other != address and self._down_until.get(other, 0.0) <= now:
                return other
        return None

    def reachable(self, address: str) -> bool:
        """Whether this address did not fail lately."""
        return self._down_until.get(address, 0.0) <= self.clock()

    def hint(self, revision: int) -> None:
        """Take the revision that an answer named: another one than ours makes ours stale."""
        if self._follow and revision != self._revision:
            self._stale = True

    def answered(self, address: str) -> None:
        """Note that a server answers."""
        if self._failures:
            self._failures.pop(address, None)
            self._down_until.pop(address, None)

    def failed(self, address: str) -> None:
        """Note that a server did not answer; it is avoided for a while, where others are known."""
        with self._lock:
            count = self._failures[address] = self._failures.get(address, 0) + 1
            wait = min(_DOWN_FIRST_SECONDS * float(2 ** min(count - 1, 8)), _DOWN_LONGEST_SECONDS)
            self._down_until[address] = self.clock() + wait
            # Without a topology there is nobody else to ask.
            self._stale = self._stale or self._known is not None

    def to_ask(self) -> str | None:
        """Return the address to ask for the topology now; None: nothing to ask, or not yet."""
        if not self._stale:
            return None
        with self._lock:
            now = self.clock()
            if not self._stale or now < self._ask_at:
                return None
            self._ask_at = now + ASK_INTERVAL_SECONDS
            return next((a for a in self.addresses if self.reachable(a)), self.home)

    def to_ask_beside(self) -> str | None:
        """Return the address to ask for the topology beside a unary call; None: nothing to ask.

        So that a client that only makes such calls knows other servers when its target goes. The
        first call asks nothing: a process that makes one call need not know.
        """
        if not self._follow:
            return None
        now = self.clock()
        if self._look_at is None:
            self._look_at = now
        elif now >= self._look_at:
            self._look_at = now + LOOK_INTERVAL_SECONDS
            self._stale = True
        return self.to_ask()

    def told(self, address: str, call: Any) -> None:
        """Take what a server answered, a `grpc.Future` of GetTopology that is done."""
        try:
            self.learn(read_topology(call.result()))
        except (grpc.RpcError, grpc.FutureCancelledError):
            self.failed(address)

    def seconds_to_ask(self) -> float | None:
        """Return how long until `to_ask` has something to say if nothing happens."""
        return max(0.0, self._ask_at - self.clock()) if self._stale else None

    def learn(self, topology: Topology) -> None:
        """Take what a server answered."""
        with self._lock:
            if not topology.servers:
                # It is not in the registry itself: it starts or stops. Ask again.
                return
            if self._known is None and not topology.revision:
                # One server: the target reaches it, which the address that it names may not.
                self._stale = False
                return
            self._known = topology
            self._owners = topology.owners()
            self._usable = topology.shard_count > 0 and bool(self._owners)
            self._revision = topology.revision
            self._stale = False

    def not_learnt(self, address: str) -> None:
        """Note that a server did not tell the topology."""
        self.failed(address)

    def in_turn(self) -> list[str]:
        """Return where to send a unary call, one after the other while none answers."""
        if self._known is None:
            return [self.home]
        places = list(dict.fromkeys([self.home, *self.addresses]))
        return sorted(places, key=lambda address: not self.reachable(address))

    def no_answer(self, address: str, error: RatewrightError) -> None:
        """Note how a unary call to a server failed."""
        if server_went(error) and not error.reason:
            self.failed(address)

    def worth_another(self, error: RatewrightError, expires: float) -> bool:
        """Whether another server may answer what this one did not: all calls are idempotent."""
        return server_went(error) and self.clock() < expires
