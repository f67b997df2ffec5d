"""Price what is counted for a customer as if the period ended with it (S9.4)."""

from __future__ import annotations

from dataclasses import dataclass

from rating_core.metering.calls import CountersAnswer, Subscription
from rating_core.pipeline import rate_statement
from rating_core.statement import Statement
from rating_server.usecases.context import Context, PricedPlan
from rating_server.usecases.get_usage import get_usage


@dataclass(frozen=True, slots=True)
class Preview:
    """A statement with the plan version and the counters that it was priced from (S9.5)."""

    statement: Statement
    subscription: Subscription
    priced: PricedPlan
    counted: CountersAnswer


async def preview_statement(context: Context, customer: str, instant: int | None) -> Preview:
    """Return the statement of the period that holds ``instant`` (µs, None: now).

    Raises the failures of get_usage, and OutOfRange where an amount does not fit (S1.2).
    """
    subscription, counted = await get_usage(context, customer, instant)
    reference = subscription.phase_at(counted.part_start).plan_ref
    priced = await context.plan(reference.plan_id, reference.version)
    statement = rate_statement(priced.plan, counted.counters, priced.compiled)
    return Preview(statement, subscription, priced, counted)
