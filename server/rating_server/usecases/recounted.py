"""Change a subscription at an instant before records that are counted already (S8.6).

The shard says that it needs them counted anew; the customer's records are read from the log and
counted into the parts that the change makes; the call carries the result. Records that came
meanwhile are read too, and it is tried again: the shard takes only what is up to date.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from rating_core.instant import format_instant
from rating_core.metering.calls import Control, ControlAnswer, GetSubscriptions, RecountedParts
from rating_core.metering.contracts.parts import periods_from
from rating_core.metering.contracts.recount_reading import RecountReading
from rating_core.metering.contracts.subscription import Contract, subscription_from_facts
from rating_core.metering.deciding.decide import FUTURE_US
from rating_core.zone import ZoneTable
from rating_server.background import fold_in_thread
from rating_server.ports import LogTrimmed, PastRange, StoreError
from rating_server.usecases.context import Context, failure_of_store, reach
from rating_server.usecases.contract_plans import submit_with_plans
from rating_server.usecases.failure import Failure

_ATTEMPTS = 64
CallOf = Callable[[int | None, RecountedParts | None], Control]
"""Makes the call, of its instant, once known, and the records counted anew."""


async def recounted(
    context: Context, customer: str, call_of: CallOf, zone: ZoneTable | None = None
) -> ControlAnswer:
    """Submit a change, with the plans that it needs, and the records counted anew if it must.

    ``zone``: the table that the change brings. Failure LOG_TRIMMED, with the earliest instant,
    where the log no longer holds the records; CUSTOMER_BUSY where they or the contract change too
    fast.
    """
    shard = context.shard(customer)
    answer = await submit_with_plans(context, shard, call_of(None, None))
    reading: RecountReading | None = None
    for _ in range(_ATTEMPTS):
        if answer.reason != "RECOUNT_NEEDED":
            return answer
        instant, since = answer.value["instant"], answer.value["since"]
        if reading is None or not reading.goes_on(answer.value):
            reading = RecountReading(answer.value, await _contract(context, customer, answer, zone))
        await _read(context, shard, reading, since - FUTURE_US)
        recount = await asyncio.to_thread(reading.parts)
        if recount is None:
            # P5: the log that was read is not the one that the shard stood on.
            reading = None
        answer = await submit_with_plans(context, shard, call_of(instant, recount))
    text = f"customer {customer} changes faster than its records can be counted anew"
    raise Failure("CUSTOMER_BUSY", text, customer=customer)


async def _contract(
    context: Context, customer: str, answer: ControlAnswer, zone: ZoneTable | None
) -> Contract:
    """Return the customer's subscriptions after the change, with the tables of their zones."""
    question = GetSubscriptions(customer)
    standing = await reach(context.store.ask(context.shard(customer), question))
    tables = [zone, *(one.zone for one in standing)]
    zones = {table.digest: table for table in tables if table is not None}
    return tuple(subscription_from_facts(facts, zones) for facts in answer.value["contract"])


async def _read(context: Context, shard: int, reading: RecountReading, since: int) -> None:
    """Read on up to where the shard stood, or to where the log leads elsewhere."""
    try:
        part = PastRange(reading.version, reading.until, since)
        await fold_in_thread(context.store.entries(shard, part), reading.take)
    except LogTrimmed as error:
        # The first period all of whose records the log still holds.
        known = error.earliest + FUTURE_US
        periods = (p for one in reading.contract for p in periods_from(one, known, known + 1))
        earliest = format_instant(max((period.end for period in periods), default=known))
        text = f"the log no longer holds the records before; the earliest instant is {earliest}"
        raise Failure("LOG_TRIMMED", text, earliest_time=earliest) from error
    except StoreError as error:
        raise failure_of_store(error) from error
