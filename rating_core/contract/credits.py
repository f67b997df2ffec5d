"""Credits: which grants pay for a statement, in which order and how much (S10.1, S10.2)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from math import floor

from rating_core.contract.late import GivenBack
from rating_core.contract.values import Grant, GrantKind
from rating_core.explain import booked_line, exact_slice
from rating_core.statement import Line, LineKind, SliceKind
from rating_core.units import format_units


def grant_units(grant: Grant, scale: int) -> int:
    """Return a grant's amount in units of 10^-scale; what is finer can never be drawn."""
    units: int = floor(Fraction(grant.amount) * 10**scale)
    return units


def is_void(grant: Grant, now: int) -> bool:
    """Return whether a grant was voided and pays no more at ``now``; 0 is after all instants."""
    return grant.void_time is not None and (not now or grant.void_time <= now)


def grants_in_order(grants: Sequence[Grant], start: int, end: int, now: int) -> list[Grant]:
    """Return the grants that may pay for the period [start, end), in order of drawing (S10.1).

    Those whose validity overlaps it and that are not void: by priority, earlier expiry, bonus
    before prepaid, earlier creation; equal ones in the order given.
    """
    valid = [
        grant
        for grant in grants
        if grant.effective < end
        and (grant.expires is None or grant.expires > max(start, grant.effective))
        and not is_void(grant, now)
    ]
    return sorted(
        valid,
        key=lambda grant: (
            grant.priority,
            grant.expires is None,
            grant.expires or 0,
            grant.kind is GrantKind.PREPAID,
            grant.create_time,
        ),
    )


def draw(
    grants: Sequence[Grant],
    drawn: Mapping[str, int],
    payable: Mapping[str, int],
    due: int,
    scale: int,
) -> list[tuple[str, int]]:
    """Return (grant id, amount > 0) in order of drawing; together at most ``due``.

    ``drawn`` holds what all statements drew of each grant so far, ``payable`` what is due under
    each charge id, both in units of 10^-scale. A grant that covers some charges pays at most what
    they come to, less what other such grants paid of it; one that covers all pays anything.
    """
    draws = []
    left = {charge_id: max(amount, 0) for charge_id, amount in payable.items()}
    for grant in grants:
        if due <= 0:
            break
        amount = min(due, grant_units(grant, scale) - drawn.get(grant.id, 0))
        if grant.covers:
            amount = min(amount, sum(left.get(charge_id, 0) for charge_id in set(grant.covers)))
        if amount <= 0:
            continue
        draws.append((grant.id, amount))
        due -= amount
        if grant.covers:
            _take(left, grant.covers, amount)
    return draws


def _take(left: dict[str, int], covers: Sequence[str], amount: int) -> None:
    for charge_id, payable in left.items():
        if charge_id in covers:
            taken = min(amount, payable)
            left[charge_id] = payable - taken
            amount -= taken


def credit_lines(
    given_back: Sequence[GivenBack],
    draws: Sequence[tuple[str, int]],
    balances: Mapping[str, int],
    scale: int,
    due_time: int,
) -> list[Line]:
    """Return the lines of what is given back, positive, and of what grants pay, negative.

    ``balances``: what each drawn grant has left after this statement, in units of 10^-scale.
    """
    unit = Fraction(1, 10**scale)
    lines = []
    for back in given_back:
        entry = exact_slice(
            back.amount * unit,
            SliceKind.GIVEN_BACK,
            label="paid for usage that was corrected",
            period_start=back.period_start,
        )
        lines.append(booked_line(scale, back.grant_id, LineKind.CREDIT, back.amount, [entry]))
    for grant_id, amount in draws:
        words = f"{format_units(balances[grant_id], scale)} left"
        entry = exact_slice(-amount * unit, SliceKind.DRAWN, label=words)
        lines.append(booked_line(scale, grant_id, LineKind.CREDIT, -amount, [entry]))
    return [replace(line, due_time=due_time) for line in lines]
