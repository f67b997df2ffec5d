"""The time buckets of one customer, for reading: what ListUsage shows (S6.3, S8.1).

Buckets come in the order of their start, then meter and dimensions, period by period. A level that
lasts shows in every bucket that it reaches into, also where no record fell (S6.4).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from rating_core.catalog import Aggregation, BillingPeriod, BucketLength
from rating_core.metering.calls import BucketCounter, BucketKey, Subscription
from rating_core.metering.controls import span_of
from rating_core.metering.counter_table import CounterTable
from rating_core.metering.series_state import SeriesState, Span
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
    subscription: Subscription,
    start: int,
    end: int,
    meter: str,
    after: BucketKey | None,
) -> Iterator[BucketCounter]:
    """Yield the buckets that reach into [start, end), µs, after the one that ``after`` names.

    ``part_row`` returns the row of the customer's period that begins at an instant, ``number`` is
    the customer's, ``meter`` the id of one, or empty for all.
    """
    if after is not None:
        start = max(start, after[0])
    start = max(start, subscription.start_time)
    while start < end:
        period = span_of(subscription, start)
        states = table.states(part_row(period.start), number, period.start)
        found: list[BucketCounter] = []
        for state in states:
            if state.meter.buckets is not None and meter in ("", state.meter.id):
                buckets = table.bucket_states(part_row(period.start), state)
                found += _of_series(state, buckets, period, start, end)
        found.sort(key=lambda bucket: bucket.key)
        yield from (bucket for bucket in found if after is None or bucket.key > after)
        start = period.end


def _of_series(
    state: SeriesState, buckets: dict[int, SeriesState], period: Span, start: int, end: int
) -> Iterator[BucketCounter]:
    length = state.meter.buckets
    if length is None:
        return
    if state.meter.aggregation is not Aggregation.WEIGHTED_SUM:
        for begin, bucket in buckets.items():
            span = bucket_span(length, begin, period)
            if span.end > start and span.start < end and bucket.shown:
                yield BucketCounter(span.start, span.end, bucket.counter(span))
        return
    level = state.opening
    instant = period.start
    while instant < min(end, period.end):
        span = bucket_span(length, instant, period)
        bucket = buckets.get(span.start, SeriesState(state.meter, state.dimensions))
        bucket.opening = level
        if span.end > start and bucket.shown:
            yield BucketCounter(span.start, span.end, bucket.counter(span))
        level += bucket.value
        instant = span.end
