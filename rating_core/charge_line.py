"""A charge as one list of lines: what the tables of bulk rating are made of (S3, S4).

A charge's model, discount, rounding mode and unit become one list of linear pieces in units of
10^-scale; what the steps of S4 may refuse becomes the greatest quantity of each piece. All of it is
done in integers over one denominator of the charge.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from math import gcd
from typing import NamedTuple

from rating_core.bands import percentage_band
from rating_core.catalog import Charge, ChargeModel, Plan
from rating_core.compile import PIECES
from rating_core.kernels.package import package_blocks
from rating_core.kernels.piece import BELOW_ALL, NUMBER_UNIT, PIECE_UNIT, Piece, number
from rating_core.limbs import INT64_GREATEST
from rating_core.units import PERCENT_SCALE_MAX, SCALE_MAX, RoundingMode, round_fraction, to_units

_ALL = 100 * 10**PERCENT_SCALE_MAX
"""100 percent in the units of percentages."""
_HALVES = (RoundingMode.HALF_UP, RoundingMode.HALF_EVEN)


class Linear(NamedTuple):
    """(slope × q + offset) ÷ denominator above ``threshold``; out of range above ``limit``."""

    threshold: int
    limit: int
    slope: int
    offset: int


@dataclass(frozen=True, slots=True)
class Blocks:
    """Started blocks of q scale units: ceil((slope × q − offset) ÷ block), in lowest terms."""

    slope: int
    offset: int
    block: int

    def greatest(self, count: int) -> int:
        """Return the greatest int64 quantity that starts at most ``count`` blocks."""
        return min((count * self.block + self.offset) // self.slope, INT64_GREATEST)


@dataclass(frozen=True, slots=True)
class ChargeLine:
    """A charge up to its rounded amount, in units of 10^-scale (S4).

    The amount at a quantity is that of the last entered piece, floor((slope × q + offset) ÷
    ``denominator``), less 1 if it is odd and a tie at `half_even`; a maximum and a minimum are
    pieces too. Of a package charge the pieces, beyond their thresholds, are functions of the number
    of started ``blocks``. ``signed`` charges refuse negative quantities (S3.4).
    """

    pieces: tuple[Linear, ...]
    denominator: int
    half_even: bool
    signed: bool
    blocks: Blocks | None = None


ABSENT = ChargeLine(
    (Linear(BELOW_ALL, INT64_GREATEST, 0, 0),),
    denominator=1,
    half_even=False,
    signed=False,
)
"""The row of a plan that has no charge at a position: always 0."""


def charge_line(plan: Plan, position: int) -> ChargeLine:
    """Return the charge at ``position`` as pieces; one event of a `percentage` charge (S11.3)."""
    charge, mode = plan.charges[position], plan.rounding.mode
    scale = plan.meter(charge.meter).scale if charge.meter is not None else 0
    blocks = _blocks(charge, scale) if charge.model is ChargeModel.PACKAGE else None
    raw = _pieces(charge, scale)
    unit = 2 * 10**plan.rounding.scale
    # the model's amounts are integers over ``listed``, an even number, discounted over ``whole``
    listed = 2 * PIECE_UNIT
    slopes = [unit * piece.slope for piece in raw]
    offsets = [unit * piece.offset for piece in raw]
    percent = to_units(charge.discount_percent, PERCENT_SCALE_MAX)
    keep, all_of_it = (_ALL - percent, _ALL) if percent else (1, 1)
    whole = listed * all_of_it
    common = gcd(whole, keep * gcd(*slopes, *offsets))
    if mode in _HALVES and whole // common % 2:
        common //= 2
    denominator = whole // common
    minimum = _rounded(charge.minimum_amount, plan) or 0
    maximum = _rounded(charge.maximum_amount, plan)
    # a minimum beyond int64 leaves no quantity in range
    top = (INT64_GREATEST + 1) * listed - 1 - _lift(mode, listed)
    top = top if minimum <= INT64_GREATEST else BELOW_ALL
    lift = _lift(mode, denominator)
    pieces = [
        Linear(
            piece.threshold,
            greatest_quantity(top - offset, slope, blocks)
            if minimum <= INT64_GREATEST
            else BELOW_ALL,
            keep * slope // common,
            keep * offset // common + lift,
        )
        for piece, slope, offset in zip(raw, slopes, offsets, strict=True)
    ]
    bounded = _bounded(pieces, denominator, lift, minimum, maximum, blocks)
    return ChargeLine(
        _entered_pieces(bounded, blocks),
        denominator,
        half_even=mode is RoundingMode.HALF_EVEN,
        signed=charge.model is ChargeModel.PERCENTAGE and charge.clamps,
        blocks=blocks,
    )


def _rounded(amount: Decimal | None, plan: Plan) -> int | None:
    if amount is None:
        return None
    return round_fraction(Fraction(amount), plan.rounding.scale, plan.rounding.mode)


def _lift(mode: RoundingMode, denominator: int) -> int:
    """Return what turns cutting into rounding by ``mode``, for amounts ≥ 0 (S1.3)."""
    if mode in _HALVES:
        return denominator // 2
    return denominator - 1 if mode is RoundingMode.UP else 0


def greatest_quantity(top: int, slope: int, blocks: Blocks | None) -> int:
    """Return the greatest int64 quantity with slope × value ≤ ``top``, −1 if there is none."""
    if top < 0:
        return BELOW_ALL
    if slope == 0:
        return INT64_GREATEST
    # blocks may be more than int64 holds where a quantity starts several (S3)
    value = top // slope
    return min(value, INT64_GREATEST) if blocks is None else blocks.greatest(value)


def _pieces(charge: Charge, scale: int) -> list[Piece]:
    """Return the pieces of the model; of a package charge by blocks, of a percentage by event."""
    if charge.model is ChargeModel.PACKAGE:
        threshold = number(charge.included_units) // 10 ** (SCALE_MAX - scale)
        price = number(charge.package_price) * NUMBER_UNIT
        return [Piece(BELOW_ALL, 0, 0), Piece(min(threshold, INT64_GREATEST), price, 0)]
    if charge.model is not ChargeModel.PERCENTAGE:
        return PIECES[charge.model](charge, scale)
    band = percentage_band(charge, scale)
    events, total, *bounds = PIECES[charge.model](charge, scale)
    floor, ceiling = (piece.slope for piece in bounds)
    # the first of one event is free, or none (S11.3)
    rate, fixed = total.slope, events.slope if events.threshold == 0 else 0
    pieces = [Piece(BELOW_ALL, rate, fixed)]
    if total.offset:
        pieces = [Piece(BELOW_ALL, 0, fixed), Piece(total.threshold, rate, fixed + total.offset)]
    if band.floor_max is not None:
        pieces = [Piece(BELOW_ALL, 0, floor), Piece(band.floor_max, rate, fixed)]
    if band.ceiling_min is not None:
        threshold = max(band.ceiling_min - 1, pieces[-1].threshold)
        pieces.append(Piece(threshold, 0, ceiling))
    return pieces


def _blocks(charge: Charge, scale: int) -> Blocks:
    """Return the started blocks of a package charge in lowest terms (S3)."""
    shifted = package_blocks(charge, scale)
    common = gcd(shifted.slope, shifted.offset, shifted.block)
    return Blocks(shifted.slope // common, shifted.offset // common, shifted.block // common)


def _bounded(
    pieces: list[Linear],
    denominator: int,
    lift: int,
    minimum: int,
    maximum: int | None,
    blocks: Blocks | None,
) -> list[Linear]:
    """Cut each piece where it leaves the bounds, and go on with the bound itself (S4).

    The bound's piece keeps the limit and adds ``lift``, so that it is never taken for a tie.
    """
    if maximum is None and not minimum:
        return pieces
    top = None if maximum is None else max(maximum, minimum)
    bounded = []
    ends = [*(piece.threshold for piece in pieces[1:]), INT64_GREATEST]
    for piece, end in zip(pieces, ends, strict=True):
        start, limit = piece.threshold, piece.limit

        def last(bound: int, piece: Linear = piece) -> int:
            room = (bound + 1) * denominator - 1 - piece.offset
            return greatest_quantity(room, piece.slope, blocks)

        low = last(minimum) if minimum else BELOW_ALL
        if low > start:
            bounded.append(Linear(start, limit, 0, minimum * denominator + lift))
            start = low
        high = INT64_GREATEST if top is None else max(last(top), start)
        if start < min(high, end):
            bounded.append(Linear(start, limit, piece.slope, piece.offset))
        if top is not None and high < end:
            bounded.append(Linear(high, limit, 0, top * denominator + lift))
    return bounded


def _entered_pieces(pieces: list[Linear], blocks: Blocks | None) -> tuple[Linear, ...]:
    """Return the pieces that some quantity enters, without one for 0 that the next also prices."""
    entered = [
        piece
        for piece, after in zip(pieces, [*pieces[1:], None], strict=True)
        if piece.threshold < INT64_GREATEST and (after is None or after.threshold > piece.threshold)
    ]
    if len(entered) > 1 and entered[1].threshold == 0:
        none, first = entered[:2]
        starts_at_zero = blocks is None or blocks.offset < blocks.block
        if first.offset == none.offset and starts_at_zero and none.limit >= 0 <= first.limit:
            entered[:2] = [Linear(BELOW_ALL, first.limit, first.slope, first.offset)]
    return tuple(entered)
