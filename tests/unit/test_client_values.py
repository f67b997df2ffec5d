"""The client's values: exact decimals, aware instants, statuses, options, import time."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import rating_client
from ratewright.v1 import usage_service_pb2 as api
from rating_client import ClientOptions, RecordStatus, RejectReason, WriterOptions
from rating_client.values import (
    Counter,
    Usage,
    from_micros,
    outcome,
    to_decimal,
    to_micros,
    to_text,
    to_units,
)

EXACT = settings(derandomize=True, max_examples=300, database=None, deadline=None)


@EXACT
@given(st.integers(-(2**63), 2**63 - 1), st.integers(0, 12))
def test_units_are_exact_and_smallest(units: int, scale: int):
    """Any int64 quantity at any scale goes through text and Decimal unchanged (S1.2)."""
    number = Decimal(units) / 1 if scale == 0 else Decimal((units < 0, _digits(units), -scale))
    for given_value in (number, format(number, "f")):
        got, got_scale = to_units(given_value)
        assert got * 10 ** (scale - got_scale) == units
        assert got_scale == 0 or got % 10


def _digits(units: int) -> tuple[int, ...]:
    return tuple(int(digit) for digit in str(abs(units)))


@pytest.mark.parametrize(
    ("value", "units"),
    [
        (7, (7, 0)),
        ("-.50", (-5, 1)),
        ("+3.", (3, 0)),
        ("000", (0, 0)),
        ("-0.000", (0, 0)),
        (Decimal("1E+3"), (1000, 0)),
        (Decimal("0E+99"), (0, 0)),
        (Decimal("0E-99"), (0, 0)),
        (Decimal("1E-12"), (1, 12)),
        (Decimal("1.500000000000000"), (15, 1)),
    ],
)
def test_units_of_odd_forms(value, units):
    """Signs, bare points, exponents and trailing zeros mean what they say."""
    assert to_units(value) == units


@pytest.mark.parametrize(
    ("value", "error"),
    [
        (1.0, TypeError),
        (True, TypeError),
        (None, TypeError),
        ("", ValueError),
        (".", ValueError),
        ("1e3", ValueError),
        ("1_000", ValueError),
        (" 1", ValueError),
        ("٣", ValueError),
        (Decimal("NaN"), ValueError),
        (Decimal("Infinity"), ValueError),
        ("0.0000000000001", ValueError),
        (Decimal("1E-13"), ValueError),
        (2**63, ValueError),
        ("9223372036854775808", ValueError),
        ("9" * 5000, ValueError),
        (Decimal("1E+999999"), ValueError),
        (Decimal("1E-999999"), ValueError),
    ],
)
def test_what_is_no_quantity(value, error):
    """Floats are TypeErrors; what is no decimal, or does not fit, is a ValueError."""
    with pytest.raises(error):
        to_units(value)


def test_text_has_no_exponent():
    """Decimals leave as plain digits (S1.1)."""
    assert to_text(Decimal("1E-7")) == "0.0000001"
    assert to_text(Decimal("25E+2")) == "2500"
    assert to_text(12) == "12"
    assert to_decimal("0.10") == Decimal("0.1")


@EXACT
@given(st.datetimes(timezones=st.just(timezone(timedelta(hours=5, minutes=30)))))
def test_instants_keep_their_microseconds(instant: datetime):
    """An aware instant goes to microseconds and back unchanged, as UTC (S1.5)."""
    try:
        instant.astimezone(UTC)
    except OverflowError:
        return
    assert from_micros(to_micros(instant)) == instant


def test_naive_instants_are_refused():
    """A datetime without time zone is an error, not a guess."""
    with pytest.raises(ValueError, match="aware"):
        to_micros(datetime(2026, 1, 1))  # noqa: DTZ001 - that is the mistake


def test_statuses_and_reasons_are_those_of_the_wire():
    """Names and numbers of both enums equal the API's; unknown numbers are UNSPECIFIED."""
    statuses = {name.removeprefix("RECORD_STATUS_"): n for name, n in api.RecordStatus.items()}
    reasons = {name.removeprefix("REJECT_REASON_"): n for name, n in api.RejectReason.items()}
    assert {status.name: int(status) for status in RecordStatus} == statuses
    assert {reason.name: int(reason) for reason in RejectReason} == reasons
    assert outcome(99, 99).status is RecordStatus.UNSPECIFIED
    assert [status.name for status in RecordStatus if outcome(status, 0).counted] == [
        "ACCEPTED",
        "DUPLICATE",
    ]


