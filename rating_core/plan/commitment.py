"""Commitments of a plan document: amounts, terms, payment and rollover (S2, S5)."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from fractions import Fraction

from rating_core.catalog import (
    ONE,
    ZERO,
    Aggregation,
    BillingPeriod,
    BucketLength,
    Charge,
    ChargeModel,
    Commitment,
    CountedAt,
    Installment,
    LevelUnit,
    Meter,
    Payment,
    Rollover,
)
from rating_core.compile import PIECES
from rating_core.instant import read_instant
from rating_core.kernels.piece import PIECE_UNIT, number
from rating_core.period import DAY_US, HOUR_US
from rating_core.plan.fields import FaultList, Fields, IdSpace, Place, read_text, shown
from rating_core.units import SCALE_MAX, format_decimal, from_units

COVERS_MAX = 1_000
INSTALLMENTS_MAX = 120
_HUNDRED = Decimal(100)
_PERIOD = re.compile(r"\d{1,4}", re.ASCII)
_LENGTH = re.compile(r"(\d{1,5})([hd])", re.ASCII)
_LENGTHS = {"h": HOUR_US, "d": DAY_US}
_PRICE_DECIMALS = 3 * SCALE_MAX
"""A price × a quantity × what a discount leaves has no more (S1.2)."""
_UNPRICED = (ChargeModel.FLAT_FEE, ChargeModel.PERCENTAGE)
"""Models whose amount does not follow from one quantity."""


@dataclass(frozen=True, slots=True)
class Priced:
    """What commitments of a plan may refer to: its charges, meters and billing period.

    ``models`` holds the models of all charges by id, ``charges`` and ``meters`` those without a
    fault (a faulty meter is ``None``).
    """

    models: Mapping[str, ChargeModel | None]
    charges: Mapping[str, Charge]
    meters: Mapping[str, Meter | None]
    period: BillingPeriod | None


def _read_covers(
    fields: Fields, faults: FaultList, models: Mapping[str, ChargeModel | None]
) -> tuple[str, ...]:
    """Return the covered charge ids; by default all charges but flat fees (S5).

    Without any charge that can be named, the fault is the charges', not this key's.
    """
    if "covers" not in fields:
        covers = tuple(name for name, model in models.items() if model is not ChargeModel.FLAT_FEE)
        if models and not covers:
            message = "covers defaults to all charges but flat fees, and this plan has none"
            fields.fault("covers", "MISSING", message)
        return covers
    names: list[str] = []
    for at, item in fields.items("covers", at_most=COVERS_MAX) or []:
        name = read_text(item, at, faults)
        if name is None:
            continue
        if name not in models:
            faults.add(at, "UNKNOWN_CHARGE", f"expected the id of a charge, got {shown(name)}")
        elif name in names:
            faults.add(at, "DUPLICATE_VALUE", f"the charge {shown(name)} stands twice")
        else:
            names.append(name)
    return tuple(names)


def _read_term(fields: Fields, period: BillingPeriod | None) -> BillingPeriod | None:
    """Return the term; ``None`` if it is the billing period itself (S5.3, S5.5)."""
    term = fields.choice("term", BillingPeriod)
    if term is None or period is None or term is period:
        return None
    lengths = list(BillingPeriod)
    if term is not BillingPeriod.HOUR and lengths.index(term) < lengths.index(period):
        message = (
            f"shorter than the billing period ({period}): expected hour, or {period} or longer"
        )
        fields.fault("term", "NOT_ALLOWED", message)
        return None
    if term is not BillingPeriod.HOUR and period is BillingPeriod.WEEK:
        # S5.3: a term holds whole billing periods; months are not made of weeks.
        message = f"a {term} does not hold whole weeks: expected week, the billing period"
        fields.fault("term", "NOT_ALLOWED", message)
        return None
    return term


def _counts_hours(meter: Meter) -> bool:
    """Whether the meter's hour buckets add up to its period (S5.5)."""
    level_hours = meter.aggregation is Aggregation.WEIGHTED_SUM and meter.per is LevelUnit.HOUR
    return (meter.adds_up or level_hours) and meter.buckets is BucketLength.HOUR


