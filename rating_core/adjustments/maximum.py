"""Maximum amount of a charge or a plan: what the customer pays at most (S4)."""

from __future__ import annotations

from rating_core.jit import kernel
from rating_core.limbs import Int64Array, assign, compare


@kernel
def maximum_amount(value: Int64Array, maximum: Int64Array) -> None:
    """Lower ``value`` to ``maximum`` where it is above."""
    if compare(value, maximum) > 0:
        assign(value, maximum)
