"""The counters of one customer, part by part: committed, with what is staged on top (P4)."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from rating_core.catalog import Aggregation, BucketLength
from rating_core.contract.usage import HourUsage
from rating_core.counter import SeriesCounter
from rating_core.metering.calls import BucketCounter
from rating_core.metering.counters import Counters
from rating_core.metering.counting.bucket_history import bucket_span
from rating_core.metering.counting.series_state import SeriesState, Span, counters_of, merged_states
from rating_core.metering.deciding.key_table import ABSENT
from rating_core.metering.deciding.records_entry import EntryMeter


class CustomerCounters:
    """Counters of one customer by part.

    ``number``: the customer's in ``committed``; ``staged``: counters of its records in flight
    alone, ``None`` without any; ``part_key``: the key of its part that starts at an instant.
    """

    def __init__(
        self,
        committed: Counters,
        staged: Counters | None,
        number: int,
        part_key: Callable[[int], NDArray[np.uint64]],
    ) -> None:
        self._committed = committed
        self._staged = staged
        self._number = number
        self._part_key = part_key
        self.meters: dict[str, EntryMeter] = {}
        """Meters of all counters that were asked for, by id."""

    def changed(self, start: int, version: int) -> bool:
        """Return whether records came to the part that starts at ``start`` after ``version``."""
        key = self._part_key(start)
        if self._staged is not None and self._staged.part_row(key) != ABSENT:
            return True
        row = self._committed.part_row(key)
        return row != ABSENT and self._committed.part_version(row) > version

    def counters(self, span: Span) -> tuple[SeriesCounter, ...]:
        """Return the counters of a part, as if it ended with ``span`` (S9.4)."""
        states = self._states(span)
        self.meters |= {state.meter.id: state.meter for state in states}
        return counters_of(states, span)

    def _states(self, span: Span) -> list[SeriesState]:
        key = self._part_key(span.start)
        states = self._committed.states(self._committed.part_row(key), self._number, span.start)
        if self._staged is None:
            return states
        more = self._staged.states(self._staged.part_row(key), self._number, span.start)
        return merged_states(states, more)

    def hours(self, span: Span, now: int) -> Iterator[HourUsage]:
        """Yield what was counted in each hour of a part that has ended at ``now`` (S5.5).

        Of meters that keep hours; hours without usage are left out.
        """
        found: dict[int, list[BucketCounter]] = {}
        for state in self._states(span):
            if state.meter.buckets is BucketLength.HOUR:
                for bucket in self._hours_of(state, span, now):
                    found.setdefault(bucket.start, []).append(bucket)
        for start, buckets in sorted(found.items()):
            ordered = sorted(buckets, key=lambda bucket: bucket.key)
            counters = tuple(bucket.counter for bucket in ordered)
            yield HourUsage(start, ordered[0].end, counters)

    def _hours_of(self, series: SeriesState, span: Span, now: int) -> Iterator[BucketCounter]:
        states: dict[int, SeriesState] = {}
        for table in (self._committed, self._staged):
            if table is None:
                continue
            row = table.series_rows(table.part_row(self._part_key(span.start))).get(series.key)
            for start, bucket in [] if row is None else table.bucket_starts(row):
                state = table.bucket_state(series, bucket)
                if start in states:
                    states[start].add(state)
                else:
                    states[start] = state
        weighted = series.meter.aggregation is Aggregation.WEIGHTED_SUM
        level, instant = series.opening if weighted else 0, span.start
        while instant < min(span.end, now):
            if not level:
                later = [start for start in states if start >= instant]
                if not later:
                    return
                instant = min(later)
            hour = bucket_span(BucketLength.HOUR, instant, span)
            state = states.pop(hour.start, SeriesState(series.meter, series.dimensions))
            state.opening = level
            if hour.end <= now and state.shown:
                yield BucketCounter(hour.start, hour.end, state.counter(hour))
            if weighted:
                level += state.value
            instant = hour.end
