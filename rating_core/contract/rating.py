"""What pricing a contract gives: a statement of each period, and what booking it would book."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from rating_core.contract.usage import Booked
from rating_core.statement import Statement


@dataclass(frozen=True, slots=True)
class RatedPeriod:
    """The statement of one period that is not finalised, or a correction statement (S9.3).

    ``booked``: what finalising it books. ``rebooked``: by period start, what stands booked for
    earlier, finalised periods once its late lines are. ``drawn``: grant id → amount drawn by all
    statements, this one included, in units of 10^-scale.
    """

    start: int
    end: int
    number: int
    statement: Statement
    booked: Booked
    rebooked: Mapping[int, Booked] = field(default_factory=dict)
    drawn: Mapping[str, int] = field(default_factory=dict)
