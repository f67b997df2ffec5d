"""Fixed-point scales, bounds and rounding (S1): the only module that knows them."""

from __future__ import annotations

import re
from decimal import Context, Decimal, Inexact
from enum import StrEnum
from fractions import Fraction

INT64_MAX = 2**63 - 1
INT64_MIN = -(2**63)
SCALE_MAX = 12
"""Most decimals of a quantity, a price, an amount (S1.2)."""
PERCENT_SCALE_MAX = 6
NUMBER_LIMIT = Decimal(10**15)
"""Plan numbers are smaller than this (S1.2)."""

_DECIMAL = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)", re.ASCII)
_EXACT = Context(prec=4096, traps=[Inexact])
"""Arithmetic that raises where it would have to round."""


class RoundingMode(StrEnum):
    """How an exact amount becomes a multiple of 10^-scale; symmetric in sign (S1.3)."""

    HALF_UP = "half_up"
    HALF_EVEN = "half_even"
    UP = "up"
    DOWN = "down"


class RoundingStage(StrEnum):
    """Where amounts are rounded: each line, or once a statement (S1.4)."""

    LINE = "line"
    STATEMENT = "statement"


def parse_decimal(text: str) -> Decimal:
    """Return the exact value of a decimal string: digits, optional sign and point (S1.1).

    Raises ValueError for exponents, underscores, blanks, `NaN` and non-ASCII digits, and for more
    than 64 characters.
    """
    if len(text) > 64 or not _DECIMAL.fullmatch(text):
        raise ValueError("not a decimal number (digits with an optional sign and point)")
    return Decimal(text)


def decimals(value: Decimal) -> int:
    """Return how many decimals ``value`` needs: 0.50 needs 1."""
    _, digits, exponent = value.as_tuple()
    if not isinstance(exponent, int):
        raise TypeError(f"not a finite number: {value}")
    if not any(digits):
        return 0
    trailing = 0
    for digit in reversed(digits):
        if digit:
            break
        trailing += 1
    return max(0, -(exponent + trailing))


def to_units(value: Decimal, scale: int) -> int:
    """Return ``value`` as an integer in units of 10^-scale; ValueError if it has more decimals."""
    if not value.is_finite():
        raise TypeError(f"not a finite number: {value}")
    try:
        return int(_EXACT.to_integral_exact(_EXACT.scaleb(value, scale)))
    except Inexact:
        raise ValueError(f"{value} has more than {scale} decimals") from None


def from_units(units: int, scale: int) -> Decimal:
    """Return the decimal ``units`` × 10^-scale, with exactly ``scale`` decimals."""
    sign = 1 if units < 0 else 0
    return Decimal((sign, tuple(int(digit) for digit in str(abs(units))), -scale))


def format_units(units: int, scale: int) -> str:
    """Return ``units`` × 10^-scale as a decimal string with exactly ``scale`` decimals."""
    return format(from_units(units, scale), "f")


def format_decimal(value: Decimal) -> str:
    """Return the shortest decimal string of ``value``: no exponent, no trailing zeros."""
    text = format(value, "f")
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return "0" if text in ("-0", "") else text


def round_fraction(value: Fraction, scale: int, mode: RoundingMode) -> int:
    """Return ``value`` rounded to an integer in units of 10^-scale by ``mode`` (S1.3)."""
    scaled = abs(value) * 10**scale
    whole, rest = divmod(scaled.numerator, scaled.denominator)
    twice = 2 * rest
    if mode is RoundingMode.UP:
        bump = rest > 0
    elif mode is RoundingMode.DOWN:
        bump = False
    elif twice == scaled.denominator:
        bump = mode is RoundingMode.HALF_UP or whole % 2 == 1
    else:
        bump = twice > scaled.denominator
    rounded: int = whole + bump
    return -rounded if value < 0 else rounded


def fits_int64(value: int) -> bool:
    """Return whether ``value`` fits a signed 64-bit integer."""
    return INT64_MIN <= value <= INT64_MAX
