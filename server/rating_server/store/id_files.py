"""Runs of ids in files of this server: written whole, mapped, removed when nothing uses them.

The files belong to one process. They lie in a directory of its own, whose lock says that it lives;
what a dead process has left is removed by the next one. They are never needed: the log, or the
archive, has everything that is in them. A file that is damaged later is noticed when it is read.
"""

from __future__ import annotations

import logging
import mmap
import os
import secrets
import shutil
import weakref
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rating_core.metering.ids.run import (
    PAGE_BYTES,
    IdRun,
    IdSource,
    RunLayout,
    read_run,
    write_run,
)
from rating_server.store.data_directory import FileLock

_log = logging.getLogger(__name__)

_PREFIX = "ids-"
_LOCK = "lock"


class IdFiles:
    """The files of one server process below ``place``, from the first `write` to `close`.

    ``reserve`` takes all blocks of a file before it is written: descriptor, offset, bytes.
    """

    def __init__(
        self, place: Path, reserve: Callable[[int, int, int], None] = os.posix_fallocate
    ) -> None:
        self._place = place
        self._reserve = reserve
        self._own: Path | None = None
        self._lock: FileLock | None = None
        self._serial = 0

    def clean(self) -> None:
        """Remove what dead processes have left; what cannot be removed is left with a warning."""
        for directory in sorted(self._place.glob(f"{_PREFIX}*")):
            try:
                lock = FileLock.take(directory / _LOCK)
            except OSError as error:
                _log.warning("%s is left: %s", directory, error.strerror)
                continue
            if lock is not None:
                shutil.rmtree(directory, ignore_errors=True)
                lock.release()

    def _directory(self) -> Path:
        if self._own is None:
            self._place.mkdir(mode=0o700, parents=True, exist_ok=True)
            # Locked before it has its name: another process must not take it for a dead one's.
            name = secrets.token_hex(8)
            draft = self._place / f".{name}"
            draft.mkdir(mode=0o700)
            self._lock = FileLock.take(draft / _LOCK)
            self._own = draft.rename(self._place / f"{_PREFIX}{name}")
        return self._own

    def write(self, sources: Sequence[IdSource], segment: tuple[int, int]) -> IdRun:
        """Write the run of all ids of ``sources`` to a file and return it, mapped.

        OSError if the disk does not take it, IdsDamaged if a source is; then nothing is left.
        """
        directory = self._directory()
        self._serial += 1
        path = directory / f"{segment[0]}-{segment[1]}-{self._serial}.ids"
        draft = path.with_suffix(".part")
        size = RunLayout(sum(source.count for source in sources)).size
        try:
            with draft.open("w+b") as file:
                # All blocks now: a disk that fills up later would kill a writer through its map.
                self._reserve(file.fileno(), 0, size)
                memory = mmap.mmap(file.fileno(), size)
                write_run(sources, segment, memory)
                memory.flush()
            draft.rename(path)
            return _opened(path)
        except BaseException:
            draft.unlink(missing_ok=True)
            path.unlink(missing_ok=True)
            raise

    def close(self) -> None:
        """Remove the files and give up the directory; mapped runs stay readable."""
        if self._own is not None:
            shutil.rmtree(self._own, ignore_errors=True)
        if self._lock is not None:
            self._lock.release()
        self._own = self._lock = None


def _opened(path: Path) -> IdRun:
    with path.open("rb") as file:
        memory = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    memory.madvise(mmap.MADV_RANDOM)
    run = read_run(memory, resident=False, will_need=_fetching(memory))
    weakref.finalize(run, path.unlink, missing_ok=True)
    return run


def _fetching(memory: mmap.mmap) -> Callable[[NDArray[np.int64]], None]:
    """Return what has the system read pages at once, instead of one after the other."""

    def fetch(pages: NDArray[np.int64]) -> None:
        if pages.size > 1:
            for page in pages.tolist():
                begin = PAGE_BYTES * (1 + page)
                begin -= begin % mmap.PAGESIZE
                memory.madvise(mmap.MADV_WILLNEED, begin, PAGE_BYTES)

    return fetch
