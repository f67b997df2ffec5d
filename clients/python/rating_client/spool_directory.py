"""A spool's directory: its lock, and what an earlier process left in it."""

from __future__ import annotations

import json
import logging
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc

from rating_client.errors import SpoolError
from rating_client.spool_frames import Frame, Kind, read_frames
from rating_client.spool_segment import Segment, failed, sync_directory

FORMAT = 1
_SUFFIX = ".spool"
_NAME = re.compile(r"[0-9]{16}\.spool")
_log = logging.getLogger("rating_client")


@dataclass(frozen=True, slots=True)
class SpoolDamage:
    """Bytes ``start`` … ``stop`` of ``segment`` cannot be read; ``kept_in`` is a copy of them."""

    segment: Path
    start: int
    stop: int
    kept_in: Path


@dataclass(frozen=True, slots=True)
class Place:
    """Where a batch lies, its number of records, and whether each has its status."""

    segment: Segment
    start: int
    stop: int
    record_count: int


@dataclass(slots=True)
class Contents:
    """What is in a spool. ``loose``: batches of which only the single records are there."""

    segments: list[Segment] = field(default_factory=list)
    places: dict[int, Place] = field(default_factory=dict)
    answered: set[int] = field(default_factory=set)
    loose: dict[int, list[bytes]] = field(default_factory=dict)
    broken: set[int] = field(default_factory=set)
    """Loose batches that lack records, or that damaged bytes may belong to."""
    offset: int | None = None
    epochs: list[int] = field(default_factory=list)
    next_number: int = 1
    next_segment: int = 1
    damage: list[SpoolDamage] = field(default_factory=list)


def _mismatch(directory: Path, message: str) -> SpoolError:
    return SpoolError(
        f"spool {directory}: {message}",
        code=grpc.StatusCode.FAILED_PRECONDITION,
        reason="SPOOL_MISMATCH",
    )


