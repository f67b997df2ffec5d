"""Results of rating: statements, their lines and the slices that explain each line (S4.3)."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum

from rating_core.units import from_units


class LineKind(StrEnum):
    """Which step of S4 a line shows."""

    MODEL = "model"
    DISCOUNT = "discount"
    MAXIMUM = "maximum"
    MINIMUM = "minimum"
    PROMOTION = "promotion"
    SMOOTHING = "smoothing"
    """What of a charge is put off to later statements (negative), or falls due now (S10.4)."""
    COMMITMENT = "commitment"
    PREPAYMENT = "prepayment"
    """A part of a prepaid commitment's fee that falls due, or was paid before (S5.6)."""
    PLAN_MAXIMUM = "plan_maximum"
    PLAN_MINIMUM = "plan_minimum"
    LATE = "late"
    """What earlier statements lack, by records or corrections that came after them (S9.3)."""
    CREDIT = "credit"
    """What a grant pays, negative; a draw-down that is given back is positive (S10.1)."""


class SliceKind(StrEnum):
    """What one slice of a line stands for."""

    INCLUDED = "included"
    """Units that cost nothing because they are included (amount 0)."""
    UNITS = "units"
    """quantity × unit price, without tiers."""
    TIER = "tier"
    """Units of one tier: quantity × unit price (or percent) + flat fee."""
    PACKAGE = "package"
    """Started blocks × package price."""
    EVENTS = "events"
    """Events of a percentage charge: between the bounds, at the floor, or at the ceiling."""
    FEE = "fee"
    """A fixed amount."""
    ADJUSTMENT = "adjustment"
    """What a discount, a maximum or a minimum adds or takes."""
    COMMITTED = "committed"
    """List usage that a commitment covers, at its discount."""
    OVERAGE = "overage"
    """List usage beyond the last commitment, at its overage factor."""
    TRUE_UP = "true_up"
    """What raises the covered usage to the commitment's fee."""
    ROUNDING = "rounding"
    """Rounding residue: the line's amount less its other slices."""


@dataclass(frozen=True, slots=True)
class Slice:
    """One piece of a line. ``amount`` is exact, or cut where it has no finite decimal expansion;
    the slice of kind ROUNDING holds the rest, so that slices always add up to their line.

    ``tier`` is the 0-based index of the tier. ``quantity`` is in the meter's units, or a number of
    events or packages; for commitments it is the list amount covered.
    """

    kind: SliceKind
    amount: Decimal
    tier: int | None = None
    quantity: Decimal | None = None
    unit_price: Decimal | None = None
    percent: Decimal | None = None
    flat_fee: Decimal | None = None
    label: str = ""


@dataclass(frozen=True, slots=True)
class Line:
    """One explained amount, an integer in units of 10^-scale of the statement.

    ``id`` is the id of the charge or commitment, or `plan-maximum`, `plan-minimum`.
    """

    id: str
    kind: LineKind
    amount: int
    slices: tuple[Slice, ...] = ()


@dataclass(frozen=True, slots=True)
class Statement:
    """The rated result of one plan and its usage. Lines add up to ``total``, always (S1.4)."""

    plan_id: str
    currency: str
    scale: int
    lines: tuple[Line, ...]
    total: int
    unpriced_meters: tuple[str, ...] = ()

    def amount(self, units: int) -> Decimal:
        """Return an amount of this statement as a decimal of the currency."""
        return from_units(units, self.scale)

    def amount_by_id(self) -> dict[str, Decimal]:
        """Return the sum of the lines of each id, as `expect.lines` compares them (S4.2)."""
        sums: dict[str, int] = {}
        for line in self.lines:
            sums[line.id] = sums.get(line.id, 0) + line.amount
        return {line_id: self.amount(units) for line_id, units in sums.items()}
