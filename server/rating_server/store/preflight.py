"""What must be right with a store before the server trusts it, and what it can promise.

Run once at start, on every node that holds logs: version, role, eviction, persistence, number of
shards. The one line that comes out says what "acknowledged" means on this store; an unfit store is
refused with a line that says what to change (DESIGN §6, ack levels).
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from dataclasses import dataclass, field

from redis.asyncio.connection import Connection
from redis.exceptions import BusyLoadingError, ResponseError

from rating_core.metering.deciding.keyed_hash import KEY_BYTES
from rating_core.metering.log.protocol import AckLevel
from rating_server.ports import StoreRefused, StoreUnavailable
from rating_server.store.adapter import LinkOptions, dial, load_library
from rating_server.store.connection import (
    CONNECTION_ERRORS,
    ask_redis,
    disconnect,
    establish,
    open_connection,
    parse_info,
)
from rating_server.store.keys import (
    CONFIG_FORMAT_FIELD,
    CONFIG_HASH_KEY_FIELD,
    CONFIG_KEY,
    CONFIG_SHARDS_FIELD,
    FORMAT_VERSION,
)
from rating_server.store.topology import WrongKind
from rating_server.store.wire import LIBRARY_NAME, library_source

_log = logging.getLogger(__name__)

_OLDEST_REDIS = (7, 2)
_OLDEST_VALKEY = (8, 0)
_LOADING_POLL_S = 0.2
_WAITING_LINE_S = 10.0


@dataclass(frozen=True, slots=True)
class Durability:
    """What a store promises. ``line`` says it in words, for the log and the user."""

    level: AckLevel
    line: str


@dataclass(frozen=True, slots=True)
class Initialised:
    """What was fixed when the store was first used: number of shards, and the key of its hashes.

    ``hash_key``: 16 random bytes that all servers of the store share; secret, never written to a
    log of any kind (ADR 10).
    """

    shards: int
    hash_key: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Facts:
    """What was found out about a store. ``persistence`` is None where CONFIG is forbidden."""

    server: str
    version: str
    mode: str
    role: str
    replicas: int
    eviction: str
    persistence: dict[str, str] | None


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(".")[:2] if part.isdigit())


def require_usable(facts: Facts) -> None:
    """Refuse a store that is too old, a Sentinel, a replica, or one that evicts keys."""
    oldest = _OLDEST_VALKEY if facts.server == "Valkey" else _OLDEST_REDIS
    if _version(facts.version) < oldest:
        raise StoreRefused(
            "STORE_TOO_OLD",
            f"the store is {facts.server} {facts.version}; Redis 7.2 or Valkey 8 is the oldest "
            "that will do",
        )
    if facts.mode == "sentinel":
        raise StoreRefused(
            "STORE_IS_SENTINEL",
            "the URL names a Sentinel, not a store: write redis+sentinel://host:port/<service>",
        )
    if facts.role != "master":
        raise StoreRefused(
            "STORE_IS_REPLICA", "the store is a replica and takes no writes: name its primary"
        )
    if facts.eviction != "noeviction":
        raise StoreRefused(
            "STORE_EVICTS",
            f"the store's maxmemory-policy is {facts.eviction or 'unknown'} and would drop counted "
            "usage: set maxmemory-policy noeviction",
        )


def durability_of(facts: Facts, replicas: int, trust: bool) -> Durability:
    """Return what a store promises; ``replicas`` is how many must confirm at REPLICATED.

    ``trust`` takes a store that hides its CONFIG for durable.
    """
    name = f"{facts.server} {facts.version}"
    if facts.persistence is None:
        level = AckLevel.DURABLE if trust else AckLevel.APPLIED
        why = "trust_store_durability is set" if trust else "so nothing proves an fsync"
        text = f"the store hides its CONFIG, {why}"
    else:
        settings = facts.persistence
        wrong = [
            f"{setting} {settings.get(setting, 'unknown')}"
            for setting, wanted in (
                ("appendonly", "yes"),
                ("appendfsync", "always"),
                ("no-appendfsync-on-rewrite", "no"),
            )
            if settings.get(setting) != wanted
        ]
        level = AckLevel.APPLIED if wrong else AckLevel.DURABLE
        text = ", ".join(wrong) if wrong else "appendonly yes, appendfsync always"
    # Only what all replicas hold outlives the promotion of any of them (DESIGN §6).
    warning = (
        f"; a failover to one of the {facts.replicas} replicas may lose the last of them"
        if facts.replicas > replicas
        else ""
    )
    if facts.replicas >= replicas > 0:
        return Durability(
            AckLevel.REPLICATED,
            f"{name}, {text}, {facts.replicas} replicas: an acknowledged record can be held by "
            f"{replicas} of them (REPLICATED){warning}",
        )
    meaning = {
        AckLevel.DURABLE: "an acknowledged record is on disk (DURABLE)",
        AckLevel.APPLIED: "an acknowledged record is in memory only and a crash of the store may "
        "lose it (APPLIED)",
    }[level]
    return Durability(level, f"{name}, {text}: {meaning}{warning}")


async def node_facts(connection: Connection) -> Facts:
    """Return what one node says about itself; raises redis-py's errors."""
    info = parse_info(await ask_redis(connection, b"INFO", b"server"))
    memory = parse_info(await ask_redis(connection, b"INFO", b"memory"))
    replication = parse_info(await ask_redis(connection, b"INFO", b"replication"))
    valkey = info.get("valkey_version")
    try:
        flat = await ask_redis(
            connection,
            *(b"CONFIG", b"GET", b"appendonly", b"appendfsync", b"no-appendfsync-on-rewrite"),
        )
        texts = [item.decode() for item in flat]
        persistence = dict(zip(texts[0::2], texts[1::2], strict=True)) or None
    except ResponseError as error:
        _log.info("the store forbids CONFIG: %s", error)
        persistence = None
    return Facts(
        server="Valkey" if valkey else "Redis",
        version=valkey or info.get("redis_version", "0"),
        mode=info.get("server_mode" if valkey else "redis_mode", info.get("redis_mode", "")),
        role=replication.get("role", ""),
        replicas=int(replication.get("connected_slaves", "0")),
        eviction=memory.get("maxmemory_policy", ""),
        persistence=persistence,
    )


