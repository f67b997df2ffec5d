"""What an archive holds and how its pieces are named: values, and the walk back by token (P10).

A segment holds the entries first … last of one log and is named by the token before the first and
the token of the last; a snapshot is named by the version and token at which it was taken. A name
therefore stands for one content, whoever writes it: pieces are never overwritten, and those of a
history that a failover lost stay beside those of the present one without being taken for them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from rating_core.metering.log.snapshot import Snapshot

_EMPTY_TOKEN = bytes(16)


@dataclass(frozen=True, slots=True, order=True)
class SegmentName:
    """Entries ``first`` … ``last``; ``previous`` is the token before them, ``token`` the last's."""

    first: int
    last: int
    previous: bytes
    token: bytes


@dataclass(frozen=True, slots=True, order=True)
class SnapshotName:
    """The state at (``version``, ``token``)."""

    version: int
    token: bytes


@dataclass(frozen=True, slots=True)
class Listing:
    """All pieces of one log's archive. ``problem`` says why there is none to look at, if so."""

    segments: tuple[SegmentName, ...] = ()
    snapshots: tuple[SnapshotName, ...] = ()
    problem: str = ""


@dataclass(frozen=True, slots=True)
class ListArchive:
    """Ask for the `Listing` of this log's archive."""


@dataclass(frozen=True, slots=True)
class LoadSnapshot:
    """Ask for a snapshot."""

    name: SnapshotName


@dataclass(frozen=True, slots=True)
class LoadedSnapshot:
    """Reply to LoadSnapshot; None if it is gone or damaged."""

    snapshot: Snapshot | None


@dataclass(frozen=True, slots=True)
class ReadSegment:
    """Ask for a segment's entries, a `LogPage`; an empty one if it is gone or damaged."""

    name: SegmentName


def path_back(listing: Listing, end: SegmentName) -> list[SegmentName]:
    """Return the segments that lead to ``end``, oldest first: each begins at another's last token.

    Where several end at one token, the one that begins earliest is taken. The path may begin after
    version 1 if older segments are gone.
    """
    by_end: dict[tuple[int, bytes], SegmentName] = {}
    for segment in sorted(listing.segments, reverse=True):
        by_end[segment.last, segment.token] = segment
    path = [end]
    while path[-1].first > 1:
        before = by_end.get((path[-1].first - 1, path[-1].previous))
        if before is None:
            break
        path.append(before)
    return path[::-1]


def paths_to(listing: Listing, version: int, token: bytes) -> Iterator[list[SegmentName]]:
    """Yield the paths of segments that may hold (``version``, ``token``), ending with its own.

    An entry inside a segment has no token in its name: reading tells whether it is this one.
    """
    for segment in sorted(listing.segments, reverse=True):
        inside = segment.first <= version < segment.last
        if inside or (segment.last, segment.token) == (version, token):
            yield path_back(listing, segment)


def whole(path: list[SegmentName]) -> bool:
    """Return whether a path begins with the first entry of all."""
    return bool(path) and (path[0].first, path[0].previous) == (1, _EMPTY_TOKEN)
