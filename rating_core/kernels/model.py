"""Which kernel prices a charge: the one place that tells charge models apart at run time (S3)."""

from __future__ import annotations

from rating_core.jit import kernel
from rating_core.kernels.flat_fee import flat_fee_amount
from rating_core.kernels.graduated import graduated_amount
from rating_core.kernels.graduated_percentage import graduated_percentage_amount
from rating_core.kernels.package import package_amount
from rating_core.kernels.per_unit import per_unit_amount
from rating_core.kernels.percentage import percentage_amount
from rating_core.kernels.stairstep import stairstep_amount
from rating_core.kernels.tables import (
    FLAT_FEE,
    GRADUATED,
    GRADUATED_PERCENTAGE,
    PACKAGE,
    PER_UNIT,
    PERCENTAGE,
    STAIRSTEP,
    VOLUME,
    ChargeColumn,
    PlanTables,
    Scratch,
)
from rating_core.kernels.volume import volume_amount
from rating_core.limbs import Int64Array


@kernel
def model_amount(tables: PlanTables, charge: int, inputs: Int64Array, scratch: Scratch) -> None:
    """Write the exact amount of the charge's model to scratch row VALUE (S3)."""
    model = tables.charges[charge, ChargeColumn.MODEL]
    if model == FLAT_FEE:
        flat_fee_amount(tables, charge, inputs, scratch)
    elif model == PER_UNIT:
        per_unit_amount(tables, charge, inputs, scratch)
    elif model == GRADUATED:
        graduated_amount(tables, charge, inputs, scratch)
    elif model == VOLUME:
        volume_amount(tables, charge, inputs, scratch)
    elif model == STAIRSTEP:
        stairstep_amount(tables, charge, inputs, scratch)
    elif model == PACKAGE:
        package_amount(tables, charge, inputs, scratch)
    elif model == PERCENTAGE:
        percentage_amount(tables, charge, inputs, scratch)
    elif model == GRADUATED_PERCENTAGE:
        graduated_percentage_amount(tables, charge, inputs, scratch)
