"""DuckDB: DECIMAL(18,6) prices and amounts, a join for many plans, a table as result.

Quantities are DECIMAL(18,0): DuckDB refuses the product of two DECIMAL(18,6) of these sizes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import duckdb
import numpy as np

from benchmarks.peers.engine import Engine, Form, Int64Array, Workload
from benchmarks.price_sheet import GRADUATED, PACKAGE, PriceSheet

Column = Callable[[str], str]
_MONEY = "DECIMAL(18,6)"


def duckdb_engines(work: Workload, threads: int) -> list[Engine]:
    """Return DuckDB in DECIMAL, which claims exactness."""
    settings: dict[str, str | bool | int | float | list[str]] = {
        "threads": threads,
        "preserve_insertion_order": False,
    }
    connection = duckdb.connect(":memory:", config=settings)
    usage = {
        "row": np.arange(len(work.quantities)),
        "plan": work.plan_index,
        "quantity": work.quantities,
    }
    connection.register("usage_columns", usage)
    connection.execute(
        "CREATE TABLE usage AS SELECT row, plan, quantity::DECIMAL(18,0) AS quantity"
        " FROM usage_columns"
    )
    columns = _plan_columns(work.sheet)
    plans = {"plan": np.arange(work.sheet.count, dtype=np.int32)} | columns
    connection.register("plan_columns", plans)
    typed = ", ".join(
        f"({name} * 0.000001)::{_MONEY} AS {name}"
        if name.startswith(("slope", "offset", "block"))
        else f"{name}::DECIMAL(18,0) AS {name}"
        for name in columns
    )
    connection.execute(f"CREATE TABLE plans AS SELECT plan, {typed} FROM plan_columns")
    source = "usage" if work.one_plan else "usage JOIN plans USING (plan)"

    def literal(name: str) -> str:
        row = connection.execute(f"SELECT {name} FROM plans").fetchone()
        if row is None:
            raise SystemExit("duckdb lost the plan")
        kind = _MONEY if name.startswith(("slope", "offset", "block")) else "DECIMAL(18,0)"
        return f"{row[0]}::{kind}"

    column: Column = literal if work.one_plan else str
    forms = {
        name: _form(connection, source, f"round({amount}, 2)", len(work.quantities))
        for name, amount in _amounts(work.sheet, column)
    }
    return [Engine("duckdb-decimal", threads, True, len(work.quantities), forms)]


def _form(connection: duckdb.DuckDBPyConnection, source: str, rated: str, rows: int) -> Form:
    timed = (
        f"CREATE OR REPLACE TEMP TABLE rated AS SELECT {rated}::DECIMAL(18,2) AS a FROM {source}"
    )
    checked = f"SELECT row, ({rated} * 100)::BIGINT AS cents FROM {source}"

    def cents() -> Int64Array:
        columns = connection.execute(checked).fetchnumpy()
        ordered = np.empty(rows, np.int64)
        ordered[columns["row"]] = columns["cents"]
        return ordered

    return Form(lambda: connection.execute(timed), cents)


def _plan_columns(sheet: PriceSheet) -> dict[str, Int64Array]:
    columns: dict[str, Int64Array] = {}
    if not (sheet.models == PACKAGE).all():
        for tier in range(sheet.bounds.shape[1]):
            columns[f"bound{tier}"] = sheet.bounds[:, tier]
        for tier in range(sheet.prices.shape[1]):
            columns[f"slope{tier}"] = sheet.slopes()[:, tier]
            columns[f"offset{tier}"] = sheet.offsets()[:, tier]
    if sheet.has(PACKAGE):
        columns["size"] = sheet.sizes
        columns["block_price"] = sheet.block_prices()
    return {name: np.ascontiguousarray(values) for name, values in columns.items()}


def _amounts(sheet: PriceSheet, column: Column) -> Iterator[tuple[str, str]]:
    tiers = sheet.prices.shape[1]
    packages = ""
    if sheet.has(PACKAGE):
        # whole numbers, since DECIMAL / DECIMAL would be a DOUBLE
        blocks = f"((quantity::BIGINT + {column('size')}::BIGINT - 1) // {column('size')}::BIGINT)"
        packages = f"{blocks}::DECIMAL(18,0) * {column('block_price')}"
        if (sheet.models == PACKAGE).all():
            yield "packages", packages
            return
        packages = f" + {packages}"

    def chosen(name: str) -> str:
        cases = [
            f"WHEN quantity <= {column(f'bound{tier}')} THEN {column(f'{name}{tier}')}"
            for tier in range(tiers - 1)
        ]
        return f"CASE {' '.join(cases)} ELSE {column(f'{name}{tiers - 1}')} END"

    line = f"quantity * ({chosen('slope')}) + ({chosen('offset')})"
    yield "choose slope and offset", line + packages
    if (sheet.models == GRADUATED).all():
        parts = [f"quantity * {column('slope0')}"]
        for tier in range(1, tiers):
            above = f"greatest(quantity - {column(f'bound{tier - 1}')}, 0)::DECIMAL(18,0)"
            step = f"({column(f'slope{tier}')} - {column(f'slope{tier - 1}')})::{_MONEY}"
            parts.append(f"{above} * {step}")
        yield "sum of clipped tiers", " + ".join(parts)
