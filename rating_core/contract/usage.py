"""What was counted and what was booked of a contract, period by period (S8, S9).

The shard's state, a scenario or a request makes these; `rate_contract` reads them. Amounts are int
in units of 10^-scale of the contract's rounding, instants int microseconds UTC.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction

from rating_core.calendar import BillingCalendar
from rating_core.catalog import Plan
from rating_core.contract.values import Grant, Promotion
from rating_core.counter import SeriesCounter


@dataclass(frozen=True, slots=True)
class PlanRef:
    """A plan version with a customer's overrides, canonical JSON, empty for none (S8.6)."""

    plan_id: str
    version: int
    overrides: str = ""


@dataclass(frozen=True, slots=True)
class HourUsage:
    """What was counted in the hour [start, end) alone, cut to its part (S5.5)."""

    start: int
    end: int
    counters: tuple[SeriesCounter, ...]


@dataclass(frozen=True, slots=True)
class PartUsage:
    """One part of a period: [start, end) on one plan, and what it counted (S8.2).

    ``share_by_second`` and ``share_by_day``: its length ÷ the length of the full period around it,
    by the clock and in local days (S8.4). ``window``: counters of the earlier periods of the tier
    window that this part continues (S8.5), empty without one, and ``window_start`` where it began:
    it begins with this part if that is not before ``start``, or is ``None`` and ``window`` empty.
    ``hours``: only where the plan has hourly commitments; hours that have ended and have usage, in
    order.
    """

    start: int
    end: int
    plan: Plan
    plan_ref: PlanRef
    counters: tuple[SeriesCounter, ...]
    share_by_second: Fraction = Fraction(1)
    share_by_day: Fraction = Fraction(1)
    window: tuple[SeriesCounter, ...] = ()
    hours: tuple[HourUsage, ...] = ()
    window_start: int | None = None


@dataclass(frozen=True, slots=True)
class TermCarry:
    """A commitment's term so far: its start, the list amount and what was booked (S5.3).

    ``listed`` is exact, less ``rolled_over``: what of it an earlier term paid for. ``ends``: the
    instant at which the term ends. ``rolled``: what an earlier term handed on and is not used yet
    (S5.6), each (amount, the instant at which it expires or ``None``). ``first``: number of the
    term's first period. ``prepaid``: what its lines of prepayment booked. ``closing`` and
    ``closing_prepaid``: what all its lines would come to, exactly, if the term ended here, for the
    plan change that ends it.
    """

    start: int
    ends: int
    listed: Fraction
    booked: int
    rolled: tuple[tuple[Fraction, int | None], ...] = ()
    rolled_over: Fraction = Fraction(0)
    first: int = 0
    prepaid: int = 0
    closing: Fraction = Fraction(0)
    closing_prepaid: Fraction = Fraction(0)


@dataclass(frozen=True, slots=True)
class Carry:
    """What one period hands to the next, before credits.

    ``terms`` by commitment id. ``windows``: what a tier window booked so far (S8.5), by charge id
    for the model's lines and by `<charge id>:<kind of line>` for those of the later steps.
    ``smoothed``: charge id → parts that fall due in the next statements, soonest first (S10.4).
    """

    terms: Mapping[str, TermCarry] = field(default_factory=dict)
    windows: Mapping[str, int] = field(default_factory=dict)
    smoothed: Mapping[str, tuple[int, ...]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Booked:
    """What was booked for a finalised period: amount of each line id, late deltas included (S9.1).

    ``lines`` holds its own lines, wherever they stand: not the line `late` of its statement, which
    belongs to the periods that it corrects, and no credits; ``total_before_credits`` is their sum.
    ``draws``: (grant id, amount > 0) in the order of drawing, of the statement of this period, less
    what was given back. ``carry``: what the period handed to the next.
    """

    lines: Mapping[str, int]
    total_before_credits: int
    draws: tuple[tuple[str, int], ...]
    carry: Carry


@dataclass(frozen=True, slots=True)
class PeriodUsage:
    """One billing period of a subscription: its parts in order, and what was booked, if it is.

    ``number`` counts the subscription's periods from 0. ``last``: whether the subscription ends
    with it, so that terms, windows and smoothing fall due.
    """

    start: int
    end: int
    number: int
    parts: tuple[PartUsage, ...]
    booked: Booked | None = None
    last: bool = False


@dataclass(frozen=True, slots=True)
class ContractUsage:
    """A subscription from the first period that must be priced (again) to the one asked for.

    ``carry``: what the period before ``periods[0]`` handed on. Finalised periods come first; those
    after the last finalised one are assumed finalised in order (S9.4). ``drawn``: grant id → amount
    drawn by all statements so far, less what was given back. ``correction``: the subscription's
    last period is finalised and a correction statement is asked for (S9.3). ``calendar``: that of
    the subscription, ``None`` for calendar periods in UTC. ``now``: the instant at which the
    contract is looked at, 0 for after everything known.
    """

    customer: str
    subscription_id: str
    subscription_start: int
    first_period_end: int
    periods: tuple[PeriodUsage, ...]
    carry: Carry = field(default_factory=Carry)
    grants: tuple[Grant, ...] = ()
    promotions: tuple[Promotion, ...] = ()
    drawn: Mapping[str, int] = field(default_factory=dict)
    now: int = 0
    correction: bool = False
    calendar: BillingCalendar | None = None
