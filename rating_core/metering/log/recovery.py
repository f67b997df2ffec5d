"""Finding the state that a trimmed log goes on from: snapshot, then segments, then the log (P10).

Sans I/O: a generator of commands that is sent their replies. What it restores is never believed
for its name alone: a snapshot must stand on the chain of the log that is being read, so that one
taken of a history that a failover lost is passed over.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from typing import Any

from rating_core.errors import LogCorrupt, SnapshotInvalid
from rating_core.metering.log.archive import (
    ListArchive,
    Listing,
    LoadedSnapshot,
    LoadSnapshot,
    ReadSegment,
    SegmentName,
    SnapshotName,
    paths_to,
    whole,
)
from rating_core.metering.log.entry import decode_envelope
from rating_core.metering.log.protocol import LogEntry, LogPage, Machine, ReadLog, chain_token

RecoveryCommand = ListArchive | LoadSnapshot | ReadSegment | ReadLog
_PAGE_ENTRIES = 64

Recovery = Generator[RecoveryCommand, Any, str]


def recover(machine: Machine, first: LogEntry) -> Recovery:
    """Bring ``machine`` to a state from which the log can be read on (P9, P10).

    ``first`` is the first entry that the log still has after the machine's version. Returns "" when
    the machine stands at a version of this log, at first.version − 1 or later; otherwise why it
    cannot, with the machine reset.
    """
    machine.reset()
    listing: Listing = yield ListArchive()
    if listing.problem:
        return f"the log begins with entry {first.version}: {listing.problem}"
    for name in sorted(listing.snapshots, reverse=True):
        if name.version < first.version - 1:
            break
        known = yield from _in_log(name, first)
        if known and (yield from _restore(machine, name)):
            return ""
    for path in paths_to(listing, first.version - 1, first.previous):
        for base in _bases(listing, path, first.version - 1):
            if base is not None and not (yield from _restore(machine, base)):
                continue
            if (yield from _replay(machine, path, first)):
                return ""
            machine.reset()
    return f"the log begins with entry {first.version}, and the archive does not lead there"


def in_log(name: SnapshotName | SegmentName, page: LogPage) -> bool:
    """Whether a page read after the version before a name's end holds the entry of its token."""
    version = name.version if isinstance(name, SnapshotName) else name.last
    return any(
        entry.version == version and chain_token(entry.previous, entry.entry) == name.token
        for entry in page.entries[:1]
    )


def _in_log(name: SnapshotName, first: LogEntry) -> Generator[ReadLog, LogPage, bool]:
    if name.version == first.version - 1:
        return name.token == first.previous
    return in_log(name, (yield ReadLog(name.version - 1, 1)))


def tokens_to(
    first: LogEntry, version: int, known: Sequence[tuple[int, bytes]]
) -> Generator[RecoveryCommand, Any, list[tuple[int, bytes]]]:
    """Return (version, token) from the entry before ``first`` up to ``version``, as the log has it.

    ``known`` is what was held for this log's before: where the log no longer reaches back to what
    it kept of that, segments tell it. Fewer where the log has been trimmed meanwhile.
    """
    border = first.version - 1, first.previous
    found = [border]
    if known and known[0][0] < border[0] and border not in known:
        found = (yield from _archived_tokens(border, known[0][0])) or [border]
    while found[-1][0] < version:
        page = yield ReadLog(found[-1][0], _PAGE_ENTRIES)
        for entry in page.entries:
            if (entry.version - 1, entry.previous) != found[-1] or entry.version > version:
                return found
            found.append((entry.version, chain_token(entry.previous, entry.entry)))
        if not page.entries:
            break
    return found


def _archived_tokens(
    border: tuple[int, bytes], least: int
) -> Generator[RecoveryCommand, Any, list[tuple[int, bytes]]]:
    """Return (version, token) of archived entries from ``least`` to ``border``, which they lead to.

    Nothing where the archive does not hold them.
    """
    listing: Listing = yield ListArchive()
    for path in paths_to(listing, *border):
        found: list[tuple[int, bytes]] = []
        for name in path:
            if name.last < least or (found and found[-1] == border):
                continue
            page: LogPage = yield ReadSegment(name)
            for entry in page.entries:
                if found and (entry.version - 1, entry.previous) != found[-1]:
                    break
                found.append((entry.version, chain_token(entry.previous, entry.entry)))
                if found[-1] == border:
                    break
        if found and found[-1] == border:
            return found
    return []


def _restore(machine: Machine, name: SnapshotName) -> Generator[LoadSnapshot, Any, bool]:
    loaded: LoadedSnapshot = yield LoadSnapshot(name)
    snapshot = loaded.snapshot
    if snapshot is None or (snapshot.version, snapshot.token) != (name.version, name.token):
        return False
    try:
        machine.restore(snapshot)
    except SnapshotInvalid:
        machine.reset()
        return False
    return True


def _bases(
    listing: Listing, path: list[SegmentName], version: int
) -> Iterator[SnapshotName | None]:
    """Yield where a replay of ``path`` may begin: snapshots on it, and None for the empty log."""
    for name in sorted(listing.snapshots, reverse=True):
        if path[0].first - 1 <= name.version < version:
            yield name
    if whole(path):
        yield None


def _replay(
    machine: Machine, path: list[SegmentName], first: LogEntry
) -> Generator[ReadSegment, LogPage, bool]:
    """Apply what the segments hold between the machine's version and ``first``."""
    wanted = first.version - 1
    for segment in path:
        if segment.last < max(machine.version, 1):
            continue
        page = yield ReadSegment(segment)
        for entry in page.entries:
            if entry.version > wanted:
                break
            if not _applied(machine, entry):
                return False
    return (machine.version, machine.token) == (wanted, first.previous)


def _applied(machine: Machine, entry: LogEntry) -> bool:
    """Apply an entry of a segment, or find the machine's own; False if it is of another history."""
    token = chain_token(entry.previous, entry.entry)
    if entry.version < machine.version:
        return True
    if entry.version == machine.version:
        return token == machine.token
    if (entry.version, entry.previous) != (machine.version + 1, machine.token):
        return False
    try:
        envelope = decode_envelope(entry.entry)
        machine.apply(envelope.body, envelope.now, entry.version, token)
    except LogCorrupt:
        return False
    return True
