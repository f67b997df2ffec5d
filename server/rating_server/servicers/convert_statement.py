"""Statements and counters to their messages."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from decimal import Decimal

from ratewright.v1 import statement_pb2
from rating_core.catalog import Meter
from rating_core.counter import SeriesCounter
from rating_core.metering.records_entry import EntryMeter
from rating_core.statement import Line, Slice, Statement
from rating_core.units import format_decimal, format_units
from rating_server.servicers.convert_time import to_proto_timestamp

Meters = Mapping[str, Meter] | Mapping[str, EntryMeter]
"""Meters by id: of a plan, or as the log has them. A counter's meter need not be in this server's
copy of the catalogue, which may lack the newest."""


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
    )


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
    )


def _optional(value: Decimal | None) -> str:
    return "" if value is None else format_decimal(value)
