"""What a customer's contract holds besides its plans: grants and promotions (S10).

Amounts are exact `Decimal` of the contract's currency, instants int microseconds UTC (S1.5).
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum

PRIORITY_DEFAULT = 50


class GrantKind(StrEnum):
    """Whether a credit was paid for or given; bonus is drawn before prepaid (S10.1)."""

    PREPAID = "prepaid"
    BONUS = "bonus"


class PromotionKind(StrEnum):
    """What a promotion changes (S10.3)."""

    ALLOWANCE_MULTIPLIER = "allowance_multiplier"
    """Included units × value."""
    PERCENT_OFF = "percent_off"
    """What is left of a charge × (1 − value / 100)."""
    AMOUNT_OFF = "amount_off"
    """What is left of the charges less value, each in document order, never below 0."""
    OVERAGE_PERCENT_OFF = "overage_percent_off"
    """What lies above the included units × (1 − value / 100)."""


@dataclass(frozen=True, slots=True)
class Grant:
    """A credit that may pay for any period that [effective, expires) overlaps (S10.1).

    ``expires`` is exclusive, ``None`` for never. ``covers`` holds charge ids, empty for all lines.
    ``void_time``: the instant from which it pays no more, ``None`` if it was not voided.
    """

    id: str
    amount: Decimal
    kind: GrantKind
    effective: int
    expires: int | None = None
    priority: int = PRIORITY_DEFAULT
    covers: tuple[str, ...] = ()
    create_time: int = 0
    void_time: int | None = None


@dataclass(frozen=True, slots=True)
class Promotion:
    """A promotion from ``instant`` on, for so many ``periods`` or ``until`` an instant (S10.3).

    ``charges`` holds charge ids, empty for all. Without ``periods`` and ``until`` it has no end.
    """

    id: str
    kind: PromotionKind
    value: Decimal
    instant: int
    charges: tuple[str, ...] = ()
    periods: int | None = None
    until: int | None = None
