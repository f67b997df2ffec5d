"""What a plan allows but probably does not mean: overlaps, gaps, contradictions (S3.5)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from itertools import islice, product

from rating_core.catalog import Charge, Commitment, Meter, Plan

_COMBINATIONS_MAX = 4_096
_OTHER = None
"""Stands for any value of a dimension that no charge names."""

_Where = Mapping[str, frozenset[str | None]]


def _where(charge: Charge) -> _Where:
    """Return the charge's `where` for fast look-ups: there may be 100,000 values in a plan."""
    return {name: frozenset(values) for name, values in charge.where}


def _overlap(one: _Where, other: _Where) -> bool:
    """Whether some series counts towards both charges."""
    return all(name not in one or not one[name].isdisjoint(other[name]) for name in other)


def _overlaps(meter: Meter, charges: Sequence[Charge], wheres: Sequence[_Where]) -> list[str]:
    warnings: list[str] = []
    for index, charge in enumerate(charges):
        for earlier in range(index):
            if _overlap(wheres[earlier], wheres[index]):
                pair = f"{charges[earlier].id} and {charge.id}"
                warnings.append(f"charges {pair} both price usage of meter {meter.id}")
                break
    return warnings


def _matches(where: _Where, values: dict[str, str | None]) -> bool:
    return all(values[name] in allowed for name, allowed in where.items())


def _gap(meter: Meter, charges: Sequence[Charge], wheres: Sequence[_Where]) -> str | None:
    """Return the first combination of dimension values that no charge prices, in words."""
    named: dict[str, dict[str | None, None]] = {}
    for charge in charges:
        for name, allowed in charge.where:
            named.setdefault(name, {_OTHER: None}).update(dict.fromkeys(allowed))
    combinations = product(*named.values())
    for combination in islice(combinations, _COMBINATIONS_MAX):
        values = dict(zip(named, combination, strict=True))
        if not any(_matches(where, values) for where in wheres):
            words = ", ".join(
                f"{name} = {'any other value' if value is _OTHER else value}"
                for name, value in values.items()
            )
            return f"usage of meter {meter.id} with {words} is priced by no charge"
    return None


def _contradicts(minimum: Decimal | None, maximum: Decimal | None) -> bool:
    return minimum is not None and maximum is not None and minimum > maximum


def _of_commitment(plan: Plan, commitment: Commitment) -> list[str]:
    warnings: list[str] = []
    if commitment.hourly and plan.examples:
        warnings.append(
            f"commitment {commitment.id}: an example prices its usage as that of one hour"
        )
    due = commitment.true_up or commitment.true_up_at_term_end
    if commitment.rollover is not None and not due:
        warnings.append(
            f"commitment {commitment.id}: rollover without true_up or payment: prepaid carries on"
            " what nobody paid for"
        )
    return warnings


def warnings_of(plan: Plan) -> list[str]:
    """Return one line for each thing that `check` warns about (S3.5); an empty list is good.

    A meter that no charge prices; two charges that price the same series (each charge is named
    once, with the first that it overlaps); a combination of dimension values that no charge of
    the meter prices; a minimum above its maximum, where the minimum wins (S4); examples of a plan
    with an hourly commitment (S5.5); a rollover of what was not paid (S5.6).
    """
    warnings: list[str] = []
    for meter in plan.meters:
        charges = [charge for charge in plan.charges if charge.meter == meter.id]
        if not charges:
            warnings.append(f"meter {meter.id} is priced by no charge")
            continue
        wheres = [_where(charge) for charge in charges]
        warnings += _overlaps(meter, charges, wheres)
        gap = _gap(meter, charges, wheres)
        if gap is not None:
            warnings.append(gap)
    for charge in plan.charges:
        if _contradicts(charge.minimum_amount, charge.maximum_amount):
            warnings.append(
                f"charge {charge.id}: minimum_amount is above maximum_amount and wins over it"
            )
    warnings += [text for item in plan.commitments for text in _of_commitment(plan, item)]
    if _contradicts(plan.minimum_amount, plan.maximum_amount):
        warnings.append("plan: minimum_amount is above maximum_amount and wins over it")
    return warnings
