"""The archive: a folder, local or of any `pyarrow.fs` URI, that every server of a store reaches.

    <archive>/<log>/segments/<first>-<last>-<previous>-<token>.parquet   entries, one row a record
    <archive>/<log>/snapshots/<version>-<token>.rws                      state (log-format.md)
    <archive>/<log>/parts/<SHA-256>.rwp                                  large pieces of snapshots

A name stands for one content (P10). A file appears whole or not at all, is never overwritten, and
is read back before anything relies on it. All methods block: call them in a thread. Needs pyarrow
(extra `parquet`).
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import re
import secrets
import time
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import fs

from rating_core.errors import LogCorrupt, SnapshotInvalid
from rating_core.metering.log.archive import (
    ListArchive,
    Listing,
    LoadedSnapshot,
    LoadSnapshot,
    ReadSegment,
    SegmentName,
    SnapshotName,
)
from rating_core.metering.log.protocol import LogEntry, LogPage, chain_token
from rating_core.metering.log.snapshot import (
    Snapshot,
    decode_snapshot,
    encode_snapshot,
    part_digest,
    part_digests,
)
from rating_server.store.archive_place import ArchiveUnusable
from rating_server.store.segment_table import entries_to_table, table_to_entries

_log = logging.getLogger(__name__)

KEPT_SNAPSHOTS = 4
"""Snapshots of a log that are kept; segments are kept for ever."""
_UNUSED_PART_S = 86_400
_SEGMENT = re.compile(r"(\d{20})-(\d{20})-([0-9a-f]{32})-([0-9a-f]{32})\.parquet")
_SNAPSHOT = re.compile(r"(\d{20})-([0-9a-f]{32})\.rws")
_HALF_WRITTEN = re.compile(r".+\.[0-9a-f]{16}\.part")
_UNLOCKED_S = 60
_ATOMIC_STORES = ("s3", "gcs", "abfs")
_CHAIN_COLUMNS = ["version", "previous", "entry"]


class ArchiveFiles:
    """The archive at ``place``: a path, or a URI such as s3://bucket/folder."""

    def __init__(self, place: str) -> None:
        self.place = place
        try:
            if "://" in place:
                self._fs, self._root = fs.FileSystem.from_uri(place)
            else:
                self._fs, self._root = fs.LocalFileSystem(), str(Path(place).absolute())
        except (pa.ArrowException, OSError, ValueError) as error:
            raise ArchiveUnusable(f"archive {place}: {error}") from error
        self._local = isinstance(self._fs, fs.LocalFileSystem)

    # --- reading ---------------------------------------------------------------------------------

    def logs(self) -> list[str]:
        """Return the names of the logs that the archive has anything of, sorted."""
        return sorted(i.base_name for i in self._infos("") if i.type == fs.FileType.Directory)

    def read(
        self, log: str, command: ListArchive | LoadSnapshot | ReadSegment
    ) -> Listing | LoadedSnapshot | LogPage:
        """Answer what a session asks of the archive: a `Listing`, `LoadedSnapshot` or `LogPage`."""
        if isinstance(command, ListArchive):
            return self.listing(log)
        if isinstance(command, LoadSnapshot):
            return LoadedSnapshot(self.snapshot(log, command.name))
        return LogPage(self.segment(log, command.name))

    def listing(self, log: str) -> Listing:
        """Return all segments and snapshots of a log."""
        try:
            segments = [_segment_name(name) for name in self._names(f"{log}/segments")]
            snapshots = [_snapshot_name(name) for name in self._names(f"{log}/snapshots")]
        except (pa.ArrowException, OSError) as error:
            return Listing(problem=f"archive {self.place} cannot be read: {error}")
        return Listing(
            tuple(sorted(name for name in segments if name is not None)),
            tuple(sorted(name for name in snapshots if name is not None)),
        )

    def segment(self, log: str, name: SegmentName) -> tuple[LogEntry, ...]:
        """Return the entries of a segment; none if it is gone, or not what its name says (P10)."""
        try:
            data = self._get(_segment_path(log, name))
            table = pq.read_table(pa.BufferReader(data), columns=_CHAIN_COLUMNS)
            entries = table_to_entries(table)
        except (pa.ArrowException, OSError, ValueError, LookupError) as error:
            _log.warning("archive: segment %d-%d of log %s: %s", name.first, name.last, log, error)
            return ()
        if not _is_chain(name, entries):
            _log.warning("archive: segment %d-%d of log %s is damaged", name.first, name.last, log)
            return ()
        return entries

    def table(self, log: str, name: SegmentName, columns: Sequence[str]) -> pa.Table:
        """Return columns of a segment; ArchiveUnusable if it cannot be read."""
        try:
            data = self._get(_segment_path(log, name))
            return pq.read_table(pa.BufferReader(data), columns=list(columns))
        except (pa.ArrowException, OSError, ValueError) as error:
            raise ArchiveUnusable(f"segment {name.first}-{name.last}: {error}") from error

    def size(self, log: str, name: SegmentName) -> int:
        """Return the bytes of a segment's file, 0 if it is gone."""
        (info,) = self._fs.get_file_info([self._path(_segment_path(log, name))])
        return info.size or 0

    def snapshot(self, log: str, name: SnapshotName) -> Snapshot | None:
        """Return a snapshot with its parts, or None if any of it is gone or damaged."""
        try:
            data = self._get(_snapshot_path(log, name))
            return decode_snapshot(data, lambda digest: self._get(_part_path(log, digest)))
        except (pa.ArrowException, OSError, SnapshotInvalid) as error:
            _log.warning("archive: snapshot %d of log %s: %s", name.version, log, error)
            return None

    # --- writing ---------------------------------------------------------------------------------

    def write_segment(self, log: str, name: SegmentName, entries: Sequence[LogEntry]) -> bool:
        """Write a segment unless it is there; return whether it is there now, read back whole."""
        path = _segment_path(log, name)
        try:
            if not self._exists(path):
                self._put(path, _segment_bytes(entries))
        except (pa.ArrowException, OSError, LogCorrupt) as error:
            _log.error("archive: segment %d-%d of log %s: %s", name.first, name.last, log, error)
            return False
        return len(self.segment(log, name)) == len(entries)

    def rewrite_segment(self, log: str, name: SegmentName, entries: Sequence[LogEntry]) -> bool:
        """Put a segment in the place of a damaged one, of which a copy stays; return whether.

        Only for entries that are the very ones of the name: nothing is done otherwise (P10).
        """
        if not _is_chain(name, entries):
            return False
        path = _segment_path(log, name)
        try:
            self._put(f"{log}/damaged/{path.rpartition('/')[2]}", self._get(path))
            self._put(path, _segment_bytes(entries), anew=True)
        except (pa.ArrowException, OSError, LogCorrupt) as error:
            _log.error("archive: segment %d-%d of log %s: %s", name.first, name.last, log, error)
            return False
        return len(self.segment(log, name)) == len(entries)

    def write_snapshot(self, log: str, snapshot: Snapshot) -> bool:
        """Write a snapshot and what is new of its parts; return whether it can be read back."""
        name = SnapshotName(snapshot.version, snapshot.token)
        try:
            for content in snapshot.parts.values():
                path = _part_path(log, part_digest(content))
                if not self._exists(path):
                    self._put(path, content)
            path = _snapshot_path(log, name)
            if not self._exists(path):
                self._put(path, encode_snapshot(snapshot))
        except (pa.ArrowException, OSError) as error:
            _log.error("archive: snapshot %d of log %s: %s", name.version, log, error)
            return False
        return self.snapshot(log, name) is not None

    def prune(self, log: str) -> None:
        """Delete old snapshots but the latest written, and parts that no snapshot has named for
        a day. Segments stay for ever: with them every state can be built again.
        """
        infos = [i for i in self._infos(f"{log}/snapshots") if _snapshot_name(i.base_name)]
        infos.sort(key=lambda info: (info.mtime_ns or 0, info.base_name))
        if len(infos) <= KEPT_SNAPSHOTS:
            return
        try:
            for info in infos[:-KEPT_SNAPSHOTS]:
                self._fs.delete_file(info.path)
            used: set[str] = set()
            for info in infos[-KEPT_SNAPSHOTS:]:
                data = self._get(f"{log}/snapshots/{info.base_name}")
                used |= part_digests(data)
            oldest = time.time_ns() - _UNUSED_PART_S * 1_000_000_000
            for info in self._infos(f"{log}/parts"):
                unused = info.base_name.removesuffix(".rwp") not in used
                if unused and (info.mtime_ns or 0) < oldest:
                    self._fs.delete_file(info.path)
        except (pa.ArrowException, OSError, SnapshotInvalid) as error:
            _log.warning("archive: log %s is not pruned: %s", log, error)

    def sweep(self, log: str) -> int:
        """Delete files that a crash left half written; return how many.

        A local writer locks its file, and the system lets go of the lock when it dies: what is not
        locked, and a minute old, is nobody's. Without locks it is taken for nobody's after a day.
        A writer that is wrongly deprived of its file fails, and its next round writes anew.
        """
        gone = 0
        try:
            for folder in ("segments", "snapshots", "parts"):
                for info in self._infos(f"{log}/{folder}"):
                    if _HALF_WRITTEN.fullmatch(info.base_name) and self._is_nobodys(info):
                        self._fs.delete_file(info.path)
                        gone += 1
        except (pa.ArrowException, OSError) as error:
            _log.warning("archive: what a crash left of log %s stays: %s", log, error)
        if gone:
            _log.info("archive: log %s: %d half-written files of a crash are gone", log, gone)
        return gone

    def _is_nobodys(self, info: fs.FileInfo) -> bool:
        age_s = (time.time_ns() - (info.mtime_ns or 0)) // 1_000_000_000
        if self._local and age_s > _UNLOCKED_S:
            with Path(info.path).open("rb") as file, contextlib.suppress(OSError):
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    return False
                return True
        return bool(age_s > _UNUSED_PART_S)

    # --- files -----------------------------------------------------------------------------------

    def _path(self, path: str) -> str:
        return f"{self._root}/{path}" if path else self._root

    def _infos(self, folder: str) -> list[fs.FileInfo]:
        selector = fs.FileSelector(self._path(folder), allow_not_found=True)
        found: list[fs.FileInfo] = self._fs.get_file_info(selector)
        return found

    def _names(self, folder: str) -> list[str]:
        return [info.base_name for info in self._infos(folder)]

    def _exists(self, path: str) -> bool:
        (info,) = self._fs.get_file_info([self._path(path)])
        return bool(info.type == fs.FileType.File)

    def _get(self, path: str) -> bytes:
        with self._fs.open_input_stream(self._path(path)) as stream:
            data: bytes = stream.read()
            return data

    def _put(self, path: str, content: bytes, *, anew: bool = False) -> None:
        """Let a file appear with this content, whole; one that is there stays, but for ``anew``."""
        whole = self._path(path)
        self._fs.create_dir(whole.rpartition("/")[0], recursive=True)
        if self._local:
            _put_local(Path(whole), content, anew=anew)
        elif self._fs.type_name in _ATOMIC_STORES:
            with self._fs.open_output_stream(whole) as stream:
                stream.write(content)
        else:
            part = f"{whole}.{secrets.token_hex(8)}.part"
            with self._fs.open_output_stream(part) as stream:
                stream.write(content)
            self._fs.move(part, whole)


