"""Statements of the wire as values: amounts as exact decimals, instants aware."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from fractions import Fraction
from typing import Any

from ratewright.v1 import statement_pb2
from rating_client.calls import instant_of, maybe_decimal, read_counter, word_of
from rating_client.values import Statement, StatementLine, StatementPart, StatementSlice


def read_statement(response: Any) -> Statement:
    """Return the statement of a response as a value."""
    return statement_value(response.statement)


def statement_value(message: statement_pb2.Statement) -> Statement:
    """Return a statement as a value."""
    return Statement(
        customer=message.customer,
        plan_id=message.plan_id,
        plan_version=message.plan_version,
        subscription_id=message.subscription_id,
        currency=message.currency,
        scale=message.scale,
        period_start=instant_of(message, "period_start"),
        period_end=instant_of(message, "period_end"),
        lines=_lines(message.lines),
        total=Decimal(message.total or "0"),
        counters=tuple(read_counter(counter) for counter in message.counters),
        unpriced_meters=tuple(message.unpriced_meters),
        log_version=message.log_version,
        name=message.name,
        number=message.number,
        finalize_time=instant_of(message, "finalize_time"),
        correction=message.correction,
        total_before_credits=Decimal(message.total_before_credits or "0"),
        amount_due=Decimal(message.amount_due or message.total or "0"),
        parts=tuple(_part(part) for part in message.parts),
        credit_lines=_lines(message.credit_lines),
    )


def _lines(messages: Iterable[statement_pb2.StatementLine]) -> tuple[StatementLine, ...]:
    return tuple(
        StatementLine(
            id=line.id,
            kind=word_of(statement_pb2.LineKind.DESCRIPTOR, line.kind),
            amount=Decimal(line.amount or "0"),
            slices=tuple(_slice(piece) for piece in line.slices),
            part=line.part if line.HasField("part") else None,
            charge_id=line.charge_id,
            due_time=instant_of(line, "due_time"),
        )
        for line in messages
    )


def _slice(piece: statement_pb2.StatementSlice) -> StatementSlice:
    return StatementSlice(
        kind=word_of(statement_pb2.SliceKind.DESCRIPTOR, piece.kind),
        amount=Decimal(piece.amount or "0"),
        tier=piece.tier if piece.HasField("tier") else None,
        quantity=maybe_decimal(piece.quantity),
        unit_price=maybe_decimal(piece.unit_price),
        percent=maybe_decimal(piece.percent),
        flat_fee=maybe_decimal(piece.flat_fee),
        label=piece.label,
        line_id=piece.line_id,
        period_start=instant_of(piece, "period_start"),
    )


def _part(part: statement_pb2.StatementPart) -> StatementPart:
    return StatementPart(
        start_time=instant_of(part, "start_time"),
        end_time=instant_of(part, "end_time"),
        plan_id=part.plan_id,
        plan_version=part.plan_version,
        overrides=part.overrides,
        share_by_second=Fraction(part.share_by_second or "1"),
        share_by_day=Fraction(part.share_by_day or "1"),
        counters=tuple(read_counter(counter) for counter in part.counters),
    )
