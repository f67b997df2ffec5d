"""Slices: which units at which price, which bound, which commitment made a line (S4.3).

Slices are computed apart from the kernels, from the plan and the usage with exact fractions, and
then compared with the amounts that the kernels booked: what is left over is at most a rounding
residue, or kernel and explanation disagree.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Any

from rating_core.adjustments.commitment import priced_commitments
from rating_core.catalog import Charge, ChargeModel, Plan
from rating_core.compile import LineSlot, input_width
from rating_core.statement import Line, LineKind, Slice, SliceKind
from rating_core.units import (
    RoundingStage,
    format_decimal,
    from_units,
)

CUT_SCALE = 24
"""Decimals of a number without a finite expansion, as amount ÷ (1 − d); the rest is residue."""
_ZERO = Fraction(0)


class SliceMismatchError(AssertionError):
    """Slices and booked line differ by more than rounding: an error of ours, never of the plan."""


@dataclass(frozen=True, slots=True)
class ExactSlice:
    """A slice's exact amount beside the slice, whose own amount may be cut."""

    amount: Fraction
    slice: Slice


_Exact = ExactSlice


def exact_decimal(value: Fraction) -> Decimal:
    """Return ``value`` as a decimal: exact if finite, else cut towards zero to `CUT_SCALE`."""
    denominator = value.denominator
    scale = 0
    while denominator % 10 == 0:
        denominator //= 10
        scale += 1
    for prime in (2, 5):
        while denominator % prime == 0:
            denominator //= prime
            scale += 1
    if denominator != 1:
        scale = CUT_SCALE
    numerator, divisor = abs(value.numerator) * 10**scale, value.denominator
    units = numerator // divisor
    return from_units(-units if value < 0 else units, scale)


def explain_lines(
    plan: Plan, inputs: Sequence[int], slots: Sequence[LineSlot], amounts: Sequence[int]
) -> tuple[Line, ...]:
    """Return the booked ``amounts`` as explained lines; zero adjustments are left out.

    ``inputs`` are the input columns of the plan's charges, ``slots`` name the amounts, which are in
    units of 10^-scale. Slices add up to their line. Raises SliceMismatchError if a line cannot be
    explained to within rounding.
    """
    booked = dict(zip(slots, amounts, strict=False))
    units_by_id: dict[str, int] = {}
    for slot, amount in booked.items():
        units_by_id[slot.id] = units_by_id.get(slot.id, 0) + amount
    slices: dict[LineSlot, list[_Exact]] = {}
    finals: list[Fraction] = []
    column = 0
    for charge in plan.charges:
        width = input_width(charge)
        scale = plan.meter(charge.meter).scale if charge.meter is not None else 0
        steps = _charge_steps(charge, scale, inputs[column : column + width])
        final = _ZERO
        for kind, step in steps:
            slices[LineSlot(charge.id, kind)] = step
            final += sum((entry.amount for entry in step), _ZERO)
        finals.append(_booked_amount(plan, units_by_id, charge.id, final))
        column += width
    running = sum(finals, _ZERO)
    for commitment_id, step in _commitment_steps(plan, finals):
        slot = LineSlot(commitment_id, LineKind.COMMITMENT)
        slices[slot] = step
        exact = sum((entry.amount for entry in step), _ZERO)
        running += _booked_amount(plan, units_by_id, commitment_id, exact)
    for kind, step in _plan_steps(plan, running):
        slices[LineSlot(kind.value.replace("_", "-"), kind)] = step
    return tuple(
        booked_line(plan.rounding.scale, slot.id, slot.kind, amount, slices.get(slot, []))
        for slot, amount in booked.items()
        if amount or slot.kind in (LineKind.MODEL, LineKind.COMMITMENT)
    )


def _booked_amount(
    plan: Plan, units_by_id: dict[str, int], line_id: str, exact: Fraction
) -> Fraction:
    """Return what later steps see of a charge or commitment: rounded at stage `line` (S1.4)."""
    if plan.rounding.stage is RoundingStage.STATEMENT:
        return exact
    return Fraction(units_by_id[line_id], 10**plan.rounding.scale)


