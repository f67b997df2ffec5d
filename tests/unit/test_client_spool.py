"""The files of a spool: what is left after cuts, damage, full disks and other writers."""

from __future__ import annotations

import random
import resource
import shutil
import struct
import zlib
from datetime import UTC, datetime

import grpc
import pytest

from ratewright.v1 import usage_service_pb2 as api
from rating_client import SpoolError, SpoolFull, Unavailable, UsageRecord, WriterOptions
from rating_client.columns import RecordBuffer
from rating_client.outgoing import Outgoing
from rating_client.routes import Routes
from rating_client.sequenced import SequencedDelivery
from rating_client.spool import KEPT_SECONDS, Spool
from rating_client.spool_frames import read_frames
from rating_client.spool_keeper import SpoolKeeper
from rating_client.spool_records import COLUMNS

START = datetime(2026, 3, 1, tzinfo=UTC)
QUICK = WriterOptions(spool_fsync="none")
LOST = Unavailable("gone", code=grpc.StatusCode.UNAVAILABLE)


def payload(*numbers, named=True):
    """Return a batch of records that tell their numbers."""
    buffer = RecordBuffer(named=named)
    for n in numbers:
        record = UsageRecord(
            event_id=f"e-{n}" if named else "",
            customer=f"c-{n % 3}",
            meter="m",
            event_time=START,
            quantity=f"{n}.{n % 10}",
            dimensions={"model": "large", "zone": "b"} if n % 2 else {},
            attributes={"user": f"u-{n}"} if n % 4 > 1 else {},
            retraction=named and n % 7 == 5,
        )
        buffer.add(record, RecordBuffer.read(record, named=named))
    return buffer.seal()


