"""A real Redis Cluster: found, killed, failed over, resharded, while records flow."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from redis.crc import key_slot

from rating_core.metering.batch import RecordStatus
from rating_core.metering.calls import StateDigest
from rating_core.metering.log.protocol import AckLevel
from rating_server.store.adapter import LinkOptions
from rating_server.store.doctor import examine_store
from rating_server.store.findings import State
from rating_server.store.keys import catalogue_keys, shard_keys

LIBRARY = b"ratewright_1"


@pytest.fixture(scope="module")
def cluster(cluster_factory: Callable[..., Any]) -> Any:
    """Three primaries without replicas."""
    return cluster_factory()


@pytest.fixture(scope="module")
def pairs(cluster_factory: Callable[..., Any]) -> Any:
    """Three primaries with a replica each."""
    made = cluster_factory()
    made.add_replicas()
    return made


@pytest.fixture(autouse=True)
def empty(request: pytest.FixtureRequest) -> None:
    """Every test begins with empty stores, whose primaries are those that it started with."""
    for name in {"cluster", "pairs"} & set(request.fixturenames):
        for node in request.getfixturevalue(name).all:
            with contextlib.suppress(Exception):  # a replica refuses, and follows its primary
                node.ask("FLUSHALL")
                node.ask("FUNCTION", "FLUSH")


@contextlib.asynccontextmanager
async def flowing(traffic: Any) -> AsyncIterator[None]:
    """Records flow until the body has ended."""
    flow = asyncio.create_task(traffic.flow())
    try:
        await asyncio.sleep(0.3)
        yield
        await asyncio.sleep(0.3)
    finally:
        traffic.stop = True
        await flow


def test_any_node_leads_to_the_whole_cluster(cluster, server_of, traffic_of) -> None:
    """By a cluster's URL or one node's: every log on its node, in one slot, functions on all."""

    async def scenario() -> None:
        server = server_of(cluster.url)
        await server.start()
        try:
            assert "3 primaries; " in server.durability.line
            traffic = traffic_of(server)
            await traffic.prepare()
            rows = traffic.rows(500)
            assert set(await traffic.send(rows)) == {RecordStatus.ACCEPTED}
            assert set(await traffic.send(rows)) == {RecordStatus.DUPLICATE}
            await traffic.assert_true(cluster.url)
            digests = [await server.ask(shard, StateDigest()) for shard in range(6)]
            assert server.health.losses == 0
            found = await examine_store(LinkOptions(lambda: cluster.url), None, AckLevel.DURABLE)
            nodes = {f"127.0.0.1:{node.port}" for node in cluster.primaries}
            assert nodes <= {finding.where for finding in found}
            assert {f.check for f in found if f.state is not State.OK} == {"servers"}
        finally:
            await server.close()
        again = server_of(cluster.primaries[1].url)
        await again.start()
        try:
            assert [await again.ask(shard, StateDigest()) for shard in range(6)] == digests
        finally:
            await again.close()

    asyncio.run(scenario())
    tags = [keys.prefix for keys in (catalogue_keys(), *map(shard_keys, range(6)))]
    for node in cluster.primaries:
        assert len(node.ask("FUNCTION", "LIST", "LIBRARYNAME", LIBRARY)) == 1
        for key in node.ask("KEYS", "rw:{*"):
            prefix = key[: key.index(b"}:") + 2]
            assert prefix in tags
            assert key_slot(key) == key_slot(prefix + b"log")
    assert len({cluster.owner(prefix).port for prefix in tags}) == 3


def test_a_killed_node_comes_back(cluster, server_of, traffic_of, wait_until) -> None:
    """kill -9 of a primary that restarts: the other shards go on, nothing is lost or doubled."""

    async def scenario() -> None:
        server = server_of(cluster.url)
        await server.start()
        try:
            traffic = traffic_of(server)
            await traffic.prepare()
            victim = cluster.owner(shard_keys(0).log)
            async with flowing(traffic):
                victim.kill()
                await asyncio.sleep(0.3)
                assert 0 < server.health.logs_ready < server.health.logs
                victim.start()
                await asyncio.to_thread(cluster.until_whole)
                await asyncio.to_thread(wait_until, lambda: server.health.ready, "ready again")
            await traffic.assert_true(cluster.url)
            assert server.health.losses == 0
        finally:
            await server.close()

    asyncio.run(scenario())


def move_key_by_key(source: Any, target: Any, slot: int, everyone: list[Any]) -> None:
    """Reshard as redis-cli does: key by key, with ASK and TRYAGAIN on the way."""
    target.ask("CLUSTER", "SETSLOT", slot, "IMPORTING", source.node_id)
    source.ask("CLUSTER", "SETSLOT", slot, "MIGRATING", target.node_id)
    while keys := source.ask("CLUSTER", "GETKEYSINSLOT", slot, 10):
        for key in keys:
            source.ask("MIGRATE", "127.0.0.1", target.port, key, 0, 5000)
    mine = target.node_id
    for node in [target, source, *everyone]:
        node.ask("CLUSTER", "SETSLOT", slot, "NODE", mine)


def move_at_once(source: Any, target: Any, slot: int, _everyone: list[Any]) -> None:
    """Reshard as Valkey 9 does: the whole slot in one step."""
    source.ask("CLUSTER", "MIGRATESLOTS", "SLOTSRANGE", slot, slot, "NODE", target.node_id)


@pytest.mark.parametrize("move", [move_key_by_key, move_at_once])
def test_a_slot_moves_while_records_flow(cluster, server_of, traffic_of, wait_until, move) -> None:
    """A shard's slot goes to another node under load: its session follows, nothing changes."""

    async def scenario() -> None:
        server = server_of(cluster.url)
        await server.start()
        try:
            traffic = traffic_of(server)
            await traffic.prepare()
            key = shard_keys(1).log
            source = cluster.owner(key)
            target = next(node for node in cluster.primaries if node is not source)
            async with flowing(traffic):
                await asyncio.to_thread(move, source, target, key_slot(key), cluster.primaries)
                await asyncio.to_thread(
                    wait_until, lambda: cluster.owner(key) is target, "the slot has moved"
                )
                held = target.ask
                before = held("XLEN", key)
                await asyncio.to_thread(
                    wait_until, lambda: held("XLEN", key) > before, "records flow on"
                )
            await traffic.assert_true(cluster.url)
            assert server.health.losses == 0
        finally:
            await server.close()

    asyncio.run(scenario())


