"""Meters, plans, charges, tiers and commitments as values (S2).

Plain frozen data: numbers are exact `Decimal`, absent is ``None``. `plan_document` builds them from
a document and reports all faults; `compile` turns them into flat arrays; `reference` prices them
as they stand.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from decimal import Decimal
from enum import StrEnum
from fractions import Fraction

from rating_core.units import RoundingMode, RoundingStage

ZERO = Decimal(0)
ONE = Decimal(1)

RESERVED_LINE_IDS = ("late", "plan-maximum", "plan-minimum")


class Aggregation(StrEnum):
    """How a meter turns records into a number (S6.3)."""

    SUM = "sum"
    COUNT = "count"
    MAX = "max"
    LATEST = "latest"
    UNIQUE_COUNT = "unique_count"
    WEIGHTED_SUM = "weighted_sum"


class LevelUnit(StrEnum):
    """By what a weighted_sum divides level × time, if not by the billing period (S6.4)."""

    HOUR = "hour"


class BucketLength(StrEnum):
    """Length of the time buckets that a meter keeps beside its period counter; in UTC (S8.1)."""

    HOUR = "hour"
    DAY = "day"


class BillingPeriod(StrEnum):
    """Length of a plan's billing period; calendar periods in UTC (S8.1)."""

    HOUR = "hour"
    DAY = "day"
    WEEK = "week"
    MONTH = "month"
    QUARTER = "quarter"
    YEAR = "year"


class ChargeModel(StrEnum):
    """The pricing functions of S3."""

    FLAT_FEE = "flat_fee"
    PER_UNIT = "per_unit"
    GRADUATED = "graduated"
    VOLUME = "volume"
    STAIRSTEP = "stairstep"
    PACKAGE = "package"
    PERCENTAGE = "percentage"
    GRADUATED_PERCENTAGE = "graduated_percentage"


class Timing(StrEnum):
    """When a flat fee falls due (S8.4)."""

    IN_ADVANCE = "in_advance"
    IN_ARREARS = "in_arrears"


class CountedAt(StrEnum):
    """Whether usage draws a commitment down at list or at discounted prices (S5.1)."""

    DISCOUNTED = "discounted"
    LIST = "list"


class CommitmentOrder(StrEnum):
    """In which order several commitments apply (S5.4)."""

    DOCUMENT = "document"
    BEST_SAVING_FIRST = "best_saving_first"


class Payment(StrEnum):
    """When a commitment's fee falls due: with the usage, or by a schedule (S5.6)."""

    POSTPAID = "postpaid"
    PREPAID = "prepaid"


class Proration(StrEnum):
    """What a part's share of its full period is measured in: microseconds or local days (S8.4)."""

    SECOND = "second"
    DAY = "day"


class TierWindow(StrEnum):
    """Over what a charge's included units, tiers, fees and bounds run (S8.5)."""

    YEAR = "year"


class CreditPlacement(StrEnum):
    """Whether credits are lines of the total or reduce what is due of it (S10.2)."""

    BEFORE_TOTAL = "before_total"
    AFTER_TOTAL = "after_total"


class LateUsage(StrEnum):
    """What happens to records of a closed period (S7.5)."""

    REJECT = "reject"
    ADJUST = "adjust"


@dataclass(frozen=True, slots=True)
class Rounding:
    """Where and how amounts are rounded (S1.3, S1.4). ``scale``: decimals of an amount, 0–12."""

    mode: RoundingMode = RoundingMode.HALF_UP
    scale: int = 2
    stage: RoundingStage = RoundingStage.LINE


@dataclass(frozen=True, slots=True)
class Meter:
    """A named rule that turns records into a number. Quantities are int64 in 10^-scale units.

    ``of``: the attribute whose values a unique_count counts, empty for other meters. ``per``: what
    a weighted_sum divides by, ``None`` for the billing period (S6.4). ``buckets``: length of the
    time buckets, ``None`` for none.
    """

    id: str
    aggregation: Aggregation
    unit: str = ""
    scale: int = 0
    dimensions: tuple[str, ...] = ()
    of: str = ""
    per: LevelUnit | None = None
    buckets: BucketLength | None = None

    @property
    def adds_up(self) -> bool:
        """Whether the value is a sum over single records, so that events can be priced (S3.4)."""
        return self.aggregation in (Aggregation.SUM, Aggregation.COUNT)

    def counts_like(self, other: Meter) -> bool:
        """Whether both are the same meter; dimensions are a set, so their order is nothing (S2)."""
        return replace(self, dimensions=tuple(sorted(self.dimensions))) == replace(
            other, dimensions=tuple(sorted(other.dimensions))
        )


@dataclass(frozen=True, slots=True)
class Tier:
    """A band of quantity: up to and including ``up_to`` (``None``: without end) (S3.1)."""

    up_to: Decimal | None = None
    unit_price: Decimal = ZERO
    percent: Decimal = ZERO
    flat_fee: Decimal = ZERO


