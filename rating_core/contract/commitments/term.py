"""A commitment over its term: what the period's line is, and what the next one needs (S5.3, S5.6).

The lines of a term add up to what A makes of all its list usage. What an earlier term left over
pays for list usage first; it is no usage of this term then.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction

from rating_core.calendar import BillingCalendar
from rating_core.catalog import BillingPeriod, Payment
from rating_core.contract.commitments.applied import AppliedCommitment
from rating_core.contract.usage import PeriodUsage, TermCarry
from rating_core.explain import ExactSlice, exact_decimal, exact_slice
from rating_core.period import DAY_US
from rating_core.statement import SliceKind

ZERO = Fraction(0)
_MONTHS = {BillingPeriod.MONTH: 1, BillingPeriod.QUARTER: 3, BillingPeriod.YEAR: 12}
_DAYS = {BillingPeriod.DAY: 1, BillingPeriod.WEEK: 7}
Rolled = tuple[tuple[Fraction, int | None], ...]


@dataclass(frozen=True, slots=True)
class TermLine:
    """A line of a commitment before rounding: all that its term booked and books, less ``booked``.

    ``entries`` explain the period's share of it.
    """

    total: Fraction
    booked: int
    entries: tuple[ExactSlice, ...]


@dataclass(frozen=True, slots=True)
class PeriodOfTerm:
    """What a commitment makes of one period. ``covered``: list usage that it took.

    ``line`` is A(L) − L; ``prepayment``, of prepaid ones only, what falls due of the fee less what
    it has paid for. ``carry`` is what the next period needs, its ``booked`` and ``prepaid`` yet to
    be set; ``None`` if nothing is.
    """

    covered: Fraction
    line: TermLine
    prepayment: TermLine | None
    carry: TermCarry | None


def term_end(term: BillingPeriod | None, start: int, calendar: BillingCalendar) -> int:
    """Return the end of a term: it holds whole billing periods (S5.3).

    That is the start of the period that holds the day a term after ``start``, so that a first stub
    counts as a period; at least one period.
    """
    _, first_end = calendar.bounds(start)
    if term is None:
        return first_end
    if term in _MONTHS:
        after = calendar.months_after(start, _MONTHS[term])
    else:
        zone = calendar.zone
        after = zone.instant_of(zone.local(start) + _DAYS.get(term, 0) * DAY_US)
    begin, _ = calendar.bounds(after)
    return max(begin, first_end)


def rate_term(
    applied: AppliedCommitment,
    listed: Fraction,
    carried: TermCarry | None,
    period: PeriodUsage,
    calendar: BillingCalendar,
    unit: Fraction,
) -> PeriodOfTerm:
    """Return what a commitment makes of ``listed``, the period's L (S5.2, S5.3, S5.6)."""
    before = carried or _opened(applied, period, calendar)
    entry = applied.entry
    rolled_over, rolled = _use_rolled(before.rolled, listed, entry.saved, period.start)
    now = replace(
        before,
        listed=before.listed + listed - rolled_over,
        rolled=rolled,
        rolled_over=before.rolled_over + rolled_over,
    )
    by_period = entry.commitment.term is None
    closes = by_period or applied.ended or period.last or period.end >= before.ends
    total, closing = _booked_by(applied, now), _closing(applied, now)
    before_total = _booked_by(applied, before)
    entries = _entries(applied, before, now, rolled_over)
    if closes and closing != total:
        entries.append(exact_slice(closing - total, SliceKind.TRUE_UP))
    entries += _restated(before_total - before.booked * unit, unit)
    line = TermLine(closing if closes else total, before.booked, tuple(entries))
    covered = rolled_over + min(now.listed, entry.limit) - min(before.listed, entry.limit)
    prepayment = _prepayment(applied, before, now, period, unit, closes=closes)
    carry: TermCarry | None = None
    if not closes:
        left = _fee(applied) - _paid(applied, now)
        carry = replace(now, closing=closing, closing_prepaid=left if prepayment else ZERO)
    elif not (applied.ended or period.last):
        carry = _next_term(applied, now, period, calendar)
    return PeriodOfTerm(covered, line, prepayment, carry)


def _next_term(
    applied: AppliedCommitment, term: TermCarry, period: PeriodUsage, calendar: BillingCalendar
) -> TermCarry | None:
    """Return the term that follows, if anything is handed on into it (S5.6)."""
    rolled = _rolled_on(applied, term)
    if not rolled:
        return None
    ends = term_end(applied.entry.commitment.term, period.end, calendar)
    return TermCarry(period.end, ends, ZERO, 0, rolled=rolled, first=period.number + 1)


def _restated(difference: Fraction, unit: Fraction) -> list[ExactSlice]:
    """Return what earlier statements booked otherwise than the terms in force now say, if it is
    more than rounding: a plan change may continue a commitment on other terms (S5.3).
    """
    if abs(difference) < unit:
        return []
    return [exact_slice(difference, SliceKind.BOOKED, label="booked before on other terms")]


def _opened(
    applied: AppliedCommitment, period: PeriodUsage, calendar: BillingCalendar
) -> TermCarry:
    """Return a term that begins with the first part that has the commitment (S5.3)."""
    ends = term_end(applied.entry.commitment.term, applied.began, calendar)
    return TermCarry(applied.began, ends, ZERO, 0, first=period.number)


