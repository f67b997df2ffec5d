"""One file of a spool: written at its end, read at any place, removed as a whole."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import grpc

from rating_client.errors import SpoolError, SpoolFull

_NO_SPACE = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_sync_data = getattr(os, "fdatasync", os.fsync)


def failed(what: str, error: OSError) -> SpoolError:
    """Return the error for a file operation that failed."""
    if error.errno in _NO_SPACE:
        return SpoolFull(
            f"{what}: {error.strerror}",
            code=grpc.StatusCode.RESOURCE_EXHAUSTED,
            reason="SPOOL_DISK_FULL",
        )
    return SpoolError(
        f"{what}: {error.strerror or error}",
        code=grpc.StatusCode.INTERNAL,
        reason="SPOOL_FAILED",
    )


def sync_directory(path: Path) -> None:
    """Make new names in a directory last over a crash of the machine."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


class Segment:
    """A file of frames. ``open_numbers``: batches in it that must be kept."""

    def __init__(self, path: Path, index: int, *, size: int | None = None) -> None:
        """Create the file, or with ``size`` open one that is there and is only read."""
        self.path = path
        self.index = index
        self.size = size or 0
        self.open_numbers: set[int] = set()
        flags = os.O_RDONLY if size is not None else os.O_RDWR | os.O_CREAT | os.O_EXCL
        self._handle = os.open(path, flags | os.O_CLOEXEC, 0o600)

    def append(self, data: bytes) -> int:
        """Append bytes, all or none; return where they begin. Raises SpoolError, SpoolFull."""
        start = self.size
        view = memoryview(data)
        try:
            while view:
                written = os.pwrite(self._handle, view, self.size)
                self.size += written
                view = view[written:]
        except OSError as error:
            self.size = start
            os.ftruncate(self._handle, start)
            raise failed(f"writing {self.path}", error) from error
        return start

    def read(self, start: int, stop: int) -> bytes:
        """Return bytes of the file."""
        data = os.pread(self._handle, stop - start, start)
        if len(data) != stop - start:
            raise SpoolError(
                f"{self.path} is shorter than it was",
                code=grpc.StatusCode.DATA_LOSS,
                reason="SPOOL_DAMAGED",
            )
        return data

    def sync(self) -> None:
        """Make all that was appended last over a crash of the machine."""
        try:
            _sync_data(self._handle)
        except OSError as error:
            raise failed(f"syncing {self.path}", error) from error

    def close(self) -> None:
        """Close the file."""
        os.close(self._handle)

    def remove(self) -> None:
        """Close the file and remove it."""
        self.close()
        self.path.unlink(missing_ok=True)
