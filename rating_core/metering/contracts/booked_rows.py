"""Statements that were finalised in bulk, in columns: a chunk for each entry (S9.2).

A plain contract needs so little to be told later (the amounts of its lines) that a million
statements of it are a few arrays. Customers stand by their number in the directory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rating_core.contract.usage import Booked, Carry
from rating_core.errors import LogCorrupt
from rating_core.metering.contracts.account import BookedStatement
from rating_core.metering.counting.cells import grown
from rating_core.metering.log.column_text import unpack_column
from rating_core.metering.log.snapshot import Arrays

_COLUMNS = ("customers", "starts", "numbers", "totals", "amounts")


@dataclass(frozen=True, slots=True, eq=False)
class Chunk:
    """The statements of one entry: all of one plan version, one period, one subscription id.

    ``customers``, ``starts`` (of the period, µs), ``numbers`` and ``totals`` are int64[n], sorted
    by customer; ``amounts`` is int64[n, k], a column for each id of ``lines``, in units of
    10^-``scale``.
    """

    subscription_id: str
    end: int
    version: int
    time: int
    scale: int
    lines: tuple[str, ...]
    customers: NDArray[np.int64]
    starts: NDArray[np.int64]
    numbers: NDArray[np.int64]
    totals: NDArray[np.int64]
    amounts: NDArray[np.int64]

    def statement(self, customer: int) -> BookedStatement | None:
        """Return what is booked for a customer, ``None`` if the chunk does not hold it."""
        row = int(np.searchsorted(self.customers, customer))
        if row == self.customers.size or self.customers[row] != customer:
            return None
        lines = dict(zip(self.lines, self.amounts[row].tolist(), strict=True))
        total = int(self.totals[row])
        return BookedStatement(
            number=int(self.numbers[row]),
            start=int(self.starts[row]),
            end=self.end,
            version=self.version,
            time=self.time,
            total=total,
            scale=self.scale,
            booked=Booked(lines, total, (), Carry()),
        )


def chunk_of(facts: Mapping[str, Any], version: int, number_of: Callable[[str], int]) -> Chunk:
    """Return the chunk that a bulk entry books; LogCorrupt if its columns do not fit together."""
    names = facts["customers"]
    lines = tuple(facts["lines"])
    columns = [unpack_column(facts[name]) for name in ("starts", "numbers", "totals")]
    amounts = unpack_column(facts["amounts"])
    if any(column.size != len(names) for column in columns) or (
        amounts.size != len(names) * len(lines)
    ):
        raise LogCorrupt("columns of a bulk entry have different lengths")
    customers = np.array([number_of(name) for name in names], np.int64)
    order = np.argsort(customers, kind="stable")
    starts, numbers, totals = columns
    return Chunk(
        subscription_id=facts["subscription_id"],
        end=facts["period_end"],
        version=version,
        time=facts["time"],
        scale=facts["scale"],
        lines=lines,
        customers=customers[order],
        starts=starts[order],
        numbers=numbers[order],
        totals=totals[order],
        amounts=amounts.reshape(len(names), len(lines))[order],
    )


class BookedRows:
    """All chunks of a shard, in the order of their entries."""

    def __init__(self) -> None:
        self._chunks: list[Chunk] = []
        self._counts = np.zeros(16, np.int64)
        self._settled = np.zeros(16, np.int64)

    def add(self, chunk: Chunk) -> None:
        """Add what an entry booked."""
        self._chunks.append(chunk)
        known = chunk.customers[chunk.customers >= 0]
        if known.size:
            self._counts = grown(self._counts, int(known[-1]) + 1)
            self._settled = grown(self._settled, int(known[-1]) + 1)
            self._counts[known] += 1
            self._settled[known] = chunk.version

    def statements(self, customer: int, subscription_id: str) -> Iterator[BookedStatement]:
        """Yield what bulk entries booked for a subscription, oldest first."""
        for chunk in self._chunks:
            if chunk.subscription_id == subscription_id:
                found = chunk.statement(customer)
                if found is not None:
                    yield found

    def standing(self, customers: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return (number of statements, version of the last) of each customer, int64[customers]."""
        self._counts = grown(self._counts, customers)
        self._settled = grown(self._settled, customers)
        return self._counts[:customers], self._settled[:customers]

    def document(self) -> list[list[Any]]:
        """Return all but the columns as JSON values, for a snapshot."""
        return [
            [c.subscription_id, c.end, c.version, c.time, c.scale, list(c.lines)]
            for c in self._chunks
        ]

    def arrays(self) -> Arrays:
        """Return the columns of a snapshot's section."""
        return {
            f"{name}_{place}": getattr(chunk, name)
            for place, chunk in enumerate(self._chunks)
            for name in _COLUMNS
        }

    def load(self, document: list[list[Any]], arrays: Arrays) -> None:
        """Take what `document` and `arrays` gave."""
        for place, (subscription_id, end, version, time, scale, lines) in enumerate(document):
            columns = [arrays[f"{name}_{place}"] for name in _COLUMNS]
            customers, starts, numbers, totals, amounts = columns
            self.add(
                Chunk(
                    subscription_id=subscription_id,
                    end=end,
                    version=version,
                    time=time,
                    scale=scale,
                    lines=tuple(lines),
                    customers=customers,
                    starts=starts,
                    numbers=numbers,
                    totals=totals,
                    amounts=amounts,
                )
            )
