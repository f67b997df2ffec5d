"""Moving standing subscriptions to a new plan version in all shards (S8.6, ADR 28).

The catalogue says which versions standing subscriptions move to; each shard's log says that it
moves its own. The request id follows from plan and version, so that any server may do, or finish,
what another one began.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace
from typing import Any

from rating_core.bands import plan_bands
from rating_core.contract.usage import PlanRef
from rating_core.metering.calls import ControlAnswer, MigratePlan
from rating_core.metering.catalogue_calls import MOVE_AHEAD_US, FinishMove, ListMoves, StoredPlan
from rating_core.metering.contracts.subscription import STAYING
from rating_server.ports import StoreError
from rating_server.usecases.context import Context, reach
from rating_server.usecases.contract_plans import submit_with_plans
from rating_server.usecases.control import answered
from rating_server.usecases.failure import Failure

INTERVAL_S = 10.0
"""Seconds between two looks for moves that a server left unfinished."""

_NAMED = 10
"""Most subscriptions that a line of the server's log names."""

_log = logging.getLogger(__name__)


async def keep_moving(context: Context) -> None:
    """Finish moves now and every `INTERVAL_S`, until cancelled."""
    while True:
        try:
            await finish_moves(context)
        except Failure as failure:
            _log.debug("moves of plan versions wait: %s", failure.message)
        except Exception:  # noqa: BLE001 - it must not end the looks that follow
            _log.exception("moves of plan versions wait")
        await asyncio.sleep(INTERVAL_S)


async def finish_moves(context: Context) -> None:
    """Try to finish every move that the catalogue calls unfinished."""
    for stored in await reach(context.store.catalogue_ask(ListMoves())):
        await try_move(context, stored)


async def try_move(context: Context, stored: StoredPlan) -> bool:
    """Move standing subscriptions to a version; False if a shard did not answer: again later."""
    try:
        await _move(context, stored)
    except Failure as failure:
        what = f"{stored.plan_id}@{stored.version}"
        _log.warning("the move to %s is tried again: %s", what, failure.message)
        return False
    return True


async def _move(context: Context, stored: StoredPlan) -> None:
    plan = (await context.plan(stored.plan_id, stored.version)).plan
    asked = {"plan_id": stored.plan_id, "version": stored.version}
    call = MigratePlan(
        plan_id=stored.plan_id,
        version=stored.version,
        instant=stored.existing_effective_time or 0,
        billing_period=plan.billing_period,
        late_usage=plan.late_usage,
        bands=plan_bands(plan),
        request_id=f"move:{stored.plan_id}@{stored.version}",
        asked=asked,
    )
    context.shelf.put(PlanRef(stored.plan_id, stored.version), plan)
    shards = range(context.store.shard_count)
    answers = await _submit_all(context, call, list(shards))
    late = [s for s, answer in zip(shards, answers, strict=True) if _too_late(answer)]
    if late:
        # The servers were down when the time came: what is counted by now stays where it is.
        instant = context.now() + MOVE_AHEAD_US
        _log.warning("%s@%s: %s shards move later than planned", *asked.values(), len(late))
        later = await _submit_all(context, replace(call, instant=instant), late)
        for shard, answer in zip(late, later, strict=True):
            answers = [*answers[:shard], answer, *answers[shard + 1 :]]
    for answer in answers:
        if isinstance(answer, StoreError):
            raise Failure("STORE_UNAVAILABLE", f"the store did not answer: {answer}")
        staying = answered(answer, plan=stored.plan_id).value.get(STAYING)
        if staying:
            # S2.2: a grant, a promotion or an earlier plan of theirs has the name of a line of it.
            text = "%s@%s: %s subscriptions cannot move, as names of lines clash: %s"
            _log.warning(text, *asked.values(), len(staying), staying[:_NAMED])
    finish = FinishMove(plan_id=stored.plan_id, version=stored.version)
    answered(await reach(context.store.catalogue_call(finish)), plan=stored.plan_id)


async def _submit_all(context: Context, call: MigratePlan, shards: list[int]) -> list[Any]:
    """Return the answers of shards, which find the plans that they ask for on the shelf."""
    answers = [*await context.store.submit_all([(shard, call) for shard in shards])]
    for place, answer in enumerate(answers):
        if isinstance(answer, ControlAnswer) and answer.reason == "PLAN_NOT_LOADED":
            answers[place] = await submit_with_plans(context, shards[place], call)
    return answers


def _too_late(answer: object) -> bool:
    return isinstance(answer, ControlAnswer) and answer.reason == "EFFECTIVE_TOO_SOON"
