"""Polars: expressions for one plan, a join for many, in memory and streaming.

The join does not keep the order of rows: Polars is faster so, and an ordered join would be slower.
For many plans there is another engine without a join, `polars-gather`: the plans' numbers lie in
flat series, from which each row gathers those of its tier. It is faster where plans are numbered
from 0 without gaps, as here; a table of plans with keys of its own needs the join.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Literal

import numpy as np
import polars as pl

from benchmarks.peers.engine import Engine, Form, Int64Array, Workload
from benchmarks.price_sheet import GRADUATED, MICRO_PER_CENT, PACKAGE, PriceSheet

Column = Callable[[str], pl.Expr]
"""A plan's number by name: a literal for one plan, a joined column for many."""
_CENTS = "cents"
GATHERING = "polars-gather"
Place = Literal["in-memory", "streaming"]
PLACES: tuple[Place, ...] = ("in-memory", "streaming")


def polars_engines(work: Workload) -> list[Engine]:
    """Return Polars in int64 (exact here) and float64; for many plans of tiers, gathering too."""
    engines = [_engine(work, "int64"), _engine(work, "float64")]
    if not work.one_plan and not work.sheet.has(PACKAGE):
        engines.append(_gathering(work))
    return engines


def _gathering(work: Workload) -> Engine:
    """Return Polars in int64 with the plans' bounds, slopes and offsets gathered by position."""
    sheet = work.sheet
    tiers = sheet.prices.shape[1]
    usage = pl.DataFrame(
        {
            "row": np.arange(len(work.quantities)),
            "plan": work.plan_index,
            "quantity": work.quantities,
        }
    )
    bounds = [pl.lit(pl.Series(np.ascontiguousarray(each))) for each in sheet.bounds.T]
    slopes, offsets = (
        pl.lit(pl.Series(np.ascontiguousarray(each.ravel())))
        for each in (sheet.slopes(), sheet.offsets())
    )
    plan, quantity = pl.col("plan"), pl.col("quantity")
    entered = [(quantity > bound.gather(plan)).cast(pl.UInt32) for bound in bounds]
    place = plan.cast(pl.UInt32) * tiers + pl.sum_horizontal(entered)
    source = usage.lazy().with_columns(place=place)
    line = pl.col("place")
    amount = slopes.gather(line) * quantity + offsets.gather(line)
    rated = _rounded(amount, "int64").alias(_CENTS)
    forms = {f"gather slope and offset, {place}": _form(source, rated, place) for place in PLACES}
    return Engine(GATHERING, pl.thread_pool_size(), True, usage.height, forms)


def _engine(work: Workload, dtype: str) -> Engine:
    columns = _plan_columns(work.sheet, dtype)
    plans = pl.DataFrame({"plan": np.arange(work.sheet.count, dtype=np.int32)} | columns)
    usage = pl.DataFrame(
        {
            "row": np.arange(len(work.quantities)),
            "plan": work.plan_index,
            "quantity": work.quantities.astype(dtype),
        }
    )

    def literal(name: str) -> pl.Expr:
        return pl.lit(columns[name][0].item())

    column: Column = literal if work.one_plan else pl.col
    source = usage.lazy()
    if not work.one_plan:
        source = source.join(plans.lazy(), on="plan", how="left", maintain_order="none")
    forms = {}
    for name, amount in _amounts(work.sheet, column):
        rated = _rounded(amount, dtype).alias(_CENTS)
        for place in PLACES:
            forms[f"{name}, {place}"] = _form(source, rated, place)
    return Engine(f"polars-{dtype}", pl.thread_pool_size(), dtype == "int64", usage.height, forms)


def _form(source: pl.LazyFrame, rated: pl.Expr, engine: Place) -> Form:
    def collected(*columns: str | pl.Expr) -> pl.DataFrame:
        return source.select(*columns).collect(engine=engine)

    def cents() -> Int64Array:
        ordered = collected("row", rated).sort("row")
        return ordered[_CENTS].cast(pl.Int64).to_numpy()

    return Form(lambda: collected(rated), cents)


def _plan_columns(sheet: PriceSheet, dtype: str) -> dict[str, np.ndarray]:
    """Return the columns that the models of the sheet need: micro-units, or cents in float64."""
    unit = 1 if dtype == "int64" else MICRO_PER_CENT
    columns: dict[str, np.ndarray] = {}

    def money(name: str, amounts: Int64Array) -> None:
        columns[name] = amounts if unit == 1 else amounts / unit

    if sheet.models.min() != PACKAGE or sheet.models.max() != PACKAGE:
        for tier in range(sheet.bounds.shape[1]):
            columns[f"bound{tier}"] = sheet.bounds[:, tier].astype(dtype)
        for tier in range(sheet.prices.shape[1]):
            money(f"slope{tier}", sheet.slopes()[:, tier])
            money(f"offset{tier}", sheet.offsets()[:, tier])
    if sheet.has(PACKAGE):
        columns["size"] = sheet.sizes.astype(dtype)
        money("block_price", sheet.block_prices())
    return {name: np.ascontiguousarray(values) for name, values in columns.items()}


def _amounts(sheet: PriceSheet, column: Column) -> Iterator[tuple[str, pl.Expr]]:
    quantity, tiers = pl.col("quantity"), sheet.prices.shape[1]
    packages = None
    if sheet.has(PACKAGE):
        size = column("size")
        packages = ((quantity + (size - 1)) // size) * column("block_price")
        if (sheet.models == PACKAGE).all():
            yield "packages", packages
            return

    def chosen(value: Callable[[int], pl.Expr]) -> pl.Expr:
        result = value(tiers - 1)
        for tier in reversed(range(tiers - 1)):
            entered = quantity <= column(f"bound{tier}")
            result = pl.when(entered).then(value(tier)).otherwise(result)
        return result

    def slope(tier: int) -> pl.Expr:
        return column(f"slope{tier}")

    def offset(tier: int) -> pl.Expr:
        return column(f"offset{tier}")

    rest = 0 if packages is None else packages
    yield "choose slope and offset", quantity * chosen(slope) + chosen(offset) + rest
    yield "choose amount", chosen(lambda tier: quantity * slope(tier) + offset(tier)) + rest
    if (sheet.models == GRADUATED).all():
        amount = quantity * slope(0)
        for tier in range(1, tiers):
            above = (quantity - column(f"bound{tier - 1}")).clip(lower_bound=0)
            amount += above * (slope(tier) - slope(tier - 1))
        yield "sum of clipped tiers", amount


def _rounded(amount: pl.Expr, dtype: str) -> pl.Expr:
    if dtype == "int64":
        return (amount + MICRO_PER_CENT // 2) // MICRO_PER_CENT
    return (amount + 0.5).floor()