def booked_line(
    scale: int,
    line_id: str,
    kind: LineKind,
    amount: int,
    entries: Sequence[ExactSlice],
    residue_max: int = 1,
) -> Line:
    """Return the line with its slices and, if any is left, the rounding residue.

    ``amount`` is in units of 10^-``scale``. Raises SliceMismatchError if the slices differ from it
    by more than ``residue_max`` units.
    """
    unit = Fraction(1, 10**scale)
    exact = sum((entry.amount for entry in entries), _ZERO)
    # two roundings make a line at stage `line`, a cut and at most one unit at stage `statement`
    if abs(amount * unit - exact) > residue_max * unit:
        raise SliceMismatchError(
            f"line {line_id} ({kind}): {amount} units booked, {exact} explained"
        )
    slices = [entry.slice for entry in entries]
    residue = amount * unit - sum((Fraction(piece.amount) for piece in slices), _ZERO)
    if residue:
        slices.append(Slice(SliceKind.ROUNDING, exact_decimal(residue)))
    return Line(line_id, kind, amount, tuple(slices))


def exact_slice(amount: Fraction, kind: SliceKind, **details: Any) -> ExactSlice:
    """Return a slice of ``amount``; ``details`` are further fields of `Slice`."""
    return ExactSlice(amount, Slice(kind, exact_decimal(amount), **details))


def discount_slice(before: Fraction, percent: Decimal) -> ExactSlice:
    """Return what ``percent`` takes off an amount (S4)."""
    amount = before * (1 - Fraction(percent) / 100) - before
    return exact_slice(amount, SliceKind.ADJUSTMENT, percent=percent, label="discount")


def bound_slice(before: Fraction, after: Fraction, what: str, bound: Decimal) -> ExactSlice:
    """Return what a maximum or minimum, as ``what`` says, makes of an amount (S4)."""
    label = f"{what} {format_decimal(bound)}"
    return exact_slice(after - before, SliceKind.ADJUSTMENT, label=label)


def model_slices(charge: Charge, scale: int, inputs: Sequence[int]) -> list[ExactSlice]:
    """Return the slices of a charge's model at its input columns; they add up to its amount (S3).

    ``scale`` is the meter's, 0 without one.
    """
    return _MODEL_SLICES[charge.model](charge, scale, inputs)


def _charge_steps(
    charge: Charge, scale: int, inputs: Sequence[int]
) -> Iterator[tuple[LineKind, list[_Exact]]]:
    """Yield the slices of the model and of each adjustment of one charge, in the order of S4."""
    model = model_slices(charge, scale, inputs)
    yield LineKind.MODEL, model
    amount = sum((entry.amount for entry in model), _ZERO)
    if charge.discount_percent:
        discount = discount_slice(amount, charge.discount_percent)
        yield LineKind.DISCOUNT, [discount]
        amount += discount.amount
    if charge.maximum_amount is not None:
        after = min(amount, Fraction(charge.maximum_amount))
        step = bound_slice(amount, after, "maximum", charge.maximum_amount)
        yield LineKind.MAXIMUM, [step]
        amount = after
    if charge.minimum_amount is not None:
        after = max(amount, Fraction(charge.minimum_amount))
        step = bound_slice(amount, after, "minimum", charge.minimum_amount)
        yield LineKind.MINIMUM, [step]


def _plan_steps(plan: Plan, running: Fraction) -> Iterator[tuple[LineKind, list[_Exact]]]:
    """Yield the slice of the plan's maximum, then of its minimum, on the running total."""
    if plan.maximum_amount is not None:
        after = min(running, Fraction(plan.maximum_amount))
        step = bound_slice(running, after, "maximum", plan.maximum_amount)
        yield LineKind.PLAN_MAXIMUM, [step]
        running = after
    if plan.minimum_amount is not None:
        after = max(running, Fraction(plan.minimum_amount))
        step = bound_slice(running, after, "minimum", plan.minimum_amount)
        yield LineKind.PLAN_MINIMUM, [step]


