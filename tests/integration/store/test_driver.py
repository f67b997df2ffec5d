"""The asyncio driver: real sessions on a real store, with a machine small enough to see through."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field

import pytest

from rating_core.metering.protocol import (
    EMPTY_TOKEN,
    AckLevel,
    Check,
    Command,
    Decision,
    FoldRead,
    LogEntry,
    LogPage,
    ReadLog,
    Wait,
)
from rating_core.metering.session import ShardSession
from rating_server.ports import ClockRefused, StoreFull, StoreUnavailable
from rating_server.store.adapter import LinkOptions
from rating_server.store.driver import SessionDriver
from rating_server.store.keys import shard_keys
from rating_server.store.wire import ReplyUnreadable, Wire

KEYS = shard_keys(0)


@dataclass
class Ids:
    """A machine that takes each id once and counts them in one hash."""

    version: int = 0
    token: bytes = EMPTY_TOKEN
    now: int = 0
    taken: set[str] = field(default_factory=set)
    staged: list[list[str]] = field(default_factory=list)
    staged_nows: list[int] = field(default_factory=list)
    broken: bool = False

    def reset(self) -> None:
        self.version, self.token, self.now = 0, EMPTY_TOKEN, 0
        self.taken.clear()
        self.unstage()

    def decide(self, calls: Sequence[object], _now: int) -> Decision:
        if "poison" in calls:
            raise ZeroDivisionError("a fault of the program")
        known = self.taken.union(*self.staged)
        answers: list[object] = []
        new: list[str] = []
        for call in calls:
            answers.append("DUPLICATE" if call in known else "ACCEPTED")
            if call not in known:
                known.add(str(call))
                new.append(str(call))
        return Decision(tuple(answers), json.dumps(new).encode() if new else None, new)

    def stage(self, decision: Decision, now: int) -> None:
        assert isinstance(decision.staged, list)
        self.staged.append(decision.staged)
        self.staged_nows.append(now)

    def unstage(self) -> None:
        self.staged.clear()
        self.staged_nows.clear()

    def confirm(self, version: int, token: bytes) -> None:
        self.taken.update(self.staged.pop(0))
        self.now = max(self.now, self.staged_nows.pop(0))
        self.version, self.token = version, token

    def apply(self, body: bytes, now: int, version: int, token: bytes) -> None:
        self.taken.update(json.loads(body))
        self.now, self.version, self.token = max(self.now, now), version, token

    def query(self, _question: object) -> object:
        return len(self.taken)

    def joins(self, _first: object, _call: object) -> bool:
        return True

    def size(self, _call: object) -> int:
        return 100

    def changed_hashes(self, after: int) -> Sequence[str]:
        return ["c:all:1"] if self.version > after else []

    def hash_fields(self, _key: str, _after: int) -> Sequence[tuple[str, int]]:
        return [("ids", len(self.taken))]

    def folded(self, mark: int) -> None:
        pass


def now_us() -> int:
    return time.time_ns() // 1000


class Server:
    """One server's driver and machine."""

    def __init__(
        self, url: str, clock=now_us, level: AckLevel = AckLevel.DURABLE, **options: object
    ) -> None:
        self.stopped = False
        self._level = level
        self.machines: list[Ids] = []
        self._clock = clock
        self.driver = SessionDriver(
            KEYS,
            LinkOptions(
                url=lambda: url,
                commits_stopped=lambda: self.stopped,
                **options,  # type: ignore[arg-type]
            ),
            self._build,
        )

    def _build(self) -> ShardSession:
        self.machines.append(Ids())
        return ShardSession(self.machines[-1], os.urandom(16), self._level, self._clock)

    async def until_acknowledged(self, call: str) -> object:
        """Send a call again until it is answered, as a client does."""
        while True:
            try:
                return await self.driver.call(call)
            except StoreUnavailable:
                await asyncio.sleep(0.01)


@contextlib.asynccontextmanager
async def serving(*servers: Server) -> AsyncIterator[None]:
    for server in servers:
        server.driver.start()
    try:
        yield
    finally:
        for server in servers:
            await server.driver.close()


