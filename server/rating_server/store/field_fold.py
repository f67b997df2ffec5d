"""Records into the fields of a counter hash, one by one: the reader's own fold (log-format.md).

Plain and slow, written from the format and not from the counting: what `read_counters` shows is a
check on what a server shows.
"""

from __future__ import annotations

from collections.abc import Mapping

from rating_core.catalog import Aggregation
from rating_core.metering.calls import Bands
from rating_core.metering.counting.counter_names import field_name, order_key, order_number
from rating_core.metering.deciding.records_entry import EntryMeter, RecordsEntry

Fields = dict[str, int]


def fold_record(fields: Fields, body: RecordsEntry, row: int, bands: Bands) -> None:
    """Fold record ``row`` of an entry into the fields of its customer and period.

    ``bands`` are the thresholds of the customer's subscription (S3.4).
    """
    meter = body.meters[int(body.codes[1, row])]
    series = _Series(fields, meter, body.dimension_sets[int(body.codes[2, row])])
    sign = -1 if body.retraction is not None and body.retraction[row] else 1
    quantity, event_time, period_start = body.words[:, row].tolist()
    if meter.aggregation is Aggregation.MAX:
        if not series.get("events") or quantity > series.get("value"):
            series.set(quantity, "value")
    elif meter.aggregation is Aggregation.LATEST:
        series.latest(quantity, event_time, body.orders([row])[0])
    elif meter.aggregation is Aggregation.UNIQUE_COUNT:
        attributes: dict[str, str] = {}
        if body.attribute_set is not None:
            attributes = dict(body.attribute_sets[int(body.attribute_set[row])])
        series.see(attributes.get(meter.of, ""), sign)
    else:
        amount = 1 if meter.aggregation is Aggregation.COUNT else quantity
        series.add(sign * amount, "value")
        series.band(bands.get(meter.id, {}), amount, sign)
        if meter.aggregation is Aggregation.WEIGHTED_SUM:
            series.add(sign * quantity * (event_time - period_start), "moment")
    series.add(sign, "events")


class _Series:
    """The fields of one series."""

    def __init__(
        self, fields: Fields, meter: EntryMeter, dimensions: tuple[tuple[str, str], ...]
    ) -> None:
        self._fields = fields
        self._names = meter.id, dimensions

    def get(self, *kind: str) -> int:
        return self._fields.get(field_name(*self._names, *kind), 0)

    def set(self, value: int, *kind: str) -> None:
        self._fields[field_name(*self._names, *kind)] = value

    def add(self, change: int, *kind: str) -> None:
        self.set(self.get(*kind) + change, *kind)

    def latest(self, quantity: int, event_time: int, order: bytes) -> None:
        standing = self.get("time"), order_key(self.get("order"))
        if not self.get("events") or (event_time, order) > standing:
            self.set(quantity, "value")
            self.set(event_time, "time")
            self.set(order_number(order), "order")

    def see(self, value: str, sign: int) -> None:
        self.add(0, "value")
        if value:
            before = self.get("seen", value)
            self.add(sign, "seen", value)
            self.add((before + sign > 0) - (before > 0), "value")

    def band(
        self, charges: Mapping[str, tuple[int | None, int | None]], amount: int, sign: int
    ) -> None:
        for charge, (floor_max, ceiling_min) in charges.items():
            at_floor = floor_max is not None and amount <= floor_max
            at_ceiling = not at_floor and ceiling_min is not None and amount >= ceiling_min
            self.add(sign * at_floor, "floor", charge)
            self.add(sign * at_ceiling, "ceiling", charge)
            self.add(0 if at_floor or at_ceiling else sign * amount, "between", charge)
