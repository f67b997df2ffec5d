"""Single records in a spool: as batches of one, and back into the batch that they were part of."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from ratewright.v1 import usage_service_pb2 as usage_api
from rating_client.columns import Payload, RecordBuffer
from rating_client.values import UsageRecord, from_micros

COLUMNS = frozenset(
    {
        "customers",
        "customer_index",
        "meters",
        "meter_index",
        "dimension_sets",
        "dimension_set_index",
        "event_ids",
        "event_id_lengths",
        "quantities",
        "event_times_micros",
        "attribute_sets",
        "attribute_set_index",
        "retractions",
    }
)


def _of(sets: Sequence[Any], index: Sequence[int], name: str) -> dict[str, str]:
    return dict(getattr(sets[index[0]], name)) if index else {}


def batch_again(records: Iterable[bytes], *, named: bool) -> Payload:
    """Return the batch that these batches of one record each were part of, byte for byte (P13).

    Raises ValueError for a column that this version does not know: nothing is left out silently.
    """
    buffer = RecordBuffer(named=named)
    for data in records:
        batch = usage_api.IngestUsageRequest.FromString(data).batch
        strange = {field.name for field, _ in batch.ListFields()} - COLUMNS
        if strange:
            raise ValueError(f"a record has {', '.join(sorted(strange))}: a later version's")
        record = UsageRecord(
            event_id=batch.event_ids.decode(),
            customer=batch.customers[0],
            meter=batch.meters[0].meter,
            event_time=from_micros(batch.event_times_micros[0]),
            dimensions=_of(batch.dimension_sets, batch.dimension_set_index, "dimensions"),
            attributes=_of(batch.attribute_sets, batch.attribute_set_index, "attributes"),
            retraction=any(batch.retractions),
        )
        buffer.add(
            record,
            (
                batch.event_ids,
                batch.quantities[0],
                batch.meters[0].scale,
                batch.event_times_micros[0],
            ),
        )
    return buffer.seal()
