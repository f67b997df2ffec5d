"""One billing period in parts, priced exactly, before late deltas and credits (S4, S8).

The order is that of `pipeline`: the charges of each part (included units × allowance promotions →
model → discount → promotions → maximum → minimum), what smoothing puts off, commitments, plan
maximum, plan minimum. A charge's bounds act in each part (S8.3); commitments and the plan's bounds
once a period, on all of its parts, the latter by the plan in force at its end.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from rating_core.calendar import BillingCalendar
from rating_core.contract.charge import (
    WINDOW_MEMO,
    ChargePricer,
    charge_pricers,
    counters_of,
    window_opens,
)
from rating_core.contract.commitments.applied import Place, Uncovered
from rating_core.contract.commitments.period import PeriodCommitments
from rating_core.contract.promotions import PeriodPromotions
from rating_core.contract.sheet import Sheet, Step
from rating_core.contract.smoothing import Smoothing
from rating_core.contract.usage import Carry, PeriodUsage
from rating_core.contract.values import Promotion
from rating_core.explain import bound_slice
from rating_core.statement import Line, LineKind

ZERO = Fraction(0)


@dataclass(frozen=True, slots=True)
class PricedPeriod:
    """The lines of a period before late deltas and credits, in units of 10^-scale.

    ``amounts``: the sum of the lines of each id; ``total``: that of all. ``carry``: what the next
    period needs.
    """

    lines: tuple[Line, ...]
    amounts: dict[str, int]
    total: int
    carry: Carry


def price_period(
    period: PeriodUsage,
    carry: Carry,
    promotions: Sequence[Promotion],
    calendar: BillingCalendar,
    now: int = 0,
) -> PricedPeriod:
    """Return what a period costs before late deltas and credits (S4).

    ``carry`` is what the period before handed on, ``promotions`` are those that cover this one, in
    the order of their creation. ``now``: the instant up to which hours have ended, 0 for all
    (S5.5). Raises OutOfRange if an amount or a sum of usage does not fit int64 (S1.2).
    """
    sheet = Sheet(period.parts[-1].plan.rounding)
    smoothing = Smoothing(carry.smoothed, last=period.last)
    applied = PeriodPromotions.of(promotions)
    uncovered = Uncovered()
    pricers: dict[Place, ChargePricer] = {}
    for number, part in enumerate(period.parts):
        for pricer in charge_pricers(period, number, carry.windows, applied, sheet.unit):
            charge = pricer.charge
            # before the charge takes amounts off: at other counters it would have them too
            pricers[number, charge.id] = pricer.at_this_point()
            at_zero = pricer.amount_at_zero() if charge.smoothing_periods > 1 else ZERO
            amount = pricer.book(sheet, counters_of(part, charge))
            uncovered.amounts[number, charge.id] = amount
            above = sheet.rounded(amount) - sheet.rounded(at_zero)
            smoothing.spread(charge.id, above, charge.smoothing_periods)
    smoothing.book(sheet, period.end)
    commitments = PeriodCommitments(period, pricers, calendar, now)
    commitments.book(sheet, uncovered, carry.terms)
    _book_bounds(sheet, period)
    amounts = sheet.amounts()
    by_id: dict[str, int] = {}
    for step, units in amounts:
        by_id[step.id] = by_id.get(step.id, 0) + units
    return PricedPeriod(
        lines=sheet.lines(amounts),
        amounts=by_id,
        total=sum(by_id.values()),
        carry=Carry(
            terms=commitments.carry(amounts),
            windows={} if period.last else _windows(period, carry, amounts),
            smoothed=smoothing.carry(),
        ),
    )


def _book_bounds(sheet: Sheet, period: PeriodUsage) -> None:
    """Book the maximum and the minimum of the plan at the period's end on the running total."""
    plan = period.parts[-1].plan
    running = sheet.running
    sheet.check(running)
    if plan.maximum_amount is not None:
        after = min(running, Fraction(plan.maximum_amount))
        entry = bound_slice(running, after, "maximum", plan.maximum_amount)
        kind = LineKind.PLAN_MAXIMUM
        step = Step("plan-maximum", kind, running, after, (entry,), due_time=period.end)
        sheet.book(step)
        running = after
    if plan.minimum_amount is not None:
        after = max(running, Fraction(plan.minimum_amount))
        entry = bound_slice(running, after, "minimum", plan.minimum_amount)
        kind = LineKind.PLAN_MINIMUM
        sheet.book(Step("plan-minimum", kind, running, after, (entry,), due_time=period.end))


def _windows(
    period: PeriodUsage, carry: Carry, amounts: Sequence[tuple[Step, int]]
) -> dict[str, int]:
    """Return what the tier windows of the last part's charges have booked so far (S8.5)."""
    last = len(period.parts) - 1
    windows = {} if window_opens(period.parts[last]) else dict(carry.windows)
    for step, amount in amounts:
        kind, key = step.memo or ("", "")
        if kind == WINDOW_MEMO and step.part == last:
            windows[key] = windows.get(key, 0) + amount
    return windows
