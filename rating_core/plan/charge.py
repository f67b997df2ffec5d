"""Charges of a plan document: their keys, model by model (S2, S3)."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from rating_core.catalog import (
    ONE,
    ZERO,
    Aggregation,
    BillingPeriod,
    Charge,
    ChargeModel,
    Meter,
    Tier,
    TierWindow,
    Timing,
)
from rating_core.plan.fields import FaultList, Fields, IdSpace, Place, listed, read_text, shown
from rating_core.units import format_decimal

TIERS_MAX = 1_000
WHERE_VALUES_MAX = 100
FREE_EVENTS_MAX = 999_999_999
SMOOTHING_PERIODS_MAX = 120
_HUNDRED = Decimal(100)

_ZERO_USAGE = "flat_fee_at_zero_usage"
_PER_EVENT = (
    "percent",
    "fixed_fee_per_event",
    "min_per_event",
    "max_per_event",
    "free_events",
    "free_amount",
)
_TIERED = ("tiers", _ZERO_USAGE, "prorate_tiers")
_MODEL_KEYS: Mapping[ChargeModel, tuple[str, ...]] = {
    ChargeModel.FLAT_FEE: ("amount", "timing", "prorate"),
    ChargeModel.PER_UNIT: ("unit_price",),
    ChargeModel.GRADUATED: _TIERED,
    ChargeModel.VOLUME: _TIERED,
    ChargeModel.STAIRSTEP: _TIERED,
    ChargeModel.PACKAGE: ("package_size", "package_price"),
    ChargeModel.PERCENTAGE: _PER_EVENT,
    ChargeModel.GRADUATED_PERCENTAGE: _TIERED,
}
_TIER_KEYS: Mapping[ChargeModel, tuple[str, ...]] = {
    ChargeModel.GRADUATED: ("unit_price", "flat_fee"),
    ChargeModel.VOLUME: ("unit_price", "flat_fee"),
    ChargeModel.STAIRSTEP: ("flat_fee",),
    ChargeModel.GRADUATED_PERCENTAGE: ("percent", "flat_fee"),
}
_ALL_TIER_KEYS = ("unit_price", "percent", "flat_fee")
_USAGE_KEYS = (
    "meter",
    "where",
    "included_units",
    "prorate_included_units",
    "prorate_minimum",
    "tier_window",
    "smoothing_periods",
)
_NEEDS = {
    "prorate_included_units": "included_units",
    "prorate_minimum": "minimum_amount",
}
_PRORATED = ("prorate_included_units", "prorate_tiers", "prorate_minimum")
_WINDOWED = (Aggregation.SUM, Aggregation.COUNT, Aggregation.WEIGHTED_SUM)
_ALL_CHARGE_KEYS = (*_USAGE_KEYS, *(key for keys in _MODEL_KEYS.values() for key in keys))


def _read_tier(
    document: object,
    at: Place,
    faults: FaultList,
    model: ChargeModel,
    lower: Decimal,
    *,
    last: bool,
) -> tuple[Decimal, Tier | None]:
    """Return the next tier's lower bound, and the tier or ``None`` if it is faulty."""
    fields = Fields.open(document, at, faults)
    if fields is None:
        return lower, None
    before = len(faults)
    up_to = fields.decimal("up_to")
    if last and "up_to" in fields:
        fields.fault("up_to", "LAST_TIER_BOUNDED", "the last tier has no end: leave up_to out")
    elif not last and "up_to" not in fields:
        fields.fault("up_to", "MISSING", "up_to is required in every tier but the last")
    elif up_to is not None and up_to <= lower:
        message = f"bounds must rise: expected more than {format_decimal(lower)}"
        fields.fault("up_to", "TIER_ORDER", message)
    keys = _TIER_KEYS[model]
    if not any(key in fields for key in keys):
        fields.fault(keys[0], "MISSING", f"{' or '.join(keys)} is required")
    tier = Tier(
        up_to=up_to,
        unit_price=(fields.decimal("unit_price") if "unit_price" in keys else None) or ZERO,
        percent=(fields.percent("percent") if "percent" in keys else None) or ZERO,
        flat_fee=fields.decimal("flat_fee") or ZERO,
    )
    fields.finish(misplaced=_ALL_TIER_KEYS, here=f"in a tier of {model}")
    return max(lower, up_to or lower), tier if len(faults) == before else None


