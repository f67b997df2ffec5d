"""Keeps the memory of all id indexes below a limit: old segments go to files (P15, ADR 18).

What a file takes over is closed before and exchanged after, on the event loop; the writing between
is done in a thread. So no look-up waits for it, and a state that was rebuilt or expired meanwhile
just drops the file.
"""

from __future__ import annotations

import asyncio
import logging
import weakref
from dataclasses import dataclass
from typing import Protocol

from rating_core.errors import IdsDamaged
from rating_core.metering.id_index import IdIndex
from rating_core.metering.ids.segment import IdSegment
from rating_server.store.id_files import IdFiles

_log = logging.getLogger(__name__)

DEFAULT_LIMIT = 4 * 1024**3
_INTERVAL_S = 0.5
_LEAST_BYTES = 64 * 1024
"""Smaller segments stay: a file each would cost more than they do."""
_MOST_FILES = 4
"""Files of one segment; more are merged, so that a look-up asks few."""
_SHARE = 16
_FREED = (4, 5)
_STOPPED = (3, 2)


class HoldsIds(Protocol):
    """A machine with an id index; a rebuilt one has another index."""

    ids: IdIndex
    max_ids: int


@dataclass(frozen=True, slots=True)
class _Choice:
    index: IdIndex
    segment: IdSegment


class IdSpill:
    """Watches machines from `start` to `close`; ``limit``: bytes of all their indexes together.

    New ids are refused (IndexFull) beyond 1.5 times the limit: writing lags or the disk is full.
    """

    def __init__(self, files: IdFiles, limit: int = DEFAULT_LIMIT) -> None:
        self._files = files
        self._limit = limit
        self._machines: weakref.WeakSet[HoldsIds] = weakref.WeakSet()
        self._task: asyncio.Task[None] | None = None
        self._failed = False
        self.moved = 0
        """How many times ids were moved to a file."""

    def watch(self, machine: HoldsIds) -> None:
        """Count a machine's index in, for as long as the machine is used."""
        self._machines.add(machine)

    def start(self) -> None:
        """Begin to watch; removes what dead processes have left."""
        if self._task is None:
            self._task = asyncio.create_task(self._run())

    async def close(self) -> None:
        """End, and remove the files."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None
        await asyncio.to_thread(self._files.close)

    async def _run(self) -> None:
        await asyncio.to_thread(self._files.clean)
        while True:
            await asyncio.sleep(_INTERVAL_S)
            while await self.step():
                pass

    def bytes_held(self) -> int:
        """Return the memory of all indexes, bytes."""
        return sum(machine.ids.bytes_held() for machine in self._machines)

    def fullest(self) -> tuple[int, int]:
        """Return how many ids the fullest index holds, and how many it may (P15)."""
        return max(((m.ids.count, m.max_ids) for m in self._machines), default=(0, 0))

    async def step(self) -> bool:
        """Move one segment to a file if memory asks for it; return whether one was moved."""
        held = self.bytes_held()
        stopped = held * _STOPPED[1] > self._limit * _STOPPED[0]
        for machine in self._machines:
            machine.ids.stopped = stopped
        if self._task is None or held * _FREED[1] <= self._limit * _FREED[0]:
            return False
        # Started at four fifths, so that the limit itself is not reached while files are written.
        choice = self._choose()
        return choice is not None and await self._move(choice)

    def _choose(self) -> _Choice | None:
        """Return the oldest segment that is worth a file; of those in use, the largest."""
        old, new = [], []
        for machine in self._machines:
            segments = machine.ids.segments()
            choices = [_Choice(machine.ids, segment) for segment in segments]
            old += choices[:-1]
            new += choices[-1:]
        worth = [c for c in old if c.segment.bytes_in_memory() >= _LEAST_BYTES]
        if worth:
            return min(worth, key=lambda choice: choice.segment.last_acceptance)
        # Ids in use move in large pieces only: many small files would be merged again and again.
        least = max(_LEAST_BYTES, self._limit // (_SHARE * max(1, len(self._machines))))
        worth = [c for c in new if c.segment.bytes_in_memory() >= least]
        return max(worth, key=lambda choice: choice.segment.bytes_in_memory(), default=None)

    async def _move(self, choice: _Choice) -> bool:
        segment = choice.segment
        segment.seal()
        pieces = segment.to_move(_MOST_FILES)
        try:
            run = await asyncio.to_thread(self._files.write, pieces, segment.key)
        except (OSError, IdsDamaged) as error:
            if not self._failed:
                _log.warning("ids stay in memory, files cannot be written: %s", error)
            self._failed = True
            return False
        self._failed = False
        if choice.index.holds(segment) and segment.exchange(pieces, run):
            self.moved += 1
            _log.info("%d ids of segment %s went to a file", run.count, segment.key)
        return True
