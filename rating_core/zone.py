"""Time zones as tables of offsets, made at the edge and kept in the log (S8.1).

Nothing here reads a time zone database: a table comes in as a value, so that whoever holds the log
decides alike, whatever database its machine has. Instants and offsets are int microseconds.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rating_core.period import DAY_US
from rating_core.units import INT64_MIN

UTC_NAME = "UTC"
_Column = NDArray[np.int64]
_SECOND_US = 1_000_000
_HOUR_US = 3_600 * _SECOND_US
_TRANSITIONS_MAX = 4_096
_OFFSET_MAX = 26 * 3_600 * _SECOND_US


@dataclass(frozen=True, slots=True)
class ZoneTable:
    """A time zone: local time is UTC + ``offsets[i]`` up to ``transitions[i]``, exclusive.

    One offset more than transitions; the last holds for ever. ValueError unless transitions, and
    the local times at which the stretches between them end, strictly increase.
    """

    name: str
    transitions: tuple[int, ...] = ()
    offsets: tuple[int, ...] = (0,)
    digest: str = field(init=False, repr=False)
    """16 hex digits that name the content: another revision of the zone has others."""
    skipped_days: tuple[int, ...] = field(init=False, repr=False, compare=False)
    """Local days that never were, in days since 1970-01-01: the clock jumped over them."""
    _ends: list[int] = field(init=False, repr=False, compare=False)
    _columns: tuple[_Column, _Column, _Column] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not self.name or len(self.offsets) != len(self.transitions) + 1:
            raise ValueError("a zone has a name, and one offset more than transitions")
        if len(self.transitions) > _TRANSITIONS_MAX:
            raise ValueError(f"a zone has at most {_TRANSITIONS_MAX} transitions")
        if any(abs(offset) > _OFFSET_MAX for offset in self.offsets):
            raise ValueError("an offset exceeds 26 hours")
        # The local time at which each stretch but the last ends, by its own offset.
        ends = [t + o for t, o in zip(self.transitions, self.offsets, strict=False)]
        for times in (self.transitions, ends):
            if any(first >= second for first, second in pairwise(times)):
                raise ValueError("transitions must increase, by the clock and by local time")
        begins = np.array([INT64_MIN, *self.transitions], np.int64)
        columns = np.array(ends, np.int64), begins, np.array(self.offsets, np.int64)
        object.__setattr__(self, "_ends", ends)
        object.__setattr__(self, "_columns", columns)
        object.__setattr__(self, "skipped_days", _skipped_days(self.transitions, self.offsets))
        text = repr((self.name, self.transitions, self.offsets))
        object.__setattr__(self, "digest", hashlib.sha256(text.encode()).hexdigest()[:16])

    def __hash__(self) -> int:
        return hash(self.digest)

    def offset_at(self, instant: int) -> int:
        """Return what local time is ahead of UTC at an instant, µs."""
        return self.offsets[bisect_right(self.transitions, instant)]

    def whole_hours_from(self, instant: int) -> bool:
        """Return whether from an instant on, µs, local hours begin where those of UTC do."""
        ahead = self.offsets[bisect_right(self.transitions, instant) :]
        return all(offset % _HOUR_US == 0 for offset in ahead)

    def local(self, instant: int) -> int:
        """Return the local time at an instant, µs since 1970-01-01T00:00 on the local clock."""
        return instant + self.offset_at(instant)

    def instant_of(self, local: int) -> int:
        """Return the instant at which the local clock first shows ``local``, µs (S8.1).

        Where it never does, the first instant after it.
        """
        stretch = bisect_right(self._ends, local)
        instant = local - self.offsets[stretch]
        return instant if stretch == 0 else max(instant, self.transitions[stretch - 1])

    def instants_of(self, local: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return `instant_of` of each local time, int64[n]."""
        ends, begins, offsets = self._columns
        stretch = np.searchsorted(ends, local, side="right")
        instants: NDArray[np.int64] = np.maximum(local - offsets[stretch], begins[stretch])
        return instants

    def to_facts(self) -> dict[str, Any]:
        """Return the table as JSON values, in seconds."""
        return {
            "name": self.name,
            "transitions": [_seconds(instant) for instant in self.transitions],
            "offsets": [_seconds(offset) for offset in self.offsets],
        }

    @staticmethod
    def from_facts(facts: Mapping[str, Any]) -> ZoneTable:
        """Return the table that `to_facts` gave; LookupError, TypeError or ValueError otherwise."""
        return ZoneTable(
            str(facts["name"]),
            tuple(int(second) * _SECOND_US for second in facts["transitions"]),
            tuple(int(second) * _SECOND_US for second in facts["offsets"]),
        )


def compressed(name: str, transitions: Sequence[int], offsets: Sequence[int]) -> ZoneTable:
    """Return a table without the transitions that leave the offset as it was."""
    kept, held = [], [offsets[0]]
    for instant, offset in zip(transitions, offsets[1:], strict=True):
        if offset != held[-1]:
            kept.append(instant)
            held.append(offset)
    return ZoneTable(name, tuple(kept), tuple(held))


def _seconds(micros: int) -> int:
    if micros % _SECOND_US:
        raise ValueError("a zone changes at whole seconds, by whole seconds")
    return micros // _SECOND_US


def _skipped_days(transitions: Sequence[int], offsets: Sequence[int]) -> tuple[int, ...]:
    days: list[int] = []
    for index, instant in enumerate(transitions):
        before, after = instant + offsets[index], instant + offsets[index + 1]
        # A day is skipped if both its midnight and the next one fall into one jump.
        first = -(-before // DAY_US)
        days += range(first, max(first, after // DAY_US))
    return tuple(days)


UTC_ZONE = ZoneTable(UTC_NAME)
"""The zone of a subscription that names none."""
