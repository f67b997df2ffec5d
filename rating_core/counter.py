"""Counters of one customer and period part, as pricing takes them (S6).

The counting side produces them from the log, `counters_from_usage` from a case or a request; the
pipeline does not know which.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from types import MappingProxyType

from rating_core.catalog import Aggregation

_NO_BANDS: Mapping[str, BandCount] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class BandCount:
    """Events of one `percentage` charge with clamps in one series (S3.4).

    ``between_sum`` is in the meter's scale units; the number of events between the bounds is the
    series' events less those at the floor and at the ceiling.
    """

    floor_events: int = 0
    ceiling_events: int = 0
    between_sum: int = 0


@dataclass(frozen=True, slots=True)
class SeriesCounter:
    """The counter of one meter and one combination of dimension values.

    ``value`` is the aggregated quantity in the meter's scale units, ``events`` the number of
    records. ``bands`` is keyed by charge id. ``dimensions`` is sorted (name, value) pairs;
    ``None`` matches every ``where`` (S6.5).

    What several series need to become one quantity (S6.2): ``latest``, event time and order key of
    the record of a latest; ``values``, those of a unique_count (``None`` where only their number is
    known: then they are in no other series); ``exact``, the value of a weighted_sum unrounded.
    """

    meter: str
    dimensions: tuple[tuple[str, str], ...] | None
    value: int
    events: int
    bands: Mapping[str, BandCount] = field(default_factory=lambda: _NO_BANDS)
    latest: tuple[int, bytes] | None = None
    values: frozenset[str] | None = None
    exact: Fraction | None = None


def combined_value(aggregation: Aggregation, counters: Sequence[SeriesCounter]) -> int:
    """Return the one quantity of several series of a meter, in its scale units (S6.2).

    sum, count and weighted_sum add, the last rounded half_up once; max takes the greatest, latest
    the latest, unique_count the size of the union. 0 where no series has a record.
    """
    if aggregation is Aggregation.MAX:
        return max((c.value for c in counters if c.events), default=0)
    if aggregation is Aggregation.LATEST:
        # Without times, as in a case, the later in the list is the later (S6.5).
        best, value = (-(1 << 63), b""), 0
        for counter in counters:
            if counter.events and (counter.latest or best) >= best:
                best, value = counter.latest or best, counter.value
        return value
    if aggregation is Aggregation.UNIQUE_COUNT:
        known = [c.values for c in counters if c.values is not None]
        return len(frozenset().union(*known)) + sum(c.value for c in counters if c.values is None)
    if aggregation is Aggregation.WEIGHTED_SUM:
        exact = [Fraction(c.value) if c.exact is None else c.exact for c in counters]
        return half_up(sum(exact, Fraction()))
    return sum(counter.value for counter in counters)


def half_up(value: Fraction) -> int:
    """Return the nearest integer, ties away from zero (S1.3)."""
    magnitude = (2 * abs(value.numerator) + value.denominator) // (2 * value.denominator)
    return magnitude if value >= 0 else -magnitude
