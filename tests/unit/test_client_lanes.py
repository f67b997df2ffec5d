"""Batches over several servers: split by owner, put together, moved to another server. No I/O."""

from __future__ import annotations

from datetime import UTC, datetime

import grpc
import pytest

from ratewright.v1 import usage_service_pb2 as api
from rating_client.columns import RecordBuffer
from rating_client.delivery import Delivery
from rating_client.errors import InvalidArgument, Unavailable
from rating_client.lanes import Lanes
from rating_client.options import WriterOptions
from rating_client.routes import Routes, ServerInfo, Topology, shard_of, shard_ranges
from rating_client.values import RecordStatus, UsageRecord
from rating_core.metering.batch import shard_of as server_shard_of

AT = datetime(2026, 1, 1, tzinfo=UTC)
CUSTOMERS = [f"c{number}" for number in range(16)]
LOST = Unavailable("gone", code=grpc.StatusCode.UNAVAILABLE)
REFUSED = InvalidArgument("bad", code=grpc.StatusCode.INVALID_ARGUMENT)


def topology(revision: int, **shards: tuple[int, ...]) -> Topology:
    """A topology of servers by name."""
    servers = [ServerInfo(name, "b", False, owned, AT) for name, owned in shards.items()]
    return Topology(revision, 8, tuple(servers))


TWO = topology(7, a=(0, 1, 2, 3), b=(4, 5, 6, 7))


class Bench:
    """Lanes with a clock of their own."""

    def __init__(self, known: Topology | None) -> None:
        self.now = 100.0
        self.routes = Routes("home", clock=lambda: self.now)
        if known is not None:
            self.routes.learn(known)
        options = WriterOptions(batches_in_flight=16)
        self.lanes = Lanes(self.routes, lambda: Delivery(options, lambda: 0.0), fixed=False)

    def put(self, first: int = 0) -> None:
        """Put a batch with one record of each customer."""
        buffer = RecordBuffer()
        for customer in CUSTOMERS:
            record = UsageRecord(event_id=customer, customer=customer, meter="m", event_time=AT)
            buffer.add(record, RecordBuffer.read(record))
        self.lanes.put(buffer.seal(), first)

    def sent(self) -> dict[str, list[tuple[int, set[str]]]]:
        """Take what goes out: by address, batch numbers and event ids."""
        found: dict[str, list[tuple[int, set[str]]]] = {}
        for lane in self.lanes.all:
            while (batch := lane.delivery.next_to_send(self.now)) is not None:
                request = api.IngestUsageRequest.FromString(batch.request())
                ends, ids = 0, set()
                for length in request.batch.event_id_lengths:
                    ids.add(request.batch.event_ids[ends : ends + length].decode())
                    ends += length
                found.setdefault(lane.address, []).append((request.batch_number, ids))
        return found

    def lane(self, address: str):
        """The lane to an address."""
        return next(lane for lane in self.lanes.all if lane.address == address)


def test_the_client_finds_shards_as_servers_do():
    """The hash that the API names is the servers' own, for any text."""
    for customer in [*CUSTOMERS, "ümläut", "顧客", "x" * 128]:
        assert shard_of(customer, 13) == server_shard_of(customer, 13)


def test_without_a_topology_all_goes_home():
    """A client of one server sends whole batches to its target and never asks for a topology."""
    bench = Bench(None)
    bench.put()
    assert {address: len(sent) for address, sent in bench.sent().items()} == {"home": 1}
    bench.lanes.answers(bench.lane("home"), api.IngestUsageResponse(batch_number=1), 100.0)
    assert bench.routes.to_ask() is None


def test_a_batch_is_split_by_owner_and_reported_whole():
    """Each record goes to its shard's server; the result names all rows in their order."""
    bench = Bench(TWO)
    bench.put(first=40)
    sent = bench.sent()
    assert set(sent) == {"a", "b"}
    for address, ((_, ids),) in sent.items():
        assert ids == {c for c in CUSTOMERS if TWO.owners()[shard_of(c, 8)] == address}
    ((number, ids),) = sent["a"]
    answer = api.IngestUsageResponse(batch_number=number, topology_revision=7)
    assert bench.lanes.answers(bench.lane("a"), answer, 100.0) == []
    ((number, others),) = sent["b"]
    answer = api.IngestUsageResponse(batch_number=number, topology_revision=7)
    answer.statuses.extend([int(RecordStatus.DUPLICATE)] * len(others))
    (result,) = bench.lanes.answers(bench.lane("b"), answer, 100.0)
    assert result.first_record == 40
    assert result.customers() == CUSTOMERS
    expected = {True: RecordStatus.ACCEPTED, False: RecordStatus.DUPLICATE}
    assert [result[row].status for row in range(16)] == [expected[c in ids] for c in CUSTOMERS]
    assert bench.routes.to_ask() is None


