"""The specification as code: one statement, exact, slow and obvious (S1, S3, S4, S5).

Nothing here is shared with the kernels: amounts are `Fraction`, percentage charges are priced event
by event, each rule stands in a function of its own. The property tests look for differences.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction

from rating_core.catalog import (
    Charge,
    ChargeModel,
    Commitment,
    CommitmentOrder,
    CountedAt,
    Plan,
    Rounding,
    Tier,
    Usage,
)
from rating_core.errors import OutOfRange
from rating_core.reference_usage import aggregated, check_counters, exact_sum, matches
from rating_core.statement import Line, LineKind, Statement
from rating_core.units import RoundingStage, fits_int64, round_fraction

ZERO = Fraction(0)

_ALWAYS_SHOWN = (LineKind.MODEL, LineKind.COMMITMENT)


# --- the charge models (S3); ``quantity`` is what is left after included units, never below 0 ---


def flat_fee_amount(charge: Charge) -> Fraction:
    """Return the amount, once a period (S3)."""
    return Fraction(charge.amount)


def per_unit_amount(charge: Charge, quantity: Fraction) -> Fraction:
    """Return quantity × unit price (S3)."""
    return quantity * Fraction(charge.unit_price)


def graduated_amount(charge: Charge, quantity: Fraction) -> Fraction:
    """Return each unit at the price of its own tier, plus the flat fees of entered tiers (S3.2)."""
    if quantity == 0:
        return _amount_at_zero(charge)
    return sum(
        (
            units * Fraction(tier.unit_price) + Fraction(tier.flat_fee)
            for tier, units in _entered(charge, quantity)
        ),
        ZERO,
    )


def volume_amount(charge: Charge, quantity: Fraction) -> Fraction:
    """Return all units at the price of the tier reached, plus that tier's flat fee (S3)."""
    if quantity == 0:
        return _amount_at_zero(charge)
    reached, _ = _entered(charge, quantity)[-1]
    return quantity * Fraction(reached.unit_price) + Fraction(reached.flat_fee)


def stairstep_amount(charge: Charge, quantity: Fraction) -> Fraction:
    """Return the flat fee of the tier reached (S3)."""
    if quantity == 0:
        return _amount_at_zero(charge)
    reached, _ = _entered(charge, quantity)[-1]
    return Fraction(reached.flat_fee)


