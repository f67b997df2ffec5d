"""The accepted records of one entry, as values, with what counting needs of their meters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rating_core.catalog import Aggregation, BucketLength, LevelUnit, Meter
from rating_core.metering.batch import DimensionSet
from rating_core.metering.deciding.event_ids import take_ids
from rating_core.metering.sequencing.producers import ProducerFact


@dataclass(frozen=True, slots=True)
class EntryMeter:
    """What counting needs of a meter; entries hold it, so that logs are read without catalogue."""

    id: str
    aggregation: Aggregation
    scale: int
    of: str = ""
    per: LevelUnit | None = None
    buckets: BucketLength | None = None

    @staticmethod
    def of_meter(meter: Meter) -> EntryMeter:
        """Return what counting needs of a meter of the catalogue."""
        return EntryMeter(
            meter.id, meter.aggregation, meter.scale, meter.of, meter.per, meter.buckets
        )

    def to_json(self) -> list[object]:
        """Return `[id, aggregation, scale]`, and an object of what else it has, if anything."""
        more = {"of": self.of, "per": self.per, "buckets": self.buckets}
        stated = {name: str(value) for name, value in more.items() if value}
        head: list[object] = [self.id, self.aggregation.value, self.scale]
        return [*head, stated] if stated else head

    @staticmethod
    def from_json(document: list[Any]) -> EntryMeter:
        """Return the meter that `to_json` gave; ValueError or TypeError for anything else."""
        meter, aggregation, scale, *rest = document
        more: dict[str, str] = rest[0] if rest else {}
        if len(rest) > 1 or not more.keys() <= {"of", "per", "buckets"}:
            raise ValueError("meters: unknown keys")
        per, buckets = more.get("per"), more.get("buckets")
        return EntryMeter(
            meter,
            Aggregation(aggregation),
            scale,
            more.get("of", ""),
            None if per is None else LevelUnit(per),
            None if buckets is None else BucketLength(buckets),
        )


@dataclass(frozen=True, slots=True, eq=False)
class RecordsEntry:
    """The accepted records of one batch, n ≥ 1, in order.

    ``codes``: int32[3, n], indices into customers, meters and dimension_sets (sorted pairs without
    empty values). ``words``: int64[3, n]: quantity in the meter's scale units, event time and start
    of the billing period, both µs. ``event_ids``: UTF-8, concatenated, row i ends at ``ends[i]``.
    ``producers``: of numbered batches, whose records have no event ids (P12): their facts in the
    order of their rows; empty otherwise.
    ``attribute_set``: int32[n] into attribute_sets, ``None`` where no record has attributes (S7.2).
    ``retraction``: bool[n], ``None`` where no record is one (S7.6). ``source_rows``: int64[n], of
    an entry that was taken from another: the rows there.
    """

    customers: Sequence[str]
    meters: list[EntryMeter]
    dimension_sets: list[DimensionSet]
    codes: NDArray[np.int32]
    event_ids: bytes
    ends: NDArray[np.int64]
    words: NDArray[np.int64]
    producers: tuple[ProducerFact, ...] = ()
    attribute_sets: list[DimensionSet] = field(default_factory=lambda: [()])
    attribute_set: NDArray[np.int32] | None = None
    retraction: NDArray[np.bool_] | None = None
    source_rows: NDArray[np.int64] | None = None

    def __len__(self) -> int:
        return int(self.ends.size)

    def of_producers(self, facts: tuple[ProducerFact, ...]) -> RecordsEntry:
        """Return the entry as that of numbered batches (P12)."""
        return replace(self, producers=facts)

    def rows_of(self, customer: str) -> NDArray[np.int64]:
        """Return the rows of one customer's records."""
        codes = [code for code, name in enumerate(self.customers) if name == customer]
        rows: NDArray[np.int64] = np.flatnonzero(np.isin(self.codes[0], codes))
        return rows

    def take(self, rows: NDArray[np.int64]) -> RecordsEntry:
        """Return the entry of ``rows`` alone, with the same dictionaries."""
        event_ids, ends = take_ids(self.event_ids, self.ends, rows)
        return RecordsEntry(
            customers=self.customers,
            meters=self.meters,
            dimension_sets=self.dimension_sets,
            codes=self.codes[:, rows],
            event_ids=event_ids,
            ends=ends,
            words=self.words[:, rows],
            producers=self.producers,
            attribute_sets=self.attribute_sets,
            attribute_set=None if self.attribute_set is None else self.attribute_set[rows],
            retraction=None if self.retraction is None else self.retraction[rows],
            source_rows=rows if self.source_rows is None else self.source_rows[rows],
        )

    def orders(self, rows: list[int]) -> list[bytes]:
        """Return the order keys of ``rows``: what decides between equal times of a latest (S6.3).

        Keys compare as bytes. The first byte tells the kind: 1, then the event id; or 2, then
        producer, 0, the batch's sequence and the record's place among those of its batch that were
        taken (P12), 8 and 4 bytes big-endian.
        """
        if not self.producers:
            begins = [int(self.ends[row - 1]) if row else 0 for row in rows]
            ends = self.ends[rows].tolist()
            pairs = zip(begins, ends, strict=True)
            return [b"\x01" + self.event_ids[begin:end] for begin, end in pairs]
        sources = rows if self.source_rows is None else self.source_rows[rows].tolist()
        last = np.cumsum([fact.accepted for fact in self.producers])
        numbers = np.searchsorted(last, sources, side="right").tolist()
        keys = []
        for source, number in zip(sources, numbers, strict=True):
            fact = self.producers[number]
            place = source - (int(last[number]) - fact.accepted)
            name = fact.producer.encode(errors="surrogatepass")
            keys.append(
                b"\x02" + name + b"\0" + fact.sequence.to_bytes(8, "big") + place.to_bytes(4, "big")
            )
        return keys
