"""Moves old entries from the logs to the archive, in the background (P8, P10).

What is done in which order is decided by `rating_core.metering.log.archiver`; this carries its
commands to Redis, to the session of the log, and to the files. A failed round is nothing to mend:
the next one begins with what the archive and the log say.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from redis.asyncio.connection import Connection

from rating_core.metering.log.archive import ListArchive, Listing, ReadSegment
from rating_core.metering.log.archiver import (
    ArchiveCommand,
    ArchiveReport,
    ArchiveRound,
    WriteSegment,
    WriteSnapshot,
)
from rating_core.metering.log.protocol import ArchiveRead, FoldRead, ReadLog, Reply, Trim
from rating_core.metering.log.snapshot import GetHead, TakeSnapshot
from rating_server.ports import Clock, StoreError
from rating_server.store.adapter import LinkOptions, dial, load_library
from rating_server.store.archive_place import ArchiveUnusable
from rating_server.store.connection import CONNECTION_ERRORS, disconnect
from rating_server.store.driver import SessionDriver
from rating_server.store.keys import LogKeys
from rating_server.store.wire import Wire

if TYPE_CHECKING:
    from rating_server.store.archive_files import ArchiveFiles

_log = logging.getLogger(__name__)

SEGMENT_BYTES = 32 * 1024 * 1024
"""About how many bytes of entries a segment holds; its file is about half as large."""
_SHORTEST_S = 1.0
_LONGEST_S = 60.0
_ROUNDS_PER_AGE = 10
_MICROS = 1_000_000


@dataclass(frozen=True, slots=True)
class ArchivePolicy:
    """Entries decided ``after_us`` µs ago or earlier are archived; then they leave the log."""

    after_us: int
    segment_bytes: int = SEGMENT_BYTES

    @property
    def interval_s(self) -> float:
        """Seconds between two rounds of one log."""
        return min(max(self.after_us / _MICROS / _ROUNDS_PER_AGE, _SHORTEST_S), _LONGEST_S)


def archive_reader(files: ArchiveFiles) -> Callable[[str, ArchiveRead], Any]:
    """Return what `LinkOptions.archive` wants: answers from the files, in a thread."""

    async def read(log: str, command: ArchiveRead) -> Reply:
        try:
            reply: Reply = await asyncio.to_thread(files.read, log, command)
        except ArchiveUnusable as error:
            return Listing(problem=str(error))
        return reply

    return read


class LogArchiver:
    """Archives one log, round by round, over connections of its own."""

    def __init__(
        self,
        keys: LogKeys,
        options: LinkOptions,
        files: ArchiveFiles,
        driver: SessionDriver,
        clock: Clock,
    ) -> None:
        self._keys = keys
        self._options = options
        self._files = files
        self._driver = driver
        self._clock = clock
        self._wire = Wire(keys)
        self._told = ""
        self._swept = False

    async def round(self, policy: ArchivePolicy) -> ArchiveReport:
        """Carry out one round. Raises one of CONNECTION_ERRORS, TimeoutError or StoreError."""
        if not self._swept:
            await asyncio.to_thread(self._files.sweep, self._keys.name)
            self._swept = True
        steps = ArchiveRound(self._clock() - policy.after_us, policy.segment_bytes).run()
        connection = await dial(self._options, self._keys.log)
        reply: Any = None
        try:
            async with asyncio.timeout(self._options.deadline):
                await load_library(connection)
            while True:
                try:
                    command = steps.send(reply)
                except StopIteration as end:
                    report: ArchiveReport = end.value
                    break
                reply = await self._carry_out(connection, command)
        finally:
            await disconnect(connection)
        if report.segments:
            await asyncio.to_thread(self._files.prune, self._keys.name)
        self._tell(report)
        return report

    async def _carry_out(self, connection: Connection, command: ArchiveCommand) -> object:
        log, files = self._keys.name, self._files
        match command:
            case ReadLog() | FoldRead() | Trim():
                async with asyncio.timeout(self._options.deadline):
                    await connection.send_packed_command(
                        self._wire.encode(command), check_health=False
                    )
                    raw = await connection.read_response()
                return self._wire.decode(command, raw)
            case GetHead() | TakeSnapshot():
                return await self._driver.ask(command)
            case ListArchive() | ReadSegment():
                return await asyncio.to_thread(files.read, log, command)
            case WriteSegment():
                return await asyncio.to_thread(
                    files.write_segment, log, command.name, command.entries
                )
            case WriteSnapshot():
                return await asyncio.to_thread(files.write_snapshot, log, command.snapshot)

    def _tell(self, report: ArchiveReport) -> None:
        if report.problem != self._told:
            self._told = report.problem
            if report.problem:
                _log.error("log %s is not archived further: %s", self._keys.name, report.problem)
        if report.segments:
            _log.info(
                "log %s: %d entries archived, up to %d; it begins at %d now",
                self._keys.name,
                report.entries,
                report.version,
                report.trimmed,
            )


class ArchiveTask:
    """Archives the logs of a server in turn, from `start` to `close`.

    ``archivers`` returns those of the logs that are this server's to archive at the moment.
    """

    def __init__(
        self, archivers: Callable[[], Sequence[LogArchiver]], policy: ArchivePolicy
    ) -> None:
        self._archivers = archivers
        self._policy = policy
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin; the first round comes after one interval."""
        self._task = asyncio.create_task(self._run())

    async def close(self) -> None:
        """Stop, in the middle of a round if need be."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        while True:
            # Never in step with other servers.
            await asyncio.sleep(self._policy.interval_s * random.uniform(0.8, 1.2))
            for archiver in self._archivers():
                try:
                    await archiver.round(self._policy)
                except (*CONNECTION_ERRORS, TimeoutError, StoreError) as error:
                    _log.warning("a round of archiving ended early: %s", error)
                except Exception:  # noqa: BLE001 - archiving must never end for one odd round
                    _log.exception("a round of archiving failed")
