"""Usage of a case, an example or a request: from its document, and into counters (S6.5)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from types import MappingProxyType

from rating_core.bands import percentage_band
from rating_core.catalog import (
    Aggregation,
    Charge,
    ChargeModel,
    Meter,
    Plan,
    Usage,
    UsageEntry,
)
from rating_core.counter import BandCount, SeriesCounter
from rating_core.errors import OutOfRange, UsageInvalid
from rating_core.plan.fields import FaultList, Fields, Place, listed, read_decimal, read_text, shown
from rating_core.units import decimals, fits_int64, format_decimal, to_units

_COUNTS = (Aggregation.COUNT, Aggregation.UNIQUE_COUNT)
_NO_BANDS: Mapping[str, BandCount] = MappingProxyType({})


def _clamped(charges: Sequence[Charge], entry: UsageEntry) -> Charge | None:
    """Return the first charge that prices this entry between a floor and a ceiling (S3.4)."""
    for charge in charges:
        matches = entry.dimensions is None or charge.matches(dict(entry.dimensions))
        if charge.model is ChargeModel.PERCENTAGE and charge.clamps and matches:
            return charge
    return None


def _read_quantity(value: object, at: Place, faults: FaultList, meter: Meter) -> Decimal | None:
    quantity = read_decimal(value, at, faults, most_decimals=64, limit=None, signed=True)
    if quantity is None:
        return None
    if decimals(quantity) > meter.scale:
        message = f"meter {meter.id} takes at most {meter.scale} decimals, got {shown(value)}"
        faults.add(at, "QUANTITY_PRECISION", message)
    elif not fits_int64(to_units(quantity, meter.scale)):
        message = f"does not fit 64 bits in units of 10^-{meter.scale}: {shown(value)}"
        faults.add(at, "QUANTITY_OUT_OF_RANGE", message)
    elif quantity < 0 and meter.aggregation in _COUNTS:
        message = f"meter {meter.id} counts: expected 0 or more, got {shown(value)}"
        faults.add(at, "QUANTITY_OUT_OF_RANGE", message)
    else:
        return quantity
    return None


def _read_dimensions(
    fields: Fields, faults: FaultList, meter: Meter
) -> tuple[tuple[str, str], ...]:
    """Return sorted (name, value) pairs; "" is the value of a lacking one, so it is left out."""
    dimensions = fields.mapping("dimensions")
    if dimensions is None:
        return ()
    pairs: list[tuple[str, str]] = []
    for name in dimensions.names():
        value = read_text(dimensions.take(name), dimensions.place(name), faults)
        if name not in meter.dimensions:
            message = (
                f"meter {meter.id} declares no such dimension; it has: {listed(meter.dimensions)}"
            )
            dimensions.fault(name, "DIMENSION_INVALID", message)
        elif value:
            pairs.append((name, value))
    return tuple(sorted(pairs))


def _read_entry(
    document: object, at: Place, faults: FaultList, meter: Meter, charges: Sequence[Charge]
) -> UsageEntry | None:
    before = len(faults)
    dimensions: tuple[tuple[str, str], ...] | None = None
    quantity_at = at
    if isinstance(document, dict):
        fields = Fields.open(document, at, faults)
        if fields is None:
            return None
        raw = fields.take("quantity", required=True)
        quantity_at = fields.place("quantity")
        quantity = None if raw is None else _read_quantity(raw, quantity_at, faults, meter)
        dimensions = _read_dimensions(fields, faults, meter)
        fields.finish()
    else:
        quantity = _read_quantity(document, at, faults, meter)
    if quantity is None or len(faults) != before:
        return None
    entry = UsageEntry(quantity, dimensions)
    clamped = _clamped(charges, entry) if quantity < 0 else None
    if clamped is not None:
        message = f"charge {clamped.id} has a floor or a ceiling per event: expected 0 or more"
        faults.add(quantity_at, "QUANTITY_OUT_OF_RANGE", message)
        return None
    return entry


def read_usage(
    document: object,
    at: Place,
    faults: FaultList,
    meters: Mapping[str, Meter | None],
    charges: Sequence[Charge],
) -> Usage:
    """Return usage by meter id, noting every fault (S6.5).

    ``meters`` holds the plan's meters by id; usage of one that is itself faulty (``None``) is not
    looked at.
    """
    fields = Fields.open(document, at, faults)
    if fields is None:
        return {}
    usage: Usage = {}
    for name in fields.names():
        raw = fields.take(name)
        if name not in meters:
            message = f"expected a meter of this plan; it has: {listed(meters)}"
            fields.fault(name, "UNKNOWN_METER", message)
        meter = meters.get(name)
        if raw is None or meter is None:
            continue
        place = fields.place(name)
        items = [(place, raw)]
        if isinstance(raw, list):
            items = [(place.item(index), item) for index, item in enumerate(raw)]
        priced = [charge for charge in charges if charge.meter == name]
        read = [_read_entry(item, spot, faults, meter, priced) for spot, item in items]
        usage[name] = tuple(entry for entry in read if entry is not None)
    return usage


def usage_from_document(plan: Plan, document: object, path: str = "usage") -> Usage:
    """Return the usage that ``document`` states for the meters of ``plan`` (S6.5).

    Of each meter: one quantity as text, or a list of quantities and of mappings
    `{quantity, dimensions}`. A mapping without `dimensions` lacks all of them (S6.1); a bare
    quantity matches every `where`. Raises UsageInvalid with all faults: UNKNOWN_METER,
    QUANTITY_PRECISION, QUANTITY_OUT_OF_RANGE, DIMENSION_INVALID, and those of the form.
    """
    faults = FaultList()
    meters = {meter.id: meter for meter in plan.meters}
    usage = read_usage(document, Place(path), faults, meters, plan.charges)
    if len(faults):
        raise UsageInvalid(faults.in_document_order())
    return usage


def usage_to_document(usage: Usage) -> dict[str, object]:
    """Return the document that `usage_from_document` reads back as ``usage``."""
    document: dict[str, object] = {}
    for meter, entries in usage.items():
        items: list[object] = []
        for entry in entries:
            quantity = format_decimal(entry.quantity)
            if entry.dimensions is None:
                items.append(quantity)
            else:
                items.append({"quantity": quantity, "dimensions": dict(entry.dimensions)})
        alone = len(items) == 1 and isinstance(items[0], str)
        document[meter] = items[0] if alone else items
    return document


def _checked(value: int, what: str) -> int:
    if not fits_int64(value):
        raise OutOfRange(f"{what} does not fit 64 bits in the meter's scale units")
    return value


def _bands(
    charges: Sequence[Charge],
    scale: int,
    dimensions: tuple[tuple[str, str], ...] | None,
    quantities: Sequence[int],
) -> Mapping[str, BandCount]:
    """Return the band counts of one series for each clamped charge that it counts towards."""
    bands: dict[str, BandCount] = {}
    for charge in charges:
        if dimensions is not None and not charge.matches(dict(dimensions)):
            continue
        band = percentage_band(charge, scale)
        floor = ceiling = between = 0
        for quantity in quantities:
            if band.floor_max is not None and quantity <= band.floor_max:
                floor += 1
            elif band.ceiling_min is not None and quantity >= band.ceiling_min:
                ceiling += 1
            else:
                between += quantity
        bands[charge.id] = BandCount(floor, ceiling, _checked(between, f"charge {charge.id}"))
    return bands or _NO_BANDS


def _value(meter: Meter, quantities: Sequence[int]) -> int:
    """Return the value of a series; quantities of a unique_count name values of their own."""
    if meter.aggregation is Aggregation.MAX:
        return max(quantities)
    return quantities[-1] if meter.aggregation is Aggregation.LATEST else sum(quantities)


def counters_from_usage(plan: Plan, usage: Usage) -> list[SeriesCounter]:
    """Return the counters that counting ``usage`` would leave, one a meter and series (S6.1).

    Meters stand in the order of ``usage``, series in the order of their first entry. Raises
    OutOfRange if a sum does not fit int64 in the meter's scale units (S1.2), KeyError for a meter
    that the plan lacks.
    """
    counters: list[SeriesCounter] = []
    for meter_id, entries in usage.items():
        meter = plan.meter(meter_id)
        series: dict[tuple[tuple[str, str], ...] | None, list[int]] = {}
        last: dict[tuple[tuple[str, str], ...] | None, int] = {}
        for place, entry in enumerate(entries):
            units = to_units(entry.quantity, meter.scale)
            series.setdefault(entry.dimensions, []).append(units)
            last[entry.dimensions] = place
        clamped = [
            charge
            for charge in plan.charges
            if charge.meter == meter_id and charge.model is ChargeModel.PERCENTAGE and charge.clamps
        ]
        for dimensions, quantities in series.items():
            value = _checked(_value(meter, quantities), f"the counter of meter {meter_id}")
            bands = _bands(clamped, meter.scale, dimensions, quantities)
            # In a list of usage the later entry is the later one (S6.5).
            latest = (last[dimensions], b"") if meter.aggregation is Aggregation.LATEST else None
            counters.append(
                SeriesCounter(meter_id, dimensions, value, len(quantities), bands, latest)
            )
    return counters
