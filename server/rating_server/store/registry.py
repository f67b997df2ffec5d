"""The registry of living servers in Redis: each says every second that it lives, and reads who.

What a server writes expires by itself, so a dead one is forgotten without anybody's help. Nothing
that decides about records rests on the registry: it may be late, empty or wrong.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from redis.asyncio.connection import Connection

from rating_server.store.adapter import LinkOptions, dial
from rating_server.store.connection import CONNECTION_ERRORS, ask_redis, disconnect
from rating_server.store.keys import SERVERS_KEY, server_key
from rating_server.topology import Member

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Pace:
    """Seconds: ``beat`` between two signs of life, ``hurry`` between them while shards change
    hands, ``expiry`` from the last one until a server counts as gone.
    """

    beat: float = 1.0
    hurry: float = 0.1
    expiry: float = 3.0


def encode_member(member: Member) -> bytes:
    """Return a member's facts as the registry keeps them."""
    shards = sum(1 << shard for shard in member.ready)
    facts = {
        "boot": member.boot,
        "since": member.since,
        "leaving": member.leaving,
        "ready": f"{shards:x}",
        "ids": member.ids,
        "most_ids": member.most_ids,
    }
    return json.dumps(facts, separators=(",", ":")).encode()


def decode_member(address: bytes, raw: bytes) -> Member | None:
    """Return a member from its facts; None if this version cannot read them."""
    try:
        facts = json.loads(raw)
        bits = int(facts["ready"], 16)
        return Member(
            address=address.decode(),
            boot=str(facts["boot"]),
            since=int(facts["since"]),
            leaving=bool(facts["leaving"]),
            ready=frozenset(shard for shard in range(bits.bit_length()) if bits >> shard & 1),
            ids=int(facts.get("ids", 0)),
            most_ids=int(facts.get("most_ids", 0)),
        )
    except (ValueError, KeyError, TypeError):
        return None


async def _living(connection: Connection) -> dict[bytes, bytes]:
    """Return the facts of the living by address; addresses of the dead are taken out."""
    addresses = sorted(await ask_redis(connection, b"SMEMBERS", SERVERS_KEY))
    if not addresses:
        return {}
    keys = [server_key(address) for address in addresses]
    facts = dict(zip(addresses, await ask_redis(connection, b"MGET", *keys), strict=True))
    gone = [address for address, raw in facts.items() if raw is None]
    if gone:
        # One that lives after all adds itself again with its next beat.
        await ask_redis(connection, b"SREM", SERVERS_KEY, *gone)
    return {address: raw for address, raw in facts.items() if raw is not None}


def _members(facts: dict[bytes, bytes]) -> tuple[Member, ...]:
    found = (decode_member(address, raw) for address, raw in facts.items())
    return tuple(member for member in found if member is not None)


async def read_members(options: LinkOptions) -> tuple[Member, ...]:
    """Return the living servers; raises one of CONNECTION_ERRORS."""
    connection = await dial(options, SERVERS_KEY)
    try:
        async with asyncio.timeout(options.deadline):
            return _members(await _living(connection))
    finally:
        await disconnect(connection)


class ServerRegistry:
    """One server's place in the registry, from `start` to `close`.

    ``me`` returns this server's facts of the moment, ``heard`` takes all members after each beat,
    ``hurried`` says whether the next beat shall come soon.
    """

    def __init__(
        self,
        options: LinkOptions,
        me: Callable[[], Member],
        heard: Callable[[Iterable[Member]], None],
        hurried: Callable[[], bool],
        pace: Pace | None = None,
    ) -> None:
        self._options = options
        self._me = me
        self._heard = heard
        self._hurried = hurried
        self._pace = pace or Pace()
        self._connection: Connection | None = None
        self._nudged = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._written = False
        self._shared = False

    def start(self) -> None:
        """Begin to beat."""
        if self._task is None:
            self._task = asyncio.create_task(self._run())

    def nudge(self) -> None:
        """Have the next beat come at once: something has changed."""
        self._nudged.set()

    async def close(self) -> None:
        """Stop, and take this server out, so that the others need not wait until it expires."""
        if self._task is None:
            return
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        self._task = None
        with contextlib.suppress(*CONNECTION_ERRORS, TimeoutError):
            async with asyncio.timeout(self._pace.beat):
                await self._withdraw()
        await self._drop()

    async def _run(self) -> None:
        while True:
            self._nudged.clear()
            try:
                async with asyncio.timeout(self._pace.expiry):
                    members = await self._beat()
            except CONNECTION_ERRORS as error:
                # What was last heard stays: the others are just as deaf.
                _log.debug("the registry of servers does not answer: %s", error)
                await self._drop()
            else:
                self._heard(members)
            pause = self._pace.hurry if self._hurried() else self._pace.beat
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._nudged.wait()

    async def _beat(self) -> tuple[Member, ...]:
        if self._connection is None:
            self._connection = await dial(self._options, SERVERS_KEY)
        connection, me = self._connection, self._me()
        address = me.address.encode()
        expiry = b"%d" % int(self._pace.expiry * 1_000)
        key, facts = server_key(address), encode_member(me)
        earlier = await ask_redis(connection, b"SET", key, facts, b"PX", expiry, b"GET")
        self._look_for_namesake(me, decode_member(address, earlier) if earlier else None)
        self._written = True
        living = await _living(connection)
        if address not in living:
            await ask_redis(connection, b"SADD", SERVERS_KEY, address)
            living[address] = facts
        return _members(living)

    def _look_for_namesake(self, me: Member, earlier: Member | None) -> None:
        # The first beat may find what an earlier run at this address left behind.
        if self._written and earlier is not None and earlier.boot != me.boot and not self._shared:
            self._shared = True
            _log.warning(
                "another server advertises %s too: records are counted right, but clients find "
                "only one of them; give each an address of its own with --advertise",
                me.address,
            )

    async def _withdraw(self) -> None:
        if self._connection is None or not self._written:
            return
        me = self._me()
        address = me.address.encode()
        raw = await ask_redis(self._connection, b"GET", server_key(address))
        found = decode_member(address, raw) if raw else None
        if found is not None and found.boot == me.boot:
            await ask_redis(self._connection, b"DEL", server_key(address))
            await ask_redis(self._connection, b"SREM", SERVERS_KEY, address)

    async def _drop(self) -> None:
        if self._connection is not None:
            await disconnect(self._connection)
            self._connection = None
