"""Results of rating: statements, their lines and the slices that explain each line (S4.3)."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from fractions import Fraction

from rating_core.counter import SeriesCounter
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
    ROLLED_OVER = "rolled_over"
    """List usage that what an earlier term left over pays for (S5.6)."""
    INSTALLMENT = "installment"
    """A part of a prepaid commitment's fee that falls due (S5.6)."""
    PREPAID = "prepaid"
    """Covered usage at its discount, which the fee has paid or will pay (S5.6)."""
    PUT_OFF = "put_off"
    """What of a charge falls due in later statements (S10.4)."""
    FALLS_DUE = "falls_due"
    """What earlier statements put off until this one (S10.4)."""
    BOOKED = "booked"
    """What earlier statements of the term or the tier window booked, taken off (S5.3, S8.5)."""
    LATE = "late"
    """What an earlier statement lacks under one line id (S9.3)."""
    DRAWN = "drawn"
    """What a grant pays (S10.1)."""
    GIVEN_BACK = "given_back"
    """A draw-down that an earlier statement no longer needs (S9.3)."""
    ROUNDING = "rounding"
    """Rounding residue: the line's amount less its other slices."""


@dataclass(frozen=True, slots=True)
class Slice:
    """One piece of a line. ``amount`` is exact, or cut where it has no finite decimal expansion;
    the slice of kind ROUNDING holds the rest, so that slices always add up to their line.

    ``tier`` is the 0-based index of the tier. ``quantity`` is in the meter's units, or a number of
    events or packages; for commitments it is the list amount covered. ``label`` says why, in words.
    ``line_id`` and ``period_start`` (µs UTC) name the booked line that a late slice corrects, or
    the statement to whose grant a draw-down is given back.
    """

    kind: SliceKind
    amount: Decimal
    tier: int | None = None
    quantity: Decimal | None = None
    unit_price: Decimal | None = None
    percent: Decimal | None = None
    flat_fee: Decimal | None = None
    label: str = ""
    line_id: str = ""
    period_start: int | None = None


@dataclass(frozen=True, slots=True)
class Line:
    """One explained amount, an integer in units of 10^-scale of the statement.

    ``id`` is the id of the charge, promotion, commitment or grant, or `late`, `plan-maximum`,
    `plan-minimum`. ``part`` is the index of the part of the period that it prices, ``None`` for the
    whole period; ``charge_id`` the charge that a promotion's line takes from. ``due_time`` (µs
    UTC): when it falls due (S8.4), ``None`` where no period is known, as in a quote.
    """

    id: str
    kind: LineKind
    amount: int
    slices: tuple[Slice, ...] = ()
    part: int | None = None
    charge_id: str = ""
    due_time: int | None = None


@dataclass(frozen=True, slots=True)
class StatementPart:
    """One part of a statement's period: [start, end) µs UTC, its plan version, what it counted.

    ``overrides`` are the customer's own prices, canonical JSON, empty for none. The shares are the
    part's length ÷ that of the full period around it (S8.4). ``counters`` are those that were
    priced (S9.5); with a tier window ``window`` holds those of its earlier periods (S8.5).
    """

    start: int
    end: int
    plan_id: str
    plan_version: int
    overrides: str = ""
    share_by_second: Fraction = Fraction(1)
    share_by_day: Fraction = Fraction(1)
    counters: tuple[SeriesCounter, ...] = ()
    window: tuple[SeriesCounter, ...] = ()


@dataclass(frozen=True, slots=True)
class StatementPeriod:
    """The billing period [start, end) µs UTC of a statement, and its parts in order (S9.5).

    ``number`` counts the subscription's periods from 0. ``correction``: the statement corrects
    periods after the subscription's last one and has no usage of its own (S9.3).
    """

    start: int
    end: int
    number: int
    parts: tuple[StatementPart, ...] = ()
    correction: bool = False


@dataclass(frozen=True, slots=True)
class Statement:
    """The rated result of one plan and its usage. Lines add up to ``total``, always (S1.4).

    ``plan_id`` is the plan at the end of the period. ``period`` is ``None`` for a quote or a case,
    which price one full period. ``credit_lines`` are the draw-downs of a plan with `credits:
    after_total`; by default they stand among ``lines`` (S10.2).
    """

    plan_id: str
    currency: str
    scale: int
    lines: tuple[Line, ...]
    total: int
    unpriced_meters: tuple[str, ...] = ()
    period: StatementPeriod | None = None
    credit_lines: tuple[Line, ...] = ()

    @property
    def amount_due(self) -> int:
        """What is to be paid: the total, less credits that apply after it (S10.2)."""
        return self.total + sum(line.amount for line in self.credit_lines)

    @property
    def total_before_credits(self) -> int:
        """The sum of all lines that no grant made (S4)."""
        return sum(line.amount for line in self.lines if line.kind is not LineKind.CREDIT)

    def amount(self, units: int) -> Decimal:
        """Return an amount of this statement as a decimal of the currency."""
        return from_units(units, self.scale)

    def amount_by_id(self) -> dict[str, Decimal]:
        """Return the sum of the lines of each id, as `expect.lines` compares them (S4.2)."""
        sums: dict[str, int] = {}
        for line in (*self.lines, *self.credit_lines):
            sums[line.id] = sums.get(line.id, 0) + line.amount
        return {line_id: self.amount(units) for line_id, units in sums.items()}
