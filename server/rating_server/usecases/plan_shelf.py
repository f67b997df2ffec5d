"""The plans that this server has at hand, for shards that decide without waiting (S8.6)."""

from __future__ import annotations

from rating_core.catalog import Plan
from rating_core.contract.usage import PlanRef

PLANS_MAX = 10_000


class PlanShelf:
    """Plan versions by reference, at most ``limit``; beyond, the one put first is forgotten."""

    def __init__(self, limit: int = PLANS_MAX) -> None:
        self._limit = limit
        self._plans: dict[PlanRef, Plan] = {}

    def get(self, ref: PlanRef) -> Plan | None:
        """Return a plan, ``None`` if it is not at hand."""
        return self._plans.get(ref)

    def put(self, ref: PlanRef, plan: Plan) -> None:
        """Put a plan on the shelf; versions are immutable, so it stays right."""
        if ref not in self._plans and len(self._plans) >= self._limit:
            self._plans.pop(next(iter(self._plans)))
        self._plans[ref] = plan