def _check_hours(fields: Fields, covers: Sequence[str], priced: Priced) -> None:
    """Note what an hourly commitment cannot have, and meters without hour buckets (S5.5)."""
    for key in ("payment", "rollover"):
        if key in fields and fields.take(key) != Payment.POSTPAID:
            fields.fault(key, "NOT_ALLOWED", "not on a commitment of an hour")
    for name in covers:
        charge = priced.charges.get(name)
        if charge is None:
            continue
        meter = priced.meters.get(charge.meter or "")
        if charge.model is ChargeModel.FLAT_FEE:
            message = f"{name} is a flat fee, which has no hours"
            fields.fault("covers", "NOT_ALLOWED", message)
        elif charge.tier_window is not None:
            message = f"the charge {name} runs over a {charge.tier_window}, not over hours"
            fields.fault("term", "NOT_ALLOWED", message)
        elif meter is not None and not _counts_hours(meter):
            message = (
                f"the charge {name} has no usage by the hour: its meter {meter.id} must be a sum,"
                " a count or a weighted_sum per hour, with buckets: hour"
            )
            fields.fault("term", "NO_HOUR_BUCKETS", message)


def _list_price(charge: Charge, quantity: Decimal) -> Fraction:
    """Return the exact price of a quantity after included units: model, then discount (S3, S4)."""
    kept = 1 - Fraction(charge.discount_percent) / 100
    if charge.model is ChargeModel.PACKAGE:
        count = -(-Fraction(quantity) // Fraction(charge.package_size))
        return count * Fraction(charge.package_price) * kept
    units = number(quantity)
    pieces = PIECES[charge.model](replace(charge, included_units=ZERO), SCALE_MAX)
    entered = [piece for piece in pieces if units > piece.threshold][-1]
    return Fraction(entered.slope * units + entered.offset, PIECE_UNIT) * kept


def _exact(amount: Fraction) -> Decimal:
    """Return an amount of plan numbers as the decimal that it is."""
    units = int(amount * 10**_PRICE_DECIMALS)
    return Decimal(format_decimal(from_units(units, _PRICE_DECIMALS)))


def _read_quantity(
    fields: Fields, covers: Sequence[str], priced: Priced
) -> tuple[Decimal | None, Decimal | None]:
    """Return a quantity and what it costs at list: both ``None`` where it is faulty (S5.6)."""
    quantity = fields.decimal("quantity")
    if "amount" in fields:
        fields.fault("quantity", "NOT_ALLOWED", "expected either amount or quantity, got both")
    if fields.take("counted_at") == CountedAt.DISCOUNTED:
        message = "a quantity is counted at list: leave counted_at out"
        fields.fault("counted_at", "NOT_ALLOWED", message)
    if len(covers) > 1:
        message = f"a quantity is of one charge: expected one in covers, got {len(covers)}"
        fields.fault("covers" if "covers" in fields else "quantity", "TOO_MANY", message)
        return None, None
    charge = priced.charges.get(covers[0]) if covers else None
    if charge is None or quantity is None:
        return None, None
    if charge.model in _UNPRICED:
        message = f"a {charge.model} has no price of a quantity: promise an amount"
        fields.fault("quantity", "NOT_ALLOWED", message)
        return None, None
    return quantity, _exact(_list_price(charge, quantity))


def _read_schedule(
    fields: Fields, faults: FaultList, fee: Fraction | None
) -> tuple[Installment, ...]:
    """Return the installments of a prepaid fee, which must add up to it (S5.6)."""
    installments: list[Installment] = []
    before = len(faults)
    for at, item in fields.items("schedule", at_most=INSTALLMENTS_MAX) or []:
        parts = Fields.open(item, at, faults)
        if parts is None:
            continue
        when = parts.take("at", required=True)
        instant, number = None, None
        if isinstance(when, str) and _PERIOD.fullmatch(when):
            number = int(when)
        elif when is not None:
            instant = read_instant(when, parts.place("at"), faults)
        amount = parts.decimal("amount", required=True)
        parts.finish()
        if amount is not None:
            installments.append(Installment(amount, instant, number))
    total = sum((Fraction(item.amount) for item in installments), Fraction(0))
    if installments and len(faults) == before and fee is not None and total != fee:
        message = f"expected {_words(fee)} in all, the fee of the commitment, got {_words(total)}"
        fields.fault("schedule", "SCHEDULE_SUM", message)
    return tuple(installments)


def _words(amount: Fraction) -> str:
    return format_decimal(_exact(amount))


def _read_rollover(fields: Fields) -> Rollover | None:
    parts = fields.mapping("rollover")
    if parts is None:
        return None
    fraction = parts.decimal("fraction", required=True)
    if fraction is not None and fraction > ONE:
        parts.fault("fraction", "TOO_LARGE", "expected at most 1")
    maximum = parts.decimal("maximum_amount")
    length = parts.text("expires_after")
    expires: int | None = None
    if length is not None:
        match = _LENGTH.fullmatch(length)
        if match is None or not int(match[1]):
            message = f"expected a length such as 90d or 72h, got {shown(length)}"
            parts.fault("expires_after", "BAD_LENGTH", message)
        else:
            expires = int(match[1]) * _LENGTHS[match[2]]
    parts.finish()
    return Rollover(fraction or ZERO, maximum, expires)


def length_text(length: int) -> str:
    """Return a length in µs as a document states it: in days where it has whole ones."""
    return f"{length // DAY_US}d" if length % DAY_US == 0 else f"{length // HOUR_US}h"


def read_commitment(
    document: object, at: Place, faults: FaultList, ids: IdSpace, priced: Priced
) -> tuple[str | None, Commitment | None]:
    """Return id and commitment, each ``None`` where it is faulty; the faults are noted (S5)."""
    fields = Fields.open(document, at, faults)
    if fields is None:
        return None, None
    before = len(faults)
    commitment_id = fields.id("id", required=True)
    if commitment_id is not None:
        ids.declare(commitment_id, fields.place("id"), faults)
    amount = fields.decimal("amount", required="quantity" not in fields)
    term = _read_term(fields, priced.period)
    discount = fields.percent("discount_percent") or ZERO
    if discount >= _HUNDRED:
        fields.fault("discount_percent", "TOO_LARGE", "expected less than 100")
    counted_at = fields.choice("counted_at", CountedAt) or CountedAt.DISCOUNTED
    factor = fields.decimal("overage_factor")
    true_up = fields.boolean("true_up")
    covers = _read_covers(fields, faults, priced.models)
    quantity: Decimal | None = None
    if "quantity" in fields:
        counted_at = CountedAt.LIST
        quantity, amount = _read_quantity(fields, covers, priced)
    payment = fields.choice("payment", Payment) or Payment.POSTPAID
    fee = None if amount is None else Fraction(amount)
    if fee is not None and counted_at is CountedAt.LIST:
        fee *= 1 - Fraction(discount) / 100
    schedule = _read_schedule(fields, faults, fee)
    if "schedule" in fields and payment is not Payment.PREPAID:
        fields.fault("schedule", "NOT_ALLOWED", "only with payment: prepaid")
    rollover = _read_rollover(fields)
    if term is BillingPeriod.HOUR:
        _check_hours(fields, covers, priced)
    fields.finish()
    if commitment_id is None or amount is None or len(faults) != before:
        return commitment_id, None
    due = true_up or payment is Payment.PREPAID
    at_end = term is not None and term is not BillingPeriod.HOUR
    return commitment_id, Commitment(
        id=commitment_id,
        amount=amount,
        covers=covers,
        discount_percent=discount,
        counted_at=counted_at,
        overage_factor=ONE if factor is None else factor,
        true_up=due and not at_end,
        term=term,
        true_up_at_term_end=due and at_end,
        quantity=quantity,
        payment=payment,
        schedule=schedule,
        rollover=rollover,
    )
