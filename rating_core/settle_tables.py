"""Plans to the tables of `kernels.settle`, with the guard up to which 64 bits are proved (S5)."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from fractions import Fraction
from math import lcm

import numpy as np

from rating_core.adjustments.commitment import PricedCommitment, priced_commitments
from rating_core.catalog import Plan
from rating_core.kernels.settle import CommitmentWord, PlanWord, SettleTables
from rating_core.kernels.tables import MODE_CODES
from rating_core.limbs import INT64_GREATEST, INT64_LEAST, Int64Array
from rating_core.units import RoundingStage, fits_int64, round_fraction

_ROOM = 1 << 62
"""What no integer of a settled row reaches."""


def _settles(plan: Plan) -> bool:
    """Return whether the plan's lines are rounded one by one, or there is only one line (S1.4)."""
    if plan.rounding.stage is RoundingStage.LINE:
        return True
    if len(plan.charges) > 1 or plan.commitments:
        return False
    steps = [plan.maximum_amount, plan.minimum_amount]
    for charge in plan.charges:
        steps += [charge.maximum_amount, charge.minimum_amount, charge.discount_percent or None]
    return all(step is None for step in steps)


def _bound(amount: Decimal | None, plan: Plan, absent: int) -> int:
    if amount is None:
        return absent
    return round_fraction(Fraction(amount), plan.rounding.scale, plan.rounding.mode)


def _unit(entries: Sequence[PricedCommitment], scale: int) -> int:
    """Return the least D over which every step of the commitments is an integer (S5.2)."""
    if not entries:
        return 1
    amounts = [part * 10**scale for entry in entries for part in (entry.limit, entry.fee)]
    factors = [part for entry in entries for part in (entry.saved, entry.overage_factor)]
    return lcm(*(part.denominator for part in amounts)) * lcm(
        *(part.denominator for part in factors)
    )


def _guard(plan: Plan, entries: Sequence[PricedCommitment], unit: int, top: int) -> int:
    """Return the greatest sum of charges with which every step stays below `_ROOM`, or −1."""
    if not _settles(plan) or not fits_int64(top):
        return -1
    if not entries:
        return INT64_GREATEST
    fixed = sum((entry.limit + entry.fee for entry in entries), Fraction(0))
    room = _ROOM - 1 - fixed * 10**plan.rounding.scale * unit
    factors = [entry.overage_factor.numerator for entry in entries]
    if room < 0 or max(unit, *factors) >= _ROOM:
        return -1
    steepest = 1 + sum((entry.overage_factor + 1 for entry in entries), Fraction(0))
    return int(room / (2 * steepest * unit))


def _commitment(
    entry: PricedCommitment, unit: int, scale: int, cover_start: int, cover_end: int
) -> list[int]:
    factor = entry.overage_factor
    columns = {
        CommitmentWord.POSITION: entry.position,
        CommitmentWord.COVER_START: cover_start,
        CommitmentWord.COVER_END: cover_end,
        CommitmentWord.LIMIT: int(entry.limit * 10**scale * unit),
        CommitmentWord.FEE: int(entry.fee * 10**scale * unit),
        CommitmentWord.SAVED_NUMERATOR: entry.saved.numerator,
        CommitmentWord.SAVED_DENOMINATOR: entry.saved.denominator,
        CommitmentWord.TRUE_UP: int(entry.commitment.true_up),
        CommitmentWord.OVERAGE_NUMERATOR: factor.numerator,
        CommitmentWord.OVERAGE_DENOMINATOR: factor.denominator,
    }
    return [columns[column] for column in CommitmentWord]


def settle_tables(plans: Sequence[Plan]) -> SettleTables:
    """Return commitments and bounds of ``plans`` for `settle_rows`; a guard of −1 where none."""
    records: list[list[int]] = []
    commitments: list[list[int]] = []
    covers: list[int] = []
    for plan in plans:
        entries = priced_commitments(plan)
        scale = plan.rounding.scale
        unit = _unit(entries, scale)
        minimum = _bound(plan.minimum_amount, plan, INT64_LEAST)
        guard = _guard(plan, entries, unit, minimum)
        start = len(commitments)
        for entry in entries if guard >= 0 else ():
            positions = {charge.id: place for place, charge in enumerate(plan.charges)}
            covered = sorted({positions[charge_id] for charge_id in entry.commitment.covers})
            place = len(covers)
            covers += covered
            commitments.append(_commitment(entry, unit, scale, place, len(covers)))
        maximum = _bound(plan.maximum_amount, plan, INT64_GREATEST)
        # in the order of `PlanWord`
        records.append(
            [
                len(plan.charges),
                guard,
                MODE_CODES[plan.rounding.mode],
                start,
                len(commitments),
                unit if guard >= 0 else 1,
                min(maximum, INT64_GREATEST),
                minimum if guard >= 0 else 0,
            ]
        )
    return SettleTables(
        _records(records, len(PlanWord)),
        _records(commitments, len(CommitmentWord)),
        np.array(covers, dtype=np.int64),
    )


def _records(rows: list[list[int]], width: int) -> Int64Array:
    return np.array(rows, dtype=np.int64).reshape(len(rows), width)


def meter_positions(plans: Sequence[Plan], depth: int) -> Int64Array:
    """Return plans × depth: the position of each charge's meter among its plan's, −1 for none."""
    rows = np.full((len(plans), depth), -1, dtype=np.int64)
    for index, plan in enumerate(plans):
        order = {meter.id: place for place, meter in enumerate(plan.meters)}
        for place, charge in enumerate(plan.charges):
            if charge.meter is not None:
                rows[index, place] = order[charge.meter]
    return rows
