"""Which zones can have a plan's hourly commitments (S5.5, ADR 39)."""

from __future__ import annotations

from rating_core.catalog import Plan
from rating_core.zone import ZoneTable


def hours_differ(plan: Plan, zone: ZoneTable | None, start: int) -> str | None:
    """Return why a zone has no hourly commitments of a plan from ``start`` on, µs; None if it has.

    Where days do not begin with an hour of UTC, usage of half an hour of each period would belong
    to none of its hours, and one hour's fee would stand against half an hour's usage (S5.5).
    """
    hourly = [one.id for one in plan.commitments if one.hourly]
    if zone is None or not hourly or zone.whole_hours_from(start):
        return None
    return (
        f"commitment {hourly[0]} goes by hours of UTC, and {zone.name} has hours that begin "
        "within one: take another time zone"
    )
