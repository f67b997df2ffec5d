"""A finalised statement as its entry holds it: read, recomputed, compared (S9.5)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from rating_core.catalog import Plan
from rating_core.contract.facts import from_facts, to_facts
from rating_core.contract.rate import rate_contract
from rating_core.contract.rating import RatedPeriod
from rating_core.contract.usage import ContractUsage, PlanRef
from rating_core.counter import SeriesCounter
from rating_core.metering.contracts.account import FINALIZE_PERIOD
from rating_core.metering.deciding.records_entry import EntryMeter
from rating_core.metering.log.entry import ControlEntry
from rating_core.statement import Statement


@dataclass(frozen=True, slots=True)
class FinalStatement:
    """A statement and where it stands: ``version`` of its entry and its ``time``, µs.

    ``number`` counts the statements of the subscription from 0; ``meters``: those of its counters.
    """

    customer: str
    subscription_id: str
    number: int
    version: int
    time: int
    correction: bool
    start: int
    end: int
    statement: Statement
    meters: Mapping[str, EntryMeter]


def without_counters(statement: Statement) -> Statement:
    """Return a statement without the counters that its entry holds in the usage anyway."""
    if statement.period is None:
        return statement
    parts = tuple(replace(part, counters=(), window=()) for part in statement.period.parts)
    return replace(statement, period=replace(statement.period, parts=parts))


def details_facts(
    usage: ContractUsage, rated: RatedPeriod, meters: Mapping[str, EntryMeter], version: int
) -> dict[str, Any]:
    """Return what the entry of a statement holds besides what it books: its inputs and itself."""
    return {
        "usage": to_facts(usage),
        "meters": [meter.to_json() for _, meter in sorted(meters.items())],
        "statement": to_facts(without_counters(rated.statement)),
        "version": version,
    }


def read_final_statement(facts: Mapping[str, Any]) -> FinalStatement:
    """Return the statement of an entry of kind `finalize_period`, from its facts and value.

    LookupError, TypeError, ValueError or ArithmeticError for what is none.
    """
    statement = from_facts(Statement, facts["statement"])
    start = facts["period_start"]
    if statement.period is not None and statement.period.parts:  # a correction has none (S9.3)
        (held,) = [one for one in facts["usage"]["periods"] if one["start"] == start]
        parts = tuple(
            replace(
                part,
                counters=from_facts(tuple[SeriesCounter, ...], counted["counters"]),
                window=from_facts(tuple[SeriesCounter, ...], counted["window"]),
            )
            for part, counted in zip(statement.period.parts, held["parts"], strict=True)
        )
        statement = replace(statement, period=replace(statement.period, parts=parts))
    meters = [EntryMeter.from_json(item) for item in facts["meters"]]
    return FinalStatement(
        customer=facts["customer"],
        subscription_id=facts["subscription_id"],
        number=facts["number"],
        version=facts["version"],
        time=facts["time"],
        correction=facts["correction"],
        start=start,
        end=facts["period_end"],
        statement=statement,
        meters={meter.id: meter for meter in meters},
    )


def entry_facts(entry: ControlEntry) -> dict[str, Any]:
    """Return facts and details of an entry of kind `finalize_period`; ValueError for others."""
    if entry.kind != FINALIZE_PERIOD:
        raise ValueError(f"an entry of kind {entry.kind} is no statement")
    return {**entry.facts, **entry.value}


def plan_refs(facts: Mapping[str, Any]) -> list[PlanRef]:
    """Return the plan versions that a statement was priced on, each once (S9.5)."""
    found = {
        from_facts(PlanRef, part["plan_ref"]): None
        for period in facts["usage"]["periods"]
        for part in period["parts"]
    }
    return list(found)


def recompute(facts: Mapping[str, Any], plan_of: Callable[[PlanRef], Plan]) -> RatedPeriod:
    """Return the statement that the entry's inputs give now, bit for bit the same (S9.5)."""
    return rate_contract(from_facts(ContractUsage, facts["usage"], plan_of))[-1]


def booking(rated: RatedPeriod) -> dict[str, Any]:
    """Return what finalising a rated period books, as JSON values of an entry's facts."""
    return {
        "scale": rated.statement.scale,
        "total": rated.statement.total,
        "booked": to_facts(rated.booked),
        "rebooked": {str(start): to_facts(booked) for start, booked in rated.rebooked.items()},
        "drawn": dict(rated.drawn),
    }


def differences(held: Any, made: Any, path: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Yield path, first and second value of each place in which two JSON values differ."""
    if isinstance(held, Mapping) and isinstance(made, Mapping):
        for key in [*held, *(key for key in made if key not in held)]:
            place = f"{path}.{key}" if path else str(key)
            yield from differences(held.get(key), made.get(key), place)
    elif isinstance(held, list) and isinstance(made, list) and len(held) == len(made):
        for index, (first, second) in enumerate(zip(held, made, strict=True)):
            yield from differences(first, second, f"{path}[{index}]")
    elif held != made or type(held) is not type(made):
        yield path, held, made