def test_what_a_server_does_not_answer_goes_to_another():
    """The same ids go to a server that lives; the dead one is avoided until its time is over."""
    bench = Bench(TWO)
    bench.put()
    missing = bench.sent()["a"][0][1]
    assert bench.lanes.lost(bench.lane("a"), LOST, bench.now) == []
    resent = bench.sent()
    assert set(resent) == {"b"}
    assert resent["b"][0][1] == missing
    bench.put(16)
    assert set(bench.sent()) == {"b"}
    assert bench.routes.to_ask() == "b"
    bench.now += 2.0
    bench.put(32)
    assert set(bench.sent()) == {"a", "b"}


def test_a_refused_part_marks_its_rows_and_the_whole():
    """Rows of a refused part are REJECTED, the others keep their status, the error is told."""
    bench = Bench(TWO)
    bench.put()
    sent = bench.sent()
    answer = api.IngestUsageResponse(batch_number=sent["b"][0][0])
    assert bench.lanes.answers(bench.lane("b"), answer, 100.0) == []
    (result,) = bench.lanes.lost(bench.lane("a"), REFUSED, 100.0)
    assert result.error is REFUSED
    assert result.count(RecordStatus.REJECTED) == len(sent["a"][0][1])
    assert result.counted == len(sent["b"][0][1])


def test_abandoning_reports_every_batch_once():
    """When a writer stops, each batch has one result, with what is known of its parts."""
    bench = Bench(TWO)
    bench.put()
    bench.put(16)
    sent = bench.sent()
    answer = api.IngestUsageResponse(batch_number=sent["a"][0][0])
    bench.lanes.answers(bench.lane("a"), answer, 100.0)
    first, second = bench.lanes.abandon(LOST)
    assert (first.first_record, second.first_record) == (0, 16)
    assert first.counted == len(sent["a"][0][1])
    assert second.counted == 0


def test_another_revision_makes_the_client_ask_but_not_too_often():
    """A hint leads to one question, the next one only a while later, until the answer fits."""
    bench = Bench(TWO)
    bench.routes.hint(7)
    assert bench.routes.to_ask() is None
    bench.routes.hint(9)
    assert bench.routes.to_ask() == "a"
    assert bench.routes.to_ask() is None
    bench.now += 1.0
    assert bench.routes.to_ask() == "a"
    bench.routes.learn(topology(9, b=tuple(range(8))))
    bench.now += 1.0
    assert bench.routes.to_ask() is None
    assert bench.routes.owner("c1") == "b"


def test_unary_calls_look_around_now_and_then():
    """The first call asks nothing, a later one does, the next only after a while; a topology of
    one server is not followed, since its target reaches it.
    """
    bench = Bench(None)
    assert bench.routes.to_ask_beside() is None
    bench.now += 1.0
    assert bench.routes.to_ask_beside() == "home"
    bench.routes.learn(topology(0, inside=tuple(range(8))))
    assert bench.routes.topology is None
    bench.now += 1.0
    assert bench.routes.to_ask_beside() is None
    bench.now += 60.0
    assert bench.routes.to_ask_beside() == "home"
    bench.routes.learn(TWO)
    bench.routes.no_answer("home", LOST)
    assert bench.routes.in_turn() == ["a", "b", "home"]
    assert Routes("home", follow=False).to_ask_beside() is None


def test_lanes_of_servers_that_are_gone_end():
    """A lane without work ends when its server is in the topology no more; home stays."""
    bench = Bench(TWO)
    bench.put()
    for address, sent in bench.sent().items():
        answer = api.IngestUsageResponse(batch_number=sent[0][0])
        bench.lanes.answers(bench.lane(address), answer, 100.0)
    bench.routes.learn(topology(8, b=tuple(range(8))))
    ended = {lane.address: bench.lanes.retire(lane) for lane in bench.lanes.all}
    assert ended == {"home": False, "a": True, "b": False}
    assert {lane.address for lane in bench.lanes.all} == {"home", "b"}


@pytest.mark.parametrize(
    ("shards", "words"), [((), ""), ((3,), "3"), ((0, 1, 2, 5, 7, 8), "0-2, 5, 7-8")]
)
def test_shards_in_words(shards, words):
    """Runs of shards are shown as ranges."""
    assert shard_ranges(shards) == words
