"""What goes in and comes out as plain values: records, outcomes, usage, statements.

Quantities and amounts are `Decimal` (accepted: Decimal, int, or a decimal string; a float is a
TypeError, S1.1). Instants are aware `datetime`s, in UTC when they come from the server (S1.5).
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Context, Decimal
from enum import IntEnum
from fractions import Fraction
from types import MappingProxyType

DECIMALS_MAX = 12
"""Most decimals of a quantity (S1.2)."""
INT64_MAX = 2**63 - 1

_DECIMAL = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)", re.ASCII)
# Sums of counters may need more than the 28 digits of the default context.
_EXACT = Context(prec=500)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_NO_DIMENSIONS: Mapping[str, str] = MappingProxyType({})


class RecordStatus(IntEnum):
    """What became of a record (S7.3); the numbers are those of the wire."""

    UNSPECIFIED = 0
    ACCEPTED = 1
    """Counted, by this call."""
    DUPLICATE = 2
    """Counted before, with the same payload."""
    CONFLICT = 3
    """The id was used for another payload; this record is not counted."""
    REJECTED = 4
    """Not counted, for the reason given; the id stays free."""
    RETRY = 5
    """Nothing is known of it: send it again with the same id."""


class RejectReason(IntEnum):
    """Why a record was rejected (S7.3); the numbers are those of the wire."""

    UNSPECIFIED = 0
    """Not rejected."""
    MALFORMED = 1
    UNKNOWN_METER = 2
    QUANTITY_PRECISION = 3
    QUANTITY_OUT_OF_RANGE = 4
    DIMENSION_INVALID = 5
    NO_SUBSCRIPTION = 6
    IN_FUTURE = 7
    TOO_OLD = 8
    PERIOD_CLOSED = 9
    TOO_MANY_SERIES = 10
    NOT_FOUND = 11
    """A retraction of an id that is not known (S7.6)."""
    NOT_RETRACTABLE = 12
    """A retraction on a max or latest meter (S7.6)."""


_STATUSES = {int(status): status for status in RecordStatus}
_REASONS = {int(reason): reason for reason in RejectReason}


@dataclass(frozen=True, slots=True)
class RecordOutcome:
    """Status of one record and, if it is REJECTED, the reason (S7.3)."""

    status: RecordStatus
    reason: RejectReason = RejectReason.UNSPECIFIED

    @property
    def counted(self) -> bool:
        """Whether the record is counted, by this call or an earlier one: exactly once (S7.1)."""
        return self.status in (RecordStatus.ACCEPTED, RecordStatus.DUPLICATE)


def outcome(status: int, reason: int) -> RecordOutcome:
    """Return the outcome for wire numbers; one that this client does not know is UNSPECIFIED."""
    return RecordOutcome(
        _STATUSES.get(status, RecordStatus.UNSPECIFIED),
        _REASONS.get(reason, RejectReason.UNSPECIFIED),
    )


def to_decimal(value: Decimal | int | str, what: str = "number") -> Decimal:
    """Return the exact decimal (S1.1).

    Raises TypeError for a float or another type, ValueError for text that is no decimal (digits
    with an optional sign and point) and for NaN and infinity.
    """
    if isinstance(value, str):
        if not _DECIMAL.fullmatch(value):
            raise ValueError(f"{what}: expected a decimal number, got {value!r}")
        return Decimal(value)
    if isinstance(value, bool) or not isinstance(value, Decimal | int):
        raise TypeError(f"{what}: expected Decimal, int or str, got {type(value).__name__}")
    number = Decimal(value)
    if not number.is_finite():
        raise ValueError(f"{what}: expected a finite number, got {value}")
    return number


def to_text(value: Decimal | int | str, what: str = "number") -> str:
    """Return the decimal string of the wire: no exponent (S1.1).

    Raises ValueError for a Decimal whose exponent is beyond any range of S1.2, else as
    `to_decimal`.
    """
    if type(value) is str and _DECIMAL.fullmatch(value):
        return value
    number = to_decimal(value, what)
    exponent = number.as_tuple().exponent
    # Written out, 1E+999999 would be a megabyte of zeros.
    if number and not (int(exponent) >= -64 and number.adjusted() <= 64):
        raise ValueError(f"{what}: out of range: {number}")
    return format(number, "f") if number else "0"


def to_units(value: Decimal | int | str, what: str = "quantity") -> tuple[int, int]:
    """Return ``value`` as (units, scale): units × 10^-scale with the least scale (S1.2).

    Raises ValueError for more than 12 decimals or more than 64 bits, else as `to_text`.
    """
    if type(value) is int:
        units, scale = value, 0
    else:
        whole, _, fraction = to_text(value, what).partition(".")
        fraction = fraction.rstrip("0")
        scale = len(fraction)
        if scale > DECIMALS_MAX:
            raise ValueError(f"{what}: at most {DECIMALS_MAX} decimals, got {value}")
        if len(whole) > 64:
            raise ValueError(f"{what}: does not fit 64 bits: {value}")
        units = int((whole if whole.strip("+-") else whole + "0") + fraction)
    if not -INT64_MAX - 1 <= units <= INT64_MAX:
        raise ValueError(f"{what}: does not fit 64 bits: {value}")
    return units, scale


def to_micros(instant: datetime, what: str = "event_time") -> int:
    """Return microseconds since 1970-01-01T00:00:00Z (S1.5); ValueError if it is not aware.

    Raises TypeError for what is no datetime.
    """
    if not isinstance(instant, datetime):
        raise TypeError(f"{what}: expected an aware datetime, got {type(instant).__name__}")
    if instant.tzinfo is None or instant.utcoffset() is None:
        raise ValueError(f"{what}: expected an aware datetime, got {instant!r} without time zone")
    return (instant - _EPOCH) // _MICROSECOND


def from_micros(micros: int) -> datetime:
    """Return the aware UTC instant of microseconds since 1970-01-01T00:00:00Z.

    ValueError for what no datetime can hold.
    """
    try:
        return _EPOCH + timedelta(microseconds=micros)
    except OverflowError:
        raise ValueError(f"the instant {micros} µs is outside the years 1 to 9999") from None


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageRecord:
    """One usage record. Its identity is (customer, event_id) (S7.1).

    ``event_id`` (1 to 255 bytes of UTF-8) comes from the source of the record, so that sending it
    again is recognised; there is no default. ``quantity`` has at most 12 decimals, default 1.
    ``attributes`` belong to the payload, but to no series; a unique_count meter counts the values
    of one. ``retraction``: this takes back the record that it repeats, payload and all (S7.6).
    """

    event_id: str
    customer: str
    meter: str
    event_time: datetime
    quantity: Decimal | int | str = 1
    dimensions: Mapping[str, str] = field(default_factory=lambda: _NO_DIMENSIONS)
    attributes: Mapping[str, str] = field(default_factory=lambda: _NO_DIMENSIONS)
    retraction: bool = False


@dataclass(frozen=True, slots=True)
class CounterBand:
    """How the events of a series fall between the bounds of one percentage charge (S3.4)."""

    charge: str
    floor_event_count: int
    ceiling_event_count: int
    between_sum: Decimal


@dataclass(frozen=True, slots=True)
class Counter:
    """The counter of one meter and one combination of dimension values (S6.1).

    ``latest_time``: of a latest, when its record happened. ``exact_value``: of a weighted_sum, the
    value before rounding, in units of 10^-``scale`` (S6.4). ``aggregation``, ``scale``: of the
    meter; the aggregation is the lower-case word of plan documents.
    """

    meter: str
    dimensions: Mapping[str, str]
    value: Decimal
    event_count: int
    bands: tuple[CounterBand, ...] = ()
    match_all: bool = False
    latest_time: datetime | None = None
    exact_value: Fraction | None = None
    aggregation: str = "sum"
    scale: int = 0


@dataclass(frozen=True, slots=True)
class UsageBucket:
    """What one series counted in the time bucket ``[start_time, end_time)`` (S6.3)."""

    start_time: datetime
    end_time: datetime
    counter: Counter


@dataclass(frozen=True, slots=True)
class Usage:
    """What is counted for a customer in one billing period ``[period_start, period_end)``."""

    customer: str
    subscription_id: str
    period_start: datetime | None
    period_end: datetime | None
    counters: tuple[Counter, ...]
    log_version: int

    def total(self, meter: str) -> Decimal:
        """Return the one quantity of the meter's counters over all series (S6.2); 0 for none.

        sum, count and weighted_sum add, the last rounded half_up once; max takes the greatest,
        latest the latest. ValueError where counters do not tell it: several series of a
        unique_count (their values may be the same ones), or latest records of one time that differ.
        """
        counters = [item for item in self.counters if item.meter == meter]
        kind = counters[0].aggregation if counters else "sum"
        if len(counters) > 1 and kind == "unique_count":
            text = "values of several series may be the same ones; read `counters`, or preview"
            raise ValueError(f"meter {meter}: no total of a unique_count: {text}")
        counted = [item for item in counters if item.event_count]
        if kind == "max":
            return max((item.value for item in counted), default=Decimal(0))
        if kind == "latest":
            return _latest(meter, counted)
        if kind == "weighted_sum":
            exact = sum((_exact_value(item) for item in counters), Fraction())
            units = (2 * abs(exact.numerator) + exact.denominator) // (2 * exact.denominator)
            return _EXACT.scaleb(Decimal(units if exact >= 0 else -units), -counters[0].scale)
        return functools.reduce(_EXACT.add, (item.value for item in counters), Decimal(0))


def _exact_value(counter: Counter) -> Fraction:
    if counter.exact_value is not None:
        return counter.exact_value
    return Fraction(_EXACT.scaleb(counter.value, counter.scale))


def _latest(meter: str, counters: list[Counter]) -> Decimal:
    times = [item.latest_time for item in counters if item.latest_time is not None]
    if not times:
        return Decimal(0)
    found = {item.value for item in counters if item.latest_time == max(times)}
    if len(found) > 1:
        raise ValueError(f"meter {meter}: several series have a latest record of one time")
    return found.pop()


@dataclass(frozen=True, slots=True)
class StatementSlice:
    """One piece of a line (S4.3); ``None`` where a field does not apply.

    ``kind`` is the lower-case word: included, units, tier, package, events, fee, adjustment,
    committed, overage, true_up, rounding.
    """

    kind: str
    amount: Decimal
    tier: int | None = None
    quantity: Decimal | None = None
    unit_price: Decimal | None = None
    percent: Decimal | None = None
    flat_fee: Decimal | None = None
    label: str = ""
    line_id: str = ""
    period_start: datetime | None = None


@dataclass(frozen=True, slots=True)
class StatementLine:
    """One explained amount; its slices add up to it (S4.3).

    ``kind`` is the lower-case word: model, discount, maximum, minimum, commitment, plan_maximum,
    plan_minimum.
    """

    id: str
    kind: str
    amount: Decimal
    slices: tuple[StatementSlice, ...] = ()
    part: int | None = None
    charge_id: str = ""
    due_time: datetime | None = None


@dataclass(frozen=True, slots=True)
class StatementPart:
    """One part of a statement's period, ``[start_time, end_time)`` on one plan version (S8.2).

    ``overrides``: the customer's own prices, a JSON document. The shares are the part's length ÷
    that of the full period around it. ``counters`` are empty where the period has one part only.
    """

    start_time: datetime | None
    end_time: datetime | None
    plan_id: str
    plan_version: int
    overrides: str
    share_by_second: Fraction
    share_by_day: Fraction
    counters: tuple[Counter, ...] = ()


@dataclass(frozen=True, slots=True)
class Statement:
    """The rated result of a plan and its usage; lines add up to ``total``, always (S1.4)."""

    customer: str
    plan_id: str
    plan_version: int
    subscription_id: str
    currency: str
    scale: int
    period_start: datetime | None
    period_end: datetime | None
    lines: tuple[StatementLine, ...]
    total: Decimal
    counters: tuple[Counter, ...] = ()
    unpriced_meters: tuple[str, ...] = ()
    log_version: int = 0
    name: str = ""
    """Resource name of a finalised statement, empty for a quote or a preview."""
    number: int = -1
    finalize_time: datetime | None = None
    correction: bool = False
    total_before_credits: Decimal = Decimal(0)
    amount_due: Decimal = Decimal(0)
    parts: tuple[StatementPart, ...] = ()
    credit_lines: tuple[StatementLine, ...] = ()

    def amount_by_id(self) -> dict[str, Decimal]:
        """Return the sum of the lines of each id, in line order (S4.2)."""
        sums: dict[str, Decimal] = {}
        for line in (*self.lines, *self.credit_lines):
            sums[line.id] = _EXACT.add(sums.get(line.id, Decimal(0)), line.amount)
        return sums