def test_calls_and_questions_are_answered(store) -> None:
    """Calls that come together share entries, and a question sees all that was acknowledged."""

    async def scenario() -> None:
        server = Server(store.url)
        async with serving(server):
            calls = [f"id{n % 150}" for n in range(200)]
            answers = await asyncio.gather(*(server.driver.call(call) for call in calls))
            assert answers.count("ACCEPTED") == 150
            assert answers.count("DUPLICATE") == 50
            assert await server.driver.ask("count") == 150
            assert server.driver.ready
            assert server.driver.problem == ""
            assert server.machines[0].version <= 5

    asyncio.run(scenario())


def test_counters_are_folded(store) -> None:
    """Within half a second the hash reflects the log and the mark says so (P7, P8)."""

    async def scenario() -> None:
        server = Server(store.url)
        async with serving(server):
            for n in range(10):
                await server.driver.call(f"id{n}")
            await asyncio.sleep(0.6)

    asyncio.run(scenario())
    assert store.ask("HGET", KEYS.counter_hash("c:all:1"), "ids") == b"10"
    assert store.ask("HGET", KEYS.fold, "mark") == store.ask("HGET", KEYS.head, "v")


def test_two_servers_take_each_id_once(store) -> None:
    """The same ids sent to two servers at once are accepted exactly once (P1–P5, P14)."""

    async def scenario() -> None:
        one, two = Server(store.url), Server(store.url)
        async with serving(one, two):

            async def send(server: Server) -> list[object]:
                answers: list[object] = []
                for start in range(0, 300, 10):
                    calls = [f"id{n}" for n in range(start, start + 10)]
                    answers += await asyncio.gather(*map(server.driver.call, calls))
                return answers

            first, second = await asyncio.gather(send(one), send(two))
            pairs = [sorted((str(a), str(b))) for a, b in zip(first, second, strict=True)]
            assert pairs == [["ACCEPTED", "DUPLICATE"]] * 300
            assert await one.driver.ask("") == await two.driver.ask("") == 300
            assert one.machines[0].token == two.machines[0].token

    asyncio.run(scenario())


@pytest.mark.faults
def test_store_killed_while_commits_are_in_flight(store_factory) -> None:
    """Three kill -9 of the store: nothing acknowledged is lost, nothing is counted twice."""
    private = store_factory()

    async def scenario() -> None:
        server = Server(private.url)
        accepted: dict[str, int] = {}
        answered: set[str] = set()

        kills_left = 3

        async def client(number: int) -> None:
            n = 0
            while kills_left or n < 100:
                n += 1
                call = f"{number}-{n}"
                if await server.until_acknowledged(call) == "ACCEPTED":
                    accepted[call] = accepted.get(call, 0) + 1
                answered.add(call)

        async with serving(server):
            clients = asyncio.gather(*(client(number) for number in range(8)))
            while kills_left:
                await asyncio.sleep(0.2)
                await asyncio.to_thread(private.kill)
                await asyncio.to_thread(private.start)
                kills_left -= 1
            await clients
            assert max(accepted.values()) == 1
            assert await server.driver.ask("") == len(answered)
        fresh = Server(private.url)
        async with serving(fresh):
            assert await fresh.driver.ask("") == len(answered)
            assert fresh.machines[0].taken == answered == server.machines[0].taken
            assert fresh.machines[0].token == server.machines[0].token

    asyncio.run(scenario())


@pytest.mark.faults
def test_slow_store_is_resolved_not_guessed(store_factory) -> None:
    """A store that stands still outlasts the deadline; the caller is told that nothing is known,
    and the call that was in flight is found in the log or sent again, once.
    """
    private = store_factory()

    async def scenario() -> None:
        server = Server(private.url, deadline=0.3)
        async with serving(server):
            assert await server.driver.call("before") == "ACCEPTED"
            private.signal(signal.SIGSTOP)
            started = time.monotonic()
            with pytest.raises(StoreUnavailable, match="no answer in time"):
                await server.driver.call("during")
            assert time.monotonic() - started < 0.9
            await asyncio.sleep(0.7)
            assert not server.driver.ready
            assert server.driver.problem
            private.signal(signal.SIGCONT)
            assert await server.until_acknowledged("after") == "ACCEPTED"
            assert await server.until_acknowledged("during") == "DUPLICATE"
            assert await server.driver.ask("") == 3

    asyncio.run(scenario())


