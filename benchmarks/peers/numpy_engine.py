"""NumPy: array expressions, over whole arrays and over chunks that stay in the cache."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.peers.engine import Engine, Form, Int64Array, Workload
from benchmarks.price_sheet import MICRO_PER_CENT, PACKAGE

CHUNK = 1 << 14
AnyArray = NDArray[Any]
"""int64 or float64, as the engine is."""
Amounts = Callable[[NDArray[np.int32], AnyArray], AnyArray]


def numpy_engines(work: Workload) -> list[Engine]:
    """Return NumPy in int64 (exact here) and in float64."""
    return [_engine(work, np.dtype(np.int64)), _engine(work, np.dtype(np.float64))]


def _engine(work: Workload, dtype: np.dtype[Any]) -> Engine:
    quantities: AnyArray = work.quantities.astype(dtype)
    rounded = _rounded(_amounts(work, dtype), dtype)
    out = np.empty_like(quantities)

    def whole() -> AnyArray:
        return rounded(work.plan_index, quantities)

    def chunked() -> AnyArray:
        for start in range(0, len(quantities), CHUNK):
            part = slice(start, start + CHUNK)
            out[part] = rounded(work.plan_index[part], quantities[part])
        return out

    def form(run: Callable[[], AnyArray]) -> Form:
        def cents() -> Int64Array:
            return run().astype(np.int64)

        return Form(run, cents)

    forms = {"whole": form(whole), "chunked": form(chunked)}
    return Engine(f"numpy-{dtype}", 1, dtype == np.int64, len(quantities), forms)


def _rounded(amounts: Amounts, dtype: np.dtype[Any]) -> Amounts:
    def of_int64(plans: NDArray[np.int32], quantities: AnyArray) -> AnyArray:
        return (amounts(plans, quantities) + MICRO_PER_CENT // 2) // MICRO_PER_CENT

    def of_float64(plans: NDArray[np.int32], quantities: AnyArray) -> AnyArray:
        return np.floor(amounts(plans, quantities) + 0.5)

    return of_int64 if dtype == np.int64 else of_float64


def _amounts(work: Workload, dtype: np.dtype[Any]) -> Amounts:
    """Return micro-units in int64, or cents in float64: the rounding is cheapest so."""
    sheet = work.sheet
    unit = 1 if dtype == np.int64 else MICRO_PER_CENT
    slopes, offsets, block = (
        np.ascontiguousarray(table if dtype == np.int64 else table / unit)
        for table in (sheet.slopes(), sheet.offsets(), sheet.block_prices())
    )
    bounds, sizes = sheet.bounds.astype(dtype), sheet.sizes.astype(dtype)
    tiers = slopes.shape[1]
    flat_slopes, flat_offsets = slopes.ravel(), offsets.ravel()

    def one_plan(_: NDArray[np.int32], quantities: AnyArray) -> AnyArray:
        tier = np.searchsorted(bounds[0], quantities)
        return flat_slopes[tier] * quantities + flat_offsets[tier]

    def many_plans(plans: NDArray[np.int32], quantities: AnyArray) -> AnyArray:
        row = plans.astype(np.int64) * tiers
        for tier in range(tiers - 1):
            row += quantities > bounds[plans, tier]
        amounts: AnyArray = flat_slopes[row] * quantities + flat_offsets[row]
        return amounts

    def packages(plans: NDArray[np.int32], quantities: AnyArray) -> AnyArray:
        size = sizes[0] if work.one_plan else sizes[plans]
        price = block[0] if work.one_plan else block[plans]
        exact = dtype == np.int64
        blocks = (quantities + (size - 1)) // size if exact else np.ceil(quantities / size)
        amounts: AnyArray = blocks * price
        return amounts

    lines = one_plan if work.one_plan else many_plans
    if not sheet.has(PACKAGE):
        return lines
    if sheet.models.min() == sheet.models.max():
        return packages
    return lambda plans, quantities: lines(plans, quantities) + packages(plans, quantities)
