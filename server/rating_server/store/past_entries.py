"""Entries of a log that were committed before, for what looks back (S8.6, S9.4, S9.5)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from rating_core.metering.entry import decode_envelope
from rating_core.metering.protocol import LogEntry
from rating_server.ports import LogTrimmed, PastEntry
from rating_server.store.adapter import LinkOptions
from rating_server.store.keys import LogKeys
from rating_server.store.log_reader import LogReader, log_reader
from rating_server.store.whole_log import whole_log

if TYPE_CHECKING:
    from rating_server.store.archive_files import ArchiveFiles


async def past_entries(
    link: LinkOptions, keys: LogKeys, files: ArchiveFiles | None, after: int, since: int
) -> AsyncIterator[PastEntry]:
    """Yield the entries of a log with a version > ``after`` up to its head, in order.

    Entries decided before ``since``, µs, may be left out. Raises LogTrimmed where the log begins
    later and there is no archive; StoreUnavailable.
    """
    async with log_reader(link, keys) as reader:
        first = await _entry_after(reader, after)
        if first is None:
            return
        gap = first.version > after + 1
        if gap and decode_envelope(first.entry).now >= since:
            if files is None:
                raise LogTrimmed(decode_envelope(first.entry).now)
            async for entry in whole_log(reader, files):
                if entry.version > after:
                    yield _past(entry)
            return
        begin = await _last_before(reader, first, since)
        async for entry in reader.log(begin):
            yield _past(entry)


def _past(entry: LogEntry) -> PastEntry:
    envelope = decode_envelope(entry.entry)
    return PastEntry(entry.version, envelope.now, envelope.body)


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
        if entry is None or decode_envelope(entry.entry).now >= since:
            high = middle
        else:
            low = middle
    return low
