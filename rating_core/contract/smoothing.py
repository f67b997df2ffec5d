"""Smoothing: what lies above the included units falls due over several statements (S10.4)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

from rating_core.contract.sheet import Sheet, Step
from rating_core.explain import ExactSlice, exact_slice
from rating_core.statement import LineKind, SliceKind

ZERO = Fraction(0)


@dataclass(slots=True)
class _Above:
    amount: int
    statements: int


def equal_parts(amount: int, count: int) -> list[int]:
    """Return ``amount`` ≥ 0 in ``count`` equal parts; the units that are over go to the first.

    That is the largest remainder method, ties in order of the statements (S10.4).
    """
    whole, over = divmod(amount, count)
    return [whole + (place < over) for place in range(count)]


class Smoothing:
    """What the charges of one period put off, and what falls due in it."""

    def __init__(self, carried: Mapping[str, tuple[int, ...]], *, last: bool) -> None:
        self._carried = carried
        self._last = last
        self._above: dict[str, _Above] = {}
        self._billed: dict[str, None] = {}

    def spread(self, charge_id: str, amount: int, statements: int) -> None:
        """Spread what a part has above the included units, units of 10^-scale.

        What the parts of a period have of a charge is spread as one amount, over as many statements
        as the last of them says. In the subscription's last period nothing is put off.
        """
        self._billed[charge_id] = None
        if statements <= 1 or self._last:
            return
        above = self._above.setdefault(charge_id, _Above(0, statements))
        above.amount += max(amount, 0)
        above.statements = statements

    def book(self, sheet: Sheet, due_time: int) -> None:
        """Book a line for each charge that puts something off or has something falling due."""
        for charge_id in self._charges():
            due, put_off = self._due(charge_id), sum(self._later(charge_id))
            entries = _entries(sheet.unit, due, put_off)
            sheet.book(
                Step(
                    charge_id,
                    LineKind.SMOOTHING,
                    ZERO,
                    (due - put_off) * sheet.unit,
                    entries,
                    due_time=due_time,
                )
            )

    def carry(self) -> dict[str, tuple[int, ...]]:
        """Return what falls due in the next statements, soonest first; nothing after the last."""
        if self._last:
            return {}
        carried: dict[str, tuple[int, ...]] = {}
        for charge_id in self._charges():
            later = _added(self._carried.get(charge_id, ())[1:], self._later(charge_id))
            if any(later):
                carried[charge_id] = tuple(later)
        return carried

    def _charges(self) -> list[str]:
        """Return the charges that are smoothed: in line order, then by id those of other plans.

        What is carried may come from an entry of the log, which keeps no order of keys (S9.5).
        """
        smoothed = self._carried.keys() | self._above.keys()
        billed = [charge_id for charge_id in self._billed if charge_id in smoothed]
        return [*billed, *sorted(smoothed - self._billed.keys())]

    def _later(self, charge_id: str) -> list[int]:
        """Return what of this period falls due in the next statements."""
        above = self._above.get(charge_id)
        return [] if above is None else equal_parts(above.amount, above.statements)[1:]

    def _due(self, charge_id: str) -> int:
        """Return what earlier statements put off until this one; all of it in the last period."""
        carried = self._carried.get(charge_id, ())
        return sum(carried) if self._last else sum(carried[:1])


def _added(one: Sequence[int], other: Sequence[int]) -> list[int]:
    longest = max(len(one), len(other))
    return [
        (one[place] if place < len(one) else 0) + (other[place] if place < len(other) else 0)
        for place in range(longest)
    ]


def _entries(unit: Fraction, due: int, put_off: int) -> tuple[ExactSlice, ...]:
    entries = []
    if put_off:
        words = "falls due in later statements"
        entries.append(exact_slice(-put_off * unit, SliceKind.PUT_OFF, label=words))
    if due:
        words = "put off by earlier statements"
        entries.append(exact_slice(due * unit, SliceKind.FALLS_DUE, label=words))
    return tuple(entries)
