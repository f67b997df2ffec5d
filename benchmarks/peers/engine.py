"""An engine: formulations of the same rating, of which the fastest is measured."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.price_sheet import PriceSheet
from rating_core.catalog import Plan

Int64Array = NDArray[np.int64]


@dataclass(frozen=True)
class Workload:
    """The arrays that all engines rate: ``quantities`` int64[n], ``plan_index`` int32[n].

    ``plans`` are those of ``sheet``, as documents.
    """

    sheet: PriceSheet
    plans: list[Plan]
    quantities: Int64Array
    plan_index: NDArray[np.int32]

    @property
    def one_plan(self) -> bool:
        """Return whether all rows are of one plan, so that no engine needs a join."""
        return self.sheet.count == 1


@dataclass(frozen=True)
class Form:
    """One formulation: ``run`` is timed; ``cents`` returns its result in row order, int64[n]."""

    run: Callable[[], object]
    cents: Callable[[], Int64Array]


@dataclass(frozen=True)
class Engine:
    """A competitor: ``exact`` is what it claims, ``rows`` how many rows a run rates."""

    name: str
    threads: int
    exact: bool
    rows: int
    forms: dict[str, Form]
