"""Records of a usage step as a batch, as a client would send them (S7)."""

from __future__ import annotations

import numpy as np

from rating_core.metering.batch import DimensionSet, RecordBatch
from rating_core.scenario.steps import SendUsage, StepRecord
from rating_core.units import SCALE_MAX, fits_int64


def batch_of(customer: str, step: SendUsage, event_time: int, *, retract: bool) -> RecordBatch:
    """Return the records of a step, all at ``event_time`` (µs); as retractions on wish (S7.6)."""
    records = step.records
    count = len(records)
    ids = [step.event_id]
    if count > 1:
        ids = [f"{step.event_id}/{number}" for number in range(1, count + 1)]
    texts = [name.encode() for name in ids]
    meters: dict[tuple[str, int], int] = {}
    meter = [meters.setdefault((r.meter, min(r.scale, SCALE_MAX)), len(meters)) for r in records]
    imprecise = [record.scale > SCALE_MAX for record in records]
    beyond = [not fits_int64(record.quantity) for record in records]
    sets: dict[DimensionSet, int] = {}
    set_codes = [sets.setdefault(record.dimensions, len(sets)) for record in records]
    attributes: dict[DimensionSet, int] = {}
    attribute_codes = [attributes.setdefault(r.attributes, len(attributes)) for r in records]
    return RecordBatch(
        customers=[customer],
        customer=np.zeros(count, np.int32),
        meters=[name for name, _ in meters],
        scales=[scale for _, scale in meters],
        meter=np.array(meter, np.int32),
        dimension_sets=list(sets),
        dimension_set=np.array(set_codes, np.int32),
        event_ids=b"".join(texts),
        event_id_ends=np.cumsum([len(text) for text in texts], dtype=np.int64),
        quantity=np.array([_quantity(record) for record in records], np.int64),
        event_time=np.full(count, event_time, np.int64),
        malformed=np.zeros(count, np.bool_),
        out_of_range=np.array(beyond, np.bool_) if any(beyond) else None,
        imprecise=np.array(imprecise, np.bool_) if any(imprecise) else None,
        attribute_sets=list(attributes),
        attribute_set=np.array(attribute_codes, np.int32) if any(attributes) else None,
        retraction=np.ones(count, np.bool_) if retract else None,
    )


def _quantity(record: StepRecord) -> int:
    """Return what stands in the column; 0 where a flag says why there is none (S1.2)."""
    fits = record.scale <= SCALE_MAX and fits_int64(record.quantity)
    return record.quantity if fits else 0
