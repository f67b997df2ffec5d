"""Reading the past of a shard: its entries, or the state of one customer as it stood (S8.6, S9.4).

Out of the log, and out of the archive what was trimmed there.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from rating_core.errors import LogCorrupt
from rating_core.metering.log.archive import paths_to
from rating_core.metering.log.entry import decode_envelope
from rating_core.metering.log.protocol import LogEntry
from rating_core.metering.shard import UsageShard
from rating_server.background import fold_in_thread
from rating_server.ports import HistoryTrimmed, LogTrimmed, PastRange, Until
from rating_server.store.log_reader import LogReader
from rating_server.store.whole_log import whole_log

if TYPE_CHECKING:
    from rating_server.store.archive_files import ArchiveFiles


async def read_entry(reader: LogReader, files: ArchiveFiles | None, version: int) -> bytes:
    """Return the bytes of a committed entry from the log, or else from the archive.

    HistoryTrimmed where neither holds it; LogCorrupt if it is not what its token says (P5).
    """
    first = await _entry_after(reader, version - 1)
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

    def take(entry: LogEntry) -> bool:
        envelope = decode_envelope(entry.entry)
        if until.before is not None and entry.version >= until.before:
            return False
        if until.instant is not None and envelope.now > until.instant:
            return False
        machine.apply_of(customer, envelope.body, envelope.now, entry.version)
        return True

    try:
        await fold_in_thread(whole_log(reader, files), take)
    except LogCorrupt as error:
        raise HistoryTrimmed(str(error)) from error
    return machine


async def past_entries(
    reader: LogReader, files: ArchiveFiles | None, part: PastRange
) -> AsyncIterator[LogEntry]:
    """Yield entries of a log in order, from where ``part`` begins or later, as it says.

    Raises LogTrimmed where the log begins later and there is no archive; StoreUnavailable.
    """
    first = await _entry_after(reader, part.after)
    if first is None:
        return
    if first.version == part.after + 1 or _now(first) < part.since:
        last = await _last_before(reader, first, part.since)
        entries = reader.log(max(min(last, part.until - 1), part.after))
    elif files is None:
        raise LogTrimmed(_now(first))
    else:
        entries = whole_log(reader, files)
    async for entry in entries:
        if entry.version > part.until:
            return
        if entry.version > part.after:
            yield entry


def _now(entry: LogEntry) -> int:
    """Return the instant at which an entry was decided, µs."""
    return decode_envelope(entry.entry).now


async def _entry_after(reader: LogReader, version: int) -> LogEntry | None:
    """Return the first entry that the log still has with a greater version."""
    async for entry in reader.log(version, most=1):
        return entry
    return None


async def _last_before(reader: LogReader, first: LogEntry, since: int) -> int:
    """Return a version before which all entries were decided before ``since``.

    ``now`` never falls along a log, so that halving finds it in a few reads.
    """
    low = first.version - 1
    high, _ = await reader.head()
    while high - low > 1:
        middle = (low + high) // 2
        entry = await _entry_after(reader, middle - 1)
        if entry is None or _now(entry) >= since:
            high = middle
        else:
            low = middle
    return low