@pytest.mark.parametrize(
    ("build", "name"),
    [
        (lambda: WriterOptions(batch_records=0), "batch_records"),
        (lambda: WriterOptions(batch_records=100_001), "batch_records"),
        (lambda: WriterOptions(batch_bytes=9 << 20), "batch_bytes"),
        (lambda: WriterOptions(batches_in_flight=0), "batches_in_flight"),
        (lambda: WriterOptions(max_unanswered_records=10), "max_unanswered_records"),
        (lambda: WriterOptions(give_up_after_seconds=-1), "give_up_after_seconds"),
        (lambda: ClientOptions(unary_attempts=0), "unary_attempts"),
        (lambda: ClientOptions(timeout_seconds=0), "timeout_seconds"),
    ],
)
def test_options_out_of_range_are_named(build, name):
    """A wrong option is a ValueError that begins with its name."""
    with pytest.raises(ValueError, match=f"^{name}:"):
        build()


def test_the_client_imports_fast_and_alone():
    """`import rating_client` takes < 0.4 s of processor time, without numpy, numba, redis."""
    script = (
        "import time; started = time.process_time(); import rating_client; import sys;"
        "print(time.process_time() - started);"
        "print([m for m in ('numpy', 'numba', 'redis', 'rating_server', 'rating_core', 'yaml')"
        " if m in sys.modules])"
    )
    seconds = []
    for _ in range(3):
        run = subprocess.run(
            [sys.executable, "-c", script], capture_output=True, text=True, check=True
        )
        taken, foreign = run.stdout.splitlines()
        assert foreign == "[]"
        seconds.append(float(taken))
    assert min(seconds) < 0.4


def test_the_public_names_exist_and_are_documented():
    """Everything in __all__ is there and has a docstring."""
    assert [
        name for name in rating_client.__all__ if not getattr(rating_client, name).__doc__
    ] == []
    assert rating_client.__all__ == sorted(rating_client.__all__)


def _usage(*counters: Counter) -> Usage:
    return Usage("acme", "main", None, None, counters, 1)


def test_a_total_follows_the_aggregation() -> None:
    """What several series are together is what pricing would make of them (S6.2)."""

    def two(kind: str, **more) -> list[Counter]:
        made = [Counter("m", {"z": z}, Decimal(v), 1) for z, v in (("a", "1.5"), ("b", "-2"))]
        return [replace(counter, aggregation=kind, scale=1, **more) for counter in made]

    assert _usage().total("m") == 0
    assert _usage(*two("sum")).total("m") == Decimal("-0.5")
    assert _usage(*two("max")).total("m") == Decimal("1.5")
    assert _usage(two("max")[1]).total("m") == -2
    # A third of a tenth each: rounded one by one they would be nothing.
    thirds = two("weighted_sum", exact_value=Fraction(1, 3))
    assert _usage(*thirds).total("m") == Decimal("0.1")
    assert _usage(two("unique_count")[0]).total("m") == Decimal("1.5")
    with pytest.raises(ValueError, match="unique_count"):
        _usage(*two("unique_count")).total("m")
    early, late = two("latest", latest_time=datetime(2026, 1, 1, tzinfo=UTC))
    with pytest.raises(ValueError, match="one time"):
        _usage(early, late).total("m")
    later = replace(late, latest_time=datetime(2026, 1, 2, tzinfo=UTC))
    assert _usage(early, later).total("m") == -2


def test_an_instant_beyond_all_years_is_named() -> None:
    """No bare OverflowError where a server's instant fits no datetime."""
    with pytest.raises(ValueError, match="9999"):
        from_micros(253_402_300_800_000_000)
