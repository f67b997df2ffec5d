"""`ratewright log`: what the logs and their archive hold, proved by the chain of tokens."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import click

from rating_server.cli.failure import CommandError, bad_input, complain
from rating_server.cli.online import InstantType
from rating_server.cli.output import format_option, print_rows
from rating_server.cli.progress import progress
from rating_server.cli.store_access import StoreAccess, StorePlace, opened, run, store_options

if TYPE_CHECKING:
    from rating_server.cli.log_export import RecordWriter

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_LIST_COLUMNS = ("shard", "where", "first", "last", "bytes", "token")


@click.group()
def log() -> None:
    """List, verify and export the logs of a store, what was archived included."""


@log.command(name="list")
@store_options
@format_option
def list_logs(
    redis_url: str, data_dir: Path, archive: str, shards: tuple[int, ...], output_format: str
) -> None:
    """List the pieces of each shard's log: segments and snapshots of the archive, and the log."""
    place = StorePlace(redis_url, data_dir, archive)
    rows = run(_list(place, shards))
    print_rows(output_format, _LIST_COLUMNS, rows, right=("shard", "first", "last", "bytes"))


async def _list(place: StorePlace, shards: tuple[int, ...]) -> list[dict[str, str]]:
    from rating_server.store.log_reader import log_reader

    rows: list[dict[str, str]] = []
    async with opened(place) as access:
        for keys in access.keys(shards):
            rows += _archive_rows(access, keys.name)
            async with log_reader(access.options, keys) as reader:
                first = [entry async for entry in reader.log(0, 1)]
                version, token = await reader.head()
                size = await reader.memory()
            begins = first[0].version if first else version + 1
            rows.append(_row(keys.name, "log", begins, version, size, token))
    return rows


def _archive_rows(access: StoreAccess, name: str) -> list[dict[str, str]]:
    if access.files is None:
        return []
    listing = access.files.listing(name)
    if listing.problem:
        raise CommandError(listing.problem)
    rows = [
        _row(name, "segment", s.first, s.last, access.files.size(name, s), s.token)
        for s in listing.segments
    ]
    states = listing.snapshots
    return rows + [_row(name, "snapshot", s.version, s.version, None, s.token) for s in states]


def _row(
    shard: str, where: str, first: int, last: int, size: int | None, token: bytes
) -> dict[str, str]:
    numbers = {"first": str(first), "last": str(last), "bytes": "" if size is None else str(size)}
    return {"shard": shard, "where": where, **numbers, "token": token.hex()}


@log.command(name="verify")
@store_options
@format_option
def verify_chain(
    redis_url: str, data_dir: Path, archive: str, shards: tuple[int, ...], output_format: str
) -> None:
    """Read every entry from the first, in archive and log, and compute the chain of tokens.

    Exit status 1 if an entry is missing, damaged or of another history.
    """
    rows = run(_verify(StorePlace(redis_url, data_dir, archive), shards))
    columns = ("shard", "entries", "records", "version", "token", "problem")
    print_rows(output_format, columns, rows, right=("shard", "entries", "records", "version"))
    if any(row["problem"] for row in rows):
        raise CommandError


async def _verify(place: StorePlace, shards: tuple[int, ...]) -> list[dict[str, str]]:
    from rating_core.errors import LogCorrupt
    from rating_core.metering.deciding.records_entry import RecordsEntry
    from rating_core.metering.log.entry import decode_body, decode_envelope
    from rating_core.metering.log.protocol import EMPTY_TOKEN, chain_token
    from rating_server.store.log_reader import log_reader
    from rating_server.store.whole_log import whole_log

    rows = []
    async with opened(place) as access:
        for keys in access.keys(shards):
            entries = records = version = 0
            token, problem = EMPTY_TOKEN, ""
            async with log_reader(access.options, keys) as reader:
                head, head_token = await reader.head()
                with progress(f"shard {keys.name}", head, "entries") as advance:
                    try:
                        async for entry in whole_log(reader, access.files):
                            body = decode_body(decode_envelope(entry.entry).body)
                            records += len(body) if isinstance(body, RecordsEntry) else 0
                            version = entry.version
                            token = chain_token(entry.previous, entry.entry)
                            entries += 1
                            advance(1)
                            if version == head and token != head_token:
                                problem = "the head's token is not the last entry's"
                    except LogCorrupt as error:
                        problem = str(error)
            if version < head and not problem:
                problem = f"the head is at {head}, the log ends at {version}"
            row = {"shard": keys.name, "entries": str(entries), "records": str(records)}
            rows.append(row | {"version": str(version), "token": token.hex(), "problem": problem})
    return rows


