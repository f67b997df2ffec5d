"""A `Plan` back into the document it can be read from again, scalars as text (S2)."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from rating_core.catalog import (
    Charge,
    ChargeModel,
    Commitment,
    CommitmentOrder,
    CountedAt,
    CreditPlacement,
    Example,
    Installment,
    LateUsage,
    Meter,
    Payment,
    Plan,
    Proration,
    Rollover,
    Tier,
    Timing,
)
from rating_core.instant import format_instant
from rating_core.plan.commitment import length_text
from rating_core.units import format_decimal
from rating_core.usage import usage_to_document

_TIERED = (
    ChargeModel.GRADUATED,
    ChargeModel.VOLUME,
    ChargeModel.STAIRSTEP,
    ChargeModel.GRADUATED_PERCENTAGE,
)


def _put(document: dict[str, Any], key: str, value: Decimal | None, default: object = None) -> None:
    if value is not None and value != default:
        document[key] = format_decimal(value)


def _put_true(document: dict[str, Any], key: str, value: bool) -> None:
    if value:
        document[key] = "true"


def _tier_document(model: ChargeModel, tier: Tier) -> dict[str, Any]:
    document: dict[str, Any] = {}
    _put(document, "up_to", tier.up_to)
    if model is ChargeModel.GRADUATED_PERCENTAGE:
        document["percent"] = format_decimal(tier.percent)
    elif model is not ChargeModel.STAIRSTEP:
        document["unit_price"] = format_decimal(tier.unit_price)
    _put(document, "flat_fee", tier.flat_fee, None if model is ChargeModel.STAIRSTEP else 0)
    return document


def _model_document(charge: Charge) -> dict[str, Any]:
    """Return the keys that belong to the charge's model (S3)."""
    document: dict[str, Any] = {}
    if charge.model is ChargeModel.FLAT_FEE:
        document["amount"] = format_decimal(charge.amount)
        if charge.timing is not Timing.IN_ADVANCE:
            document["timing"] = charge.timing.value
        _put_true(document, "prorate", charge.prorate)
    elif charge.model is ChargeModel.PER_UNIT:
        document["unit_price"] = format_decimal(charge.unit_price)
    elif charge.model is ChargeModel.PACKAGE:
        document["package_size"] = format_decimal(charge.package_size)
        document["package_price"] = format_decimal(charge.package_price)
    elif charge.model is ChargeModel.PERCENTAGE:
        document["percent"] = format_decimal(charge.percent)
        _put(document, "fixed_fee_per_event", charge.fixed_fee_per_event, 0)
        _put(document, "min_per_event", charge.min_per_event)
        _put(document, "max_per_event", charge.max_per_event)
        _put(document, "free_events", Decimal(charge.free_events), 0)
        _put(document, "free_amount", charge.free_amount, 0)
    elif charge.model in _TIERED:
        document["tiers"] = [_tier_document(charge.model, tier) for tier in charge.tiers]
        _put_true(document, "flat_fee_at_zero_usage", charge.flat_fee_at_zero_usage)
        _put_true(document, "prorate_tiers", charge.prorate_tiers)
    return document


def _charge_document(charge: Charge) -> dict[str, Any]:
    document: dict[str, Any] = {"id": charge.id}
    if charge.meter is not None:
        document["meter"] = charge.meter
    if charge.where:
        document["where"] = {name: list(values) for name, values in charge.where}
    document["model"] = charge.model.value
    _put(document, "included_units", charge.included_units, 0)
    _put_true(document, "prorate_included_units", charge.prorate_included_units)
    document |= _model_document(charge)
    _put(document, "discount_percent", charge.discount_percent, 0)
    _put(document, "maximum_amount", charge.maximum_amount)
    _put(document, "minimum_amount", charge.minimum_amount)
    _put_true(document, "prorate_minimum", charge.prorate_minimum)
    if charge.tier_window is not None:
        document["tier_window"] = charge.tier_window.value
    if charge.smoothing_periods != 1:
        document["smoothing_periods"] = str(charge.smoothing_periods)
    return document


