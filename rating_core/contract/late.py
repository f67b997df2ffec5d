"""Late deltas: what finalised periods lack, and the draw-downs that they give back (S9.1, S9.3)."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from fractions import Fraction

from rating_core.contract.period import PricedPeriod
from rating_core.contract.usage import Booked, PeriodUsage
from rating_core.explain import ExactSlice, booked_line, exact_slice
from rating_core.statement import Line, LineKind, SliceKind
from rating_core.units import format_units

LATE_ID = "late"


@dataclass(frozen=True, slots=True)
class GivenBack:
    """A draw-down of the statement of the period from ``period_start`` that goes back."""

    grant_id: str
    amount: int
    period_start: int


@dataclass(slots=True)
class LateDeltas:
    """What the finalised periods of a contract lack, in units of 10^-scale.

    ``deltas``: (period start, line id, amount booked, amount now), in order, where they differ.
    ``rebooked``: by period start, what stands booked once the deltas are. A period's net delta, if
    it is negative, gives back the draw-downs of its statement, last drawn first.
    """

    scale: int
    deltas: list[tuple[int, str, int, int]] = field(default_factory=list)
    given_back: list[GivenBack] = field(default_factory=list)
    rebooked: dict[int, Booked] = field(default_factory=dict)

    def compare(self, period: PeriodUsage, booked: Booked, priced: PricedPeriod) -> None:
        """Note what a finalised period lacks of what it now comes to.

        In the order of its lines now, then by id those that it has no more: what is booked comes
        from an entry of the log, which keeps no order of keys (S9.5).
        """
        known = len(self.deltas)
        for line_id in (*priced.amounts, *sorted(booked.lines.keys() - priced.amounts.keys())):
            before, now = booked.lines.get(line_id, 0), priced.amounts.get(line_id, 0)
            if before != now:
                self.deltas.append((period.start, line_id, before, now))
        draws = booked.draws
        if priced.total < booked.total_before_credits:
            draws = self._give_back(period, draws, booked.total_before_credits - priced.total)
        if len(self.deltas) > known or priced.carry != booked.carry:
            now_booked = Booked(priced.amounts, priced.total, draws, priced.carry)
            self.rebooked[period.start] = now_booked

    def amounts(self) -> dict[str, int]:
        """Return the sum of the deltas of each line id."""
        sums: dict[str, int] = {}
        for _, line_id, before, now in self.deltas:
            sums[line_id] = sums.get(line_id, 0) + now - before
        return sums

    def line(self, due_time: int) -> Line | None:
        """Return the line `late`, a slice for each delta; ``None`` without any."""
        if not self.deltas:
            return None
        unit = Fraction(1, 10**self.scale)
        entries: list[ExactSlice] = []
        for start, line_id, before, now in self.deltas:
            was, comes_to = format_units(before, self.scale), format_units(now, self.scale)
            words = f"{line_id}: {was} booked, {comes_to} now"
            amount = (now - before) * unit
            entries.append(
                exact_slice(
                    amount, SliceKind.LATE, label=words, line_id=line_id, period_start=start
                )
            )
        total = sum(now - before for _, _, before, now in self.deltas)
        line = booked_line(self.scale, LATE_ID, LineKind.LATE, total, entries)
        return replace(line, due_time=due_time)

    def _give_back(
        self, period: PeriodUsage, draws: tuple[tuple[str, int], ...], amount: int
    ) -> tuple[tuple[str, int], ...]:
        """Give back up to ``amount`` of a statement's draws, last drawn first; return the rest."""
        left = list(draws)
        while amount and left:
            grant_id, drawn = left.pop()
            back = min(amount, drawn)
            self.given_back.append(GivenBack(grant_id, back, period.start))
            amount -= back
            if drawn > back:
                left.append((grant_id, drawn - back))
        return tuple(left)
