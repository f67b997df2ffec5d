"""`ratewright verify` and `ratewright rebuild`: counters and snapshots against the logs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from rating_server.cli.failure import CommandError, complain
from rating_server.cli.output import format_option, print_json, print_rows
from rating_server.cli.progress import progress
from rating_server.cli.store_access import StorePlace, opened, run, store_options

_COLUMNS = (
    "shard",
    "entries",
    "version",
    "mark",
    "ids",
    "hashes",
    "snapshots",
    "differences",
    "repaired",
)


@click.command()
@store_options
@format_option
def verify(
    redis_url: str, data_dir: Path, archive: str, shards: tuple[int, ...], output_format: str
) -> None:
    """Replay every log from its first entry, and compare all that is derived from it.

    The chain of tokens, that each id was counted once, every counter hash at the version it stands
    at, the mark F, and every snapshot of the archive. Changes nothing; a server may run beside it.
    Exit status 1 if anything differs.
    """
    _report(run(_check(StorePlace(redis_url, data_dir, archive), shards, False)), output_format)


@click.command()
@store_options
@click.option("--repair", is_flag=True, help="Write what the hashes should be.")
@format_option
def rebuild(
    redis_url: str,
    data_dir: Path,
    archive: str,
    shards: tuple[int, ...],
    repair: bool,
    output_format: str,
) -> None:
    """Recompute all counters from archive and log, and compare them with those in the store.

    With --repair, hashes that differ are written anew; servers may go on meanwhile. Exit status 1
    if anything differs that was not repaired.
    """
    _report(run(_check(StorePlace(redis_url, data_dir, archive), shards, repair)), output_format)


async def _check(place: StorePlace, shards: tuple[int, ...], repair: bool) -> list[dict[str, Any]]:
    from rating_core.metering.shard import UsageShard
    from rating_server.store.log_reader import log_reader
    from rating_server.store.mend import mend_hashes
    from rating_server.store.verify import verify_log

    rows: list[dict[str, Any]] = []
    async with opened(place) as access:
        for keys in access.keys(shards):
            async with log_reader(access.options, keys) as reader:
                head, _ = await reader.head()
            machine, spare = (UsageShard(access.hash_key, lambda _: None) for _ in range(2))
            with progress(f"shard {keys.name}", head, "entries") as advance:
                report = await verify_log(
                    access.options, keys, machine, access.files, lambda _: advance(1), spare
                )
            repaired = 0
            if repair and report.repairs:
                repaired = await mend_hashes(access.options, keys, report.repairs)
            whole = bool(report.repairs) and repaired == len(report.repairs)
            rows.append(
                {
                    "shard": keys.name,
                    "entries": report.entries,
                    "version": report.version,
                    "mark": report.mark,
                    "ids": report.ids,
                    "hashes": report.hashes,
                    "snapshots": report.snapshots,
                    "differences": report.differences,
                    "repaired": repaired,
                    "ok": report.ok or (whole and report.only_hashes),
                }
            )
    return rows


def _report(rows: list[dict[str, Any]], output_format: str) -> None:
    if output_format == "json":
        print_json(rows)
    else:
        cells = [{name: str(row[name]) for name in _COLUMNS} for row in rows]
        for cell, row in zip(cells, rows, strict=True):
            cell["differences"] = str(len(row["differences"]))
        print_rows(output_format, _COLUMNS, cells, right=_COLUMNS)
    for row in rows:
        for line in row["differences"]:
            complain(f"shard {row['shard']}: {line}")
    if not all(row["ok"] for row in rows):
        raise CommandError