def numbers_in(data):
    """Return the numbers of a batch's records."""
    batch = api.IngestUsageRequest.FromString(data).batch
    return [quantity // 10 ** batch.meters[0].scale for quantity in batch.quantities]


def left_in(directory, producer_id=None):
    """Open a spool; return the numbers of all records left in it, and the damage."""
    spool = Spool(directory, QUICK, producer_id)
    try:
        found = [
            n
            for item in spool.leftovers
            if item.record_count
            for n in numbers_in(spool.payload(item.number).data)
        ]
        return found, spool.damage
    finally:
        spool.close()


def filled(directory, *, named=True):
    """Leave a spool as a killed process would: two batches, and single records behind them."""
    spool = Spool(directory, QUICK, None if named else "p")
    for n in (1, 2, 3):
        spool.add_record(payload(n, named=named).data)
    spool.add_batch(payload(1, 2, 3, named=named))
    spool.add_batch(payload(4, 5, named=named))
    for n in (6, 7):
        spool.add_record(payload(n, named=named).data)
    spool.close()
    (segment,) = directory.glob("*.spool")
    return segment.read_bytes()


@pytest.fixture
def copy(tmp_path):
    """A function that makes a directory with one segment of the given bytes."""
    made = iter(range(100_000))

    def build(data):
        directory = tmp_path / f"copy-{next(made)}"
        directory.mkdir()
        (directory / f"{1:016}.spool").write_bytes(data)
        return directory

    return build


def test_cut_at_every_byte_leaves_what_was_whole(tmp_path, copy):
    """A write that broke off is cut; all before it is there, once, and nothing is called damage."""
    data = filled(tmp_path / "spool")
    ends = [frame.stop for frame in read_frames(data, last=True).frames]
    assert len(ends) == 8
    after = {0: [], 1: [], 2: [1], 3: [1, 2], 4: [1, 2, 3], 5: [1, 2, 3], 6: [1, 2, 3, 4, 5]}
    after |= {7: [1, 2, 3, 4, 5, 6], 8: [1, 2, 3, 4, 5, 6, 7]}
    for cut in range(len(data) + 1):
        directory = copy(data[:cut])
        whole = sum(end <= cut for end in ends)
        for _ in range(2 if cut % 50 == 0 else 1):
            assert left_in(directory) == (after[whole], ()), cut
        shutil.rmtree(directory)


def test_zeros_behind_the_end_are_cut_too(tmp_path, copy):
    """A machine that crashed may leave a file longer than what was written."""
    data = filled(tmp_path / "spool")
    for zeros in (1, 31, 32, 33, 4096):
        assert left_in(copy(data + bytes(zeros))) == ([1, 2, 3, 4, 5, 6, 7], ())


def test_a_flipped_byte_is_reported_and_kept_aside(tmp_path, copy):
    """Whichever byte: the rest is read, and what is lost is in a file that the report names."""
    data = filled(tmp_path / "spool")
    frames = read_frames(data, last=True).frames
    # The batch of 1, 2, 3 comes back from its single records.
    lost = {5: {4, 5}, 6: {6}, 7: {7}}
    for at in range(0, len(data), 5):
        broken = bytearray(data)
        broken[at] ^= 0x41
        directory = copy(bytes(broken))
        found, (report,) = left_in(directory)
        assert report.start <= at < report.stop
        assert report.kept_in.read_bytes() == bytes(broken[report.start : report.stop])
        index = next(n for n, frame in enumerate(frames) if at < frame.stop)
        assert set(range(1, 8)) - set(found) == lost.get(index, set()), at
        if at % 100 == 0:
            assert left_in(directory) == (found, (report,))  # and again
        shutil.rmtree(directory)


def test_a_batch_of_single_records_is_the_same_byte_for_byte(tmp_path):
    """P13: a batch that was not written whole is made again exactly."""
    spool = Spool(tmp_path, QUICK, "p")
    for n in (1, 2, 3, 14):
        spool.add_record(payload(n, named=False).data)
    spool.close()
    again = Spool(tmp_path, QUICK, "p")
    assert again.payload(1) == payload(1, 2, 3, 14, named=False)
    again.close()


def test_every_column_of_a_single_record_comes_back():
    """A record that is written to a spool alone loses nothing that its batch would have sent."""
    known = {field.name for field in api.UsageBatch.DESCRIPTOR.fields}
    assert known == COLUMNS


def test_one_writer_a_directory(tmp_path):
    """A second writer, of this process or another, is told who has the spool."""
    spool = Spool(tmp_path, QUICK, None)
    with pytest.raises(SpoolError, match="another writer uses it") as raised:
        Spool(tmp_path, QUICK, None)
    assert raised.value.reason == "SPOOL_LOCKED"
    spool.close()
    Spool(tmp_path, QUICK, None).close()


def test_a_spool_belongs_to_one_producer(tmp_path):
    """Batches of one producer are never sent under another's name."""
    filled(tmp_path, named=False)
    for other in ("q", None):
        with pytest.raises(SpoolError) as raised:
            Spool(tmp_path, QUICK, other)
        assert raised.value.reason == "SPOOL_MISMATCH"
    assert left_in(tmp_path, "p") == ([1, 2, 3, 4, 5, 6, 7], ())


def test_files_go_when_all_in_them_is_answered(tmp_path):
    """Segments rotate, the oldest are removed whole, numbers run on, an empty spool is empty."""
    options = WriterOptions(spool_fsync="none", spool_max_bytes=1 << 20)
    spool = Spool(tmp_path, options, None)
    big = payload(*range(3000))
    numbers = [spool.add_batch(big) for _ in range(6)]
    assert len(list(tmp_path.glob("*.spool"))) >= 3
    order = numbers[:]
    random.Random(5).shuffle(order)
    for number in order[:3]:
        spool.answered(number, 0.0)
    spool.close()
    spool = Spool(tmp_path, options, None)
    assert [item.number for item in spool.leftovers] == sorted(order[3:])
    assert spool.add_batch(big) == 7
    for number in (*order[3:], 7):
        spool.answered(number, 0.0)
    spool.close()
    assert [path.name for path in tmp_path.iterdir()] == ["lock"]


def test_a_full_spool_has_no_room_until_something_is_answered(tmp_path):
    """`spool_max_bytes` bounds the files, by one batch more."""
    options = WriterOptions(spool_fsync="none", spool_max_bytes=1 << 20)
    spool = Spool(tmp_path, options, None)
    big = payload(*range(3000))
    while spool.has_room(0.0):
        last = spool.add_batch(big)
    assert spool.byte_count < (1 << 20) + 2 * len(big.data)
    for number in range(1, last + 1):
        spool.answered(number, 0.0)
    assert spool.has_room(0.0)
    spool.close()


def test_a_full_disk_takes_nothing_and_loses_nothing(tmp_path):
    """A write that the disk refuses raises SpoolFull and leaves the file as it was."""
    spool = Spool(tmp_path, QUICK, None)
    spool.add_batch(payload(1, 2))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (spool.byte_count + 40, hard))
    try:
        for _ in range(3):
            with pytest.raises(SpoolFull) as raised:
                spool.add_batch(payload(3, 4))
            assert raised.value.reason == "SPOOL_DISK_FULL"
            with pytest.raises(SpoolFull):
                spool.add_record(payload(3).data)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    spool.add_batch(payload(5))
    spool.close()
    assert left_in(tmp_path) == ([1, 2, 5], ())


