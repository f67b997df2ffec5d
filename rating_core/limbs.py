"""Exact integers of a fixed number of limbs: the number format of the kernels.

A number is a row of int64: little-endian limbs to the base 2^30, all of them in [0, 2^30) but the
last, which carries the sign. Carries are floor divisions by the base, so no operation here can wrap
int64, and no number outgrows its row as long as its magnitude stays below 2^(30 × width − 2), which
`compile` proves for every plan. Rounding itself follows S1.3 and lives in `kernels.rounding`.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from rating_core.jit import kernel

Int64Array = npt.NDArray[np.int64]

LIMB_BITS = 30
BASE = 1 << LIMB_BITS
MASK = BASE - 1
WIDTH_MIN = 4
"""Fewest limbs of a row, so that every int64 fits (S1.2)."""
HEADROOM_BITS = 2
INT64_LEAST = -(2**63)
INT64_GREATEST = 2**63 - 1


def limb_width(bound: int) -> int:
    """Return how many limbs hold every integer of magnitude ≤ ``bound``, headroom included."""
    bits = bound.bit_length() + HEADROOM_BITS
    return max(WIDTH_MIN, -(-bits // LIMB_BITS))


def limb_rows(values: Iterable[int], width: int) -> Int64Array:
    """Return ``values`` as rows of ``width`` limbs; OverflowError if one does not fit int64 at the
    top limb.
    """
    rows = []
    for value in values:
        row = []
        for _ in range(width - 1):
            row.append(value & MASK)
            value >>= LIMB_BITS
        rows.append([*row, value])
    return np.array(rows, dtype=np.int64).reshape(len(rows), width)


def limb_integer(row: Int64Array) -> int:
    """Return the integer that a row of limbs stands for."""
    value = 0
    for limb in reversed(row.tolist()):
        value = (value << LIMB_BITS) + int(limb)
    return value


@kernel
def clear(out: Int64Array) -> None:
    """Set ``out`` to 0."""
    for index in range(len(out)):
        out[index] = 0


@kernel
def assign(out: Int64Array, x: Int64Array) -> None:
    """Set ``out`` to ``x``; rows of the same width."""
    for index in range(len(out)):
        out[index] = x[index]


@kernel
def add(out: Int64Array, x: Int64Array) -> None:
    """Add ``x`` to ``out`` in place, both signed."""
    last = len(out) - 1
    carry = 0
    for index in range(last):
        limb = out[index] + x[index] + carry
        out[index] = limb & MASK
        carry = limb >> LIMB_BITS
    out[last] += x[last] + carry


@kernel
def subtract(out: Int64Array, x: Int64Array) -> None:
    """Subtract ``x`` from ``out`` in place, both signed."""
    last = len(out) - 1
    carry = 0
    for index in range(last):
        limb = out[index] - x[index] + carry
        out[index] = limb & MASK
        carry = limb >> LIMB_BITS
    out[last] += carry - x[last]


@kernel
def negate(out: Int64Array) -> None:
    """Change the sign of ``out`` in place."""
    last = len(out) - 1
    carry = 0
    for index in range(last):
        limb = carry - out[index]
        out[index] = limb & MASK
        carry = limb >> LIMB_BITS
    out[last] = carry - out[last]


@kernel
def increment(out: Int64Array) -> None:
    """Add 1 to ``out`` in place."""
    last = len(out) - 1
    carry = 1
    for index in range(last):
        limb = out[index] + carry
        out[index] = limb & MASK
        carry = limb >> LIMB_BITS
    out[last] += carry


@kernel
def is_zero(x: Int64Array) -> bool:
    """Return whether ``x`` is 0."""
    for index in range(len(x)):  # noqa: SIM110 - Numba compiles no generator expressions
        if x[index] != 0:
            return False
    return True


@kernel
def is_negative(x: Int64Array) -> bool:
    """Return whether ``x`` is below 0."""
    top: int = x[len(x) - 1]
    return top < 0


@kernel
def compare(x: Int64Array, y: Int64Array) -> int:
    """Return −1, 0 or 1 as ``x`` is below, equal to or above ``y``, both signed."""
    for index in range(len(x) - 1, -1, -1):
        if x[index] != y[index]:
            return -1 if x[index] < y[index] else 1
    return 0


@kernel
def multiply(out: Int64Array, x: Int64Array, y: Int64Array) -> None:
    """Set ``out`` to ``x`` × ``y``, both ≥ 0 and in other rows than ``out``."""
    width = len(out)
    clear(out)
    for low in range(width):
        digit = x[low]
        if digit != 0:
            carry = 0
            for high in range(width - low):
                limb = out[low + high] + digit * y[high] + carry
                out[low + high] = limb & MASK
                carry = limb >> LIMB_BITS


@kernel
def multiply_int64(out: Int64Array, x: Int64Array, factor: int) -> None:
    """Set ``out`` to ``x`` × ``factor``, x ≥ 0 in another row than ``out``, any int64 factor."""
    width = len(out)
    # −(factor + 1) instead of −factor: the least int64 has no opposite
    rest = factor if factor >= 0 else -(factor + 1)
    clear(out)
    low = 0
    while rest != 0:
        digit = rest & MASK
        carry = 0
        for high in range(width - low):
            limb = out[low + high] + digit * x[high] + carry
            out[low + high] = limb & MASK
            carry = limb >> LIMB_BITS
        rest >>= LIMB_BITS
        low += 1
    if factor < 0:
        add(out, x)
        negate(out)


@kernel
def scale(out: Int64Array, numerator: int, denominator: int) -> None:
    """Set ``out`` to out ÷ denominator × numerator in place, ``out`` ≥ 0 a multiple of denominator.

    Numerator and denominator are below the base; the result must not outgrow the row.
    """
    rest = 0
    for index in range(len(out) - 1, -1, -1):
        limb = (rest << LIMB_BITS) + out[index]
        out[index] = limb // denominator
        rest = limb % denominator
    carry = 0
    for index in range(len(out)):
        limb = out[index] * numerator + carry
        out[index] = limb & MASK
        carry = limb >> LIMB_BITS


@kernel
def divide(x: Int64Array, divisor: Int64Array, size: int, quotient: Int64Array) -> None:
    """Divide ``x`` ≥ 0 by ``divisor``: the quotient to ``quotient``, the remainder stays in ``x``.

    Schoolbook division (Knuth, algorithm D). ``size`` is the number of limbs of the divisor, whose
    highest must have its bit 29 set: then an estimate from the leading limbs is at most 2 too high.
    """
    clear(quotient)
    top = divisor[size - 1]
    second = divisor[size - 2] if size > 1 else 0
    # the headroom of x keeps its last limb below top: the quotient has no limb beyond this one
    for place in range(len(x) - size - 1, -1, -1):
        leading = (x[place + size] << LIMB_BITS) + x[place + size - 1]
        third = x[place + size - 2] if size > 1 else 0
        estimate = leading // top
        rest = leading - estimate * top
        while rest < BASE and (estimate >= BASE or estimate * second > (rest << LIMB_BITS) + third):
            estimate -= 1
            rest += top
        if estimate == 0:
            continue
        carry = 0
        for index in range(size):
            limb = x[place + index] - estimate * divisor[index] + carry
            x[place + index] = limb & MASK
            carry = limb >> LIMB_BITS
        overdrawn = x[place + size] + carry < 0
        x[place + size] = 0
        if overdrawn:
            estimate -= 1
            carry = 0
            for index in range(size):
                limb = x[place + index] + divisor[index] + carry
                x[place + index] = limb & MASK
                carry = limb >> LIMB_BITS
        quotient[place] = estimate


@kernel
def to_int64(magnitude: Int64Array, negative: bool) -> tuple[int, bool]:
    """Return ``magnitude`` ≥ 0 with its sign as an int64, and whether it fits (else 0) (S1.2)."""
    for index in range(3, len(magnitude)):
        if magnitude[index] != 0:
            return 0, False
    high = magnitude[2]
    low = magnitude[0] + (magnitude[1] << LIMB_BITS)
    if negative:
        if high > 8 or (high == 8 and low > 0):
            return 0, False
        return high * -(1 << 60) - low, True
    if high >= 8:
        return 0, False
    return (high << 60) + low, True


@kernel
def subtract_int64(x: int, y: int) -> tuple[int, bool]:
    """Return ``x`` − ``y``, and whether it fits int64 (else 0) (S1.2)."""
    fits = x >= INT64_LEAST + y if y >= 0 else x <= INT64_GREATEST + y
    if not fits:
        return 0, False
    return x - y, True
