"""Usage records one by one, for calls that carry a few: they become the columns of a batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rating_core.metering.batch import DimensionSet, RecordBatch
from rating_core.units import INT64_MAX, INT64_MIN, SCALE_MAX


@dataclass(frozen=True, slots=True)
class UsageRecord:
    """One usage record as its sender states it (S7).

    ``quantity``: an integer in 10^-``scale`` units, of any size; ``scale`` above 12 is
    QUANTITY_PRECISION. ``event_time``: µs UTC, ``None`` where it is missing (MALFORMED).
    ``retraction``: this takes back the record that it repeats (S7.6).
    """

    customer: str
    meter: str
    event_id: str
    quantity: int
    event_time: int | None
    dimensions: DimensionSet = ()
    scale: int = 0
    attributes: DimensionSet = ()
    retraction: bool = False


def batch_of(records: Sequence[UsageRecord]) -> RecordBatch:
    """Return the batch of these records, in order. A Python loop: for small calls only."""
    customers: dict[str, int] = {}
    meters: dict[tuple[str, int], int] = {}
    dimension_sets: dict[DimensionSet, int] = {}
    attribute_sets: dict[DimensionSet, int] = {}
    codes: list[tuple[int, int, int, int]] = []
    ids: list[bytes] = []
    imprecise = [record.scale > SCALE_MAX for record in records]
    stated = [_shortest(record.quantity, min(record.scale, SCALE_MAX)) for record in records]
    out_of_range = [not INT64_MIN <= quantity <= INT64_MAX for quantity, _ in stated]
    retraction = [record.retraction for record in records]
    for record, (_, scale) in zip(records, stated, strict=True):
        dimensions = tuple(sorted(record.dimensions))
        codes.append(
            (
                customers.setdefault(record.customer, len(customers)),
                meters.setdefault((record.meter, scale), len(meters)),
                dimension_sets.setdefault(dimensions, len(dimension_sets)),
                attribute_sets.setdefault(tuple(sorted(record.attributes)), len(attribute_sets)),
            )
        )
        ids.append(record.event_id.encode(errors="surrogatepass"))
    columns = np.array(codes, np.int32).reshape(len(records), 4)
    return RecordBatch(
        customers=list(customers),
        customer=columns[:, 0].copy(),
        meters=[name for name, _ in meters],
        scales=[scale for _, scale in meters],
        meter=columns[:, 1].copy(),
        dimension_sets=list(dimension_sets),
        dimension_set=columns[:, 2].copy(),
        event_ids=b"".join(ids),
        event_id_ends=np.cumsum(np.array([len(text) for text in ids], np.int64)),
        quantity=np.array(
            [0 if huge else q for (q, _), huge in zip(stated, out_of_range, strict=True)],
            np.int64,
        ),
        event_time=np.array([r.event_time or 0 for r in records], np.int64),
        malformed=np.array([r.event_time is None for r in records], np.bool_),
        out_of_range=np.array(out_of_range, np.bool_) if any(out_of_range) else None,
        imprecise=np.array(imprecise, np.bool_) if any(imprecise) else None,
        attribute_sets=list(attribute_sets),
        attribute_set=columns[:, 3].copy() if any(attribute_sets) else None,
        retraction=np.array(retraction, np.bool_) if any(retraction) else None,
    )


def _shortest(quantity: int, scale: int) -> tuple[int, int]:
    """Return (quantity, scale) of one value; what is beyond int64 gets no needless decimals."""
    while scale and not quantity % 10 and not INT64_MIN <= quantity <= INT64_MAX:
        quantity, scale = quantity // 10, scale - 1
    return quantity, scale