def test_a_promoted_replica_goes_on(pairs, server_of, traffic_of, wait_until) -> None:
    """kill -9 of a primary at REPLICATED: its replica takes over, nothing acknowledged is lost."""

    async def scenario() -> None:
        server = server_of(pairs.url, level=AckLevel.REPLICATED, replicas=1)
        await server.start()
        try:
            traffic = traffic_of(server)
            await traffic.prepare()
            key = shard_keys(0).log
            victim = pairs.owner(key)
            async with flowing(traffic):
                promoted = pairs.replica_of(victim)
                victim.kill()
                await asyncio.to_thread(
                    wait_until,
                    lambda: promoted.info("replication")["role"] == "master",
                    "the replica is promoted",
                )
                # It becomes the replica: until then no record of its shards has its level.
                victim.start()
                await asyncio.to_thread(wait_until, lambda: server.health.ready, "ready again")
            await traffic.assert_true(pairs.url)
            assert server.health.losses == 0
        finally:
            await server.close()

    asyncio.run(scenario())


def test_a_lost_tail_is_noticed(pairs, server_of, traffic_of, wait_until, caplog) -> None:
    """A replica that lagged takes over at DURABLE: said so, state rebuilt, a resend counts once."""

    async def scenario() -> None:
        server = server_of(pairs.url)
        await server.start()
        try:
            traffic = traffic_of(server)
            await traffic.prepare()
            kept = traffic.rows(200)
            await traffic.send(kept)
            key = shard_keys(0).log
            primary = pairs.owner(key)
            replica = pairs.replica_of(primary)
            await asyncio.to_thread(
                wait_until, lambda: primary.ask("WAIT", 1, 100) == 1, "the replica is level"
            )
            # What reached its socket it would still read: so its connection goes first.
            replica.signal(signal.SIGSTOP)
            primary.ask("CLIENT", "KILL", "TYPE", "replica")
            tail = traffic.rows(100)
            assert set(await traffic.send(tail)) == {RecordStatus.ACCEPTED}
            primary.signal(signal.SIGSTOP)
            replica.signal(signal.SIGCONT)
            assert replica.ask("CLUSTER", "FAILOVER", "TAKEOVER") == b"OK"
            primary.signal(signal.SIGCONT)
            await asyncio.to_thread(
                wait_until,
                lambda: primary.info("replication")["role"] == "slave",
                "the primary gives up",
            )
            before = await traffic.counted()
            statuses = await traffic.send([*kept, *tail])
            again = dict(zip([*kept, *tail], statuses, strict=True))
            assert {again[row] for row in kept} == {RecordStatus.DUPLICATE}
            lost = [row for row in tail if again[row] is RecordStatus.ACCEPTED]
            assert 0 < len(lost) < len(tail)
            assert sum(before.values()) == len(kept) + len(tail) - len(lost)
            after = await traffic.counted()
            assert sum(after.values()) == len(kept) + len(tail)
            await traffic.assert_folded(pairs.url)
            assert 0 < server.health.losses <= 3
        finally:
            await server.close()

    asyncio.run(scenario())
    assert "the store has lost acknowledged entries" in caplog.text
