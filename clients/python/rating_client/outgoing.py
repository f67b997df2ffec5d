"""The way of a writer's batches: into its spool, if it has one, and on to the lanes. Sans threads.

Memory holds what the options allow; what exceeds it waits in the spool's files.
"""

from __future__ import annotations

import os
import random
import time
from collections import deque
from pathlib import Path

from rating_client.columns import Payload
from rating_client.delivery import BatchResult, Delivery
from rating_client.lanes import Lanes
from rating_client.options import WriterOptions
from rating_client.routes import Routes
from rating_client.sequenced import SequencedDelivery
from rating_client.spool import Spool
from rating_client.spool_directory import SpoolDamage
from rating_client.spool_keeper import SpoolKeeper
from rating_client.values import RecordStatus

PRODUCER_BYTES_MAX = 128


def _delivery(
    options: WriterOptions,
    producer_id: str | None,
    epoch: int | None,
    spool: Spool | None,
) -> Delivery:
    jitter = random.Random().random
    if producer_id is None:
        if epoch is not None:
            raise ValueError("epoch: only with a producer_id")
        return Delivery(options, jitter)
    if not 1 <= len(producer_id.encode()) <= PRODUCER_BYTES_MAX:
        raise ValueError(f"producer_id: expected 1 to {PRODUCER_BYTES_MAX} bytes")
    # A later process of the same producer must have a greater epoch: the clock gives one.
    chosen = time.time_ns() // 1_000 if epoch is None else epoch
    if chosen < 1:
        raise ValueError("epoch: expected 1 or more")
    if spool is None:
        return SequencedDelivery(options, jitter, producer_id, chosen)
    spool.set_epoch(chosen)  # before a server hears of it
    keeper = SpoolKeeper(spool)
    return SequencedDelivery(options, jitter, producer_id, chosen, keeper.first_sequence, keeper)


class Outgoing:
    """Batches that have no result yet. Not thread-safe, but for `sync`."""

    def __init__(
        self,
        options: WriterOptions,
        producer_id: str | None,
        epoch: int | None,
        routes: Routes,
        spool_dir: str | os.PathLike[str] | None,
    ) -> None:
        self._options = options
        self._numbered = producer_id is not None
        self.spool = None if spool_dir is None else Spool(Path(spool_dir), options, producer_id)
        try:
            self.lanes = Lanes(
                routes,
                lambda: _delivery(options, producer_id, epoch, self.spool),
                fixed=self._numbered,
            )
        except BaseException:
            self.close()
            raise
        self._closed = False
        self._records = 0
        self._bytes = 0
        self._numbers: dict[int, int] = {}
        self._backlog: deque[tuple[int | None, int]] = deque()

    @property
    def byte_count(self) -> int:
        """Bytes of the batches that memory holds."""
        return self._bytes + self.lanes.home.delivery.kept_bytes

    @property
    def spool_damage(self) -> tuple[SpoolDamage, ...]:
        """What could not be read of the spool when it was opened."""
        return () if self.spool is None else self.spool.damage

    def recover(self) -> dict[int, int]:
        """Queue what an earlier writer left in the spool.

        Returns the number of records of each batch by the number of its first one: the records get
        the numbers before 0.
        """
        if self.spool is None:
            return {}
        left = self.spool.leftovers
        first_record = -sum(item.record_count for item in left if not item.answered)
        outstanding = {}
        for item in left:
            if item.answered or not item.record_count:
                self._backlog.append((None, item.number))
                continue
            outstanding[first_record] = item.record_count
            self._numbers[first_record] = item.number
            self._backlog.append((first_record, item.number))
            first_record += item.record_count
        self._send_on()
        return outstanding

    def put(self, payload: Payload, first_record: int) -> None:
        """Take a batch; SpoolError if it cannot be written to the spool: it is not taken then."""
        if self.spool is None:
            self._send(payload, first_record)
            return
        number = self.spool.add_batch(payload)
        if self._numbered:
            self.spool.sync()  # once sent, it must never be another one (P13)
        self._numbers[first_record] = number
        if not self._backlog and self._has_room(payload.record_count):
            self._send(payload, first_record)
            return
        self._backlog.append((first_record, number))
        self._send_on()

    def _send(self, payload: Payload, first_record: int) -> None:
        self._records += payload.record_count
        self._bytes += len(payload.data)
        self.lanes.put(payload, first_record)

    def _has_room(self, record_count: int) -> bool:
        if not self._records:
            return True
        if self._bytes >= self._options.max_unanswered_bytes:
            return False
        return self._records + record_count <= self._options.max_unanswered_records

    def _send_on(self) -> None:
        """Take batches from the spool's files to the lanes, as many as memory is meant to hold."""
        spool = self.spool
        while spool is not None and self._backlog and not self._closed:
            first_record, number = self._backlog[0]
            if first_record is None:
                self.lanes.home.delivery.put_reported(spool.stored(number))
            elif self._has_room(spool.record_count(number)):
                self._send(spool.payload(number), first_record)
            else:
                return
            self._backlog.popleft()

    def reported(self, result: BatchResult, *, known: bool) -> None:
        """The writer's user has a result, or, unless ``known``, did not take it."""
        self._records -= len(result)
        self._bytes -= len(result.payload.data)
        number = self._numbers.pop(result.first_record, None)
        if self.spool is None or number is None:
            return
        if known and not result.count(RecordStatus.RETRY):
            self.spool.answered(number, time.monotonic())
        self._send_on()

    def syncs(self, when: str) -> bool:
        """Whether the spool is synced at this occasion, `each` write or `flush`."""
        return self.spool is not None and self._options.spool_fsync in ("each", when)

    def sync(self, when: str) -> None:
        """Sync the spool if that is wished for now; needs no lock, and waits for the disk."""
        if self.spool is not None and self.syncs(when):
            self.spool.sync()

    def close(self) -> None:
        """Send nothing more; close the spool, where everything without a result stays."""
        self._closed = True
        if self.spool is not None:
            self.spool.close()
