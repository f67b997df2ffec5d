"""One charge in one part of a period: model, discount, promotions, maximum, minimum (S4, S8.3).

A charge with a tier window is priced over the window, and each of its lines is what the step makes
of the window's amount less what earlier statements booked of it; promotions take from what is left
for this period (S8.5).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from decimal import Decimal
from fractions import Fraction
from typing import Any

from rating_core.catalog import Charge, ChargeModel, Plan, Proration, Tier, Timing
from rating_core.charge_inputs import charge_columns
from rating_core.compile import input_width
from rating_core.contract.promotions import PeriodPromotions
from rating_core.contract.sheet import Sheet, Step
from rating_core.contract.usage import PartUsage, PeriodUsage
from rating_core.counter import SeriesCounter
from rating_core.explain import (
    ExactSlice,
    bound_slice,
    discount_slice,
    exact_decimal,
    exact_slice,
    model_slices,
)
from rating_core.statement import LineKind, SliceKind
from rating_core.units import format_decimal

ZERO = Fraction(0)
ONE = Fraction(1)
WINDOW_MEMO = "window"
_CHARGE_KEYS = tuple(field.name for field in fields(Charge))


@dataclass(frozen=True, slots=True)
class PartCharge(Charge):
    """A charge as one part prices it: included units and tier bounds times a factor (S8.3)."""

    allowance_factor: Fraction = ONE
    bound_factor: Fraction = ONE

    @property
    def allowance(self) -> Fraction:
        """The included units of the part, promotions counted in (S4)."""
        return Fraction(self.included_units) * self.allowance_factor

    def upper_bound(self, tier: Tier) -> Fraction | None:
        """Return the last unit of one of its tiers in the part."""
        return None if tier.up_to is None else Fraction(tier.up_to) * self.bound_factor


@dataclass(frozen=True, slots=True)
class _ChainStep:
    """A step of a charge: the amount before and after it, and what later slices say of it."""

    kind: LineKind
    before: Fraction
    after: Fraction
    entries: tuple[ExactSlice, ...]
    id: str = ""


@dataclass(frozen=True, slots=True)
class ChargePricer:
    """A charge of a part, ready to be priced at any counters.

    ``share`` is the part's share of its full period, ``window`` what its tier window booked before
    (`Carry.windows`), ``opens`` whether that window begins with this part.
    """

    plan: Plan
    charge: PartCharge
    part: int
    share: Fraction
    window: Mapping[str, int]
    opens: bool
    promotions: PeriodPromotions
    due_time: int
    unit: Fraction

    def at_this_point(self) -> ChargePricer:
        """Return a pricer to which promotions are left as they now are to this one."""
        return replace(self, promotions=self.promotions.copy())

    def amount_at(self, counters: Sequence[SeriesCounter]) -> Fraction:
        """Return the exact amount after the minimum at ``counters`` (S5.5)."""
        return self._chain(self._model(counters), self.promotions.copy())[-1].after

    def amount_at_zero(self) -> Fraction:
        """Return the exact amount after the minimum without any usage (S10.4)."""
        if not self.opens:
            return ZERO
        return self._chain(self._model_at_zero(), self.promotions.copy())[-1].after

    def book(self, sheet: Sheet, counters: Sequence[SeriesCounter]) -> Fraction:
        """Book the lines of the charge; return its amount as later steps see it.

        Amounts off are taken from the period's promotions. Raises OutOfRange (S1.2).
        """
        before = self.promotions.copy()
        chain = self._chain(self._model(counters), before)
        self.promotions.left.update(before.left)
        amount = ZERO
        for step in chain:
            key = _window_key(self.charge, step.kind)
            promoted = step.kind is LineKind.PROMOTION
            booked = 0 if promoted else self.window.get(key, 0)
            entries = step.entries
            if booked:
                taken = exact_slice(-booked * self.unit, SliceKind.BOOKED, label="booked before")
                entries = (*entries, taken)
            amount += sheet.book(
                Step(
                    step.id or self.charge.id,
                    step.kind,
                    step.before,
                    step.after,
                    entries,
                    booked,
                    self.part,
                    self.charge.id if promoted else "",
                    self.due_time,
                    (WINDOW_MEMO, key) if self.charge.tier_window is not None else None,
                )
            )
        return amount

    def _model(self, counters: Sequence[SeriesCounter]) -> list[ExactSlice]:
        return self._model_of(charge_columns(self.plan, self.charge, counters))

    def _model_at_zero(self) -> list[ExactSlice]:
        return self._model_of([0] * input_width(self.charge))

    def _model_of(self, columns: Sequence[int]) -> list[ExactSlice]:
        """Return the model's slices; a flat fee that is prorated is the part's share (S8.4)."""
        charge = self.charge
        if charge.model is ChargeModel.FLAT_FEE and charge.prorate and self.share != 1:
            return [
                exact_slice(
                    Fraction(charge.amount) * self.share,
                    SliceKind.FEE,
                    quantity=exact_decimal(self.share),
                    unit_price=charge.amount,
                    label=f"{self.share} of the period",
                )
            ]
        scale = self.plan.meter(charge.meter).scale if charge.meter is not None else 0
        return [self._labelled(entry) for entry in model_slices(charge, scale, columns)]

    def _labelled(self, entry: ExactSlice) -> ExactSlice:
        """Say in the slice what its included units or its bounds were multiplied by."""
        kind, charge = entry.slice.kind, self.charge
        if kind is SliceKind.INCLUDED and charge.included_units and charge.allowance_factor != 1:
            words = f"{format_decimal(charge.included_units)} × {charge.allowance_factor}"
            return replace(entry, slice=replace(entry.slice, label=words))
        if kind is SliceKind.TIER and charge.bound_factor != 1:
            words = f"bounds × {charge.bound_factor}"
            return replace(entry, slice=replace(entry.slice, label=words))
        return entry

    def _chain(self, model: list[ExactSlice], promotions: PeriodPromotions) -> list[_ChainStep]:
        """Return the steps of S4 from the model to the minimum, taking amounts off."""
        charge = self.charge
        amount = sum((entry.amount for entry in model), ZERO)
        steps = [_ChainStep(LineKind.MODEL, ZERO, amount, tuple(model))]
        listed = amount
        if charge.discount_percent:
            entry = discount_slice(amount, charge.discount_percent)
            amount += entry.amount
            steps.append(_ChainStep(LineKind.DISCOUNT, listed, amount, (entry,)))
        steps += self._promoted(amount, listed, promotions)
        amount = steps[-1].after if steps[-1].id else amount + self._booked(LineKind.PROMOTION)
        if charge.maximum_amount is not None:
            after = min(amount, Fraction(charge.maximum_amount))
            entry = bound_slice(amount, after, "maximum", charge.maximum_amount)
            steps.append(_ChainStep(LineKind.MAXIMUM, amount, after, (entry,)))
            amount = after
        if charge.minimum_amount is not None:
            steps.append(self._minimum_step(amount, charge.minimum_amount))
        return steps

    def _minimum_step(self, amount: Fraction, minimum: Decimal) -> _ChainStep:
        share = self.share if self.charge.prorate_minimum else ONE
        after = max(amount, Fraction(minimum) * share)
        entry = bound_slice(amount, after, "minimum", minimum)
        if share != 1:
            words = f"minimum {format_decimal(minimum)} × {share}"
            entry = replace(entry, slice=replace(entry.slice, label=words))
        return _ChainStep(LineKind.MINIMUM, amount, after, (entry,))

    def _promoted(
        self, amount: Fraction, listed: Fraction, promotions: PeriodPromotions
    ) -> Iterator[_ChainStep]:
        booked = self._booked(LineKind.MODEL) + self._booked(LineKind.DISCOUNT)
        at_zero = ZERO
        if promotions.promotions:
            at_zero = sum((entry.amount for entry in self._model_at_zero()), ZERO)
        if self.charge.model is ChargeModel.FLAT_FEE:
            at_zero = listed
        overage = (listed - at_zero) / listed if listed else ZERO
        before = amount + self._booked(LineKind.PROMOTION)
        taken = promotions.take(self.charge.id, amount - booked, max(overage, ZERO))
        for promotion, entry in taken:
            after = before + entry.amount
            yield _ChainStep(LineKind.PROMOTION, before, after, (entry,), promotion.id)
            before = after

    def _booked(self, kind: LineKind) -> Fraction:
        return self.window.get(_window_key(self.charge, kind), 0) * self.unit


def _window_key(charge: Charge, kind: LineKind) -> str:
    """Return the key of `Carry.windows` for a charge's lines of one kind."""
    return charge.id if kind is LineKind.MODEL else f"{charge.id}:{kind.value}"


