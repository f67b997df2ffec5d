"""Every aggregation through a real server: counted, taken back, priced, and shown as a history."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import pytest

from rating_client import (
    Client,
    InvalidArgument,
    NotFound,
    RecordStatus,
    RejectReason,
    UsageColumns,
    UsageRecord,
    WriterOptions,
)

START = datetime(2026, 1, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
METERS = [
    {"id": "peak", "aggregation": "max", "scale": "1", "dimensions": ["zone"], "buckets": "day"},
    {"id": "seats", "aggregation": "latest"},
    {"id": "users", "aggregation": "unique_count", "of": "user", "dimensions": ["zone"]},
    {"id": "disk", "aggregation": "weighted_sum", "scale": "3", "buckets": "day"},
    {"id": "core-hours", "aggregation": "weighted_sum", "per": "hour"},
    {"id": "tiny", "aggregation": "sum", "scale": "12", "buckets": "hour"},
]
PLAN = {
    "id": "aggregations",
    "currency": "USD",
    "billing_period": "month",
    "meters": METERS,
    "charges": [
        {"id": m["id"], "meter": m["id"], "model": "per_unit", "unit_price": "1"} for m in METERS
    ],
}


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    """A client of a running server with the plan and the customer acme on it."""
    root = Path(tempfile.mkdtemp(prefix="rw-aggr-"))
    command = [sys.executable, "-m", "rating_server.cli.entry", "serve", "--port", "0"]
    command += ["--port-file", str(root / "port"), "--data-dir", str(root / "data")]
    command += ["--acceptance-window", "unlimited"]
    with (root / "log").open("ab") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        expires = time.monotonic() + 120
        while not ((root / "port").exists() and (root / "port").read_text().strip()):
            assert process.poll() is None, (root / "log").read_text()
            assert time.monotonic() < expires, (root / "log").read_text()
            time.sleep(0.05)
        with Client(f"127.0.0.1:{(root / 'port').read_text().strip()}") as client:
            client.create_plan(PLAN)
            for customer in ("acme", "bulk"):
                client.create_subscription(customer, "aggregations", start_time=START)
            yield client
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)
        shutil.rmtree(root)


def use(event_id: str, meter: str, quantity: str = "1", hours: int = 0, **more: object):
    return UsageRecord(
        event_id=event_id,
        customer="acme",
        meter=meter,
        event_time=START + hours * HOUR,
        quantity=quantity,
        **more,  # type: ignore[arg-type]
    )


RECORDS = [
    use("p1", "peak", "7.5", dimensions={"zone": "a"}),
    use("p2", "peak", "9", 30, dimensions={"zone": "b"}),
    use("s1", "seats", "12", 5),
    use("s2", "seats", "10", 4),
    use("u1", "users", attributes={"user": "ann"}, dimensions={"zone": "a"}),
    use("u2", "users", attributes={"user": "ann"}, dimensions={"zone": "b"}),
    use("u3", "users", attributes={"user": "bob"}),
    use("d1", "disk", "2"),
    use("d2", "disk", "0.5", 36),
    use("c1", "core-hours", "4"),
    use("c2", "core-hours", "-4", 10),
    use("t1", "tiny", "0.000000000001", 2),
]


def test_every_aggregation_from_record_to_statement(client: Client):
    """Counters and amounts of every aggregation are those of the rules (S6.2 to S6.4)."""
    outcomes = client.record_usage(RECORDS)
    assert {outcome.status for outcome in outcomes} == {RecordStatus.ACCEPTED}
    usage = client.get_usage("acme", START)
    shown = {(c.meter, *c.dimensions.values()): c for c in usage.counters}
    assert shown["peak", "a"].value == Decimal("7.5")
    assert shown["seats",].value == 12
    assert shown["seats",].latest_time == START + 5 * HOUR
    assert shown["users", "b"].value == 1
    disk = Fraction(2000 * 744 + 500 * (744 - 36), 744)
    assert shown["disk",].exact_value == disk
    assert shown["disk",].value == Decimal("2.476")
    assert shown["core-hours",].value == 40
    amounts = {line.id: line.amount for line in client.preview_statement("acme", START).lines}
    assert amounts == {
        "peak": Decimal("9.00"),
        "seats": Decimal("12.00"),
        "users": Decimal("2.00"),
        "disk": Decimal("2.48"),
        "core-hours": Decimal("40.00"),
        "tiny": Decimal("0.00"),
    }
    # The level stays: in February nothing was recorded, and 2.5 are in use.
    february = client.get_usage("acme", START + timedelta(days=40))
    assert {(c.meter, c.value, c.event_count) for c in february.counters} == {
        ("disk", Decimal("2.5"), 0)
    }


def test_a_history_in_buckets_page_by_page(client: Client):
    """ListUsage shows each bucket's own value; a level shows in every bucket that it reaches."""
    end = START + timedelta(days=3)
    found = list(client.list_usage("acme", START, end, page_size=2))
    values = [
        ((bucket.start_time - START) // HOUR, bucket.counter.meter, bucket.counter.value)
        for bucket in found
    ]
    assert values == [
        (0, "disk", Decimal(2)),
        (0, "peak", Decimal("7.5")),
        (2, "tiny", Decimal("0.000000000001")),
        (24, "disk", Decimal("2.25")),
        (24, "peak", Decimal(9)),
        (48, "disk", Decimal("2.5")),
    ]
    alone = list(client.list_usage("acme", START, end, meter="peak"))
    assert alone == [bucket for bucket in found if bucket.counter.meter == "peak"]
    with pytest.raises(InvalidArgument):
        list(client.list_usage("acme", START, end, meter="seats"))
    with pytest.raises(NotFound):
        list(client.list_usage("acme", START, end, meter="nope"))
    with pytest.raises(InvalidArgument):
        list(client.list_usage("acme", START, START + timedelta(days=401)))


def test_retraction_takes_out_exactly_what_was_added(client: Client):
    """Each status of S7.6; what is taken back is gone from counters, buckets and prices."""
    statuses = client.retract([RECORDS[5], RECORDS[8], RECORDS[11]])
    assert [outcome.status for outcome in statuses] == [RecordStatus.ACCEPTED] * 3
    again, unknown, other, kept, resent = client.record_usage(
        [
            use("d2", "disk", "0.5", 36, retraction=True),
            use("d9", "disk", "0.5", 36, retraction=True),
            use("d1", "disk", "3", retraction=True),
            use("p1", "peak", "7.5", dimensions={"zone": "a"}, retraction=True),
            RECORDS[8],
        ]
    )
    assert again.status is RecordStatus.DUPLICATE
    assert unknown.reason is RejectReason.NOT_FOUND
    assert other.status is RecordStatus.CONFLICT
    assert kept.reason is RejectReason.NOT_RETRACTABLE
    assert resent.status is RecordStatus.DUPLICATE
    shown = {(c.meter, *c.dimensions.values()) for c in client.get_usage("acme", START).counters}
    assert ("users", "b") not in shown
    assert ("tiny",) not in shown
    amounts = {line.id: line.amount for line in client.preview_statement("acme", START).lines}
    assert amounts["users"] == 2
    assert amounts["disk"] == 2
    disk = list(client.list_usage("acme", START, START + timedelta(days=3), meter="disk"))
    assert [bucket.counter.value for bucket in disk] == [2, 2, 2]


def test_columns_carry_attributes_and_retractions(client: Client):
    """A bulk stream counts values of attributes, and takes some records back (S7.2, S7.6)."""
    count = 3_000

    def columns(rows: range, retract: bool) -> UsageColumns:
        return UsageColumns(
            customers=["bulk"],
            meters=[("users", 0)],
            event_ids=[f"b{n}" for n in rows],
            quantities=[1] * len(rows),
            event_times_micros=[int(START.timestamp()) * 1_000_000 + n for n in rows],
            attribute_sets=[{"user": f"u{n}"} for n in range(100)],
            attribute_set_index=[n % 100 for n in rows],
            retractions=[1] * len(rows) if retract else (),
        )

    with client.ingest(options=WriterOptions(batch_records=500)) as writer:
        writer.write_columns(columns(range(count), retract=False))
    with client.ingest(options=WriterOptions(batch_records=500)) as writer:
        writer.write_columns(columns(range(0, count, 100), retract=True))
        for n in range(1, count, 100):
            writer.write(
                UsageRecord(
                    event_id=f"b{n}",
                    customer="bulk",
                    meter="users",
                    event_time=START + timedelta(microseconds=n),
                    attributes={"user": "u1"},
                    retraction=True,
                )
            )
    (counter,) = client.get_usage("bulk", START).counters
    assert (counter.value, counter.event_count) == (98, count - 60)