def package_amount(charge: Charge, quantity: Fraction) -> Fraction:
    """Return the number of started packages × package price (S3)."""
    started = -(-quantity // Fraction(charge.package_size))
    return started * Fraction(charge.package_price)


def percentage_amount(charge: Charge, events: Sequence[Decimal]) -> Fraction:
    """Return the sum over events of clamp(quantity × percent + fixed, min, max) (S3.4).

    Without clamps the percent applies to the sum, never below 0 (S3.2), beyond the free amount; the
    fixed fee to each event beyond the free events.
    """
    rate = Fraction(charge.percent) / 100
    fixed = Fraction(charge.fixed_fee_per_event)
    if not charge.clamps:
        summed = Fraction(exact_sum(events)) - Fraction(charge.free_amount)
        return rate * max(summed, ZERO) + fixed * max(len(events) - charge.free_events, 0)
    total = ZERO
    for quantity in events:
        amount = Fraction(quantity) * rate + fixed
        if charge.min_per_event is not None:
            amount = max(amount, Fraction(charge.min_per_event))
        if charge.max_per_event is not None:
            amount = min(amount, Fraction(charge.max_per_event))
        total += amount
    return total


def graduated_percentage_amount(charge: Charge, quantity: Fraction) -> Fraction:
    """Return as graduated, with a percent of the units in each tier (S3)."""
    if quantity == 0:
        return _amount_at_zero(charge)
    return sum(
        (
            units * Fraction(tier.percent) / 100 + Fraction(tier.flat_fee)
            for tier, units in _entered(charge, quantity)
        ),
        ZERO,
    )


def _amount_at_zero(charge: Charge) -> Fraction:
    """At no usage no tier is entered; the first tier's fee falls due only on request (S3.2)."""
    return Fraction(charge.tiers[0].flat_fee) if charge.flat_fee_at_zero_usage else ZERO


def _entered(charge: Charge, quantity: Fraction) -> list[tuple[Tier, Fraction]]:
    """Return the tiers whose lower bound is exceeded, with the units in each (S3.1, S3.2)."""
    entered: list[tuple[Tier, Fraction]] = []
    lower = ZERO
    for tier in charge.tiers:
        if quantity <= lower:
            break
        upper = quantity if tier.up_to is None else min(quantity, Fraction(tier.up_to))
        entered.append((tier, upper - lower))
        lower = upper if tier.up_to is None else Fraction(tier.up_to)
    return entered


_AMOUNT_OF_QUANTITY = {
    ChargeModel.PER_UNIT: per_unit_amount,
    ChargeModel.GRADUATED: graduated_amount,
    ChargeModel.VOLUME: volume_amount,
    ChargeModel.STAIRSTEP: stairstep_amount,
    ChargeModel.PACKAGE: package_amount,
    ChargeModel.GRADUATED_PERCENTAGE: graduated_percentage_amount,
}


# --- what a charge sees of the usage (S6.1, S6.2) ---


def _model_amount(plan: Plan, charge: Charge, usage: Usage) -> Fraction:
    """Return the exact amount of the charge's model on its usage (S3)."""
    entries = usage.get(charge.meter or "", ())
    events = [entry.quantity for entry in entries if matches(charge, entry)]
    if charge.model is ChargeModel.FLAT_FEE:
        return flat_fee_amount(charge)
    if charge.model is ChargeModel.PERCENTAGE:
        return percentage_amount(charge, events)
    counted = aggregated(plan.meter(charge.meter or ""), events)
    quantity = max(Fraction(counted) - Fraction(charge.included_units), ZERO)
    return _AMOUNT_OF_QUANTITY[charge.model](charge, quantity)


# --- the adjustments (S4, S5): what an exact amount becomes ---


def discount_amount(charge: Charge, amount: Fraction) -> Fraction:
    """Return ``amount`` less the charge's discount (S4)."""
    return amount * (1 - Fraction(charge.discount_percent) / 100)


def maximum_amount(item: Charge | Plan, amount: Fraction) -> Fraction:
    """Return ``amount``, at most the maximum (S4)."""
    return amount if item.maximum_amount is None else min(amount, Fraction(item.maximum_amount))


def minimum_amount(item: Charge | Plan, amount: Fraction) -> Fraction:
    """Return ``amount``, at least the minimum, at zero usage too (S3.2, S4)."""
    return amount if item.minimum_amount is None else max(amount, Fraction(item.minimum_amount))


def covered_at_most(commitment: Commitment) -> Fraction:
    """Return the list amount that uses a commitment up (S5.1)."""
    if commitment.counted_at is CountedAt.LIST:
        return Fraction(commitment.amount)
    return Fraction(commitment.amount) / (1 - Fraction(commitment.discount_percent) / 100)


def commitment_amount(commitment: Commitment, listed: Fraction, factor: Fraction) -> Fraction:
    """Return A(L): what ``listed``, the covered list amount, costs under a commitment (S5.2)."""
    share = 1 - Fraction(commitment.discount_percent) / 100
    limit = covered_at_most(commitment)
    covered = min(listed, limit)
    used_up = listed >= limit
    fee = limit * share
    paid = fee if used_up or commitment.true_up else covered * share
    return paid + (listed - covered) * factor


# --- the order of a statement (S4) and its rounding (S1.4) ---


@dataclass(frozen=True)
class _Step:
    """One line before rounding: the exact amount before and after its step."""

    id: str
    kind: LineKind
    before: Fraction
    after: Fraction


def _charge_steps(plan: Plan, charge: Charge, usage: Usage) -> list[_Step]:
    model = _model_amount(plan, charge, usage)
    discounted = discount_amount(charge, model)
    bounded = maximum_amount(charge, discounted)
    final = minimum_amount(charge, bounded)
    return [
        _Step(charge.id, LineKind.MODEL, ZERO, model),
        _Step(charge.id, LineKind.DISCOUNT, model, discounted),
        _Step(charge.id, LineKind.MAXIMUM, discounted, bounded),
        _Step(charge.id, LineKind.MINIMUM, bounded, final),
    ]


def _in_order_of_application(plan: Plan) -> list[Commitment]:
    """Return the commitments as they apply: as they stand, or by falling discount (S5.4)."""
    if plan.commitment_order is CommitmentOrder.BEST_SAVING_FIRST:
        return sorted(plan.commitments, key=lambda item: -item.discount_percent)
    return list(plan.commitments)


def _commitment_steps(plan: Plan, charged: dict[str, Fraction]) -> list[_Step]:
    """Return one step a commitment, from L to A(L), in document order (S5.4).

    ``charged`` holds the amounts of the charges, in document order. Each commitment sees what the
    ones before left uncovered; what it covers is taken from its charges in document order.
    """
    uncovered = dict(charged)
    steps: dict[str, _Step] = {}
    applied = _in_order_of_application(plan)
    for commitment in applied:
        last = commitment is applied[-1]
        factor = Fraction(commitment.overage_factor) if last else Fraction(1)
        covers = [charge_id for charge_id in uncovered if charge_id in commitment.covers]
        listed = sum((uncovered[charge_id] for charge_id in covers), ZERO)
        amount = commitment_amount(commitment, listed, factor)
        steps[commitment.id] = _Step(commitment.id, LineKind.COMMITMENT, listed, amount)
        left = min(listed, covered_at_most(commitment))
        for charge_id in covers:
            taken = min(left, uncovered[charge_id])
            uncovered[charge_id] -= taken
            left -= taken
    return [steps[commitment.id] for commitment in plan.commitments]


def _plan_steps(plan: Plan, running: Fraction) -> list[_Step]:
    bounded = maximum_amount(plan, running)
    final = minimum_amount(plan, bounded)
    return [
        _Step("plan-maximum", LineKind.PLAN_MAXIMUM, running, bounded),
        _Step("plan-minimum", LineKind.PLAN_MINIMUM, bounded, final),
    ]


def _rounded(value: Fraction, rounding: Rounding) -> int:
    return round_fraction(value, rounding.scale, rounding.mode)


def _floor(value: Fraction, rounding: Rounding) -> int:
    return math.floor(value * Fraction(10) ** rounding.scale)


def _check_amounts(amounts: Sequence[int]) -> None:
    if not all(fits_int64(amount) for amount in amounts):
        raise OutOfRange("an amount does not fit 64 bits at its rounding scale")


def _rounded_lines(plan: Plan, usage: Usage) -> list[tuple[_Step, int]]:
    """Stage `line`: each line is rounded for itself; what follows sees rounded amounts (S1.4)."""
    rounding = plan.rounding
    unit = Fraction(1, 10**rounding.scale)
    lines: list[tuple[_Step, int]] = []
    charged: dict[str, Fraction] = {}
    seen: list[int] = []
    for charge in plan.charges:
        for step in _charge_steps(plan, charge, usage):
            before, after = _rounded(step.before, rounding), _rounded(step.after, rounding)
            lines.append((step, after - before))
            charged[charge.id] = after * unit
            seen.append(after)
    for step in _commitment_steps(plan, charged):
        lines.append((step, _rounded(step.after - step.before, rounding)))
        seen.append(_rounded(step.before, rounding))
    running = sum(amount for _, amount in lines)
    seen.append(running)
    for step in _plan_steps(plan, running * unit):
        before, after = _rounded(step.before, rounding), _rounded(step.after, rounding)
        lines.append((step, after - before))
        seen.append(after)
    _check_amounts(seen)
    return lines


def _distributed_lines(plan: Plan, usage: Usage) -> list[tuple[_Step, int]]:
    """Stage `statement`: everything is exact; the sum is rounded, then spread over lines (S1.4)."""
    rounding = plan.rounding
    steps: list[_Step] = []
    charged: dict[str, Fraction] = {}
    seen: list[Fraction] = []
    for charge in plan.charges:
        charge_steps = _charge_steps(plan, charge, usage)
        steps += charge_steps
        charged[charge.id] = charge_steps[-1].after
        seen += [step.after for step in charge_steps]
    commitments = _commitment_steps(plan, charged)
    steps += commitments
    seen += [step.before for step in commitments]
    running = sum((step.after - step.before for step in steps), ZERO)
    seen.append(running)
    bounds = _plan_steps(plan, running)
    steps += bounds
    seen += [step.after for step in bounds]
    exact = [step.after - step.before for step in steps]
    cut = [_floor(amount, rounding) for amount in exact]
    _check_amounts([_floor(amount, rounding) for amount in seen] + cut)
    missing = _rounded(sum(exact, ZERO), rounding) - sum(cut)
    remainders = [
        amount * 10**rounding.scale - whole for amount, whole in zip(exact, cut, strict=True)
    ]
    # sorted() keeps equal remainders in line order.
    by_remainder = sorted(range(len(steps)), key=lambda index: -remainders[index])
    for index in by_remainder[:missing]:
        cut[index] += 1
    return list(zip(steps, cut, strict=True))


def reference_statement(plan: Plan, usage: Usage) -> Statement:
    """Return the statement of one period (S4); its lines carry no slices.

    Lines of a charge's model and of a commitment always stand in it, the others where they are not
    0. Raises OutOfRange if a counter or an amount does not fit 64 bits (S1.2): of amounts, at the
    rounding scale, those after each step of a charge, what each commitment sees, the running total
    before and after the plan's maximum and minimum, each line, and the total. KeyError if
    ``usage`` names a meter that the plan lacks.
    """
    check_counters(plan, usage)
    if plan.rounding.stage is RoundingStage.LINE:
        amounts = _rounded_lines(plan, usage)
    else:
        amounts = _distributed_lines(plan, usage)
    total = sum(amount for _, amount in amounts)
    _check_amounts([total, *(amount for _, amount in amounts)])
    priced = {charge.meter for charge in plan.charges}
    return Statement(
        plan_id=plan.id,
        currency=plan.currency,
        scale=plan.rounding.scale,
        lines=tuple(
            Line(step.id, step.kind, amount)
            for step, amount in amounts
            if amount != 0 or step.kind in _ALWAYS_SHOWN
        ),
        total=total,
        unpriced_meters=tuple(
            sorted(meter for meter, entries in usage.items() if entries and meter not in priced)
        ),
    )
