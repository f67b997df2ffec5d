"""The quantities that `reference` prices: which entries count towards a charge, and to what (S6).

Part of the oracle: written from the rules, in plain decimals, without a look at the counters.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from decimal import Decimal, localcontext
from fractions import Fraction

from rating_core.catalog import Aggregation, Charge, Meter, Plan, Usage, UsageEntry
from rating_core.errors import OutOfRange
from rating_core.units import fits_int64, to_units


def matches(charge: Charge, entry: UsageEntry) -> bool:
    return entry.dimensions is None or charge.matches(dict(entry.dimensions))


def exact_sum(quantities: Iterable[Decimal]) -> Decimal:
    """Return the exact sum."""
    with localcontext() as context:
        context.prec = 1_000  # exact: a quantity has at most 31 digits
        return sum(quantities, Decimal(0))


def aggregated(meter: Meter, quantities: Sequence[Decimal]) -> Decimal:
    """Return the one quantity of a meter's entries, in the order of the usage (S6.2, S6.5).

    Entries of a unique_count are numbers of values, each of its own, so they add up.
    """
    if meter.aggregation is Aggregation.MAX:
        return max(quantities, default=Decimal(0))
    if meter.aggregation is Aggregation.LATEST:
        return quantities[-1] if quantities else Decimal(0)
    return exact_sum(quantities)


def _adds_up(charge: Charge, entry: UsageEntry) -> bool:
    """Whether the charge's counter holds the quantity: not of an event at a bound (S3.4)."""
    if not charge.clamps or not matches(charge, entry):
        return matches(charge, entry)
    rate = Fraction(charge.percent) / 100
    price = Fraction(entry.quantity) * rate + Fraction(charge.fixed_fee_per_event)
    low, high = charge.min_per_event, charge.max_per_event
    return (low is None or price > low) and (high is None or price < high)


def check_counters(plan: Plan, usage: Usage) -> None:
    """Every series, and every charge's sum over its series, must fit int64 (S1.2).

    A sum below 0 prices as 0, however low it is (S3.2).
    """
    for meter_id, entries in usage.items():
        meter = plan.meter(meter_id)
        counters: dict[object, list[Decimal]] = {}
        for entry in entries:
            counters.setdefault(entry.dimensions, []).append(entry.quantity)
        for charge in plan.charges:
            if charge.meter == meter_id:
                seen = [entry.quantity for entry in entries if _adds_up(charge, entry)]
                if aggregated(meter, seen) > 0:
                    counters[charge.id] = seen
        for quantities in counters.values():
            if not fits_int64(to_units(aggregated(meter, quantities), meter.scale)):
                raise OutOfRange(f"a counter of meter {meter_id} does not fit 64 bits")
