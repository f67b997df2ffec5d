"""The demo's warning: whether usage of one's own is priced at all."""

from __future__ import annotations

from decimal import Decimal

import pytest

from rating_core.catalog import UsageEntry
from rating_core.plan.document import plan_from_document
from rating_server.cli.demo_check import RawUsage, priced
from rating_server.currency import minor_unit
from rating_server.documents import parse_yaml

PLAN = """
id: own
currency: EUR
billing_period: day
meters: [{id: calls, aggregation: count}, {id: bytes, aggregation: sum, dimensions: [zone]}]
charges: [{id: eu, meter: bytes, where: {zone: [eu]}, model: per_unit, unit_price: "1"}]
"""


@pytest.mark.parametrize(
    ("meter", "dimensions", "expected"),
    [
        ("bytes", (("zone", "eu"),), True),
        ("bytes", (("zone", "us"),), False),
        ("bytes", (), False),
        ("calls", (), False),
    ],
)
def test_usage_that_no_charge_matches(
    meter: str, dimensions: tuple[tuple[str, str], ...], expected: bool
) -> None:
    """A record is priced if a charge names its meter and its dimensions (S3.1)."""
    plan = plan_from_document(parse_yaml(PLAN, "plan"), minor_unit)
    usage: RawUsage = {("acme", 0): {meter: [UsageEntry(Decimal(3), dimensions)]}}
    assert priced(plan, usage) is expected
    assert not priced(plan, {})