def _included(charge: Charge, scale: int, inputs: Sequence[int]) -> tuple[Fraction, list[_Exact]]:
    """Return the quantity above the included units, and the slice of those used (S3.3)."""
    used = Fraction(max(inputs[0], 0), 10**scale)
    included = min(used, charge.allowance)
    if not included:
        return used, []
    piece = Slice(SliceKind.INCLUDED, Decimal(0), quantity=exact_decimal(included))
    return used - included, [_Exact(_ZERO, piece)]


def _flat_fee_slices(
    charge: Charge,
    scale: int,  # noqa: ARG001 - one signature for all models
    inputs: Sequence[int],  # noqa: ARG001 - one signature for all models
) -> list[_Exact]:
    return [_Exact(Fraction(charge.amount), Slice(SliceKind.FEE, charge.amount))]


def _per_unit_slices(charge: Charge, scale: int, inputs: Sequence[int]) -> list[_Exact]:
    quantity, slices = _included(charge, scale, inputs)
    if quantity:
        amount = quantity * Fraction(charge.unit_price)
        piece = Slice(
            SliceKind.UNITS,
            exact_decimal(amount),
            quantity=exact_decimal(quantity),
            unit_price=charge.unit_price,
        )
        slices.append(_Exact(amount, piece))
    return slices


def _tier_slice(charge: Charge, index: int, quantity: Fraction) -> _Exact:
    tier = charge.tiers[index]
    by_percent = charge.model is ChargeModel.GRADUATED_PERCENTAGE
    by_unit = charge.model in (ChargeModel.GRADUATED, ChargeModel.VOLUME)
    price = Fraction(tier.percent) / 100 if by_percent else Fraction(tier.unit_price)
    amount = Fraction(tier.flat_fee)
    if by_percent or by_unit:
        amount += quantity * price
    piece = Slice(
        SliceKind.TIER,
        exact_decimal(amount),
        tier=index,
        quantity=exact_decimal(quantity),
        unit_price=tier.unit_price if by_unit else None,
        percent=tier.percent if by_percent else None,
        flat_fee=tier.flat_fee if tier.flat_fee or not (by_percent or by_unit) else None,
    )
    return _Exact(amount, piece)


def _entered_tiers(charge: Charge, quantity: Fraction) -> list[tuple[int, Fraction]]:
    """Return index and units of each tier that ``quantity`` enters (S3.1, S3.2)."""
    entered = []
    lower = _ZERO
    for index, tier in enumerate(charge.tiers):
        if quantity <= lower:
            break
        bound = charge.upper_bound(tier)
        upper = quantity if bound is None else min(quantity, bound)
        entered.append((index, upper - lower))
        lower = upper
    return entered or ([(0, _ZERO)] if charge.flat_fee_at_zero_usage else [])


def _graduated_slices(charge: Charge, scale: int, inputs: Sequence[int]) -> list[_Exact]:
    quantity, slices = _included(charge, scale, inputs)
    entered = _entered_tiers(charge, quantity)
    return slices + [_tier_slice(charge, index, units) for index, units in entered]


def _reached_tier_slices(charge: Charge, scale: int, inputs: Sequence[int]) -> list[_Exact]:
    """Return the slice of the one tier that the whole quantity reaches: volume, stairstep."""
    quantity, slices = _included(charge, scale, inputs)
    entered = _entered_tiers(charge, quantity)
    return slices + [_tier_slice(charge, index, quantity) for index, _ in entered[-1:]]