def test_full_store_refuses_and_recovers(store_factory) -> None:
    """At maxmemory commits are refused as FULL while checks go on; freed memory ends it (P15)."""
    private = store_factory()

    async def scenario() -> None:
        server = Server(private.url)
        async with serving(server):
            assert await server.driver.call("before") == "ACCEPTED"
            private_ask = asyncio.to_thread(private.ask, "CONFIG", "SET", "maxmemory", "1")
            assert await private_ask == b"OK"
            for _ in range(2):
                with pytest.raises(StoreFull):
                    await server.driver.call("during")
            assert await server.driver.call("before") == "DUPLICATE"
            assert await server.driver.ask("") == 1
            await asyncio.to_thread(private.ask, "CONFIG", "SET", "maxmemory", "0")
            assert await server.driver.call("during") == "ACCEPTED"

    asyncio.run(scenario())


def test_stopped_commits_are_refused_without_redis(store) -> None:
    """The guard's switch refuses commits as FULL, in order with what is in flight (P15)."""

    async def scenario() -> None:
        server = Server(store.url)
        async with serving(server):
            assert await server.driver.call("before") == "ACCEPTED"
            server.stopped = True
            answers = await asyncio.gather(
                *(server.driver.call(call) for call in ("before", "during")),
                server.driver.ask(""),
                return_exceptions=True,
            )
            assert answers[1:] == [answers[1], 1]
            assert isinstance(answers[1], StoreFull)
            assert await server.driver.call("before") == "DUPLICATE"
            server.stopped = False
            assert await server.driver.call("during") == "ACCEPTED"

    asyncio.run(scenario())


def test_wrong_clock_is_refused_until_it_is_right(store) -> None:
    """A server whose clock is a minute ahead commits nothing; set right, it serves (P11)."""

    async def scenario() -> None:
        skew = 60_000_000
        server = Server(store.url, clock=lambda: now_us() + skew)
        async with serving(server):
            with pytest.raises(ClockRefused):
                await server.driver.call("early")
            assert not server.driver.ready
            skew = 0
            assert await server.until_acknowledged("early") == "ACCEPTED"

    asyncio.run(scenario())
    assert store.ask("XLEN", KEYS.log) == 1


def test_functions_lost_by_the_store_are_loaded_again(store) -> None:
    """A store that lost the library gets it back, and the call that met this is not lost."""

    async def scenario() -> None:
        server = Server(store.url)
        async with serving(server):
            assert await server.driver.call("before") == "ACCEPTED"
            await asyncio.to_thread(store.ask, "FUNCTION", "FLUSH")
            assert await server.driver.call("after") == "ACCEPTED"
            assert await server.driver.ask("") == 2

    asyncio.run(scenario())


def test_divergent_log_is_noticed(store) -> None:
    """A store that came back with another history makes the server rebuild, not go on (P5)."""

    async def scenario() -> None:
        one, two = Server(store.url), Server(store.url)
        async with serving(one):
            await one.driver.call("lost")
            await asyncio.to_thread(store.ask, "FLUSHALL")
            async with serving(two):
                await two.driver.call("kept")
                await two.driver.call("kept-too")
            assert await one.driver.call("new") == "ACCEPTED"
            assert one.machines[0].taken == {"kept", "kept-too", "new"}

    asyncio.run(scenario())


def test_fault_of_the_program_rebuilds_the_session(store, caplog) -> None:
    """An exception inside a machine fails the calls that wait; the log restores the state."""

    async def scenario() -> None:
        server = Server(store.url)
        async with serving(server):
            assert await server.driver.call("before") == "ACCEPTED"
            with pytest.raises(StoreUnavailable, match="rebuilt"):
                await server.driver.call("poison")
            assert await server.until_acknowledged("before") == "DUPLICATE"
            assert len(server.machines) == 2

    asyncio.run(scenario())
    assert "ZeroDivisionError" in caplog.text


def test_nobody_there_and_close(free_port: int) -> None:
    """Without a store calls end at their time limit, and at once when the driver is closed."""

    async def scenario() -> None:
        server = Server(f"redis://127.0.0.1:{free_port}")
        async with serving(server):
            with pytest.raises(StoreUnavailable, match="cannot connect"):
                await server.driver.call("nobody", timeout=0.2)
            waiting = asyncio.ensure_future(server.driver.call("nobody"))
            await asyncio.sleep(0.05)
            await server.driver.close()
            with pytest.raises(StoreUnavailable, match="stopping"):
                await waiting
            with pytest.raises(StoreUnavailable, match="stopping"):
                await server.driver.call("late")

    asyncio.run(scenario())


