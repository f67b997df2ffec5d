"""The state of one series in one billing period, as values: merged, then turned into a counter.

Columns are for counting; these are for reading one customer's period, which may have to join what
is committed with what is staged (P4).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction

from rating_core.catalog import Aggregation, LevelUnit
from rating_core.counter import BandCount, SeriesCounter, half_up
from rating_core.metering.batch import DimensionSet
from rating_core.metering.deciding.records_entry import EntryMeter
from rating_core.period import HOUR_US


@dataclass(frozen=True, slots=True)
class Span:
    """A period, or a part of one: [start, end) in µs, and the full length of the whole (S8.4)."""

    start: int
    end: int
    length: int


@dataclass(slots=True)
class SeriesState:
    """Integer state of a series (cells.py). ``opening``: the level before the period (S6.4)."""

    meter: EntryMeter
    dimensions: DimensionSet
    value: int = 0
    events: int = 0
    moment: int = 0
    opening: int = 0
    latest: tuple[int, bytes] | None = None
    values: dict[str, int] = field(default_factory=dict)
    bands: dict[str, BandCount] = field(default_factory=dict)

    @property
    def key(self) -> tuple[str, DimensionSet]:
        """What counters are sorted by: meter, then dimensions."""
        return self.meter.id, self.dimensions

    def add(self, more: SeriesState) -> None:
        """Add what other records of the same series left."""
        aggregation = self.meter.aggregation
        if aggregation is Aggregation.MAX:
            if more.events and (not self.events or more.value > self.value):
                self.value = more.value
        elif aggregation is Aggregation.LATEST:
            if more.latest and (not self.latest or more.latest > self.latest):
                self.value, self.latest = more.value, more.latest
        else:
            self.value += more.value
        self.events += more.events
        self.moment += more.moment
        self.opening += more.opening
        for value, count in more.values.items():
            self.values[value] = self.values.get(value, 0) + count
        for charge, band in more.bands.items():
            known = self.bands.get(charge, BandCount())
            self.bands[charge] = BandCount(
                known.floor_events + band.floor_events,
                known.ceiling_events + band.ceiling_events,
                known.between_sum + band.between_sum,
            )

    def counter(self, span: Span) -> SeriesCounter:
        """Return the counter of the series over ``span``: its value as if ``span`` had ended."""
        values = exact = None
        value = self.value
        if self.meter.aggregation is Aggregation.UNIQUE_COUNT:
            values = frozenset(text for text, count in self.values.items() if count > 0)
            value = len(values)
        elif self.meter.aggregation is Aggregation.WEIGHTED_SUM:
            exact = self._weighted(span)
            value = half_up(exact)
        return SeriesCounter(
            meter=self.meter.id,
            dimensions=self.dimensions,
            value=value,
            events=self.events,
            bands=self.bands,
            latest=self.latest,
            values=values,
            exact=exact,
        )

    def _weighted(self, span: Span) -> Fraction:
        """Return Σ level × time ÷ length: each change counts from its time to the end (S6.4)."""
        level_time = (self.opening + self.value) * (span.end - span.start) - self.moment
        length = HOUR_US if self.meter.per is LevelUnit.HOUR else span.length
        return Fraction(level_time, length)

    @property
    def shown(self) -> bool:
        """Whether the series has a record in the period, or a level that it began with."""
        return bool(self.events or self.opening)


def counters_of(states: Iterable[SeriesState], span: Span) -> tuple[SeriesCounter, ...]:
    """Return the counters of the series that are to be shown, sorted by meter and dimensions."""
    shown = sorted((state for state in states if state.shown), key=lambda state: state.key)
    return tuple(state.counter(span) for state in shown)


def merged_states(first: Sequence[SeriesState], second: Sequence[SeriesState]) -> list[SeriesState]:
    """Return the states of ``first`` with those of ``second`` added; ``first`` is changed."""
    merged = {state.key: state for state in first}
    for more in second:
        known = merged.get(more.key)
        if known is None:
            merged[more.key] = more
        else:
            known.add(more)
    return list(merged.values())
