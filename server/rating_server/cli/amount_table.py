"""Quantities and amounts as Arrow columns, exactly and without a Python loop per row (S1.1, S1.2).

Needs pyarrow, of the extra `[parquet]`.
"""

from __future__ import annotations

from decimal import Decimal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from rating_core.units import decimals, fits_int64, format_decimal, parse_decimal, to_units

_DECIMAL = r"^[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)$"
_DIGITS_MAX = 38
_AMOUNT_DIGITS = 19
"""Digits of the greatest 64-bit integer."""
_PLAIN_SCALE_MAX = 6
"""Arrow writes decimals of more places as 1E-7 when they are small."""
_SPECIAL = '[,"\r\n]'


class ColumnFault(Exception):
    """A column that holds no quantities; ``row`` counts from 0 in its batch, None: all of it."""

    def __init__(self, row: int | None, message: str) -> None:
        self.row = row
        super().__init__(message)


def quantity_units(column: pa.Array, scale: int, *, blank_is_none: bool) -> npt.NDArray[np.int64]:
    """Return a column of integers, decimals or text in units of 10^-scale.

    A blank is a quantity of 0, or a fault if ``blank_is_none``: where no event is not an event of
    0 (S6.5). Raises ColumnFault for the first value with more decimals, beyond 64 bits, or that is
    no decimal number, and for a column of any other type: binary fractions are not exact.
    """
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if pa.types.is_null(column.type) or pa.types.is_string_view(column.type):
        column = column.cast(pa.string())
    text = pa.types.is_string(column.type) or pa.types.is_large_string(column.type)
    number = pa.types.is_integer(column.type) or pa.types.is_decimal(column.type)
    if not text and not number:
        raise ColumnFault(None, f"expected integers, decimals or text, got {column.type}")
    if column.null_count:
        if blank_is_none:
            row = pc.index(pc.is_null(column), value=True).as_py()
            raise ColumnFault(row, "no quantity; this meter is priced by the event")
        column = pc.fill_null(column, "0" if text else pa.scalar(0).cast(column.type))
    if pa.types.is_integer(column.type) and not scale and column.type != pa.uint64():
        return column.cast(pa.int64()).to_numpy()  # type: ignore[no-any-return] # untyped library
    if text and not pc.all(pc.match_substring_regex(column, _DECIMAL), min_count=0).as_py():
        return _one_by_one(column, scale)
    try:
        units = _low_words(column.cast(pa.decimal128(_DIGITS_MAX, scale)))
    except pa.ArrowInvalid:
        units = None
    return _one_by_one(column, scale) if units is None else units


def _low_words(column: pa.Array) -> npt.NDArray[np.int64] | None:
    """Return the unscaled values of a decimal column; None if one does not fit 64 bits."""
    words = np.frombuffer(column.buffers()[1], np.int64).reshape(-1, 2)
    low, high = words[column.offset : column.offset + len(column)].T
    return low if bool((high == low >> 63).all()) else None


def _one_by_one(column: pa.Array, scale: int) -> npt.NDArray[np.int64]:
    """Return what Arrow cannot read, such as many zeros; ColumnFault for the first fault."""
    units = np.empty(len(column), np.int64)
    for row, value in enumerate(column.to_pylist()):
        try:
            quantity = parse_decimal(value) if isinstance(value, str) else Decimal(value)
        except ValueError:
            text = f"expected a decimal number of at most 64 characters, got {value[:40]!r}"
            raise ColumnFault(row, text) from None
        if decimals(quantity) > scale:
            text = f"{format_decimal(quantity)} has more than {scale} decimals"
            raise ColumnFault(row, text)
        amount = to_units(quantity, scale)
        if not fits_int64(amount):
            raise ColumnFault(row, f"{format_decimal(quantity)} does not fit 64 bits")
        units[row] = amount
    return units


def amount_column(
    units: npt.NDArray[np.int64], scale: int, fits: npt.NDArray[np.bool_]
) -> pa.Array:
    """Return amounts as a column of decimals; null where a row does not fit (S1.2)."""
    words = np.stack([units, units >> 63], axis=1)
    validity = None if fits.all() else pa.py_buffer(np.packbits(fits, bitorder="little"))
    buffers = [validity, pa.py_buffer(words)]
    return pa.Array.from_buffers(amount_type(scale), len(units), buffers)


def amount_type(scale: int) -> pa.DataType:
    """Return the type of amounts in units of 10^-scale."""
    return pa.decimal128(_AMOUNT_DIGITS, scale)


def csv_text(columns: list[pa.Array]) -> bytes:
    """Return rows of columns as CSV; null and "" are empty cells, decimals have all their digits.

    Arrow's own writer quotes all text and writes small decimals as 1E-12.
    """
    cells = [_cells(column) for column in columns]
    lines = pc.binary_join_element_wise(
        *cells[:-1],
        pc.binary_join_element_wise(cells[-1], "\n", "", null_handling="replace"),
        ",",
        null_handling="replace",
    )
    return b"".join(lines.cast(pa.large_binary()).to_pylist()) if len(lines) else b""


def _cells(column: pa.Array) -> pa.Array:
    if pa.types.is_decimal(column.type) and column.type.scale > _PLAIN_SCALE_MAX:
        return _decimal_text(column)
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    text = column.cast(pa.string())
    if pa.types.is_decimal(column.type):
        return text
    special = pc.match_substring_regex(text, _SPECIAL)
    if not pc.any(special).as_py():
        return text
    doubled = pc.replace_substring(text, '"', '""')
    return pc.if_else(special, pc.binary_join_element_wise('"', doubled, '"', ""), text)


def _decimal_text(column: pa.Array) -> pa.Array:
    """Return decimals of at most 64 bits as text with exactly their scale's digits."""
    scale = column.type.scale
    units = _low_words(column)
    if units is None:
        return column.cast(pa.string())
    whole, part = np.divmod(np.abs(units).view(np.uint64), np.uint64(10**scale))
    sign = pc.if_else(pa.array(units < 0), "-", "")
    pieces = [sign, pa.array(whole).cast(pa.string())]
    digits = pc.utf8_lpad(pa.array(part).cast(pa.string()), scale, "0")
    text = pc.binary_join_element_wise(*pieces, ".", digits, "")
    return pc.if_else(column.is_valid(), text, pa.scalar(None, pa.string()))