@log.command()
@store_options
@format_option
def mend(
    redis_url: str, data_dir: Path, archive: str, shards: tuple[int, ...], output_format: str
) -> None:
    """Write damaged segments of the archive anew, from the log and from other segments.

    Reads all segments; servers may go on meanwhile. Of a damaged file a copy stays. Exit status 1
    if a segment stays damaged: one line says what is missing.
    """
    rows = run(_mend(StorePlace(redis_url, data_dir, archive), shards))
    columns = ("shard", "first", "last", "token", "outcome")
    print_rows(output_format, columns, rows, right=("shard", "first", "last"))
    left = [row for row in rows if row["outcome"] != "mended"]
    for row in left:
        named = f"segment {row['first']}-{row['last']} of shard {row['shard']}"
        complain(f"{named} stays damaged: {row['outcome']}")
    if left:
        raise CommandError


async def _mend(place: StorePlace, shards: tuple[int, ...]) -> list[dict[str, str]]:
    from rating_server.store.log_reader import log_reader
    from rating_server.store.mend_archive import mend_segments

    rows: list[dict[str, str]] = []
    async with opened(place) as access:
        if access.files is None:
            raise bad_input("there is no archive; name it with --archive")
        for keys in access.keys(shards):
            async with log_reader(access.options, keys) as reader:
                for one in await mend_segments(reader, access.files):
                    name = one.name
                    row = {"shard": keys.name, "first": str(name.first), "last": str(name.last)}
                    rows.append(
                        row | {"token": name.token.hex(), "outcome": one.problem or "mended"}
                    )
    return rows


@log.command()
@store_options
@click.option("--customer", required=True, metavar="CUSTOMER", help="Whose records.")
@click.option("--from", "begin", type=InstantType(), metavar="TIME", help="Event times from here.")
@click.option("--to", "end", type=InstantType(), metavar="TIME", help="Event times before this.")
@click.option(
    "--out",
    required=True,
    metavar="FILE|-",
    help="A .csv, .jsonl or .parquet file; - writes CSV to standard output.",
)
def export(
    redis_url: str,
    data_dir: Path,
    archive: str,
    shards: tuple[int, ...],
    customer: str,
    begin: datetime | None,
    end: datetime | None,
    out: str,
) -> None:
    """Write the counted records of a customer, each once, out of archive and log.

    Needs the extra `ratewright[parquet]`.
    """
    if shards:
        raise bad_input("--shard: a customer lives in one shard, which the command finds")
    try:
        from rating_server.cli.log_export import open_writer
    except ImportError:
        raise bad_input("export needs pyarrow: pip install 'ratewright[parquet]'") from None
    limits = (_micros(begin), _micros(end))
    with open_writer(out) as writer:
        run(_export(StorePlace(redis_url, data_dir, archive), customer, limits, writer))
    complain(f"{writer.count} records")


def _micros(instant: datetime | None) -> int | None:
    return None if instant is None else (instant - _EPOCH) // _MICROSECOND


async def _export(
    place: StorePlace,
    customer: str,
    limits: tuple[int | None, int | None],
    writer: RecordWriter,
) -> None:
    from rating_core.metering.batch import shard_of
    from rating_server.store.keys import shard_keys
    from rating_server.store.log_reader import log_reader
    from rating_server.store.whole_log import whole_log

    async with opened(place) as access:
        keys = shard_keys(shard_of(customer, access.shards))
        async with log_reader(access.options, keys) as reader:
            head, _ = await reader.head()
            with progress(f"shard {keys.name}", head, "entries") as advance:
                async for entry in whole_log(reader, access.files):
                    writer.take(entry, customer, *limits)
                    advance(1)