async def _require_library(connection: Connection) -> None:
    """Load the library, and refuse a store that holds another one of that name."""
    await load_library(connection)
    listed = await ask_redis(
        connection, b"FUNCTION", b"LIST", b"LIBRARYNAME", LIBRARY_NAME, b"WITHCODE"
    )
    held = dict(zip(listed[0][0::2], listed[0][1::2], strict=True))
    if held.get(b"library_code") != library_source():
        name = LIBRARY_NAME.decode()
        raise StoreRefused(
            "STORE_LIBRARY_DIFFERS",
            f"the store holds another function library named {name}: end all servers on it and "
            f"run FUNCTION DELETE {name}",
        )


async def _initialise(connection: Connection, shards: int) -> Initialised:
    """Fix format, number of shards and hash key where they are not yet; return what is fixed."""
    fields = (CONFIG_FORMAT_FIELD, CONFIG_SHARDS_FIELD, CONFIG_HASH_KEY_FIELD)
    read = (b"HMGET", CONFIG_KEY, *fields)
    stored = await ask_redis(connection, *read)
    if None in stored:
        # HSETNX: of two servers that start at once on an empty store, one wins for both.
        for name, value in (
            (CONFIG_SHARDS_FIELD, b"%d" % shards),
            (CONFIG_HASH_KEY_FIELD, secrets.token_bytes(KEY_BYTES)),
            (CONFIG_FORMAT_FIELD, b"%d" % FORMAT_VERSION),
        ):
            await ask_redis(connection, b"HSETNX", CONFIG_KEY, name, value)
        stored = await ask_redis(connection, *read)
    stored_format, stored_shards, hash_key = stored
    if int(stored_format) != FORMAT_VERSION:
        raise StoreRefused(
            "STORE_FORMAT_UNKNOWN",
            f"the store is of format {int(stored_format)}; this version reads {FORMAT_VERSION}",
        )
    if len(hash_key) != KEY_BYTES:
        raise StoreRefused("STORE_FORMAT_UNKNOWN", "the store's hash key is not of this version")
    return Initialised(int(stored_shards), hash_key)


