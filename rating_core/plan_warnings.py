"""What a plan allows but probably does not mean: overlaps, gaps, contradictions (S3.5)."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from itertools import islice, product

from rating_core.catalog import Charge, Meter, Plan

_COMBINATIONS_MAX = 4_096
_OTHER = None
"""Stands for any value of a dimension that no charge names."""


def _overlap(one: Charge, other: Charge) -> bool:
    """Whether some series counts towards both charges."""
    values = dict(one.where)
    return all(
        name not in values or not set(values[name]).isdisjoint(allowed)
        for name, allowed in other.where
    )


def _overlaps(meter: Meter, charges: Sequence[Charge]) -> list[str]:
    warnings: list[str] = []
    for index, charge in enumerate(charges):
        for earlier in charges[:index]:
            if _overlap(earlier, charge):
                warnings.append(
                    f"charges {earlier.id} and {charge.id} both price usage of meter {meter.id}"
                )
                break
    return warnings


def _matches(charge: Charge, values: dict[str, str | None]) -> bool:
    return all(values[name] in allowed for name, allowed in charge.where)


def _gap(meter: Meter, charges: Sequence[Charge]) -> str | None:
    """Return the first combination of dimension values that no charge prices, in words."""
    named: dict[str, list[str | None]] = {}
    for charge in charges:
        for name, allowed in charge.where:
            known = named.setdefault(name, [_OTHER])
            known.extend(value for value in allowed if value not in known)
    combinations = product(*named.values())
    for combination in islice(combinations, _COMBINATIONS_MAX):
        values = dict(zip(named, combination, strict=True))
        if not any(_matches(charge, values) for charge in charges):
            words = ", ".join(
                f"{name} = {'any other value' if value is _OTHER else value}"
                for name, value in values.items()
            )
            return f"usage of meter {meter.id} with {words} is priced by no charge"
    return None


def _contradicts(minimum: Decimal | None, maximum: Decimal | None) -> bool:
    return minimum is not None and maximum is not None and minimum > maximum


def warnings_of(plan: Plan) -> list[str]:
    """Return one line for each thing that `check` warns about (S3.5); an empty list is good.

    A meter that no charge prices; two charges that price the same series (each charge is named
    once, with the first that it overlaps); a combination of dimension values that no charge of
    the meter prices; a minimum above its maximum, where the minimum wins (S4).
    """
    warnings: list[str] = []
    for meter in plan.meters:
        charges = [charge for charge in plan.charges if charge.meter == meter.id]
        if not charges:
            warnings.append(f"meter {meter.id} is priced by no charge")
            continue
        warnings += _overlaps(meter, charges)
        gap = _gap(meter, charges)
        if gap is not None:
            warnings.append(gap)
    for charge in plan.charges:
        if _contradicts(charge.minimum_amount, charge.maximum_amount):
            warnings.append(
                f"charge {charge.id}: minimum_amount is above maximum_amount and wins over it"
            )
    if _contradicts(plan.minimum_amount, plan.maximum_amount):
        warnings.append("plan: minimum_amount is above maximum_amount and wins over it")
    return warnings
