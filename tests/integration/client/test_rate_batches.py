"""`rate_batches` of both clients against the real server."""

from __future__ import annotations

import asyncio
import time
from array import array
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from decimal import Decimal

import numpy as np
import pytest

from rating_client import (
    AsyncClient,
    Client,
    InvalidArgument,
    NotFound,
    RateBatch,
    RatedBatch,
    RatewrightError,
    Unavailable,
)
from rating_server.cli.demo_server import running_server

PLAN = {
    "id": "bulk-api",
    "currency": "USD",
    "billing_period": "month",
    "meters": [{"id": "bulk-calls", "aggregation": "sum", "scale": "1"}],
    "charges": [
        {"id": "base", "model": "flat_fee", "amount": "49"},
        {
            "id": "calls",
            "meter": "bulk-calls",
            "model": "graduated",
            "tiers": [{"up_to": "1000", "unit_price": "0.013"}, {"unit_price": "0.005"}],
        },
    ],
}
Rate = Callable[[Iterable[RateBatch]], Iterator[RatedBatch]]


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The target of a server."""
    with running_server(tmp_path_factory.mktemp("server")) as address:
        yield address


@pytest.fixture(params=["sync", "async", "async iterator"])
def rate(request: pytest.FixtureRequest, target: str) -> Rate:
    """A function that rates batches with one of the clients and yields the answers."""

    def synchronous(batches: Iterable[RateBatch]) -> Iterator[RatedBatch]:
        with Client(target) as client:
            yield from client.rate_batches(batches, timeout=60)

    async def feed(batches: Iterable[RateBatch]) -> AsyncIterator[RateBatch]:
        for batch in batches:
            await asyncio.sleep(0)
            yield batch

    def asynchronous(batches: Iterable[RateBatch]) -> Iterator[RatedBatch]:
        answers: list[RatedBatch] = []
        source = feed(batches) if request.param == "async iterator" else batches

        async def run() -> None:
            async with AsyncClient(target) as client:
                async for answer in client.rate_batches(source, timeout=60):
                    answers.append(answer)  # noqa: PERF401 - those before an error count too

        error: Exception | None = None
        try:
            asyncio.run(run())
        except Exception as failed:  # noqa: BLE001 - raised again after the answers
            error = failed
        yield from answers
        if error is not None:
            raise error

    return synchronous if request.param == "sync" else asynchronous


def columns(kind: type, first: int, count: int) -> object:
    """A column of rising quantities as a list, an array or a NumPy array."""
    values = range(first, first + count)
    if kind is list:
        return list(values)
    return array("q", values) if kind is array else np.array(values)


@pytest.mark.parametrize("kind", [list, array, np.ndarray])
def test_batches_come_back_in_order(rate: Rate, kind: type) -> None:
    """Every row of twelve batches costs what the plan says; columns are of the caller's kind."""
    batches = (
        RateBatch(quantities=[columns(kind, n * 1000, 900)], plans=[] if n else [PLAN])
        for n in range(12)
    )
    answers = list(rate(batches))
    assert len(answers) == 12
    for number, answer in enumerate(answers):
        (plan,) = answer.plans
        assert (plan.charges, plan.scale, plan.meters) == (
            ("base", "calls"),
            2,
            (("bulk-calls", 1),),
        )
        assert isinstance(answer.totals, np.ndarray if kind is np.ndarray else memoryview)
        for row in (0, 450, 899):
            units = Decimal(number * 1000 + row) / 10
            price = min(units, 1000) * Decimal("0.013") + max(units - 1000, 0) * Decimal("0.005")
            cents = int((price * 100).quantize(Decimal(1), "ROUND_HALF_UP"))
            assert answer.charges[0][row] == 4900
            assert answer.charges[1][row] == cents
            assert answer.totals[row] == 4900 + cents