def test_a_later_format_is_refused(tmp_path, copy):
    """A kind of frame that this version does not know is an error, not skipped."""
    data = filled(tmp_path / "spool")
    head = struct.pack("<4sB3xIQII", b"RWSP", 99, 0, 1, 0, zlib.crc32(b""))
    with pytest.raises(SpoolError, match="later version"):
        Spool(copy(data + head + struct.pack("<I", zlib.crc32(head))), QUICK, None)


class Producer:
    """A sequenced delivery over a spool, and the server's side played by hand."""

    def __init__(self, directory):
        self.now = 0.0
        self.spool = Spool(directory, QUICK, "p")
        self.keeper = SpoolKeeper(self.spool, lambda: self.now)
        self.delivery = SequencedDelivery(
            QUICK, lambda: 0.0, "p", 3, self.keeper.first_sequence, self.keeper
        )
        self.first_record = 0
        for item in self.spool.leftovers:
            if item.answered or not item.record_count:
                self.delivery.put_reported(self.spool.stored(item.number))
            else:
                self.put_again(item.number)

    def put_again(self, number):
        self.delivery.put(self.spool.payload(number), self.first_record)
        self.first_record += 1

    def put(self, n):
        self.put_again(self.spool.add_batch(payload(n, named=False)))

    def shake(self, durable):
        self.delivery.opened()
        request = self.sent()
        assert request.HasField("producer")
        self.looked = (list(request.producer.known_epochs), request.answered_sequence)
        self.delivery.answers(api.IngestUsageResponse(durable_sequence=durable), 0.0)
        return request.producer.start_anew

    def sent(self):
        item = self.delivery.next_to_send(99.0)
        return None if item is None else api.IngestUsageRequest.FromString(item.request())

    def exchange(self, durable):
        """Send all there is, answer it; return (sequence, record) of each."""
        seen = []
        while (request := self.sent()) is not None:
            (n,) = numbers_in(request.SerializeToString())
            seen.append((request.sequence, n))
            answer = api.IngestUsageResponse(
                batch_number=request.batch_number,
                sequence=request.sequence,
                durable_sequence=durable,
            )
            for result in self.delivery.answers(answer, 0.0):
                self.delivery.reported(result)
                self.spool.answered(result.first_record + self.spool.first_number, self.now)
        return seen


