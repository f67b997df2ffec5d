"""Drives one session of the commit protocol on asyncio: events in, commands and answers out.

The session decides everything; this connects, carries commands and replies, runs timers, and turns
tickets into awaited answers. It retries nothing by itself but the connection.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections import deque
from collections.abc import Callable
from functools import partial

from rating_core.metering.log.protocol import (
    Answer,
    Effect,
    HistoryLost,
    Reconnect,
    Refuse,
    Reply,
    SetTimer,
)
from rating_core.metering.session import ShardSession
from rating_server.ports import ClockRefused, StoreError, StoreFull, StoreRefused, StoreUnavailable
from rating_server.store.adapter import Link, LinkOptions, connect
from rating_server.store.connection import CONNECTION_ERRORS
from rating_server.store.keys import LogKeys
from rating_server.store.turns import Turns

_log = logging.getLogger(__name__)

_FIRST_BACKOFF_S = 0.05
_LONGEST_BACKOFF_S = 1.0

MAX_QUEUED_BYTES = 32 * 1024 * 1024
"""Calls are refused while more than this waits in one session: the store is down or far behind."""

_REFUSALS: dict[str, tuple[type[StoreError], str]] = {
    "FULL": (StoreFull, "the store takes no new records: memory, disk or id index is at its limit"),
    "CLOCK": (ClockRefused, "this server's clock is ahead of the store's"),
    "CLOSED": (StoreUnavailable, "the server is stopping"),
}


Take = Callable[[object], None]
"""Takes the outcome of a call: its answer, or the StoreError that it failed with."""


def _nobody(_: object) -> None:
    """Take the outcome of a call that was forgotten."""


class SessionDriver:
    """One session, its connection and its calls, from `start` to `close`.

    ``build`` makes a session on an empty machine, with a boot id of its own; it is called again if
    a session fails by a fault of the program, and the new one rebuilds its state from the log. All
    sessions of a loop share ``turns``, in which they decide.
    """

    def __init__(
        self,
        keys: LogKeys,
        options: LinkOptions,
        build: Callable[[], ShardSession],
        turns: Turns | None = None,
    ) -> None:
        self._turns = turns or Turns()
        self._keys = keys
        self._options = options
        self._build = build
        self._session = build()
        self._link: Link | None = None
        self._lost = asyncio.Event()
        self._inbox: deque[Callable[[], None]] = deque()
        self._fold_due = False
        self._waiting: dict[int, Take] = {}
        self._last_ticket = 0
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._task: asyncio.Task[None] | None = None
        self._problem = "not connected yet"
        self._closed = False
        self._served = False
        self._losses = 0
        self._changed = asyncio.Event()

    @property
    def ready(self) -> bool:
        """Whether the session has read its log and confirmed its head."""
        return self._session.ready

    @property
    def problem(self) -> str:
        """Why the session is not ready, in one line; empty while it is."""
        if self.ready:
            return ""
        if self._session.fault:
            return f"log {self._keys.name}: {self._session.fault}"
        return f"log {self._keys.name}: {self._problem or 'reading'}"

    @property
    def corrupt(self) -> bool:
        """Whether the log was read from its first entry and found unreadable (P5)."""
        return self._session.fault is not None

    @property
    def losses(self) -> int:
        """How often the store was found to have lost acknowledged entries of this log (P5)."""
        return self._losses

    @property
    def busy(self) -> bool:
        """Whether a call waits for its answer."""
        return bool(self._waiting)

    def start(self) -> None:
        """Begin to connect; calls may come at once and wait."""
        if self._task is None:
            self._task = asyncio.create_task(self._run())

    async def until_ready(self) -> None:
        """Wait until the session serves. StoreRefused if its log turns out to be unreadable."""
        while not self.ready:
            if self.corrupt:
                raise StoreRefused("LOG_CORRUPT", self.problem)
            self._changed.clear()
            await self._changed.wait()

    async def close(self) -> None:
        """End the session; every call that waits fails with StoreUnavailable."""
        if self._closed:
            return
        self._closed = True
        self._inbox.clear()
        self._event(self._session.close)
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        if self._link is not None:
            self._link.close()
            await self._link.wait_closed()
            self._link = None
        self._cancel_timers()
        self._fail_waiting("the server is stopping")

    async def call(self, call: object, timeout: float | None = None) -> object:  # noqa: ASYNC109 - the limit is told in the error
        """Have the machine decide ``call``; return its answer when it has the ack level.

        StoreUnavailable after ``timeout`` seconds (default: the deadline of store calls): the call
        may still take effect. StoreFull or ClockRefused: it did not and will not.
        """
        return await self._wait(self.post, call, timeout)

    async def ask(self, question: object, timeout: float | None = None) -> object:  # noqa: ASYNC109 - the limit is told in the error
        """Return the answer of the state that was the newest after the question came."""
        return await self._wait(self._post_question, question, timeout)

    def post(self, call: object, take: Take) -> int:
        """Have the machine decide ``call``, and return its ticket.

        ``take`` gets the answer or the StoreError, once, in a later turn of the loop; not after
        `forget`. StoreUnavailable if the call cannot even wait; ClockRefused while this clock is
        so far behind that what is decided now would be wrong for good (S7.3).
        """
        if problem := self._options.clock_problem():
            raise ClockRefused(problem)
        if self._session.queued_bytes > MAX_QUEUED_BYTES:
            raise StoreUnavailable(f"log {self._keys.name}: too many calls wait for the store")
        return self._enter(self._session.submit, call, take)

    def forget(self, ticket: int) -> None:
        """Drop a call that nobody waits for any more; it may still take effect."""
        self._waiting.pop(ticket, None)

    def late(self) -> StoreUnavailable:
        """Return the error of a call that has no answer in time."""
        why = self._session.fault or self._problem or "the store is slow"
        return StoreUnavailable(f"log {self._keys.name}: no answer in time: {why}")

    def _post_question(self, question: object, take: Take) -> int:
        return self._enter(self._session.ask, question, take)

    def _enter(self, event: Callable[[int, object], None], what: object, take: Take) -> int:
        if self._closed:
            raise StoreUnavailable("the server is stopping")
        self._last_ticket += 1
        self._waiting[self._last_ticket] = take
        event(self._last_ticket, what)
        if self._session.due:
            self._turns.ask(self)
        return self._last_ticket

    async def _wait(
        self, post: Callable[[object, Take], int], what: object, limit: float | None
    ) -> object:
        future: asyncio.Future[object] = asyncio.get_running_loop().create_future()

        def take(outcome: object) -> None:
            if not future.done():
                future.set_result(outcome)

        ticket = post(what, take)
        try:
            async with asyncio.timeout(self._options.deadline if limit is None else limit):
                outcome = await future
        except TimeoutError:
            raise self.late() from None
        finally:
            self.forget(ticket)
        if isinstance(outcome, StoreError):
            raise outcome
        return outcome

    # --- events ----------------------------------------------------------------------------------

    @property
    def hurried(self) -> bool:
        """Whether somebody waits for one round trip: a question or a small call."""
        return self._session.hurried or (bool(self._inbox) and self._session.awaited)

    def take_turn(self) -> None:
        """Take one reply, or decide one entry of what has come; ask for another turn if need be."""
        if self._inbox:
            self._event(self._inbox.popleft())
            if self._inbox:
                self._turns.ask(self)
        else:
            self._event(lambda: self._session.flush(1))

    def _later(self, event: Callable[[], None]) -> None:
        """Give the session an event that takes a while in a turn, after those that wait."""
        self._inbox.append(event)
        self._turns.ask(self)

    def _on_reply(self, reply: Reply) -> None:
        self._later(lambda: self._session.on_reply(reply))

    def _on_lost(self, reason: str) -> None:
        self._problem = reason
        self._lost.set()
        self._inbox.clear()  # with the connection, what came last is unknown too: P3 settles it
        _log.warning("log %s: connection lost: %s", self._keys.name, reason)
        self._event(self._session.on_lost)
        if self._fold_due:
            # A timer that ran out is no reply: unheard, no round of folding would ever begin.
            self._event(self._fold)

    def _on_timer(self, name: str) -> None:
        self._timers.pop(name, None)
        if name == "fold":
            self._fold_due = True
            self._later(self._fold)
        else:
            self._event(partial(self._session.on_timer, name))

    def _fold(self) -> None:
        self._fold_due = False
        self._session.on_timer("fold")

    def _event(self, event: Callable[[], None]) -> None:
        """Give the session an event and carry out what follows from it."""
        try:
            event()
            commands = self._session.take_commands()
            effects = self._session.take_effects()
            if self._link is not None and commands:
                self._link.send(commands)
        except Exception:  # noqa: BLE001 - whatever it is, calls must not hang on it
            # A fault of the program. The state may be half changed: the log has the whole one.
            _log.exception("log %s: the session failed and is rebuilt", self._keys.name)
            self._replace_session()
            return
        self._served = self._served or self._session.ready
        self._changed.set()
        for effect in effects:
            self._carry_out(effect)
        if self._session.due:
            self._turns.ask(self)

    def _carry_out(self, effect: Effect) -> None:
        match effect:
            case Answer():
                self._waiting.pop(effect.ticket, _nobody)(effect.answer)
            case Refuse():
                kind, message = _REFUSALS[effect.reason]
                self._waiting.pop(effect.ticket, _nobody)(kind(message))
            case SetTimer():
                earlier = self._timers.pop(effect.name, None)
                if earlier is not None:
                    earlier.cancel()
                loop = asyncio.get_running_loop()
                self._timers[effect.name] = loop.call_later(
                    effect.delay / 1_000_000, self._on_timer, effect.name
                )
            case HistoryLost():
                self._tell_loss(effect)
            case Reconnect():
                if self._link is not None:
                    self._link.lose(effect.reason)

    def _tell_loss(self, lost: HistoryLost) -> None:
        """Say what a failover has lost, and whether any of it was acknowledged here (P5, P6)."""
        where = (self._keys.name, lost.kept + 1, lost.version, lost.token.hex())
        if lost.answered <= lost.kept:
            _log.warning(
                "log %s: entries %d to %d (token %s) did not outlive a failover; this server had "
                "acknowledged none of them, and decides their calls again",
                *where,
            )
            return
        self._losses += 1
        _log.error(
            "log %s: the store has lost acknowledged entries %d to %d (token %s), as a failover to "
            "a replica that lags does; the state is rebuilt, and records that are sent again count",
            *where,
        )

    def _replace_session(self) -> None:
        self._cancel_timers()
        self._inbox.clear()
        self._fold_due = False
        self._session = self._build()
        self._fail_waiting("the session failed and is rebuilt from the log")
        if self._link is not None:
            self._link.lose("the session failed")

    def _cancel_timers(self) -> None:
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()

    def _fail_waiting(self, message: str) -> None:
        waiting, self._waiting = self._waiting, {}
        for take in waiting.values():
            take(StoreUnavailable(message))

    # --- the connection --------------------------------------------------------------------------

    async def _run(self) -> None:
        backoff = _FIRST_BACKOFF_S
        while True:
            self._lost.clear()
            try:
                link = await connect(self._keys, self._options, self._on_reply, self._on_lost)
            except CONNECTION_ERRORS as error:
                self._problem = f"cannot connect: {type(error).__name__}: {error}"
                _log.debug("log %s: %s", self._keys.name, self._problem)
            else:
                self._problem = ""
                self._served = False
                self._link = link
                self._event(self._session.on_connected)
                await self._lost.wait()
                self._link = None
                await link.wait_closed()
                if self._served:
                    backoff = _FIRST_BACKOFF_S
            # Never in step with other servers, never in a tight loop.
            await asyncio.sleep(backoff * random.uniform(0.5, 1.0))
            backoff = min(backoff * 2, _LONGEST_BACKOFF_S)
