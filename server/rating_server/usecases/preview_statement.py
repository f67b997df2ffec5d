"""Price what is counted for a customer as if the period ended with it (S9.4)."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

from rating_core.contract.rate import rate_contract
from rating_core.metering.contracts.ledger_calls import ContractAnswer, GetContract
from rating_core.metering.deciding.decide import FUTURE_US
from rating_core.metering.deciding.records_entry import EntryMeter
from rating_core.period import INSTANT_MAX
from rating_core.statement import Statement
from rating_server.ports import Until
from rating_server.usecases.context import Context, check_customer, reach
from rating_server.usecases.contract_plans import ask_contract, plan_on_shelf
from rating_server.usecases.failure import Failure, invalid
from rating_server.usecases.read_statements import read_statement


@dataclass(frozen=True, slots=True)
class Preview:
    """What to preview: the period that holds ``instant`` (µs) as of ``as_of``; None is now.

    ``subscription_id`` is empty for the subscription that holds the instant. ``correction``: what
    came after the subscription's last period was finalised (S9.3).
    """

    customer: str
    instant: int | None = None
    as_of: int | None = None
    subscription_id: str = ""
    correction: bool = False


@dataclass(frozen=True, slots=True)
class Previewed:
    """A statement and what it was priced from (S9.5).

    ``version``: of the log that was read. ``number`` and ``time`` are those of the entry if the
    period is finalised, otherwise ``None``.
    """

    statement: Statement
    subscription_id: str
    start: int
    end: int
    meters: Mapping[str, EntryMeter]
    version: int
    number: int | None = None
    time: int | None = None


async def preview_statement(context: Context, preview: Preview) -> Previewed:
    """Return the statement of a period; of a finalised one as it was finalised.

    Failures SUBSCRIPTION_NOT_FOUND, HISTORY_TRIMMED (``as_of`` lies before what log and archive
    hold), OUT_OF_RANGE where an amount does not fit (S1.2). InvalidRequest for an ``as_of`` that
    is still to come, by more than clocks may differ (S7.3): what will be counted is not known.
    """
    check_customer(preview.customer)
    now = context.now()
    if preview.as_of is not None and preview.as_of > now + FUTURE_US:
        raise invalid("as_of_time", "IN_FUTURE", "expected an instant that is not in the future")
    as_of = now if preview.as_of is None else min(preview.as_of, now)
    instant = as_of if preview.instant is None else preview.instant
    question = GetContract(
        preview.customer, preview.subscription_id, instant, as_of, preview.correction
    )
    if preview.as_of is None or preview.as_of >= now:
        answer = await ask_contract(context, question)
    else:
        answer = await _ask_past(context, question)
    if answer.subscription is None:
        text = f"customer {preview.customer} has no subscription at that instant"
        raise Failure("SUBSCRIPTION_NOT_FOUND", text, customer=preview.customer)
    if answer.statement is not None:
        final = await read_statement(context, preview.customer, answer.statement.version)
        return Previewed(
            final.statement,
            final.subscription_id,
            final.start,
            final.end,
            final.meters,
            final.version,
            final.number,
            final.time,
        )
    if answer.end > INSTANT_MAX:
        raise invalid("time", "OUT_OF_RANGE", "its billing period ends beyond year 9999")
    if answer.usage is None:
        raise Failure("NOTHING_TO_CORRECT", "nothing came after the last period was finalised")
    rated = await asyncio.to_thread(rate_contract, answer.usage)
    if not rated:
        raise Failure("NOTHING_TO_CORRECT", "what came after the last period changes no amount")
    return Previewed(
        rated[-1].statement,
        answer.subscription.subscription_id,
        answer.start,
        answer.end,
        answer.meters,
        answer.version,
    )


async def _ask_past(context: Context, question: GetContract) -> ContractAnswer:
    shard = context.shard(question.customer)
    until = Until(instant=question.now)
    while True:
        answer: ContractAnswer = await reach(
            context.store.ask_past(shard, question.customer, question, until)
        )
        if answer.missing is None:
            return answer
        await plan_on_shelf(context, answer.missing)
