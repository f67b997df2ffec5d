"""Random contracts in calendar months from 2026 on, and their usage, built anew at any stage."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from decimal import Decimal
from fractions import Fraction
from random import Random

import pytest

from rating_core.catalog import (
    Aggregation,
    BillingPeriod,
    Charge,
    ChargeModel,
    Commitment,
    CommitmentOrder,
    CountedAt,
    Installment,
    Meter,
    Payment,
    Plan,
    Rollover,
    Rounding,
    Tier,
    TierWindow,
    Timing,
)
from rating_core.contract.usage import (
    Booked,
    Carry,
    ContractUsage,
    PartUsage,
    PeriodUsage,
    PlanRef,
)
from rating_core.contract.values import Grant, GrantKind, Promotion, PromotionKind
from rating_core.counter import SeriesCounter
from rating_core.units import RoundingMode, RoundingStage

DAY = 86_400_000_000
METERS = ("calls", "bytes")


def month(number: int) -> int:
    """Return the first instant of a month, counted from January 2026."""
    start = datetime(2026 + number // 12, number % 12 + 1, 1, tzinfo=UTC)
    return int(start.timestamp()) * 1_000_000


@dataclass(frozen=True)
class Event:
    """Usage of one meter at an instant, in its scale units."""

    time: int
    meter: str
    quantity: int


@dataclass(frozen=True)
class Contract:
    """A contract of some months: its plans from an instant on each, and what happened."""

    start: int
    months: int
    phases: tuple[tuple[int, Plan], ...]
    events: tuple[Event, ...] = ()
    grants: tuple[Grant, ...] = ()
    promotions: tuple[Promotion, ...] = ()
    ended: bool = False

    def span(self, number: int) -> tuple[int, int]:
        """Return the bounds of a period; a contract that ended ends within its last one."""
        first = next(n for n in range(24) if month(n + 1) > self.start)
        start = max(self.start, month(first + number))
        end = month(first + number + 1)
        if self.ended and number == self.months - 1:
            end = start + (end - start) // 2
        return start, end

    def usage(
        self,
        booked: Sequence[Booked] = (),
        carry: Carry | None = None,
        first: int = 0,
        until: int | None = None,
        **facts: object,
    ) -> ContractUsage:
        """Return the usage of periods from ``first`` on; ``booked`` those that are finalised."""
        periods = []
        for number in range(first, self.months if until is None else until):
            start, end = self.span(number)
            done = number - first < len(booked)
            periods.append(
                PeriodUsage(
                    start,
                    end,
                    number,
                    tuple(self._parts(start, end)),
                    booked[number - first] if done else None,
                    self.ended and number == self.months - 1,
                )
            )
        return ContractUsage(
            "acme",
            "main",
            self.start,
            self.span(0)[1],
            tuple(periods),
            carry or Carry(),
            self.grants,
            self.promotions,
            **facts,
        )

    def _parts(self, start: int, end: int):
        ends = [*(begin for begin, _ in self.phases[1:]), 1 << 62]
        for (begin, plan), until in zip(self.phases, ends, strict=True):
            low, high = max(start, begin), min(end, until)
            if low >= high:
                continue
            full_start = max(m for n in range(26) if (m := month(n)) <= low)
            full_end = min(m for n in range(26) if (m := month(n)) > low)
            yield PartUsage(
                low,
                high,
                plan,
                PlanRef(plan.id, 1),
                self._counters(low, high),
                Fraction(high - low, full_end - full_start),
                Fraction(high // DAY - low // DAY, (full_end - full_start) // DAY),
                self._counters(begin, low) if low > begin else (),
                window_start=begin,
            )

    def _counters(self, start: int, end: int) -> tuple[SeriesCounter, ...]:
        found = [event for event in self.events if start <= event.time < end]
        return tuple(
            SeriesCounter(
                meter,
                (),
                sum(event.quantity for event in found if event.meter == meter),
                sum(event.meter == meter for event in found),
            )
            for meter in METERS
        )


@dataclass
class ContractMaker:
    """Makes random contracts from a source of numbers."""

    random: Random
    stage: RoundingStage = RoundingStage.LINE
    rounding: Rounding = field(init=False)

    def __post_init__(self) -> None:
        mode = self.random.choice(list(RoundingMode))
        self.rounding = Rounding(mode, self.random.choice([0, 2, 3]), self.stage)

    def chance(self, percent: int) -> bool:
        """Return True in ``percent`` of 100 calls."""
        return self.random.randrange(100) < percent

    def amount(self, most: int, decimals: int = 2) -> Decimal:
        """Return a number from 0 to ``most`` with some decimals."""
        return Decimal(self.random.randint(0, most * 10**decimals)).scaleb(-decimals)

    def charge(self, index: int) -> Charge:
        """Return a random charge; its tiers are few and its bounds are near its amounts."""
        random = self.random
        models = [m for m in ChargeModel if m is not ChargeModel.PERCENTAGE]
        model = random.choice(models)
        keys: dict[str, object] = {}
        if model is ChargeModel.FLAT_FEE:
            keys = {
                "amount": self.amount(50),
                "timing": random.choice(list(Timing)),
                "prorate": self.chance(50),
            }
        else:
            keys = {"meter": random.choice(METERS), **self._usage_keys(model)}
        return Charge(
            id=f"charge-{index}",
            model=model,
            discount_percent=self.amount(40, 1) if self.chance(30) else Decimal(0),
            maximum_amount=self.amount(150) if self.chance(20) else None,
            minimum_amount=self.amount(30) if self.chance(20) else None,
            **keys,
        )

    def _usage_keys(self, model: ChargeModel) -> dict[str, object]:
        keys: dict[str, object] = {
            "included_units": self.amount(40, 1) if self.chance(40) else Decimal(0)
        }
        if model is ChargeModel.PER_UNIT:
            keys["unit_price"] = self.amount(2, 3)
        elif model is ChargeModel.PACKAGE:
            keys |= {
                "package_size": 1 + self.amount(20, 1),
                "package_price": self.amount(5),
            }
        else:
            keys["tiers"] = (
                Tier(1 + self.amount(60, 1), self.amount(2, 3), self.amount(50), self.amount(5)),
                Tier(None, self.amount(1, 3), self.amount(50), self.amount(5)),
            )
            keys["flat_fee_at_zero_usage"] = self.chance(30)
        if self.chance(20) and self.stage is RoundingStage.LINE:
            return {**keys, "tier_window": TierWindow.YEAR}
        for key in ("prorate_included_units", "prorate_tiers", "prorate_minimum"):
            keys[key] = self.chance(30)
        keys["smoothing_periods"] = self.random.choice([1, 1, 1, 2, 3])
        return keys

    def commitment(self, index: int, charges: Sequence[Charge]) -> Commitment:
        """Return a random commitment of a month or a quarter."""
        random = self.random
        long = self.chance(50) and self.stage is RoundingStage.LINE
        wants = self.chance(50)
        prepaid = self.chance(30) and self.stage is RoundingStage.LINE
        amount, percent = self.amount(120), Decimal(random.choice([0, 10, 20, 50]))
        counted = random.choice(list(CountedAt))
        schedule: tuple[Installment, ...] = ()
        if prepaid and self.chance(70):
            fee = amount if counted is CountedAt.DISCOUNTED else amount * (1 - percent / 100)
            second = month(random.randint(0, 4)) + 5 * DAY
            half = fee / 2
            later = [Installment(half, period=1), Installment(half, at=second)]
            schedule = (Installment(fee - half, period=0), random.choice(later))
        return Commitment(
            id=f"commitment-{index}",
            amount=amount,
            covers=tuple(c.id for c in random.sample(charges, random.randint(1, len(charges)))),
            discount_percent=percent,
            counted_at=counted,
            overage_factor=random.choice([Decimal(1), Decimal("1.5"), Decimal("0.5")]),
            true_up=(wants or prepaid) and not long,
            term=BillingPeriod.QUARTER if long else None,
            true_up_at_term_end=(wants or prepaid) and long,
            payment=Payment.PREPAID if prepaid else Payment.POSTPAID,
            schedule=schedule,
            rollover=self._rollover() if self.chance(40) and not prepaid else None,
        )

    def _rollover(self) -> Rollover:
        return Rollover(
            self.random.choice([Decimal(1), Decimal("0.5")]),
            self.amount(20) if self.chance(40) else None,
            self.random.choice([None, 20 * DAY, 70 * DAY]),
        )

    def plan(self) -> Plan:
        """Return a random plan with one to three charges."""
        charges = tuple(self.charge(index) for index in range(self.random.randint(1, 3)))
        count = self.random.choice([0, 0, 1, 1, 2])
        return Plan(
            id="first",
            currency="USD",
            billing_period=BillingPeriod.MONTH,
            charges=charges,
            rounding=self.rounding,
            meters=tuple(Meter(meter, Aggregation.SUM, scale=1) for meter in METERS),
            commitments=tuple(self.commitment(index, charges) for index in range(count)),
            commitment_order=self.random.choice(list(CommitmentOrder)),
            maximum_amount=self.amount(300) if self.chance(20) else None,
            minimum_amount=self.amount(60) if self.chance(20) else None,
        )

    def changed(self, plan: Plan) -> Plan:
        """Return a plan to change to: other prices, perhaps another set of commitments."""
        other = self.plan()
        kept = [charge for charge in plan.charges if self.chance(70)]
        fresh = [charge for charge in other.charges if charge.id not in {c.id for c in kept}]
        charges = tuple(sorted((*kept, *fresh), key=lambda charge: charge.id))
        known = {charge.id for charge in charges}
        commitments = tuple(
            replace(one, covers=tuple(c for c in one.covers if c in known) or (charges[0].id,))
            for one in plan.commitments
            if one.payment is Payment.POSTPAID and one.rollover is None and self.chance(60)
        )
        return replace(other, id="second", charges=charges, commitments=commitments)

    def promotion(self, index: int, plan: Plan, start: int) -> Promotion:
        """Return a random promotion of some charges, or of all."""
        random = self.random
        kind = random.choice(list(PromotionKind))
        value = {
            PromotionKind.ALLOWANCE_MULTIPLIER: Decimal(random.choice([2, 3])),
            PromotionKind.AMOUNT_OFF: self.amount(20),
        }.get(kind, Decimal(random.choice([10, 50, 100])))
        count = random.randint(0, len(plan.charges))
        return Promotion(
            id=f"promotion-{index}",
            kind=kind,
            value=value,
            instant=start + random.randint(-20, 90) * DAY,
            charges=tuple(c.id for c in random.sample(plan.charges, count)),
            periods=random.choice([None, 1, 2]),
            until=random.choice([None, start + random.randint(10, 120) * DAY]),
        )

    def grant(self, index: int, start: int, charges: Sequence[str] = ()) -> Grant:
        """Return a random grant; some cover ``charges`` only."""
        random = self.random
        effective = start + random.randint(-30, 60) * DAY
        return Grant(
            id=f"grant-{index}",
            amount=self.amount(80),
            kind=random.choice(list(GrantKind)),
            effective=effective,
            expires=random.choice([None, effective + random.randint(1, 90) * DAY]),
            priority=random.choice([10, 50]),
            covers=tuple(charges) if self.chance(40) else (),
            create_time=index,
            void_time=start if self.chance(10) else None,
        )

    def events(self, start: int, end: int, count: int) -> tuple[Event, ...]:
        """Return random usage, a few negative quantities among it."""
        return tuple(
            Event(
                self.random.randrange(start, end),
                self.random.choice(METERS),
                self.random.choice([1, 7, 50, 333, 999, -40]),
            )
            for _ in range(count)
        )

    def contract(self, *, covers: bool = False) -> Contract:
        """Return a random contract of one to five months; ``covers``: grants of some charges."""
        random = self.random
        start = random.choice([month(0), month(0) + 14 * DAY + 3_600_000_000])
        plan = self.plan()
        bare = Contract(start, random.randint(1, 5), ((start, plan),), ended=self.chance(30))
        phases = [(start, plan)]
        if self.chance(40):
            low, high = bare.span(random.randrange(bare.months))
            if high - low > 2 * DAY:
                phases.append((low + random.randint(1, (high - low) // DAY - 1) * DAY, None))
                phases[1] = (phases[1][0], self.changed(plan))
        promotions = range(random.choice([0, 0, 1, 2]))
        end = bare.span(bare.months - 1)[1]
        names = [charge.id for charge in plan.charges][:1] if covers else []
        return replace(
            bare,
            phases=tuple(phases),
            events=self.events(start, end, random.randint(0, 8)),
            grants=tuple(self.grant(n, start, names) for n in range(random.choice([0, 1, 3]))),
            promotions=tuple(self.promotion(index, plan, start) for index in promotions),
        )


@pytest.fixture(scope="session")
def contracts() -> Callable[..., ContractMaker]:
    """Return the maker of random contracts for a source of random numbers."""
    return ContractMaker
