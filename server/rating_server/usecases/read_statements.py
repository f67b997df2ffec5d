"""Get and list finalised statements: the state knows where each stands, the log holds it (S9.5)."""

from __future__ import annotations

from typing import Any

from rating_core.errors import LogCorrupt
from rating_core.metering.calls import Subscription
from rating_core.metering.contracts.account import FINALIZE_PERIODS, Account, BookedStatement
from rating_core.metering.contracts.bulk_statement import bulk_plan_ref, bulk_statement_facts
from rating_core.metering.contracts.ledger_calls import AccountAnswer, GetAccount
from rating_core.metering.contracts.statement_entry import (
    FinalStatement,
    entry_facts,
    read_final_statement,
)
from rating_core.metering.log.entry import ControlEntry, decode_body, decode_envelope
from rating_server.usecases.context import Context, check_customer, reach
from rating_server.usecases.contract_plans import plans_on_shelf
from rating_server.usecases.failure import Failure
from rating_server.usecases.page import page_of


async def account_of(
    context: Context, customer: str, subscription_id: str
) -> tuple[Subscription, Account]:
    """Return a subscription with its account, by default the one that is active or was last.

    Failure SUBSCRIPTION_NOT_FOUND.
    """
    check_customer(customer)
    question = GetAccount(customer, subscription_id, context.now())
    answer: AccountAnswer = await reach(context.store.ask(context.shard(customer), question))
    if answer.subscription is None or answer.account is None:
        name = f"customers/{customer}"
        name += f"/subscriptions/{subscription_id}" if subscription_id else ""
        raise Failure("SUBSCRIPTION_NOT_FOUND", f"{name} does not exist", name=name)
    return answer.subscription, answer.account


async def get_statement(
    context: Context,
    customer: str,
    subscription_id: str,
    *,
    number: int | None = None,
    period_start: int | None = None,
) -> FinalStatement:
    """Return a finalised statement by its number or its period's start (µs), by default the last.

    Failures SUBSCRIPTION_NOT_FOUND, STATEMENT_NOT_FOUND, HISTORY_TRIMMED.
    """
    subscription, account = await account_of(context, customer, subscription_id)
    found = account.statements[-1:]
    if number is not None:
        found = [one for one in account.statements if one.number == number]
    elif period_start is not None:
        known = account.statement_of(period_start)
        found = [] if known is None else [known]
    if not found:
        name = f"customers/{customer}/subscriptions/{subscription.subscription_id}/statements"
        name += "" if number is None else f"/{number}"
        raise Failure("STATEMENT_NOT_FOUND", f"{name}: no such statement is finalised", name=name)
    return await read_statement(context, customer, found[0].version)


async def statement_entry(context: Context, customer: str, version: int) -> ControlEntry:
    """Return the entry that finalised a statement; Failure HISTORY_TRIMMED."""
    envelope = decode_envelope(
        await reach(context.store.read_entry(context.shard(customer), version))
    )
    entry = decode_body(envelope.body)
    if not isinstance(entry, ControlEntry):
        raise LogCorrupt(f"entry {version} is no statement")
    return entry


async def statement_facts(context: Context, customer: str, version: int) -> dict[str, Any]:
    """Return all that the entry of ``version`` holds of a customer's statement (S9.5)."""
    entry = await statement_entry(context, customer, version)
    if entry.kind != FINALIZE_PERIODS:
        return entry_facts(entry)
    plans = await plans_on_shelf(context, [bulk_plan_ref(entry)])
    return bulk_statement_facts(entry, customer, plans.__getitem__)


async def read_statement(context: Context, customer: str, version: int) -> FinalStatement:
    """Return the statement that the entry of ``version`` finalised."""
    return read_final_statement(await statement_facts(context, customer, version))


async def list_statements(
    context: Context, customer: str, subscription_id: str, page_size: int, page_token: str
) -> tuple[Subscription, list[BookedStatement], str]:
    """Return a page of what is booked for a subscription's statements, by number."""
    subscription, account = await account_of(context, customer, subscription_id)
    scope = ("statements", customer, subscription.subscription_id)
    page, token = page_of(account.statements, _key, page_size, page_token, scope)
    return subscription, page, token


def _key(statement: BookedStatement) -> str:
    return f"{statement.number:020d}"
