"""One connection to Redis for one session: bytes out in order, replies back in order.

The session decides everything; this moves bytes. redis-py opens the connection and parses; its
retries are off, because a repeated commit would be a second one (DESIGN §8). Whatever goes wrong,
error of Redis, socket or driver, is one event: the connection is lost and the outcome of what was
outstanding is unknown; the session resolves it (P3).
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from redis.asyncio.connection import Connection
from redis.exceptions import OutOfMemoryError, ResponseError

from rating_core.metering.log.archive import ListArchive, Listing, LoadSnapshot, ReadSegment
from rating_core.metering.log.protocol import ArchiveRead, Command, Commit, Reply
from rating_server.store.connection import (
    CONNECTION_ERRORS,
    ask_redis,
    disconnect,
    establish,
    open_connection,
)
from rating_server.store.keys import LogKeys
from rating_server.store.topology import Topology
from rating_server.store.wire import (
    LIBRARY_NAME,
    ReplyUnreadable,
    Wire,
    library_source,
)

_log = logging.getLogger(__name__)

_GRACE_S = 0.02
_ARCHIVE_DEADLINE_S = 600.0


async def no_archive(log: str, command: ArchiveRead) -> Reply:  # noqa: ARG001 - the signature of an archive
    """Answer for a server that was given no archive: there is none to look at."""
    return Listing(problem="it was archived, and this server was given no archive (--archive)")


@dataclass(frozen=True, slots=True)
class LinkOptions:
    """How to reach Redis and how long to wait.

    ``url`` (`address.py`) is called at every connect, since an embedded store may have moved;
    ``topology`` finds the node of a log by it. ``deadline`` (seconds) bounds every call,
    ``connect_timeout`` (seconds) a connect. ``replicas`` and ``wait_ms`` are for REPLICATED (P6).
    ``commits_stopped`` says whether commits are to be refused as FULL without asking Redis (P15).
    ``clock_problem`` says why no call is decided at the moment, if so.
    ``archive`` answers what a session asks of the archive of a log, by the log's name (P10).
    """

    url: Callable[[], str]
    deadline: float = 5.0
    connect_timeout: float = 2.0
    replicas: int = 0
    wait_ms: int = 1000
    commits_stopped: Callable[[], bool] = lambda: False
    clock_problem: Callable[[], str] = lambda: ""
    archive: Callable[[str, ArchiveRead], Awaitable[Reply]] = no_archive
    topology: Topology = field(init=False)

    def __post_init__(self) -> None:
        """Look for the store's nodes by the URL."""
        object.__setattr__(self, "topology", Topology(self.url))


async def dial(options: LinkOptions, key: bytes) -> Connection:
    """Return a connection to the node that serves ``key``, established; within the deadline.

    Raises one of CONNECTION_ERRORS, TimeoutError among them, with nothing left open; the node is
    then looked up again the next time.
    """
    connection = None
    try:
        async with asyncio.timeout(options.deadline):
            url = await options.topology.locate(key)
            connection = open_connection(url, options.connect_timeout)
            await establish(connection)
    except BaseException as error:
        options.topology.doubt(error)
        if connection is not None:
            await disconnect(connection)
        raise
    return connection


async def load_library(connection: Connection) -> None:
    """Load the function library where it is not loaded; other versions stay (DESIGN §8)."""
    listed = await ask_redis(connection, b"FUNCTION", b"LIST", b"LIBRARYNAME", LIBRARY_NAME)
    if listed:
        return
    try:
        await ask_redis(connection, b"FUNCTION", b"LOAD", library_source())
    except ResponseError as error:
        # Another server was faster.
        if "already exists" not in str(error):
            raise


