"""Discount of a charge: a percentage off the model's amount (S4)."""

from __future__ import annotations

from rating_core.jit import kernel
from rating_core.limbs import Int64Array, scale


@kernel
def discount_amount(value: Int64Array, kept_numerator: int, kept_denominator: int) -> None:
    """Leave 1 − d of ``value`` (≥ 0), exactly: it is a multiple of the denominator."""
    scale(value, kept_numerator, kept_denominator)
