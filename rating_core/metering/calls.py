"""What a usage shard is asked and what it answers: calls, questions and their values.

A call may leave an entry in the log; a question only reads committed state. All instants are int
microseconds UTC (S1.5), all quantities int in the meter's scale units (S1.2).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from rating_core.catalog import BillingPeriod, LateUsage
from rating_core.contract.usage import PlanRef
from rating_core.counter import SeriesCounter
from rating_core.metering.batch import DimensionSet, RecordBatch
from rating_core.zone import UTC_NAME, ZoneTable

if TYPE_CHECKING:  # it imports, by way of snapshots, this module
    from rating_core.metering.deciding.records_entry import EntryMeter

SECOND_US = 1_000_000
DAY_US = 86_400 * SECOND_US
DEFAULT_WINDOW_US = 7 * DAY_US
"""The acceptance window W before any Configure (S7.5)."""
DEFAULT_GRACE_US = 3 * DAY_US
"""How long after its end a period is finalised at the earliest, before any Configure (S7.5)."""
DEFAULT_MAX_SERIES = 10_000
"""Most series of one customer in one billing period before any Configure."""
DEFAULT_MAX_VALUES = 1_000_000
"""Most values of one customer's unique_count meters in one billing period before any Configure."""

_CANONICAL = json.JSONEncoder(
    sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
)

Bands = Mapping[str, Mapping[str, tuple[int | None, int | None]]]
"""Meter id → charge id → (floor_max, ceiling_min) of a percentage charge with clamps (S3.4)."""


def canonical_json(value: object) -> bytes:
    """Return the one JSON text of ``value``: sorted keys, no blanks, UTF-8."""
    return _CANONICAL.encode(value).encode(errors="surrogatepass")


@dataclass(frozen=True, slots=True, eq=False)
class RecordCall:
    """Count these records; all customers of the batch belong to the shard (S7)."""

    batch: RecordBatch


@dataclass(frozen=True, slots=True, eq=False)
class RecordAnswer:
    """One status (`RecordStatus`) and reason (`RejectReason`) a record, uint8[n], in order."""

    status: NDArray[np.uint8]
    reason: NDArray[np.uint8]


@dataclass(frozen=True, slots=True, kw_only=True)
class Control:
    """A call that changes what decides. The same ``request_id`` is carried out once (P4).

    An empty request id is never remembered.
    """

    request_id: str = ""
    asked: Mapping[str, object] = field(default_factory=dict)
    """What was asked for before defaults were filled in (now, the latest version): the same request
    sent again must have the same fingerprint. Empty: the body itself."""

    def body(self) -> dict[str, object]:
        """Return the call as JSON values, without its request id and what was recounted."""
        return {
            f.name: _json_value(getattr(self, f.name))
            for f in fields(self)
            if f.name not in ("request_id", "recount")
        }

    def fingerprint(self) -> str:
        """Return the SHA-256, in hex, of the kind and the canonical JSON of what was asked."""
        asked = _json_value(self.asked) if self.asked else self.body()
        return hashlib.sha256(canonical_json([type(self).__name__, asked])).hexdigest()


