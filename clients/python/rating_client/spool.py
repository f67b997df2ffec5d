"""The spool of a usage writer: what was taken is in a file before the caller knows, until counted.

A crash of the producer loses nothing that way: the next writer of the same directory sends what is
left before anything new. `spool_frames` has the format. Not thread-safe, but for `sync`.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections import deque
from dataclasses import dataclass
from pathlib import Path

import grpc

from rating_client.columns import Payload, StoredPayload
from rating_client.errors import SpoolError, SpoolFull
from rating_client.options import WriterOptions
from rating_client.spool_directory import (
    Contents,
    Place,
    SpoolDamage,
    lock,
    read_directory,
    segment_head,
    segment_path,
)
from rating_client.spool_frames import HEAD_BYTES, Kind, frame_bytes
from rating_client.spool_records import batch_again
from rating_client.spool_segment import Segment, failed, sync_directory

KEPT_SECONDS = 600.0
"""How long a numbered batch is kept after it became durable: a failover may lose it (P13)."""
_SEGMENT_BYTES = (64 << 10, 16 << 20)
_SEGMENTS = 16
_EPOCHS = 256


@dataclass(frozen=True, slots=True)
class Leftover:
    """A batch of an earlier writer. ``answered``: that one had reported the status of each record.

    ``record_count`` is 0 if it cannot be read (`SpoolDamage`).
    """

    number: int
    record_count: int
    answered: bool


class Spool:
    """An open spool. Batches are numbered from 1, on and on over restarts.

    Raises SpoolError where the directory cannot be used: SPOOL_LOCKED, SPOOL_MISMATCH.
    """

    def __init__(self, directory: Path, options: WriterOptions, producer_id: str | None) -> None:
        self._directory = directory
        self._options = options
        self._producer_id = producer_id
        least, most = _SEGMENT_BYTES
        self._segment_bytes = min(most, max(least, options.spool_max_bytes // _SEGMENTS))
        self._active: Segment | None = None
        self._loose = 0
        self._durable: deque[tuple[int, float]] = deque()
        self._released = 0
        self._appended = 0
        self._synced = 0
        self._sync_lock = threading.Lock()
        self._broken: SpoolError | None = None
        self._closed = threading.Event()
        self._lock = lock(directory)
        try:
            found = read_directory(directory, producer_id)
            self._take_over(found)
        except BaseException:
            os.close(self._lock)
            raise
        if options.spool_fsync == "interval":
            name = "ratewright-spool-sync"
            threading.Thread(target=self._sync_at_intervals, name=name, daemon=True).start()

    def _take_over(self, found: Contents) -> None:
        self.damage: tuple[SpoolDamage, ...] = tuple(found.damage)
        self.offset = found.offset
        self.epochs = found.epochs[-_EPOCHS:]
        """Epochs of the latest writers of this spool, the present one's included (P12)."""
        self._segments = deque(found.segments)
        self._places = found.places
        self.next_number = found.next_number
        self._next_segment = found.next_segment
        numbered = self._producer_id is not None
        for number, records in sorted(found.loose.items()):
            # A numbered batch must be sent as it was, or not at all (P13).
            if not (numbered and number in found.broken):
                self._restore(number, records)
        if not numbered:
            for number in found.answered:
                self._release(number)
            self._collect()
        first = min(self._places, default=self.next_number)
        everything = range(first, self.next_number) if numbered else sorted(self._places)
        self.first_number = first
        self._released = first - 1
        self.leftovers = [
            Leftover(
                number,
                self._places[number].record_count if number in self._places else 0,
                number in found.answered,
            )
            for number in everything
        ]

    def _restore(self, number: int, records: list[bytes]) -> None:
        try:
            payload = batch_again(records, named=self._producer_id is None)
        except ValueError as error:
            message = f"spool {self._directory}: {error}"
            raise SpoolError(
                message, code=grpc.StatusCode.FAILED_PRECONDITION, reason="SPOOL_MISMATCH"
            ) from error
        self._append_batch(number, payload)
        if self._options.spool_fsync != "none":
            self.sync()  # the file of the single records may go

    # --- writing -------------------------------------------------------------------------------

    @property
    def byte_count(self) -> int:
        """Bytes of all segments."""
        return sum(segment.size for segment in self._segments)

    def has_room(self, now: float) -> bool:
        """Whether more may be written: the spool is below its limit, if need be by making room."""
        if self._broken is not None:
            raise self._broken
        if self.byte_count < self._options.spool_max_bytes:
            return True
        if self._active is not None and not self._loose:
            self._finish_active()
        self.collect(now)
        # What is durable in all shards may go early; only a failover would have asked for it.
        while self._durable and self.byte_count >= self._options.spool_max_bytes:
            self._release_until(self._durable.popleft()[0])
            self._collect()
        return self.byte_count < self._options.spool_max_bytes

    def full(self) -> SpoolFull:
        """Return the error for a spool without room."""
        return SpoolFull(
            f"spool {self._directory}: {self._options.spool_max_bytes} bytes are in use",
            code=grpc.StatusCode.RESOURCE_EXHAUSTED,
            reason="SPOOL_FULL",
        )

    def add_record(self, data: bytes) -> None:
        """Write a record of the batch that comes next, as a batch of one; SpoolError if not."""
        self._append(frame_bytes(Kind.RECORD, self.next_number, self._loose, data))
        self._loose += 1

    def add_batch(self, payload: Payload) -> int:
        """Write a batch and return its number; the single records written since the last are its.

        Raises SpoolError if it cannot be written; nothing has changed then.
        """
        number = self.next_number
        self._append_batch(number, payload)
        self.next_number += 1
        self._loose = 0
        return number

    def _append_batch(self, number: int, payload: Payload) -> None:
        segment, start = self._append(
            frame_bytes(Kind.BATCH, number, payload.record_count, payload.data)
        )
        start += HEAD_BYTES
        stop = start + len(payload.data)
        self._places[number] = Place(segment, start, stop, payload.record_count)
        segment.open_numbers.add(number)

    def set_offset(self, offset: int) -> None:
        """Remember, for good, that the sequence of a batch is its number + ``offset`` (P12)."""
        self._append(frame_bytes(Kind.OFFSET, offset, 0))
        self.offset = offset
        self.sync()

    def set_epoch(self, epoch: int) -> None:
        """Remember, for good, that a writer of this epoch uses the spool (P12)."""
        self.epochs.append(epoch)
        # A full disk is no reason not to send what is here; at worst SPOOL_OVERTAKEN comes where
        # it need not.
        with contextlib.suppress(SpoolFull):
            self._append(frame_bytes(Kind.EPOCH, epoch, 0))
            self.sync()

    def _append(self, data: bytes) -> tuple[Segment, int]:
        if self._broken is not None:
            raise self._broken
        if self._closed.is_set():
            raise SpoolError(
                "the spool is closed",
                code=grpc.StatusCode.FAILED_PRECONDITION,
                reason="WRITER_CLOSED",
            )
        active = self._active
        if active is not None and active.size >= self._segment_bytes and not self._loose:
            self._finish_active()
            active = None
        if active is None:
            active = self._new_segment()
        start = active.append(data)
        self._appended += len(data)
        return active, start

    def _new_segment(self) -> Segment:
        path = segment_path(self._directory, self._next_segment)
        try:
            segment = Segment(path, self._next_segment)
        except OSError as error:
            raise failed(f"creating {path}", error) from error
        head = segment_head(self._producer_id, self.offset, self.next_number, self.epochs)
        try:
            segment.append(frame_bytes(Kind.SEGMENT, 0, 0, head))
            if self._options.spool_fsync != "none":
                sync_directory(self._directory)
        except BaseException:
            segment.remove()
            raise
        self._next_segment += 1
        self._segments.append(segment)
        self._active = segment
        return segment

    def _finish_active(self) -> None:
        """Write no more to this segment."""
        if self._options.spool_fsync != "none":
            self.sync()
        with self._sync_lock:
            self._active = None

    # --- reading and removing ------------------------------------------------------------------

    def payload(self, number: int) -> Payload:
        """Return a batch that is kept; SpoolError SPOOL_DAMAGED if it cannot be read."""
        return Payload(self.record_count(number), self._data(number))

    def stored(self, number: int) -> Payload:
        """Return a batch that stays in the file and is read whenever it is sent."""
        return StoredPayload(self.record_count(number), lambda: self._data(number))

    def record_count(self, number: int) -> int:
        """Return the number of records of a batch; 0 for one that is not there."""
        place = self._places.get(number)
        return 0 if place is None else place.record_count

    def _data(self, number: int) -> bytes:
        place = self._places.get(number)
        if place is None:
            kept = ", ".join(str(damage.kept_in) for damage in self.damage)
            raise SpoolError(
                f"spool {self._directory}: batch {number} is damaged ({kept or 'not there'}), and "
                "the server has not counted it",
                code=grpc.StatusCode.DATA_LOSS,
                reason="SPOOL_DAMAGED",
            )
        return place.segment.read(place.start, place.stop)

    def holds(self, number: int) -> bool:
        """Whether a batch is there."""
        return number in self._places

    def answered(self, number: int, now: float) -> None:
        """Note that the status of each of a batch's records was reported.

        It can go, but for a producer's, which stays until `durable` has named it (P13).
        """
        if self._closed.is_set() or number not in self._places:
            return
        # Without this note, on a full disk, a crash makes it be sent again and be a DUPLICATE.
        with contextlib.suppress(SpoolError):
            self._append(frame_bytes(Kind.ANSWERED, number, 0))
        if self._producer_id is None:
            self._release(number)
        self.collect(now)

    def durable(self, number: int, now: float) -> None:
        """Note that all batches up to this one are durable in all shards, and none above it."""
        if self._closed.is_set():
            return
        while self._durable and self._durable[-1][0] > number:
            self._durable.pop()  # a failover lost them
        last = self._durable[-1][0] if self._durable else self._released
        if number > last:
            self._durable.append((number, now))
        self.collect(now)

    def _release(self, number: int) -> None:
        place = self._places.pop(number, None)
        if place is not None:
            place.segment.open_numbers.discard(number)

    def _release_until(self, number: int) -> None:
        for gone in range(self._released + 1, number + 1):
            self._release(gone)
        self._released = max(self._released, number)

    def collect(self, now: float) -> None:
        """Remove the files of which nothing has to be kept, the oldest first."""
        while self._durable and now >= self._durable[0][1] + KEPT_SECONDS:
            self._release_until(self._durable.popleft()[0])
        self._collect()

    def _collect(self) -> None:
        while self._segments:
            oldest = self._segments[0]
            # Single records without their batch are in the active segment alone.
            if oldest.open_numbers or oldest is self._active:
                return
            self._segments.popleft().remove()

    # --- the disk ------------------------------------------------------------------------------

    def sync(self) -> None:
        """Return when all that was written before lasts over a crash of the machine.

        Safe to call from any thread: those that wait share one sync.
        """
        target = self._appended
        with self._sync_lock:
            active, reached = self._active, self._appended
            if active is None or self._synced >= target:
                return
            try:
                active.sync()
            except SpoolError as error:
                # What the disk holds is unknown now; nothing may be taken on top of it.
                self._broken = error
                raise
            self._synced = reached

    def _sync_at_intervals(self) -> None:
        while not self._closed.wait(self._options.spool_fsync_interval_seconds):
            try:
                self.sync()
            except SpoolError:
                return

    def close(self) -> None:
        """Close the files; remove what need not be kept. Closing again does nothing."""
        if self._closed.is_set():
            return
        self._closed.set()
        try:
            if self._broken is None and self._active is not None:
                self._finish_active()
        finally:
            loose, self._loose = self._loose, 0
            if not loose and self._producer_id is None:
                self._collect()
            for segment in self._segments:
                segment.close()
            os.close(self._lock)
