"""`ratewright demo`: the main job end to end, and the proof that every amount is exact."""

from __future__ import annotations

import shutil
import signal
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from importlib.resources import as_file, files
from pathlib import Path
from time import monotonic

import click

from rating_client.client import Client
from rating_client.errors import RatewrightError
from rating_core.catalog import Plan
from rating_core.period import period_bounds
from rating_server.cli import demo_workload
from rating_server.cli.account import view_of_statement
from rating_server.cli.chunks import CHUNK_RECORDS, Chunk
from rating_server.cli.demo_check import (
    compare,
    instant,
    priced,
    raw_usage,
    statements_of,
)
from rating_server.cli.demo_server import running_server
from rating_server.cli.failure import CommandError, bad_input, complain
from rating_server.cli.ingest import status_rows
from rating_server.cli.mapping_options import MappingFlags, RecordFile, mapping_options
from rating_server.cli.offline import load_plan
from rating_server.cli.online import connected, error_lines
from rating_server.cli.plan import publish_plan
from rating_server.cli.progress import progress
from rating_server.cli.sending import Summary, send
from rating_server.cli.statement_view import print_statement
from rating_server.cli.subscribe import Terms, subscribe_all

_SHOWN = 10
_RESEND_EVERY = 10


@dataclass(frozen=True, slots=True)
class Material:
    """What a run streams. ``start`` is the first instant of the earliest period."""

    chunks: Sequence[Chunk]
    customers: Sequence[str]
    start: datetime
    description: Sequence[str]

    @property
    def records(self) -> int:
        """Number of records."""
        return sum(map(len, self.chunks))


@click.command()
@click.option(
    "--customers",
    "customer_count",
    type=click.IntRange(1, 100_000),
    default=1_000,
    show_default=True,
)
@click.option(
    "--records",
    "record_count",
    type=click.IntRange(2, 100_000_000),
    default=1_000_000,
    show_default=True,
)
@click.option("--seed", type=click.IntRange(0), default=1, show_default=True)
@click.option(
    "--keep",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Keep the data directory and the server's log in this new directory.",
)
@click.option(
    "--plan",
    "plan_file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="A plan of your own; default an LLM API plan.",
)
@click.option(
    "--usage",
    "usage_files",
    multiple=True,
    metavar="FILE",
    help="Records of your own instead of generated ones, mapped by the flags below (as `ingest` "
    "takes them); may be given several times.",
)
@mapping_options
def demo(
    customer_count: int,
    record_count: int,
    seed: int,
    keep: Path | None,
    plan_file: Path | None,
    usage_files: tuple[str, ...],
    flags: MappingFlags,
) -> None:
    """Stream a month of usage through a real server and check every customer's total.

    Starts a server with its own store, publishes a plan, subscribes the customers, streams the
    records, resends a tenth of the batches, shows one statement, and compares every statement with
    an independent reference over the raw records. Leaves nothing running and no files.
    """
    started = monotonic()
    # Whoever ends the demo, by Ctrl-C or by SIGTERM, must not leave its server behind.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with _plan_path(plan_file) as path:
        plan = load_plan(path)
        with _directory(keep) as directory:
            if usage_files:
                material = _read_material(usage_files, flags, plan)
            else:
                material = _generate(customer_count, record_count, seed)
            with running_server(directory) as target:
                _step(started, f"server and store are up at {target}")
                with connected(target) as client:
                    agree = _run(client, target, path, plan, material, started)
    _step(started, "server and store are stopped" + ("" if keep else ", their files removed"))
    if not agree:
        raise CommandError


def _step(started: float, words: str) -> None:
    click.echo(f"{monotonic() - started:6.1f} s  {words}")


@contextmanager
def _plan_path(plan_file: Path | None) -> Iterator[Path]:
    if plan_file is not None:
        yield plan_file
        return
    with as_file(files("rating_server.cli") / "data" / "demo_plan.yaml") as path:
        yield path


@contextmanager
def _directory(keep: Path | None) -> Iterator[Path]:
    """Yield a directory for the run; it is removed afterwards unless it is to be kept."""
    if keep is None:
        directory = Path(tempfile.mkdtemp(prefix="ratewright-demo-"))
        try:
            yield directory
        finally:
            shutil.rmtree(directory, ignore_errors=True)
        return
    try:
        keep.mkdir(parents=True)
    except FileExistsError:
        raise bad_input(f"--keep: {keep} exists already") from None
    except OSError as error:
        raise bad_input(f"--keep: {keep}: {(error.strerror or str(error)).lower()}") from None
    yield keep


