"""Charge model `graduated_percentage`: every unit at the percent of the tier it falls in (S3)."""

from __future__ import annotations

from rating_core.catalog import Charge
from rating_core.jit import kernel
from rating_core.kernels.graduated import graduated_pieces
from rating_core.kernels.piece import Piece, percent_price, piece_amount
from rating_core.kernels.tables import PlanTables, Scratch
from rating_core.limbs import Int64Array


def graduated_percentage_pieces(charge: Charge, meter_scale: int) -> list[Piece]:
    """Return the pieces of `graduated` with percent ÷ 100 for a price."""
    prices = [percent_price(tier.percent) for tier in charge.tiers]
    return graduated_pieces(charge, meter_scale, prices)


@kernel
def graduated_percentage_amount(
    tables: PlanTables, charge: int, inputs: Int64Array, scratch: Scratch
) -> None:
    """Write Σ over entered tiers of units in the tier × percent + flat fee."""
    piece_amount(tables, charge, inputs, scratch)
