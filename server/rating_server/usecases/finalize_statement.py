"""Finalise the statement of one billing period (S9.2)."""

from __future__ import annotations

from rating_core.metering.contracts.ledger_calls import FinalizePeriod
from rating_core.metering.contracts.statement_entry import FinalStatement, read_final_statement
from rating_server.usecases.context import Context, check_customer
from rating_server.usecases.contract_plans import submit_contract_call
from rating_server.usecases.read_statements import read_statement


async def finalize_statement(
    context: Context,
    customer: str,
    subscription_id: str,
    period_start: int | None,
    *,
    correction: bool,
) -> tuple[FinalStatement, bool]:
    """Finalise; return the statement, and whether an earlier call had done it.

    ``period_start`` in µs, None for the period that ended last. Failures: the reasons of
    `FinalizePeriod`; HISTORY_TRIMMED where an earlier statement can no longer be read.
    """
    check_customer(customer)
    answer = await submit_contract_call(
        context,
        FinalizePeriod(
            customer=customer,
            subscription_id=subscription_id,
            period_start=period_start,
            correction=correction,
        ),
    )
    if answer.replayed:
        return await read_statement(context, customer, answer.value["version"]), True
    return read_final_statement(answer.value), False
