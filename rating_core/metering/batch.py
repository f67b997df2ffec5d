"""Columns of usage records on their way to a decision, and the statuses they come back with (S7).

A batch is columnar: one row a record, strings by index into the batch's own dictionaries. Nothing
here loops over records in Python; loops over dictionaries are what they cost.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from rating_core.metering.deciding.event_ids import take_ids
from rating_core.metering.deciding.roll import RollNames
from rating_core.metering.deciding.split import split_rows
from rating_core.metering.deciding.words import (
    Word,
    compact,
    compact_names,
    merge_names,
    merge_words,
)
from rating_core.units import SCALE_MAX

DimensionSet = tuple[tuple[str, str], ...]
"""(name, value) pairs, sorted by name."""

_FEW_WORDS = 8

EVENT_ID_BYTES_MAX = 255
"""Longest event id, in bytes of UTF-8; the shortest has one."""


class RecordStatus(IntEnum):
    """What became of one record (S7.3)."""

    UNSPECIFIED = 0
    ACCEPTED = 1
    DUPLICATE = 2
    CONFLICT = 3
    REJECTED = 4
    RETRY = 5


class RejectReason(IntEnum):
    """Why a record was refused; values stand in the order of precedence of S7.3."""

    UNSPECIFIED = 0
    MALFORMED = 1
    UNKNOWN_METER = 2
    QUANTITY_PRECISION = 3
    QUANTITY_OUT_OF_RANGE = 4
    DIMENSION_INVALID = 5
    NO_SUBSCRIPTION = 6
    IN_FUTURE = 7
    TOO_OLD = 8
    PERIOD_CLOSED = 9
    TOO_MANY_SERIES = 10
    NOT_FOUND = 11
    """A retraction of an id that is not known (S7.6)."""
    NOT_RETRACTABLE = 12
    """A retraction on a max or latest meter (S7.6)."""


@lru_cache(maxsize=1 << 18)
def shard_of(customer: str, shard_count: int) -> int:
    """Return the shard of a customer, 0 … shard_count − 1: the same on every server, for ever.

    blake2b of the UTF-8, 8 bytes, read as a little-endian number, modulo ``shard_count``.
    """
    digest = hashlib.blake2b(customer.encode(errors="surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "little") % shard_count


@dataclass(slots=True, eq=False)  # not frozen: 16 are made of a batch, at twice the cost
class RecordBatch:
    """Usage records in columns, one row a record, n rows.

    ``customer``, ``meter``, ``dimension_set``: int32[n], indices into the dictionaries beside them;
    ``scales[m]``: the decimals, 0–12, in which the sender states quantities of ``meters[m]``.
    ``event_ids``: UTF-8, concatenated, row i ends at ``event_id_ends[i]`` (int64[n]).
    ``quantity``: int64[n] in 10^-scale units; ``event_time``: int64[n] µs UTC. ``malformed``:
    bool[n], what the decoder could not read (S7.3). ``out_of_range``, ``imprecise``: bool[n], or
    ``None`` for none: quantities that did not fit int64, or had more than 12 decimals, at decoding.
    ``attribute_set``: int32[n] as ``dimension_set``, or ``None`` where no record has attributes
    (S7.2). ``retraction``: bool[n], or ``None`` for none: the row takes back the record it repeats
    (S7.6).
    """

    customers: Sequence[str]
    customer: NDArray[np.int32]
    meters: list[str]
    scales: list[int]
    meter: NDArray[np.int32]
    dimension_sets: list[DimensionSet]
    dimension_set: NDArray[np.int32]
    event_ids: bytes
    event_id_ends: NDArray[np.int64]
    quantity: NDArray[np.int64]
    event_time: NDArray[np.int64]
    malformed: NDArray[np.bool_]
    out_of_range: NDArray[np.bool_] | None = None
    imprecise: NDArray[np.bool_] | None = None
    attribute_sets: list[DimensionSet] = field(default_factory=lambda: [()])
    attribute_set: NDArray[np.int32] | None = None
    retraction: NDArray[np.bool_] | None = None

    def __len__(self) -> int:
        return int(self.customer.size)

    @property
    def scaled_meters(self) -> list[tuple[str, int]]:
        """The meters, each with its scale."""
        return list(zip(self.meters, self.scales, strict=True))

    def check(self) -> None:
        """Raise ValueError, naming the column, unless columns fit each other and dictionaries."""
        count = len(self)
        for name in ("meter", "dimension_set", "event_id_ends", "quantity", "event_time"):
            if getattr(self, name).shape != (count,):
                raise ValueError(f"{name}: expected {count} rows")
        for name in ("malformed", "out_of_range", "imprecise", "retraction", "attribute_set"):
            column = getattr(self, name)
            if column is not None and column.shape != (count,):
                raise ValueError(f"{name}: expected {count} rows")
        if len(self.scales) != len(self.meters):
            raise ValueError("scales: expected one a meter")
        if any(not 0 <= scale <= SCALE_MAX for scale in self.scales):
            raise ValueError(f"scales: expected 0 to {SCALE_MAX}")
        for name, codes, words in (
            ("customer", self.customer, len(self.customers)),
            ("meter", self.meter, len(self.meters)),
            ("dimension_set", self.dimension_set, len(self.dimension_sets)),
            ("attribute_set", self.attribute_set, len(self.attribute_sets)),
        ):
            if (
                codes is not None
                and count
                and not 0 <= int(codes.min()) <= int(codes.max()) < words
            ):
                raise ValueError(f"{name}: index outside its dictionary of {words}")
        ends = self.event_id_ends
        if count and (int(ends[0]) < 0 or bool((ends[1:] < ends[:-1]).any())):
            raise ValueError("event_id_ends: must not decrease")
        if (int(ends[-1]) if count else 0) != len(self.event_ids):
            raise ValueError("event_id_ends: the last one must be the length of event_ids")

    def take(self, rows: NDArray[np.int64]) -> RecordBatch:
        """Return the batch of ``rows`` (int64, any order); dictionaries keep only their words."""
        customers, customer = compact_names(self.customers, self.customer[rows])
        pairs, meter = compact(self.scaled_meters, self.meter[rows])
        dimension_sets, dimension_set = compact(self.dimension_sets, self.dimension_set[rows])
        event_ids, ends = take_ids(self.event_ids, self.event_id_ends, rows)
        attribute_sets, attribute_set = self.attribute_sets, self.attribute_set
        if attribute_set is not None:
            attribute_sets, attribute_set = compact(attribute_sets, attribute_set[rows])
        return RecordBatch(
            customers=customers,
            customer=customer,
            meters=[name for name, _ in pairs],
            scales=[scale for _, scale in pairs],
            meter=meter,
            dimension_sets=dimension_sets,
            dimension_set=dimension_set,
            event_ids=event_ids,
            event_id_ends=ends,
            quantity=self.quantity[rows],
            event_time=self.event_time[rows],
            malformed=self.malformed[rows],
            out_of_range=None if self.out_of_range is None else self.out_of_range[rows],
            imprecise=None if self.imprecise is None else self.imprecise[rows],
            attribute_sets=attribute_sets,
            attribute_set=attribute_set,
            retraction=None if self.retraction is None else self.retraction[rows],
        )

    @staticmethod
    def concatenate(batches: Sequence[RecordBatch]) -> RecordBatch:
        """Return one batch of all rows in order; dictionaries are merged. At least one batch."""
        if len(batches) == 1:
            return batches[0]
        customers, customer = merge_names([(b.customers, b.customer) for b in batches])
        pairs, meter = _joined_words([(b.scaled_meters, b.meter) for b in batches])
        sets, dimension_set = _joined_words([(b.dimension_sets, b.dimension_set) for b in batches])
        attribute_sets, attribute_set = _join_attributes(batches)
        return RecordBatch(
            customers=customers,
            customer=customer,
            meters=[name for name, _ in pairs],
            scales=[scale for _, scale in pairs],
            meter=meter,
            dimension_sets=sets,
            dimension_set=dimension_set,
            event_ids=b"".join([b.event_ids for b in batches]),
            event_id_ends=_joined_ends(batches),
            quantity=np.concatenate([b.quantity for b in batches]),
            event_time=np.concatenate([b.event_time for b in batches]),
            malformed=np.concatenate([b.malformed for b in batches]),
            out_of_range=_join_flags(batches, [b.out_of_range for b in batches]),
            imprecise=_join_flags(batches, [b.imprecise for b in batches]),
            attribute_sets=attribute_sets,
            attribute_set=attribute_set,
            retraction=_join_flags(batches, [b.retraction for b in batches]),
        )

    def split_by_shard(self, shard_count: int) -> list[tuple[int, NDArray[np.int64], RecordBatch]]:
        """Return (shard, its rows in order, their batch) for every shard that has rows."""
        if not len(self):
            return []
        count, words = len(self), len(self.customers)
        shards = self._shards(shard_count)
        order, renumbered = np.empty(count, np.int64), np.empty(count, np.int32)
        begins, word_begins = (np.zeros(shard_count + 1, np.int64) for _ in range(2))
        used = np.empty(words, np.int32)
        split_rows(
            np.ascontiguousarray(self.customer, np.int32),
            shards,
            order,
            begins,
            used,
            word_begins,
            renumbered,
        )
        present = np.flatnonzero(np.diff(begins)).tolist()
        if len(present) == 1:
            return [(present[0], order, self)]
        whole = self._gathered(order, renumbered)
        inner = used[: word_begins[-1]]
        names = (
            self.customers.take(inner)
            if isinstance(self.customers, RollNames)
            else [self.customers[word] for word in inner.tolist()]
        )
        bounds, word_bounds = begins.tolist(), word_begins.tolist()
        return [
            (
                shard,
                order[bounds[shard] : bounds[shard + 1]],
                whole.part(
                    bounds[shard],
                    bounds[shard + 1],
                    names[word_bounds[shard] : word_bounds[shard + 1]],
                ),
            )
            for shard in present
        ]

    def _shards(self, shard_count: int) -> NDArray[np.int32]:
        names = self.customers
        if isinstance(names, RollNames) and names.page.shard_count == shard_count:
            return names.page.shards[names.numbers]
        return np.array([shard_of(name, shard_count) for name in names], np.int32)

    def _gathered(self, order: NDArray[np.int64], customer: NDArray[np.int32]) -> RecordBatch:
        """Return all rows in another order; ``customer`` replaces the column of that name."""
        event_ids, ends = take_ids(self.event_ids, self.event_id_ends, order)
        return RecordBatch(
            customers=self.customers,
            customer=customer,
            meters=self.meters,
            scales=self.scales,
            # Where there is one word only, the column is zeros in any order.
            meter=self.meter[order] if len(self.meters) > 1 else self.meter,
            dimension_sets=self.dimension_sets,
            dimension_set=(
                self.dimension_set[order] if len(self.dimension_sets) > 1 else self.dimension_set
            ),
            event_ids=event_ids,
            event_id_ends=ends,
            quantity=self.quantity[order],
            event_time=self.event_time[order],
            malformed=self.malformed[order],
            out_of_range=None if self.out_of_range is None else self.out_of_range[order],
            imprecise=None if self.imprecise is None else self.imprecise[order],
            attribute_sets=self.attribute_sets,
            attribute_set=None if self.attribute_set is None else self.attribute_set[order],
            retraction=None if self.retraction is None else self.retraction[order],
        )

    def part(self, begin: int, end: int, customers: Sequence[str]) -> RecordBatch:
        """Return neighbouring rows, with the customers given; columns are views."""
        rows = slice(begin, end)
        first = int(self.event_id_ends[begin - 1]) if begin else 0
        last = int(self.event_id_ends[end - 1])
        meters, scales, meter = self.meters, self.scales, self.meter[rows]
        sets, dimension_set = self.dimension_sets, self.dimension_set[rows]
        if max(len(meters), len(sets)) > _FEW_WORDS:
            # Each part would pay for words that only others use.
            pairs, meter = compact(self.scaled_meters, meter)
            meters, scales = [name for name, _ in pairs], [scale for _, scale in pairs]
            sets, dimension_set = compact(sets, dimension_set)
        attribute_sets, attribute_set = self.attribute_sets, None
        if self.attribute_set is not None:
            attribute_sets, attribute_set = compact(attribute_sets, self.attribute_set[rows])
        return RecordBatch(
            customers=customers,
            customer=self.customer[rows],
            meters=meters,
            scales=scales,
            meter=meter,
            dimension_sets=sets,
            dimension_set=dimension_set,
            event_ids=self.event_ids[first:last],
            event_id_ends=self.event_id_ends[rows] - first,
            quantity=self.quantity[rows],
            event_time=self.event_time[rows],
            malformed=self.malformed[rows],
            out_of_range=None if self.out_of_range is None else self.out_of_range[rows],
            imprecise=None if self.imprecise is None else self.imprecise[rows],
            attribute_sets=attribute_sets,
            attribute_set=attribute_set,
            retraction=None if self.retraction is None else self.retraction[rows],
        )


def _joined_words(
    columns: Sequence[tuple[list[Word], NDArray[np.int32]]],
) -> tuple[list[Word], NDArray[np.int32]]:
    """Return one dictionary of the words of all columns, and the codes of all rows into it."""
    words, codes = columns[0][0], [column for _, column in columns]
    if all(other == words for other, _ in columns):
        # As batches of one sender mostly do.
        return words, np.concatenate(codes)
    numbers: dict[Word, int] = {}
    codes = merge_words(numbers, columns)
    return list(numbers), np.concatenate(codes)


def _joined_ends(batches: Sequence[RecordBatch]) -> NDArray[np.int64]:
    ends = np.concatenate([batch.event_id_ends for batch in batches])
    row = base = 0
    for batch in batches:
        if base:
            ends[row : row + len(batch)] += base
        row += len(batch)
        base += len(batch.event_ids)
    return ends


def _join_attributes(
    batches: Sequence[RecordBatch],
) -> tuple[list[DimensionSet], NDArray[np.int32] | None]:
    if all(batch.attribute_set is None for batch in batches):
        return [()], None
    merged: dict[DimensionSet, int] = {}
    none: list[DimensionSet] = [()]
    columns = merge_words(
        merged,
        [
            (none, np.zeros(len(batch), np.int32))
            if batch.attribute_set is None
            else (batch.attribute_sets, batch.attribute_set)
            for batch in batches
        ],
    )
    return list(merged), np.concatenate(columns)


def _join_flags(
    batches: Sequence[RecordBatch], flags: Sequence[NDArray[np.bool_] | None]
) -> NDArray[np.bool_] | None:
    if all(flag is None for flag in flags):
        return None
    return np.concatenate(
        [
            np.zeros(len(batch), np.bool_) if flag is None else flag
            for batch, flag in zip(batches, flags, strict=True)
        ]
    )
