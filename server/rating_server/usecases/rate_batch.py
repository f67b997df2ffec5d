"""Price columns of quantities, each row on one plan of a set (S11.3); nothing is stored."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from rating_core import bulk
from rating_server.usecases.plan_sets import PlanSet


def rate_batch(
    plans: PlanSet, plan_index: npt.NDArray[np.int32] | int, quantities: npt.NDArray[np.int64]
) -> bulk.BatchAmounts:
    """Price rows, each on the plan of the set that ``plan_index`` names, or all on one (S11.3).

    ``quantities`` is rows × meter positions, in units of 10^-scale of the meters. One thread:
    the batches of all streams are priced beside each other.
    """
    return bulk.rate_batch(plans.compiled, plan_index, quantities)
