"""The commitments of one period: applied in their order, booked in that of the document (S5.4)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

from rating_core.calendar import BillingCalendar
from rating_core.contract.charge import ChargePricer
from rating_core.contract.commitments.applied import (
    AppliedCommitment,
    Place,
    Uncovered,
    applied_commitments,
)
from rating_core.contract.commitments.hourly import PartHours
from rating_core.contract.commitments.term import TermLine, rate_term
from rating_core.contract.sheet import Sheet, Step
from rating_core.contract.usage import PeriodUsage, TermCarry
from rating_core.explain import ExactSlice, exact_slice
from rating_core.statement import LineKind, SliceKind

ZERO = Fraction(0)
TERM_MEMO = "term"
PREPAID_MEMO = "prepaid"


@dataclass(slots=True)
class _Lines:
    """What one commitment books: its line, and that of its prepayment."""

    line: TermLine
    prepayment: TermLine | None = None


class PeriodCommitments:
    """The commitments of one period."""

    def __init__(
        self,
        period: PeriodUsage,
        pricers: Mapping[Place, ChargePricer],
        calendar: BillingCalendar,
        now: int,
    ) -> None:
        """``pricers``: the billed charges in line order; ``now``: see `PartHours`."""
        self._period = period
        self._pricers = pricers
        self._calendar = calendar
        self._now = now
        self._hours: dict[int, PartHours] = {}
        self._carry: dict[str, TermCarry] = {}

    def book(self, sheet: Sheet, uncovered: Uncovered, carried: Mapping[str, TermCarry]) -> None:
        """Book the line of each commitment, and what its prepayment comes to (S5.2, S5.6).

        Raises OutOfRange if an L or a line does not fit int64 (S1.2).
        """
        in_order, in_lines = applied_commitments(self._period, list(self._pricers))
        if any(one.entry.commitment.hourly for one in in_order):
            self._read_hours(in_order)
        lines: dict[str, _Lines] = {}
        for applied in in_order:
            sheet.check(uncovered.listed(applied.covers))
            if applied.entry.commitment.hourly:
                lines[applied.id] = self._rate_hours(applied, uncovered)
            else:
                lines[applied.id] = self._rate_term(applied, uncovered, carried, sheet.unit)
        for dropped in sorted(carried.keys() - lines.keys()):
            self._book_lines(sheet, dropped, _closing_lines(carried[dropped], sheet.unit))
        for applied in in_lines:
            self._book_lines(sheet, applied.id, lines[applied.id])

    def carry(self, amounts: Sequence[tuple[Step, int]]) -> dict[str, TermCarry]:
        """Return the terms that go on, with what ``amounts`` booked of them."""
        carry = dict(self._carry)
        for step, amount in amounts:
            kind, key = step.memo or ("", "")
            if key not in carry or carry[key].first > self._period.number:
                continue
            if kind == TERM_MEMO:
                carry[key] = replace(carry[key], booked=carry[key].booked + amount)
            elif kind == PREPAID_MEMO:
                carry[key] = replace(carry[key], prepaid=carry[key].prepaid + amount)
        return carry

    def _rate_term(
        self,
        applied: AppliedCommitment,
        uncovered: Uncovered,
        carried: Mapping[str, TermCarry],
        unit: Fraction,
    ) -> _Lines:
        listed = uncovered.listed(applied.covers)
        rated = rate_term(
            applied, listed, carried.get(applied.id), self._period, self._calendar, unit
        )
        if rated.carry is not None:
            self._carry[applied.id] = rated.carry
        before = {place: uncovered.amounts[place] for place in applied.covers}
        uncovered.take(applied.covers, rated.covered)
        for place, amount in before.items():
            hours = self._hours.get(place[0])
            if hours is not None:
                hours.take_first(place, amount - uncovered.amounts[place])
        return _Lines(rated.line, rated.prepayment)

    def _read_hours(self, in_order: Sequence[AppliedCommitment]) -> None:
        covered = {place for one in in_order for place in one.covers}
        for number, part in enumerate(self._period.parts):
            pricers = {
                place: pricer
                for place, pricer in self._pricers.items()
                if place[0] == number and place in covered
            }
            self._hours[number] = PartHours(part, pricers, self._now)

    def _rate_hours(self, applied: AppliedCommitment, uncovered: Uncovered) -> _Lines:
        total = ZERO
        entries: list[ExactSlice] = []
        for number, entry in applied.by_part:
            covers = [place for place in applied.covers if place[0] == number]
            rated = self._hours[number].rate(entry, covers, trues_up=applied.trues_up)
            total += rated.total
            entries += rated.entries
            for place, covered in rated.covered.items():
                left = uncovered.amounts[place]
                uncovered.amounts[place] = left - min(covered, left)
        return _Lines(TermLine(total, 0, tuple(entries)))

    def _book_lines(self, sheet: Sheet, commitment_id: str, lines: _Lines) -> None:
        kinds = (
            (LineKind.COMMITMENT, TERM_MEMO, lines.line),
            (LineKind.PREPAYMENT, PREPAID_MEMO, lines.prepayment),
        )
        for kind, memo, line in kinds:
            if line is not None:
                sheet.book(
                    Step(
                        commitment_id,
                        kind,
                        ZERO,
                        line.total,
                        line.entries,
                        line.booked,
                        due_time=self._period.end,
                        memo=(memo, commitment_id),
                    )
                )


def _closing_lines(term: TermCarry, unit: Fraction) -> _Lines:
    """Return what falls due of a term that a change of plan at the period's start ended (S5.3)."""
    missing = term.closing - term.booked * unit
    words = "the plan no longer has the commitment"
    line = TermLine(
        term.closing,
        term.booked,
        (exact_slice(missing, SliceKind.TRUE_UP, label=words),),
    )
    if not term.prepaid and not term.closing_prepaid:
        return _Lines(line)
    rest = term.closing_prepaid - term.prepaid * unit
    entries = (exact_slice(rest, SliceKind.INSTALLMENT, label=words),)
    return _Lines(line, TermLine(term.closing_prepaid, term.prepaid, entries))
