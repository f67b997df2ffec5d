"""`ratewright rate --out`: price every row of a table of any size.

The table streams through as Arrow record batches, so memory does not grow with it.
"""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Protocol

import click
import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from rating_core.bulk import BulkPlans, compile_bulk, rate_batch
from rating_core.catalog import ChargeModel, Plan
from rating_core.errors import RowStatus
from rating_core.units import format_units
from rating_server.cli.amount_table import (
    ColumnFault,
    amount_column,
    amount_type,
    csv_text,
    quantity_units,
)
from rating_server.cli.failure import CommandError, bad_input
from rating_server.cli.offline import load_plan
from rating_server.cli.progress import progress

_ROWS = 131_072
_BLOCK_BYTES = 4 << 20
_BUFFER_BYTES = 1 << 20
_HEADER_BYTES_MAX = 1 << 20
_SUFFIXES = (".csv", ".parquet")
TOTAL, STATUS = "total", "status"


class _Writer(Protocol):
    """Where the rows go."""

    def write(self, batch: pa.RecordBatch) -> None:
        """Append rows."""

    def close(self) -> None:
        """Finish the file."""


@dataclass(frozen=True, slots=True)
class _Table:
    """A table to read: its columns of interest, as many rows as it says it has, and its batches."""

    types: dict[str, pa.DataType]
    row_count: int | None
    batches: Iterator[pa.RecordBatch]


class _CsvWriter:
    """Writes rows as CSV with a header."""

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        self._file = path.open("wb")
        self._file.write(csv_text([pa.array([name]) for name in schema.names]))

    def write(self, batch: pa.RecordBatch) -> None:
        """Append rows."""
        self._file.write(csv_text(batch.columns))

    def close(self) -> None:
        """Finish the file."""
        self._file.close()


class _ParquetWriter:
    """Writes rows as Parquet, a row group a batch."""

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        # Amounts hardly repeat: a dictionary of them costs half the time and gains no room.
        words = [field.name for field in schema if not pa.types.is_decimal(field.type)]
        self._writer = pyarrow.parquet.ParquetWriter(
            path, schema, compression="zstd", use_dictionary=words
        )

    def write(self, batch: pa.RecordBatch) -> None:
        """Append rows."""
        self._writer.write_batch(batch)

    def close(self) -> None:
        """Finish the file."""
        self._writer.close()


def rate_table(plan_file: Path, usage: str, out: Path, keep: Sequence[str]) -> None:
    """Price each row of a table by the plan and write the amounts, then say what was done.

    A row holds one quantity for each meter, in the column of its name (S11.3). Ends the command
    with one line for a file or value that cannot be priced (status 2), and with status 1 after all
    if rows do not fit 64 bits; no unfinished file is left.
    """
    source = Path(usage)
    for path, what in ((source, "--usage"), (out, "--out")):
        if path.suffix.lower() not in _SUFFIXES:
            raise bad_input(f"{what} {path}: with --out, expected a name in .csv or .parquet")
    plan = load_plan(plan_file)
    _check_names(plan, keep)
    if out.exists() and source.exists() and out.samefile(source):
        raise bad_input(f"--out {out}: the usage file would be lost")
    if not out.parent.is_dir():
        raise bad_input(f"--out {out}: no such directory")
    if out.is_dir():
        raise bad_input(f"--out {out}: is a directory")
    try:
        table = _open(source, plan, keep)
        with _beside(out) as folder:
            part = Path(folder) / out.name
            rows, misfits, total = _copy(table, source, plan, keep, part)
            part.replace(out)
    except OSError as error:
        name = error.filename or source
        raise bad_input(f"{name}: {error.strerror or error}") from None
    except pa.ArrowException as error:
        raise bad_input(f"{source}: {' '.join(str(error).split())}") from None
    amount = format_units(total, plan.rounding.scale)
    click.echo(f"{rows:,} rows, total {amount} {plan.currency}: {out}")
    if misfits:
        raise CommandError(f"{misfits:,} rows do not fit 64 bits; their status is OUT_OF_RANGE")


def _beside(out: Path) -> TemporaryDirectory[str]:
    """Return a new directory beside the output, from which the finished file can be moved."""
    try:
        return TemporaryDirectory(prefix=".ratewright-", dir=out.parent)
    except OSError as error:
        raise bad_input(f"--out {out}: {error.strerror or error}") from None


def _check_names(plan: Plan, keep: Sequence[str]) -> None:
    """End the command if two columns of the output would have one name."""
    taken = {*_amount_names(plan), STATUS}
    for name in keep:
        if name in taken:
            raise bad_input(f"--keep {name}: the output has a column of that name")
        taken.add(name)
    if len({*_amount_names(plan), STATUS}) <= len(_amount_names(plan)):
        raise bad_input(f"plan {plan.id}: a charge or commitment is named {TOTAL} or {STATUS}")


def _amount_names(plan: Plan) -> list[str]:
    return [*(c.id for c in plan.charges), *(c.id for c in plan.commitments), TOTAL]


def _priced_meters(plan: Plan) -> list[str]:
    priced = {charge.meter for charge in plan.charges}
    return [meter.id for meter in plan.meters if meter.id in priced]


