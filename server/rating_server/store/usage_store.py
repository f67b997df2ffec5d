"""The usage store on Redis: one session per shard and one for the catalogue.

Implements `rating_server.ports.UsageStore`. All state that decides lives in the logs; what is here
are the servers' own copies of it, the sessions that keep them true, and the order of starting.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import AsyncIterator, Callable, Collection, Sequence

from rating_core.catalog import Meter
from rating_core.metering.calls import RecordCall
from rating_core.metering.catalogue import Catalogue
from rating_core.metering.catalogue_calls import GetMeter
from rating_core.metering.log.protocol import AckLevel, LogEntry, Machine
from rating_core.metering.sequencing.sequenced import SequencedCall
from rating_core.metering.session import ShardSession
from rating_core.metering.shard import UsageShard
from rating_server.ports import (
    Clock,
    PastRange,
    StoreHealth,
    StoreRefused,
    StoreUnavailable,
    Until,
    Window,
)
from rating_server.store.adapter import LinkOptions, no_archive
from rating_server.store.address import parse_address
from rating_server.store.archive_place import open_archive
from rating_server.store.archiving import ArchivePolicy, ArchiveTask, LogArchiver, archive_reader
from rating_server.store.connection import CONNECTION_ERRORS
from rating_server.store.customer_roll import new_roll
from rating_server.store.driver import SessionDriver
from rating_server.store.embedded import EmbeddedStore
from rating_server.store.guard import StoreGuard
from rating_server.store.keys import LogKeys, catalogue_keys, shard_keys
from rating_server.store.log_reader import log_reader
from rating_server.store.membership import Membership
from rating_server.store.missed_meters import MissedMeters
from rating_server.store.past import past_entries, past_machine, read_entry
from rating_server.store.posting import post_all
from rating_server.store.preflight import Durability, check_store
from rating_server.store.registry import read_members
from rating_server.store.sessions import ShardSessions
from rating_server.store.shard_settings import Configured, configure_shard, tell_window
from rating_server.store.turns import Turns
from rating_server.store.usage_options import UsageStoreOptions
from rating_server.store.warm_up import warm_up
from rating_server.topology import Topology

_log = logging.getLogger(__name__)

_BOOT_BYTES = 16


def system_clock() -> int:
    """Return now in microseconds UTC."""
    return time.time_ns() // 1000


class RedisUsageStore:
    """All sessions of one server, from `start` to `close`; a `UsageStore`.

    With ``embedded`` the store starts and stops with this object; otherwise ``options.url`` names
    it, and StoreRefused is raised if it is none. Made inside a running event loop.
    """

    def __init__(
        self,
        options: UsageStoreOptions,
        embedded: EmbeddedStore | None = None,
        clock: Clock = system_clock,
    ) -> None:
        if bool(options.url) == (embedded is not None):
            raise ValueError("either a URL or an embedded store is needed")
        if options.url:
            parse_address(options.url)
        self._options = options
        self._embedded = embedded
        self._clock = clock
        if options.archive_after_us is not None and not options.archive:
            raise StoreRefused("ARCHIVE_UNUSABLE", "--archive-after needs --archive")
        self._files = open_archive(options.archive) if options.archive else None
        replicated = options.level is AckLevel.REPLICATED
        self._link = LinkOptions(
            url=embedded.url if embedded is not None else lambda: options.url,
            deadline=options.deadline,
            replicas=options.replicas if replicated else 0,
            wait_ms=max(int(options.deadline * 500), 1),
            commits_stopped=self._commits_stopped,
            clock_problem=lambda: self._guard.clock_problem,
            archive=no_archive if self._files is None else archive_reader(self._files),
        )
        self._archiving: ArchiveTask | None = None
        self._guard = StoreGuard(
            self._link,
            free_disk=embedded.directory.free_bytes if embedded is not None else options.disk,
            disk_reserve=options.disk_reserve,
            clock=clock,
        )
        self._hash_key = b""
        self._shard_count = options.shards
        self.roll = new_roll(options.shards)
        self._catalogue = Catalogue()
        self._known_meters: dict[str, Meter] = {}
        self._missed_meters = MissedMeters()
        self.turns = Turns()
        self._catalogue_driver = self._driver(catalogue_keys(), self._fresh_catalogue)
        self._sessions = ShardSessions(self._shard_driver, self._prepare, self._session_settled)
        self._membership: Membership | None = None
        self._configured: list[Configured] = []
        self._started = False
        self._durability: Durability | None = None

    @property
    def shard_count(self) -> int:
        """Number of usage shards, as the store was initialised; known after `start`."""
        return self._shard_count

    @property
    def catalogue(self) -> Catalogue:
        """The server's copy of the catalogue: it may lack the newest, and is never wrong."""
        return self._catalogue

    @property
    def meters(self) -> dict[str, Meter]:
        """Meters of the catalogue as this server knows them; they are immutable and only grow."""
        return self._catalogue.meters

    @property
    def durability(self) -> Durability:
        """What the store promises, with one line that says it; known after `start`."""
        if self._durability is None:
            raise StoreUnavailable("the store has not been started")
        return self._durability

    @property
    def window(self) -> Window | None:
        """The acceptance window in force, None while this server has read no shard's log."""
        return Window(self._configured[0].window_us) if self._configured else None

    @property
    def topology(self) -> Topology:
        """The living servers of this store, as far as this one knows them."""
        if self._membership is None:
            return Topology(self._shard_count)
        return self._membership.topology

    @property
    def health(self) -> StoreHealth:
        """The state of the sessions now; ``problem`` names the first thing that is wrong.

        A session that is being opened beside those that serve does not make the server unready.
        """
        shards = self._sessions.open
        drivers = [self._catalogue_driver, *shards.values()]
        settled = [shards[shard] for shard in self._sessions.settled]
        problems = [self._embedded.problem if self._embedded is not None else ""]
        problems += [driver.problem for driver in drivers]
        problems.append(self._guard.problem)
        return StoreHealth(
            ready=bool(settled) and all(d.ready for d in (self._catalogue_driver, *settled)),
            logs_ready=sum(driver.ready for driver in drivers),
            logs=len(drivers),
            problem=next((problem for problem in problems if problem), ""),
            losses=sum(driver.losses for driver in drivers),
        )

    async def start(self) -> None:
        """Start the embedded store if there is one, check the store, read all logs, configure.

        StoreRefused if the store is unfit or a log is unreadable; StoreError if it does not answer
        or takes no writes. What was started is ended again.
        """
        try:
            if self._embedded is not None:
                await self._embedded.start()
            options = self._options
            self._durability, stored = await check_store(
                self._link,
                options.level,
                options.shards,
                trust=options.trust,
                patience=options.start_timeout,
            )
            self._shard_count, self._hash_key = stored.shards, stored.hash_key
            self.roll = new_roll(stored.shards, stored.hash_key)
            _log.info("%s", self._durability.line)
            # In a thread, so that a signal is heard while kernels compile.
            await asyncio.to_thread(warm_up)
            self._guard.start()
            if options.spill is not None:
                options.spill.start()
            self._membership = Membership(
                self._link, self._sessions, self._shard_count, options.session_idle, self._clock
            )
            if options.spill is not None:
                self._membership.ids = options.spill.fullest
            self._catalogue_driver.start()
            await self._read_logs()
            self._start_archiving()
        except BaseException:
            await self.close()
            raise

    async def announce(self, address: str) -> None:
        """Join the servers of this store under the address at which clients reach this one.

        Returns when the logs of its own shards are read, or `start_timeout` is over.
        """
        if self._membership is None:
            raise StoreUnavailable("the store has not been started")
        await self._membership.announce(address, self._options.start_timeout)

    async def leave(self, patience: float) -> None:
        """Hand all shards over to the other servers, for ``patience`` seconds at most."""
        if self._membership is not None:
            await self._membership.leave(patience)

    async def close(self) -> None:
        """End all sessions, then the embedded store; calls that wait fail."""
        if self._archiving is not None:
            await self._archiving.close()
        try:
            if self._membership is not None:
                await self._membership.close()
            await asyncio.gather(self._sessions.close(), self._catalogue_driver.close())
            await self._guard.close()
            if self._options.spill is not None:
                await self._options.spill.close()
        finally:
            if self._embedded is not None:
                await self._embedded.stop()

    async def submit(self, shard: int, call: object) -> object:
        """Have a shard decide a call and commit what it decides; return the call's answer."""
        if isinstance(call, RecordCall | SequencedCall):
            await self.know_meters(call.batch.meters)
        return await self._sessions.use(shard).call(call)

    async def submit_all(self, calls: Sequence[tuple[int, object]]) -> list[object]:
        """Have shards decide calls; return, for each, its answer or the StoreError of its shard.

        All are posted before this waits for anything: what is submitted first is decided first.
        """
        return await post_all(
            [(self._sessions.use(shard), call) for shard, call in calls], self._link.deadline
        )

    async def know_meters(self, names: Collection[str]) -> None:
        """Look up meters, in the newest catalogue where one is missing; StoreError.

        One that was missing is looked up again after a second at the earliest; one that is created
        on this server is known at once.
        """
        known = self._known_meters
        if known.keys() >= set(names):
            return
        # Meters are immutable: what is here is right, only what is missing may be out of date.
        unknown = {name for name in names if name not in known}
        if self._missed_meters.worth_asking(unknown - self._catalogue.meters.keys()):
            await self.refresh_catalogue()
            self._missed_meters.enter(unknown - self._catalogue.meters.keys())
        meters = self._catalogue.meters
        known.update((name, meters[name]) for name in unknown if name in meters)

    async def ask(self, shard: int, question: object) -> object:
        """Return the answer of a shard's state that was the newest after the question came."""
        return await self._sessions.use(shard).ask(question)

    async def read_entry(self, shard: int, version: int) -> bytes:
        """Return the bytes of a committed entry, from log or archive; HistoryTrimmed."""
        async with log_reader(self._link, shard_keys(shard)) as reader:
            return await read_entry(reader, self._files, version)

    async def ask_past(self, shard: int, customer: str, question: object, until: Until) -> object:
        """As `ask`, of the state as it stood then, as far as one customer goes."""
        machine = UsageShard(self._hash_key, self._meter_of, plan_of=self._options.plan_of)
        async with log_reader(self._link, shard_keys(shard)) as reader:
            await past_machine(reader, self._files, machine, customer, until)
        return machine.query(question)

    async def entries(self, shard: int, part: PastRange) -> AsyncIterator[LogEntry]:
        """Yield entries of a shard's log, in order. LogTrimmed if they are gone."""
        async with log_reader(self._link, shard_keys(shard)) as reader:
            async for entry in past_entries(reader, self._files, part):
                yield entry

    async def catalogue_call(self, call: object) -> object:
        """As `submit`, on the catalogue."""
        return await self._catalogue_driver.call(call)

    async def catalogue_ask(self, question: object) -> object:
        """As `ask`, on the catalogue."""
        return await self._catalogue_driver.ask(question)

    async def refresh_catalogue(self) -> None:
        """Catch up with the catalogue: any question proves the head after it was asked (P1)."""
        await self._catalogue_driver.ask(GetMeter(""))

    def _start_archiving(self) -> None:
        """Archive the usage shards' logs (P10). The catalogue's stays: it is small and all of it
        is needed.
        """
        after_us = self._options.archive_after_us
        if self._files is None or after_us is None:
            return
        files, made = self._files, dict[SessionDriver, LogArchiver]()

        def archivers() -> list[LogArchiver]:
            drivers = {driver: shard for shard, driver in self._own_sessions().items()}
            for gone in made.keys() - drivers.keys():
                del made[gone]
            for driver, shard in drivers.items():
                if driver not in made:
                    keys = shard_keys(shard)
                    made[driver] = LogArchiver(keys, self._link, files, driver, self._clock)
            return list(made.values())

        self._archiving = ArchiveTask(archivers, ArchivePolicy(after_us))
        self._archiving.start()

    def _commits_stopped(self) -> bool:
        return self._guard.stopped()

    def _driver(self, keys: LogKeys, build: Callable[[], Machine]) -> SessionDriver:
        def session() -> ShardSession:
            # P4: a boot id of its own, also for a session that replaces a failed one.
            boot = os.urandom(_BOOT_BYTES)
            return ShardSession(build(), boot, self._options.level, self._clock, prompt=False)

        return SessionDriver(keys, self._link, session, self.turns)

    def _fresh_catalogue(self) -> Catalogue:
        self._catalogue = Catalogue()
        return self._catalogue

    def _fresh_shard(self) -> UsageShard:
        share = max(self._options.max_ids // self._shard_count, 1)
        shard = UsageShard(self._hash_key, self._meter_of, share, self._options.plan_of)
        if self._options.spill is not None:
            self._options.spill.watch(shard)
        return shard

    def _meter_of(self, meter_id: str) -> Meter | None:
        # The catalogue may be being rebuilt just when a call is decided that has waited: a meter
        # that was there when it came must not become UNKNOWN_METER, which is final (S7.3).
        return self._catalogue.meters.get(meter_id) or self._known_meters.get(meter_id)

    def _shard_driver(self, shard: int) -> SessionDriver:
        return self._driver(shard_keys(shard), self._fresh_shard)

    def _own_sessions(self) -> dict[int, SessionDriver]:
        """Return the sessions of the shards that this server owns; without others, of all."""
        sessions = self._sessions.open
        if self._membership is None or not self.topology.members:
            return sessions
        return {s: d for s, d in sessions.items() if s in self._membership.owned}

    async def _read_logs(self) -> None:
        """Read the logs that have to be read before this server joins the others.

        Settings that were given are put in force once, in all shards, now; otherwise a server that
        finds others leaves the logs to them until they are to change hands.
        """
        options = self._options
        given = (options.window, options.max_series, options.grace_us) != (None, None, None)
        try:
            async with asyncio.timeout(options.start_timeout):
                alone = given or not await read_members(self._link)
                shards = range(self._shard_count) if alone else ()
                await asyncio.gather(
                    self._catalogue_driver.until_ready(), self._sessions.until_settled(shards)
                )
        except CONNECTION_ERRORS as error:
            problem = self.health.problem or str(error)
            raise StoreUnavailable(f"not ready in time: {problem}") from None
        if self._configured:
            tell_window(self._configured)
        self._started = True

    async def _prepare(self, driver: SessionDriver) -> None:
        """Configure a shard (P11): as given while this server starts, later as it is."""
        options = self._options
        window, series, grace = options.window, options.max_series, options.grace_us
        if self._started:
            window = series = grace = None
        configured = await configure_shard(driver, window, series, grace)
        if not self._started or not self._configured:
            self._configured.append(configured)

    def _session_settled(self) -> None:
        if self._membership is not None:
            self._membership.changed()
