"""Reading the past of a shard: one entry, or the state of one customer as it stood then (S9.4)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from rating_core.errors import LogCorrupt
from rating_core.metering.archive import paths_to
from rating_core.metering.entry import decode_envelope
from rating_core.metering.protocol import LogEntry
from rating_core.metering.shard import UsageShard
from rating_server.ports import HistoryTrimmed, Until
from rating_server.store.log_reader import LogReader
from rating_server.store.whole_log import whole_log

if TYPE_CHECKING:
    from rating_server.store.archive_files import ArchiveFiles


async def read_entry(reader: LogReader, files: ArchiveFiles | None, version: int) -> bytes:
    """Return the bytes of a committed entry from the log, or else from the archive.

    HistoryTrimmed where neither holds it; LogCorrupt if it is not what its token says (P5).
    """
    first: LogEntry | None = None
    async for entry in reader.log(version - 1, most=1):
        first = entry
    if first is not None and first.version == version:
        return first.entry
    if first is not None and files is not None:
        listing = await asyncio.to_thread(files.listing, reader.log_name)
        for path in paths_to(listing, first.version - 1, first.previous):
            for name in path:
                if name.first <= version <= name.last:
                    entries = await asyncio.to_thread(files.segment, reader.log_name, name)
                    for entry in entries:
                        if entry.version == version:
                            return entry.entry
    raise HistoryTrimmed(f"entry {version} is neither in the log nor in an archive")


async def past_machine(
    reader: LogReader,
    files: ArchiveFiles | None,
    machine: UsageShard,
    customer: str,
    until: Until,
) -> UsageShard:
    """Return ``machine``, which is empty, with all that stood of one customer at a point.

    HistoryTrimmed where log and archive do not reach back to the first entry.
    """
    try:
        async for entry in _entries(reader, files, until):
            envelope = decode_envelope(entry.entry)
            machine.apply_of(customer, envelope.body, envelope.now, entry.version)
    except LogCorrupt as error:
        raise HistoryTrimmed(str(error)) from error
    return machine


async def _entries(
    reader: LogReader, files: ArchiveFiles | None, until: Until
) -> AsyncIterator[LogEntry]:
    async for entry in whole_log(reader, files):
        if until.before is not None and entry.version >= until.before:
            return
        if until.instant is not None and decode_envelope(entry.entry).now > until.instant:
            return
        yield entry
