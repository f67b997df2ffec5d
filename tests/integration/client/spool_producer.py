"""A producer that is killed: writes records through a spool, and says of each when it is taken.

Arguments: target, spool directory, producer id or "ids", first record, end, records that go as one
batch of columns (0: one by one). Writes the number behind the last record taken as 8 bytes.
"""

from __future__ import annotations

import os
import sys
from datetime import UTC, datetime, timedelta

from rating_client import Client, UsageColumns, UsageRecord, WriterOptions

START = datetime(2026, 3, 1, tzinfo=UTC)
PER_CUSTOMER = 17


def columns(prefix: str, numbers: range, *, named: bool) -> UsageColumns:
    """Return records as columns."""
    base = int(START.timestamp()) * 1_000_000
    return UsageColumns(
        customers=[f"{prefix}-{n // PER_CUSTOMER}" for n in numbers],
        customer_index=list(range(len(numbers))),
        meters=[("input-tokens", 0)],
        quantities=[10 ** (n % PER_CUSTOMER) for n in numbers],
        event_times_micros=[base + n * 1_000_000 for n in numbers],
        event_ids=[f"r-{n}" for n in numbers] if named else (),
    )


def main() -> None:
    """Write until killed, or to the end."""
    target, directory, producer_id, first, end, bulk = sys.argv[1:]
    prefix = f"{producer_id}{bulk}"
    options = WriterOptions(batch_records=40, spool_fsync="flush", batch_delay_seconds=0.002)
    named = producer_id == "ids"
    with (
        Client(target) as client,
        client.ingest(
            options=options, producer_id=None if named else producer_id, spool_dir=directory
        ) as writer,
    ):
        step = int(bulk) or 1
        for n in range(int(first), int(end), step):
            if int(bulk):
                writer.write_columns(
                    columns(prefix, range(n, min(n + step, int(end))), named=named)
                )
            else:
                record = UsageRecord(
                    event_id=f"r-{n}" if named else "",
                    customer=f"{prefix}-{n // PER_CUSTOMER}",
                    meter="input-tokens",
                    event_time=START + timedelta(seconds=n),
                    quantity=10 ** (n % PER_CUSTOMER),
                )
                writer.write(record)
            os.write(1, min(n + step, int(end)).to_bytes(8, "little"))


if __name__ == "__main__":
    main()