def test_store_that_takes_no_writes_is_not_hammered(store_factory) -> None:
    """READONLY and the like end the connection; the driver comes back slowly, and recovers."""
    private = store_factory()

    def connections() -> int:
        lines = private.ask("INFO", "stats").decode().splitlines()
        counts = dict(line.split(":") for line in lines if ":" in line)
        return int(counts["total_connections_received"])

    async def scenario() -> None:
        server = Server(private.url)
        async with serving(server):
            assert await server.driver.call("before") == "ACCEPTED"
            await asyncio.to_thread(private.ask, "REPLICAOF", "127.0.0.1", "1")
            with pytest.raises(StoreUnavailable):
                await server.driver.call("during", timeout=0.3)
            before = await asyncio.to_thread(connections)
            await asyncio.sleep(1.5)
            assert await asyncio.to_thread(connections) - before < 8
            assert "read only" in server.driver.problem.lower()
            await asyncio.to_thread(private.ask, "REPLICAOF", "NO", "ONE")
            assert await server.until_acknowledged("after") == "ACCEPTED"
            assert await server.driver.ask("") == 3

    asyncio.run(scenario())


@pytest.mark.faults
def test_replicated_answers_wait_for_the_replica(store_factory) -> None:
    """At REPLICATED nothing is acknowledged while the replica stands still (P6)."""
    primary = store_factory(repl_diskless_sync_delay="0")
    replica = store_factory(replicaof=f"127.0.0.1 {primary.listen()}")
    primary.until("replication", b"state=online")

    async def scenario() -> None:
        server = Server(
            primary.url, level=AckLevel.REPLICATED, deadline=2.0, replicas=1, wait_ms=100
        )
        async with serving(server):
            assert await server.driver.call("before") == "ACCEPTED"
            assert await asyncio.to_thread(replica.ask, "XLEN", KEYS.log) == 1
            replica.signal(signal.SIGSTOP)
            for call in ("during", "before"):
                with pytest.raises(StoreUnavailable):
                    await server.driver.call(call, timeout=0.3)
            with pytest.raises(StoreUnavailable):
                await server.driver.ask("", timeout=0.3)
            assert await asyncio.to_thread(primary.ask, "XLEN", KEYS.log) == 2
            replica.signal(signal.SIGCONT)
            assert await server.driver.call("during") == "DUPLICATE"
            assert await server.driver.ask("") == 2
            assert await asyncio.to_thread(replica.ask, "XLEN", KEYS.log) == 2

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("command", "raw"),
    [
        (Check(0, EMPTY_TOKEN, 0, touch=False), [b"OK", b"1", EMPTY_TOKEN]),
        (Check(0, EMPTY_TOKEN, 0, touch=False), [b"FINE", b"1", EMPTY_TOKEN, b"0"]),
        (Check(0, EMPTY_TOKEN, 0, touch=False), b"OK"),
        (Check(0, EMPTY_TOKEN, 0, touch=False), [b"OK", b"x", EMPTY_TOKEN, b"0"]),
        (ReadLog(0, 1), [[b"1-x", b"p"]]),
        (ReadLog(0, 1), None),
        (FoldRead(("a",)), [b"0", b"0"]),
        (Wait(), b"1"),
    ],
)
def test_unreadable_replies_are_named(command: Command, raw: object) -> None:
    """A reply that cannot be is one kind of error, whatever is wrong with it."""
    with pytest.raises(ReplyUnreadable):
        Wire(KEYS).decode(command, raw)


@pytest.mark.parametrize(
    ("item", "entry"),
    [
        ([b"1-1", [b"p", EMPTY_TOKEN, b"e", b"x"]], LogEntry(1, b"", b"x")),
        ([b"1-0", [b"p", EMPTY_TOKEN]], LogEntry(1, EMPTY_TOKEN, b"")),
        ([b"1-0", [b"hello", b"world"]], LogEntry(1, b"", b"")),
    ],
)
def test_what_others_wrote_to_a_log_continues_no_chain(item: object, entry: LogEntry) -> None:
    """P5: such an entry reaches the session, which refuses the log with a reason; no reconnects."""
    assert Wire(KEYS).decode(ReadLog(0, 1), [item]) == LogPage((entry,))