def _read_tiers(fields: Fields, faults: FaultList, model: ChargeModel) -> tuple[Tier, ...]:
    items = fields.items("tiers", required=True, at_most=TIERS_MAX) or []
    tiers: list[Tier] = []
    lower = ZERO
    for index, (at, document) in enumerate(items):
        last = index == len(items) - 1
        lower, tier = _read_tier(document, at, faults, model, lower, last=last)
        if tier is not None:
            tiers.append(tier)
    return tuple(tiers)


def _read_package(fields: Fields) -> dict[str, Any]:
    size = fields.decimal("package_size", required=True)
    if size == 0:
        fields.fault("package_size", "NOT_POSITIVE", "expected a package of more than 0 units")
    price = fields.decimal("package_price", required=True)
    return {"package_size": size or ONE, "package_price": price or ZERO}


def _read_percentage(fields: Fields) -> dict[str, Any]:
    percent = fields.percent("percent", required=True)
    fixed = fields.decimal("fixed_fee_per_event")
    lowest = fields.decimal("min_per_event")
    highest = fields.decimal("max_per_event")
    if lowest is not None and highest is not None and lowest > highest:
        message = f"expected at most max_per_event, which is {format_decimal(highest)}"
        fields.fault("min_per_event", "MIN_ABOVE_MAX", message)
    free_events = fields.whole("free_events", at_most=FREE_EVENTS_MAX)
    free_amount = fields.decimal("free_amount")
    for key in ("free_events", "free_amount"):
        if key in fields and ("min_per_event" in fields or "max_per_event" in fields):
            message = "not together with min_per_event or max_per_event, which price single events"
            fields.fault(key, "NOT_ALLOWED", message)
    return {
        "percent": percent or ZERO,
        "fixed_fee_per_event": fixed or ZERO,
        "min_per_event": lowest,
        "max_per_event": highest,
        "free_events": free_events or 0,
        "free_amount": free_amount or ZERO,
    }


def _read_model(fields: Fields, faults: FaultList, model: ChargeModel) -> dict[str, Any]:
    """Read the keys that belong to ``model`` (S3)."""
    if model is ChargeModel.FLAT_FEE:
        amount = fields.decimal("amount", required=True)
        timing = fields.choice("timing", Timing)
        prorate = fields.boolean("prorate")
        return {
            "amount": amount or ZERO,
            "timing": timing or Timing.IN_ADVANCE,
            "prorate": prorate,
        }
    if model is ChargeModel.PER_UNIT:
        return {"unit_price": fields.decimal("unit_price", required=True) or ZERO}
    if model is ChargeModel.PACKAGE:
        return _read_package(fields)
    if model is ChargeModel.PERCENTAGE:
        return _read_percentage(fields)
    return {
        "tiers": _read_tiers(fields, faults, model),
        _ZERO_USAGE: fields.boolean(_ZERO_USAGE),
        "prorate_tiers": fields.boolean("prorate_tiers"),
    }


def _read_where_values(fields: Fields, dimension: str, faults: FaultList) -> tuple[str, ...] | None:
    raw = fields.take(dimension)
    if isinstance(raw, str):
        text = read_text(raw, fields.place(dimension), faults)
        return None if text is None else (text,)
    items = fields.items(dimension, at_most=WHERE_VALUES_MAX)
    values: list[str] = []
    for at, item in items or []:
        text = read_text(item, at, faults)
        if text in values:
            faults.add(at, "DUPLICATE_VALUE", f"the value {shown(text)} stands twice")
        elif text is not None:
            values.append(text)
    return tuple(values)


def _read_where(
    fields: Fields, faults: FaultList, meter: Meter | None
) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """Return (dimension, allowed values) pairs sorted by dimension (S6.2)."""
    where = fields.mapping("where")
    if where is None:
        return ()
    pairs: list[tuple[str, tuple[str, ...]]] = []
    for dimension in where.names():
        values = _read_where_values(where, dimension, faults)
        if meter is not None and dimension not in meter.dimensions:
            message = (
                f"meter {meter.id} declares no such dimension; it has: {listed(meter.dimensions)}"
            )
            where.fault(dimension, "UNKNOWN_DIMENSION", message)
        elif values:
            pairs.append((dimension, values))
    return tuple(sorted(pairs))


