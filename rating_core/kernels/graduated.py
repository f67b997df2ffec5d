"""Charge model `graduated`: every unit at the price of the tier that it falls in (S3.1, S3.2)."""

from __future__ import annotations

from rating_core.catalog import Charge
from rating_core.jit import kernel
from rating_core.kernels.piece import (
    NUMBER_UNIT,
    Piece,
    number,
    piece_amount,
    tier_spans,
    zero_piece,
)
from rating_core.kernels.tables import PlanTables, Scratch
from rating_core.limbs import Int64Array
from rating_core.units import SCALE_MAX


def graduated_pieces(
    charge: Charge, meter_scale: int, prices: list[int] | None = None
) -> list[Piece]:
    """Return one piece a tier; its offset holds the cumulative amount of the tiers below.

    ``prices`` are amounts per unit in 10^-12, one a tier; default the tiers' unit prices.
    """
    if prices is None:
        prices = [number(tier.unit_price) for tier in charge.tiers]
    unit = 10 ** (SCALE_MAX - meter_scale)
    pieces = [zero_piece(charge)]
    below, lower, price_below = 0, 0, 0
    for span, price in zip(tier_spans(charge, meter_scale), prices, strict=True):
        below += (span.lower - lower) * price_below + span.fee * NUMBER_UNIT
        offset = below - (span.lower + span.included) * price
        pieces.append(Piece(span.threshold, price * unit, offset))
        lower, price_below = span.lower, price
    return pieces


@kernel
def graduated_amount(tables: PlanTables, charge: int, inputs: Int64Array, scratch: Scratch) -> None:
    """Write Σ over entered tiers of units in the tier × price + flat fee."""
    piece_amount(tables, charge, inputs, scratch)
