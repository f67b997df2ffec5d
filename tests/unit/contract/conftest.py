"""Small contracts of 1970, made in a few words."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

import pytest

from rating_core.catalog import (
    Aggregation,
    BillingPeriod,
    BucketLength,
    Charge,
    ChargeModel,
    Meter,
    Plan,
)
from rating_core.contract.rate import rate_contract
from rating_core.contract.usage import ContractUsage, PartUsage, PeriodUsage, PlanRef
from rating_core.counter import SeriesCounter

DAY = 24 * 3_600_000_000
MONTHS = [0, 31 * DAY, 59 * DAY, 90 * DAY, 120 * DAY]
"""First instants of January to May 1970."""
USAGE = Charge("usage", ChargeModel.PER_UNIT, meter="calls", unit_price=Decimal(1))


class SmallContracts:
    """Makes plans, usage and contracts of the first months of 1970, and rates them."""

    def plan(self, *charges: Charge, **keys: object) -> Plan:
        """A monthly plan of one unit of money a call, or of other charges."""
        meter = Meter("calls", Aggregation.SUM, buckets=BucketLength.HOUR)
        facts = {"id": "api", "currency": "USD", "billing_period": BillingPeriod.MONTH, **keys}
        return Plan(charges=charges or (USAGE,), meters=(meter,), **facts)

    def calls(self, count: int) -> tuple[SeriesCounter, ...]:
        """Counters of so many calls."""
        return (SeriesCounter("calls", (), count, 1),) if count else ()

    def part(self, start: int, end: int, plan: Plan, count: int = 0, **facts: object) -> PartUsage:
        """A part of a period of 31 days on a plan."""
        share = Fraction(end - start, 31 * DAY)
        ref = PlanRef(plan.id, 1)
        return PartUsage(start, end, plan, ref, self.calls(count), share, share, **facts)

    def month(self, plan: Plan, number: int, count: int = 0, **facts: object) -> PeriodUsage:
        """A month of 1970, January being 0, on one plan."""
        start, end = MONTHS[number], MONTHS[number + 1]
        part = PartUsage(
            start, end, plan, PlanRef(plan.id, 1), self.calls(count), window_start=start
        )
        return PeriodUsage(start, end, number, (part,), **facts)

    def contract(self, *periods: PeriodUsage, **facts: object) -> ContractUsage:
        """A customer's contract that begins with 1970."""
        return ContractUsage("acme", "main", 0, MONTHS[1], periods, **facts)

    def sums(self, *periods: PeriodUsage, **facts: object) -> list[dict[str, Decimal]]:
        """The amounts of each statement by line id."""
        return [
            rated.statement.amount_by_id()
            for rated in rate_contract(self.contract(*periods, **facts))
        ]


@pytest.fixture(scope="session")
def made() -> SmallContracts:
    """A maker of small contracts."""
    return SmallContracts()