def lock(directory: Path) -> int:
    """Create the directory if need be and take its lock; return the handle that holds it.

    Raises SpoolError: SPOOL_LOCKED while another writer has it, in this process or another,
    SPOOL_MISMATCH for a path that is no directory.
    """
    try:
        import fcntl  # not on every system, and only spools need it
    except ImportError:
        raise _mismatch(directory, "spools need a POSIX system") from None
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle = os.open(directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except (FileExistsError, NotADirectoryError):
        raise _mismatch(
            directory, "it, or a part of its path, is a file, not a directory"
        ) from None
    except OSError as error:
        raise failed(f"opening spool {directory}", error) from error
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        holder = os.pread(handle, 20, 0).decode(errors="replace").strip() or "unknown"
        os.close(handle)
        raise SpoolError(
            f"spool {directory}: another writer uses it (process {holder})",
            code=grpc.StatusCode.FAILED_PRECONDITION,
            reason="SPOOL_LOCKED",
        ) from None
    os.ftruncate(handle, 0)
    os.pwrite(handle, f"{os.getpid()}\n".encode(), 0)
    return handle


def segment_path(directory: Path, index: int) -> Path:
    """Return the path of a segment."""
    return directory / f"{index:016}{_SUFFIX}"


def segment_head(
    producer_id: str | None, offset: int | None, next_number: int, epochs: Sequence[int]
) -> bytes:
    """Return the body of a segment's first frame."""
    head = {
        "format": FORMAT,
        "producer_id": producer_id,
        "offset": offset,
        "next_number": next_number,
        "epochs": list(epochs),
    }
    return json.dumps(head).encode()


def read_directory(directory: Path, producer_id: str | None) -> Contents:
    """Return what is in a locked spool; a torn end is cut, damaged bytes are copied aside.

    Raises SpoolError SPOOL_MISMATCH for another producer's spool, a later version's, or files that
    no spool has written.
    """
    found = Contents()
    try:
        paths = sorted(directory.glob(f"*{_SUFFIX}"))
        for path in paths:
            if _NAME.fullmatch(path.name) is None:
                raise _mismatch(directory, f"{path.name} is no file of a spool; move it elsewhere")
        for path in paths:
            _Reader(found, directory, producer_id).read(path, last=path == paths[-1])
    except OSError as error:
        raise failed(f"reading spool {directory}", error) from error
    _void_covered(found)
    for damage in found.damage:
        _log.error(
            "spool: bytes %d to %d of %s are damaged; they are kept in %s",
            damage.start,
            damage.stop,
            damage.segment,
            damage.kept_in,
        )
    return found


def _void_covered(found: Contents) -> None:
    """Drop the single records of batches that are there as a whole."""
    for number in list(found.loose):
        if number in found.places or number in found.answered:
            del found.loose[number]
    found.broken &= set(found.loose)


class _Reader:
    """Reads one segment into the contents."""

    def __init__(self, found: Contents, directory: Path, producer_id: str | None) -> None:
        self._found = found
        self._directory = directory
        self._producer_id = producer_id
        self._data = b""
        self._take: dict[Kind, Callable[[Frame], None]] = {
            Kind.SEGMENT: self._segment,
            Kind.RECORD: self._record,
            Kind.BATCH: self._batch,
            Kind.ANSWERED: self._answered,
            Kind.OFFSET: self._offset,
            Kind.EPOCH: self._epoch,
        }

    def read(self, path: Path, *, last: bool) -> None:
        """Read one file; remove it if there is nothing in it."""
        found = self._found
        self._data = path.read_bytes()
        index = int(path.stem)
        found.next_segment = max(found.next_segment, index + 1)
        try:
            reading = read_frames(self._data, last=last)
        except ValueError:
            raise _mismatch(self._directory, f"{path.name} is of a later version") from None
        if reading.end < len(self._data):
            os.truncate(path, reading.end)
        for start, stop in reading.damaged:
            aside = self._directory / f"damaged-{path.stem}-{start}"
            aside.write_bytes(self._data[start:stop])
            found.damage.append(SpoolDamage(path, start, stop, aside))
        if reading.damaged:
            sync_directory(self._directory)
        if not reading.frames:
            path.unlink()
            return
        found.segments.append(Segment(path, index, size=reading.end))
        holes = [start for start, _ in reading.damaged]
        for frame in reading.frames:
            while holes and holes[0] < frame.start:
                holes.pop(0)
                found.broken.update(found.loose)
            if frame.kind in _NUMBERED:
                found.next_number = max(found.next_number, frame.number + 1)
            self._take[frame.kind](frame)
        if holes:
            found.broken.update(found.loose)

    def _body(self, frame: Frame) -> bytes:
        return self._data[frame.start : frame.stop]

    def _segment(self, frame: Frame) -> None:
        found = self._found
        name = found.segments[-1].path.name
        try:
            head = _head_of(self._body(frame))
        except (ValueError, LookupError, TypeError):
            raise _mismatch(self._directory, f"{name} does not say whose it is") from None
        if head["format"] != FORMAT:
            raise _mismatch(self._directory, f"{name} is of a later version")
        if head["producer_id"] != self._producer_id:
            owner = head["producer_id"]
            whose = "records with event ids" if owner is None else f"producer {owner!r}"
            raise _mismatch(self._directory, f"it holds what {whose} left")
        found.offset = head["offset"] if found.offset is None else found.offset
        found.epochs += [epoch for epoch in head["epochs"] if epoch not in found.epochs]
        found.next_number = max(found.next_number, head["next_number"])

    def _record(self, frame: Frame) -> None:
        group = self._found.loose.setdefault(frame.number, [])
        if frame.count != len(group):
            self._found.broken.add(frame.number)
        group.append(self._body(frame))

    def _batch(self, frame: Frame) -> None:
        segment = self._found.segments[-1]
        self._found.places[frame.number] = Place(segment, frame.start, frame.stop, frame.count)
        segment.open_numbers.add(frame.number)

    def _answered(self, frame: Frame) -> None:
        self._found.answered.add(frame.number)

    def _offset(self, frame: Frame) -> None:
        self._found.offset = frame.number

    def _epoch(self, frame: Frame) -> None:
        if frame.number not in self._found.epochs:
            self._found.epochs.append(frame.number)


def _head_of(body: bytes) -> dict[str, Any]:
    """Return a segment's head with all its keys; ValueError, LookupError or TypeError if not."""
    head = json.loads(body)
    numbers = [head["next_number"], *head.get("epochs", ())]
    numbers += [] if head["offset"] is None else [head["offset"]]
    if not all(type(number) is int for number in (head["format"], *numbers)):
        raise ValueError("a number is none")
    return {"epochs": (), **head, "producer_id": head["producer_id"]}


_NUMBERED = frozenset({Kind.RECORD, Kind.BATCH, Kind.ANSWERED})