def share_of(part: PartUsage) -> Fraction:
    """Return a part's share of the full period around it, as its plan measures it (S8.4)."""
    by_day = part.plan.proration is Proration.DAY
    return part.share_by_day if by_day else part.share_by_second


def charge_pricers(
    period: PeriodUsage,
    place: int,
    window: Mapping[str, int],
    promotions: PeriodPromotions,
    unit: Fraction,
) -> Iterator[ChargePricer]:
    """Yield the charges that part ``place`` of a period bills, in document order.

    A flat fee that is not prorated is billed once a period, in full: in the first part or, in
    arrears, in the last (S8.4). ``window`` is what the period before handed on.
    """
    part = period.parts[place]
    share = share_of(part)
    for charge in part.plan.charges:
        fee = charge.model is ChargeModel.FLAT_FEE
        in_advance = fee and charge.timing is Timing.IN_ADVANCE
        if fee and not charge.prorate and place != (0 if in_advance else len(period.parts) - 1):
            continue
        windowed = charge.tier_window is not None
        opens = not windowed or window_opens(part)
        yield ChargePricer(
            plan=part.plan,
            charge=_part_charge(charge, share, promotions),
            part=place,
            share=share,
            window={} if opens else window,
            opens=opens,
            promotions=promotions,
            due_time=part.start if in_advance else period.end,
            unit=unit,
        )


def window_opens(part: PartUsage) -> bool:
    """Return whether a tier window begins with this part (S8.5)."""
    if part.window_start is None:
        return not part.window
    return part.window_start >= part.start


def counters_of(part: PartUsage, charge: Charge) -> tuple[SeriesCounter, ...]:
    """Return what a charge prices: what the part counted, with its tier window if it has one."""
    windowed = charge.tier_window is not None and not window_opens(part)
    return (*part.window, *part.counters) if windowed else part.counters


def _part_charge(charge: Charge, share: Fraction, promotions: PeriodPromotions) -> PartCharge:
    known: dict[str, Any] = {name: getattr(charge, name) for name in _CHARGE_KEYS}
    own = share if charge.tier_window is None else ONE
    factor = promotions.allowance_factor(charge.id)
    return PartCharge(
        **known,
        allowance_factor=factor * own if charge.prorate_included_units else factor,
        bound_factor=own if charge.prorate_tiers else ONE,
    )
