"""Finalising many plain contracts in one entry: found, counted and priced in columns (S9.2).

Only what is as plain as its columns goes this way: one plan version without commitments, windows,
smoothing and proration; sums and counts; no grants, promotions or late usage; nothing in flight.
All others are named in the answer, and finalised one by one. Both ways book the same amounts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rating_core.catalog import Aggregation, Charge, ChargeModel, Plan
from rating_core.contract.facts import to_facts
from rating_core.jit import kernel
from rating_core.metering.calls import ControlAnswer
from rating_core.metering.contracts.account import FINALIZE_PERIODS
from rating_core.metering.contracts.bulk_amounts import bulk_amounts, compiled_plan
from rating_core.metering.contracts.contract_usage import PlanOf
from rating_core.metering.contracts.directory import DirectoryView
from rating_core.metering.contracts.ledger_calls import FinalizePeriods
from rating_core.metering.contracts.parts import period_at
from rating_core.metering.contracts.plain_contracts import (
    CALENDAR,
    KIND,
    START,
    SUBSCRIPTION,
    PlainKind,
)
from rating_core.metering.counters import Counters
from rating_core.metering.deciding.in_flight import InFlight
from rating_core.metering.log.column_text import pack_column
from rating_core.metering.log.entry import ControlEntry
from rating_core.metering.shard_state import Folds
from rating_core.period import calendar_end, calendar_start
from rating_core.units import INT64_MAX

_ADDITIVE = (Aggregation.SUM, Aggregation.COUNT)
_SUM_SAFE = 1 << 40
"""Sums of up to 2^22 values of this size fit int64; larger ones are finalised one by one."""
Rows = NDArray[np.int64]


@kernel
def _next_periods(codes: Rows, instants: Rows, starts: Rows, ends: Rows) -> None:
    for row in range(codes.size):
        begin = calendar_start(codes[row], instants[row])
        starts[row] = max(begin, instants[row])
        ends[row] = calendar_end(codes[row], begin)


def is_plain(plan: Plan) -> bool:
    """Whether a plan's statements are those of its kernels, period by period, in columns."""
    return (
        not plan.commitments
        and all(map(_plain_charge, plan.charges))
        and all(
            plan.meter(charge.meter).aggregation in _ADDITIVE
            for charge in plan.charges
            if charge.meter is not None
        )
    )


def _plain_charge(charge: Charge) -> bool:
    prorated = (
        charge.prorate,
        charge.prorate_included_units,
        charge.prorate_tiers,
        charge.prorate_minimum,
    )
    over_periods = charge.tier_window is not None or charge.smoothing_periods > 1
    return not (any(prorated) or over_periods or charge.clamps)


@dataclass(frozen=True, slots=True, eq=False)
class _Due:
    """Customers by number, their next periods (µs), and the number of each statement."""

    customers: Rows
    starts: Rows
    ends: Rows
    numbers: Rows

    def take(self, rows: NDArray[Any]) -> _Due:
        return _Due(self.customers[rows], self.starts[rows], self.ends[rows], self.numbers[rows])


def decide_bulk(
    call: FinalizePeriods,
    in_flight: InFlight,
    now: int,
    plan_of: PlanOf,
    version: int,
) -> tuple[ControlAnswer, ControlEntry | None]:
    """Return the answer, and the entry that finalises a chunk of plain contracts.

    Customers that staged entries name are left to `FinalizePeriod`, which sees these (P1). Refused
    as PLAN_NOT_LOADED where a plan is not at hand.
    """
    folds = in_flight.folds
    directory = folds.directory
    grace_us = DirectoryView(directory, in_flight.controls).settings().grace_us
    until = min(call.until, now - grace_us)
    end = min(call.cursor + call.limit, len(directory.customers))
    due = _due_plain(folds, call.cursor, end, until, in_flight.customers())
    kinds = directory.plain.kinds
    columns = directory.plain.columns
    for number in np.unique(columns[due.customers, KIND]).tolist():
        kind = kinds[number]
        if call.plan_id and kind.plan_ref.plan_id != call.plan_id:
            continue
        plan = plan_of(kind.plan_ref)
        if plan is None:
            return ControlAnswer(False, "PLAN_NOT_LOADED", to_facts(kind.plan_ref)), None
        if not is_plain(plan):
            continue
        same = due.take(columns[due.customers, KIND] == number)
        made = _finalized(same.take(same.ends == same.ends[0]), kind, plan, folds, now, version)
        if made is not None:
            return made
    single = _due_names(call, folds, end, until)
    value = {
        "customers": (),
        "single": single,
        "cursor": end,
        "more": end < len(directory.customers),
    }
    return ControlAnswer(True, "", value), None