@dataclass(frozen=True, slots=True)
class Charge:
    """One priced item: a meter (none for a flat fee), a model and its keys (S3).

    ``where`` holds (dimension, allowed values) pairs, sorted by dimension; empty matches all.
    ``free_events`` of a percentage have no fixed fee, ``free_amount`` units of its sum no percent
    (S3.4). ``prorate`` of a flat fee bills each part's share (S8.4), the others scale included
    units, bounds of tiers and the minimum by it (S8.3). ``tier_window`` is ``None`` for the billing
    period (S8.5). ``smoothing_periods``: in how many statements an amount falls due (S10.4).
    """

    id: str
    model: ChargeModel
    meter: str | None = None
    where: tuple[tuple[str, tuple[str, ...]], ...] = ()
    included_units: Decimal = ZERO
    amount: Decimal = ZERO
    timing: Timing = Timing.IN_ADVANCE
    unit_price: Decimal = ZERO
    tiers: tuple[Tier, ...] = ()
    package_size: Decimal = ONE
    package_price: Decimal = ZERO
    percent: Decimal = ZERO
    fixed_fee_per_event: Decimal = ZERO
    min_per_event: Decimal | None = None
    max_per_event: Decimal | None = None
    flat_fee_at_zero_usage: bool = False
    discount_percent: Decimal = ZERO
    maximum_amount: Decimal | None = None
    minimum_amount: Decimal | None = None
    free_events: int = 0
    free_amount: Decimal = ZERO
    prorate: bool = False
    prorate_included_units: bool = False
    prorate_tiers: bool = False
    prorate_minimum: bool = False
    tier_window: TierWindow | None = None
    smoothing_periods: int = 1

    @property
    def clamps(self) -> bool:
        """Whether events are priced one by one between a floor and a ceiling (S3.4)."""
        return self.min_per_event is not None or self.max_per_event is not None

    @property
    def allowance(self) -> Fraction:
        """The included units (S3.3)."""
        return Fraction(self.included_units)

    def upper_bound(self, tier: Tier) -> Fraction | None:
        """Return the last unit of one of its tiers; ``None`` for the tier without end (S3.1)."""
        return None if tier.up_to is None else Fraction(tier.up_to)

    def matches(self, dimensions: dict[str, str]) -> bool:
        """Whether a series counts towards this charge; a lacking dimension has the value ""."""
        return all(dimensions.get(name, "") in values for name, values in self.where)


@dataclass(frozen=True, slots=True)
class Installment:
    """A part of a prepaid commitment's fee, and when it falls due (S5.6).

    Either at the instant ``at``, µs UTC, or at the start of the term's ``period``-th billing
    period, counted from 0, of every term anew; the other of the two is ``None``.
    """

    amount: Decimal
    at: int | None = None
    period: int | None = None


@dataclass(frozen=True, slots=True)
class Rollover:
    """What of an unused commitment goes on into the next term (S5.6).

    ``fraction`` (0–1) of it, at most ``maximum_amount``, until ``expires_after`` µs after the end
    of the term that it comes from; ``None``: without bound, without end.
    """

    fraction: Decimal
    maximum_amount: Decimal | None = None
    expires_after: int | None = None


@dataclass(frozen=True, slots=True)
class Commitment:
    """An amount promised for a term, against a discount (S5). ``covers`` holds charge ids.

    ``term`` is ``None`` for the billing period itself; HOUR where that is longer makes it hourly
    (S5.5), and each hour a term of its own. ``true_up`` says whether the true-up falls due in the
    period that is priced; a true-up that falls due only at the end of a longer term is
    ``true_up_at_term_end`` (S5.3). What is prepaid is due used or not, so it has one of the two.

    Of a commitment to a ``quantity``, ``amount`` is the list price of that quantity of the one
    charge that it covers, after its discount, and it is counted at list (S5.6). ``schedule`` is
    empty for a fee that is paid whole at the start of each term; it adds up to the fee.
    """

    id: str
    amount: Decimal
    covers: tuple[str, ...]
    discount_percent: Decimal = ZERO
    counted_at: CountedAt = CountedAt.DISCOUNTED
    overage_factor: Decimal = ONE
    true_up: bool = False
    term: BillingPeriod | None = None
    true_up_at_term_end: bool = False
    quantity: Decimal | None = None
    payment: Payment = Payment.POSTPAID
    schedule: tuple[Installment, ...] = ()
    rollover: Rollover | None = None

    @property
    def hourly(self) -> bool:
        """Whether each hour is a term of its own, inside a longer billing period (S5.5)."""
        return self.term is BillingPeriod.HOUR


@dataclass(frozen=True, slots=True)
class UsageEntry:
    """A quantity of one meter; for a `percentage` charge it is one event (S6.5).

    ``dimensions`` holds sorted (name, value) pairs; ``None`` matches every ``where``.
    """

    quantity: Decimal
    dimensions: tuple[tuple[str, str], ...] | None = None


Usage = dict[str, tuple[UsageEntry, ...]]
"""Usage by meter id; a meter that is not given has no usage and no event."""


@dataclass(frozen=True, slots=True)
class Example:
    """An example of a plan, or a case of a case file: usage and what it must cost (S2.3, S12.1)."""

    usage: Usage
    total: Decimal
    lines: tuple[tuple[str, Decimal], ...] = ()


@dataclass(frozen=True, slots=True)
class Plan:
    """An immutable plan version: meters, charges, commitments, in document order (S2)."""

    id: str
    currency: str
    billing_period: BillingPeriod
    charges: tuple[Charge, ...]
    rounding: Rounding = field(default_factory=Rounding)
    meters: tuple[Meter, ...] = ()
    commitments: tuple[Commitment, ...] = ()
    commitment_order: CommitmentOrder = CommitmentOrder.DOCUMENT
    maximum_amount: Decimal | None = None
    minimum_amount: Decimal | None = None
    late_usage: LateUsage = LateUsage.REJECT
    proration: Proration = Proration.SECOND
    credits: CreditPlacement = CreditPlacement.BEFORE_TOTAL
    examples: tuple[Example, ...] = ()

    def meter(self, meter_id: str) -> Meter:
        """Return the meter of that id; KeyError if the plan has none."""
        for meter in self.meters:
            if meter.id == meter_id:
                return meter
        raise KeyError(meter_id)
