"""Chunks of usage records: columns with dictionaries, as the client sends them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any, NamedTuple, TypeVar

from rating_client.bulk_columns import UsageColumns
from rating_client.values import to_units

CHUNK_RECORDS = 8_192

Dimensions = tuple[tuple[str, str], ...]
Key = TypeVar("Key")


class CountedRecord(NamedTuple):
    """One record as pricing sees it; the quantity is exact, the time in microseconds."""

    customer: str
    meter: str
    quantity: Decimal
    time_us: int
    dimensions: Dimensions


@dataclass(frozen=True, slots=True)
class Chunk:
    """Records in the order of their rows. ``rows`` is the number of each record's row."""

    rows: Sequence[int]
    columns: UsageColumns

    def __len__(self) -> int:
        return len(self.rows)

    def taken_back(self) -> Chunk:
        """Return the chunk that takes these records back (S7.6)."""
        return Chunk(self.rows, replace(self.columns, retractions=bytes([1]) * len(self)))

    def records(self) -> Iterator[CountedRecord]:
        """Yield every record."""
        columns = self.columns
        sets: list[Dimensions] = [tuple(sorted(item.items())) for item in columns.dimension_sets]
        sets = [tuple(pair for pair in item if pair[1]) for item in sets] or [()]
        meters = [(meter, -scale) for meter, scale in columns.meters]
        size = len(self)
        for customer, place, units, time_us, dimensions in zip(
            _integers(columns.customer_index, size),
            _integers(columns.meter_index, size),
            _integers(columns.quantities, size),
            _integers(columns.event_times_micros, size),
            _integers(columns.dimension_set_index, size),
            strict=True,
        ):
            meter, exponent = meters[place]
            quantity = Decimal(units)
            yield CountedRecord(
                columns.customers[customer],
                meter,
                quantity.scaleb(exponent) if exponent else quantity,
                time_us,
                sets[dimensions],
            )


def _integers(column: Any, size: int) -> list[int]:
    """Return a column as a list; an index that is left out points to the only entry."""
    if not len(column):
        return [0] * size
    return column if isinstance(column, list) else memoryview(column).tolist()


class ChunkBuilder:
    """Gathers records and gives them as chunks."""

    def __init__(self) -> None:
        self._clear()

    def _clear(self) -> None:
        self._rows: list[int] = []
        self._event_ids: list[str] = []
        self._units: list[int] = []
        self._times: list[int] = []
        self._customers: dict[str, int] = {}
        self._meters: dict[tuple[str, int], int] = {}
        self._sets: dict[Dimensions, int] = {}
        self._attributes: dict[Dimensions, int] = {}
        self._attribute_index: list[int] = []
        self._customer_index: list[int] = []
        self._meter_index: list[int] = []
        self._set_index: list[int] = []

    def __len__(self) -> int:
        return len(self._rows)

    def append(
        self,
        row: int,
        event_id: str,
        customer: str,
        meter: str,
        quantity: int | Decimal,
        time_us: int,
        dimensions: Dimensions,
        attributes: Dimensions = (),
    ) -> None:
        """Add one record; ValueError for a quantity beyond 12 decimals or 64 bits (S1.2).

        Quantities of one meter with different numbers of decimals become different entries of the
        dictionary, so that none has to be scaled.
        """
        units, scale = to_units(quantity)
        self._rows.append(row)
        self._event_ids.append(event_id)
        self._units.append(units)
        self._times.append(time_us)
        self._customer_index.append(_place(self._customers, customer))
        self._meter_index.append(_place(self._meters, (meter, scale)))
        self._set_index.append(_place(self._sets, dimensions))
        self._attribute_index.append(_place(self._attributes, attributes))

    def seal(self) -> Chunk:
        """Return what is gathered as a chunk, and start anew."""
        columns = UsageColumns(
            customers=list(self._customers),
            meters=list(self._meters),
            dimension_sets=[dict(item) for item in self._sets],
            customer_index=self._customer_index,
            meter_index=self._meter_index,
            dimension_set_index=self._set_index,
            attribute_sets=[dict(item) for item in self._attributes],
            attribute_set_index=self._attribute_index if any(self._attributes) else (),
            event_ids=self._event_ids,
            quantities=self._units,
            event_times_micros=self._times,
        )
        chunk = Chunk(self._rows, columns)
        self._clear()
        return chunk


def _place(dictionary: dict[Key, int], key: Key) -> int:
    return dictionary.setdefault(key, len(dictionary))
