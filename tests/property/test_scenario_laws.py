"""Whole contracts on a virtual clock: when periods are finalised moves no amount (S9.1, S9.3)."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from rating_core.instant import format_instant, parse_instant
from rating_core.metering.contracts.parts import periods_from
from rating_core.scenario.contract_log import ContractLog, NotFound
from rating_core.scenario.document import scenario_from_document
from rating_core.scenario.steps import Finalize, Retract, Scenario, SendUsage
from rating_server.zones import zone_table

DAY_US = 86_400_000_000
START = parse_instant("2026-01-10T12:00:00Z")
SEEDS = range(12)


def plan(draw: random.Random, plan_id: str) -> dict[str, Any]:
    """Return a plan with what reaches over records, parts and statements."""
    tiers = [{"up_to": "10", "unit_price": "1"}, {"unit_price": "0.5", "flat_fee": "2"}]
    calls = {"id": "calls", "meter": "calls", "model": "graduated", "tiers": tiers}
    calls |= draw.choice(
        [{}, {"tier_window": "year"}, {"smoothing_periods": "3", "included_units": "5"}]
    )
    prorate = draw.choice(["true", "false"])
    base = {"id": "base", "model": "flat_fee", "amount": "10", "prorate": prorate}
    term = {"id": "annual", "amount": "90", "discount_percent": "10", "term": "year"}
    return {
        "id": plan_id,
        "currency": "USD",
        "billing_period": "month",
        "late_usage": "adjust",
        "meters": [{"id": "calls", "aggregation": "sum"}],
        "charges": [calls, base],
        "commitments": draw.choice([[], [{**term, "true_up": "true", "covers": ["calls"]}]]),
    }


def scenario(seed: int) -> Scenario:
    """Return half a year of usage, late usage, retractions, plan changes and finalised periods."""
    draw = random.Random(seed)
    at, timeline = START, [{"at": format_instant(START), "subscribe": {"plan": "a"}}]
    timeline[0]["subscribe"]["anchor_day"] = str(draw.randrange(1, 32))
    sent: list[str] = []
    for number in range(30):
        at += draw.choice([0, DAY_US, 5 * DAY_US, 11 * DAY_US])
        kind = draw.choice(["usage"] * 4 + ["retract", "change_plan", "finalize", "finalize"])
        step: dict[str, Any] = {"at": format_instant(at)}
        if kind == "usage":
            step |= {"usage": {"calls": str(draw.randrange(30))}, "event_id": f"e{number}"}
            step["event_time"] = format_instant(max(START, at - draw.randrange(60 * DAY_US)))
            sent.append(step["event_id"])
        elif kind == "retract":
            step["retract"] = {"event_id": sent.pop(draw.randrange(len(sent)))} if sent else None
        elif kind == "change_plan":
            step["change_plan"] = {"plan": draw.choice("ab")}
        else:
            step["finalize"] = {}
        timeline += [step] if step[kind] is not None else []
    if draw.random() < 0.5:
        timeline.append({"at": format_instant(at), "cancel": {}})
    document = {
        "kind": "scenario",
        "id": "drawn",
        "plans": [plan(draw, "a"), plan(draw, "b")],
        "customer": "acme",
        "time_zone": draw.choice(["UTC", "Europe/Berlin", "America/Havana"]),
        "timeline": timeline,
    }
    return scenario_from_document(document, {"USD": 2}.get, zone_table)


def run(drawn: Scenario) -> ContractLog:
    """Carry all steps out; each Finalize finalises every period that may be by then."""
    contract = ContractLog(drawn)
    contract.begin(START)
    sent: dict[str, tuple[SendUsage, int]] = {}
    for step in drawn.timeline:
        contract.advance(step.at)
        action = step.action
        if isinstance(action, SendUsage):
            sent[action.event_id] = action, action.event_time or step.at
            contract.record(action, sent[action.event_id][1], retract=False)
        elif isinstance(action, Retract):
            contract.record(*sent[action.event_id], retract=True)
        elif isinstance(action, Finalize):
            answer = contract.control(action)
            while answer.reason == "PERIOD_NOT_NEXT":
                answer = contract.control(Finalize(answer.value["next"]))
                answer = contract.control(action) if answer.ok else answer
        else:
            assert contract.control(action).ok
    return contract


def totals(contract: ContractLog, now: int) -> Iterator[int]:
    """Yield the total before credits of every statement, the correction's too."""
    contract.advance(now)
    for subscription in contract.subscriptions():
        for period in periods_from(subscription, subscription.start_time, now):
            yield contract.statement(period.start, correction=False).total_before_credits
        try:
            yield contract.statement(None, correction=True).total_before_credits
        except NotFound:
            yield 0


@pytest.mark.parametrize("seed", SEEDS)
def test_statements_and_later_deltas_are_the_statements_of_all_usage(seed: int) -> None:
    """Finalising on the way, with deltas for what came late, adds up to finalising nothing."""
    drawn = scenario(seed)
    steps = tuple(step for step in drawn.timeline if not isinstance(step.action, Finalize))
    later = drawn.timeline[-1].at + 40 * DAY_US
    on_the_way = sum(totals(run(drawn), later))
    assert on_the_way == sum(totals(run(replace(drawn, timeline=steps)), later))
