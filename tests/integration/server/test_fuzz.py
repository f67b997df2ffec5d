"""Requests that no client would send: nothing crashes, and every fault has its name."""

from __future__ import annotations

import random
from collections import Counter, deque
from collections.abc import Callable

import grpc
import pytest
from google.protobuf.message import DecodeError, Message
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from ratewright.v1 import usage_service_pb2 as usage

COUNT = 10_000
SEED = 20261122
JANUARY_US = 1_767_225_600_000_000
AT_ONCE = 64
EXTREMES = (-(2**63), 2**63 - 1, -1, 0, 1, 253_402_300_800_000_000)
PATHS: dict[str, type[Message]] = {
    # A stream of one request and one answer looks, on the wire, like a unary call.
    "/ratewright.v1.UsageService/IngestUsage": usage.IngestUsageRequest,
    "/ratewright.v1.UsageService/RecordUsage": usage.RecordUsageRequest,
}


def _batch(rng: random.Random) -> usage.IngestUsageRequest:
    rows = rng.randrange(1, 6)
    ids = [f"{rng.getrandbits(48):x}" for _ in range(rows)]
    return usage.IngestUsageRequest(
        batch_number=rng.randrange(9),
        batch=usage.UsageBatch(
            customers=["fuzz-customer", "größe"],
            customer_index=[rng.randrange(2) for _ in ids],
            meters=[usage.BatchMeter(meter="fuzz-tokens")],
            dimension_sets=[usage.DimensionSet(dimensions={"model": "x"})],
            event_ids="".join(ids).encode(),
            event_id_lengths=[len(each) for each in ids],
            quantities=[rng.randrange(100) for _ in ids],
            event_times_micros=[JANUARY_US for _ in ids],
        ),
    )


def _records(rng: random.Random) -> usage.RecordUsageRequest:
    record = usage.UsageRecord(
        event_id=f"{rng.getrandbits(48):x}", customer="fuzz-customer", meter="fuzz-tokens"
    )
    record.event_time.FromMicroseconds(JANUARY_US)
    record.quantity = rng.choice(["1", "-1", "1e9", "0." + "1" * 40, "9" * 400, "NaN", "1_0", "١"])
    record.event_time.seconds = rng.choice([0, 1_767_225_600, 2**62, -(2**62)])
    record.event_time.nanos = rng.choice([0, -1, 2**31 - 1])
    return usage.RecordUsageRequest(records=[record] * rng.randrange(4))


def _twisted(rng: random.Random, batch: usage.UsageBatch) -> None:
    """Make one column wrong: its length, an index, a number, a text."""
    columns = (batch.quantities, batch.event_times_micros, batch.event_id_lengths)
    match rng.randrange(8):
        case 0:
            del rng.choice(columns)[rng.randrange(2) :]
        case 1:
            rng.choice(columns).append(rng.choice((0, 1, 2**31 - 1)))
        case 2:
            batch.customer_index[:] = [rng.choice((0, 2, 2**32 - 1)) for _ in batch.quantities]
        case 3:
            batch.quantities[0] = rng.choice(EXTREMES)
            batch.event_times_micros[0] = rng.choice(EXTREMES)
        case 4:
            batch.customers[0] = "x" * rng.choice((129, 50_000)) + "\x00/"
        case 5:
            batch.dimension_sets[0].dimensions["model"] = "y" * rng.choice((256, 50_000))
        case 6:
            batch.event_ids = rng.randbytes(len(batch.event_ids))
        case _:
            batch.event_id_lengths[0] = rng.choice((-1, -(2**31), 2**31 - 1))
            batch.meters[0].scale = rng.choice((-1, 13, 2**31 - 1))


def _damaged(rng: random.Random, data: bytes) -> bytes:
    """Cut bytes off, change some, or put something in between."""
    if not data:
        return b"\xff"
    place = rng.randrange(len(data))
    match rng.randrange(3):
        case 0:
            return data[:place]
        case 1:
            changed = bytearray(data)
            for _ in range(rng.randrange(1, 4)):
                changed[rng.randrange(len(data))] = rng.randrange(256)
            return bytes(changed)
        case _:
            return data[:place] + rng.randbytes(rng.randrange(1, 9)) + data[place:]


def _fuzzed(rng: random.Random) -> tuple[str, bytes]:
    path = rng.choice(list(PATHS))
    kind = rng.randrange(4)
    if kind == 0:
        return path, rng.randbytes(rng.randrange(60))
    if PATHS[path] is usage.RecordUsageRequest:
        data = _records(rng).SerializeToString()
        return path, data if kind == 1 else _damaged(rng, data)
    request = _batch(rng)
    if kind < 3:
        _twisted(rng, request.batch)
    data = request.SerializeToString()
    return path, data if kind < 3 else _damaged(rng, data)


def _parses(path: str, data: bytes) -> bool:
    try:
        PATHS[path].FromString(data)
    except DecodeError:
        return False
    return True


def _fields(error: grpc.RpcError) -> list[str]:
    """The fields that an error's BadRequest names."""
    fields: list[str] = []
    for detail in rpc_status.from_call(error).details:
        found = error_details_pb2.BadRequest()
        if detail.Unpack(found):
            fields += [violation.field for violation in found.field_violations]
    return fields


@pytest.fixture
def call(server) -> Callable[[str, bytes], grpc.Future]:
    """A function that sends raw bytes to a method, without waiting."""
    channel = server.connect()
    methods = {path: channel.unary_unary(path) for path in PATHS}
    return lambda path, data: methods[path].future(data, timeout=60)


def test_fuzzed_requests_crash_nothing(server, road, call):
    """10,000 seeded requests: answered, or INVALID_ARGUMENT with the field where bytes parse."""
    road.subscribe(server, "fuzz", "fuzz-customer")
    rng = random.Random(SEED)
    seen: Counter[str] = Counter()
    waiting: deque[tuple[str, bytes, grpc.Future]] = deque()

    def settle() -> None:
        path, data, future = waiting.popleft()
        error = future.exception()
        if error is None:
            seen["answered"] += 1
            return
        assert error.code() is grpc.StatusCode.INVALID_ARGUMENT, (data, error)
        seen["refused"] += 1
        if _parses(path, data):
            fields = _fields(error)
            assert fields, (data, error)
            assert all(fields), (data, error)
            seen["named"] += 1

    for _ in range(COUNT):
        path, data = _fuzzed(rng)
        waiting.append((path, data, call(path, data)))
        if len(waiting) >= AT_ONCE:
            settle()
    while waiting:
        settle()
    assert min(seen["answered"], seen["refused"], seen["named"]) > COUNT // 20, seen
    good = _batch(random.Random(1)).SerializeToString()
    answer = usage.IngestUsageResponse.FromString(call(next(iter(PATHS)), good).result())
    assert answer.retry_count == 0
    assert server.process.poll() is None
    assert "internal error" not in server.log.read_text()
