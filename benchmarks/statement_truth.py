"""What statements through crashes must say, kept outside of the server (S9, S10.1).

A grant that is made while statements are finalised may or may not pay for one of them: either is
right, if its balance agrees. All else is one number.
"""

from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime
from decimal import ROUND_HALF_UP, Decimal

import numpy as np
from numpy.typing import NDArray

from benchmarks.statements import METERS, PLAN, PRICES
from rating_client import Client, Statement

CENT = Decimal("0.01")
CHEAP = PLAN | {"billing_period": "day"}
DEAR = CHEAP | {
    "id": "bench-dear",
    "charges": [
        {"id": name, "meter": name, "model": "per_unit", "unit_price": str(2 * PRICES[name])}
        for name in METERS
    ],
}
_READERS = 8
_SAMPLE = 20


@dataclass(slots=True)
class Truth:
    """What every customer owes and every grant can still pay."""

    draw: random.Random
    changes: dict[str, list[tuple[datetime, bool]]] = field(default_factory=dict)
    """By customer, when it was put on the dear plan (else the cheap one), in order."""
    balances: dict[str, Decimal] = field(default_factory=dict)
    """By customer, before the round, of all that its grants can pay."""
    granted: dict[str, Decimal] = field(default_factory=dict)
    """By customer, what was granted while the round was finalised."""
    due: dict[str, Decimal] = field(default_factory=dict)
    """By customer, of the round, before credits."""

    def dear(self, name: str, instant: datetime) -> bool:
        """Return whether a customer is on the dear plan at an instant."""
        plans = [dear for since, dear in self.changes.get(name, ()) if since <= instant]
        return bool(plans and plans[-1])

    def add(self, start: datetime, quantities: NDArray[np.int64]) -> None:
        """Take the quantities of a morning from ``start``, int64[customers, meters]."""
        for number, row in enumerate(quantities.tolist()):
            name = f"c{number}"
            factor = 2 if self.dear(name, start) else 1
            self.due[name] = sum(
                (
                    (quantity * PRICES[meter] * factor).quantize(CENT, ROUND_HALF_UP)
                    for meter, quantity in zip(METERS, row, strict=True)
                ),
                Decimal(0),
            )

    def sample(self) -> list[str]:
        """Return some customers, with and without grants and changes of plan."""
        kinds = (sorted(self.balances), sorted(self.changes), sorted(self.due))
        return [self.draw.choice(names) for names in kinds if names for _ in range(_SAMPLE // 2)]


@dataclass(slots=True)
class Found:
    """What a round's reading shows, in customers."""

    missing: int = 0
    doubled: int = 0
    overdrawn: int = 0
    wrong: int = 0


def check(client: Client, start: datetime, truth: Truth) -> Found:
    """Read the statement of every customer of the day from ``start``, and every balance.

    The balances found become those of the truth.
    """
    found = Found()
    with ThreadPoolExecutor(_READERS) as readers:
        listed = readers.map(lambda name: list(client.list_statements(name)), truth.due)
        paid: dict[str, Decimal] = {}
        for name, statements in zip(truth.due, listed, strict=True):
            of_day = [one for one in statements if one.period_start == start]
            found.missing += not of_day
            found.doubled += len(of_day) > 1
            found.wrong += any(_differs(one, truth.due[name]) for one in of_day)
            paid[name] = sum((one.total_before_credits - one.total for one in of_day), Decimal(0))
        for name in truth.granted:
            truth.balances.setdefault(name, Decimal(0))
        balances = readers.map(client.get_balance, truth.balances)
        for name, balance in zip(list(truth.balances), balances, strict=True):
            before, late = truth.balances[name], truth.granted.get(name, Decimal(0))
            allowed = {min(truth.due[name], before), min(truth.due[name], before + late)}
            fits = paid[name] in allowed and balance == before + late - paid[name]
            found.overdrawn += not fits
            truth.balances[name] = balance
        found.overdrawn += sum(bool(paid[name]) for name in paid if name not in truth.balances)
    truth.granted.clear()
    return found


def unverified(client: Client, start: datetime, truth: Truth) -> int:
    """Return how many statements of a sample differ when recomputed, their counters too (S9.5)."""
    names = [client.get_statement(name, start).name for name in truth.sample()]
    return sum(bool(client.verify_statement(name, from_log=True).differences) for name in names)


def _differs(statement: Statement, due: Decimal) -> bool:
    lines = sum((line.amount for line in statement.lines), Decimal(0))
    return not (lines == statement.total_before_credits == due) or len(statement.lines) != len(
        PRICES
    )
