"""All entries of a log from the first: out of the archive what was trimmed, then the log (P10).

Every entry is checked to continue the chain, whichever of the two it comes from.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from rating_core.errors import LogCorrupt
from rating_core.metering.log.archive import paths_to, whole
from rating_core.metering.log.protocol import EMPTY_TOKEN, LogEntry, chain_token
from rating_server.store.log_reader import LogReader

if TYPE_CHECKING:
    from rating_server.store.archive_files import ArchiveFiles


async def whole_log(reader: LogReader, files: ArchiveFiles | None) -> AsyncIterator[LogEntry]:
    """Yield every entry from version 1 on; LogCorrupt where one is missing or another's (P5).

    A log that is trimmed while it is read goes on from the archive.
    """
    version, token = 0, EMPTY_TOKEN
    while True:
        gap: LogEntry | None = None
        async for entry in reader.log(version):
            if entry.version > version + 1:
                gap = entry
                break
            token = _next_token(entry, version, token)
            version = entry.version
            yield entry
        if gap is None:
            return
        if files is None and version:
            raise LogCorrupt(f"entry {gap.version} does not continue the log at {version}")
        if files is None:
            raise LogCorrupt(f"the log begins with entry {gap.version}, and no archive was given")
        async for entry in _archived(reader, files, gap, version):
            token = _next_token(entry, version, token)
            version = entry.version
            yield entry


def _next_token(entry: LogEntry, version: int, token: bytes) -> bytes:
    if (entry.version, entry.previous) != (version + 1, token):
        raise LogCorrupt(f"entry {entry.version} does not continue the log at {version}")
    return chain_token(entry.previous, entry.entry)


async def _archived(
    reader: LogReader, files: ArchiveFiles, gap: LogEntry, after: int
) -> AsyncIterator[LogEntry]:
    """Yield the archived entries after version ``after`` and before ``gap``."""
    listing = await asyncio.to_thread(files.listing, reader.log_name)
    if listing.problem:
        raise LogCorrupt(listing.problem)
    for path in paths_to(listing, gap.version - 1, gap.previous):
        last = await asyncio.to_thread(files.segment, reader.log_name, path[-1])
        joined = [entry for entry in last if entry.version == gap.version - 1]
        if not joined or chain_token(joined[0].previous, joined[0].entry) != gap.previous:
            continue  # of another history
        if not whole(path):
            raise LogCorrupt(f"the archive lacks the entries before {path[0].first}")
        for name in path:
            if name.last <= after:
                continue
            entries = await asyncio.to_thread(files.segment, reader.log_name, name)
            if not entries:
                raise LogCorrupt(f"segment {name.first}-{name.last} is missing or damaged")
            for entry in entries:
                if after < entry.version < gap.version:
                    yield entry
        return
    raise LogCorrupt(f"the log begins with entry {gap.version}, the archive does not lead there")
