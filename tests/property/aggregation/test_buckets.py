"""Time buckets against a naive fold over the raw records, page by page (S6.3)."""

from __future__ import annotations

import random
import sys
from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from rating_core.metering.calls import GetBuckets
from rating_core.metering.counting.counter_table import CounterTable
from rating_core.metering.deciding.record import UsageRecord
from rating_core.period import HOUR_US

EXAMPLES = 60
random_streams = st.integers(0, 2**32).map(random.Random)


@settings(max_examples=EXAMPLES, deadline=None, derandomize=True)
@given(random_streams)
def test_buckets_are_the_naive_fold_of_their_records(lab, generator):
    """The history of a customer, page by page, is what the rules say of the records (S6.3)."""
    shard, _ = lab.new_shard()
    accepted = []
    for part in lab.chunks(generator, lab.with_retractions(generator, lab.stream(generator, 60))):
        accepted += lab.send(shard, part)
    for customer in lab.CUSTOMERS:
        found, after = [], None
        while True:
            question = GetBuckets(customer, lab.START, lab.NOW + 1, after=after, limit=7)
            page = shard.query(question).buckets
            if not page:
                break
            found += page
            after = page[-1].key
        assert [bucket.key for bucket in found] == sorted(bucket.key for bucket in found)
        shown = {
            (b.start, b.end, b.counter.meter, b.counter.dimensions): (
                b.counter.value,
                b.counter.events,
            )
            for b in found
        }
        assert len(shown) == len(found)
        assert shown == lab.expected_buckets(accepted, customer)


def test_a_page_of_buckets_costs_what_it_shows(lab):
    """However long the history and many its series, a page reads one bucket a series beyond it."""
    shard, _ = lab.new_shard()
    zones, hours = [f"z{number}" for number in range(20)], range(0, 600, 3)
    records = [
        UsageRecord("c1", "sum", f"{zone}-{hour}", 1, time, (("zone", zone),))
        for zone in zones
        for hour in hours
        if (time := lab.START + hour * HOUR_US) <= lab.NOW
    ]
    lab.send(shard, records)
    visited = Counter()
    found, after = 0, None
    for _ in range(5):
        visited.clear()
        question = GetBuckets("c1", lab.START, lab.NOW + 1, after=after, limit=10)
        sys.setprofile(lambda frame, event, _: visited.update([(event, frame.f_code)]))
        try:
            page = shard.query(question).buckets
        finally:
            sys.setprofile(None)
        assert 0 < visited["call", CounterTable.bucket_state.__code__] <= 10 + 3 * len(zones)
        found, after = found + len(page), page[-1].key
    assert found == 50
