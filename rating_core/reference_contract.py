"""Contracts in time a second time, slow and plain: the oracle of `contract` (S4, S5, S8–S10).

It prices all periods of a contract from its first one, none of them finalised, on meters of kind
sum in calendar months, and keeps what the rules speak of (all L of a term, all that was put off,
all that was booked) as lists, where `contract.rate` hands on one state from period to period.
Not in it: hourly commitments, grants that cover some charges, and, at stage `statement`, what is
booked over several periods.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

from rating_core.catalog import (
    Charge,
    ChargeModel,
    Plan,
    Proration,
    Timing,
)
from rating_core.contract.usage import ContractUsage, PartUsage, PeriodUsage
from rating_core.contract.values import Grant, GrantKind, Promotion, PromotionKind
from rating_core.counter import SeriesCounter
from rating_core.reference import (
    ZERO,
    flat_fee_amount,
    graduated_amount,
    graduated_percentage_amount,
    maximum_amount,
    minimum_amount,
    package_amount,
    per_unit_amount,
    stairstep_amount,
    volume_amount,
)
from rating_core.reference_terms import ReferenceLines, ReferencePast, add_commitments

_MODELS: dict[ChargeModel, Any] = {
    ChargeModel.PER_UNIT: per_unit_amount,
    ChargeModel.GRADUATED: graduated_amount,
    ChargeModel.VOLUME: volume_amount,
    ChargeModel.STAIRSTEP: stairstep_amount,
    ChargeModel.PACKAGE: package_amount,
    ChargeModel.GRADUATED_PERCENTAGE: graduated_percentage_amount,
}


@dataclass(frozen=True)
class ReferenceStatement:
    """Amounts in units of 10^-scale: of each line id, credits among them, and what is due."""

    lines: dict[str, int]
    total: int
    amount_due: int
    drawn: dict[str, int]


def reference_contract(usage: ContractUsage) -> list[ReferenceStatement]:
    """Return the statement of every period; none may be finalised, nothing may be carried in."""
    past = ReferencePast()
    past.drawn.update(usage.drawn)
    return [_statement(usage, period, past) for period in usage.periods]


# --- promotions (S10.3) ---


def _covering(usage: ContractUsage, period: PeriodUsage) -> list[Promotion]:
    covering = []
    for promotion in usage.promotions:
        number = 0
        for other in usage.periods:
            if other.start <= promotion.instant:
                number = other.number
        begins_in_first = usage.subscription_start <= promotion.instant < usage.first_period_end
        active = promotion.instant <= period.start and (
            promotion.until is None or period.start < promotion.until
        )
        alive = promotion.until is None or promotion.until > promotion.instant
        counts = promotion.periods is None or period.number < number + promotion.periods
        if alive and counts and (active or (period.number == 0 and begins_in_first)):
            covering.append(promotion)
    return covering


def _concerns(promotion: Promotion, charge: Charge) -> bool:
    return not promotion.charges or charge.id in promotion.charges


# --- one charge of one part (S3, S4, S8.3, S8.4) ---


def _share(part: PartUsage) -> Fraction:
    return part.share_by_day if part.plan.proration is Proration.DAY else part.share_by_second


def _quantity(plan: Plan, charge: Charge, counters: Sequence[SeriesCounter]) -> Fraction:
    scale = plan.meter(charge.meter or "").scale
    values = [
        counter.value
        for counter in counters
        if counter.meter == charge.meter and charge.matches(dict(counter.dimensions or ()))
    ]
    return max(Fraction(sum(values), 10**scale), ZERO)


def _model(
    part: PartUsage, charge: Charge, counters: Sequence[SeriesCounter], factor: Fraction
) -> Fraction:
    """Return the model's amount; ``factor`` multiplies the included units."""
    share = _share(part)
    if charge.model is ChargeModel.FLAT_FEE:
        return flat_fee_amount(charge) * (share if charge.prorate else 1)
    included = Fraction(charge.included_units) * factor
    if charge.prorate_included_units:
        included *= share
    priced: Any = charge
    if charge.prorate_tiers:
        scaled: list[Any] = []
        for tier in charge.tiers:
            bound: Any = None if tier.up_to is None else Fraction(tier.up_to) * share
            scaled.append(replace(tier, up_to=bound))
        priced = replace(charge, tiers=tuple(scaled))
    quantity = max(_quantity(part.plan, charge, counters) - included, ZERO)
    amount: Fraction = _MODELS[charge.model](priced, quantity)
    return amount


