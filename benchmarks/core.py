"""Exact rating: rows through the kernels beside a Python `Decimal` loop."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import ROUND_HALF_UP, Decimal

import numpy as np

from benchmarks.measure import Row, interleaved
from benchmarks.workloads import graduated_plan, log_uniform
from rating_core.catalog import Plan
from rating_core.compile import compile_plans
from rating_core.pipeline import rate_rows

ROWS = 200_000
DECIMAL_ROWS = 10_000
CENT = Decimal("0.01")


def _decimal_loop(plan: Plan, quantities: list[int]) -> list[Decimal]:
    totals = []
    for quantity in quantities:
        amount, lower = Decimal(0), Decimal(0)
        for tier in plan.charges[0].tiers:
            upper = Decimal(quantity) if tier.up_to is None else min(Decimal(quantity), tier.up_to)
            if upper <= lower:
                break
            amount += (upper - lower) * tier.unit_price
            lower = upper
        totals.append(amount.quantize(CENT, ROUND_HALF_UP))
    return totals


def run() -> Iterator[Row]:
    """Yield one row an engine for the case `1-plan`; results are checked to be equal first."""
    plan = graduated_plan()
    compiled = compile_plans([plan])
    quantities = log_uniform(ROWS)
    inputs = np.zeros((ROWS, compiled.input_count), np.int64)
    inputs[:, 0] = quantities
    plans = np.zeros(ROWS, np.int64)
    few = quantities[:DECIMAL_ROWS].tolist()
    ours = rate_rows(compiled, plans, inputs).totals[:DECIMAL_ROWS].tolist()
    exact = [int(total.scaleb(2)) for total in _decimal_loop(plan, few)] == ours
    taken = interleaved(
        {
            "ratewright": lambda: rate_rows(compiled, plans, inputs),
            "python-decimal": lambda: _decimal_loop(plan, few),
        }
    )
    rates = {
        "ratewright": ROWS / taken["ratewright"],
        "python-decimal": DECIMAL_ROWS / taken["python-decimal"],
    }
    for engine, rate in rates.items():
        yield {
            "subject": "core",
            "case": "1-plan",
            "engine": engine,
            "rows_per_s": round(rate),
            "ratio_to_ours": rates["ratewright"] / rate,
            "exact": exact,
            "threads": 1,
        }