def _open(source: Path, plan: Plan, keep: Sequence[str]) -> _Table:
    """Return the table of a file; ends the command if a column is missing or stands twice."""
    meters = _priced_meters(plan)
    wanted = list(dict.fromkeys([*meters, *keep]))
    if source.suffix.lower() == ".csv":
        with source.open(encoding="utf-8-sig", newline="", errors="replace") as file:
            start = io.StringIO(file.read(_HEADER_BYTES_MAX), newline="")
        names = next(csv.reader(start), [])
        _check_columns(source, names, wanted)
        batches = _csv_batches(source, wanted, blank_is_row=len(names) == 1)
        return _Table(dict.fromkeys(wanted, pa.string()), None, batches)
    # Reading ahead, the default, would hold whole columns; a buffer reads them page by page.
    file = pyarrow.parquet.ParquetFile(source, pre_buffer=False, buffer_size=_BUFFER_BYTES)
    _check_columns(source, file.schema_arrow.names, wanted)
    types = {name: file.schema_arrow.field(name).type for name in wanted}
    nested = [name for name in keep if pa.types.is_nested(types[name])]
    if nested:
        raise bad_input(f"--keep {nested[0]}: a column of {types[nested[0]]} cannot be kept")
    rows = file.iter_batches(batch_size=_ROWS, columns=wanted)
    return _Table(types, file.metadata.num_rows, rows)


def _check_columns(source: Path, names: Sequence[str], wanted: Sequence[str]) -> None:
    missing = [name for name in wanted if name not in names]
    if missing:
        text = f"no column {' and no column '.join(missing)}"
        raise bad_input(f"{source}: {text}; a row has a quantity for each meter, in its column")
    twice = [name for name in wanted if list(names).count(name) > 1]
    if twice:
        raise bad_input(f"{source}: two columns are named {twice[0]}")


def _csv_batches(
    source: Path, wanted: Sequence[str], *, blank_is_row: bool
) -> Iterator[pa.RecordBatch]:
    """Yield the rows of a CSV table; ``blank_is_row``: in a table of one column a blank line is.

    In other tables it is no row, and does not count.
    """
    convert = pyarrow.csv.ConvertOptions(
        include_columns=wanted,
        column_types=dict.fromkeys(wanted, pa.string()),
        null_values=[""],
        strings_can_be_null=True,
    )
    read = pyarrow.csv.ReadOptions(block_size=_BLOCK_BYTES)
    parse = pyarrow.csv.ParseOptions(newlines_in_values=True, ignore_empty_lines=not blank_is_row)
    with pyarrow.csv.open_csv(source, read, parse, convert) as reader:
        yield from reader


def _copy(
    table: _Table, source: Path, plan: Plan, keep: Sequence[str], part: Path
) -> tuple[int, int, int]:
    """Price all rows into ``part``; return how many, how many do not fit, and their total."""
    scale = plan.rounding.scale
    kept = {name: _kept_type(table.types[name]) for name in keep}
    amounts = dict.fromkeys(_amount_names(plan), amount_type(scale))
    schema = pa.schema({**kept, **amounts, STATUS: pa.string()})
    writer_type = _CsvWriter if part.suffix.lower() == ".csv" else _ParquetWriter
    compiled = compile_bulk([plan])
    rows = misfits = total = 0
    writer: _Writer = writer_type(part, schema)
    try:
        with progress("pricing", table.row_count, "rows") as advance:
            for batch in table.batches:
                if not batch.num_rows:
                    continue
                priced, fits, batch_total = _priced(batch, source, rows, plan, compiled, keep)
                writer.write(pa.record_batch(priced, schema=schema))
                rows += batch.num_rows
                misfits += batch.num_rows - fits
                total += batch_total
                advance(batch.num_rows)
    finally:
        writer.close()
    return rows, misfits, total


def _kept_type(kind: pa.DataType) -> pa.DataType:
    return kind.value_type if pa.types.is_dictionary(kind) else kind


def _priced(
    batch: pa.RecordBatch,
    source: Path,
    first_row: int,
    plan: Plan,
    compiled: BulkPlans,
    keep: Sequence[str],
) -> tuple[list[Any], int, int]:
    """Return the output columns of a batch, how many of its rows fit, and their total."""
    quantities = _quantities(batch, source, first_row, plan)
    rated = rate_batch(compiled, 0, quantities, threads=len(os.sched_getaffinity(0)))
    fits = rated.statuses == RowStatus.OK
    columns = [batch.column(name) for name in keep]
    columns = [c.dictionary_decode() if pa.types.is_dictionary(c.type) else c for c in columns]
    for units in (*rated.charges.T, *rated.commitments.T, rated.totals):
        columns.append(amount_column(units, plan.rounding.scale, fits))
    names = pa.array([status.name for status in RowStatus])
    columns.append(names.take(pa.array(rated.statuses)))
    # Halves, so that the sum of a batch's totals cannot wrap.
    halves = np.divmod(rated.totals, 1 << 32)
    total = (int(halves[0].sum()) << 32) + int(halves[1].sum())
    return columns, int(fits.sum()), total


def _quantities(
    batch: pa.RecordBatch, source: Path, first_row: int, plan: Plan
) -> np.ndarray[tuple[int, ...], np.dtype[np.int64]]:
    """Return rows × meters; the first value that is no quantity ends the command."""
    by_event = {c.meter for c in plan.charges if c.model is ChargeModel.PERCENTAGE}
    wanted = _priced_meters(plan)
    quantities = np.zeros((batch.num_rows, len(plan.meters)), np.int64)
    for position, meter in enumerate(plan.meters):
        if meter.id not in wanted:
            continue
        try:
            column = batch.column(meter.id)
            units = quantity_units(column, meter.scale, blank_is_none=meter.id in by_event)
        except ColumnFault as fault:
            row = "" if fault.row is None else f"row {first_row + fault.row + 1}: "
            raise bad_input(f"{source}: {row}column {meter.id}: {fault}") from None
        quantities[:, position] = units
    return quantities
