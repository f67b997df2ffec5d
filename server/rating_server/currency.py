"""Currencies by ISO 4217 (S1.3): the one place that looks their minor units up."""

from __future__ import annotations

from functools import cache

from iso4217 import Currency


@cache
def minor_unit(code: str) -> int | None:
    """Return the decimals of the currency's minor unit; None if the code is unknown.

    Codes without a minor unit (gold, the testing code) count as unknown.
    """
    try:
        currency = Currency(code)
    except ValueError:
        return None
    exponent = currency.exponent
    return None if exponent is None else int(exponent)
