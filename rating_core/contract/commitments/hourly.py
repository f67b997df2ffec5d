"""Commitments by the hour: each hour that has ended is a term of its own (S5.5).

An hour's list amount is what its usage adds to the part's amount, F(up to its end) − F(up to its
start). Hours are those of UTC; one belongs to the part in which it starts, and what a part counts
in an hour that started before it is no hour of its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

from rating_core.adjustments.commitment import PricedCommitment
from rating_core.contract.charge import ChargePricer
from rating_core.contract.commitments.applied import Place
from rating_core.contract.usage import HourUsage, PartUsage
from rating_core.counter import BandCount, SeriesCounter, combined_value
from rating_core.explain import ExactSlice, exact_decimal, exact_slice
from rating_core.period import HOUR_US
from rating_core.statement import SliceKind

ZERO = Fraction(0)


@dataclass(frozen=True, slots=True)
class HourlyLine:
    """A(L) − L over all hours, exactly, and its slices; ``covered`` by charge, in list amounts."""

    total: Fraction
    entries: tuple[ExactSlice, ...]
    covered: Mapping[Place, Fraction]


class PartHours:
    """The hours of one part that have ended, and what each charge costs in them at list."""

    def __init__(self, part: PartUsage, pricers: Mapping[Place, ChargePricer], now: int) -> None:
        """``now``: instant up to which hours have ended, 0 for all of the part."""
        self._own = [_counts(hour, part, now) for hour in part.hours]
        self.ended = _ended_hours(part, now)
        self.amounts = {
            place: _hour_amounts(pricer, part.hours) for place, pricer in pricers.items()
        }

    def rate(
        self, entry: PricedCommitment, covers: Sequence[Place], *, trues_up: bool
    ) -> HourlyLine:
        """Return what a commitment makes of the hours, and take what it covers off them."""
        covered_by: dict[Place, Fraction] = dict.fromkeys(covers, ZERO)
        covered_all = overage_all = missing_all = ZERO
        short = busy = 0
        for number, own in enumerate(self._own):
            if not own:
                continue
            busy += 1
            listed = sum((self.amounts[place][number] for place in covers), ZERO)
            covered = max(min(listed, entry.limit), ZERO)
            covered_all += covered
            overage_all += max(listed - covered, ZERO)
            if covered < entry.limit:
                missing_all += entry.fee - covered * (1 - entry.saved)
                short += 1
            for place, taken in self._take(number, covers, covered):
                covered_by[place] += taken
        idle = max(self.ended - busy, 0)
        short += idle
        missing_all += idle * entry.fee
        entries = [
            exact_slice(
                -covered_all * entry.saved,
                SliceKind.COMMITTED,
                quantity=exact_decimal(covered_all),
                percent=entry.commitment.discount_percent,
            )
        ]
        if trues_up and missing_all:
            words = f"{short} of {self.ended} hours below the commitment"
            entries.append(exact_slice(missing_all, SliceKind.TRUE_UP, label=words))
        if overage_all and entry.last:
            entries.append(
                exact_slice(
                    overage_all * (entry.overage_factor - 1),
                    SliceKind.OVERAGE,
                    quantity=exact_decimal(overage_all),
                    unit_price=entry.commitment.overage_factor,
                )
            )
        total = sum((one.amount for one in entries), ZERO)
        return HourlyLine(total, tuple(entries), covered_by)

    def take_first(self, place: Place, amount: Fraction) -> None:
        """Take what another commitment covers of a charge off its hours, earliest first (S5.4)."""
        hours = self.amounts.get(place, [])
        for number, left in enumerate(hours):
            taken = min(amount, max(left, ZERO))
            hours[number] = left - taken
            amount -= taken

    def _take(
        self, number: int, covers: Sequence[Place], covered: Fraction
    ) -> list[tuple[Place, Fraction]]:
        taken = []
        for place in covers:
            part = min(covered, max(self.amounts[place][number], ZERO))
            self.amounts[place][number] -= part
            covered -= part
            taken.append((place, part))
        return taken


def _counts(hour: HourUsage, part: PartUsage, now: int) -> bool:
    """Return whether an hour starts in a part and has ended."""
    starts = hour.start % HOUR_US == 0 and hour.start >= part.start
    return starts and (not now or hour.end <= now)


def _ended_hours(part: PartUsage, now: int) -> int:
    """Return how many hours start in a part and have ended, or were cut by its end, at ``now``."""
    first = -(-part.start // HOUR_US)
    behind = -(-part.end // HOUR_US)
    if now and now < part.end:
        behind = min(behind, now // HOUR_US)
    return max(behind - first, 0)


def _hour_amounts(pricer: ChargePricer, hours: Sequence[HourUsage]) -> list[Fraction]:
    """Return what each hour adds to a charge's amount, over what was counted before it."""
    running: dict[tuple[str, tuple[tuple[str, str], ...] | None], SeriesCounter] = {}
    amounts = []
    before = pricer.amount_at(())
    for hour in hours:
        for counter in hour.counters:
            if counter.meter == pricer.charge.meter:
                key = (counter.meter, counter.dimensions)
                known = running.get(key)
                running[key] = counter if known is None else later_sum(known, counter, pricer)
        after = pricer.amount_at(tuple(running.values()))
        amounts.append(after - before)
        before = after
    return amounts


def later_sum(known: SeriesCounter, later: SeriesCounter, pricer: ChargePricer) -> SeriesCounter:
    """Return the counter of a series over two stretches of time, the second after the first."""
    aggregation = pricer.plan.meter(known.meter).aggregation
    bands = {
        charge_id: BandCount(
            one.floor_events + other.floor_events,
            one.ceiling_events + other.ceiling_events,
            one.between_sum + other.between_sum,
        )
        for charge_id in {**known.bands, **later.bands}
        for one in [known.bands.get(charge_id, BandCount())]
        for other in [later.bands.get(charge_id, BandCount())]
    }
    exact = None
    if known.exact is not None or later.exact is not None:
        exact = sum((one.exact or Fraction(one.value) for one in (known, later)), ZERO)
    values = None
    if known.values is not None and later.values is not None:
        values = known.values | later.values
    return replace(
        known,
        value=combined_value(aggregation, (known, later)),
        events=known.events + later.events,
        bands=bands,
        latest=max(filter(None, (known.latest, later.latest)), default=None),
        values=values,
        exact=exact,
    )
