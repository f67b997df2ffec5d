"""Which commitments apply in a period, in which order, and what is left for each (S5.4)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from rating_core.adjustments.commitment import PricedCommitment, priced_commitments
from rating_core.contract.usage import PeriodUsage

ZERO = Fraction(0)
Place = tuple[int, str]
"""Index of a part, and id of a charge in it."""


@dataclass(frozen=True, slots=True)
class AppliedCommitment:
    """A commitment of a period, on the terms of the last part whose plan has it.

    ``covers``: what it covers, in line order. ``by_part``: the indices of the parts that have it,
    each with its terms there. ``began``: the start of the first of them.
    ``ended``: whether the plan at the period's end lacks it (S5.3).
    """

    entry: PricedCommitment
    covers: tuple[Place, ...]
    by_part: tuple[tuple[int, PricedCommitment], ...]
    began: int
    ended: bool

    @property
    def id(self) -> str:
        """The id of the commitment, and of its lines."""
        return self.entry.commitment.id

    @property
    def trues_up(self) -> bool:
        """Whether the fee is due whole at the end of its term, used or not (S5.2)."""
        commitment = self.entry.commitment
        return commitment.true_up or commitment.true_up_at_term_end


class Uncovered:
    """What of each charge no commitment has covered yet."""

    def __init__(self) -> None:
        self.amounts: dict[Place, Fraction] = {}

    def listed(self, covers: Sequence[Place]) -> Fraction:
        """Return L: what earlier commitments left of the covered charges (S5.4)."""
        return sum((self.amounts[place] for place in covers), ZERO)

    def take(self, covers: Sequence[Place], covered: Fraction) -> None:
        """Take what a commitment covers off its charges, first charge first."""
        for place in covers:
            taken = min(covered, self.amounts[place])
            self.amounts[place] -= taken
            covered -= taken


def applied_commitments(
    period: PeriodUsage, billed: Sequence[Place]
) -> tuple[list[AppliedCommitment], list[AppliedCommitment]]:
    """Return the commitments of a period in order of application, and in line order.

    ``billed`` names the charges that the period bills, in line order. Those that a change of plan
    ends come first.
    """
    places: dict[str, list[tuple[int, PricedCommitment]]] = {}
    for number, part in enumerate(period.parts):
        for entry in priced_commitments(part.plan):
            places.setdefault(entry.commitment.id, []).append((number, entry))
    last = len(period.parts) - 1
    applied = []
    for found in places.values():
        numbers = tuple(number for number, _ in found)
        named = {number: set(entry.commitment.covers) for number, entry in found}
        applied.append(
            AppliedCommitment(
                found[-1][1],
                covers=tuple(p for p in billed if p[0] in named and p[1] in named[p[0]]),
                by_part=tuple(found),
                began=period.parts[numbers[0]].start,
                ended=numbers[-1] != last,
            )
        )
    order = {
        entry.commitment.id: rank
        for rank, entry in enumerate(priced_commitments(period.parts[last].plan))
    }
    in_order = sorted(applied, key=lambda one: order.get(one.id, -1))
    in_lines = sorted(applied, key=lambda one: -1 if one.ended else one.entry.position)
    return in_order, in_lines