async def check_store(
    options: LinkOptions,
    wanted: AckLevel,
    shards: int,
    *,
    trust: bool = False,
    patience: float = 0.0,
) -> tuple[Durability, Initialised]:
    """Check a store, load the library, initialise it where it is new; return promise and facts.

    Of a cluster every primary is checked, and the weakest is what it promises. The number of shards
    that the store was initialised with wins over ``shards``. For ``patience`` seconds it waits for
    nodes that are still reading their files. StoreRefused if the store is unfit or cannot give the
    ack level ``wanted``, StoreUnavailable if it does not answer.
    """
    loop = asyncio.get_running_loop()
    expires, told = loop.time() + patience, -_WAITING_LINE_S
    while True:
        try:
            durability, stored = await _check_nodes(options, wanted, shards, trust=trust)
            break
        except WrongKind as error:
            raise StoreRefused("STORE_IS_ANOTHER_KIND", str(error)) from error
        except BusyLoadingError as error:
            if loop.time() > expires:
                raise StoreUnavailable(f"the store does not answer: {error}") from error
            if loop.time() - told > _WAITING_LINE_S:
                _log.warning("waiting for the store, which is reading its files")
                told = loop.time()
            await asyncio.sleep(_LOADING_POLL_S)
        except CONNECTION_ERRORS as error:
            words = str(error) or "nothing came in time"
            raise StoreUnavailable(f"the store does not answer: {words}") from error
    if stored.shards != shards:
        _log.warning(
            "the store was initialised with %d shards; the setting of %d is not used",
            stored.shards,
            shards,
        )
    return durability, stored


async def _check_nodes(
    options: LinkOptions, wanted: AckLevel, shards: int, *, trust: bool
) -> tuple[Durability, Initialised]:
    async with asyncio.timeout(options.deadline):
        urls = await options.topology.primaries()
    promises = [await _check_node(url, options, wanted, trust=trust) for url in urls]
    weakest = min(promises, key=lambda promise: promise.level)
    if len(promises) > 1:
        line = f"{len(promises)} primaries; {weakest.line}"
        weakest = Durability(weakest.level, line)
    connection = await dial(options, CONFIG_KEY)
    try:
        async with asyncio.timeout(options.deadline):
            stored = await _initialise(connection, shards)
            if options.replicas:
                # What a new store was initialised with must outlive a failover too. Without a
                # write before it, this returns at once.
                await ask_redis(connection, b"WAIT", b"%d" % options.replicas, b"1000")
            return weakest, stored
    finally:
        await disconnect(connection)


async def _check_node(
    url: str, options: LinkOptions, wanted: AckLevel, *, trust: bool
) -> Durability:
    connection = open_connection(url, options.connect_timeout)
    try:
        async with asyncio.timeout(options.deadline):
            await establish(connection)
            facts = await node_facts(connection)
            require_usable(facts)
            durability = durability_of(facts, options.replicas, trust)
            if durability.level < wanted:
                raise StoreRefused(
                    "ACK_LEVEL_UNAVAILABLE",
                    f"ack level {wanted.name} was asked for, but: {durability.line}",
                )
            await _require_library(connection)
    except CONNECTION_ERRORS as error:
        options.topology.doubt(error)
        raise
    finally:
        await disconnect(connection)
    return durability