def _package_slices(charge: Charge, scale: int, inputs: Sequence[int]) -> list[_Exact]:
    quantity, slices = _included(charge, scale, inputs)
    if quantity:
        count = -(-quantity // Fraction(charge.package_size))
        amount = count * Fraction(charge.package_price)
        piece = Slice(
            SliceKind.PACKAGE,
            exact_decimal(amount),
            quantity=Decimal(count),
            unit_price=charge.package_price,
        )
        slices.append(_Exact(amount, piece))
    return slices


def _free_slice(quantity: Fraction, label: str) -> list[_Exact]:
    """Return the slice of what of a percentage's sum or events is free (S3.4)."""
    if not quantity:
        return []
    piece = Slice(SliceKind.INCLUDED, Decimal(0), quantity=exact_decimal(quantity), label=label)
    return [_Exact(_ZERO, piece)]


def _percentage_slices(charge: Charge, scale: int, inputs: Sequence[int]) -> list[_Exact]:
    between, total, floor, ceiling = (max(column, 0) for column in inputs)
    quantity = Fraction(total, 10**scale)
    free = min(quantity, Fraction(charge.free_amount))
    free_events = min(between, charge.free_events)
    slices = _free_slice(free, "free amount")
    if quantity > free:
        amount = (quantity - free) * Fraction(charge.percent) / 100
        piece = Slice(
            SliceKind.EVENTS,
            exact_decimal(amount),
            quantity=exact_decimal(quantity - free),
            percent=charge.percent,
            label="percent",
        )
        slices.append(_Exact(amount, piece))
    slices += _free_slice(Fraction(free_events), "free events")
    for label, events, fee in (
        ("fixed fee", between - free_events, charge.fixed_fee_per_event),
        ("at minimum", floor, charge.min_per_event),
        ("at maximum", ceiling, charge.max_per_event),
    ):
        if events and fee:
            amount = events * Fraction(fee)
            piece = Slice(
                SliceKind.EVENTS,
                exact_decimal(amount),
                quantity=Decimal(events),
                unit_price=fee,
                label=label,
            )
            slices.append(_Exact(amount, piece))
    return slices


_MODEL_SLICES: dict[ChargeModel, Callable[[Charge, int, Sequence[int]], list[_Exact]]] = {
    ChargeModel.FLAT_FEE: _flat_fee_slices,
    ChargeModel.PER_UNIT: _per_unit_slices,
    ChargeModel.GRADUATED: _graduated_slices,
    ChargeModel.VOLUME: _reached_tier_slices,
    ChargeModel.STAIRSTEP: _reached_tier_slices,
    ChargeModel.PACKAGE: _package_slices,
    ChargeModel.PERCENTAGE: _percentage_slices,
    ChargeModel.GRADUATED_PERCENTAGE: _graduated_slices,
}


def _commitment_steps(plan: Plan, finals: Sequence[Fraction]) -> Iterator[tuple[str, list[_Exact]]]:
    """Yield the slices of each commitment in order of application (S5.2, S5.4)."""
    uncovered = dict(zip((charge.id for charge in plan.charges), finals, strict=True))
    for entry in priced_commitments(plan):
        commitment = entry.commitment
        named = set(commitment.covers)
        covers = [charge_id for charge_id in uncovered if charge_id in named]
        list_amount = sum((uncovered[charge_id] for charge_id in covers), _ZERO)
        covered = min(list_amount, entry.limit)
        left = covered
        for charge_id in covers:
            taken = min(left, uncovered[charge_id])
            uncovered[charge_id] -= taken
            left -= taken
        saving = -covered * entry.saved
        step = [
            _Exact(
                saving,
                Slice(
                    SliceKind.COMMITTED,
                    exact_decimal(saving),
                    quantity=exact_decimal(covered),
                    percent=commitment.discount_percent,
                ),
            )
        ]
        if commitment.true_up and list_amount < entry.limit:
            missing = entry.fee - covered * (1 - entry.saved)
            step.append(_Exact(missing, Slice(SliceKind.TRUE_UP, exact_decimal(missing))))
        overage = list_amount - covered
        if overage and entry.last:
            extra = overage * (entry.overage_factor - 1)
            step.append(
                _Exact(
                    extra,
                    Slice(
                        SliceKind.OVERAGE,
                        exact_decimal(extra),
                        quantity=exact_decimal(overage),
                        unit_price=commitment.overage_factor,
                    ),
                )
            )
        yield commitment.id, step
