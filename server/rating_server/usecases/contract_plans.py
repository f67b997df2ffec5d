"""Calls about contracts, with the plans that they need.

A shard decides without waiting, on the plans at hand (`PlanShelf`). Where one is missing it refuses
and names it; the use case puts it on the shelf and asks again. So the shelf may forget any plan.
"""

from __future__ import annotations

from rating_core.catalog import Plan
from rating_core.contract.facts import from_facts
from rating_core.contract.usage import PlanRef
from rating_core.instant import format_instant
from rating_core.metering.calls import Control, ControlAnswer
from rating_core.metering.contracts.ledger_calls import ContractAnswer, GetContract, LedgerCall
from rating_server.usecases.context import Context, reach
from rating_server.usecases.control import answered
from rating_server.usecases.failure import Failure

_INSTANTS = ("next", "earliest")
"""What of a refusal is an instant, µs."""
_TRIES = 1_000
"""More plans than one contract has: a shelf that forgot them at once would ask for ever."""


async def plan_on_shelf(context: Context, ref: PlanRef) -> Plan:
    """Return a plan version with its overrides, and put it where the shards look (S8.6).

    Failure PLAN_NOT_FOUND.
    """
    plan = context.shelf.get(ref)
    if plan is None:
        plan = (await context.contract_plan(ref)).plan
        context.shelf.put(ref, plan)
    return plan


async def plans_on_shelf(context: Context, refs: list[PlanRef]) -> dict[PlanRef, Plan]:
    """Return plans by reference; Failure PLAN_NOT_FOUND."""
    return {ref: await plan_on_shelf(context, ref) for ref in refs}


async def submit_contract_call(context: Context, call: LedgerCall) -> ControlAnswer:
    """Have a shard carry out a call about a contract.

    Failures: the call's reasons, with what the answer says beside them as metadata.
    """
    answer = await submit_with_plans(context, context.shard(call.customer), call)
    named = {"customer": call.customer, "subscription_id": call.subscription_id}
    more = {} if answer.ok else {key: _text(key, v) for key, v in answer.value.items()}
    return answered(answer, **named, **more)


async def submit_with_plans(context: Context, shard: int, call: Control) -> ControlAnswer:
    """Return a shard's answer to a call, which finds the plans that it asks for on the shelf.

    Failures: those of the store, and PLAN_NOT_FOUND.
    """
    for _ in range(_TRIES):
        answer: ControlAnswer = await reach(context.store.submit(shard, call))
        if answer.reason != "PLAN_NOT_LOADED":
            return answer
        await plan_on_shelf(context, from_facts(PlanRef, answer.value))
    raise _forgetful()


async def ask_contract(context: Context, question: GetContract) -> ContractAnswer:
    """Return what prices a period of a contract."""
    shard = context.shard(question.customer)
    for _ in range(_TRIES):
        answer: ContractAnswer = await reach(context.store.ask(shard, question))
        if answer.missing is None:
            return answer
        await plan_on_shelf(context, answer.missing)
    raise _forgetful()


def _text(key: str, value: object) -> str:
    return format_instant(int(str(value))) if key in _INSTANTS else str(value)


def _forgetful() -> Failure:
    return Failure("INTERNAL", "plans were forgotten as fast as they were loaded")
