"""A client process of the fault tests: writes records, and notes in a file what it was told.

Run as `python -m benchmarks.fault_client JOB`: JOB is a JSON file with the fields of `Job`. Each
result of a batch is one line of the notes, written in one piece, so a kill leaves whole lines; and
so is the number of records before (I) and after (W) each call that writes some.
"""

from __future__ import annotations

import json
import os
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from rating_client import (
    BatchFailed,
    BatchResult,
    Client,
    ClientOptions,
    UsageColumns,
    WriterClosed,
    WriterOptions,
)

METER = "fault-units"
JANUARY_US = 1_767_225_600_000_000
CUSTOMERS = {
    "ids": ("ids-0", "ids-1", "ids-2", "ids-3"),
    "seq": ("seq-0", "seq-1", "seq-2", "seq-3"),
}
"""Customers of the records with event ids, and of those of sequenced producers."""
_CHUNK = 40


def customer_of(kind: str, index: int) -> str:
    """Return the customer of a record."""
    names = CUSTOMERS[kind]
    return names[index * 7 // 3 % len(names)]


def quantity_of(index: int) -> int:
    """Return the quantity of a record; no two are alike, so it identifies the record."""
    return index + 1


@dataclass(slots=True)
class Job:
    """What to write: the records ``indices`` in that order, duplicates included, to ``target``.

    ``kind`` is `ids` or `seq`; ``notes`` the file of what became of them; writing takes
    ``seconds`` at least. ``follow``: use the topology. After ``limit`` seconds it gives up.
    ``spool``: directory of its spool, if any.
    """

    target: str
    kind: str
    indices: list[int]
    notes: str
    seconds: float = 0.0
    follow: bool = True
    limit: float = 60.0
    spool: str = ""

    def save(self, path: Path) -> None:
        """Write the job to a file."""
        path.write_text(json.dumps(asdict(self)))


def notes_of(path: Path) -> list[tuple[int, bytes, int]]:
    """Return (position of the first record, statuses, attempts) of each batch in the notes."""
    if not path.exists():
        return []
    found = []
    for line in path.read_text().splitlines():
        if line.startswith(("I", "W")):
            continue
        first, statuses, attempts = line.split()
        found.append((int(first), bytes.fromhex(statuses), int(attempts)))
    return found


def written_of(path: Path) -> tuple[int, int]:
    """Return how many records were taken by the spool for sure, and how many at most."""
    lines = path.read_text().splitlines() if path.exists() else []
    counts = {"W": 0, "I": 0}
    for line in lines:
        if line.startswith(("I", "W")):
            counts[line[0]] = int(line[1:])
    return counts["W"], counts["I"]


def columns_of(kind: str, indices: list[int]) -> UsageColumns:
    """Return the records of these indices as columns."""
    names = CUSTOMERS[kind]
    return UsageColumns(
        customers=names,
        customer_index=[names.index(customer_of(kind, index)) for index in indices],
        meters=[(METER, 0)],
        event_ids=[f"e{index}" for index in indices] if kind == "ids" else (),
        quantities=[quantity_of(index) for index in indices],
        event_times_micros=[JANUARY_US + index for index in indices],
    )


def work(job: Job) -> int:
    """Write all records; return 0 if each has its status, 1 if the time was over first."""
    notes = os.open(job.notes, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def on_batch(result: BatchResult) -> None:
        line = f"{result.first_record} {result.statuses.hex()} {result.attempts}\n"
        os.write(notes, line.encode())

    options = WriterOptions(
        batch_records=_CHUNK,
        batches_in_flight=8,
        max_unanswered_records=20 * _CHUNK,
        answer_timeout_seconds=5.0,
        backoff_max_seconds=0.5,
    )
    expires = time.monotonic() + job.limit
    pace = job.seconds * _CHUNK / max(len(job.indices), 1)
    client = Client(job.target, ClientOptions(follow_topology=job.follow))
    writer = client.ingest(
        on_batch=on_batch,
        options=options,
        producer_id="faults" if job.kind == "seq" else None,
        spool_dir=job.spool or None,
    )
    try:
        for start in range(0, len(job.indices), _CHUNK):
            columns = columns_of(job.kind, job.indices[start : start + _CHUNK])
            os.write(notes, f"I{start + len(columns)}\n".encode())
            writer.write_columns(columns, timeout=max(expires - time.monotonic(), 0.1))
            os.write(notes, f"W{start + len(columns)}\n".encode())
            time.sleep(pace)
        writer.close(timeout=max(expires - time.monotonic(), 0.1))
    except (TimeoutError, BatchFailed, WriterClosed) as error:
        sys.stderr.write(f"{job.kind}: {type(error).__name__}: {error}\n")
        return 1
    finally:
        client.close()
    return 0


if __name__ == "__main__":
    sys.exit(work(Job(**json.loads(Path(sys.argv[1]).read_text()))))
