"""Counters of one customer and period part, as pricing takes them (S6).

The counting side produces them from the log, `counters_from_usage` from a case or a request; the
pipeline does not know which.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

_NO_BANDS: Mapping[str, BandCount] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class BandCount:
    """Events of one `percentage` charge with clamps in one series (S3.4).

    ``between_sum`` is in the meter's scale units; the number of events between the bounds is the
    series' events less those at the floor and at the ceiling.
    """

    floor_events: int = 0
    ceiling_events: int = 0
    between_sum: int = 0


@dataclass(frozen=True, slots=True)
class SeriesCounter:
    """The counter of one meter and one combination of dimension values.

    ``value`` is the aggregated quantity in the meter's scale units, ``events`` the number of
    records. ``bands`` is keyed by charge id. ``dimensions`` is sorted (name, value) pairs;
    ``None`` matches every ``where`` (S6.5).
    """

    meter: str
    dimensions: tuple[tuple[str, str], ...] | None
    value: int
    events: int
    bands: Mapping[str, BandCount] = field(default_factory=lambda: _NO_BANDS)
