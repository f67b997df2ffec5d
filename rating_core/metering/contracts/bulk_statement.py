"""One statement out of an entry that finalised many, read as if it stood alone (S9.5)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from rating_core.catalog import Plan
from rating_core.contract.facts import from_facts, to_facts
from rating_core.contract.rate import needs_calendar, rate_contract
from rating_core.contract.usage import (
    Booked,
    Carry,
    ContractUsage,
    PartUsage,
    PeriodUsage,
    PlanRef,
)
from rating_core.counter import SeriesCounter
from rating_core.errors import LogCorrupt
from rating_core.metering.calls import Phase, Subscription
from rating_core.metering.contracts.account import FINALIZE_PERIODS
from rating_core.metering.contracts.booked_rows import chunk_of
from rating_core.metering.contracts.parts import calendar_of, period_at
from rating_core.metering.contracts.statement_entry import details_facts
from rating_core.metering.deciding.records_entry import EntryMeter
from rating_core.metering.log.column_text import pack_column, unpack_column
from rating_core.metering.log.entry import ControlEntry

_ROWS = ("starts", "numbers", "totals")


def bulk_plan_ref(entry: ControlEntry) -> PlanRef:
    """Return the plan version of all statements of a bulk entry."""
    return from_facts(PlanRef, entry.facts["plan_ref"])


def row_entry(entry: ControlEntry, customer: str) -> ControlEntry | None:
    """Return a bulk entry with the row of one customer alone, ``None`` if it has none.

    For the past of one customer: what it books is whole, the counters are not taken along.
    """
    facts = entry.facts
    if entry.kind != FINALIZE_PERIODS or customer not in facts["customers"]:
        return None
    row = facts["customers"].index(customer)
    size = len(facts["lines"])
    amounts = unpack_column(facts["amounts"])[row * size : (row + 1) * size]
    kept = {name: _one(int(unpack_column(facts[name])[row])) for name in _ROWS}
    changed = {**facts, **kept, "customers": [customer], "amounts": _packed(amounts.tolist())}
    return ControlEntry(entry.kind, "", "", changed, {})


def _one(value: int) -> list[object]:
    return _packed([value])


def _packed(values: list[int]) -> list[object]:
    return pack_column(np.array(values, np.int64))


def bulk_statement_facts(
    entry: ControlEntry, customer: str, plan_of: Callable[[PlanRef], Plan]
) -> dict[str, Any]:
    """Return facts and details of one customer's statement, as an entry of its own would hold.

    What was booked is that of the entry; the explained statement is priced from its counters.
    LogCorrupt if the entry has no statement of the customer.
    """
    held, facts = entry.value, entry.facts
    if customer not in facts["customers"]:
        raise LogCorrupt("a bulk entry without the customer's statement")
    row = facts["customers"].index(customer)
    statement = chunk_of(facts, held["version"], facts["customers"].index).statement(row)
    if statement is None:
        raise LogCorrupt("a bulk entry without the customer's statement")
    usage, meters = _usage(entry, customer, row, statement.start, plan_of)
    rated = rate_contract(usage)[-1]
    booked = Booked(statement.booked.lines, statement.total, (), Carry())
    return {
        "customer": customer,
        "subscription_id": facts["subscription_id"],
        "period_start": statement.start,
        "period_end": statement.end,
        "number": statement.number,
        "correction": False,
        "time": facts["time"],
        "scale": statement.scale,
        "total": statement.total,
        "booked": to_facts(booked),
        "rebooked": {},
        "drawn": {},
        **details_facts(usage, rated, meters, held["version"]),
    }


def _usage(
    entry: ControlEntry,
    customer: str,
    row: int,
    start: int,
    plan_of: Callable[[PlanRef], Plan],
) -> tuple[ContractUsage, dict[str, EntryMeter]]:
    held, facts = entry.value, entry.facts
    ref = bulk_plan_ref(entry)
    plan = plan_of(ref)
    began = int(unpack_column(held["began"])[row])
    subscription = Subscription(
        customer=customer,
        subscription_id=facts["subscription_id"],
        billing_period=plan.billing_period,
        start_time=began,
        end_time=None,
        create_time=0,
        phases=(Phase(began, ref),),
    )
    span = period_at(subscription, start)
    (part,) = span.parts
    counters, meters = _counters(entry, row)
    priced = PartUsage(
        start=part.start,
        end=part.end,
        plan=plan,
        plan_ref=ref,
        counters=counters,
        share_by_second=part.share_by_second,
        share_by_day=part.share_by_day,
    )
    periods = [PeriodUsage(span.start, span.end, span.number, (priced,), None, span.last)]
    usage = ContractUsage(
        customer=customer,
        subscription_id=subscription.subscription_id,
        subscription_start=began,
        first_period_end=period_at(subscription, began).end,
        periods=tuple(periods),
        now=facts["time"],
        calendar=calendar_of(subscription) if needs_calendar(periods, ()) else None,
    )
    return usage, meters


def _counters(
    entry: ControlEntry, row: int
) -> tuple[tuple[SeriesCounter, ...], dict[str, EntryMeter]]:
    held = entry.value
    names = ("row", "meter", "dimensions", "value", "events")
    columns = [unpack_column(held[f"series_{name}"]) for name in names]
    meters = [EntryMeter.from_json(item) for item in held["meters"]]
    sets = [tuple((name, value) for name, value in pairs) for pairs in held["dimension_sets"]]
    chosen = np.flatnonzero(columns[0] == row)
    counters = [
        SeriesCounter(meters[meter].id, sets[dimensions], value, events)
        for meter, dimensions, value, events in zip(
            *(column[chosen].tolist() for column in columns[1:]), strict=True
        )
    ]
    found = tuple(sorted(counters, key=lambda c: (c.meter, c.dimensions or ())))
    used = {counter.meter for counter in found}
    return found, {meter.id: meter for meter in meters if meter.id in used}
