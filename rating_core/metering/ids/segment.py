"""The ids accepted in one stretch of time: one table that grows, and what was closed before it.

Pieces that are closed never change, so that they can be written elsewhere meanwhile: sealed tables,
and runs, in memory or in files.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray

from rating_core.metering.ids.run import Buffer, IdRows, IdRun, all_rows, merged_run
from rating_core.metering.ids.table import IdTable
from rating_core.metering.log.snapshot import Taken

SegmentKey = tuple[int, int]
"""Length of the stretch in days, and its number since 1970; (0, 0) where nothing expires."""

_MOST_RUNS = 4


def _content(run: IdRun) -> Buffer:
    return run.content


def _content_of(table: IdTable | IdRows, key: SegmentKey) -> Buffer:
    return merged_run([table], key).content


class IdSegment:
    """One segment; identities are uint64[n, 3] as in `IdIndex`."""

    def __init__(self, key: SegmentKey) -> None:
        self.key = key
        self.last_acceptance = 0
        """The now of the latest entry with an id in this segment, µs."""
        self.table = IdTable()
        self.sealed: list[IdTable] = []
        self.runs: list[IdRun] = []

    @property
    def count(self) -> int:
        """How many ids the segment holds."""
        return sum(piece.count for piece in self._pieces())

    def _pieces(self) -> list[IdTable | IdRun]:
        return [self.table, *self.sealed, *self.runs]

    def closed(self) -> list[IdTable | IdRun]:
        """Return the pieces that never change, the ones in memory first."""
        return [*self.sealed, *sorted(self.runs, key=lambda run: not run.resident)]

    def find(
        self,
        identities: NDArray[np.uint64],
        found: NDArray[np.bool_],
        payloads: NDArray[np.uint64],
    ) -> None:
        """Set ``found`` and ``payloads`` of what the segment holds; IdsDamaged if it cannot say."""
        self.table.find(identities, found, payloads)
        for piece in self.closed():
            piece.find(identities, found, payloads)

    def seal(self) -> None:
        """Close the table; later ids go to a new one."""
        if self.table.count:
            self.sealed.append(self.table)
            self.table = IdTable()

    def to_move(self, most_files: int) -> list[IdTable | IdRun]:
        """Return the closed pieces that one file shall replace: all that are in memory.

        Where more files than ``most_files`` would stand then, also the smaller files.
        """
        files = sorted((run for run in self.runs if not run.resident), key=lambda run: run.count)
        joined = files[:-1] if len(files) >= most_files else []
        return [*self.sealed, *(run for run in self.runs if run.resident), *joined]

    def exchange(self, pieces: Sequence[IdTable | IdRun], run: IdRun) -> bool:
        """Put a run in the place of closed pieces that it was written of; False if one is gone."""
        held = {id(piece) for piece in self.closed()}
        gone = {id(piece) for piece in pieces}
        if not gone <= held or run.count != sum(piece.count for piece in pieces):
            return False
        self.sealed = [piece for piece in self.sealed if id(piece) not in gone]
        self.runs = [piece for piece in self.runs if id(piece) not in gone]
        self.runs.append(run)
        return True

    def take(self, run: IdRun) -> None:
        """Take a run of this segment's ids that are not here yet; in memory, few runs are kept."""
        self.runs.append(run)
        resident = [run for run in self.runs if run.resident]
        if len(resident) > _MOST_RUNS:
            self.exchange(resident, merged_run(resident, self.key))

    def exported(self) -> list[Taken]:
        """Take all ids as contents of runs, to be made later; runs that are here are theirs."""
        tables: list[IdTable | IdRows] = [*self.sealed]
        tables += [IdRows(self.table)] if self.table.count else []
        return [
            *(partial(_content, run) for run in self.runs),
            *(partial(_content_of, table, self.key) for table in tables),
        ]

    def rows(self) -> NDArray[np.uint64]:
        """Return the slots of all ids in order, uint64[count, 2]."""
        rows = np.concatenate([all_rows(piece) for piece in self._pieces()])
        return rows[np.lexsort((rows[:, 1], rows[:, 0]))]

    def bytes_in_memory(self) -> int:
        """Return the bytes that a run in a file would free: tables and resident runs."""
        tables = sum(piece.bytes_held() for piece in (self.table, *self.sealed) if piece.count)
        return tables + sum(run.bytes_held() for run in self.runs if run.resident)

    def bytes_held(self) -> int:
        """Return the bytes of memory in use."""
        return sum(piece.bytes_held() for piece in self._pieces())