def _booked_by(applied: AppliedCommitment, term: TermCarry) -> Fraction:
    """Return what a term's lines come to while it lasts, exactly (S5.2)."""
    entry = applied.entry
    covered = min(term.listed, entry.limit)
    overage = (term.listed - covered) * (entry.overage_factor - 1)
    return overage - covered * entry.saved - term.rolled_over * _saved_of_rolled(applied)


def _saved_of_rolled(applied: AppliedCommitment) -> Fraction:
    """Return what usage under a rollover saves: all of it if it was paid for, else the discount."""
    return Fraction(1) if applied.trues_up or _prepaid(applied) else applied.entry.saved


def _closing(applied: AppliedCommitment, term: TermCarry) -> Fraction:
    """Return what they come to when it ends: with the true-up of what is paid in arrears."""
    total = _booked_by(applied, term)
    if not applied.trues_up or _prepaid(applied):
        return total
    return total + max(_fee(applied) - _paid(applied, term), ZERO)


def _entries(
    applied: AppliedCommitment, before: TermCarry, now: TermCarry, rolled_over: Fraction
) -> list[ExactSlice]:
    """Return the slices of the period: what it covers, and what is beyond the commitment."""
    entry = applied.entry
    covered = min(now.listed, entry.limit) - min(before.listed, entry.limit)
    entries = [
        exact_slice(
            -covered * entry.saved,
            SliceKind.COMMITTED,
            quantity=exact_decimal(covered),
            percent=entry.commitment.discount_percent,
        )
    ]
    if rolled_over:
        words = "left over by an earlier term"
        entries.append(
            exact_slice(
                -rolled_over * _saved_of_rolled(applied),
                SliceKind.ROLLED_OVER,
                quantity=exact_decimal(rolled_over),
                label=words,
            )
        )
    overage = now.listed - before.listed - covered
    if overage and entry.last:
        entries.append(
            exact_slice(
                overage * (entry.overage_factor - 1),
                SliceKind.OVERAGE,
                quantity=exact_decimal(overage),
                unit_price=entry.commitment.overage_factor,
            )
        )
    return entries


def _use_rolled(
    rolled: Rolled, listed: Fraction, saved: Fraction, start: int
) -> tuple[Fraction, Rolled]:
    """Return the list usage that is paid for already, and what is left, soonest to expire first."""
    used = ZERO
    left = []
    for amount, expires in rolled:
        if expires is not None and expires <= start:
            continue
        taken = min(amount / (1 - saved), max(listed - used, ZERO))
        used += taken
        rest = amount - taken * (1 - saved)
        if rest:
            left.append((rest, expires))
    return used, tuple(left)


def _rolled_on(applied: AppliedCommitment, term: TermCarry) -> Rolled:
    """Return what goes on into the next term, of what was not used (S5.6)."""
    rollover = applied.entry.commitment.rollover
    kept = list(term.rolled)
    unused = _fee(applied) - _paid(applied, term)
    if rollover is not None and unused > 0:
        amount = unused * Fraction(rollover.fraction)
        if rollover.maximum_amount is not None:
            amount = min(amount, Fraction(rollover.maximum_amount))
        expires = None
        if rollover.expires_after is not None:
            expires = term.ends + rollover.expires_after
        if amount:
            kept.append((amount, expires))
    return tuple(sorted(kept, key=lambda one: (one[1] is None, one[1] or 0)))


def _fee(applied: AppliedCommitment) -> Fraction:
    return applied.entry.fee


def _paid(applied: AppliedCommitment, term: TermCarry) -> Fraction:
    """Return what of the fee the covered usage of a term is worth."""
    return min(term.listed, applied.entry.limit) * (1 - applied.entry.saved)


def _prepaid(applied: AppliedCommitment) -> bool:
    return applied.entry.commitment.payment is Payment.PREPAID


def _prepayment(
    applied: AppliedCommitment,
    before: TermCarry,
    now: TermCarry,
    period: PeriodUsage,
    unit: Fraction,
    *,
    closes: bool,
) -> TermLine | None:
    """Return what falls due of a prepaid fee by its schedule, less what it has paid for (S5.6).

    When the term ends all of the fee is due.
    """
    if not _prepaid(applied):
        return None
    due_before = _due(applied, before, period.start, period.number)
    due = _fee(applied) if closes else _due(applied, now, period.end, period.number + 1)
    if period.number == now.first:
        due_before = ZERO
    used = _paid(applied, now) - _paid(applied, before)
    entries: list[ExactSlice] = []
    if due != due_before:
        entries.append(exact_slice(due - due_before, SliceKind.INSTALLMENT))
    if used:
        words = "paid for by the fee"
        entries.append(exact_slice(-used, SliceKind.PREPAID, label=words))
    entries += _restated(due_before - _paid(applied, before) - before.prepaid * unit, unit)
    return TermLine(due - _paid(applied, now), before.prepaid, tuple(entries))


def _due(applied: AppliedCommitment, term: TermCarry, until: int, number: int) -> Fraction:
    """Return what of the fee is due before an instant, and before period ``number`` begins."""
    schedule = applied.entry.commitment.schedule
    if not schedule:
        return _fee(applied)
    due = (
        Fraction(one.amount)
        for one in schedule
        if (one.at < until if one.at is not None else term.first + (one.period or 0) < number)
    )
    return sum(due, ZERO)
