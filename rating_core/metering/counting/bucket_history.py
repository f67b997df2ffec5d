"""The time buckets of one customer, for reading: what ListUsage shows (S6.3, S8.1).

Buckets come in the order of their start, then meter and dimensions, period by period. A level that
lasts shows in every bucket that it reaches into, also where no record fell (S6.4).
"""

from __future__ import annotations

import bisect
import heapq
from collections.abc import Callable, Iterator, Sequence
from itertools import chain

from rating_core.catalog import Aggregation, BillingPeriod, BucketLength
from rating_core.metering.calls import BucketCounter, BucketKey, Subscription
from rating_core.metering.contracts.parts import spans_from
from rating_core.metering.counting.counter_table import CounterTable
from rating_core.metering.counting.series_state import SeriesState, Span
from rating_core.period import period_bounds

_LENGTHS = {BucketLength.HOUR: BillingPeriod.HOUR, BucketLength.DAY: BillingPeriod.DAY}


def bucket_span(length: BucketLength, instant: int, period: Span) -> Span:
    """Return the bucket that holds ``instant``, cut to its billing period; ``length`` is whole."""
    start, end = period_bounds(_LENGTHS[length], instant)
    return Span(max(start, period.start), min(end, period.end), end - start)


def list_buckets(
    table: CounterTable,
    part_row: Callable[[int], int],
    number: int,
    contract: Sequence[Subscription],
    start: int,
    end: int,
    meter: str,
    after: BucketKey | None,
) -> Iterator[BucketCounter]:
    """Yield the buckets that reach into [start, end), µs, after the one that ``after`` names.

    ``part_row`` returns the row of the customer's part that begins at an instant, ``number`` is
    the customer's, ``contract`` its subscriptions, ``meter`` the id of one, or empty for all.
    """
    if after is not None:
        start = max(start, after[0])
    spans = chain.from_iterable(spans_from(one, start, end) for one in contract)
    for period in spans:
        part = part_row(period.start)
        rows = table.series_rows(part)
        # Each series is read no further than the merge asks for: a page costs what it shows.
        runs = [
            _of_series(table, state, rows.get(state.key), period, Span(start, end, 0))
            for state in table.states(part, number, period.start)
            if state.meter.buckets is not None and meter in ("", state.meter.id)
        ]
        merged = heapq.merge(*runs, key=lambda bucket: bucket.key)
        yield from (bucket for bucket in merged if after is None or bucket.key > after)


def _of_series(
    table: CounterTable, state: SeriesState, row: int | None, period: Span, asked: Span
) -> Iterator[BucketCounter]:
    """Yield the buckets of one series and period that reach into ``asked``, in order.

    ``row`` is the series' in the period, ``None`` where only its level reaches into it (S6.4).
    """
    length = state.meter.buckets
    if length is None:
        return
    first = bucket_span(length, max(asked.start, period.start), period).start
    last = min(asked.end, period.end)
    starts = [] if row is None else table.bucket_starts(row)
    place = bisect.bisect_left(starts, (first, 0))
    level, instant = state.opening, first
    weighted = state.meter.aggregation is Aggregation.WEIGHTED_SUM
    if weighted:
        level += sum(table.bucket_value(bucket) for _, bucket in starts[:place])
    while instant < last:
        if not level:
            if place == len(starts):
                return
            instant = starts[place][0]
            if instant >= last:
                return
        span = bucket_span(length, instant, period)
        bucket = SeriesState(state.meter, state.dimensions)
        if place < len(starts) and starts[place][0] == span.start:
            bucket = table.bucket_state(state, starts[place][1])
            place += 1
        bucket.opening = level
        if bucket.shown:
            yield BucketCounter(span.start, span.end, bucket.counter(span))
        if weighted:
            level += bucket.value
        instant = span.end
