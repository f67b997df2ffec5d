"""One function prices quotes, previews, statements, scenarios and offline ratings (S4.1)."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PRICERS = {"rating_core.pipeline", "rating_core.contract.rate"}
FUNCTIONS = {"rate_statement", "rate_statements", "rate_contract"}
INTERNALS = (
    "rating_core.adjustments",
    "rating_core.explain",
    "rating_core.contract.charge",
    "rating_core.contract.commitments",
    "rating_core.contract.credits",
    "rating_core.contract.late",
    "rating_core.contract.period",
    "rating_core.contract.promotions",
    "rating_core.contract.sheet",
    "rating_core.contract.smoothing",
)
"""Steps of pricing: nothing but pricing itself may put them together."""
PRICING = ("rating_core/contract/", "rating_core/adjustments/", "rating_core/kernels/")
PRICING_MODULES = {"bulk_plans", "compile", "explain", "pipeline", "settle_tables"}
NUMBERS = {"exact_decimal", "grant_units", "is_void"}
"""What others may use of them: how a number reads, what a grant holds."""
ANSWERS = (
    "server/rating_server/usecases/rate_usage.py",
    "server/rating_server/usecases/check_plan.py",
    "server/rating_server/usecases/preview_statement.py",
    "server/rating_server/cli/offline.py",
)
"""Quote, examples and cases, preview, offline rating; scenarios are looked at as a folder."""


def _modules() -> Iterator[tuple[str, ast.Module]]:
    for root in ("rating_core", "server"):
        for path in sorted((ROOT / root).rglob("*.py")):
            yield path.relative_to(ROOT).as_posix(), ast.parse(path.read_text())


def _imports(tree: ast.Module) -> Iterator[tuple[str, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            yield from ((node.module or "", alias.name) for alias in node.names)


def _is_pricing(name: str) -> bool:
    top = name.startswith("rating_core/") and name.count("/") == 1
    return name.startswith(PRICING) or (top and Path(name).stem in PRICING_MODULES)


def test_only_pricing_puts_its_steps_together():
    """No module outside pricing imports a step: it gets whole statements, or rows, or nothing."""
    wrong = [
        f"{name}: {module}.{what}"
        for name, tree in _modules()
        if not _is_pricing(name)
        for module, what in _imports(tree)
        if module.startswith(INTERNALS) and what not in NUMBERS
    ]
    assert wrong == []


def test_statements_are_made_in_one_place():
    """`Statement` is built by the pipeline, by contracts, and by the oracle; nowhere else."""
    makers = {
        name
        for name, tree in _modules()
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == "Statement"
    }
    assert makers <= {
        "rating_core/pipeline.py",
        "rating_core/contract/rate.py",
        "rating_core/reference.py",
    }


def test_every_answer_with_a_price_comes_from_the_pipeline():
    """Quote, example, preview, offline rating and scenario import the one function, from there."""
    priced: dict[str, set[str]] = {}
    for name, tree in _modules():
        for module, what in _imports(tree):
            if what in FUNCTIONS:
                priced.setdefault(name, set()).add(module)
    assert {module for modules in priced.values() for module in modules} <= PRICERS
    assert [answer for answer in ANSWERS if answer not in priced] == []
    assert any(name.startswith("rating_core/scenario/") for name in priced)
