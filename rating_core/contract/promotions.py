"""Promotions of one period: which cover it, and what they take from its charges (S10.3)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from fractions import Fraction

from rating_core.calendar import BillingCalendar
from rating_core.contract.usage import ContractUsage, PeriodUsage
from rating_core.contract.values import Promotion, PromotionKind
from rating_core.explain import ExactSlice, exact_slice
from rating_core.statement import SliceKind
from rating_core.units import format_decimal

ZERO = Fraction(0)
_WORDS = {
    PromotionKind.PERCENT_OFF: "percent off",
    PromotionKind.AMOUNT_OFF: "off",
    PromotionKind.OVERAGE_PERCENT_OFF: "percent off what is above the included units",
}


def covering_promotions(
    usage: ContractUsage, period: PeriodUsage, calendar: BillingCalendar
) -> tuple[Promotion, ...]:
    """Return the promotions that cover a period, in the order of their creation (S10.3).

    One covers it if it is active at the period's start, or starts within the subscription's first
    period. Its periods are counted from the one of its instant; before the subscription there are
    none, so that it counts from the first.
    """
    first = calendar.number(usage.subscription_start)
    return tuple(
        promotion
        for promotion in usage.promotions
        if _covers(promotion, usage, period, calendar, first)
    )


def _covers(
    promotion: Promotion,
    usage: ContractUsage,
    period: PeriodUsage,
    calendar: BillingCalendar,
    first: int,
) -> bool:
    if promotion.until is not None and promotion.until <= promotion.instant:
        return False
    if promotion.periods is not None:
        start = max(promotion.instant, usage.subscription_start)
        if period.number >= calendar.number(start) - first + promotion.periods:
            return False
    if period.number == 0 and usage.subscription_start <= promotion.instant:
        return promotion.instant < usage.first_period_end
    started = promotion.instant <= period.start
    return started and (promotion.until is None or period.start < promotion.until)


@dataclass(slots=True)
class PeriodPromotions:
    """The promotions that cover a period, and what is left of each amount off."""

    promotions: tuple[Promotion, ...] = ()
    left: dict[str, Fraction] = field(default_factory=dict)

    @staticmethod
    def of(promotions: Iterable[Promotion]) -> PeriodPromotions:
        """Return them with all their amounts left."""
        covering = tuple(promotions)
        return PeriodPromotions(covering, {one.id: Fraction(one.value) for one in covering})

    def copy(self) -> PeriodPromotions:
        """Return one from which can be taken without effect on this."""
        return PeriodPromotions(self.promotions, dict(self.left))

    def allowance_factor(self, charge_id: str) -> Fraction:
        """Return by what the included units of a charge are multiplied."""
        factor = Fraction(1)
        for promotion in self._on(charge_id):
            if promotion.kind is PromotionKind.ALLOWANCE_MULTIPLIER:
                factor *= Fraction(promotion.value)
        return factor

    def take(
        self, charge_id: str, amount: Fraction, overage: Fraction
    ) -> list[tuple[Promotion, ExactSlice]]:
        """Return what each promotion takes from what is left of ``amount``, never below 0 (S4).

        ``overage`` is the share of it that is for units above the included ones. Amounts off are
        used up by it.
        """
        taken = []
        left = max(amount, ZERO)
        for promotion in self._on(charge_id):
            if promotion.kind is PromotionKind.ALLOWANCE_MULTIPLIER:
                continue
            off = self._off(promotion, left, overage)
            left -= off
            words = f"{format_decimal(promotion.value)} {_WORDS[promotion.kind]} {charge_id}"
            taken.append((promotion, exact_slice(-off, SliceKind.ADJUSTMENT, label=words)))
        return taken

    def _off(self, promotion: Promotion, left: Fraction, overage: Fraction) -> Fraction:
        if promotion.kind is PromotionKind.AMOUNT_OFF:
            off = min(left, self.left[promotion.id])
            self.left[promotion.id] -= off
            return off
        of_it = left * overage if promotion.kind is PromotionKind.OVERAGE_PERCENT_OFF else left
        return min(of_it * Fraction(promotion.value) / 100, left)

    def _on(self, charge_id: str) -> Iterable[Promotion]:
        return (one for one in self.promotions if not one.charges or charge_id in one.charges)
