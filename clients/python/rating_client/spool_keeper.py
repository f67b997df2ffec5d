"""Where a sequenced producer's batches are kept: in its spool, 10 minutes longer than it must."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence

from rating_client.columns import Payload
from rating_client.spool import Spool


class SpoolKeeper:
    """The `Keeper` of a delivery over a spool, whose numbers are higher by those already gone."""

    def __init__(self, spool: Spool, clock: Callable[[], float] = time.monotonic) -> None:
        self._spool = spool
        self._clock = clock
        self._gone = spool.first_number - 1
        self._left_over = len(spool.leftovers)
        self._missing = [
            item.number - self._gone for item in spool.leftovers if not spool.holds(item.number)
        ]

    @property
    def first_sequence(self) -> int | None:
        """The sequence of the first batch that is put, if a server ever told it."""
        offset = self._spool.offset
        return None if offset is None else offset + self._gone + 1

    @property
    def left_over(self) -> int:
        """Batches up to this number were put by earlier writers, which may have sent them."""
        return self._left_over

    @property
    def missing(self) -> Collection[int]:
        """Those of them that cannot be read any more."""
        return self._missing

    @property
    def epochs(self) -> Collection[int]:
        """The epochs of its writers, as far as they are remembered."""
        return self._spool.epochs

    def offset_known(self, offset: int) -> None:
        """The sequence of a batch is its number + ``offset``: noted before any is sent."""
        self._spool.set_offset(offset - self._gone)

    def durable(self, number: int) -> None:
        """All up to this number are durable in all shards, and none above it."""
        self._spool.durable(number + self._gone, self._clock())

    def stored(self, number: int) -> Payload:
        """Return a batch that is read when it is sent."""
        return self._spool.stored(number + self._gone)

    def again(self, first: int, last: int) -> Sequence[Payload] | None:
        """Return batches that were durable, to be sent again; ``None`` if one is kept no more."""
        numbers = range(first + self._gone, last + self._gone + 1)
        if not all(map(self._spool.holds, numbers)):
            return None
        return list(map(self._spool.stored, numbers))