def _read_usage_keys(
    fields: Fields,
    faults: FaultList,
    model: ChargeModel,
    meters: Mapping[str, Meter | None],
    period: BillingPeriod | None,
) -> dict[str, Any]:
    """Read what a charge on a meter has in common, whatever its model."""
    parts: dict[str, Any] = {}
    meter_id = fields.id("meter", required=True)
    if meter_id is not None and meter_id not in meters:
        message = f"expected a meter of this plan; it has: {listed(meters)}"
        fields.fault("meter", "UNKNOWN_METER", message)
    meter = meters.get(meter_id or "")
    if model is ChargeModel.PERCENTAGE and meter is not None and not meter.adds_up:
        message = (
            f"a percentage prices single events, and a {meter.aggregation} is no sum of them:"
            " use graduated_percentage"
        )
        fields.fault("meter", "NOT_ALLOWED", message)
    parts["meter"] = meter_id
    parts["where"] = _read_where(fields, faults, meter)
    if model is not ChargeModel.PERCENTAGE:
        parts["included_units"] = fields.decimal("included_units") or ZERO
        parts["prorate_included_units"] = fields.boolean("prorate_included_units")
    parts["prorate_minimum"] = fields.boolean("prorate_minimum")
    parts["smoothing_periods"] = _read_smoothing(fields)
    parts["tier_window"] = _read_window(fields, meter, period)
    return parts


def _read_smoothing(fields: Fields) -> int:
    """Return in how many statements an amount falls due, 1 for its own alone (S10.4)."""
    periods = fields.whole("smoothing_periods", at_most=SMOOTHING_PERIODS_MAX)
    if periods == 0:
        fields.fault("smoothing_periods", "NOT_POSITIVE", "expected 1 or more, got 0")
    return periods or 1


def _read_window(
    fields: Fields, meter: Meter | None, period: BillingPeriod | None
) -> TierWindow | None:
    """Return the window over which tiers run, ``None`` if that is the billing period (S8.5).

    Nothing of a window is billed by parts, and what it books is a difference that cannot be put
    off, so the keys for these exclude it.
    """
    window = fields.choice("tier_window", TierWindow)
    if window is None:
        return None
    for key in (*_PRORATED, "smoothing_periods"):
        if key in fields:
            fields.fault(key, "NOT_ALLOWED", "not together with tier_window, which spans periods")
    if meter is not None and meter.aggregation not in _WINDOWED:
        message = f"the periods of a {meter.aggregation} do not add up to a {window}"
        fields.fault("tier_window", "NOT_ALLOWED", message)
    if period is BillingPeriod.WEEK:
        message = f"a {window} does not hold whole weeks, the billing period"
        fields.fault("tier_window", "NOT_ALLOWED", message)
    return None if period is BillingPeriod.YEAR else window


def read_charge(
    document: object,
    at: Place,
    faults: FaultList,
    ids: IdSpace,
    meters: Mapping[str, Meter | None],
    period: BillingPeriod | None,
) -> tuple[str | None, ChargeModel | None, Charge | None]:
    """Return id, model and charge, each ``None`` where it is faulty; the faults are noted.

    ``meters`` holds the plan's meters by id; ``None`` for one that is itself faulty. ``period`` is
    the plan's billing period.
    """
    fields = Fields.open(document, at, faults)
    if fields is None:
        return None, None, None
    before = len(faults)
    charge_id = fields.id("id", required=True)
    if charge_id is not None:
        ids.declare(charge_id, fields.place("id"), faults)
    model = fields.choice("model", ChargeModel, required=True)
    parts: dict[str, Any] = {}
    if model is not None:
        if model is not ChargeModel.FLAT_FEE:
            parts |= _read_usage_keys(fields, faults, model, meters, period)
        parts |= _read_model(fields, faults, model)
    discount = fields.percent("discount_percent") or ZERO
    if discount > _HUNDRED:
        fields.fault("discount_percent", "TOO_LARGE", "expected at most 100")
    maximum = fields.decimal("maximum_amount")
    minimum = fields.decimal("minimum_amount")
    if model is None:
        for key in _ALL_CHARGE_KEYS:
            fields.take(key)
    for key, needed in _NEEDS.items():
        if parts.get(key) and needed not in fields:
            fields.fault(needed, "MISSING", f"{key} needs {needed}")
    fields.finish(misplaced=_ALL_CHARGE_KEYS, here=f"on model {model}")
    if charge_id is None or model is None or len(faults) != before:
        return charge_id, model, None
    charge = Charge(
        id=charge_id,
        model=model,
        discount_percent=discount,
        maximum_amount=maximum,
        minimum_amount=minimum,
        **parts,
    )
    return charge_id, model, charge
