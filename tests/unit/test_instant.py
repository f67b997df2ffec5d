"""Instants as text: what is read, what is refused, and that the calendar is the real one."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from random import Random

import pytest

from rating_core.instant import format_instant, parse_instant, read_instant
from rating_core.plan.fields import FaultList, Place

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("2026-01-31T23:00:00Z", "2026-01-31T23:00:00Z"),
        ("2026-02-01T01:00:00+02:00", "2026-01-31T23:00:00Z"),
        ("2026-01-31 17:30:00.5-05:30", "2026-01-31T23:00:00.5Z"),
        ("2024-02-29T00:00:00.1234567899z", "2024-02-29T00:00:00.123456Z"),
        ("0001-01-01T00:00:00Z", "0001-01-01T00:00:00Z"),
        ("9999-12-31T23:59:59.999999Z", "9999-12-31T23:59:59.999999Z"),
    ],
)
def test_an_instant_is_read_in_any_offset_and_cut_to_microseconds(text: str, same: str) -> None:
    """Offsets are applied, finer digits cut, and the text comes back in its one form (S1.5)."""
    assert format_instant(parse_instant(text)) == same


@pytest.mark.parametrize(
    "text",
    [
        "",
        "2026-01-31",
        "2026-01-31T23:00:00",
        "2026-02-29T00:00:00Z",
        "2026-13-01T00:00:00Z",
        "2026-01-00T00:00:00Z",
        "2026-01-01T24:00:00Z",
        "2026-01-01T23:59:60Z",
        "0000-01-01T00:00:00Z",
        "0001-01-01T00:00:00+01:00",
        "9999-12-31T23:59:59-01:00",
        "2026-01-01T00:00:00+24:00",
        "2026-01-01T00:00:00٠Z",
    ],
)
def test_what_is_no_instant_is_refused(text: str) -> None:
    """Dates alone, local times, days and offsets that do not exist are faults."""
    with pytest.raises(ValueError, match=r"instant|date|day|offset|years"):
        parse_instant(text)


def test_the_calendar_is_the_real_one() -> None:
    """Random instants of all years are written and read as the standard library does."""
    random = Random(7)
    for _ in range(2_000):
        micros = random.randrange(-62_135_596_800_000_000, 253_402_300_800_000_000)
        text = format_instant(micros)
        assert parse_instant(text) == micros
        assert (datetime.fromisoformat(text) - EPOCH) // MICROSECOND == micros


def test_a_faulty_instant_is_noted_with_its_place() -> None:
    """A reader of documents notes the fault and goes on."""
    faults = FaultList()
    assert read_instant("2026-02-30T00:00:00Z", Place("at"), faults) is None
    assert read_instant(["x"], Place("at"), faults) is None
    assert [(fault.path, fault.reason) for fault in faults.in_document_order()] == [
        ("at", "NOT_AN_INSTANT"),
        ("at", "WRONG_TYPE"),
    ]
