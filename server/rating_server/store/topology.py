"""Which node serves a log: one node, the slot's primary in a cluster, or what Sentinels name.

What is found is kept until something makes it doubtful: a lost connection, a refusal such as
CLUSTERDOWN or READONLY, a node that cannot be reached. Then it is asked for again. A MOVED names
the right node and is believed at once. A stale answer does no harm, only delay: a node that is not
the log's primary refuses every commit and check, and that is again a doubt.

redis-py's cluster and Sentinel clients are not used: they keep pools, ask for the table of all
commands, and repeat calls by themselves, where a repeated commit is ours to decide (DESIGN §8).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from redis.asyncio.connection import Connection
from redis.crc import key_slot
from redis.exceptions import (
    ClusterDownError,
    MovedError,
    RedisError,
    ResponseError,
)

from rating_server.store.address import Node, StoreAddress, StoreKind, parse_address
from rating_server.store.connection import (
    CONNECTION_ERRORS,
    ask_redis,
    disconnect,
    establish,
    open_connection,
    parse_info,
)

_log = logging.getLogger(__name__)

_ASK_TIMEOUT_S = 1.0
"""For one node or Sentinel to tell the topology: another one is asked after that."""


class WrongKind(RedisError):
    """The nodes answer, but are not what the URL says: `check_store` makes it a refusal."""


class Topology:
    """Where the logs of one store live, as far as is known. ``url`` is called at every connect.

    One object serves all connections of a server, so that a failover is looked up once.
    """

    def __init__(self, url: Callable[[], str]) -> None:
        self._url = url
        self._adopted: StoreAddress | None = None
        self._slots: list[tuple[int, int, Node]] = []
        self._moved: dict[int, Node] = {}
        self._recognised_once = False
        self._primary: Node | None = None
        self._known: list[Node] = []
        self._asked = 0
        self._doubtful = True
        self._lock = asyncio.Lock()

    @property
    def kind(self) -> StoreKind:
        """How the node of a log is found, as far as is known. StoreRefused if the URL is none."""
        return self._address().kind

    async def locate(self, key: bytes) -> str:
        """Return the URL of the node that serves a key; raises one of CONNECTION_ERRORS."""
        address = await self._recognised()
        if address.kind is StoreKind.SINGLE:
            return address.url
        await self._refresh(address)
        if address.kind is StoreKind.SENTINEL:
            if self._primary is None:
                raise RedisError("no primary is known")
            return address.node_url(self._primary)
        slot = key_slot(key)
        node = self._moved.get(slot)
        if node is None:
            node = next((node for low, high, node in self._slots if low <= slot <= high), None)
        if node is None:
            self._doubtful = True
            raise ClusterDownError(f"no node of the cluster serves slot {slot}")
        return address.node_url(node)

    async def primaries(self) -> list[str]:
        """Return the URLs of all nodes that hold data; raises one of CONNECTION_ERRORS."""
        address = await self._recognised()
        if address.kind is StoreKind.CLUSTER:
            await self._refresh(address)
            return [address.node_url(node) for node in sorted({n for _, _, n in self._slots})]
        return [await self.locate(b"")]

    def doubt(self, error: BaseException | None = None, host: str = "") -> None:
        """Note that the node at ``host`` failed, or said that it is the wrong one."""
        if isinstance(error, MovedError):
            # An answer without a host means the host that was asked.
            named = str(error.host).strip("[]") or host
            if named:
                self._moved[error.slot_id] = Node(named, error.port)
                return
        self._doubtful = True

    def _address(self) -> StoreAddress:
        return self._adopted or parse_address(self._url())

    async def _recognised(self) -> StoreAddress:
        """Return the address; one node's that turns out to be a cluster's becomes the cluster's."""
        address = self._address()
        if address.kind is StoreKind.SINGLE and not self._recognised_once:
            async with asyncio.timeout(_ASK_TIMEOUT_S):
                connection = await _opened(address.url)
                try:
                    info = parse_info(await ask_redis(connection, b"INFO", b"cluster"))
                finally:
                    await disconnect(connection)
            if info.get("cluster_enabled") == "1":
                self._adopted = address = replace(address, kind=StoreKind.CLUSTER)
            self._recognised_once = True
        return address

    async def _refresh(self, address: StoreAddress) -> None:
        async with self._lock:
            if not self._doubtful:
                return
            cluster = address.kind is StoreKind.CLUSTER
            nodes = list(dict.fromkeys([*self._known, *address.seeds]))
            where = [self._place(address, node) for node in nodes] or [address.url]
            # Never the same one first: it may be the one that is cut off and knows nothing new.
            self._asked = (self._asked + 1) % len(where)
            wrong: Exception | None = None
            for place in where[self._asked :] + where[: self._asked]:
                try:
                    async with asyncio.timeout(_ASK_TIMEOUT_S):
                        if cluster:
                            await self._ask_cluster(place)
                        else:
                            await self._ask_sentinel(address, place)
                except CONNECTION_ERRORS as error:
                    wrong = error if wrong is None or isinstance(error, WrongKind) else wrong
                    _log.debug("a node does not tell the topology: %s", error)
                else:
                    self._doubtful = False
                    return
        raise wrong or RedisError("no node is known")

    @staticmethod
    def _place(address: StoreAddress, node: Node) -> str:
        sentinel = address.kind is StoreKind.SENTINEL
        return address.sentinel_url(node) if sentinel else address.node_url(node)

    async def _ask_cluster(self, place: str) -> None:
        connection = await _opened(place)
        try:
            reply = await ask_redis(connection, b"CLUSTER", b"SLOTS")
        except ResponseError as error:
            if "cluster support disabled" in str(error):
                raise WrongKind(
                    "the store is no cluster: name a single node by redis:// or rediss://"
                ) from error
            raise
        finally:
            await disconnect(connection)
        at = parse_address(place).seeds
        own = at[0].host if at else "localhost"
        slots = [
            (int(low), int(high), _endpoint(nodes[0], own)) for low, high, *nodes in reply if nodes
        ]
        if not slots:
            raise ClusterDownError("a node that serves no slots and knows of none")
        if slots != self._slots and self._slots:
            _log.warning("the cluster's slots have moved: %s", _changes(self._slots, slots))
        self._slots = slots
        self._moved.clear()
        everyone = {_endpoint(node, own) for _, _, *nodes in reply for node in nodes}
        self._known = sorted(node for node in everyone if node.host)

    async def _ask_sentinel(self, address: StoreAddress, place: str) -> None:
        service = address.service.encode()
        connection = await _opened(place)
        try:
            reply = await ask_redis(connection, b"SENTINEL", b"GET-MASTER-ADDR-BY-NAME", service)
            if not reply:
                raise WrongKind(f"the Sentinel knows no service named {address.service}")
            others = await ask_redis(connection, b"SENTINEL", b"SENTINELS", service)
        except ResponseError as error:
            if "unknown command" in str(error):
                raise WrongKind("the URL names no Sentinel, but a store") from error
            raise
        finally:
            await disconnect(connection)
        primary = Node(reply[0].decode(), int(reply[1]))
        # A Sentinel that is late may name the one that was: what it takes writes for, says itself.
        await self._require_primary(address.node_url(primary))
        if self._primary is not None and primary != self._primary:
            _log.warning("the primary of %s is now %s", address.service, primary)
        self._primary = primary
        told = [dict(zip(other[0::2], other[1::2], strict=True)) for other in others]
        self._known = sorted(Node(one[b"ip"].decode(), int(one[b"port"])) for one in told)

    @staticmethod
    async def _require_primary(url: str) -> None:
        connection = await _opened(url)
        try:
            role, *_ = await ask_redis(connection, b"ROLE")
        finally:
            await disconnect(connection)
        if role != b"master":
            raise RedisError(f"a Sentinel names a node that is {role.decode(errors='replace')}")


async def _opened(url: str) -> Connection:
    connection = open_connection(url, _ASK_TIMEOUT_S)
    try:
        await establish(connection)
    except BaseException:
        await disconnect(connection)
        raise
    return connection


def _endpoint(node: Sequence[Any], own: str) -> Node:
    """Return the address in a node's line of CLUSTER SLOTS; without a host it is the one asked."""
    host = (node[0] or b"").decode()
    return Node(own if host in ("", "?") else host, int(node[1]))


def _changes(old: list[tuple[int, int, Node]], new: list[tuple[int, int, Node]]) -> str:
    """Say in a line who serves what, where that is not as before."""
    return ", ".join(f"{one[0]}-{one[1]} {one[2]}" for one in new if one not in old)
