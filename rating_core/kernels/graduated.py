"""Charge model `graduated`: every unit at the price of the tier that it falls in (S3.1, S3.2)."""

from __future__ import annotations

from fractions import Fraction

from rating_core.catalog import Charge
from rating_core.jit import kernel
from rating_core.kernels.piece import NOTHING, Piece, piece_amount, tier_spans, zero_piece
from rating_core.kernels.tables import PlanTables, Scratch
from rating_core.limbs import Int64Array


def graduated_pieces(
    charge: Charge, meter_scale: int, prices: list[Fraction] | None = None
) -> list[Piece]:
    """Return one piece a tier; its offset holds the cumulative amount of the tiers below.

    ``prices`` are amounts per scale unit, one a tier; default the tiers' unit prices.
    """
    if prices is None:
        prices = [Fraction(tier.unit_price) / 10**meter_scale for tier in charge.tiers]
    pieces = [zero_piece(charge)]
    below = NOTHING
    spans = tier_spans(charge, meter_scale)
    for index, (span, price) in enumerate(zip(spans, prices, strict=True)):
        below += Fraction(span.tier.flat_fee)
        offset = below - (span.lower + span.included) * price
        pieces.append(Piece(span.threshold, price, offset))
        if index + 1 < len(spans):
            below += (spans[index + 1].lower - span.lower) * price
    return pieces


@kernel
def graduated_amount(tables: PlanTables, charge: int, inputs: Int64Array, scratch: Scratch) -> None:
    """Write Σ over entered tiers of units in the tier × price + flat fee."""
    piece_amount(tables, charge, inputs, scratch)