def _put_local(path: Path, content: bytes, *, anew: bool) -> None:
    part = path.with_name(f".{path.name}.{secrets.token_hex(8)}.part")
    try:
        with part.open("xb") as file:
            with contextlib.suppress(OSError):  # a file system without locks
                fcntl.flock(file, fcntl.LOCK_EX)  # for `sweep`, until the file has its name
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
            if anew:
                part.replace(path)
            else:
                with contextlib.suppress(FileExistsError):  # another server was faster, equally
                    path.hardlink_to(part)
    finally:
        part.unlink(missing_ok=True)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _segment_bytes(entries: Sequence[LogEntry]) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(entries_to_table(entries), sink, compression="zstd")
    content: bytes = sink.getvalue()
    return content


def _segment_path(log: str, name: SegmentName) -> str:
    ends = f"{name.first:020d}-{name.last:020d}-{name.previous.hex()}-{name.token.hex()}"
    return f"{log}/segments/{ends}.parquet"


def _snapshot_path(log: str, name: SnapshotName) -> str:
    return f"{log}/snapshots/{name.version:020d}-{name.token.hex()}.rws"


def _part_path(log: str, digest: str) -> str:
    return f"{log}/parts/{digest}.rwp"


def _segment_name(text: str) -> SegmentName | None:
    match = _SEGMENT.fullmatch(text)
    if match is None:
        return None
    first, last, previous, token = match.groups()
    return SegmentName(int(first), int(last), bytes.fromhex(previous), bytes.fromhex(token))


def _snapshot_name(text: str) -> SnapshotName | None:
    match = _SNAPSHOT.fullmatch(text)
    return match and SnapshotName(int(match[1]), bytes.fromhex(match[2]))


def _is_chain(name: SegmentName, entries: Sequence[LogEntry]) -> bool:
    """Whether these are the very entries of the name: computed, never believed (P5)."""
    version, token = name.first - 1, name.previous
    for entry in entries:
        if (entry.version, entry.previous) != (version + 1, token):
            return False
        version, token = entry.version, chain_token(entry.previous, entry.entry)
    return (version, token) == (name.last, name.token)