def _json_value(value: object) -> object:
    if isinstance(value, Mapping):
        return {key: _json_value(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_json_value(item) for item in value]
    if isinstance(value, ZoneTable):
        return value.digest
    return value


@dataclass(frozen=True, slots=True, kw_only=True)
class Configure(Control):
    """Set what decides for the whole shard (P11).

    ``window_us``: the acceptance window W, ``None`` for unlimited (S7.5). ``max_series``: most
    series of one customer in one billing period; ``max_values``: most values that its unique_count
    meters ever saw there, each counted once a series. Beyond, records are TOO_MANY_SERIES.
    ``grace_us``: how long after its end a period may be finalised (S7.5).
    """

    window_us: int | None = DEFAULT_WINDOW_US
    max_series: int = DEFAULT_MAX_SERIES
    max_values: int = DEFAULT_MAX_VALUES
    grace_us: int = DEFAULT_GRACE_US


@dataclass(frozen=True, slots=True, eq=False)
class RecountedParts:
    """A customer's records from ``since`` on, counted anew into the parts after a change (S8.6).

    ``version``, ``token``: up to which the log was read (P5); ``last``: the latest event time;
    ``contract``: the subscriptions that the parts are of; ``parts``: as log-format.md says.
    """

    version: int
    token: bytes
    since: int
    last: int
    contract: list[dict[str, Any]]
    parts: list[dict[str, Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateSubscription(Control):
    """Put a customer on a plan version from ``start_time`` on, which may lie in the past (S7.7).

    It may follow others that have ended. Reasons of refusal: ALREADY_EXISTS, SUBSCRIPTION_OVERLAP,
    OUT_OF_RANGE (start before year 1 or after 9999), RECOUNT_NEEDED. ``bands``: thresholds of the
    plan's percentage charges with clamps (S3.4). ``zone``: the table of ``time_zone``, ``None`` for
    UTC; ``anchor_day``: ``None`` if none is given (S8.1). ``overrides``: as `PlanRef`.
    """

    customer: str
    subscription_id: str
    plan_id: str
    plan_version: int
    billing_period: BillingPeriod
    late_usage: LateUsage = LateUsage.REJECT
    start_time: int
    bands: Bands = field(default_factory=dict)
    overrides: str = ""
    time_zone: str = UTC_NAME
    zone: ZoneTable | None = None
    anchor_day: int | None = None
    recount: RecountedParts | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangePlan(Control):
    """Put a subscription on another plan version from ``effective`` on, ``None`` for now (S8.2).

    The instant belongs to the new part; a change at the very instant of an earlier one replaces
    it. Billing period, late usage and bands are those of the new plan. Reasons of refusal:
    SUBSCRIPTION_NOT_FOUND, BILLING_PERIOD_DIFFERS, NOT_SUBSCRIBED (not active then), ID_TAKEN (two
    kinds of lines of one name, S2.2), PLAN_NOT_LOADED, PERIOD_FINALIZED, RECOUNT_NEEDED (S8.6).
    """

    customer: str
    subscription_id: str
    effective: int | None = None
    plan_id: str
    plan_version: int
    overrides: str = ""
    billing_period: BillingPeriod
    late_usage: LateUsage = LateUsage.REJECT
    bands: Bands = field(default_factory=dict)
    recount: RecountedParts | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CancelSubscription(Control):
    """End a subscription at ``end_time``, exclusive, ``None`` for now (S8.2).

    By its start it ends where it starts: it is void, and bills nothing. Reasons of refusal:
    SUBSCRIPTION_NOT_FOUND, ALREADY_CANCELLED (it ends by then), OUT_OF_RANGE, PERIOD_FINALIZED and
    RECOUNT_NEEDED (S8.6).
    """

    customer: str
    subscription_id: str
    end_time: int | None = None
    recount: RecountedParts | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class MigratePlan(Control):
    """Move all standing subscriptions of a plan to a newer version at ``instant`` (S8.6).

    Those that are on an earlier version of it then, without overrides, in this billing period.
    Billing period, late usage and bands are those of the new version. It does not take along those
    whose grants, promotions or earlier plans have the name of one of its lines (S2.2). Reasons of
    refusal: EFFECTIVE_TOO_SOON (records of that instant may have been counted), PLAN_NOT_LOADED.
    """

    plan_id: str
    version: int
    instant: int
    billing_period: BillingPeriod
    late_usage: LateUsage = LateUsage.REJECT
    bands: Bands = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ControlAnswer:
    """Whether the call is carried out, and why not (UPPER_SNAKE), and its result as JSON values.

    ``replayed``: this is the answer of an earlier call of the same request id and body; another
    body is refused as REQUEST_ID_REUSED.
    """

    ok: bool
    reason: str = ""
    value: dict[str, Any] = field(default_factory=dict)
    replayed: bool = False


@dataclass(frozen=True, slots=True)
class Phase:
    """What a subscription is on from ``start_time`` to the next phase: a plan version (S8.2, S8.6).

    ``late_usage`` and ``bands`` are what counting needs of that plan (S7.5, S3.4).
    """

    start_time: int
    plan_ref: PlanRef
    late_usage: LateUsage = LateUsage.REJECT
    bands: Bands = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Subscription:
    """A customer on plans during [start_time, end_time); no end is ``None`` (S7.7).

    ``phases``, one at least, rise; the first begins at ``start_time``. ``anchor_day`` is ``None``
    if none was given (S8.1). ``zone``: the table of ``time_zone``, ``None`` for UTC; a value read
    from an answer lacks it, and has no calendar then.
    """

    customer: str
    subscription_id: str
    billing_period: BillingPeriod
    start_time: int
    end_time: int | None
    create_time: int
    phases: tuple[Phase, ...]
    time_zone: str = UTC_NAME
    anchor_day: int | None = None
    zone: ZoneTable | None = None

    def phase_at(self, instant: int) -> Phase:
        """Return the phase in force at an instant; the first before the start (S8.6)."""
        started = [phase for phase in self.phases if phase.start_time <= instant]
        return started[-1] if started else self.phases[0]

    def holds(self, instant: int) -> bool:
        """Whether the subscription is active at an instant (S7.7)."""
        return self.start_time <= instant and (self.end_time is None or instant < self.end_time)

    @property
    def void(self) -> bool:
        """Whether it was cancelled at its very start, so that it holds no instant (S8.2)."""
        return self.end_time is not None and self.end_time <= self.start_time

    @property
    def plan_id(self) -> str:
        """Id of the plan of the last phase."""
        return self.phases[-1].plan_ref.plan_id

    @property
    def plan_version(self) -> int:
        """Version of the plan of the last phase."""
        return self.phases[-1].plan_ref.version


@dataclass(frozen=True, slots=True)
class GetCounters:
    """Ask for the counters of the customer's part of a period that holds ``instant`` (S8.2)."""

    customer: str
    instant: int


@dataclass(frozen=True, slots=True)
class CountersAnswer:
    """The counters of [part_start, part_end), sorted by meter and dimensions (S8.2).

    It is the part that holds the instant, of the period [period_start, period_end), which has one
    part unless the plan changed in it. ``subscription`` is ``None``, the period empty and 0 where
    no subscription holds the instant.
    ``version`` and ``token`` name the state of the log that was read (S9.5). ``meters``: those of
    the counters by id, as the log has them, so that no catalogue is needed to read the answer.
    """

    subscription: Subscription | None
    period_start: int
    period_end: int
    closed: bool
    counters: tuple[SeriesCounter, ...]
    version: int
    token: bytes
    meters: Mapping[str, EntryMeter] = field(default_factory=dict)
    part_start: int = 0
    part_end: int = 0
    plan_ref: PlanRef | None = None


BucketKey = tuple[int, str, DimensionSet]
"""What buckets are listed by: start (µs), meter, dimensions."""


@dataclass(frozen=True, slots=True)
class GetBuckets:
    """Ask for the time buckets of a customer that reach into [start, end), µs (S6.3).

    ``start`` is ``None`` for the start of the billing period that holds ``end``; ``meter`` is empty
    for all that keep buckets. At most ``limit``, after the one that ``after`` names.
    """

    customer: str
    start: int | None
    end: int
    meter: str = ""
    after: BucketKey | None = None
    limit: int = 1_000


@dataclass(frozen=True, slots=True)
class BucketCounter:
    """What one series counted in the bucket [start, end), µs, cut to its billing period."""

    start: int
    end: int
    counter: SeriesCounter

    @property
    def key(self) -> BucketKey:
        """What buckets are listed by."""
        return self.start, self.counter.meter, self.counter.dimensions or ()


@dataclass(frozen=True, slots=True)
class BucketsAnswer:
    """Buckets in the order of their keys; exact at the log's (version, token) (S9.5).

    ``subscription`` is ``None`` where the customer has none. ``meters``: those of the buckets by
    id, as the log has them.
    """

    subscription: Subscription | None
    buckets: tuple[BucketCounter, ...]
    version: int
    token: bytes
    meters: Mapping[str, EntryMeter] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class GetSubscriptions:
    """Ask for the subscriptions of a customer, or of all (``None``), in order of creation.

    The answer is a tuple of `Subscription`.
    """

    customer: str | None = None


@dataclass(frozen=True, slots=True)
class GetSettings:
    """Ask for the settings in force; the answer is `Settings`."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What decides for the whole shard (P11).

    ``floor``: only event times after it are taken, whatever W is (W was raised at floor + old W);
    ``None`` before W was ever raised. ``configured``: whether a Configure stands in the log.
    """

    window_us: int | None = DEFAULT_WINDOW_US
    max_series: int = DEFAULT_MAX_SERIES
    floor: int | None = None
    configured: bool = False
    max_values: int = DEFAULT_MAX_VALUES
    grace_us: int = DEFAULT_GRACE_US


@dataclass(frozen=True, slots=True)
class StateDigest:
    """Ask for 32 bytes that are equal where two machines of one hash key decide alike."""
