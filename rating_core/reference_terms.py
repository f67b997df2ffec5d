"""The oracle's lines and commitments over terms, for `reference_contract` (S1.4, S5).

A term keeps all its list amounts; every period prices them anew and books the difference.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field, replace
from fractions import Fraction

from rating_core.catalog import BillingPeriod, Commitment, CommitmentOrder, Payment, Plan
from rating_core.contract.usage import PeriodUsage
from rating_core.reference import ZERO, commitment_amount, covered_at_most
from rating_core.units import RoundingStage, round_fraction

_MONTHS_OF_TERM = {None: 1, BillingPeriod.QUARTER: 3, BillingPeriod.YEAR: 12}


@dataclass
class ReferenceTerm:
    """A term of one commitment: its first period, and what every period of it brought."""

    first: int
    listed: list[Fraction] = field(default_factory=list)
    free: list[Fraction] = field(default_factory=list)
    booked: int = 0
    prepaid: int = 0


@dataclass
class ReferencePast:
    """All that earlier statements left."""

    terms: dict[str, ReferenceTerm] = field(default_factory=dict)
    rolled: dict[str, list[tuple[Fraction, int | None]]] = field(default_factory=dict)
    windows: dict[tuple[str, str], int] = field(default_factory=lambda: defaultdict(int))
    smoothed: list[tuple[int, str, int]] = field(default_factory=list)
    drawn: dict[str, int] = field(default_factory=lambda: defaultdict(int))


class ReferenceLines:
    """Exact lines in their order, each rounded when it is added, or all at the end (S1.4)."""

    def __init__(self, plan: Plan) -> None:
        self.rounding = plan.rounding
        self.by_line = plan.rounding.stage is RoundingStage.LINE
        self.unit = Fraction(1, 10**plan.rounding.scale)
        self.ids: list[str] = []
        self.exact: list[Fraction] = []

    def rounded(self, amount: Fraction) -> int:
        return round_fraction(amount, self.rounding.scale, self.rounding.mode)

    def add(self, line_id: str, before: Fraction, after: Fraction, booked: int = 0) -> Fraction:
        amount = after - before - booked * self.unit
        if self.by_line:
            amount = (self.rounded(after) - self.rounded(before) - booked) * self.unit
        self.ids.append(line_id)
        self.exact.append(amount)
        return amount

    def units(self) -> list[int]:
        """Return all lines: the largest remainders get what is missing of the rounded sum."""
        cut = [amount // self.unit for amount in self.exact]
        missing = self.rounded(sum(self.exact, ZERO)) - sum(cut)
        places = range(len(cut))
        remainder = [self.exact[place] - cut[place] * self.unit for place in places]
        for place in sorted(places, key=lambda place: (-remainder[place], place))[:missing]:
            cut[place] += 1
        return [int(units) for units in cut]


# --- commitments (S5) ---


def _in_order(plan: Plan) -> list[Commitment]:
    if plan.commitment_order is CommitmentOrder.BEST_SAVING_FIRST:
        return sorted(plan.commitments, key=lambda one: -one.discount_percent)
    return list(plan.commitments)


def add_commitments(
    lines: ReferenceLines,
    period: PeriodUsage,
    charged: dict[tuple[int, str], Fraction],
    past: ReferencePast,
) -> None:
    """Add the lines of all commitments; ``charged`` by part and charge, in line order."""
    last_plan = period.parts[-1].plan
    at_end = _in_order(last_plan)
    over = [
        commitment
        for part in period.parts[:-1]
        for commitment in _in_order(part.plan)
        if commitment.id not in {one.id for one in at_end}
    ]
    over = list({one.id: one for one in over}.values())
    for dropped in [name for name in past.terms if name not in {c.id for c in (*over, *at_end)}]:
        raise ValueError(f"{dropped}: a term dropped between periods is not in this oracle")
    uncovered = dict(charged)
    results: dict[str, list[tuple[Fraction, int]]] = {}
    for commitment in (*over, *at_end):
        plan = last_plan
        if commitment in over:
            plan = [p.plan for p in period.parts if commitment in p.plan.commitments][-1]
        is_last = commitment == _in_order(plan)[-1]
        results[commitment.id] = _rate_commitment(
            period, commitment, uncovered, past, is_last=is_last, over=commitment in over
        )
    for commitment in (*over, *last_plan.commitments):
        for after, booked in results[commitment.id]:
            amount = lines.add(commitment.id, ZERO, after, booked)
            term = past.terms.get(commitment.id)
            if term is not None and term.first <= period.number:
                prepayment = (after, booked) != results[commitment.id][0]
                units = int(amount / lines.unit)
                term.prepaid += units if prepayment else 0
                term.booked += 0 if prepayment else units


def _rate_commitment(
    period: PeriodUsage,
    commitment: Commitment,
    uncovered: dict[tuple[int, str], Fraction],
    past: ReferencePast,
    *,
    is_last: bool,
    over: bool,
) -> list[tuple[Fraction, int]]:
    """Return what the term comes to and what was booked of it, then the same of its prepayment."""
    term = past.terms.setdefault(commitment.id, ReferenceTerm(period.number))
    covers = [
        (number, name)
        for number, name in uncovered
        if any(
            one.id == commitment.id and name in one.covers
            for one in period.parts[number].plan.commitments
        )
    ]
    listed = sum((uncovered[place] for place in covers), ZERO)
    kept = 1 - Fraction(commitment.discount_percent) / 100
    free, rest = ZERO, []
    for amount, expires in past.rolled.get(commitment.id, []):
        if expires is None or expires > period.start:
            used = min(amount, (listed - free) * kept)
            free += used / kept
            rest.append((amount - used, expires))
    limit = covered_at_most(commitment)
    before = min(sum(term.listed, ZERO), limit)
    term.listed.append(listed - free)
    term.free.append(free)
    total = sum(term.listed, ZERO)
    left = free + min(total, limit) - before
    for place in covers:
        taken = min(left, uncovered[place])
        uncovered[place] -= taken
        left -= taken
    months = _MONTHS_OF_TERM[commitment.term]
    closes = over or period.last or period.number - term.first + 1 >= months
    wants = commitment.true_up or commitment.true_up_at_term_end
    prepaid = commitment.payment is Payment.PREPAID
    factor = Fraction(commitment.overage_factor) if is_last else Fraction(1)
    due = replace(commitment, true_up=closes and wants and not prepaid)
    after = commitment_amount(due, total, factor) - total
    after -= sum(term.free, ZERO) * (1 if wants or prepaid else 1 - kept)
    result = [(after, term.booked)]
    fee = limit * kept
    used_up = min(total, limit) * kept
    if prepaid:
        age = period.number - term.first
        fallen = [
            Fraction(one.amount)
            for one in commitment.schedule
            if (one.at is not None and one.at < period.end)
            or (one.period is not None and one.period <= age)
        ]
        paid = sum(fallen, ZERO) if commitment.schedule and not closes else fee
        result.append((paid - used_up, term.prepaid))
    if closes:
        past.terms.pop(commitment.id)
        rollover = commitment.rollover
        if rollover is not None and not over and not period.last:
            more = (fee - used_up) * Fraction(rollover.fraction)
            if rollover.maximum_amount is not None:
                more = min(more, Fraction(rollover.maximum_amount))
            length = rollover.expires_after
            rest.append((more, None if length is None else period.end + length))
        rest.sort(key=lambda one: (one[1] is None, one[1] or 0))
    past.rolled[commitment.id] = rest
    return result
