"""Finalise the statements of all customers that are due (S9.2)."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field

from rating_core.contract.facts import from_facts
from rating_core.contract.usage import PlanRef
from rating_core.metering.calls import ControlAnswer
from rating_core.metering.contracts.ledger_calls import FinalizePeriod, FinalizePeriods
from rating_core.units import INT64_MAX
from rating_server.usecases.context import Context, reach
from rating_server.usecases.contract_plans import plan_on_shelf, submit_contract_call
from rating_server.usecases.failure import Failure

CHUNK = 2_000
"""Customers that one entry finalises at most."""
SHARDS_AT_ONCE = 4
"""Shards whose entries are under way: while one waits for the store, another is decided."""


@dataclass(frozen=True, slots=True)
class FinalizedChunk:
    """Statements that were finalised together, in columns; amounts in units of 10^-``scale``.

    ``failures``: customer, subscription id, reason and message of what could not be finalised.
    """

    customers: Sequence[str] = ()
    subscription_ids: Sequence[str] = ()
    numbers: Sequence[int] = ()
    starts: Sequence[int] = ()
    ends: Sequence[int] = ()
    totals: Sequence[int] = ()
    amounts_due: Sequence[int] = ()
    scale: int = 0
    currency: str = ""
    failures: Sequence[tuple[str, str, str, str]] = field(default_factory=tuple)


async def finalize_statements(
    context: Context, until: int | None, plan_id: str
) -> AsyncIterator[FinalizedChunk]:
    """Finalise what is due up to ``until`` (µs, None: now), chunk by chunk, oldest period first.

    ``plan_id``: only of customers on this plan, empty for all. What was finalised when the caller
    stops stays so. Chunks of different shards come in no order.
    """
    limit = INT64_MAX if until is None else until
    waiting = deque(
        _finalize_shard(context, shard, limit, plan_id)
        for shard in range(context.store.shard_count)
    )
    under_way: dict[asyncio.Task[FinalizedChunk | None], AsyncIterator[FinalizedChunk]] = {}
    try:
        while waiting or under_way:
            while waiting and len(under_way) < SHARDS_AT_ONCE:
                shard_chunks = waiting.popleft()
                under_way[asyncio.create_task(_next(shard_chunks))] = shard_chunks
            done, _ = await asyncio.wait(under_way, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                chunk = task.result()
                shard_chunks = under_way.pop(task)
                if chunk is not None:
                    waiting.appendleft(shard_chunks)
                    yield chunk
    finally:
        for task in under_way:
            task.cancel()
        await asyncio.gather(*under_way, return_exceptions=True)


async def _next(chunks: AsyncIterator[FinalizedChunk]) -> FinalizedChunk | None:
    return await anext(chunks, None)


async def _finalize_shard(
    context: Context, shard: int, limit: int, plan_id: str
) -> AsyncIterator[FinalizedChunk]:
    cursor, more = 0, True
    failed: set[tuple[str, str]] = set()
    while more:
        call = FinalizePeriods(cursor=cursor, limit=CHUNK, until=limit, plan_id=plan_id)
        answer: ControlAnswer = await reach(context.store.submit(shard, call))
        if answer.reason == "PLAN_NOT_LOADED":
            await plan_on_shelf(context, from_facts(PlanRef, answer.value))
            continue
        value = answer.value
        if value["customers"]:
            yield _chunk(answer)
            continue
        left = [one for one in value["single"] if one[:2] not in failed]
        for customer, subscription_id, start in left:
            chunk = await _single(context, customer, subscription_id, start)
            failed |= {(name, one) for name, one, _, _ in chunk.failures}
            yield chunk
        if not left:
            cursor, more = value["cursor"], value["more"]


def _chunk(answer: ControlAnswer) -> FinalizedChunk:
    value = answer.value
    count = len(value["customers"])
    totals = value["totals"].tolist()
    return FinalizedChunk(
        customers=value["customers"],
        subscription_ids=[value["subscription_id"]] * count,
        numbers=value["numbers"].tolist(),
        starts=value["starts"].tolist(),
        ends=[value["end"]] * count,
        totals=totals,
        amounts_due=totals,
        scale=value["scale"],
        currency=value["currency"],
    )


async def _single(
    context: Context, customer: str, subscription_id: str, start: int
) -> FinalizedChunk:
    """Finalise one statement by itself."""
    call = FinalizePeriod(customer=customer, subscription_id=subscription_id, period_start=start)
    try:
        answer = await submit_contract_call(context, call)
    except Failure as failure:
        fault = customer, subscription_id, failure.reason, failure.message
        return FinalizedChunk(failures=[fault])
    value = answer.value
    if answer.replayed:
        # Another server, or call, was faster: its answer tells of the statement.
        return FinalizedChunk()
    statement = value["statement"]
    paid = sum(line["amount"] for line in statement["credit_lines"])
    return FinalizedChunk(
        customers=[customer],
        subscription_ids=[subscription_id],
        numbers=[value["number"]],
        starts=[value["period_start"]],
        ends=[value["period_end"]],
        totals=[value["total"]],
        amounts_due=[value["total"] + paid],
        scale=value["scale"],
        currency=statement["currency"],
    )
