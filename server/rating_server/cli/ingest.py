"""`ratewright ingest`: the records of a file into a running server, each exactly once."""

from __future__ import annotations

from itertools import chain, islice

import click

from rating_client.values import RecordStatus
from rating_server.cli.entry import EXIT_INTERRUPTED
from rating_server.cli.failure import CommandError, complain
from rating_server.cli.mapping_options import MappingFlags, RecordFile, mapping_options
from rating_server.cli.online import connected, error_lines
from rating_server.cli.output import format_option, print_json, print_rows, target_option
from rating_server.cli.progress import progress
from rating_server.cli.sending import SendingInterrupted, Summary, send


@click.command()
@click.argument("file", metavar="FILE|-")
@mapping_options
@click.option(
    "--retract",
    is_flag=True,
    help="Take the records back instead: the same file with the same flags.",
)
@click.option(
    "--spool",
    metavar="DIR",
    type=click.Path(file_okay=False),
    help="Put records into files of this directory first: what is unanswered when the run ends, "
    "however it ends, is sent by the next run with the same directory.",
)
@target_option
@format_option
def ingest(
    file: str,
    flags: MappingFlags,
    retract: bool,
    spool: str | None,
    target: str,
    output_format: str,
) -> None:
    """Send the usage records of a CSV or JSON lines file (- is standard input).

    A row that is sent again is a DUPLICATE and changes nothing, so that an interrupted run is
    simply started again. Exit status 1 if any record is rejected, in conflict with an earlier one,
    or any row unreadable; all others are counted.

    \b
    ratewright ingest trace.csv --time TIMESTAMP --customer acme \\
        --meter input-tokens=ContextTokens --meter output-tokens=GeneratedTokens
    """
    records = RecordFile.of(flags, file)
    expected = records.expected_records()
    chunks = records.chunks()
    if retract:
        chunks = (chunk.taken_back() for chunk in chunks)
    # A header that does not fit is found here, before any server is asked.
    first = list(islice(chunks, 1))
    try:
        with connected(target) as client, progress("ingesting", expected, "records") as advance:
            summary = send(client, chain(first, chunks), advance, spool)
    except SendingInterrupted as stop:
        raise CommandError(_interrupted(file, stop.summary), status=EXIT_INTERRUPTED) from None
    _print_summary(records, summary, output_format)
    for line in records.first_faults:
        complain(line)
    for refused in summary.refused:
        place = f"row {refused.row}" if refused.row else "left by an earlier run"
        complain(
            f"{file}: {place}: {refused.outcome} (customer {refused.customer}, "
            f"event id {refused.event_id})"
        )
    problems = [] if summary.error is None else error_lines(summary.error, target)
    more = len(summary.refused_records) + records.faults
    more -= len(summary.refused) + len(records.first_faults)
    if more:
        problems.append(f"{file}: and {more} more")
    if problems or records.faults or not summary.all_counted:
        raise CommandError(*problems)


def _interrupted(file: str, summary: Summary) -> str:
    """Return the line for Ctrl-C: what is acknowledged, and that going on is safe (S7.1)."""
    answered = [
        f"{count:,} {status}"
        for status, count in sorted(summary.statuses.items())
        if status != RecordStatus.RETRY.name
    ]
    return (
        f"{file}: interrupted; records acknowledged so far: {', '.join(answered) or 'none'}; the "
        "same command again sends the rest and counts nothing twice"
    )


def status_rows(summary: Summary) -> list[dict[str, str]]:
    """Return a row per status, and per reason of REJECTED, with the number of records."""
    rows = []
    for status, count in sorted(summary.statuses.items()):
        if status == "REJECTED" and summary.reasons:
            rows += [
                {"status": status, "reason": reason, "records": str(number)}
                for reason, number in sorted(summary.reasons.items())
            ]
        else:
            rows.append({"status": status, "reason": "", "records": str(count)})
    return rows


def _print_summary(records: RecordFile, summary: Summary, output_format: str) -> None:
    rows = status_rows(summary)
    if output_format == "json":
        print_json(
            {
                "rows": str(records.rows),
                "unreadable_rows": str(records.faults),
                "records": str(summary.records),
                "records_per_second": str(summary.records_per_second),
                "statuses": rows,
            }
        )
        return
    print_rows(output_format, ("status", "reason", "records"), rows, right=("records",))
    if output_format == "table":
        click.echo(
            f"{summary.records:,} records of {records.rows:,} rows, {records.faults:,} rows "
            f"unreadable, {summary.records_per_second:,} records/s"
        )
