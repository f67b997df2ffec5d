"""What judging records needs of customers, in columns: borders of subscriptions and periods (S8).

Most customers have one subscription on one plan in a plain UTC calendar: their row says all. For
others the row names phases, or a calendar whose borders stand in a table; both are searched.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from rating_core.calendar import BillingCalendar
from rating_core.catalog import LateUsage
from rating_core.metering.calls import Bands, Subscription, canonical_json
from rating_core.metering.contracts.parts import NEVER, calendar_of, phase_spans
from rating_core.metering.contracts.subscription import phase_facts
from rating_core.metering.counting.cells import grown
from rating_core.period import PERIOD_CODES
from rating_core.units import INT64_MAX, INT64_MIN

START, END, PERIOD, CLOSED_UNTIL, PROFILE = range(5)
"""Columns of a customer and of a phase; see `CustomerRows`."""
MANY = -1
"""In PERIOD: START and END are the first of the customer's phases, and one past the last."""
TABLES = len(PERIOD_CODES)
"""In PERIOD, from here on: the number of a calendar whose borders stand in a table."""
NOBODY = (INT64_MAX, INT64_MIN, 0, INT64_MIN, 0)
"""Row of a customer without a subscription."""

Columns = NDArray[np.int64]
Row = tuple[int, int, int, int, int]


@dataclass(frozen=True, slots=True, eq=False)
class CustomerRows:
    """What records need of each customer of a batch.

    ``rows`` int64[c, 5]: start and end of the subscription (µs; an empty interval without one),
    code of its calendar, instant up to which its closed periods refuse records (S7.5), index of
    its plan's bands in ``profiles``. ``phases`` int64[k, 5]: the same of each phase of a customer
    that has several, rising. ``borders`` int64[b]: of calendar TABLES + i those from
    ``border_ends[i - 1]`` to ``border_ends[i]``, rising.
    """

    rows: Columns
    phases: Columns
    borders: Columns
    border_ends: Columns
    profiles: Sequence[Bands]


@dataclass(slots=True)
class Profiles:
    """The distinct bands of plans, by number; 0 has none (S3.4)."""

    bands: list[Bands] = field(default_factory=lambda: [{}])
    numbers: dict[bytes, int] = field(default_factory=lambda: {canonical_json({}): 0})

    def number(self, key: bytes, bands: Bands) -> int:
        """Return the number of ``bands``, whose canonical JSON is ``key``."""
        number = self.numbers.setdefault(key, len(self.bands))
        if number == len(self.bands):
            self.bands.append(bands)
        return number

    def copy(self) -> Profiles:
        """Return a copy that staged subscriptions may add to."""
        return Profiles(list(self.bands), dict(self.numbers))


@dataclass(slots=True)
class Calendars:
    """The distinct calendars that stand in tables, by number, and the borders found so far."""

    calendars: list[BillingCalendar] = field(default_factory=list)
    numbers: dict[BillingCalendar, int] = field(default_factory=dict)
    borders: list[Columns] = field(default_factory=list)

    def number(self, calendar: BillingCalendar) -> int:
        """Return the code of a calendar for the PERIOD column."""
        if calendar.code is not None:
            return calendar.code
        number = self.numbers.setdefault(calendar, len(self.calendars))
        if number == len(self.calendars):
            self.calendars.append(calendar)
            self.borders.append(np.zeros(0, np.int64))
        return TABLES + number

    def tables(self, codes: Columns, low: int, high: int) -> tuple[Columns, Columns]:
        """Return borders and their ends so that those of ``codes`` cover [low, high]."""
        used = set(codes[codes >= TABLES].tolist())
        for code in used:
            held = self.borders[code - TABLES]
            if not held.size or held[0] > low or held[-1] <= high:
                first = min(low, int(held[0])) if held.size else low
                last = max(high, int(held[-1])) if held.size else high
                self.borders[code - TABLES] = self.calendars[code - TABLES].starts(first, last)
        tables = [
            table if TABLES + number in used else table[:0]
            for number, table in enumerate(self.borders)
        ]
        ends = np.cumsum([table.size for table in tables], dtype=np.int64)
        return np.concatenate([np.zeros(0, np.int64), *tables]), ends


def rows_of_contract(
    contract: Sequence[Subscription],
    closed: Sequence[int],
    calendars: Calendars,
    profiles: Profiles,
) -> list[Row]:
    """Return the row of each phase of a customer's subscriptions, rising.

    ``closed``: of each subscription, the instant up to which its periods are closed.
    """
    rows = []
    for subscription, until in zip(contract, closed, strict=True):
        if subscription.void:
            continue
        code = calendars.number(calendar_of(subscription))
        for phase, begin, end in phase_spans(subscription):
            refused = until if phase.late_usage is LateUsage.REJECT else INT64_MIN
            number = 0
            if phase.bands:
                number = profiles.number(canonical_json(phase_facts(phase)["bands"]), phase.bands)
            rows.append((begin, INT64_MAX if end == NEVER else end, code, refused, number))
    return rows


def placed(rows: Sequence[Row], phases: Columns, count: int) -> tuple[Row, Columns, int]:
    """Return a customer's row, and the phases and their number with its own among them."""
    if not rows:
        return NOBODY, phases, count
    if len(rows) == 1:
        return rows[0], phases, count
    wider = grown(phases, count + len(rows))
    wider[count : count + len(rows)] = rows
    return (count, count + len(rows), MANY, INT64_MIN, 0), wider, count + len(rows)


def gathered(rows: Columns, phases: Columns) -> Columns:
    """Return the phases that ``rows`` name, which are renumbered in place."""
    many = np.flatnonzero(rows[:, PERIOD] == MANY)
    if not many.size:
        return phases[:0]
    kept: list[Columns] = []
    begin = 0
    for place, first, last in zip(many.tolist(), *rows[many, :2].T.tolist(), strict=True):
        kept.append(phases[first:last])
        rows[place, START : END + 1] = begin, begin + last - first
        begin += last - first
    return np.concatenate(kept)


def clamped_meters(customers: CustomerRows, meters: Sequence[str]) -> NDArray[np.bool_]:
    """Return bool[p, m]: whether a plan clamps the meter; renumbers the profiles in the rows."""
    rows, phases, profiles = customers.rows, customers.phases, customers.profiles
    named = np.concatenate([rows[:, PROFILE], phases[:, PROFILE]])
    if not named.any():
        return np.zeros((1, len(meters)), np.bool_)
    used, numbers = np.unique(named, return_inverse=True)
    rows[:, PROFILE], phases[:, PROFILE] = numbers[: len(rows)], numbers[len(rows) :]
    return np.array(
        [[bool(profiles[profile].get(name)) for name in meters] for profile in used.tolist()],
        np.bool_,
    )
