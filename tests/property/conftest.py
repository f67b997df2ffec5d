"""Random valid plans and usage that lies on and around their boundaries, seeded."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from math import floor
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
    LevelUnit,
    Meter,
    Plan,
    Rounding,
    Tier,
    Timing,
    Usage,
    UsageEntry,
)
from rating_core.units import (
    INT64_MAX,
    INT64_MIN,
    RoundingMode,
    RoundingStage,
    format_decimal,
    from_units,
)

MODELS = ("large", "small", "tiny")
TIERED = (
    ChargeModel.GRADUATED,
    ChargeModel.VOLUME,
    ChargeModel.STAIRSTEP,
    ChargeModel.GRADUATED_PERCENTAGE,
)


def number(random: Random, digits: int, decimals: int) -> Decimal:
    """Return a number ≥ 0 below 10^digits of at most ``decimals`` decimals, extremes too."""
    places = random.randint(0, decimals)
    shape = random.randrange(12)
    if shape == 0:
        units = 0
    elif shape == 1:
        units = 10 ** (digits + places) - 1
    elif shape == 2:
        units = 1
    else:
        units = random.randrange(10 ** random.randint(1, digits + places))
    return Decimal(format_decimal(from_units(units, places)))


class PlanMaker:
    """Makes one random plan after another, and usage for each."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.digits = 2

    def chance(self, percent: int) -> bool:
        """Return True in ``percent`` of 100 calls."""
        return self.random.randrange(100) < percent

    def price(self) -> Decimal:
        """Return a price or an amount of up to 12 decimals."""
        return number(self.random, self.digits, 12)

    def percent(self, below: int | None = None) -> Decimal:
        """Return a percentage of up to 6 decimals, below ``below`` if that is given."""
        if below is None:
            return number(self.random, self.digits, 6)
        return number(self.random, 2, 6) if below == 100 else Decimal(self.random.randrange(below))

    def optional(self, percent: int) -> Decimal | None:
        """Return an amount in ``percent`` of 100 calls, otherwise None."""
        return self.price() if self.chance(percent) else None

    def tiers(self, model: ChargeModel) -> tuple[Tier, ...]:
        """Return one to six tiers with rising bounds."""
        bounds = {number(self.random, self.digits, 12) for _ in range(self.random.randint(0, 5))}
        rising = sorted(bound for bound in bounds if bound > 0)
        tiers = []
        for up_to in [*rising, None]:
            fee = self.price() if self.chance(50) or model is ChargeModel.STAIRSTEP else Decimal(0)
            if model is ChargeModel.STAIRSTEP:
                tiers.append(Tier(up_to, flat_fee=fee))
            elif model is ChargeModel.GRADUATED_PERCENTAGE:
                tiers.append(Tier(up_to, percent=self.percent(), flat_fee=fee))
            else:
                tiers.append(Tier(up_to, unit_price=self.price(), flat_fee=fee))
        return tuple(tiers)

    def model_keys(self, model: ChargeModel) -> dict[str, object]:
        """Return random values for the keys of one charge model."""
        random = self.random
        if model is ChargeModel.FLAT_FEE:
            return {"amount": self.price(), "timing": random.choice(list(Timing))}
        if model is ChargeModel.PER_UNIT:
            return {"unit_price": self.price()}
        if model is ChargeModel.PACKAGE:
            return {
                "package_size": number(random, self.digits, 12) or Decimal("0.5"),
                "package_price": self.price(),
            }
        if model is ChargeModel.PERCENTAGE:
            keys: dict[str, object] = {
                "percent": self.percent(),
                "fixed_fee_per_event": self.price(),
            }
            bounds = sorted([self.price(), self.price()])
            if self.chance(40):
                keys["min_per_event"] = bounds[0]
            if self.chance(40):
                keys["max_per_event"] = bounds[1]
            if len(keys) == 2 and self.chance(50):  # free units exclude bounds
                keys["free_events"] = random.choice([0, 1, 2, 999_999_999])
                keys["free_amount"] = number(random, self.digits, 12)
            return keys
        return {"tiers": self.tiers(model), "flat_fee_at_zero_usage": self.chance(30)}

    def charge(self, index: int, meters: list[Meter]) -> Charge:
        """Return a random charge on one of ``meters``."""
        random = self.random
        model = random.choice(list(ChargeModel))
        keys: dict[str, object] = dict(self.model_keys(model))
        if model is not ChargeModel.FLAT_FEE:
            additive = model is ChargeModel.PERCENTAGE
            meter = random.choice([m for m in meters if m.adds_up or not additive])
            keys["meter"] = meter.id
            if meter.dimensions and self.chance(60):
                values = tuple(random.sample([*MODELS, ""], random.randint(1, 3)))
                keys["where"] = (("model", values),)
            if model is not ChargeModel.PERCENTAGE and self.chance(30):
                keys["included_units"] = number(random, self.digits, 12)
        discount = Decimal(0)
        if self.chance(40):
            discount = Decimal(100) if self.chance(5) else self.percent(below=100)
        return Charge(
            id=f"charge-{index}",
            model=model,
            discount_percent=discount,
            maximum_amount=self.optional(25),
            minimum_amount=self.optional(25),
            **keys,
        )

    def commitment(self, index: int, charges: list[Charge]) -> Commitment:
        """Return a random commitment that covers some of ``charges``, in any order."""
        random = self.random
        covers = random.sample([charge.id for charge in charges], random.randint(1, len(charges)))
        true_up = self.chance(40)
        long_term = self.chance(20)
        return Commitment(
            id=f"commitment-{index}",
            amount=self.price(),
            covers=tuple(covers),
            discount_percent=self.percent(below=random.choice([100, 50])),
            counted_at=random.choice(list(CountedAt)),
            overage_factor=random.choice([Decimal(1), Decimal("1.5"), number(random, 1, 12)]),
            true_up=true_up and not long_term,
            term=BillingPeriod.YEAR if long_term else None,
            true_up_at_term_end=true_up and long_term,
        )

    def plan(self) -> Plan:
        """Return a random valid plan: any models, modes, scales, stages and commitments."""
        random = self.random
        self.digits = random.choice([1, 2, 2, 3, 3, 5, 9, 15])
        per = random.choice([None, LevelUnit.HOUR])
        meters = [
            Meter("tokens", Aggregation.SUM, "token", random.randint(0, 12), ("model",)),
            Meter("bytes", Aggregation.SUM, "byte", random.choice([0, 0, 3, 6])),
            Meter("requests", Aggregation.COUNT),
            random.choice(
                [
                    Meter("level", Aggregation.MAX, "seat", random.randint(0, 6), ("model",)),
                    Meter("level", Aggregation.LATEST, "seat", random.randint(0, 6), ("model",)),
                    Meter("level", Aggregation.UNIQUE_COUNT, dimensions=("model",), of="user"),
                    Meter("level", Aggregation.WEIGHTED_SUM, "GB", 3, ("model",), per=per),
                ]
            ),
        ]
        charges = [self.charge(index, meters) for index in range(random.randint(1, 4))]
        count = random.choice([0, 0, 1, 1, 2, 3])
        commitments = [self.commitment(index, charges) for index in range(count)]
        return Plan(
            id="random",
            currency="USD",
            billing_period=BillingPeriod.MONTH,
            charges=tuple(charges),
            rounding=Rounding(
                random.choice(list(RoundingMode)),
                random.choice([0, 2, 2, 3, 6, 12]),
                random.choice(list(RoundingStage)),
            ),
            meters=tuple(meters),
            commitments=tuple(commitments),
            commitment_order=random.choice(list(CommitmentOrder)),
            maximum_amount=self.optional(20),
            minimum_amount=self.optional(20),
        )

    def landmarks(self, plan: Plan, meter: Meter) -> list[int]:
        """Return quantities in scale units at which some charge on ``meter`` changes its price."""
        marks = [0, 1, INT64_MAX]
        for charge in plan.charges:
            if charge.meter != meter.id:
                continue
            included = charge.included_units
            marks += [
                _cut(included, meter.scale),
                _cut(included + charge.package_size, meter.scale),
                _cut(charge.free_amount, meter.scale),
            ]
            marks += [_cut(included + (tier.up_to or 0), meter.scale) for tier in charge.tiers]
            for bound in (charge.min_per_event, charge.max_per_event):
                if bound is not None and charge.percent:
                    gap = Fraction(max(bound - charge.fixed_fee_per_event, Decimal(0)))
                    marks.append(_cut(100 * gap / Fraction(charge.percent), meter.scale))
        return marks

    def quantity(self, marks: list[int], *, signed: bool) -> int:
        """Return a quantity in scale units on or beside a landmark, or anywhere."""
        random = self.random
        if self.chance(65):
            units = random.choice(marks) + random.choice([-1, 0, 0, 1])
        else:
            units = random.randrange(10 ** random.randint(1, 18))
        if signed and self.chance(10):
            units = -units
        return max(INT64_MIN if signed else 0, min(INT64_MAX, units))

    def usage(self, plan: Plan) -> Usage:
        """Return usage of some of the plan's meters, in one to four records each."""
        random = self.random
        usage: Usage = {}
        for meter in plan.meters:
            if self.chance(15):
                continue
            marks = self.landmarks(plan, meter)
            counting = (Aggregation.COUNT, Aggregation.UNIQUE_COUNT)
            signed = meter.aggregation not in counting and not any(
                charge.meter == meter.id and charge.clamps for charge in plan.charges
            )
            entries = []
            for _ in range(random.choice([1, 1, 1, 2, 4])):
                dimensions: tuple[tuple[str, str], ...] | None = None
                if meter.dimensions and self.chance(70):
                    value = random.choice([*MODELS, ""])
                    dimensions = (("model", value),) if value else ()
                units = self.quantity(marks, signed=signed)
                quantity = Decimal(format_decimal(from_units(units, meter.scale)))
                entries.append(UsageEntry(quantity, dimensions))
            usage[meter.id] = tuple(entries)
        return usage


def _cut(value: Decimal | Fraction, scale: int) -> int:
    """Return ``value`` in units of 10^-scale, cut, at most what fits int64."""
    return min(INT64_MAX, floor(Fraction(value) * 10**scale))


@pytest.fixture(scope="session")
def maker() -> Callable[[int], PlanMaker]:
    """Return the maker of random plans and usage for a seed."""
    return PlanMaker
