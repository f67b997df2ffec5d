"""`ratewright verify` on damaged stores: each damage is named exactly, with exit status 1."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from rating_core.catalog import BillingPeriod
from rating_core.metering.batch import RecordStatus, shard_of
from rating_core.metering.calls import CreateSubscription, RecordAnswer, RecordCall
from rating_core.metering.catalogue_calls import CreateMeter
from rating_core.metering.deciding.record import UsageRecord, batch_of
from rating_core.metering.log.entry import decode_envelope, encode_envelope
from rating_core.metering.log.protocol import chain_token
from rating_server.cli.entry import run
from rating_server.ports import Window
from rating_server.store.keys import shard_keys
from rating_server.store.usage_store import RedisUsageStore, UsageStoreOptions

MARCH = 1_772_323_200_000_000
"""2026-03-01T00:00:00Z in µs."""
KEYS = shard_keys(0)


@pytest.fixture
def counted(store):
    """A store of one shard with three entries of records, folded; the server has ended."""

    async def fill() -> None:
        server = RedisUsageStore(UsageStoreOptions(url=store.url, shards=1, window=Window(None)))
        await server.start()
        try:
            document = {"id": "tokens", "aggregation": "sum", "scale": "0", "dimensions": []}
            await server.catalogue_call(CreateMeter(document=document))
            call = CreateSubscription(
                customer="acme",
                subscription_id="s",
                plan_id="p",
                plan_version=1,
                billing_period=BillingPeriod.MONTH,
                start_time=MARCH,
            )
            await server.submit(shard_of("acme", 1), call)
            for entry in range(3):
                rows = [
                    UsageRecord(
                        customer="acme",
                        meter="tokens",
                        event_id=f"{entry}-{number}",
                        quantity=number,
                        event_time=MARCH + number,
                    )
                    for number in range(5)
                ]
                answer = await server.submit(0, RecordCall(batch_of(rows)))
                assert isinstance(answer, RecordAnswer)
                assert set(answer.status.tolist()) == {RecordStatus.ACCEPTED}
            await asyncio.to_thread(until_folded, store)
        finally:
            await server.close()

    asyncio.run(fill())
    return store


def head(store) -> int:
    """Return the version of the head."""
    return int(store.ask("HGET", KEYS.head, "v"))


def until_folded(store) -> None:
    """Wait until every hash reflects the whole log (P8)."""
    expires = time.monotonic() + 20
    while int(store.ask("HGET", KEYS.fold, "mark") or 0) < head(store):
        assert time.monotonic() < expires
        time.sleep(0.05)


def entries(store) -> list[dict[bytes, bytes]]:
    """Return the fields of all entries, in order."""
    raw = store.ask("XRANGE", KEYS.log, "-", "+")
    return [dict(zip(fields[0::2], fields[1::2], strict=True)) for _, fields in raw]


def write_log(store, log: list[dict[bytes, bytes]]) -> None:
    """Replace the log by these entries."""
    store.ask("DEL", KEYS.log)
    for version, fields in enumerate(log, 1):
        flat = [item for pair in fields.items() for item in pair]
        store.ask("XADD", KEYS.log, f"{version}-0", *flat)


def counter(store) -> str:
    key, *_ = store.ask("KEYS", KEYS.counter_pattern)
    names = store.ask("HKEYS", key)
    name = next(name for name in names if b"value" in name)
    store.ask("HINCRBY", key, name, "7")
    return "37 stored, 30 by the log"


def body(store) -> str:
    log = entries(store)
    damaged = bytearray(log[-2][b"e"])
    damaged[-1] ^= 1
    log[-2][b"e"] = bytes(damaged)
    write_log(store, log)
    return f"entry {len(log) - 1}: its bytes are not those of its token"


def token(store) -> str:
    log = entries(store)
    log[-1][b"t"] = bytes(16)
    write_log(store, log)
    return f"entry {len(log)}: its bytes are not those of its token"


def missing(store) -> str:
    last = head(store)
    store.ask("XDEL", KEYS.log, f"{last - 1}-0")
    return f"entry {last} does not continue the log at {last - 2}"


def counted_twice(store) -> str:
    """The last entry once more, chained as a faulty server would."""
    log = entries(store)
    last = log[-1]
    envelope = decode_envelope(last[b"e"])
    again = encode_envelope(envelope.boot, envelope.counter + 1, envelope.now, envelope.body)
    fields = {b"p": last[b"t"], b"t": chain_token(last[b"t"], again), b"e": again}
    write_log(store, [*log, fields])
    store.ask("HSET", KEYS.head, "v", str(len(log) + 1), "t", fields[b"t"])
    return f"entry {len(log) + 1}: counts 5 records whose ids were counted before"


@pytest.mark.parametrize("damage", [counter, body, token, missing, counted_twice])
def test_damage_is_named(
    counted, capsys: pytest.CaptureFixture[str], damage: Callable[..., str], tmp_path: Path
) -> None:
    """A whole store verifies; a changed counter, entry, token, a gap, a double count do not."""
    assert run(["verify", "--redis-url", counted.url]) == 0
    assert "15" in capsys.readouterr().out
    words = damage(counted)
    assert run(["verify", "--redis-url", counted.url]) == 1
    printed = capsys.readouterr().err
    assert printed.startswith("ratewright: shard 0: ")
    assert words in printed
