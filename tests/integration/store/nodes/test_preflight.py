"""What a store must be and what it can promise, on real stores with real settings."""

from __future__ import annotations

import asyncio

import pytest
from redis.exceptions import BusyLoadingError

from rating_core.metering.log.protocol import AckLevel
from rating_server.ports import StoreRefused, StoreUnavailable
from rating_server.store.adapter import LinkOptions
from rating_server.store.guard import StoreGuard, memory_problem
from rating_server.store.preflight import (
    Durability,
    Facts,
    Initialised,
    check_store,
    require_usable,
)

GOOD = Facts("Valkey", "8.0.1", "standalone", "master", 0, "noeviction", {})


def check(
    store, wanted: AckLevel = AckLevel.DURABLE, shards: int = 16, *, trust: bool = False, **options
) -> tuple[Durability, Initialised]:
    """Run the check on a store."""
    link = LinkOptions(url=lambda: store.url, **options)
    return asyncio.run(check_store(link, wanted, shards, trust=trust))


def test_embedded_settings_are_durable(store) -> None:
    """The settings of the embedded store give DURABLE, and the line says what that means."""
    durability, stored = check(store)
    assert durability.level is AckLevel.DURABLE
    assert durability.line.startswith("Valkey 9.")
    assert "appendfsync always: an acknowledged record is on disk" in durability.line
    assert stored.shards == 16


@pytest.mark.parametrize(
    ("setting", "value"),
    [("appendfsync", "everysec"), ("appendonly", "no"), ("no-appendfsync-on-rewrite", "yes")],
)
def test_weaker_persistence_is_refused_for_durable(store, setting: str, value: str) -> None:
    """A store that cannot give DURABLE is refused for it, and taken as APPLIED if that is asked."""
    before = store.ask("CONFIG", "GET", setting)[1]
    store.ask("CONFIG", "SET", setting, value)
    try:
        with pytest.raises(StoreRefused, match=f"{setting} {value}") as refused:
            check(store)
        assert refused.value.reason == "ACK_LEVEL_UNAVAILABLE"
        assert store.ask("KEYS", "*") == []
        durability, _ = check(store, AckLevel.APPLIED)
        assert durability.level is AckLevel.APPLIED
        assert "a crash of the store may lose it" in durability.line
    finally:
        store.ask("CONFIG", "SET", setting, before)


