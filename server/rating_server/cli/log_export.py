"""Records of a log as CSV, JSON lines or Parquet. Needs pyarrow, of the extra `[parquet]`."""

from __future__ import annotations

import contextlib
import csv
import json
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import TextIO

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from rating_core.metering.deciding.records_entry import RecordsEntry
from rating_core.metering.log.entry import decode_body, decode_envelope
from rating_core.metering.log.protocol import LogEntry
from rating_server.cli.failure import CommandError, bad_input
from rating_server.store.segment_table import RECORDS, SCHEMA, entries_to_table

_SKIPPED = ("kind", "facts", "previous", "entry")
COLUMNS = [name for name in SCHEMA.names if name not in _SKIPPED]
"""Columns of an export, in order (log-format.md)."""
_ROWS_PER_WRITE = 50_000


class RecordWriter:
    """Takes entries in order, and writes the records that are asked for."""

    def __init__(self, write: Callable[[pa.Table], None]) -> None:
        self._write = write
        self._pending: list[pa.Table] = []
        self._rows = 0
        self.count = 0
        """How many records were written."""

    def take(self, entry: LogEntry, customer: str, begin: int | None, end: int | None) -> None:
        """Write the customer's records of event times in [begin, end), µs; None: unbounded."""
        body = decode_body(decode_envelope(entry.entry).body)
        if not isinstance(body, RecordsEntry) or customer not in body.customers:
            return
        table = entries_to_table([entry])
        chosen = pc.and_(
            pc.equal(table.column("kind"), RECORDS), pc.equal(table.column("customer"), customer)
        )
        times = table.column("event_time").cast(pa.int64())
        if begin is not None:
            chosen = pc.and_(chosen, pc.greater_equal(times, begin))
        if end is not None:
            chosen = pc.and_(chosen, pc.less(times, end))
        found = table.filter(chosen).select(COLUMNS)
        self._pending.append(found)
        self._rows += found.num_rows
        self.count += found.num_rows
        if self._rows >= _ROWS_PER_WRITE:
            self.flush()

    def flush(self) -> None:
        """Write what waits."""
        if self._pending:
            self._write(pa.concat_tables(self._pending))
        self._pending, self._rows = [], 0


@contextlib.contextmanager
def open_writer(out: str) -> Iterator[RecordWriter]:
    """Yield a writer to a file by its suffix, or to standard output for `-`.

    The file appears when all of it has been written; bad input for another suffix.
    """
    suffix = Path(out).suffix.lower()
    if out != "-" and suffix not in (".csv", ".jsonl", ".parquet"):
        raise bad_input(f"--out {out}: expected a name in .csv, .jsonl or .parquet, or -")
    if out == "-":
        writer = RecordWriter(_csv(sys.stdout))
        yield writer
        writer.flush()
        return
    part = Path(out + ".part")
    try:
        if suffix == ".parquet":
            schema = pa.schema([SCHEMA.field(name) for name in COLUMNS])
            with pq.ParquetWriter(part, schema, compression="zstd") as parquet:
                writer = RecordWriter(parquet.write_table)
                yield writer
                writer.flush()
        else:
            with part.open("w", encoding="utf-8", newline="") as file:
                writer = RecordWriter(_csv(file) if suffix == ".csv" else _lines(file))
                yield writer
                writer.flush()
        part.replace(out)
    except OSError as error:
        raise CommandError(f"--out {out}: {error.strerror or error}") from None
    finally:
        part.unlink(missing_ok=True)


def _csv(file: TextIO) -> Callable[[pa.Table], None]:
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(COLUMNS)

    def write(table: pa.Table) -> None:
        columns = [[_text(value) for value in table.column(name).to_pylist()] for name in COLUMNS]
        writer.writerows(zip(*columns, strict=True))

    return write


def _lines(file: TextIO) -> Callable[[pa.Table], None]:
    def write(table: pa.Table) -> None:
        for row in table.to_pylist():
            document: dict[str, object] = {
                name: value if isinstance(value, int) else _text(value)
                for name, value in row.items()
                if value is not None
            }
            for name in ("dimensions", "attributes"):
                if name in document:
                    document[name] = json.loads(row[name])
            file.write(json.dumps(document, ensure_ascii=False) + "\n")

    return write


def _text(value: object) -> str:
    """Return a cell: decimals without exponent and needless zeros, instants in ISO 8601, `true`."""
    if value is None:
        return ""
    if isinstance(value, Decimal):
        text = format(value, "f")
        return text.rstrip("0").rstrip(".") if "." in text else text
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
    return str(value)
