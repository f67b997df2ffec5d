"""The usage store on Redis: one session per shard and one for the catalogue.

Implements `rating_server.ports.UsageStore`. All state that decides lives in the logs; what is here
are the servers' own copies of it, the sessions that keep them true, and the order of starting.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from rating_core.catalog import Meter
from rating_core.metering.catalogue import Catalogue, GetMeter
from rating_core.metering.protocol import AckLevel, Machine
from rating_core.metering.sequenced import SequencedCall
from rating_core.metering.session import ShardSession
from rating_core.metering.shard import (
    Configure,
    ControlAnswer,
    GetSettings,
    RecordCall,
    UsageShard,
)
from rating_core.metering.shard import Settings as ShardSettings
from rating_server.ports import Clock, StoreHealth, StoreRefused, StoreUnavailable, Window
from rating_server.store.adapter import LinkOptions, no_archive
from rating_server.store.archive_place import open_archive
from rating_server.store.archiving import (
    ArchivePolicy,
    ArchiveTask,
    LogArchiver,
    archive_reader,
)
from rating_server.store.driver import SessionDriver
from rating_server.store.embedded import EmbeddedStore
from rating_server.store.guard import StoreGuard
from rating_server.store.keys import LogKeys, catalogue_keys, shard_keys
from rating_server.store.posting import post_all
from rating_server.store.preflight import Durability, check_store
from rating_server.store.warm_up import warm_up

_log = logging.getLogger(__name__)

_BOOT_BYTES = 16


@dataclass(frozen=True, slots=True)
class UsageStoreOptions:
    """What decides, and how Redis is reached.

    ``url`` (`address.py`) is empty for the embedded store. ``shards`` counts only when a store is
    first used. ``window``: acceptance window W, ``max_series``: both as stored where None.
    ``max_ids``: ids remembered in all shards together. ``deadline`` seconds of every store call,
    ``start_timeout`` seconds until the store must have loaded and all logs must have been read.
    ``replicas`` that must confirm at REPLICATED.
    ``trust``: take a store that hides its CONFIG for durable. ``disk_reserve`` bytes for the
    embedded store (P15). ``archive``: path or URI of the archive, empty for none;
    ``archive_after_us``: age in µs at which entries go there, None for never (P10).
    """

    url: str = ""
    level: AckLevel = AckLevel.DURABLE
    shards: int = 16
    window: Window | None = None
    max_series: int | None = None
    max_ids: int = 100_000_000
    deadline: float = 5.0
    start_timeout: float = 600.0
    replicas: int = 1
    trust: bool = False
    disk_reserve: int = 256 * 1024 * 1024
    archive: str = ""
    archive_after_us: int | None = None


@dataclass(frozen=True, slots=True)
class Configured:
    """The settings of a shard before a start, and its window and floor (µs) after it (P11)."""

    before: ShardSettings
    window_us: int | None
    floor: int | None


def system_clock() -> int:
    """Return now in microseconds UTC."""
    return time.time_ns() // 1000


class RedisUsageStore:
    """All sessions of one server, from `start` to `close`; a `UsageStore`.

    With ``embedded`` the store starts and stops with this object; otherwise ``options.url`` names
    it. Made inside a running event loop.
    """

    def __init__(
        self,
        options: UsageStoreOptions,
        embedded: EmbeddedStore | None = None,
        clock: Clock = system_clock,
    ) -> None:
        if bool(options.url) == (embedded is not None):
            raise ValueError("either a URL or an embedded store is needed")
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
            archive=no_archive if self._files is None else archive_reader(self._files),
        )
        self._archiving: ArchiveTask | None = None
        self._guard = StoreGuard(
            self._link,
            free_disk=embedded.directory.free_bytes if embedded is not None else None,
            disk_reserve=options.disk_reserve,
        )
        self._hash_key = b""
        self._shard_count = options.shards
        self._catalogue = Catalogue()
        self._known_meters: dict[str, Meter] = {}
        self._catalogue_driver = self._driver(catalogue_keys(), self._fresh_catalogue)
        self._drivers: list[SessionDriver] = []
        self._durability: Durability | None = None
        self._window = Window(None)

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
    def window(self) -> Window:
        """The acceptance window in force, known after `start`."""
        return self._window

    @property
    def health(self) -> StoreHealth:
        """The state of the sessions now; ``problem`` names the first thing that is wrong."""
        drivers = [self._catalogue_driver, *self._drivers]
        ready = sum(driver.ready for driver in drivers)
        problems = [self._embedded.problem if self._embedded is not None else ""]
        problems += [driver.problem for driver in drivers]
        problems.append(self._guard.problem)
        return StoreHealth(
            ready=ready == len(drivers) and len(drivers) > 1,
            logs_ready=ready,
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
            _log.info("%s", self._durability.line)
            # In a thread, so that a signal is heard while kernels compile.
            await asyncio.to_thread(warm_up)
            self._guard.start()
            self._drivers = [
                self._driver(shard_keys(shard), self._fresh_shard)
                for shard in range(self._shard_count)
            ]
            drivers = [self._catalogue_driver, *self._drivers]
            for driver in drivers:
                driver.start()
            await self._until_ready(drivers)
            configured = (self._configure(driver) for driver in self._drivers)
            self._tell_window(await asyncio.gather(*configured))
            self._start_archiving()
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """End all sessions, then the embedded store; calls that wait fail."""
        drivers = [self._catalogue_driver, *self._drivers]
        if self._archiving is not None:
            await self._archiving.close()
        try:
            await asyncio.gather(*(driver.close() for driver in drivers))
            await self._guard.close()
        finally:
            if self._embedded is not None:
                await self._embedded.stop()

    async def submit(self, shard: int, call: object) -> object:
        """Have a shard decide a call and commit what it decides; return the call's answer."""
        await self._know_meters([call])
        return await self._drivers[shard].call(call)

    async def submit_all(self, calls: Sequence[tuple[int, object]]) -> list[object]:
        """Have shards decide calls; return, for each, its answer or the StoreError of its shard."""
        await self._know_meters([call for _, call in calls])
        return await post_all(
            [(self._drivers[shard], call) for shard, call in calls], self._link.deadline
        )

    async def _know_meters(self, calls: Sequence[object]) -> None:
        """Look up the meters that calls name, in the newest catalogue where one is missing."""
        named: set[str] = set()
        for call in calls:
            if isinstance(call, RecordCall | SequencedCall):
                named.update(call.batch.meters)
        # Meters are immutable: what is here is right, only what is missing may be out of date.
        if not self._known_meters.keys() >= named:
            if not self._catalogue.meters.keys() >= named:
                await self.refresh_catalogue()
            known = self._catalogue.meters
            self._known_meters.update((name, known[name]) for name in named if name in known)

    async def ask(self, shard: int, question: object) -> object:
        """Return the answer of a shard's state that was the newest after the question came."""
        return await self._drivers[shard].ask(question)

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
        archivers = [
            LogArchiver(shard_keys(shard), self._link, self._files, driver, self._clock)
            for shard, driver in enumerate(self._drivers)
        ]
        self._archiving = ArchiveTask(archivers, ArchivePolicy(after_us))
        self._archiving.start()

    def _commits_stopped(self) -> bool:
        return self._guard.stopped()

    def _driver(self, keys: LogKeys, build: Callable[[], Machine]) -> SessionDriver:
        def session() -> ShardSession:
            # P4: a boot id of its own, also for a session that replaces a failed one.
            boot = os.urandom(_BOOT_BYTES)
            return ShardSession(build(), boot, self._options.level, self._clock)

        return SessionDriver(keys, self._link, session)

    def _fresh_catalogue(self) -> Catalogue:
        self._catalogue = Catalogue()
        return self._catalogue

    def _fresh_shard(self) -> UsageShard:
        share = max(self._options.max_ids // self._shard_count, 1)
        return UsageShard(self._hash_key, self._meter_of, share)

    def _meter_of(self, meter_id: str) -> Meter | None:
        # The catalogue may be being rebuilt just when a call is decided that has waited: a meter
        # that was there when it came must not become UNKNOWN_METER, which is final (S7.3).
        return self._catalogue.meters.get(meter_id) or self._known_meters.get(meter_id)

    async def _until_ready(self, drivers: list[SessionDriver]) -> None:
        try:
            async with asyncio.timeout(self._options.start_timeout):
                await asyncio.gather(*(driver.until_ready() for driver in drivers))
        except TimeoutError:
            raise StoreUnavailable(f"not ready in time: {self.health.problem}") from None

    async def _configure(self, driver: SessionDriver) -> Configured:
        """Put the settings that were given in force; return those before and now (P11)."""
        before = await driver.ask(GetSettings())
        if not isinstance(before, ShardSettings):
            raise TypeError("a usage shard answers GetSettings with its settings")
        window, series = self._options.window, self._options.max_series
        call = Configure(
            window_us=before.window_us if window is None else window.micros,
            max_series=before.max_series if series is None else series,
            max_values=before.max_values,
        )
        answer = await driver.call(call)
        if not isinstance(answer, ControlAnswer) or not answer.ok:
            raise StoreRefused("SETTINGS_REFUSED", f"a shard refused the settings: {answer}")
        return Configured(before, answer.value["window_us"], answer.value["floor"])

    def _tell_window(self, shards: list[Configured]) -> None:
        """Say what the window of the store is now, where that is not what one would expect."""
        first = shards[0]
        self._window = Window(first.window_us)
        if first.before.configured and first.before.window_us != first.window_us:
            _log.warning(
                "the acceptance window of this store was %s and is now %s, for all its servers",
                Window(first.before.window_us),
                self._window,
            )
        floors = [shard.floor for shard in shards if shard.floor is not None]
        if floors:
            until = datetime.fromtimestamp(max(floors) // 1_000_000, UTC)
            _log.warning(
                "records of up to %s stay refused as TOO_OLD: their ids may be forgotten",
                until.isoformat(),
            )