def test_eviction_is_refused(store) -> None:
    """A store that may drop keys is refused at every level."""
    store.ask("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
    try:
        with pytest.raises(StoreRefused, match="set maxmemory-policy noeviction") as refused:
            check(store, AckLevel.APPLIED)
        assert refused.value.reason == "STORE_EVICTS"
    finally:
        store.ask("CONFIG", "SET", "maxmemory-policy", "noeviction")


def test_hidden_config_is_applied_unless_trusted(store) -> None:
    """Where CONFIG is forbidden nothing proves an fsync, unless the operator vouches for it."""
    store.ask("ACL", "SETUSER", "managed", "on", ">secret", "~*", "&*", "+@all", "-config")

    class Managed:
        url = store.url.replace("unix://", "unix://managed:secret@")

    try:
        with pytest.raises(StoreRefused, match="hides its CONFIG"):
            check(Managed)
        assert check(Managed, AckLevel.APPLIED)[0].level is AckLevel.APPLIED
        durability, _ = check(Managed, trust=True)
        assert durability.level is AckLevel.DURABLE
        assert "trust_store_durability" in durability.line
    finally:
        store.ask("ACL", "DELUSER", "managed")


def test_replicas_and_roles(store_factory, store) -> None:
    """REPLICATED needs enough replicas; a replica itself is refused."""
    with pytest.raises(StoreRefused, match="REPLICATED was asked for"):
        check(store, AckLevel.REPLICATED, replicas=1)
    primary = store_factory(repl_diskless_sync_delay="0")
    replica = store_factory(replicaof=f"127.0.0.1 {primary.listen()}")
    primary.until("replication", b"state=online")
    durability, _ = check(primary, AckLevel.REPLICATED, replicas=1)
    assert durability.level is AckLevel.REPLICATED
    with pytest.raises(StoreRefused) as refused:
        check(replica)
    assert refused.value.reason == "STORE_IS_REPLICA"
    assert "a failover" not in durability.line
    assert "a failover to one of the 1 replicas may lose" in check(primary)[0].line


@pytest.mark.parametrize(
    ("facts", "reason"),
    [
        (Facts("Redis", "7.0.15", "standalone", "master", 0, "noeviction", {}), "STORE_TOO_OLD"),
        (Facts("Valkey", "7.2.9", "standalone", "master", 0, "noeviction", {}), "STORE_TOO_OLD"),
        (Facts("Redis", "", "standalone", "master", 0, "noeviction", {}), "STORE_TOO_OLD"),
        (Facts("Redis", "7.4.1", "sentinel", "", 0, "", None), "STORE_IS_SENTINEL"),
        (Facts("Redis", "7.4.1", "standalone", "slave", 0, "noeviction", {}), "STORE_IS_REPLICA"),
        (Facts("Redis", "7.4.1", "standalone", "master", 0, "", {}), "STORE_EVICTS"),
    ],
)
def test_unfit_stores(facts: Facts, reason: str) -> None:
    """Each kind of unfit store has its own reason; Redis 7.2, 8 and Valkey 8 are fit."""
    require_usable(GOOD)
    for version, mode in (("7.2", "standalone"), ("7.10.0", "cluster"), ("8.2.1", "standalone")):
        require_usable(Facts("Redis", version, mode, "master", 0, "noeviction", {}))
    with pytest.raises(StoreRefused) as refused:
        require_usable(facts)
    assert refused.value.reason == reason


def test_number_of_shards_is_fixed_at_first_use(store, caplog) -> None:
    """The stored number of shards wins over a later setting, with a line that says so."""
    first = check(store, shards=8)[1]
    assert first.shards == 8
    assert check(store, shards=32)[1] == first
    assert len(first.hash_key) == 16
    assert repr(first.hash_key) not in repr(first)
    assert "initialised with 8 shards" in caplog.text
    store.ask("HSET", "rw:config", "format", "99")
    with pytest.raises(StoreRefused) as refused:
        check(store)
    assert refused.value.reason == "STORE_FORMAT_UNKNOWN"


def test_another_library_of_that_name_is_refused(store) -> None:
    """A library of our name with other code is never used."""
    other = "#!lua name=ratewright_1\nredis.register_function('rw1_commit', function() end)"
    store.ask("FUNCTION", "LOAD", other)
    with pytest.raises(StoreRefused, match="FUNCTION DELETE ratewright_1") as refused:
        check(store)
    assert refused.value.reason == "STORE_LIBRARY_DIFFERS"


def test_store_that_is_not_there(free_port: int) -> None:
    """No answer is unavailable, not unfit: the server may try again."""

    class Nowhere:
        url = f"redis://127.0.0.1:{free_port}"

    with pytest.raises(StoreUnavailable, match="does not answer"):
        check(Nowhere)


def test_a_store_that_reads_its_files_is_waited_for(members, wait_until, caplog) -> None:
    """LOADING is no failure to start: the check goes on when the store has read its files."""
    store = members.add(rdbcompression="no")
    wait_until(lambda: store.ask("PING") == b"PONG", "the store answers")
    for n in range(100):
        store.ask("SET", f"k{n}", "x" * 2000)
    store.ask("BGREWRITEAOF")
    wait_until(lambda: store.info("persistence")["aof_last_bgrewrite_status"] == "ok", "written")
    wait_until(lambda: store.info("persistence")["aof_rewrite_in_progress"] == "0", "written")
    store.kill()
    store.start_slowly()

    def loading() -> bool:
        try:
            store.ask("PING")
        except BusyLoadingError:
            return True
        return False

    wait_until(loading, "the store is loading")
    link = LinkOptions(url=lambda: store.url)
    with pytest.raises(StoreUnavailable, match="loading"):
        asyncio.run(check_store(link, AckLevel.DURABLE, 4))
    link = LinkOptions(url=lambda: store.url)
    asyncio.run(check_store(link, AckLevel.DURABLE, 4, patience=20.0))
    assert "waiting for the store" in caplog.text


@pytest.mark.parametrize(
    "bad", ["http://127.0.0.1", "localhost:6379", "redis://h/0?protocol=x", "redis://h?no_such=1"]
)
def test_bad_url_is_refused_without_repeating_it(bad: str) -> None:
    """A URL that is none is refused, and not shown, because it may hold a password."""

    class Bad:
        url = bad

    with pytest.raises(StoreRefused) as refused:
        check(Bad)
    assert refused.value.reason == "STORE_URL_INVALID"
    assert bad not in str(refused.value)


def test_guard_stops_commits_before_the_limits(store, caplog) -> None:
    """Commits stop at 90 % of maxmemory or below the disk reserve, and go on below (P15)."""
    assert memory_problem({"maxmemory": "1000", "used_memory": "899"}) == ""
    assert "commits stop at 90 %" in memory_problem({"maxmemory": "1000", "used_memory": "900"})
    assert memory_problem({"maxmemory": "0", "used_memory": "900"}) == ""
    free = 1000

    async def until(guard: StoreGuard, *, stopped: bool) -> None:
        async with asyncio.timeout(5):
            while guard.stopped() is not stopped:  # noqa: ASYNC110 - the guard has no event
                await asyncio.sleep(0.01)

    async def scenario() -> None:
        nonlocal free
        options = LinkOptions(url=lambda: store.url)
        guard = StoreGuard(options, free_disk=lambda: free, disk_reserve=500, interval=0.02)
        guard.start()
        try:
            await asyncio.sleep(0.1)
            assert not guard.stopped()
            free = 499
            await until(guard, stopped=True)
            assert "499 bytes left" in guard.problem
            free = 1000
            await until(guard, stopped=False)
            await asyncio.to_thread(store.ask, "CONFIG", "SET", "maxmemory", "100")
            await until(guard, stopped=True)
            await asyncio.to_thread(store.ask, "CONFIG", "SET", "maxmemory", "0")
            await until(guard, stopped=False)
        finally:
            await guard.close()

    asyncio.run(scenario())
    assert "commits go on" in caplog.text
