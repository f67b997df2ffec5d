"""Thresholds of a percentage charge: each event stands where its price says."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rating_core.bands import Band, percentage_band
from rating_core.catalog import Charge, ChargeModel
from rating_core.units import INT64_MAX

AMOUNTS = st.decimals(0, 100, places=2)


def charge(
    percent: str, fixed: str = "0", low: str | None = None, high: str | None = None
) -> Charge:
    """Return a percentage charge."""
    return Charge(
        "fee",
        ChargeModel.PERCENTAGE,
        meter="payments",
        percent=Decimal(percent),
        fixed_fee_per_event=Decimal(fixed),
        min_per_event=None if low is None else Decimal(low),
        max_per_event=None if high is None else Decimal(high),
    )


@pytest.mark.parametrize(
    ("priced", "scale", "band"),
    [
        (charge("1"), 0, Band(None, None)),
        (charge("1", low="2"), 0, Band(200, None)),
        (charge("1", high="2"), 0, Band(None, 200)),
        (charge("1", "0.5", "2", "3"), 2, Band(15_000, 25_000)),
        (charge("3", low="1"), 0, Band(33, None)),
        (charge("3", high="1"), 0, Band(None, 34)),
        (charge("1", "5", low="2"), 0, Band(None, None)),
        (charge("1", "5", high="2"), 0, Band(None, 0)),
        (charge("0", "1", low="2"), 0, Band(INT64_MAX, None)),
        (charge("0", "1", high="2"), 0, Band(None, None)),
        (charge("0.000001", low="900000000000000"), 12, Band(INT64_MAX, None)),
        (charge("0.000001", high="900000000000000"), 12, Band(None, None)),
    ],
)
def test_thresholds(priced: Charge, scale: int, band: Band) -> None:
    """Thresholds lie where percent × quantity + fixed meets the floor and the ceiling (S3.4)."""
    assert percentage_band(priced, scale) == band


@settings(derandomize=True, max_examples=300)
@given(
    st.decimals(0, 20, places=3),
    AMOUNTS,
    st.tuples(AMOUNTS, AMOUNTS),
    st.integers(0, 3),
    st.integers(0, 10**7),
)
def test_events_stand_where_their_price_says(
    percent: Decimal, fixed: Decimal, bounds: tuple[Decimal, Decimal], scale: int, quantity: int
) -> None:
    """At or below the floor's threshold the price is at most the floor, and so for the ceiling."""
    low, high = sorted(bounds)
    band = percentage_band(charge(str(percent), str(fixed), str(low), str(high)), scale)
    price = Fraction(quantity, 10**scale) * Fraction(percent) / 100 + Fraction(fixed)
    assert (band.floor_max is not None and quantity <= band.floor_max) == (price <= low)
    assert (band.ceiling_min is not None and quantity >= band.ceiling_min) == (price >= high)
