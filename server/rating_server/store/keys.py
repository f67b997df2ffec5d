"""Names of all keys in Redis: the only module that knows them.

Every key of one log carries the hash tag of that log, so that its functions run on one node of a
cluster. The keys of the registry of servers share a tag of their own; `rw:config` stands outside.

    rw:config             hash    format, shards, hash_key: fixed when the store is initialised
    rw:{<log>}:log        stream  entry <version>-0: p previous token, t token, e entry bytes
    rw:{<log>}:head       hash    v version, t token, now: the log's head
    rw:{<log>}:fold       hash    mark F, cursor (P8)
    rw:{<log>}:turn       string  boot id that has the next turn, 20 ms (P14)
    rw:{<log>}:touch      string  written by a check that must leave a write behind (P6)
    rw:{<log>}:c:…        hash    counters of one customer and period; v is the version it reflects
    rw:{servers}:all      set     addresses of servers, also of some that are gone
    rw:{servers}:at:…     string  a living server's facts as JSON, by its address; expires

<log> is the number of a shard, or `catalogue`.
"""

from __future__ import annotations

from dataclasses import dataclass

CONFIG_KEY = b"rw:config"
CONFIG_FORMAT_FIELD = b"format"
CONFIG_SHARDS_FIELD = b"shards"
CONFIG_HASH_KEY_FIELD = b"hash_key"
"""16 random bytes, secret: the key under which all servers hash ids (ADR 10)."""

FORMAT_VERSION = 1
"""Version of the formats of keys, log entries and hashes that this release reads and writes."""

HASH_VERSION_FIELD = b"v"
"""Field of a counter hash that holds the log version it reflects; no counter has this name."""

ENTRY_PREVIOUS_FIELD = b"p"
ENTRY_TOKEN_FIELD = b"t"
ENTRY_BODY_FIELD = b"e"

SERVERS_KEY = b"rw:{servers}:all"
_SERVER_PREFIX = b"rw:{servers}:at:"


def server_key(address: bytes) -> bytes:
    """Return the key of a server's facts, by the address that it advertises."""
    return _SERVER_PREFIX + address


@dataclass(frozen=True, slots=True)
class LogKeys:
    """The keys of one log; ``prefix`` is ``rw:{<log>}:``."""

    name: str
    prefix: bytes
    log: bytes
    head: bytes
    fold: bytes
    turn: bytes
    touch: bytes

    def counter_hash(self, key: str) -> bytes:
        """Return the full key of a counter hash that the machine calls ``key``."""
        # surrogatepass: whatever text reached the log must not stop a fold.
        return self.prefix + key.encode(errors="surrogatepass")

    def machine_key(self, full: bytes) -> str:
        """Return what the machine calls the counter hash of this full key."""
        return full[len(self.prefix) :].decode(errors="surrogatepass")

    @property
    def counter_pattern(self) -> bytes:
        """Pattern for SCAN that matches all hashes of counters and of buckets of this log."""
        return self.prefix + b"[bc]:*"


def _keys(name: str) -> LogKeys:
    prefix = b"rw:{" + name.encode() + b"}:"
    return LogKeys(
        name=name,
        prefix=prefix,
        log=prefix + b"log",
        head=prefix + b"head",
        fold=prefix + b"fold",
        turn=prefix + b"turn",
        touch=prefix + b"touch",
    )


def shard_keys(shard: int) -> LogKeys:
    """Return the keys of a usage shard, numbered from 0."""
    return _keys(str(shard))


def catalogue_keys() -> LogKeys:
    """Return the keys of the catalogue's log."""
    return _keys("catalogue")
