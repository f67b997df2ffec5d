"""Differences of a charge's rounded amounts along a counter that grows by quantities (S11.1)."""

from __future__ import annotations

from rating_core.jit import kernel
from rating_core.kernels.fast128 import OUT_OF_RANGE_AMOUNT
from rating_core.limbs import INT64_GREATEST, INT64_LEAST, Int64Array


@kernel
def _fits(counter: int, quantity: int) -> bool:
    """Return whether the counter still fits int64 when the quantity is added (S1.2)."""
    if quantity >= 0:
        return counter <= INT64_GREATEST - quantity
    return counter >= INT64_LEAST - quantity


@kernel
def add_quantities(before: Int64Array, quantities: Int64Array, after: Int64Array) -> None:
    """Write each counter after its quantity; one that would not fit stays as it was."""
    for row in range(len(before)):
        counter, quantity = before[row], quantities[row]
        after[row] = counter + (quantity if _fits(counter, quantity) else 0)


@kernel
def count_in_order(
    customers: Int64Array,
    quantities: Int64Array,
    counters: Int64Array,
    before: Int64Array,
    after: Int64Array,
) -> None:
    """Add each row's quantity to its customer's counter, in order; write it before and after.

    A quantity that the counter cannot take is not counted: nothing wraps (S1.2).
    """
    for row in range(len(customers)):
        customer = customers[row]
        counter, quantity = counters[customer], quantities[row]
        before[row] = counter
        if _fits(counter, quantity):
            counter += quantity
            counters[customer] = counter
        after[row] = counter


@kernel
def amount_differences(
    before: Int64Array, quantities: Int64Array, amounts: Int64Array, deltas: Int64Array
) -> None:
    """Turn ``deltas``, the amounts after, into what they exceed ``amounts`` by, the amounts before.

    `OUT_OF_RANGE_AMOUNT` where the counter or one of the two amounts does not fit.
    """
    for row in range(len(before)):
        known = amounts[row] != OUT_OF_RANGE_AMOUNT and deltas[row] != OUT_OF_RANGE_AMOUNT
        if known and _fits(before[row], quantities[row]):
            # both amounts are ≥ 0, so their difference fits
            deltas[row] -= amounts[row]
        else:
            deltas[row] = OUT_OF_RANGE_AMOUNT