class Link:
    """A live connection of one session. ``on_reply`` gets the replies in order, ``on_lost`` is
    called once, unless `close` came first.
    """

    def __init__(
        self,
        connection: Connection,
        wire: Wire,
        options: LinkOptions,
        on_reply: Callable[[Reply], None],
        on_lost: Callable[[str], None],
    ) -> None:
        self._connection = connection
        self._wire = wire
        self._options = options
        self._on_reply = on_reply
        self._on_lost = on_lost
        self._loop = asyncio.get_running_loop()
        # What is outstanding, oldest first: the command and its deadline. A commit that was not
        # sent because commits are stopped waits here for its turn to be answered.
        self._outstanding: deque[tuple[Command, float, bool]] = deque()
        # The reply of the archive that has come; a session reads one thing of it at a time.
        self._archived: Reply | None = None
        self._reader: asyncio.Task[None] | None = None
        self._unsent: list[bytes] = []
        self._wake = asyncio.Event()
        self._deadline: asyncio.TimerHandle | None = None
        self._closed = False
        self._tasks = (
            self._loop.create_task(self._guard(self._write())),
            self._loop.create_task(self._guard(self._read())),
        )

    def send(self, commands: Sequence[Command]) -> None:
        """Queue commands to be written in order, after all earlier ones."""
        if self._closed or not commands:
            return
        expires = self._loop.time() + self._options.deadline
        stopped = self._options.commits_stopped()
        for command in commands:
            if isinstance(command, ListArchive | LoadSnapshot | ReadSegment):
                # In its place among the replies of Redis, with its own, longer deadline.
                late = self._loop.time() + _ARCHIVE_DEADLINE_S
                self._outstanding.append((command, late, False))
                self._reader = self._loop.create_task(self._guard(self._read_archive(command)))
            elif stopped and isinstance(command, Commit):
                self._outstanding.append((command, expires, False))
            else:
                self._unsent += self._wire.encode(command)
                self._outstanding.append((command, expires, True))
        if self._unsent:
            self._wake.set()
        if stopped:
            # Never from inside the caller's own event: replies come as events of their own.
            self._loop.call_soon(self._answer_unsent)
        if self._deadline is None:
            self._deadline = self._loop.call_at(expires, self._check_deadline)

    def lose(self, reason: str) -> None:
        """Drop the connection and report it as lost; what is outstanding has no known outcome."""
        if not self._closed:
            self.close()
            self._on_lost(reason)

    def close(self) -> None:
        """Drop the connection without a report."""
        if self._closed:
            return
        self._closed = True
        if self._deadline is not None:
            self._deadline.cancel()
        current = asyncio.current_task()
        for task in (*self._tasks, self._reader):
            if task is not None and task is not current:
                task.cancel()
        self._outstanding.clear()
        self._unsent.clear()

    async def wait_closed(self) -> None:
        """Wait until the tasks have ended and the socket is closed, after `close` or `lose`."""
        reader = () if self._reader is None else (self._reader,)
        await asyncio.gather(*self._tasks, *reader, return_exceptions=True)
        await disconnect(self._connection)

    async def _guard(self, body: Any) -> None:
        try:
            await body
        except CONNECTION_ERRORS as error:
            # MOVED, CLUSTERDOWN, READONLY, LOADING and TRYAGAIN come here too: wherever the log is
            # now, what was outstanding has no known outcome (P3).
            self._options.topology.doubt(error, str(getattr(self._connection, "host", "")))
            self.lose(f"{type(error).__name__}: {error}")

    async def _write(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            if self._unsent:
                pieces, self._unsent = self._unsent, []
                await self._connection.send_packed_command(pieces, check_health=False)

    async def _read(self) -> None:
        while not self._closed:
            try:
                raw = await self._connection.read_response(
                    timeout=math.inf, disconnect_on_error=False
                )
                refused = None
            except OutOfMemoryError as error:
                raw, refused = None, error
            if self._closed:
                return
            if not self._outstanding:
                raise ReplyUnreadable("a reply that nothing asked for")
            command, _, _ = self._outstanding.popleft()
            reply = self._wire.full(command) if refused else self._wire.decode(command, raw)
            if reply is None:
                raise ReplyUnreadable(f"out of memory: {type(command).__name__}")
            self._on_reply(reply)
            self._answer_unsent()

    async def _read_archive(self, command: ArchiveRead) -> None:
        self._archived = await self._options.archive(self._wire.log_name, command)
        self._answer_unsent()
        if self._deadline is not None:
            self._deadline.cancel()
        self._check_deadline()

    def _answer_unsent(self) -> None:
        while not self._closed and self._outstanding and not self._outstanding[0][2]:
            command = self._outstanding[0][0]
            archived = isinstance(command, ListArchive | LoadSnapshot | ReadSegment)
            if archived and self._archived is None:
                return
            self._outstanding.popleft()
            if archived:
                reply, self._archived = self._archived, None
            else:
                reply = self._wire.full(command)
            if reply is not None:
                self._on_reply(reply)

    def _check_deadline(self) -> None:
        self._deadline = None
        if self._closed or not self._outstanding:
            return
        expires = self._outstanding[0][1]
        if expires > self._loop.time():
            self._deadline = self._loop.call_at(expires, self._check_deadline)
        else:
            # If this loop was busy, the reply may be here already: let the reader have its turn.
            oldest = self._outstanding[0]
            self._deadline = self._loop.call_later(_GRACE_S, self._expire, oldest)

    def _expire(self, oldest: tuple[Command, float, bool]) -> None:
        if self._outstanding and self._outstanding[0] is oldest:
            self._options.topology.doubt()
            self.lose(f"no answer within {self._options.deadline} s")
        else:
            self._check_deadline()


async def connect(
    keys: LogKeys,
    options: LinkOptions,
    on_reply: Callable[[Reply], None],
    on_lost: Callable[[str], None],
) -> Link:
    """Open a connection, load the library if needed, and return the link.

    Raises one of CONNECTION_ERRORS, TimeoutError among them, with nothing left open.
    """
    connection = await dial(options, keys.log)
    try:
        async with asyncio.timeout(options.deadline):
            await load_library(connection)
    except BaseException as error:
        options.topology.doubt(error)
        await disconnect(connection)
        raise
    wire = Wire(keys, options.replicas, options.wait_ms)
    return Link(connection, wire, options, on_reply, on_lost)
