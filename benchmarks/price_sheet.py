"""Seeded price sheets: the same plans as documents for us and as plain columns for the peers.

Prices are whole micro-units of the currency (10^-6) and bounds whole units, so that an int64 engine
can be exact too. Plans round half up to cents, stage `line`.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

import numpy as np
from numpy.typing import NDArray

from benchmarks.workloads import SEED
from rating_core.catalog import Aggregation, BillingPeriod, Charge, ChargeModel, Meter, Plan, Tier

Int64Array = NDArray[np.int64]

GRADUATED, VOLUME, PACKAGE, PER_UNIT, STAIRSTEP = range(5)
MODELS = (
    ChargeModel.GRADUATED,
    ChargeModel.VOLUME,
    ChargeModel.PACKAGE,
    ChargeModel.PER_UNIT,
    ChargeModel.STAIRSTEP,
)
TIERS = 5
QUANTITY_MAX = 10**10
PRICE_MAX = 10_000
FEE_MAX = 10**9
SIZE_MAX = 10_000
MICRO_PER_CENT = 10_000
_METERS = (Meter("units", Aggregation.SUM),)


@dataclass(frozen=True)
class PriceSheet:
    """Plans of one charge each, as columns; a row is a plan.

    ``models`` holds positions in `MODELS`; ``bounds`` int64[plans, tiers − 1] the last unit of all
    tiers but the last; ``prices`` and ``fees`` int64[plans, tiers] in micro-units; ``sizes`` the
    units of a package, whose price is ``prices[:, 0]``. A price per unit stands in all tiers.
    """

    models: NDArray[np.int8]
    bounds: Int64Array
    prices: Int64Array
    fees: Int64Array
    sizes: Int64Array

    @property
    def count(self) -> int:
        """Return the number of plans."""
        return len(self.models)

    def has(self, *models: int) -> bool:
        """Return whether any plan is of one of ``models``."""
        return bool(np.isin(self.models, models).any())

    def slopes(self) -> Int64Array:
        """Return micro-units a unit, int64[plans, tiers], such that a tier costs a line."""
        flat = np.isin(self.models, (PACKAGE, STAIRSTEP))
        return np.where(flat[:, None], 0, self.prices)

    def offsets(self) -> Int64Array:
        """Return the micro-units that the line of each tier starts from, int64[plans, tiers]."""
        offsets = self.fees.copy()
        graduated = self.models == GRADUATED
        for tier in range(1, self.prices.shape[1]):
            saved = (self.prices[:, tier - 1] - self.prices[:, tier]) * self.bounds[:, tier - 1]
            line = offsets[:, tier - 1] + saved + self.fees[:, tier]
            offsets[:, tier] = np.where(graduated, line, offsets[:, tier])
        return offsets

    def block_prices(self) -> Int64Array:
        """Return micro-units a started package, int64[plans]; 0 for all other models."""
        return np.where(self.models == PACKAGE, self.prices[:, 0], 0)

    def plans(self) -> list[Plan]:
        """Return the plans as the catalogue has them."""
        return [self._plan(row) for row in range(self.count)]

    def _plan(self, row: int) -> Plan:
        model = int(self.models[row])
        charge = Charge("units", MODELS[model], meter="units")
        prices = [Decimal(price).scaleb(-6) for price in self.prices[row].tolist()]
        if model == PER_UNIT:
            charge = Charge("units", MODELS[model], meter="units", unit_price=prices[0])
        elif model == PACKAGE:
            size = Decimal(int(self.sizes[row]))
            charge = Charge(
                "units", MODELS[model], meter="units", package_size=size, package_price=prices[0]
            )
        else:
            if model == STAIRSTEP:
                prices = [Decimal(0)] * len(prices)
            bounds = [*map(Decimal, self.bounds[row].tolist()), None]
            fees = [Decimal(fee).scaleb(-6) for fee in self.fees[row].tolist()]
            tiers = tuple(
                Tier(bound, price, flat_fee=fee)
                for bound, price, fee in zip(bounds, prices, fees, strict=True)
            )
            charge = Charge("units", MODELS[model], meter="units", tiers=tiers)
        return Plan(
            id=f"plan-{row}",
            currency="USD",
            billing_period=BillingPeriod.MONTH,
            meters=_METERS,
            charges=(charge,),
        )


def price_sheet(count: int, *models: int, tiers: int = TIERS) -> PriceSheet:
    """Return ``count`` seeded plans of the given models, in turn, of ``tiers`` tiers each."""
    rng = np.random.default_rng(SEED)
    kinds = np.resize(np.array(models, dtype=np.int8), count)
    bounds = np.exp(rng.uniform(0, np.log(QUANTITY_MAX), (count, tiers - 1))).astype(np.int64)
    # sorted, then spread by their position: strictly increasing
    bounds = np.sort(bounds, axis=1) + np.arange(tiers - 1)
    prices = rng.integers(1, PRICE_MAX, (count, tiers))
    prices[kinds == PER_UNIT] = prices[kinds == PER_UNIT, :1]
    fees = rng.integers(1, FEE_MAX, (count, tiers))
    fees[~np.isin(kinds, (VOLUME, STAIRSTEP))] = 0
    return PriceSheet(kinds, bounds, prices, fees, rng.integers(2, SIZE_MAX, count))


def plan_column(count: int, rows: int) -> NDArray[np.int32]:
    """Return a plan for each row in random order, int32[rows]."""
    return np.random.default_rng(SEED + 1).integers(0, count, rows, dtype=np.int32)
