"""Price stated usage on a plan; nothing is stored."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

from rating_core.compile import compile_plans
from rating_core.counter import SeriesCounter
from rating_core.pipeline import rate_statement
from rating_core.plan.document import plan_from_document
from rating_core.statement import Statement
from rating_core.usage import counters_from_usage, usage_from_document
from rating_server.usecases.context import Context, PricedPlan


@dataclass(frozen=True, slots=True)
class Quote:
    """A statement of stated usage, with the plan and the counters it was priced from."""

    statement: Statement
    priced: PricedPlan
    counters: list[SeriesCounter]


async def rate_usage(
    context: Context,
    plan: tuple[str, int] | Mapping[str, object],
    usage: Mapping[str, object],
) -> Quote:
    """Price a usage document (S6.5) on a plan: (id, version or 0), or a plan document.

    Raises PlanInvalid, UsageInvalid, OutOfRange, Failure PLAN_NOT_FOUND.
    """
    if isinstance(plan, tuple):
        priced = await context.plan(*plan)
    else:
        # A plan from outside can be large: reading and compiling it would hold the event loop up.
        priced = await asyncio.to_thread(_stated_plan, context, plan)
    return await asyncio.to_thread(_quote, priced, usage)


def _stated_plan(context: Context, document: Mapping[str, object]) -> PricedPlan:
    plan = plan_from_document(document, context.minor_unit, context.store.meters)
    return PricedPlan(plan, 0, compile_plans([plan]))


def _quote(priced: PricedPlan, usage: Mapping[str, object]) -> Quote:
    counters = counters_from_usage(priced.plan, usage_from_document(priced.plan, usage))
    return Quote(rate_statement(priced.plan, counters, priced.compiled), priced, counters)
