"""Numbered batches, what keeps them, and what can be wrong with them (P12, P13)."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Protocol

import grpc

from rating_client.columns import Payload
from rating_client.delivery import Batch
from rating_client.errors import FailedPrecondition


@dataclass(frozen=True, slots=True)
class Note:
    """A request without a batch: a handshake, or the wish to have marks brought up."""

    data: bytes

    def request(self) -> bytes:
        """Return the bytes to send."""
        return self.data


class Keeper(Protocol):
    """Keeps batches for longer than memory does (`spool`). Numbers are those of `put`, from 1."""

    @property
    def left_over(self) -> int:
        """Batches up to this number were put by earlier writers, which may have sent them."""

    @property
    def missing(self) -> Collection[int]:
        """Those of them that cannot be read any more."""

    @property
    def epochs(self) -> Collection[int]:
        """The epochs of its writers; the numbers that others gave stand for other batches."""

    def offset_known(self, offset: int) -> None:
        """The sequence of a batch is its number + ``offset``; nothing is sent before."""

    def durable(self, number: int) -> None:
        """All up to this number are durable in all shards, and none above it."""

    def stored(self, number: int) -> Payload:
        """Return a batch that is read when it is sent."""

    def again(self, first: int, last: int) -> Sequence[Payload] | None:
        """Return batches that were durable, to be sent again; ``None`` if one is kept no more."""


@dataclass(slots=True)
class NumberedBatch(Batch):
    """A batch under way, or answered and kept. ``head``: what its request says beside its data."""

    head: bytes = b""
    reported: bool = False
    kept_bytes: int = 0

    def request(self) -> bytes:
        """Return the bytes to send: always the same batch (P13)."""
        return self.head + self.payload.data


def _failed(message: str, reason: str, **metadata: str) -> FailedPrecondition:
    code = grpc.StatusCode.FAILED_PRECONDITION
    return FailedPrecondition(message, code=code, reason=reason, metadata=metadata)


def sequence_lost(first: int, last: int) -> FailedPrecondition:
    """Return the error for batches that a failover took and that are not there to be sent again."""
    return _failed(
        f"the store lost batches {first} to {last}, which are kept no more",
        "SEQUENCE_LOST",
        durable_sequence=str(first - 1),
        kept_sequence=str(last + 1),
    )


def spool_behind(durable: int, spooled: int) -> FailedPrecondition:
    """Return the error for a spool that lacks batches which the server has: an old copy."""
    return _failed(
        f"the server has batches up to {durable} of this producer, the spool those up to "
        f"{spooled}: it is not the latest",
        "SPOOL_BEHIND",
    )


def spool_overtaken(epoch: int, first: int, last: int) -> FailedPrecondition:
    """Return the error for batches whose numbers a writer without this spool may have given too."""
    return _failed(
        f"a writer of epoch {epoch} used the producer's name without this spool: batches {first} "
        f"to {last} of the server may be others than those of the spool",
        "SPOOL_OVERTAKEN",
        newest_epoch=str(epoch),
    )


def batch_damaged(sequence: int) -> FailedPrecondition:
    """Return the error for a batch that is needed and cannot be read from the spool."""
    return _failed(f"batch {sequence} is damaged in the spool, and not durable", "SPOOL_DAMAGED")
