"""The flat arrays that kernels read and the scratch rows that they write.

Every amount of a plan is an integer over the plan's common denominator, which `compile` chooses so
that no step before rounding has to cut anything (S1.3). All such integers stand in one array of
limbs; plans, charges, pieces and commitments are rows of int64 that name them by row. Few arrays,
because each one costs reference counting at every call between kernels. Ranges exclude their end.
"""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple

import numpy as np

from rating_core.catalog import ChargeModel
from rating_core.limbs import Int64Array
from rating_core.units import RoundingMode

MODEL_CODES = {model: code for code, model in enumerate(ChargeModel)}
"""Number of each charge model in `PlanTables.model`."""
FLAT_FEE = MODEL_CODES[ChargeModel.FLAT_FEE]
PER_UNIT = MODEL_CODES[ChargeModel.PER_UNIT]
GRADUATED = MODEL_CODES[ChargeModel.GRADUATED]
VOLUME = MODEL_CODES[ChargeModel.VOLUME]
STAIRSTEP = MODEL_CODES[ChargeModel.STAIRSTEP]
PACKAGE = MODEL_CODES[ChargeModel.PACKAGE]
PERCENTAGE = MODEL_CODES[ChargeModel.PERCENTAGE]
GRADUATED_PERCENTAGE = MODEL_CODES[ChargeModel.GRADUATED_PERCENTAGE]

HALF_UP = 0
HALF_EVEN = 1
UP = 2
DOWN = 3
FLOOR = 4
"""Towards −∞: how lines are cut at stage `statement` (S1.4); no plan can name it as its mode."""
MODE_CODES = {
    RoundingMode.HALF_UP: HALF_UP,
    RoundingMode.HALF_EVEN: HALF_EVEN,
    RoundingMode.UP: UP,
    RoundingMode.DOWN: DOWN,
}

NO_SLOT = -1
"""Slot of a step that the plan does not have."""


class PlanColumn(IntEnum):
    """Columns of `PlanTables.plans`."""

    CHARGE_START = 0
    CHARGE_END = 1
    COMMITMENT_START = 2
    COMMITMENT_END = 3
    SLOT_COUNT = 4
    MODE = 5
    BY_LINE = 6
    """1 for rounding stage `line`, 0 for `statement` (S1.4)."""
    UNIT = 7
    """Limbs of one rounding unit, 10^-scale; its highest limb has bit 29 set, for `divide`."""
    UNIT_SIZE = 8
    MAXIMUM = 9
    MINIMUM = 10
    MAXIMUM_SLOT = 11
    MINIMUM_SLOT = 12
    """Slots stand side by side in the order of the steps (S4)."""


class ChargeColumn(IntEnum):
    """Columns of `PlanTables.charges`."""

    MODEL = 0
    INPUT = 1
    PIECE_START = 2
    PIECE_END = 3
    MODEL_SLOT = 4
    DISCOUNT_SLOT = 5
    MAXIMUM_SLOT = 6
    MINIMUM_SLOT = 7
    """Slots stand side by side in the order of the steps (S4)."""
    KEPT_NUMERATOR = 8
    KEPT_DENOMINATOR = 9
    """What the discount leaves, 1 − d, as a fraction below the base of limbs."""
    MAXIMUM = 10
    MINIMUM = 11
    BLOCK_SLOPE = 12
    """Of a package charge: blocks = ceil((slope × quantity − offset) ÷ block), all in limbs."""
    BLOCK_OFFSET = 13
    BLOCK = 14
    BLOCK_SIZE = 15
    BLOCK_PRICE = 16


class PieceColumn(IntEnum):
    """Columns of `PlanTables.pieces`: slope × quantity + offset above the threshold."""

    THRESHOLD = 0
    SLOPE = 1
    OFFSET = 2


class CommitmentColumn(IntEnum):
    """Columns of `PlanTables.commitments`, whose rows stand in order of application (S5.4)."""

    SLOT = 0
    COVER_START = 1
    COVER_END = 2
    LIMIT = 3
    """Limbs of the list usage that the commitment can cover (S5.1)."""
    FEE = 4
    SAVED_NUMERATOR = 5
    SAVED_DENOMINATOR = 6
    """d of the commitment as a fraction below the base of limbs."""
    TRUE_UP = 7
    OVERAGE = 8
    """1 where the overage factor applies and is not 1."""
    OVERAGE_NUMERATOR = 9
    """Limbs: overage factor × the two overage denominators."""
    OVERAGE_DENOMINATOR = 10
    OVERAGE_DENOMINATOR_REST = 11


class PlanTables(NamedTuple):
    """Compiled plans as C-contiguous int64 arrays, all 2-D but ``covers``.

    ``covers`` holds positions of covered charges among their plan's charges.
    """

    plans: Int64Array
    charges: Int64Array
    pieces: Int64Array
    commitments: Int64Array
    covers: Int64Array
    limbs: Int64Array


class ScratchRow(IntEnum):
    """Rows of `Scratch.rows`."""

    VALUE = 0
    """The amount after the latest step; kernels of models leave theirs here."""
    BEFORE = 1
    """The amount before that step."""
    RUNNING = 2
    """Σ of the charges and commitments so far."""
    COVERED = 3
    TAKEN = 4
    PRODUCT = 5
    QUOTIENT = 6
    REMAINDER = 7
    DOUBLED = 8


class Scratch(NamedTuple):
    """Rows of limbs that one call writes over and over, so that no row allocates.

    ``uncovered`` has one row a charge: its final amount, less what commitments have covered;
    ``lines`` one row a slot: the exact lines of a statement that is rounded once (S1.4).
    """

    rows: Int64Array
    uncovered: Int64Array
    lines: Int64Array


def new_scratch(width: int, charge_count: int, slot_count: int) -> Scratch:
    """Return scratch rows of ``width`` limbs for plans of at most that many charges and slots."""
    return Scratch(
        np.zeros((len(ScratchRow), width), dtype=np.int64),
        np.zeros((charge_count, width), dtype=np.int64),
        np.zeros((slot_count, width), dtype=np.int64),
    )
