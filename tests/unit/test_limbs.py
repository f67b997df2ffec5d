"""Limbs against Python's own integers."""

from __future__ import annotations

import random

import numpy as np
import pytest

from rating_core import limbs
from rating_core.units import INT64_MAX, INT64_MIN

WIDTH = 7
EDGES = [0, 1, limbs.MASK, limbs.BASE, limbs.BASE + 1, INT64_MAX, INT64_MAX + 1, 1 << 180]
INT64_EDGES = [0, 1, -1, limbs.BASE, -limbs.BASE, INT64_MAX, INT64_MIN, INT64_MIN + 1]


def _row(value: int, width: int = WIDTH):
    return limbs.limb_rows([value], width)[0]


def _magnitudes(seed: int, bits: int, count: int = 60) -> list[int]:
    draw = random.Random(seed)
    drawn = [draw.getrandbits(draw.randint(1, bits)) for _ in range(count)]
    return drawn + [edge for edge in EDGES if edge.bit_length() <= bits]


def _signed_pairs(seed: int) -> list[tuple[int, int]]:
    draw = random.Random(seed)
    values = _magnitudes(seed, 200)
    return [
        (draw.choice((-1, 1)) * one, draw.choice((-1, 1)) * other)
        for one, other in zip(values, reversed(values), strict=True)
    ]


def test_rows_hold_the_integers_they_are_made_of():
    """Any signed integer comes back from its row, whose limbs stay below the base."""
    for one, other in _signed_pairs(1):
        for value in (one, other, -one):
            row = _row(value)
            assert limbs.limb_integer(row) == value
            assert all(0 <= limb < limbs.BASE for limb in row[:-1])


def test_width_leaves_headroom():
    """A width holds its bound with two bits to spare, and never less than an int64 needs."""
    assert limbs.limb_width(0) == limbs.WIDTH_MIN
    for bits in range(1, 400):
        width = limbs.limb_width((1 << bits) - 1)
        assert bits <= limbs.LIMB_BITS * width - limbs.HEADROOM_BITS
        assert width == limbs.WIDTH_MIN or bits > limbs.LIMB_BITS * (width - 1) - 2


def test_signed_addition_subtraction_negation_comparison():
    """In-place operations on signed rows give what integers give, with normal limbs."""
    for one, other in [*_signed_pairs(2), (5, 5), (-5, -5), (0, -1), (limbs.BASE, -1)]:
        x, y = _row(one), _row(other)
        limbs.add(x, y)
        assert limbs.limb_integer(x) == one + other
        assert all(0 <= limb < limbs.BASE for limb in x[:-1])
        limbs.subtract(x, y)
        limbs.subtract(x, y)
        assert limbs.limb_integer(x) == one - other
        limbs.negate(x)
        assert limbs.limb_integer(x) == other - one
        limbs.increment(x)
        assert limbs.limb_integer(x) == other - one + 1
        assert limbs.compare(_row(one), y) == (one > other) - (one < other)
        assert limbs.is_negative(y) == (other < 0)
        assert limbs.is_zero(y) == (other == 0)


def test_products_of_rows():
    """The product of two rows is exact as long as it fits the width."""
    for one, other in zip(_magnitudes(3, 103), _magnitudes(4, 103), strict=True):
        out = _row(-1)
        limbs.multiply(out, _row(one), _row(other))
        assert limbs.limb_integer(out) == one * other


def test_products_with_int64():
    """A row times any int64, the least included, is exact; the row itself stays as it is."""
    draw = random.Random(5)
    factors = INT64_EDGES + [draw.randint(INT64_MIN, INT64_MAX) for _ in range(40)]
    for value in _magnitudes(6, 140, count=6):
        for factor in factors:
            x, out = _row(value), _row(0)
            limbs.multiply_int64(out, x, factor)
            assert limbs.limb_integer(out) == value * factor
            assert limbs.limb_integer(x) == value


def test_scaling_by_a_small_fraction():
    """A multiple of the denominator is scaled exactly."""
    draw = random.Random(7)
    for value in _magnitudes(8, 130):
        numerator, denominator = draw.randint(0, limbs.MASK), draw.randint(1, limbs.MASK)
        out = _row(value * denominator)
        limbs.scale(out, numerator, denominator)
        assert limbs.limb_integer(out) == value * numerator


def _divisors(seed: int) -> list[tuple[int, int]]:
    """Return divisors with the highest bit of their highest limb set, and their size in limbs."""
    draw = random.Random(seed)
    result = []
    for size in range(1, WIDTH + 1):
        top = 1 << (limbs.LIMB_BITS * size - 1)
        # all-ones and one-zeros divisors make the estimate wrong by two, and the add-back happen
        result += [(top, size), (2 * top - 1, size), (top + 1, size)]
        result += [(top + draw.getrandbits(limbs.LIMB_BITS * size - 1), size) for _ in range(4)]
    return result


def test_division():
    """Quotient and remainder are those of integers, for all sizes of divisor."""
    for divisor, size in _divisors(9):
        near = [divisor * factor + offset for factor in (1, 2, limbs.MASK) for offset in (-1, 0, 1)]
        for value in _magnitudes(10, 207, count=15) + near:
            if value.bit_length() > WIDTH * limbs.LIMB_BITS - limbs.HEADROOM_BITS:
                continue
            x, quotient = _row(value), _row(-1)
            limbs.divide(x, _row(divisor), size, quotient)
            assert (limbs.limb_integer(quotient), limbs.limb_integer(x)) == divmod(value, divisor)


def test_division_estimates_that_are_too_high():
    """Dividends built to overestimate the quotient limb, so that the divisor is added back."""
    size = 3
    draw = random.Random(11)
    for _ in range(300):
        low = draw.choice((0, 1, limbs.MASK, draw.getrandbits(limbs.LIMB_BITS)))
        middle = draw.choice((0, 1, limbs.MASK))
        divisor = (1 << (limbs.LIMB_BITS * size - 1)) + (middle << limbs.LIMB_BITS) + low
        value = divisor * draw.randint(limbs.MASK - 2, limbs.BASE + 2) - draw.randint(0, 3)
        x, quotient = _row(value), _row(0)
        limbs.divide(x, _row(divisor), size, quotient)
        assert (limbs.limb_integer(quotient), limbs.limb_integer(x)) == divmod(value, divisor)


@pytest.mark.parametrize("negative", [False, True])
def test_conversion_to_int64(negative):
    """Magnitudes convert exactly at both ends of int64, and are refused just beyond them."""
    for magnitude in [*_magnitudes(12, 63), 2**63 - 1, 2**63, 2**63 + 1, 2**64, 2**90, 2**150]:
        value = -magnitude if negative else magnitude
        amount, fits = limbs.to_int64(_row(magnitude), negative)
        assert fits == (INT64_MIN <= value <= INT64_MAX)
        assert amount == (value if fits else 0)


def test_checked_difference():
    """A difference of two int64 is exact, or refused where it does not fit."""
    for one in INT64_EDGES:
        for other in INT64_EDGES:
            difference, fits = limbs.subtract_int64(np.int64(one), np.int64(other))
            assert fits == (INT64_MIN <= one - other <= INT64_MAX)
            assert difference == (one - other if fits else 0)
