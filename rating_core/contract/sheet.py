"""The lines of a statement as they are booked step by step, and their rounding (S1.4, S4.2)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from math import floor

from rating_core.catalog import Rounding
from rating_core.errors import OutOfRange
from rating_core.explain import ExactSlice, booked_line
from rating_core.statement import Line, LineKind
from rating_core.units import RoundingStage, fits_int64, round_fraction

_ALWAYS_SHOWN = (LineKind.MODEL, LineKind.COMMITMENT)


@dataclass(frozen=True, slots=True)
class Step:
    """One line before rounding: what a step made of ``before``, less what was booked of it.

    Amounts are exact, in the currency; ``booked`` is in units of 10^-scale: what earlier statements
    of a term or window booked of ``after`` (S5.3, S8.5). ``entries`` add up to the line, but for
    rounding. ``memo`` says which number of the carry the line counts towards.
    """

    id: str
    kind: LineKind
    before: Fraction
    after: Fraction
    entries: tuple[ExactSlice, ...]
    booked: int = 0
    part: int | None = None
    charge_id: str = ""
    due_time: int | None = None
    memo: tuple[str, str] | None = None


class Sheet:
    """Steps in the order of their lines. ``running`` is their sum as later steps see it.

    That is rounded at stage `line` and exact at stage `statement`.
    """

    def __init__(self, rounding: Rounding) -> None:
        self.rounding = rounding
        self.unit = Fraction(1, 10**rounding.scale)
        self.by_line = rounding.stage is RoundingStage.LINE
        self.running = Fraction(0)
        self._steps: list[Step] = []
        self._amounts: list[Fraction] = []

    def rounded(self, amount: Fraction) -> int:
        """Return an amount in units of 10^-scale, rounded by the mode (S1.3)."""
        return round_fraction(amount, self.rounding.scale, self.rounding.mode)

    def check(self, amount: Fraction) -> None:
        """Raise OutOfRange if an amount does not fit int64 at its rounding scale (S1.2)."""
        self._fitting(self.rounded(amount) if self.by_line else floor(amount / self.unit))

    def book(self, step: Step) -> Fraction:
        """Append a step's line; return its amount as later steps see it.

        Raises OutOfRange if the amount after the step, or the line, does not fit int64.
        """
        self.check(step.after)
        if self.by_line:
            units = self.rounded(step.after) - self.rounded(step.before) - step.booked
            amount = self._fitting(units) * self.unit
        else:
            amount = step.after - step.before - step.booked * self.unit
        self._steps.append(step)
        self._amounts.append(amount)
        self.running += amount
        return amount

    def amounts(self) -> list[tuple[Step, int]]:
        """Return each step with its line's amount in units of 10^-scale (S1.4).

        At stage `statement` the sum is rounded, each line cut towards −∞, and the missing units go
        to the largest remainders, ties in line order.
        """
        per_unit = 10**self.rounding.scale
        whole = [floor(amount * per_unit) for amount in self._amounts]
        if not self.by_line:
            missing = self.rounded(self.running) - sum(whole)
            rests = [
                amount / self.unit - units
                for amount, units in zip(self._amounts, whole, strict=True)
            ]
            by_rest = sorted(range(len(rests)), key=lambda place: -rests[place])
            for units in whole:
                self._fitting(units)
            for place in by_rest[:missing]:
                whole[place] += 1
        for units in (*whole, sum(whole)):
            self._fitting(units)
        return list(zip(self._steps, whole, strict=True))

    def lines(self, amounts: Sequence[tuple[Step, int]]) -> tuple[Line, ...]:
        """Return the explained lines of ``amounts``, which are those that `amounts` gave.

        Lines of 0 are left out, but for models and commitments.
        """
        lines = []
        for step, amount in amounts:
            if not amount and step.kind not in _ALWAYS_SHOWN:
                continue
            # what earlier statements booked of a term was rounded for itself
            residue_max = 2 if step.memo else 1
            scale, entries = self.rounding.scale, step.entries
            line = booked_line(scale, step.id, step.kind, amount, entries, residue_max)
            part, charge_id, due_time = step.part, step.charge_id, step.due_time
            lines.append(replace(line, part=part, charge_id=charge_id, due_time=due_time))
        return tuple(lines)

    def _fitting(self, units: int) -> int:
        if not fits_int64(units):
            raise OutOfRange("an amount does not fit 64 bits at its rounding scale")
        return units
