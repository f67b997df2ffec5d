"""What the catalogue is asked and what it answers: calls, questions and their values.

Documents are trees of dict, list and str, already validated at the edge (S2). All instants are int
microseconds UTC (S1.5).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from rating_core.catalog import Meter
from rating_core.metering.calls import SECOND_US, Control

Document = dict[str, Any]

MOVE_AHEAD_US = 120 * SECOND_US
"""How far ahead standing subscriptions move to a new version at the earliest (S8.6)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateMeter(Control):
    """Create a meter from its document (S2).

    The answer's value is `{"meter", "create_time"}`. Reasons of refusal: ALREADY_EXISTS,
    METER_MISMATCH (one of that id exists and counts otherwise), PLAN_INVALID.
    """

    document: Document


@dataclass(frozen=True, slots=True, kw_only=True)
class CreatePlan(Control):
    """Create the next version of a plan: the last + 1, the first is 1; versions are immutable.

    ``effective_time``: of new subscriptions those take it that start at or after it, ``None`` for
    all; ``existing_effective_time``: standing ones move to it then, ``None`` for never (S8.6).
    Meters that stand in the document whole and do not exist are created in the same entry. The
    answer's value is `{"plan", "version", "create_time", "effective_time",
    "existing_effective_time", "created_meters"}`. Reasons of refusal: UNKNOWN_METER,
    METER_MISMATCH, PLAN_INVALID, EFFECTIVE_TOO_SOON (less than `MOVE_AHEAD_US` ahead, or before the
    move to an earlier version; the value's `earliest` is possible), and CURRENCY_DIFFERS,
    BILLING_PERIOD_DIFFERS, ROUNDING_DIFFERS (from an earlier version, whose standing subscriptions
    could not move).
    """

    document: Document
    effective_time: int | None = None
    existing_effective_time: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FinishMove(Control):
    """Note that the log of every shard holds the move to a version (S8.6); again is no change.

    Reasons of refusal: PLAN_NOT_FOUND (no such version, or none that standing ones move to).
    """

    plan_id: str
    version: int


@dataclass(frozen=True, slots=True)
class GetMeter:
    """Ask for a meter: `StoredMeter`, or ``None``."""

    meter_id: str


@dataclass(frozen=True, slots=True)
class ListMeters:
    """Ask for all meters: a tuple of `StoredMeter`, sorted by id."""


@dataclass(frozen=True, slots=True)
class GetPlan:
    """Ask for a plan version: `StoredPlan`, or ``None``.

    Version 0 is the latest; with ``start``, µs, the one that a subscription takes which starts
    then: the latest that is effective by then, before all of them the first (S8.6).
    """

    plan_id: str
    version: int = 0
    start: int | None = None


@dataclass(frozen=True, slots=True)
class ListPlans:
    """Ask for all versions of a plan, or of all plans: a tuple of `StoredPlan`, sorted."""

    plan_id: str | None = None


@dataclass(frozen=True, slots=True)
class ListMoves:
    """Ask for the versions that standing ones move to and no FinishMove names yet, in order."""


@dataclass(frozen=True, slots=True)
class StoredMeter:
    """A meter and when it was created (µs)."""

    meter: Meter
    create_time: int


@dataclass(frozen=True, slots=True)
class StoredPlan:
    """A plan version: its document with the meters it names, and when it was created (µs).

    Its effective times are those of `CreatePlan`.
    """

    plan_id: str
    version: int
    document: Document
    create_time: int
    effective_time: int | None = None
    existing_effective_time: int | None = None

    @property
    def moves(self) -> bool:
        """Whether standing subscriptions move to it (S8.6)."""
        return self.existing_effective_time is not None


class Versioned(Protocol):
    """A plan version with the instant from which new subscriptions take it, ``None`` for always."""

    @property
    def effective_time(self) -> int | None:
        """Instant in µs."""


Version = TypeVar("Version", bound=Versioned)


def version_for(versions: Sequence[Version], start: int) -> Version | None:
    """Return the version that a subscription takes which starts at ``start``, µs (S8.6).

    ``versions`` are those of one plan, rising; ``None`` if there are none.
    """
    effective = [
        each for each in versions if each.effective_time is None or each.effective_time <= start
    ]
    return effective[-1] if effective else next(iter(versions), None)
