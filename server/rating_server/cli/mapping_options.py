"""The flags that map the columns of a file to records, shared by `ingest` and `demo --usage`."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import TextIOWrapper
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import click

from rating_server.cli.chunks import CHUNK_RECORDS, Chunk, ChunkBuilder
from rating_server.cli.failure import bad_input
from rating_server.cli.rows import (
    TIME_FORMATS,
    RowFault,
    RowMapping,
    RowReader,
    csv_rows,
    json_rows,
)

F = TypeVar("F", bound=Callable[..., Any])

_SUFFIXES = {".csv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl"}
_DESCRIPTOR_FOLDERS = ("/dev", "/dev/fd", "/proc/self/fd")
_HASH_MAX = 1_000_000
_FAULTS_SHOWN = 10

_OPTIONS = (
    click.option(
        "--input-format",
        type=click.Choice(["csv", "jsonl"]),
        help="Default: by the suffix .csv, .jsonl or .ndjson.",
    ),
    click.option(
        "--meter",
        "meters",
        multiple=True,
        metavar="METER[=COLUMN]",
        help="A meter and the column of its quantities; without a column each row counts 1. "
        "Several make several records of a row; a blank cell makes none.",
    ),
    click.option("--meter-column", metavar="COLUMN", help="The column that names the meter."),
    click.option(
        "--quantity-column",
        metavar="COLUMN",
        help="The quantity, with --meter-column; without it each row counts 1.",
    ),
    click.option("--time", "time_column", metavar="COLUMN", help="The event time."),
    click.option(
        "--time-format",
        type=click.Choice(TIME_FORMATS),
        default="iso",
        show_default=True,
        help="iso: ISO 8601, without a zone UTC; or what an epoch number counts. Digits finer "
        "than a microsecond are cut.",
    ),
    click.option("--customer", metavar="CUSTOMER", help="All rows belong to this customer."),
    click.option("--customer-column", metavar="COLUMN", help="The column that names the customer."),
    click.option(
        "--customer-hash",
        type=click.IntRange(1, _HASH_MAX),
        metavar="N",
        help="For traces without customers: c000, c001, … by the row's hash (blake2b) modulo N.",
    ),
    click.option(
        "--dimension",
        "dimensions",
        multiple=True,
        metavar="NAME=COLUMN",
        help="A dimension and the column of its values.",
    ),
    click.option(
        "--attribute",
        "attributes",
        multiple=True,
        metavar="NAME=COLUMN",
        help="An attribute and the column of its values.",
    ),
    click.option(
        "--event-id-column",
        metavar="COLUMN",
        help="The event id; with several meters the meter is appended to it. Default: ids derived "
        "from source, row number and meter.",
    ),
    click.option(
        "--source",
        metavar="NAME",
        help="Name in derived event ids: the same rows count once. Default: the file's name.",
    ),
)


@dataclass(frozen=True, slots=True)
class MappingFlags:
    """The flags as they were given; `mapping_for` checks them for one file."""

    input_format: str | None
    meters: tuple[str, ...]
    meter_column: str | None
    quantity_column: str | None
    time_column: str | None
    time_format: str
    customer: str | None
    customer_column: str | None
    customer_hash: int | None
    dimensions: tuple[str, ...]
    attributes: tuple[str, ...]
    event_id_column: str | None
    source: str | None


def mapping_options(command: F) -> F:
    """Give a command the mapping flags, as one argument ``flags``."""
    names = MappingFlags.__dataclass_fields__

    @functools.wraps(command)
    def gathered(**given: Any) -> Any:
        flags = MappingFlags(**{name: given.pop(name) for name in names})
        return command(flags=flags, **given)

    result: Any = gathered
    for option in reversed(_OPTIONS):
        result = option(result)
    return result  # type: ignore[no-any-return]


def _pairs(stated: tuple[str, ...], flag: str) -> tuple[tuple[str, str], ...]:
    pairs = [text.partition("=")[::2] for text in stated]
    for text, (name, column) in zip(stated, pairs, strict=True):
        if not name or not column:
            raise bad_input(f"{flag}: expected NAME=COLUMN, got {text!r}")
    return tuple(pairs)


def _one_of(what: str, given: dict[str, object]) -> None:
    chosen = [flag for flag, value in given.items() if value is not None and value != ()]
    if len(chosen) != 1:
        got = " and ".join(chosen) or "none"
        raise bad_input(f"{what}: expected one of {', '.join(given)}; got {got}")


def _meters(flags: MappingFlags) -> tuple[tuple[str, str | None], ...]:
    meters: list[tuple[str, str | None]] = []
    for text in flags.meters:
        name, equals, column = text.partition("=")
        if not name or (equals and not column):
            raise bad_input(f"--meter: expected METER or METER=COLUMN, got {text!r}")
        if name in dict(meters):
            raise bad_input(f"--meter: {name} is given twice")
        meters.append((name, column or None))
    return tuple(meters)


def _is_stream(name: str) -> bool:
    """Whether an input may be read only once, or its name says nothing about its content."""
    if name == "-":
        return True
    path = Path(name)
    # `/dev/stdin` redirected from a file is a regular file, but the same name for all of them.
    if str(path.absolute().parent) in _DESCRIPTOR_FOLDERS:
        return True
    return path.exists() and not path.is_file() and not path.is_dir()


def mapping_for(flags: MappingFlags, name: str) -> RowMapping:
    """Return the mapping for a file; flags that contradict end the command (status 2)."""
    _one_of("meters", {"--meter": flags.meters, "--meter-column": flags.meter_column})
    _one_of(
        "customer",
        {
            "--customer": flags.customer,
            "--customer-column": flags.customer_column,
            "--customer-hash": flags.customer_hash,
        },
    )
    if flags.time_column is None:
        raise bad_input("--time: the column of the event time is needed")
    if flags.quantity_column is not None and flags.meter_column is None:
        raise bad_input("--quantity-column: only with --meter-column; otherwise --meter M=COLUMN")
    source = flags.source if flags.source is not None else Path(name).name
    if flags.event_id_column is None and flags.source is None and _is_stream(name):
        what = "standard input" if name == "-" else f"{name}, which is no regular file"
        raise bad_input(f"--source: needed with {what}, or else --event-id-column")
    if not source:
        raise bad_input("--source: must not be empty")
    return RowMapping(
        time_column=flags.time_column,
        source=source,
        time_format=flags.time_format,
        meters=_meters(flags),
        meter_column=flags.meter_column,
        quantity_column=flags.quantity_column,
        customer=flags.customer,
        customer_column=flags.customer_column,
        customer_hash=flags.customer_hash,
        dimensions=_pairs(flags.dimensions, "--dimension"),
        attributes=_pairs(flags.attributes, "--attribute"),
        event_id_column=flags.event_id_column,
    )


@dataclass(slots=True)
class RecordFile:
    """A file of records. ``faults`` counts rows that could not be read, and keeps the first."""

    name: str
    mapping: RowMapping
    input_format: str
    faults: int = 0
    first_faults: list[str] = field(default_factory=list)
    rows: int = 0

    @classmethod
    def of(cls, flags: MappingFlags, name: str) -> RecordFile:
        """Return the file with its mapping; wrong flags end the command (status 2)."""
        found = flags.input_format or _SUFFIXES.get(Path(name).suffix.lower())
        if found is None:
            raise bad_input(f"{name}: neither .csv nor .jsonl: say which by --input-format")
        return cls(name, mapping_for(flags, name), found)

    def expected_records(self) -> int | None:
        """Return about how many records the file holds; ``None`` if it can be read only once."""
        if _is_stream(self.name):
            return None
        with _opened(self.name) as file:
            blocks = iter(functools.partial(file.read, 1 << 20), b"")
            lines = sum(block.count(b"\n") for block in blocks)
        return lines * max(1, len(self.mapping.meters))

    def chunks(self) -> Iterator[Chunk]:
        """Yield the records of all rows that can be read; the others are counted as faults."""
        with _opened(self.name) as binary:
            text = TextIOWrapper(binary, "utf-8-sig", newline="")
            try:
                yield from self._chunks(text)
            except UnicodeDecodeError:
                message = f"{self.name}: not UTF-8 text after row {self.rows}"
                raise bad_input(message) from None
            finally:
                text.detach()

    def _chunks(self, text: TextIOWrapper) -> Iterator[Chunk]:
        if self.input_format == "csv":
            rows = csv_rows(text, self.name, self.mapping)
        else:
            rows = json_rows(text, self.name)
        reader = RowReader(self.mapping)
        builder = ChunkBuilder()
        for number, row_text, row in rows:
            self.rows = number
            try:
                if isinstance(row, str):
                    raise RowFault(number, row)  # noqa: TRY301 - one place that counts faults
                reader.add(builder, number, row_text, row)
            except RowFault as fault:
                self.faults += 1
                if len(self.first_faults) < _FAULTS_SHOWN:
                    self.first_faults.append(f"{self.name}: {fault}")
            if len(builder) >= CHUNK_RECORDS:
                yield builder.seal()
        if len(builder):
            yield builder.seal()


@contextmanager
def _opened(name: str) -> Iterator[BinaryIO]:
    if name == "-":
        yield sys.stdin.buffer
        return
    try:
        file = Path(name).open("rb")  # noqa: SIM115 - only opening it may fail here
    except OSError as error:
        raise bad_input(f"{name}: {(error.strerror or str(error)).lower()}") from None
    with file:
        yield file