def _commitment_document(commitment: Commitment) -> dict[str, Any]:
    document: dict[str, Any] = {"id": commitment.id}
    if commitment.quantity is None:
        document["amount"] = format_decimal(commitment.amount)
    else:
        document["quantity"] = format_decimal(commitment.quantity)
    if commitment.term is not None:
        document["term"] = commitment.term.value
    _put(document, "discount_percent", commitment.discount_percent, 0)
    if commitment.counted_at is not CountedAt.DISCOUNTED and commitment.quantity is None:
        document["counted_at"] = commitment.counted_at.value
    _put(document, "overage_factor", commitment.overage_factor, 1)
    if commitment.true_up or commitment.true_up_at_term_end:
        document["true_up"] = "true"
    document["covers"] = list(commitment.covers)
    if commitment.payment is not Payment.POSTPAID:
        document["payment"] = commitment.payment.value
    if commitment.schedule:
        document["schedule"] = [_installment_document(item) for item in commitment.schedule]
    if commitment.rollover is not None:
        document["rollover"] = _rollover_document(commitment.rollover)
    return document


def _installment_document(installment: Installment) -> dict[str, Any]:
    at = str(installment.period) if installment.at is None else format_instant(installment.at)
    return {"at": at, "amount": format_decimal(installment.amount)}


def _rollover_document(rollover: Rollover) -> dict[str, Any]:
    document: dict[str, Any] = {"fraction": format_decimal(rollover.fraction)}
    _put(document, "maximum_amount", rollover.maximum_amount)
    if rollover.expires_after is not None:
        document["expires_after"] = length_text(rollover.expires_after)
    return document


def _example_document(example: Example) -> dict[str, Any]:
    expect: dict[str, Any] = {"total": format_decimal(example.total)}
    if example.lines:
        expect["lines"] = {name: format_decimal(amount) for name, amount in example.lines}
    return {"usage": usage_to_document(example.usage), "expect": expect}


def meter_to_document(meter: Meter) -> dict[str, Any]:
    """Return the document of a meter; `meter_from_document` reads the same meter from it."""
    document: dict[str, Any] = {"id": meter.id, "aggregation": meter.aggregation.value}
    if meter.unit:
        document["unit"] = meter.unit
    document["scale"] = str(meter.scale)
    if meter.dimensions:
        document["dimensions"] = list(meter.dimensions)
    if meter.of:
        document["of"] = meter.of
    if meter.per is not None:
        document["per"] = meter.per.value
    if meter.buckets is not None:
        document["buckets"] = meter.buckets.value
    return document


def plan_to_document(plan: Plan) -> dict[str, Any]:
    """Return the document of a plan; `plan_from_document` reads the same plan from it (S2).

    Meters stand in it whole, rounding and `covers` are spelled out; other keys at their default
    are left out.
    """
    document: dict[str, Any] = {
        "id": plan.id,
        "currency": plan.currency,
        "billing_period": plan.billing_period.value,
        "rounding": {
            "mode": plan.rounding.mode.value,
            "scale": str(plan.rounding.scale),
            "stage": plan.rounding.stage.value,
        },
    }
    if plan.meters:
        document["meters"] = [meter_to_document(meter) for meter in plan.meters]
    document["charges"] = [_charge_document(charge) for charge in plan.charges]
    if plan.commitments:
        document["commitments"] = [_commitment_document(item) for item in plan.commitments]
    if plan.commitment_order is not CommitmentOrder.DOCUMENT:
        document["order"] = plan.commitment_order.value
    _put(document, "maximum_amount", plan.maximum_amount)
    _put(document, "minimum_amount", plan.minimum_amount)
    if plan.late_usage is not LateUsage.REJECT:
        document["late_usage"] = plan.late_usage.value
    if plan.proration is not Proration.SECOND:
        document["proration"] = plan.proration.value
    if plan.credits is not CreditPlacement.BEFORE_TOTAL:
        document["credits"] = plan.credits.value
    if plan.examples:
        document["examples"] = [_example_document(example) for example in plan.examples]
    return document
