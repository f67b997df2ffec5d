"""What the use cases need from the outside, and how it may fail.

The store implements `UsageStore`; nothing above this module knows Redis.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from rating_core.catalog import Meter
from rating_core.metering.deciding.roll import Roll
from rating_core.metering.log.protocol import LogEntry
from rating_server.topology import Topology


class StoreError(Exception):
    """Base of the store's failures to do a call. ``reason`` is the stable name of the kind."""

    reason = "STORE_ERROR"


class StoreUnavailable(StoreError):
    """The store did not answer in time; whether the call took effect is unknown (status RETRY).

    Sending the same call again is safe: ids and request ids make it count once (S7.1, P4).
    """

    reason = "STORE_UNAVAILABLE"


class StoreFull(StoreError):
    """Memory, disk or the id index is at its limit; nothing of the call took effect (P15)."""

    reason = "STORE_FULL"


class ClockRefused(StoreError):
    """This server's clock runs ahead of the store's; nothing of the call took effect (P11)."""

    reason = "CLOCK_REFUSED"


class HistoryTrimmed(StoreError):
    """The log, archive included, no longer holds what was asked for (P10)."""

    reason = "HISTORY_TRIMMED"


class LogTrimmed(StoreError):
    """The log no longer holds what is asked for; ``earliest``: the first instant that it holds, µs.

    Entries before it left the store, and no archive was given that has them (P10).
    """

    reason = "LOG_TRIMMED"

    def __init__(self, earliest: int) -> None:
        self.earliest = earliest
        super().__init__("the log no longer holds entries of that age")


@dataclass(frozen=True, slots=True)
class PastRange:
    """Entries of a shard's log: of versions above ``after`` up to ``until``, this one included.

    At the beginning those that were decided before ``since``, µs, may be left out.
    """

    after: int
    until: int
    since: int


class StoreRefused(Exception):
    """The store cannot be used as it is configured; the message is one line that says what to do.

    ``reason`` is the stable name of the kind.
    """

    def __init__(self, reason: str, message: str) -> None:
        self.reason = reason
        super().__init__(message)


@dataclass(frozen=True, slots=True)
class StoreHealth:
    """Whether the store serves: ``ready`` when every session is; ``problem`` is one line or empty.

    ``logs_ready`` of ``logs`` sessions have read their log and confirmed its head. ``losses``: how
    often the store was found to have lost acknowledged entries, since this server started (P5).
    """

    ready: bool
    logs_ready: int
    logs: int
    problem: str
    losses: int = 0


@dataclass(frozen=True, slots=True)
class Window:
    """An acceptance window W in microseconds; None is unlimited (S7.5)."""

    micros: int | None

    def __str__(self) -> str:
        if self.micros is None:
            return "unlimited"
        hours, rest = divmod(self.micros, 3_600_000_000)
        return f"{self.micros // 1_000_000}s" if rest else f"{hours}h"


@dataclass(frozen=True, slots=True)
class Until:
    """A point of a log's past: its entries up to an instant (µs), or before a version."""

    instant: int | None = None
    before: int | None = None


class LargeTurns(Protocol):
    """Turns at work of about a millisecond, which calls that somebody waits for go before."""

    async def mine(self) -> None:
        """Wait for one's turn, for the work up to the next wait; turns come in order."""

    def make_way(self) -> None:
        """Have such work put off for a moment: a small call is arriving."""


class UsageStore(Protocol):
    """The shard logs and the catalogue's log, each decided by its state machine (DESIGN §6).

    Calls and questions, and their answers, are the values of `rating_core.metering.shard` and
    `rating_core.metering.catalogue`. Every method that asks raises StoreUnavailable, StoreFull or
    ClockRefused. An answer is given when all that it rests on has the ack level (S7.4).
    """

    @property
    def shard_count(self) -> int:
        """Number of usage shards, fixed when the store was initialised."""

    @property
    def roll(self) -> Roll:
        """The customers that this server has seen, by number; known after `start`."""

    @property
    def turns(self) -> LargeTurns:
        """Turns at the event loop, for batches and what else takes a while."""

    @property
    def meters(self) -> dict[str, Meter]:
        """Meters of the catalogue as this server knows them; they are immutable and only grow."""

    @property
    def topology(self) -> Topology:
        """The living servers of this store, as far as this one knows them; never waits."""

    @property
    def health(self) -> StoreHealth:
        """The state of the sessions now."""

    async def start(self) -> None:
        """Connect, read all logs and configure the shards. StoreRefused if the store is unfit."""

    async def close(self) -> None:
        """End all sessions; calls that wait fail with StoreUnavailable."""

    async def submit(self, shard: int, call: object) -> Any:
        """Have a shard decide a call and commit what it decides; return the call's answer."""

    async def submit_all(self, calls: Sequence[tuple[int, object]]) -> Sequence[Any]:
        """As `submit`, to several shards at once: for each call its answer, or its StoreError.

        Calls are decided in the order in which this is called; meters that they name are looked up
        by `know_meters` before.
        """

    async def know_meters(self, names: Collection[str]) -> None:
        """Look up the meters of records, in the newest catalogue where this server lacks one."""

    async def ask(self, shard: int, question: object) -> Any:
        """Return the answer of a shard's state that was the newest after the question came."""

    async def read_entry(self, shard: int, version: int) -> bytes:
        """Return the bytes of a committed entry, from log or archive; HistoryTrimmed."""

    async def ask_past(self, shard: int, customer: str, question: object, until: Until) -> Any:
        """As `ask`, of the state as it stood then, as far as one customer goes.

        Counts the customer's records anew, from the first entry on. HistoryTrimmed where log and
        archive do not reach back.
        """

    def entries(self, shard: int, part: PastRange) -> AsyncIterator[LogEntry]:
        """Yield entries of a shard's log as it stands, in order; not proved to be the newest (P1).

        LogTrimmed if neither log nor archive has them.
        """

    async def catalogue_call(self, call: object) -> Any:
        """As `submit`, on the catalogue."""

    async def catalogue_ask(self, question: object) -> Any:
        """As `ask`, on the catalogue."""

    async def refresh_catalogue(self) -> None:
        """Catch up with the catalogue, so that what another server published is known here."""


class Clock(Protocol):
    """The time of day."""

    def __call__(self) -> int:
        """Return now in microseconds UTC."""