def _generate(customers: int, records: int, seed: int) -> Material:
    workload = demo_workload.generate(customers, records, seed)
    return Material(
        chunks=list(workload.chunks(CHUNK_RECORDS)),
        customers=workload.customers,
        start=demo_workload.MONTH_START,
        description=demo_workload.description(workload),
    )


def _read_material(names: Sequence[str], flags: MappingFlags, plan: Plan) -> Material:
    chunks: list[Chunk] = []
    customers: dict[str, None] = {}
    description = []
    for name in names:
        source = RecordFile.of(flags, name)
        found = list(source.chunks())
        chunks += found
        for chunk in found:
            customers.update(dict.fromkeys(chunk.columns.customers))
        for line in source.first_faults:
            complain(line)
        description.append(f"{name}: {source.rows:,} rows, {source.faults:,} unreadable")
    if not chunks:
        raise bad_input(f"{', '.join(names)}: no records")
    earliest = min(min(chunk.columns.event_times_micros) for chunk in chunks)
    start = instant(period_bounds(plan.billing_period, earliest)[0])
    return Material(chunks, list(customers), start, description)


def _run(
    client: Client, target: str, path: Path, plan: Plan, material: Material, started: float
) -> bool:
    """Run all steps against a server; return whether every statement agrees."""
    for line in material.description:
        _step(started, f"usage: {line}")
    published = publish_plan(client, path).plan
    _step(started, f"published plan {published.id}@{published.version}")
    _subscribe(client, target, published.id, material)
    _step(started, f"subscribed {len(material.customers):,} customers")
    with progress("streaming", material.records, "records") as advance:
        summary = send(client, material.chunks, advance)
    _step(
        started,
        f"streamed {summary.records:,} records in {summary.batches} batches: "
        f"{_words(summary)}, {summary.records_per_second:,} records/s, each acknowledged durable",
    )
    _explain_refused(summary, target)
    usage = raw_usage(plan, material.chunks, material.customers, summary.refused_records)
    if not priced(plan, usage):
        complain("warning: no counted record matches any charge of the plan (see its meters)")
    _resend(client, material, summary, started)
    with progress("reading statements", len(usage), "statements") as advance:
        statements = statements_of(client, list(usage), advance)
    _step(started, f"read {len(statements):,} statements; that of the busiest customer:")
    click.echo()
    busiest = max(usage, key=lambda account: sum(map(len, usage[account].values())))
    print_statement(view_of_statement(statements[busiest]), "table")
    click.echo()
    with progress("checking", len(usage), "statements") as advance:
        differences = compare(plan, usage, statements, advance)
    agreeing = len(usage) - len(differences)
    _step(started, f"{agreeing} of {len(usage)} totals agree with the reference on raw records")
    for difference in differences[:_SHOWN]:
        customer, start = difference.account
        complain(f"customer {customer}, period of {instant(start):%Y-%m-%d}: {difference.words}")
    return not differences


def _words(summary: Summary) -> str:
    return ", ".join(
        f"{int(row['records']):,} {row['status']} {row['reason']}".rstrip()
        for row in status_rows(summary)
    )


def _explain_refused(summary: Summary, target: str) -> None:
    for refused in summary.refused:
        complain(f"row {refused.row}: {refused.outcome} (customer {refused.customer})")
    if summary.error is not None:
        for line in error_lines(summary.error, target):
            complain(line)


def _subscribe(client: Client, target: str, plan_id: str, material: Material) -> None:
    with progress("subscribing", len(material.customers), "customers") as advance:
        terms = Terms((plan_id, None), material.start)
        results = subscribe_all(client, material.customers, terms, advance)
    for customer, result in results.items():
        if isinstance(result, RatewrightError):
            raise CommandError(f"{customer}: {error_lines(result, target)[0]}")


def _resend(client: Client, material: Material, first: Summary, started: float) -> None:
    """Send a tenth of the batches again; every record that was counted must be a DUPLICATE."""
    again = material.chunks[::_RESEND_EVERY]
    with progress("resending", sum(map(len, again)), "records") as advance:
        summary = send(client, again, advance)
    _step(
        started,
        f"resent {len(again)} of {len(material.chunks)} batches: {_words(summary)}; "
        "nothing is counted twice",
    )
    accepted = summary.statuses["ACCEPTED"]
    if accepted or (first.all_counted and summary.statuses["DUPLICATE"] != summary.records):
        raise CommandError(f"a resent batch was not a duplicate: {_words(summary)}")