def test_stored_plans_and_an_index(rate: Rate, target: str) -> None:
    """Plans of the catalogue by id and version, rows spread over them by an index."""
    with Client(target) as client:
        client.create_plan(PLAN, request_id="once")
    index = array("I", [0, 1, 1])
    batch = RateBatch(
        quantities=[array("q", [10, 10, 20])],
        plans=["bulk-api", "plans/bulk-api/versions/1"],
        plan_index=index,
    )
    (answer,) = rate([batch])
    assert [plan.version for plan in answer.plans] == [1, 1]
    assert answer.totals.tolist() == [4901, 4901, 4903]


def test_errors_come_after_the_answers_before_them(rate: Rate) -> None:
    """The server's error names its batch; the answers to the batches before it are not lost."""
    good = RateBatch(quantities=[[1]], plans=[PLAN])
    bad = RateBatch(quantities=[[1], [2]])
    answers = rate([good, good, bad, good])
    assert next(answers).row_count == next(answers).row_count == 1
    with pytest.raises(InvalidArgument) as caught:
        next(answers)
    assert caught.value.reason == "BATCH_INVALID"
    assert caught.value.metadata["batch_number"] == "2"
    assert [fault.path for fault in caught.value.field_violations] == ["quantities"]
    with pytest.raises(NotFound):
        list(rate([RateBatch(quantities=[[1]], plans=["nowhere"])]))


def test_the_servers_reason_outlives_a_write_that_meets_the_end(target: str) -> None:
    """Streams that end while batches are written end with the server's error, not gRPC's own."""
    good = RateBatch(quantities=[[1]], plans=[PLAN])
    bad = RateBatch(quantities=[[1], [2]])

    async def run() -> set[str]:
        reasons = set()
        for number in range(100):

            async def feed(pause: float = 0.0003 * (number % 7)) -> AsyncIterator[RateBatch]:
                for batch in [good, good, bad, *[good] * 20]:
                    await asyncio.sleep(pause)
                    yield batch

            async with AsyncClient(target) as client:
                with pytest.raises(RatewrightError) as caught:
                    async for _ in client.rate_batches(feed(), timeout=60):
                        pass
            reasons.add(f"{type(caught.value).__name__} {caught.value.reason}")
        return reasons

    assert asyncio.run(run()) == {"InvalidArgument BATCH_INVALID"}


def test_the_callers_own_error_comes_through(rate: Rate) -> None:
    """What the iterator of batches raises, or a batch that cannot be sent, is raised as it is."""

    def batches() -> Iterator[RateBatch]:
        yield RateBatch(quantities=[[1]], plans=[PLAN])
        raise KeyError("the caller's")

    answers = rate(batches())
    assert next(answers).row_count == 1
    with pytest.raises(KeyError, match="the caller's"):
        next(answers)
    answers = rate([RateBatch(quantities=[[1]], plans=[PLAN]), RateBatch(quantities=[[1.5]])])
    assert next(answers).row_count == 1
    with pytest.raises(TypeError, match=r"quantities\[0\]"):
        next(answers)
    assert list(rate([])) == []


def test_an_endless_iterator_is_read_no_faster_than_answers_are_taken(target: str) -> None:
    """Where nobody takes answers, the iterator is soon left alone; closing ends the stream."""
    made = 0

    def endless() -> Iterator[RateBatch]:
        nonlocal made
        column = np.arange(100_000)
        while True:
            made += 1
            yield RateBatch(quantities=[column], plans=[PLAN] if made == 1 else [])

    with Client(target) as client:
        answers = client.rate_batches(endless())
        assert next(answers).row_count == 100_000
        before, expires = 0, time.monotonic() + 60
        while made != before and time.monotonic() < expires:
            before = made
            time.sleep(1)
        assert made == before < 300  # what the buffers of both ends and of TCP hold
        assert next(answers).row_count == 100_000
        answers.close()


def test_no_server_is_unavailable(free_port: int) -> None:
    """Where nothing listens, the stream says so with the typed error."""
    with Client(f"127.0.0.1:{free_port}") as client, pytest.raises(Unavailable):
        list(client.rate_batches([RateBatch(quantities=[[1]], plans=[PLAN])], timeout=20))
