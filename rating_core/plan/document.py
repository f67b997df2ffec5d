"""Plan documents: the tree that a YAML or JSON file holds, to a `Plan` and back (S2)."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType

from rating_core.catalog import (
    RESERVED_LINE_IDS,
    Aggregation,
    BillingPeriod,
    BucketLength,
    Charge,
    ChargeModel,
    Commitment,
    CommitmentOrder,
    CreditPlacement,
    Example,
    LateUsage,
    LevelUnit,
    Meter,
    Plan,
    Proration,
    Rounding,
)
from rating_core.errors import PlanInvalid
from rating_core.plan.charge import read_charge
from rating_core.plan.commitment import Priced, read_commitment
from rating_core.plan.fields import FaultList, Fields, IdSpace, Place, read_id, read_text, shown
from rating_core.plan.output import meter_to_document, plan_to_document
from rating_core.plan.warnings import warnings_of
from rating_core.units import SCALE_MAX, RoundingMode, RoundingStage
from rating_core.usage import read_usage

__all__ = [
    "NO_METERS",
    "MinorUnit",
    "meter_from_document",
    "meter_to_document",
    "plan_from_document",
    "plan_to_document",
    "read_example",
    "read_plan",
    "warnings_of",
]

CHARGES_MAX = 1_000
COMMITMENTS_MAX = 64
METERS_MAX = 100
DIMENSIONS_MAX = 8
EXAMPLES_MAX = 1_000

MinorUnit = Callable[[str], int | None]
"""Decimals of a currency's minor unit by its ISO 4217 code; ``None`` if the code is unknown."""

NO_METERS: Mapping[str, Meter] = MappingProxyType({})

_CURRENCY = re.compile(r"[A-Z]{3}", re.ASCII)
_DIMENSION = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,62}", re.ASCII)


def _read_meter(document: object, at: Place, faults: FaultList) -> tuple[str | None, Meter | None]:
    fields = Fields.open(document, at, faults)
    if fields is None:
        return None, None
    before = len(faults)
    meter_id = fields.id("id", required=True)
    aggregation = fields.choice("aggregation", Aggregation, required=True)
    unit = fields.text("unit") or ""
    scale = fields.whole("scale", at_most=SCALE_MAX) or 0
    if scale and aggregation in (Aggregation.COUNT, Aggregation.UNIQUE_COUNT):
        fields.fault("scale", "NOT_ALLOWED", "a count has no decimals: expected scale 0")
    dimensions: list[str] = []
    for spot, item in fields.items("dimensions", at_most=DIMENSIONS_MAX, empty=True) or []:
        name = read_text(item, spot, faults)
        if name is not None and not _DIMENSION.fullmatch(name):
            message = f"expected letters, digits, _ . - and a letter or _ first, got {shown(name)}"
            faults.add(spot, "BAD_ID", message)
        elif name in dimensions:
            faults.add(spot, "DUPLICATE_ID", f"the dimension {shown(name)} stands twice")
        elif name is not None:
            dimensions.append(name)
    of = _read_of(fields, aggregation, dimensions)
    per = fields.choice("per", LevelUnit)
    if per is not None and aggregation not in (None, Aggregation.WEIGHTED_SUM):
        fields.fault("per", "NOT_ALLOWED", f"only a weighted_sum has it, not a {aggregation}")
    buckets = fields.choice("buckets", BucketLength)
    fields.finish()
    if meter_id is None or aggregation is None or len(faults) != before:
        return meter_id, None
    return meter_id, Meter(meter_id, aggregation, unit, scale, tuple(dimensions), of, per, buckets)


def _read_of(fields: Fields, aggregation: Aggregation | None, dimensions: list[str]) -> str:
    """Return the attribute that a unique_count counts; it is no dimension (S6.3)."""
    counting = aggregation is Aggregation.UNIQUE_COUNT
    of = fields.text("of", required=counting)
    if of is None:
        return ""
    if not counting:
        if aggregation is not None:
            fields.fault("of", "NOT_ALLOWED", f"only a unique_count has it, not a {aggregation}")
    elif not _DIMENSION.fullmatch(of):
        message = f"expected letters, digits, _ . - and a letter or _ first, got {shown(of)}"
        fields.fault("of", "BAD_ID", message)
    elif of in dimensions:
        fields.fault("of", "NOT_ALLOWED", f"{shown(of)} is a dimension: each value has its series")
    return of


def _read_meters(
    fields: Fields, faults: FaultList, known: Mapping[str, Meter]
) -> dict[str, Meter | None]:
    """Return the plan's meters by id; ``None`` for one that is faulty."""
    meters: dict[str, Meter | None] = {}
    ids = IdSpace(reserved=())
    for at, item in fields.items("meters", at_most=METERS_MAX, empty=True) or []:
        meter: Meter | None
        place = at if isinstance(item, str) else at.key("id", 0)
        if isinstance(item, str):
            named = read_id(item, at, faults)
            if named is None:
                continue
            name, meter = named, known.get(named)
            if meter is None:
                message = f"no meter {shown(item)} exists; give its id, aggregation and scale here"
                faults.add(at, "UNKNOWN_METER", message)
        else:
            read_name, meter = _read_meter(item, at, faults)
            if read_name is None:
                continue
            name = read_name
            if meter is not None and name in known and not meter.counts_like(known[name]):
                message = f"differs from the existing meter {shown(name)}: use another id"
                faults.add(at, "METER_MISMATCH", message)
        ids.declare(name, place, faults)
        meters.setdefault(name, meter)
    return meters