def _due_plain(folds: Folds, begin: int, end: int, until: int, in_flight: frozenset[str]) -> _Due:
    """Return the plain contracts with a period that ended at ``until`` or before."""
    directory, ledger, counters = folds.directory, folds.ledger, folds.counters
    customers = np.arange(begin, end)
    columns = directory.plain.columns[begin:end]
    special = {directory.numbers[customer] for customer, _ in ledger.accounts}
    special |= {directory.numbers[name] for name in in_flight if name in directory.numbers}
    special |= counters.levels.keys()
    fit = columns[:, SUBSCRIPTION] >= 0
    fit[[number - begin for number in special if begin <= number < end]] = False
    customers, columns = customers[fit], columns[fit]
    opens = np.maximum(directory.closed[columns[:, SUBSCRIPTION]], columns[:, START])
    starts, ends = np.empty_like(opens), np.empty_like(opens)
    _next_periods(columns[:, CALENDAR], opens, starts, ends)
    statements, settled = ledger.rows.standing(len(directory.customers))
    parts = counters.parts[: counters.part_table.count]
    closed = np.full(len(directory.customers), np.iinfo(np.int64).min, np.int64)
    closed[customers] = opens
    owner = parts[:, 0]
    late = np.zeros(len(directory.customers), np.bool_)
    late[owner[(parts[:, 1] < closed[owner]) & (parts[:, 4] > settled[owner])]] = True
    due = (ends <= until) & ~late[customers]
    return _Due(customers[due], starts[due], ends[due], statements[customers[due]])


def _due_names(
    call: FinalizePeriods, folds: Folds, end: int, until: int
) -> tuple[tuple[str, str, int], ...]:
    """Return customer, subscription id and period start of what is due and not plain."""
    view = DirectoryView(folds.directory, ())
    found = []
    columns = folds.directory.plain.columns[call.cursor : end]
    opens = np.maximum(folds.directory.closed[columns[:, SUBSCRIPTION]], columns[:, START])
    starts, ends = np.empty_like(opens), np.empty_like(opens)
    _next_periods(columns[:, CALENDAR], opens, starts, ends)
    # Of plain contracts the columns tell what is due: only the others are looked at one by one.
    rows = np.flatnonzero((columns[:, SUBSCRIPTION] < 0) | (ends <= until))
    for number in (rows + call.cursor).tolist():
        customer = folds.directory.customers[number]
        for subscription in view.contract(customer):
            closed = folds.directory.closed_until(customer, subscription.subscription_id)
            start = max(closed, subscription.start_time)
            if not subscription.holds(start):
                continue
            period = period_at(subscription, start)
            plan_id = subscription.phase_at(period.end - 1).plan_ref.plan_id
            if period.end <= until and call.plan_id in ("", plan_id):
                found.append((customer, subscription.subscription_id, period.start))
    return tuple(found)


@dataclass(frozen=True, slots=True, eq=False)
class _Series:
    """Series of a chunk: row of the customer in it, and columns of the counters."""

    rows: Rows
    meters: Rows
    dimensions: Rows
    values: Rows
    events: Rows


