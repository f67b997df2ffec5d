"""Puts right counter hashes that a verification has found wrong (`ratewright rebuild`)."""

from __future__ import annotations

from collections.abc import Sequence

from redis.asyncio.connection import Connection

from rating_server.store.adapter import LinkOptions, dial
from rating_server.store.connection import ask_redis, disconnect
from rating_server.store.keys import HASH_VERSION_FIELD, LogKeys
from rating_server.store.verify import Repair

_FIELDS_PER_CALL = 1000


async def mend_hashes(options: LinkOptions, keys: LogKeys, repairs: Sequence[Repair]) -> int:
    """Write what the hashes should be; return how many were put right.

    Safe beside running servers: a hash that has moved on since it was read is left alone, and a
    fold goes on from the version that is written here (P7). Raises redis-py's errors.
    """
    connection = await dial(options, keys.log)
    try:
        done = 0
        for repair in repairs:
            done += await _mend(connection, keys.counter_hash(repair.key), repair)
        return done
    finally:
        await disconnect(connection)


async def _mend(connection: Connection, key: bytes, repair: Repair) -> bool:
    await ask_redis(connection, b"WATCH", key)
    stands = int(await ask_redis(connection, b"HGET", key, HASH_VERSION_FIELD) or 0)
    if stands != repair.stands_at:
        await ask_redis(connection, b"UNWATCH")
        return False
    await ask_redis(connection, b"MULTI")
    await ask_redis(connection, b"DEL", key)
    fields = list(repair.fields.items())
    for start in range(0, len(fields), _FIELDS_PER_CALL):
        flat: list[bytes] = []
        for name, value in fields[start : start + _FIELDS_PER_CALL]:
            flat += (name.encode(errors="surrogatepass"), b"%d" % value)
        await ask_redis(connection, b"HSET", key, *flat)
    if fields:
        await ask_redis(connection, b"HSET", key, HASH_VERSION_FIELD, b"%d" % repair.version)
    return await ask_redis(connection, b"EXEC") is not None
