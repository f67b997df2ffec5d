"""Which calls of a usage shard share an entry, and which may overtake others."""

from rating_core.metering.calls import Configure, RecordCall
from rating_core.metering.deciding.record import UsageRecord, batch_of
from rating_core.metering.log.grouping import OrderedRecords, call_hurries, calls_join

RECORDS = batch_of([UsageRecord("c", "m", "id", 1, 1)])


def test_only_calls_without_an_order_may_overtake():
    """S7.6: batches of a stream keep their order; single records and control calls hurry."""
    assert call_hurries(RecordCall(RECORDS))
    assert call_hurries(Configure())
    assert not call_hurries(OrderedRecords(RECORDS))


def test_records_share_entries_whatever_their_order():
    """Batches of streams and single records join each other, and no control call."""
    ordered, single = OrderedRecords(RECORDS), RecordCall(RECORDS)
    assert calls_join(ordered, single)
    assert calls_join(single, ordered)
    assert not calls_join(ordered, Configure())
    assert not calls_join(Configure(), ordered)