def _finalized(
    due: _Due, kind: PlainKind, plan: Plan, folds: Folds, now: int, version: int
) -> tuple[ControlAnswer, ControlEntry] | None:
    """Return the entry for customers of one kind and period end, ``None`` if none of them fits."""
    series, fit = _series_of(due, folds.counters)
    compiled = compiled_plan(plan)
    inputs = np.zeros((due.customers.size, compiled.input_count), np.int64)
    _fill_inputs(inputs, series, plan, compiled.input_columns[0], folds.counters)
    np.maximum(inputs, 0, out=inputs)
    rated = bulk_amounts(plan, inputs)
    fit &= rated.fit
    if not fit.any():
        return None
    place_of = np.cumsum(fit) - 1
    kept = fit[series.rows]
    due = due.take(fit)
    names = [folds.directory.customers[number] for number in due.customers.tolist()]
    began = folds.directory.plain.columns[due.customers, START]
    facts = {
        "subscription_id": kind.subscription_id,
        "plan_ref": to_facts(kind.plan_ref),
        "period_end": int(due.ends[0]),
        "scale": plan.rounding.scale,
        "time": now,
        "customers": names,
        "lines": list(rated.lines),
        "starts": pack_column(due.starts),
        "numbers": pack_column(due.numbers),
        "totals": pack_column(rated.totals[fit]),
        "amounts": pack_column(rated.amounts[fit].ravel()),
    }
    table = folds.counters
    used_meters, meters = np.unique(series.meters[kept], return_inverse=True)
    used_sets, sets = np.unique(series.dimensions[kept], return_inverse=True)
    details = {
        "version": version,
        "began": pack_column(began),
        "meters": [table.words.meters[number].to_json() for number in used_meters.tolist()],
        "dimension_sets": [
            [list(pair) for pair in table.dimension_sets[number]] for number in used_sets.tolist()
        ],
        "series_row": pack_column(place_of[series.rows[kept]]),
        "series_meter": pack_column(meters),
        "series_dimensions": pack_column(sets),
        "series_value": pack_column(series.values[kept]),
        "series_events": pack_column(series.events[kept]),
    }
    value = {
        "customers": names,
        "subscription_id": kind.subscription_id,
        "numbers": due.numbers,
        "starts": due.starts,
        "end": int(due.ends[0]),
        "totals": rated.totals[fit],
        "scale": plan.rounding.scale,
        "currency": plan.currency,
    }
    return ControlAnswer(True, "", value), ControlEntry(FINALIZE_PERIODS, "", "", facts, details)


def _series_of(due: _Due, table: Counters) -> tuple[_Series, NDArray[np.bool_]]:
    """Return the series of the customers' periods, and which customers' can be added in columns."""
    parts = table.parts[: table.part_table.count]
    size = int(max(parts[:, 0].max(initial=0), due.customers.max())) + 1
    place, wanted = np.full(size, -1, np.int64), np.full(size, INT64_MAX, np.int64)
    place[due.customers] = np.arange(due.customers.size)
    wanted[due.customers] = due.starts
    chosen = parts[:, 1] == wanted[parts[:, 0]]
    row_of_part = np.where(chosen, place[parts[:, 0]], -1)
    rows = table.series.rows[: table.series_table.count]
    of_part = row_of_part[rows[:, 0]] if parts.size else np.zeros(0, np.int64)
    found = np.flatnonzero(of_part >= 0)
    rows = rows[found]
    series = _Series(of_part[found], rows[:, 1], rows[:, 2], rows[:, 4], rows[:, 5])
    additive = np.array([meter.aggregation in _ADDITIVE for meter in table.words.meters], np.bool_)
    fit = np.ones(due.customers.size, np.bool_)
    if found.size:
        plain = additive[series.meters] & (rows[:, 8] == 0)
        plain &= np.abs(series.values) <= _SUM_SAFE
        fit[series.rows[~plain]] = False
    return series, fit


def _fill_inputs(
    inputs: Rows, series: _Series, plan: Plan, columns: Sequence[int], table: Counters
) -> None:
    """Add what each charge counts into its input columns, over matching series (S6.2)."""
    ids = [meter.id for meter in table.words.meters]
    sets = [dict(pairs) for pairs in table.dimension_sets]
    for charge, column in zip(plan.charges, columns, strict=True):
        if charge.model is ChargeModel.FLAT_FEE:
            continue
        meters = np.array([name == charge.meter for name in ids], np.bool_)
        match = meters[series.meters] if series.meters.size else np.zeros(0, np.bool_)
        if charge.where and match.any():
            matching = np.array([charge.matches(pairs) for pairs in sets], np.bool_)
            match = match & matching[series.dimensions]
        rows = series.rows[match]
        if charge.model is ChargeModel.PERCENTAGE:
            np.add.at(inputs[:, column], rows, series.events[match])
            np.add.at(inputs[:, column + 1], rows, series.values[match])
        else:
            np.add.at(inputs[:, column], rows, series.values[match])