def test_a_new_process_sends_what_is_not_durable_under_the_same_numbers(tmp_path):
    """P13: numbering goes on where the killed process was, answered batches included."""
    first = Producer(tmp_path)
    for n in (10, 11, 12):
        first.put(n)
    assert first.shake(durable=40)
    assert first.exchange(durable=41) == [(41, 10), (42, 11), (43, 12)]
    first.put(13)
    first.spool.close()
    assert first.looked == ([], 0)
    second = Producer(tmp_path)
    second.spool.set_epoch(3)
    assert not second.shake(durable=41)
    assert second.looked == ([3], 43)  # batch 44 may have been sent, and was not answered
    second.put(14)
    assert second.exchange(durable=45) == [(42, 11), (43, 12), (44, 13), (45, 14)]
    second.spool.close()


def test_a_failover_gets_back_what_was_durable(tmp_path):
    """A handshake below what was durable is answered from the spool, for 10 minutes."""
    producer = Producer(tmp_path)
    for n in range(5):
        producer.put(n)
    producer.shake(durable=0)
    producer.exchange(durable=5)
    producer.now = KEPT_SECONDS - 1
    producer.delivery.lost(LOST, 0.0)
    producer.put(5)
    producer.shake(durable=2)
    assert producer.exchange(durable=6) == [(3, 2), (4, 3), (5, 4), (6, 5)]
    producer.spool.close()
    later = Producer(tmp_path)
    assert len(later.spool.leftovers) == 6
    later.shake(durable=6)
    later.now = KEPT_SECONDS + 1
    later.put(6)
    later.exchange(durable=7)
    assert not later.spool.holds(6)
    assert later.spool.holds(7)
    later.delivery.lost(LOST, 0.0)
    with pytest.raises(Exception, match="lost batches 6 to"):
        later.shake(durable=5)
    later.spool.close()


def test_an_old_copy_of_a_spool_is_refused(tmp_path):
    """A server that has more than the spool ever held: new batches would get used numbers."""
    producer = Producer(tmp_path)
    producer.put(1)
    producer.shake(durable=0)
    producer.exchange(durable=0)
    producer.spool.close()
    again = Producer(tmp_path)
    again.put(2)
    with pytest.raises(Exception, match="not the latest"):
        again.shake(durable=2)
    again.spool.close()


def test_a_damaged_batch_stops_a_producer_unless_it_is_durable(tmp_path):
    """A gap is never passed over: the server has the batch, or the writer says what lacks."""
    producer = Producer(tmp_path)
    for n in range(4):
        producer.put(n)
    producer.shake(durable=0)
    producer.spool.close()
    (segment,) = tmp_path.glob("*.spool")
    data = bytearray(segment.read_bytes())
    frame = read_frames(bytes(data), last=True).frames[2]
    data[frame.start + 1] ^= 1
    segment.write_bytes(data)
    hurt = Producer(tmp_path)
    assert len(hurt.spool.damage) == 1
    with pytest.raises(Exception, match="batch 2 is damaged"):
        hurt.shake(durable=0)
    hurt.spool.close()
    well = Producer(tmp_path)
    well.shake(durable=2)
    assert well.exchange(durable=4) == [(3, 2), (4, 3)]
    well.spool.close()


def test_memory_holds_what_the_options_allow(tmp_path):
    """With nobody to send to, batches wait in the file, not in memory."""
    options = WriterOptions(batch_records=100, max_unanswered_records=300, spool_fsync="none")
    outgoing = Outgoing(options, None, None, Routes(""), tmp_path)
    batch = payload(*range(100))
    for n in range(50):
        outgoing.put(batch, n * 100)
    assert outgoing.byte_count <= 3 * len(batch.data)
    assert outgoing.spool.byte_count > 50 * len(batch.data)
    outgoing.close()
    again = Outgoing(options, None, None, Routes(""), tmp_path)
    assert sum(again.recover().values()) == 5000
    assert min(again.recover()) == -5000
    assert again.byte_count <= 6 * len(batch.data)
    again.close()
