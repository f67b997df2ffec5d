"""Statements and counters to their messages."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction

from ratewright.v1 import statement_pb2
from rating_core.catalog import Meter
from rating_core.counter import SeriesCounter
from rating_core.metering.deciding.records_entry import EntryMeter
from rating_core.statement import Line, Slice, Statement, StatementPart
from rating_core.units import format_decimal, format_units
from rating_server.servicers.convert_time import to_proto_timestamp

Meters = Mapping[str, Meter] | Mapping[str, EntryMeter]
"""Meters by id: of a plan, or as the log has them. A counter's meter need not be in this server's
copy of the catalogue, which may lack the newest."""


@dataclass(frozen=True, slots=True)
class Place:
    """Whose statement it is, of which period (µs), at which version of the log.

    ``number`` and ``time`` (µs) of a finalised one, otherwise ``None``.
    """

    customer: str
    subscription_id: str
    start: int
    end: int
    version: int
    number: int | None = None
    time: int | None = None


def to_proto_statement(
    statement: Statement, counters: Iterable[SeriesCounter], meters: Meters
) -> statement_pb2.Statement:
    """Return the message of a statement with the counters it was priced from (S9.5)."""
    return statement_pb2.Statement(
        plan_id=statement.plan_id,
        currency=statement.currency,
        scale=statement.scale,
        lines=[_line(line, statement.scale) for line in statement.lines],
        total=format_units(statement.total, statement.scale),
        counters=[to_proto_counter(counter, meters) for counter in counters],
        unpriced_meters=statement.unpriced_meters,
        number=-1,
        total_before_credits=format_units(statement.total_before_credits, statement.scale),
        amount_due=format_units(statement.amount_due, statement.scale),
        credit_lines=[_line(line, statement.scale) for line in statement.credit_lines],
    )


def to_proto_contract_statement(
    statement: Statement, meters: Meters, place: Place
) -> statement_pb2.Statement:
    """Return the message of a contract's statement with all that it was priced from (S9.5).

    The counters of a single part are those of the statement; several parts have their own.
    """
    period = statement.period
    parts = () if period is None else period.parts
    single = parts[0].counters if len(parts) == 1 else ()
    message = to_proto_statement(statement, single, meters)
    message.customer, message.subscription_id = place.customer, place.subscription_id
    message.period_start.CopyFrom(to_proto_timestamp(place.start))
    message.period_end.CopyFrom(to_proto_timestamp(place.end))
    message.log_version = place.version
    message.correction = period is not None and period.correction
    message.plan_version = parts[-1].plan_version if parts else 0
    message.number = -1 if period is None else period.number
    if place.number is not None and place.time is not None:
        message.name = statement_name(place.customer, place.subscription_id, place.number)
        message.number = place.number
        message.finalize_time.CopyFrom(to_proto_timestamp(place.time))
    for part in parts:
        message.parts.append(_part(part, meters, whole=len(parts) == 1))
    return message


def statement_name(customer: str, subscription_id: str, number: int) -> str:
    """Return the resource name of a finalised statement."""
    return f"customers/{customer}/subscriptions/{subscription_id}/statements/{number}"


def _part(part: StatementPart, meters: Meters, *, whole: bool) -> statement_pb2.StatementPart:
    return statement_pb2.StatementPart(
        start_time=to_proto_timestamp(part.start),
        end_time=to_proto_timestamp(part.end),
        plan_id=part.plan_id,
        plan_version=part.plan_version,
        overrides=part.overrides,
        counters=[] if whole else [to_proto_counter(counter, meters) for counter in part.counters],
        share_by_second=_ratio(part.share_by_second),
        share_by_day=_ratio(part.share_by_day),
    )


def _ratio(value: Fraction) -> str:
    return f"{value.numerator}/{value.denominator}"


def to_proto_counter(counter: SeriesCounter, meters: Meters) -> statement_pb2.Counter:
    """Return the message of one series' counter; ``meters`` must hold its meter."""
    meter = meters[counter.meter]
    scale = meter.scale
    # In a quote the place in the list stands for the time; it has no order key.
    latest = counter.latest[0] if counter.latest and counter.latest[1] else None
    exact = counter.exact
    return statement_pb2.Counter(
        meter=counter.meter,
        dimensions=dict(counter.dimensions or ()),
        value=format_units(counter.value, scale),
        event_count=counter.events,
        bands=[
            statement_pb2.CounterBand(
                charge=charge,
                floor_event_count=band.floor_events,
                ceiling_event_count=band.ceiling_events,
                between_sum=format_units(band.between_sum, scale),
            )
            for charge, band in sorted(counter.bands.items())
        ],
        match_all=counter.dimensions is None,
        latest_time=None if latest is None else to_proto_timestamp(latest),
        exact_value="" if exact is None else f"{exact.numerator}/{exact.denominator}",
        aggregation=f"AGGREGATION_{meter.aggregation.name}",
        scale=scale,
    )


def _line(line: Line, scale: int) -> statement_pb2.StatementLine:
    return statement_pb2.StatementLine(
        id=line.id,
        kind=f"LINE_KIND_{line.kind.name}",
        amount=format_units(line.amount, scale),
        slices=[_slice(piece) for piece in line.slices],
        part=line.part,
        charge_id=line.charge_id,
        due_time=None if line.due_time is None else to_proto_timestamp(line.due_time),
    )


def _slice(piece: Slice) -> statement_pb2.StatementSlice:
    return statement_pb2.StatementSlice(
        kind=f"SLICE_KIND_{piece.kind.name}",
        amount=format_decimal(piece.amount),
        tier=piece.tier,
        quantity=_optional(piece.quantity),
        unit_price=_optional(piece.unit_price),
        percent=_optional(piece.percent),
        flat_fee=_optional(piece.flat_fee),
        label=piece.label,
        line_id=piece.line_id,
        period_start=None if piece.period_start is None else to_proto_timestamp(piece.period_start),
    )


def _optional(value: Decimal | None) -> str:
    return "" if value is None else format_decimal(value)
