"""Errors and per-row status codes of the core.

RatingError
├── PlanInvalid        a plan document with faults, all of them
├── UsageInvalid       usage that does not fit the plan
├── ScenarioInvalid    a scenario file with faults, all of them (S12.2)
├── OutOfRange         an amount that does not fit int64 at its rounding scale (S1.2)
├── LogCorrupt         an entry that cannot be read, or does not continue its log
├── SnapshotInvalid    a snapshot that is damaged, or not of this machine (P10)
└── IndexFull          no room for another id; none is forgotten to make room (P15)
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum


@dataclass(frozen=True, slots=True, order=True)
class Fault:
    """One fault of a document: where (``charges[2].tiers[0].up_to``), which kind, and in words."""

    path: str
    reason: str
    message: str

    def __str__(self) -> str:
        return f"{self.path}: {self.message}" if self.path else self.message


class RatingError(Exception):
    """Base of every error that rating_core raises on purpose."""

    reason = "RATING_ERROR"


class _Faulty(RatingError):
    def __init__(self, faults: list[Fault] | tuple[Fault, ...]) -> None:
        self.faults = tuple(faults)
        super().__init__("; ".join(str(fault) for fault in self.faults))


class PlanInvalid(_Faulty):
    """A plan document has faults; ``faults`` holds all of them in document order (S2.1)."""

    reason = "PLAN_INVALID"


class UsageInvalid(_Faulty):
    """Usage does not fit the plan: unknown meter, too many decimals, undeclared dimension."""

    reason = "USAGE_INVALID"


class ScenarioInvalid(_Faulty):
    """A scenario file has faults; ``faults`` holds all of them in document order (S12.2)."""

    reason = "SCENARIO_INVALID"


class OutOfRange(RatingError):
    """An amount does not fit int64 at its rounding scale, or a counter int64 (S1.2)."""

    reason = "OUT_OF_RANGE"


class LogCorrupt(RatingError):
    """A log entry cannot be decoded, or its chain token does not follow (P5)."""

    reason = "LOG_CORRUPT"


class SnapshotInvalid(RatingError):
    """A snapshot is damaged, of a newer format, or made under another hash key (P10)."""

    reason = "SNAPSHOT_INVALID"


class IdsDamaged(RatingError):
    """A stored run of ids is not what was written: the ids must be folded from the log again."""

    reason = "IDS_DAMAGED"


class IndexFull(RatingError):
    """The id index holds its configured maximum; new ids are refused, none is forgotten (P15)."""

    reason = "INDEX_FULL"


class RowStatus(IntEnum):
    """Status of one rated row."""

    OK = 0
    OUT_OF_RANGE = 1
