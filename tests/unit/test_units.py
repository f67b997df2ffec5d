"""Fixed-point numbers: reading, writing and rounding them is exact."""

from __future__ import annotations

from decimal import ROUND_DOWN, ROUND_HALF_EVEN, ROUND_HALF_UP, ROUND_UP, Decimal
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rating_core.units import (
    INT64_MAX,
    INT64_MIN,
    RoundingMode,
    decimals,
    fits_int64,
    format_decimal,
    format_units,
    from_units,
    parse_decimal,
    round_fraction,
    to_units,
)

DECIMAL_MODES = {
    RoundingMode.HALF_UP: ROUND_HALF_UP,
    RoundingMode.HALF_EVEN: ROUND_HALF_EVEN,
    RoundingMode.UP: ROUND_UP,
    RoundingMode.DOWN: ROUND_DOWN,
}


@pytest.mark.parametrize("text", ["0", "+1.50", "-0.25", ".5", "5.", "007", "0.000000000001"])
def test_decimal_text_is_read_exactly(text: str) -> None:
    """Digits with an optional sign and point are numbers (S1.1)."""
    assert parse_decimal(text) == Decimal(text)


@pytest.mark.parametrize(
    "text",
    ["", ".", "-", "1e3", "NaN", "Infinity", "1_000", " 1", "1 ", "1,5", "٣", "0x1", "9" * 65],
)
def test_other_text_is_no_number(text: str) -> None:
    """Exponents, blanks, separators, other digits and words are refused (S1.1)."""
    with pytest.raises(ValueError, match="not a decimal number"):
        parse_decimal(text)


@pytest.mark.parametrize(
    ("text", "count"), [("0", 0), ("0.000", 0), ("10", 0), ("0.50", 1), ("1.234", 3), ("-0.010", 2)]
)
def test_trailing_zeros_are_no_decimals(text: str, count: int) -> None:
    """The number of decimals is what the value needs, not how it is written (S1.2)."""
    assert decimals(Decimal(text)) == count


def test_decimals_of_nothing_finite() -> None:
    """Only finite numbers have decimals."""
    with pytest.raises(TypeError, match="finite"):
        decimals(Decimal("Infinity"))


def test_too_many_decimals_are_not_cut() -> None:
    """A value that needs more decimals than the scale is refused, never rounded (S1.2)."""
    assert to_units(Decimal("1.50"), 1) == 15
    with pytest.raises(ValueError, match="more than 1 decimals"):
        to_units(Decimal("1.55"), 1)


@settings(derandomize=True, max_examples=200)
@given(st.integers(-(10**30), 10**30), st.integers(0, 12))
def test_units_and_decimals_are_inverse(units: int, scale: int) -> None:
    """Units to a decimal, to text, and back give the same integer, beyond 28 digits too."""
    value = from_units(units, scale)
    assert to_units(value, scale) == units
    assert to_units(parse_decimal(format_units(units, scale)), scale) == units
    assert parse_decimal(format_decimal(value)) == value


def test_shortest_and_full_form() -> None:
    """Amounts show all their decimals, plan numbers only those that they need."""
    assert format_units(5000, 2) == "50.00"
    assert format_units(-5, 2) == "-0.05"
    assert format_decimal(Decimal("50.00")) == "50"
    assert format_decimal(Decimal("-0.0")) == "0"
    assert format_decimal(Decimal("1E+3")) == "1000"


@settings(derandomize=True, max_examples=300)
@given(
    st.integers(-(10**15), 10**15),
    st.integers(0, 12),
    st.integers(0, 12),
    st.sampled_from(list(RoundingMode)),
)
def test_rounding_is_that_of_decimal(units: int, have: int, want: int, mode: RoundingMode) -> None:
    """Each mode rounds as the mode of `decimal` that has its meaning (S1.3)."""
    exact = from_units(units, have)
    expected = exact.quantize(Decimal(1).scaleb(-want), rounding=DECIMAL_MODES[mode])
    assert from_units(round_fraction(Fraction(exact), want, mode), want) == expected


@settings(derandomize=True, max_examples=200)
@given(st.fractions(max_denominator=999), st.sampled_from(list(RoundingMode)))
def test_rounding_is_symmetric(value: Fraction, mode: RoundingMode) -> None:
    """Rounding the negative is the negative of rounding (S1.3)."""
    assert round_fraction(-value, 2, mode) == -round_fraction(value, 2, mode)


def test_bounds_of_64_bits() -> None:
    """The limits of int64 fit, the numbers beside them do not (S1.2)."""
    assert fits_int64(INT64_MAX)
    assert fits_int64(INT64_MIN)
    assert not fits_int64(INT64_MAX + 1)
    assert not fits_int64(INT64_MIN - 1)
