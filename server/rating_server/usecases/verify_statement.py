"""Recompute a finalised statement and tell what differs (S9.5)."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from rating_core.contract.facts import to_facts
from rating_core.metering.contracts.ledger_calls import ContractAnswer, GetContract
from rating_core.metering.contracts.statement_entry import (
    FinalStatement,
    booking,
    differences,
    plan_refs,
    read_final_statement,
    recompute,
    without_counters,
)
from rating_server.ports import Until
from rating_server.usecases.context import Context, reach
from rating_server.usecases.contract_plans import plans_on_shelf
from rating_server.usecases.read_statements import get_statement, statement_facts

_DIFFERENCES_MAX = 1_000


@dataclass(frozen=True, slots=True)
class Verified:
    """A recomputed statement; ``differences`` holds path, held and recomputed value as JSON."""

    statement: FinalStatement
    differences: list[tuple[str, str, str]]


async def verify_statement(
    context: Context, customer: str, subscription_id: str, number: int, *, from_log: bool
) -> Verified:
    """Recompute a statement from the inputs that its entry names; with ``from_log`` those too.

    Failures: those of get_statement, and PLAN_NOT_FOUND.
    """
    final = await get_statement(context, customer, subscription_id, number=number)
    facts = await statement_facts(context, customer, final.version)
    plans = await plans_on_shelf(context, plan_refs(facts))
    rated = recompute(facts, plans.__getitem__)
    made = {
        **booking(rated),
        "statement": to_facts(without_counters(rated.statement)),
    }
    found = [*differences({key: facts[key] for key in made}, made)]
    if from_log:
        found += await _recounted(context, final, facts)
    shown = [(path, _text(held), _text(other)) for path, held, other in found]
    statement = read_final_statement({**facts, **made})
    return Verified(statement, shown[:_DIFFERENCES_MAX])


async def _recounted(
    context: Context, final: FinalStatement, facts: dict[str, Any]
) -> list[tuple[str, Any, Any]]:
    """Return where the inputs differ from what the log's records and entries come to."""
    question = GetContract(
        final.customer, final.subscription_id, final.start, final.time, final.correction
    )
    until = Until(before=final.version)
    shard = context.shard(final.customer)
    answer: ContractAnswer = await reach(
        context.store.ask_past(shard, final.customer, question, until)
    )
    usage = None if answer.usage is None else to_facts(answer.usage)
    return [*differences(facts["usage"], usage, "usage")]


def _text(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, sort_keys=True)