def _read_rounding(fields: Fields, minor_unit: MinorUnit) -> tuple[str, Rounding]:
    """Return the currency and the rounding; its scale defaults to the minor unit (S1.3)."""
    currency = fields.text("currency", required=True)
    digits: int | None = None
    if currency is not None:
        digits = minor_unit(currency) if _CURRENCY.fullmatch(currency) else None
        if digits is None:
            message = f"expected an ISO 4217 code such as USD, got {shown(currency)}"
            fields.fault("currency", "UNKNOWN_CURRENCY", message)
    rounding = fields.mapping("rounding")
    mode, stage, scale = None, None, None
    if rounding is not None:
        mode = rounding.choice("mode", RoundingMode)
        scale = rounding.whole("scale", at_most=SCALE_MAX)
        stage = rounding.choice("stage", RoundingStage)
        rounding.finish()
    if scale is None:
        scale = digits or 0
    return currency or "", Rounding(
        mode or RoundingMode.HALF_UP, scale, stage or RoundingStage.LINE
    )


def read_example(
    fields: Fields,
    faults: FaultList,
    meters: Mapping[str, Meter | None],
    charges: list[Charge],
    lines: Iterable[str],
) -> Example | None:
    """Read `usage` and `expect` of an example or a case; ``lines`` are the ids that may be named.

    Expected amounts may be negative and have up to 12 decimals (S4.2, S12.1).
    """
    before = len(faults)
    usage_document = fields.take("usage", required=True)
    expect = fields.mapping("expect", required=True)
    usage = {}
    if usage_document is not None:
        usage = read_usage(usage_document, fields.place("usage"), faults, meters, charges)
    if expect is None:
        return None
    total = expect.decimal("total", required=True, limit=None, signed=True)
    amounts = []
    expected = expect.mapping("lines")
    known = {*lines, *RESERVED_LINE_IDS}
    for name in [] if expected is None else expected.names():
        amount = None if expected is None else expected.decimal(name, limit=None, signed=True)
        if expected is not None and name not in known:
            message = f"expected the id of a charge or a commitment, got {shown(name)}"
            expected.fault(name, "UNKNOWN_LINE", message)
        if amount is not None:
            amounts.append((name, amount))
    expect.finish()
    if total is None or len(faults) != before:
        return None
    return Example(usage, total, tuple(amounts))


def read_plan(
    document: object,
    at: Place,
    faults: FaultList,
    minor_unit: MinorUnit,
    known_meters: Mapping[str, Meter] = NO_METERS,
) -> Plan | None:
    """Read a plan that stands at ``at``; ``None`` after noting all its faults (S2.1)."""
    fields = Fields.open(document, at, faults)
    if fields is None:
        return None
    before = len(faults)
    plan_id = fields.id("id", required=True)
    currency, rounding = _read_rounding(fields, minor_unit)
    period = fields.choice("billing_period", BillingPeriod, required=True)
    meters = _read_meters(fields, faults, known_meters)
    ids = IdSpace()
    charges: list[Charge] = []
    models: dict[str, ChargeModel | None] = {}
    for spot, item in fields.items("charges", required=True, at_most=CHARGES_MAX) or []:
        name, model, charge = read_charge(item, spot, faults, ids, meters, period)
        if name is not None:
            models.setdefault(name, model)
        if charge is not None:
            charges.append(charge)
    names: list[str] = []
    commitments: list[Commitment] = []
    priced = Priced(models, {charge.id: charge for charge in charges}, meters, period)
    for spot, item in fields.items("commitments", at_most=COMMITMENTS_MAX, empty=True) or []:
        name, commitment = read_commitment(item, spot, faults, ids, priced)
        if name is not None:
            names.append(name)
        if commitment is not None:
            commitments.append(commitment)
    order = fields.choice("order", CommitmentOrder)
    maximum = fields.decimal("maximum_amount")
    minimum = fields.decimal("minimum_amount")
    late = fields.choice("late_usage", LateUsage)
    proration = fields.choice("proration", Proration)
    credit_placement = fields.choice("credits", CreditPlacement)
    examples: list[Example] = []
    for spot, item in fields.items("examples", at_most=EXAMPLES_MAX, empty=True) or []:
        parts = Fields.open(item, spot, faults)
        if parts is None:
            continue
        example = read_example(parts, faults, meters, charges, [*models, *names])
        parts.finish()
        if example is not None:
            examples.append(example)
    fields.finish()
    if plan_id is None or period is None or len(faults) != before:
        return None
    return Plan(
        id=plan_id,
        currency=currency,
        billing_period=period,
        charges=tuple(charges),
        rounding=rounding,
        meters=tuple(meter for meter in meters.values() if meter is not None),
        commitments=tuple(commitments),
        commitment_order=order or CommitmentOrder.DOCUMENT,
        maximum_amount=maximum,
        minimum_amount=minimum,
        late_usage=late or LateUsage.REJECT,
        proration=proration or Proration.SECOND,
        credits=credit_placement or CreditPlacement.BEFORE_TOTAL,
        examples=tuple(examples),
    )


def plan_from_document(
    document: object, minor_unit: MinorUnit, known_meters: Mapping[str, Meter] = NO_METERS
) -> Plan:
    """Return the plan that ``document`` describes, a tree of dict, list and str (S1.1, S2).

    ``minor_unit`` gives the decimals of a currency, or ``None`` if there is no such currency;
    ``known_meters`` are those that the plan may name by id and that an inline meter of the same
    id must equal. Raises PlanInvalid with all faults in document order.
    """
    faults = FaultList()
    plan = read_plan(document, Place(), faults, minor_unit, known_meters)
    if plan is None:
        raise PlanInvalid(faults.in_document_order())
    return plan


def meter_from_document(document: object) -> Meter:
    """Return the meter that ``document`` describes (S2.1). Raises PlanInvalid with all faults."""
    faults = FaultList()
    _, meter = _read_meter(document, Place(), faults)
    if meter is None:
        raise PlanInvalid(faults.in_document_order())
    return meter
