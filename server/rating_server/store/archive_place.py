"""Opening an archive where pyarrow may be missing: only who names an archive needs the extra."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rating_server.ports import StoreRefused

if TYPE_CHECKING:
    from rating_server.store.archive_files import ArchiveFiles


class ArchiveUnusable(Exception):
    """The archive cannot be reached, read or written; the message says why."""


def open_archive(place: str) -> ArchiveFiles:
    """Return the archive at a path or `pyarrow.fs` URI; nothing is read or written yet.

    StoreRefused ARCHIVE_UNUSABLE if pyarrow is missing or the place cannot be understood.
    """
    try:
        from rating_server.store.archive_files import ArchiveFiles
    except ImportError as error:
        raise StoreRefused(
            "ARCHIVE_UNUSABLE", "an archive needs pyarrow: pip install 'ratewright[parquet]'"
        ) from error
    try:
        return ArchiveFiles(place)
    except ArchiveUnusable as error:
        raise StoreRefused("ARCHIVE_UNUSABLE", str(error)) from error
