"""Finds damaged segments of an archive and writes them anew where their entries still are (P10).

The name of a segment proves its content: entries that lead from its first token to its last are the
ones that stood there, wherever they are read. They are looked for in the log, and in whole segments
that hold some of the same entries.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rating_core.metering.log.archive import Listing, SegmentName
from rating_core.metering.log.protocol import LogEntry, chain_token
from rating_server.store.archive_place import ArchiveUnusable
from rating_server.store.log_reader import LogReader

if TYPE_CHECKING:
    from rating_server.store.archive_files import ArchiveFiles


@dataclass(frozen=True, slots=True)
class Mended:
    """A segment that was damaged. ``problem``: why it still is, in one line; empty if it is not."""

    name: SegmentName
    problem: str = ""


async def damaged_segments(
    reader: LogReader, files: ArchiveFiles, after: int = 0
) -> list[SegmentName]:
    """Return the segments with entries behind version ``after`` that cannot be read whole.

    Reads every one of them. ArchiveUnusable if the archive cannot be listed.
    """
    listing = await _listing(reader, files)
    return [
        name
        for name in listing.segments
        if name.last > after and not await asyncio.to_thread(files.segment, reader.log_name, name)
    ]


async def mend_segments(reader: LogReader, files: ArchiveFiles) -> list[Mended]:
    """Write the damaged segments of a log anew, and say of each what came of it.

    Servers may go on meanwhile; a damaged file is kept as a copy under `<log>/damaged`.
    ArchiveUnusable if the archive cannot be listed, StoreUnavailable if the store does not answer.
    """
    return [
        Mended(name, await _mend(reader, files, name))
        for name in await damaged_segments(reader, files)
    ]


async def _listing(reader: LogReader, files: ArchiveFiles) -> Listing:
    listing = await asyncio.to_thread(files.listing, reader.log_name)
    if listing.problem:
        raise ArchiveUnusable(listing.problem)
    return listing


async def _mend(reader: LogReader, files: ArchiveFiles, name: SegmentName) -> str:
    known = await _entries_near(reader, files, name)
    entries: list[LogEntry] = []
    version, token = name.first - 1, name.previous
    while version < name.last:
        entry = known.get((version + 1, token))
        if entry is None:
            return (
                f"entry {version + 1} is neither in the log nor in another segment; "
                "restore the file from a backup of the archive"
            )
        entries.append(entry)
        version, token = entry.version, chain_token(entry.previous, entry.entry)
    if token != name.token:
        return "it is of a history that a failover has lost, and nothing needs it"
    written = await asyncio.to_thread(files.rewrite_segment, reader.log_name, name, entries)
    return "" if written else "it cannot be written; a line of the log says why"


async def _entries_near(
    reader: LogReader, files: ArchiveFiles, name: SegmentName
) -> dict[tuple[int, bytes], LogEntry]:
    """Return the entries of a segment's versions, by version and token before."""
    found: dict[tuple[int, bytes], LogEntry] = {}
    for other in (await _listing(reader, files)).segments:
        if other != name and other.first <= name.last and other.last >= name.first:
            entries = await asyncio.to_thread(files.segment, reader.log_name, other)
            found |= {(entry.version, entry.previous): entry for entry in entries}
    async for entry in reader.log(name.first - 1):
        if entry.version > name.last:
            break
        found[entry.version, entry.previous] = entry
    return found