def _add_charge(
    lines: ReferenceLines,
    part: PartUsage,
    charge: Charge,
    covering: Sequence[Promotion],
    pools: dict[str, Fraction],
    past: ReferencePast,
    counters: Sequence[SeriesCounter] | None = None,
) -> Fraction:
    """Add the lines of a charge; return its amount as later steps see it."""
    mine = [one for one in covering if _concerns(one, charge)]
    factor = Fraction(1)
    for promotion in mine:
        if promotion.kind is PromotionKind.ALLOWANCE_MULTIPLIER:
            factor *= Fraction(promotion.value)
    windowed = charge.tier_window is not None
    seen = part.counters if counters is None else counters
    if windowed and counters is None:
        seen = (*part.window, *part.counters)
    booked = past.windows if windowed else defaultdict(int)
    written: dict[str, Fraction] = {}

    def line(key: str, line_id: str, before: Fraction, after: Fraction) -> None:
        amount = lines.add(line_id, before, after, booked[charge.id, key])
        written[key] = written.get(key, ZERO) + amount

    model = _model(part, charge, seen, factor)
    listed = model * (1 - Fraction(charge.discount_percent) / 100)
    line("model", charge.id, ZERO, model)
    if charge.discount_percent:
        line("discount", charge.id, model, listed)
    at_zero = model if charge.model is ChargeModel.FLAT_FEE else _model(part, charge, (), factor)
    booked_list = booked[charge.id, "model"] + booked[charge.id, "discount"]
    left = max(listed - booked_list * lines.unit, ZERO)
    promoted = listed + booked[charge.id, "promotion"] * lines.unit
    for promotion in mine:
        if promotion.kind is PromotionKind.PERCENT_OFF:
            off = left * Fraction(promotion.value) / 100
        elif promotion.kind is PromotionKind.OVERAGE_PERCENT_OFF:
            over = (model - at_zero) / model if model else ZERO
            off = left * max(over, ZERO) * Fraction(promotion.value) / 100
        elif promotion.kind is PromotionKind.AMOUNT_OFF:
            off = min(left, pools[promotion.id])
            pools[promotion.id] -= off
        else:
            continue
        off = min(off, left)
        amount = lines.add(promotion.id, promoted, promoted - off)
        written["promotion"] = written.get("promotion", ZERO) + amount
        promoted, left = promoted - off, left - off
    highest = maximum_amount(charge, promoted)
    if charge.maximum_amount is not None:
        line("maximum", charge.id, promoted, highest)
    lowest = minimum_amount(charge, highest)
    if charge.prorate_minimum and charge.minimum_amount is not None:
        lowest = max(highest, Fraction(charge.minimum_amount) * _share(part))
    if charge.minimum_amount is not None:
        line("minimum", charge.id, highest, lowest)
    if windowed and counters is None:
        for key, amount in written.items():
            past.windows[charge.id, key] += int(amount / lines.unit)
    return sum(written.values(), ZERO)


def _is_billed(period: PeriodUsage, place: int, charge: Charge) -> bool:
    if charge.model is not ChargeModel.FLAT_FEE or charge.prorate:
        return True
    at = 0 if charge.timing is Timing.IN_ADVANCE else len(period.parts) - 1
    return place == at


# --- smoothing and credits (S10) ---


def _add_smoothing(
    lines: ReferenceLines,
    period: PeriodUsage,
    above: dict[str, tuple[int, int]],
    past: ReferencePast,
) -> None:
    """Add what is put off of ``above`` (amount, statements), and what falls due."""
    names = dict.fromkeys([name for _, name, _ in past.smoothed] + list(above))
    for name in names:
        due = sum(
            amount
            for number, one, amount in past.smoothed
            if one == name and (number == period.number or (period.last and number > period.number))
        )
        put_off = 0
        amount, statements = above.get(name, (0, 1))
        for step in range(1, statements):
            if not period.last:
                share = amount // statements + (1 if step < amount % statements else 0)
                past.smoothed.append((period.number + step, name, share))
                put_off += share
        lines.add(name, ZERO, (due - put_off) * lines.unit)
    past.smoothed = [entry for entry in past.smoothed if entry[0] > period.number]


def _order_of(grant: Grant) -> tuple[int, bool, int, bool, int]:
    late = grant.expires is None
    return (
        grant.priority,
        late,
        grant.expires or 0,
        grant.kind is not GrantKind.BONUS,
        grant.create_time,
    )


def _draw(
    usage: ContractUsage, period: PeriodUsage, due: int, scale: int, past: ReferencePast
) -> int:
    """Draw grants that cover everything, until nothing is due; return what they paid."""
    paid = 0
    for grant in sorted(usage.grants, key=_order_of):
        ends = usage.subscription_start - 1 if grant.void_time is not None else grant.expires
        if grant.effective >= period.end or (ends is not None and ends <= period.start):
            continue
        balance = int(grant.amount * 10**scale) - past.drawn[grant.id]
        amount = max(min(balance, due - paid), 0)
        past.drawn[grant.id] += amount
        paid += amount
    return paid


def _statement(
    usage: ContractUsage, period: PeriodUsage, past: ReferencePast
) -> ReferenceStatement:
    plan = period.parts[-1].plan
    lines = ReferenceLines(plan)
    covering = _covering(usage, period)
    pools = {one.id: Fraction(one.value) for one in covering}
    charged: dict[tuple[int, str], Fraction] = {}
    above: dict[str, tuple[int, int]] = {}
    for place, part in enumerate(period.parts):
        if not part.window:
            past.windows.clear()
        for charge in part.plan.charges:
            if not _is_billed(period, place, charge):
                continue
            dry = ReferenceLines(plan)
            at_zero = _add_charge(dry, part, charge, covering, dict(pools), ReferencePast(), ())
            amount = _add_charge(lines, part, charge, covering, pools, past)
            charged[place, charge.id] = amount
            if charge.smoothing_periods > 1:
                exceeds = max(lines.rounded(amount) - lines.rounded(at_zero), 0)
                more = above.get(charge.id, (0, 1))[0] + exceeds
                above[charge.id] = (more, charge.smoothing_periods)
    _add_smoothing(lines, period, above, past)
    add_commitments(lines, period, charged, past)
    running = sum(lines.exact, ZERO)
    highest = maximum_amount(plan, running)
    lines.add("plan-maximum", running, highest)
    lines.add("plan-minimum", highest, minimum_amount(plan, highest))
    sums: dict[str, int] = {}
    for name, units in zip(lines.ids, lines.units(), strict=True):
        sums[name] = sums.get(name, 0) + units
    total = sum(sums.values())
    paid = _draw(usage, period, total, plan.rounding.scale, past)
    return ReferenceStatement(sums, total - paid, total - paid, dict(past.drawn))
