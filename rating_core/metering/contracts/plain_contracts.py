"""Which customers have a plain contract, in columns, so that many are finalised at once (S9.2).

Plain: one subscription, without end, on one plan version, in a calendar of UTC.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from rating_core.catalog import LateUsage
from rating_core.contract.usage import PlanRef
from rating_core.errors import LogCorrupt
from rating_core.metering.calls import Subscription
from rating_core.metering.contracts.parts import calendar_of
from rating_core.metering.counting.cells import grown

SUBSCRIPTION, KIND, CALENDAR, REFUSES, START = range(5)
"""Columns: number of the subscription or −1, number of its kind, code of its calendar, whether
closed periods refuse records (S7.5), its start in µs."""
_WIDTH = 5


@dataclass(frozen=True, slots=True)
class PlainKind:
    """What plain contracts that are priced together share."""

    plan_ref: PlanRef
    subscription_id: str


@dataclass(slots=True)
class PlainContracts:
    """``columns`` int64[c, 5] by number of the customer; ``kinds`` by number."""

    columns: NDArray[np.int64] = field(default_factory=lambda: np.zeros((16, _WIDTH), np.int64))
    kinds: list[PlainKind] = field(default_factory=list)
    _numbers: dict[PlainKind, int] = field(default_factory=dict)

    def place(self, customer: int, held: Sequence[int], contract: Sequence[Subscription]) -> None:
        """Write the row of a customer with these subscriptions, and their numbers."""
        self.columns = grown(self.columns, customer + 1)
        self.columns[customer] = -1, 0, 0, 0, 0
        if len(contract) != 1 or len(contract[0].phases) != 1 or contract[0].end_time is not None:
            return
        (subscription,) = contract
        (phase,) = subscription.phases
        code = calendar_of(subscription).code
        if code is None:
            return
        kind = PlainKind(phase.plan_ref, subscription.subscription_id)
        number = self._numbers.setdefault(kind, len(self.kinds))
        if number == len(self.kinds):
            self.kinds.append(kind)
        refuses = phase.late_usage is LateUsage.REJECT
        self.columns[customer] = held[0], number, code, refuses, subscription.start_time

    def closing(self, customers: Sequence[int]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the subscriptions of customers, and those customers whose closed periods refuse.

        By number. LogCorrupt unless all of them have plain contracts.
        """
        numbers = np.array(customers, np.int64)
        columns = self.columns[numbers]
        if (columns[:, SUBSCRIPTION] < 0).any():
            raise LogCorrupt("customers finalised in bulk that have no plain contract")
        return columns[:, SUBSCRIPTION], numbers[columns[:, REFUSES] == 1]
