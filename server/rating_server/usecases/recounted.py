"""Change a subscription at an instant before records that are counted already (S8.6).

The shard says that it needs them counted anew; the customer's records are read from the log and
counted into the parts that the change makes; the call carries the result. Records that came
meanwhile are read too, and it is tried again: the shard takes only what is up to date.
"""

from __future__ import annotations

from collections.abc import Callable

from rating_core.instant import format_instant
from rating_core.metering.calls import Control, ControlAnswer, GetSubscriptions, RecountedParts
from rating_core.metering.decide import FUTURE_US
from rating_core.metering.entry import decode_body
from rating_core.metering.parts import periods_from
from rating_core.metering.records_entry import RecordsEntry
from rating_core.metering.recount import Recount
from rating_core.metering.subscription import Contract, subscription_from_facts
from rating_core.zone import ZoneTable
from rating_server.ports import LogTrimmed
from rating_server.usecases.context import Context, reach
from rating_server.usecases.failure import Failure

_ATTEMPTS = 64
CallOf = Callable[[int | None, RecountedParts | None], Control]
"""Makes the call, of its instant, once known, and the records counted anew."""


async def recounted(
    context: Context, customer: str, call_of: CallOf, zone: ZoneTable | None = None
) -> ControlAnswer:
    """Submit a change, with the customer's records counted anew if it needs them.

    ``zone``: the table that the change brings. Failure LOG_TRIMMED, with the earliest instant,
    where the log no longer holds the records; CUSTOMER_BUSY where they come too fast.
    """
    shard = context.shard(customer)
    answer: ControlAnswer = await reach(context.store.submit(shard, call_of(None, None)))
    fold: Recount | None = None
    wanted: object = None
    for _ in range(_ATTEMPTS):
        if answer.reason != "RECOUNT_NEEDED":
            return answer
        instant, since = answer.value["instant"], answer.value["since"]
        if fold is None or wanted != answer.value:
            wanted = answer.value
            contract = await _contract(context, customer, answer, zone)
            fold = Recount(contract, since)
        await _read(context, shard, fold, since - FUTURE_US, contract)
        answer = await reach(context.store.submit(shard, call_of(instant, fold.parts())))
    text = f"records of customer {customer} come faster than they can be counted anew"
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


async def _read(
    context: Context, shard: int, fold: Recount, since: int, contract: Contract
) -> None:
    try:
        async for past in context.store.entries(shard, fold.version, since):
            entry = decode_body(past.body)
            if isinstance(entry, RecordsEntry):
                fold.add(entry, past.version)
            fold.passed(past.version)
    except LogTrimmed as error:
        # The first period all of whose records the log still holds.
        known = error.earliest + FUTURE_US
        periods = (p for one in contract for p in periods_from(one, known, known + 1))
        earliest = format_instant(max((period.end for period in periods), default=known))
        text = f"the log no longer holds the records before; the earliest instant is {earliest}"
        raise Failure("LOG_TRIMMED", text, earliest_time=earliest) from error
