"""Minimum amount of a charge or a plan: what the customer pays at least, usage or not (S4)."""

from __future__ import annotations

from rating_core.jit import kernel
from rating_core.limbs import Int64Array, assign, compare


@kernel
def minimum_amount(value: Int64Array, minimum: Int64Array) -> None:
    """Raise ``value`` to ``minimum`` where it is below."""
    if compare(value, minimum) < 0:
        assign(value, minimum)
