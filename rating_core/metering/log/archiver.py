"""One round of archiving a log: segments, a snapshot, and only then the trim (P8, P10).

Sans I/O: a generator of commands that is sent their replies. A round may end anywhere, by a crash
or a lost connection: what it has written stays right by itself, and the next one goes on from what
the archive and the log say. Two servers may archive one log at once.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import Any

from rating_core.metering.log.archive import (
    ListArchive,
    Listing,
    ReadSegment,
    SegmentName,
    SnapshotName,
    path_back,
)
from rating_core.metering.log.entry import decode_envelope
from rating_core.metering.log.protocol import (
    EMPTY_TOKEN,
    FoldRead,
    LogEntry,
    LogPage,
    ReadLog,
    Trim,
    TrimReply,
    chain_token,
)
from rating_core.metering.log.recovery import in_log
from rating_core.metering.log.snapshot import GetHead, Snapshot, TakeSnapshot

TRIM_BYTES = 2_000_000
"""About what one call of trim removes (P15)."""
PAGE_ENTRIES = 64


@dataclass(frozen=True, slots=True)
class WriteSegment:
    """Write a segment unless it is there; the reply says whether it is there now and verified."""

    name: SegmentName
    entries: tuple[LogEntry, ...]


@dataclass(frozen=True, slots=True)
class WriteSnapshot:
    """Write a snapshot unless it is there; the reply says whether it is there now and verified."""

    snapshot: Snapshot


ArchiveCommand = (
    ListArchive
    | ReadLog
    | ReadSegment
    | FoldRead
    | GetHead
    | TakeSnapshot
    | WriteSegment
    | WriteSnapshot
    | Trim
)


@dataclass(slots=True)
class ArchiveReport:
    """What a round did. ``version``: archived up to here; ``trimmed``: the log begins here now.

    ``problem``: why it stopped early, or "".
    """

    version: int = 0
    trimmed: int = 0
    segments: int = 0
    entries: int = 0
    problem: str = ""


Round = Generator[ArchiveCommand, Any, ArchiveReport]


class ArchiveRound:
    """One round over one log: entries decided at or before ``oldest_kept`` (µs) are archived.

    Segments hold about ``segment_bytes`` of entries. With ``trim`` what is archived, folded (F) and
    held by a snapshot leaves the log, but for its last entry, to which the rest is joined.
    """

    def __init__(self, oldest_kept: int, segment_bytes: int, trim: bool = True) -> None:
        self._oldest_kept = oldest_kept
        self._segment_bytes = segment_bytes
        self._trim = trim
        self._relied_on: list[SegmentName] = []
        """Segments of earlier rounds that hold entries which the log still has."""
        self._report = ArchiveReport()

    def run(self) -> Round:
        """Yield commands until the round has ended; returns the report."""
        report = self._report
        listing: Listing = yield ListArchive()
        if listing.problem:
            report.problem = listing.problem
            return report
        page: LogPage = yield ReadLog(0, 1)
        if not page.entries:
            return report
        first = page.entries[0]
        report.trimmed = first.version
        position = yield from self._archived(listing, first)
        if position is None:
            report.problem = "the archive does not hold what was trimmed from this log"
            return report
        position = yield from self._extend(*position)
        report.version = position[0]
        if self._trim and position[0] > first.version and not report.problem:
            yield from self._shorten(listing, first, position)
        return report

    def _archived(
        self, listing: Listing, first: LogEntry
    ) -> Generator[ReadLog, LogPage, tuple[int, bytes] | None]:
        """Return where this log's archive ends; None if it does not reach the log's beginning."""
        for name in sorted(listing.segments, key=lambda name: name.last, reverse=True):
            if name.last < first.version - 1:
                break
            if name.last == first.version - 1:
                held = name.token == first.previous
            else:
                # Behind a piece that is gone nothing counts: what the log still has of it comes
                # into the archive again.
                path = path_back(listing, name)
                joined = path[0].first <= first.version
                held = joined and in_log(name, (yield ReadLog(name.last - 1, 1)))
                self._relied_on = path if held else []
            if held:
                return name.last, name.token
        return (0, EMPTY_TOKEN) if first.version == 1 else None

    def _extend(
        self, version: int, token: bytes
    ) -> Generator[ArchiveCommand, Any, tuple[int, bytes]]:
        """Write segments of what is old enough after (version, token); return the new end."""
        begin = version, token
        # No entry is archived before it has the ack level: the head is asked through the session.
        head: SnapshotName = yield GetHead()
        pending: list[LogEntry] = []
        size = 0
        limit = 8
        while version < head.version:
            page: LogPage = yield ReadLog(version, limit)
            for entry in page.entries:
                if entry.version > head.version or self._young(entry):
                    return (yield from self._write(begin, pending, (version, token)))
                if (entry.version, entry.previous) != (version + 1, token):
                    self._report.problem = f"entry {entry.version} does not continue the log"
                    return begin
                version, token = entry.version, chain_token(entry.previous, entry.entry)
                pending.append(entry)
                size += len(entry.entry)
                if size >= self._segment_bytes:
                    begin = yield from self._write(begin, pending, (version, token))
                    if self._report.problem:
                        return begin
                    pending, size = [], 0
            if len(page.entries) < limit:
                break
            limit = PAGE_ENTRIES
        return (yield from self._write(begin, pending, (version, token)))

    def _young(self, entry: LogEntry) -> bool:
        return decode_envelope(entry.entry).now > self._oldest_kept

    def _write(
        self, begin: tuple[int, bytes], entries: list[LogEntry], end: tuple[int, bytes]
    ) -> Generator[ArchiveCommand, Any, tuple[int, bytes]]:
        if not entries:
            return begin
        name = SegmentName(begin[0] + 1, end[0], begin[1], end[1])
        if not (yield WriteSegment(name, tuple(entries))):
            self._report.problem = f"segment {name.first}-{name.last} cannot be written"
            return begin
        self._report.segments += 1
        self._report.entries += len(entries)
        return end

    def _shorten(
        self, listing: Listing, first: LogEntry, archived: tuple[int, bytes]
    ) -> Generator[ArchiveCommand, Any, None]:
        """Trim up to the least of archived, F and the snapshot, in steps of about 2 MB."""
        mark = (yield FoldRead(())).mark
        until = min(archived[0], mark)
        if until <= first.version:
            return
        snapshot = yield from self._snapshot_there(listing, until)
        if snapshot is None:
            return
        if not (yield from self._whole(first, until)):
            return
        for version, token in (yield from self._steps(first, until, archived)):
            reply: TrimReply = yield Trim(version, token, snapshot)
            if not reply.ok:
                return  # by another server, or another history: the next round sees
            self._report.trimmed = version

    def _whole(self, first: LogEntry, until: int) -> Generator[ReadSegment, LogPage, bool]:
        """Read what earlier rounds wrote of the entries that are to leave the log (P10).

        A name is no proof: a file may have been damaged since, or even while it was written.
        """
        for name in self._relied_on:
            needed = name.last >= first.version and name.first <= until
            if needed and not (yield ReadSegment(name)).entries:
                self._report.problem = (
                    f"segment {name.first}-{name.last} is damaged; its entries stay in the log. "
                    "`ratewright log mend` writes it anew"
                )
                return False
        return True

    def _steps(
        self, first: LogEntry, until: int, archived: tuple[int, bytes]
    ) -> Generator[ReadLog, LogPage, list[tuple[int, bytes]]]:
        """Return where to trim: entries on the very chain that leads to what was archived.

        The log is walked up to that end, since in the middle of a round a failover may have put
        another history in place of the one that was archived.
        """
        steps: list[tuple[int, bytes]] = []
        version, token, size, limit = first.version - 1, first.previous, 0, 8
        while version < archived[0]:
            page = yield ReadLog(version, limit)
            for entry in page.entries:
                if (entry.version, entry.previous) != (version + 1, token):
                    return []
                version, token = entry.version, chain_token(entry.previous, entry.entry)
                size += len(entry.entry)
                if version == until or (version < until and size >= TRIM_BYTES):
                    steps.append((version, token))
                    size = 0
                if version == archived[0]:
                    break
            if not page.entries:
                return []
            limit = PAGE_ENTRIES
        return steps if (version, token) == archived else []

    def _snapshot_there(
        self, listing: Listing, least: int
    ) -> Generator[ArchiveCommand, Any, SnapshotName | None]:
        """Return a snapshot of this log at ``least`` or later that the archive holds (P10)."""
        for name in listing.snapshots:
            if name.version >= least and in_log(name, (yield ReadLog(name.version - 1, 1))):
                return name
        snapshot: Snapshot = yield TakeSnapshot()
        if snapshot.version < least or not (yield WriteSnapshot(snapshot)):
            self._report.problem = f"snapshot {snapshot.version} cannot be written"
            return None
        return SnapshotName(snapshot.version, snapshot.token)
