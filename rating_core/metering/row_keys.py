"""The keys of every record: identity, payload, counter hash and series, all as keyed hashes.

One function makes them at decision, on apply and in recovery, so the three cannot differ. The log
holds no hash; recovery computes them anew under the store's key.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rating_core.jit import kernel
from rating_core.metering.batch import EVENT_ID_BYTES_MAX, DimensionSet
from rating_core.metering.entry import RecordsEntry
from rating_core.metering.keyed_hash import HashKey, hash_bytes, hash_words


@dataclass(frozen=True, slots=True, eq=False)
class RowKeys:
    """Keys of n records: identities uint64[n, 3], parts and series uint64[n, 2].

    Records of numbered batches have no identities: uint64[0, 3] (P12).

    ``parts``: customer and period start, that is, one counter hash; ``series``: one series of it.
    """

    identities: NDArray[np.uint64]
    parts: NDArray[np.uint64]
    series: NDArray[np.uint64]

    def take(self, rows: NDArray[np.int64]) -> RowKeys:
        """Return the keys of ``rows``."""
        named = self.identities[rows] if self.identities.size else self.identities
        return RowKeys(named, self.parts[rows], self.series[rows])


def dimension_text(dimensions: DimensionSet) -> bytes:
    """Return the bytes that stand for sorted, non-empty dimensions: lengths, then texts."""
    texts = [text.encode(errors="surrogatepass") for pair in dimensions for text in pair]
    return b"".join(len(text).to_bytes(4, "little") + text for text in texts)


@kernel
def _continues(byte: np.uint8) -> bool:
    return bool(0x80 <= byte < 0xC0)


@kernel
def is_utf8(text: NDArray[np.uint8], begin: int, end: int) -> bool:
    """Return whether ``text[begin:end]`` is UTF-8: shortest forms, no surrogates, ≤ U+10FFFF."""
    position = begin
    while position < end:
        lead = int(text[position])
        if lead < 0x80:
            position += 1
            continue
        length = 2 if lead < 0xE0 else 3 if lead < 0xF0 else 4
        if lead < 0xC2 or lead > 0xF4 or position + length > end:
            return False
        for offset in range(1, length):
            if not _continues(text[position + offset]):
                return False
        second = int(text[position + 1])
        if (lead == 0xE0 and second < 0xA0) or (lead == 0xED and second >= 0xA0):
            return False
        if (lead == 0xF0 and second < 0x90) or (lead == 0xF4 and second >= 0x90):
            return False
        position += length
    return True


@kernel
def mark_bad_ids(
    text: NDArray[np.uint8], ends: NDArray[np.int64], ascii_only: bool, bad: NDArray[np.bool_]
) -> None:
    """Set ``bad`` where an event id is empty, longer than 255 bytes or not UTF-8 (S7.3)."""
    begin = 0
    for row in range(ends.size):
        end = ends[row]
        length = end - begin
        fits = 1 <= length <= EVENT_ID_BYTES_MAX
        if not fits or not (ascii_only or is_utf8(text, begin, end)):
            bad[row] = True
        begin = end


@kernel
def _key_rows(
    text: NDArray[np.uint8],
    ends: NDArray[np.int64],
    codes: NDArray[np.int32],
    words: NDArray[np.uint64],
    customers: NDArray[np.uint64],
    meters: NDArray[np.uint64],
    dimension_sets: NDArray[np.uint64],
    nameless: NDArray[np.bool_],
    uncounted: NDArray[np.bool_],
    identities: NDArray[np.uint64],
    parts: NDArray[np.uint64],
    series: NDArray[np.uint64],
) -> None:
    zero = np.uint64(0)
    begin = 0
    for row in range(ends.size):
        end = ends[row]
        high, low = customers[codes[0, row], 0], customers[codes[0, row], 1]
        meter, dimensions = codes[1, row], codes[2, row]
        meter_low, dimensions_low = meters[meter, 1], dimension_sets[dimensions, 1]
        if identities.shape[0] == 0:
            pass
        elif nameless[row]:
            identities[row, 0] = zero
            identities[row, 1] = zero
            identities[row, 2] = zero
        else:
            identities[row, 0], identities[row, 1] = hash_bytes(high, low, text, begin, end)
            _, identities[row, 2] = hash_words(
                high, low, meter_low, dimensions_low, words[0, row], words[1, row]
            )
        if uncounted[row]:
            parts[row, 0] = zero
            parts[row, 1] = zero
            series[row, 0] = zero
            series[row, 1] = zero
        else:
            part = hash_words(high, low, words[2, row], zero, zero, zero)
            parts[row, 0], parts[row, 1] = part
            series[row, 0], series[row, 1] = hash_words(
                part[0],
                part[1],
                meters[meter, 0],
                meter_low,
                dimension_sets[dimensions, 0],
                dimensions_low,
            )
        begin = end


@kernel
def _part_key(
    customer_high: np.uint64, customer_low: np.uint64, period_start: np.uint64
) -> tuple[np.uint64, np.uint64]:
    """Return the key of one counter hash from its customer's key, as rows get it."""
    zero = np.uint64(0)
    return hash_words(customer_high, customer_low, period_start, zero, zero, zero)


def customer_part_key(hash_key: HashKey, customer: str, period_start: int) -> NDArray[np.uint64]:
    """Return uint64[1, 2], the key of one counter hash, as records of it get it."""
    name = hash_key.hash_names([customer])[0]
    start = np.array([period_start], np.int64).view(np.uint64)[0]
    return np.array([_part_key(name[0], name[1], start)], np.uint64)


def key_rows(
    hash_key: HashKey,
    customers: NDArray[np.uint64],
    meters: Sequence[str],
    dimension_texts: Sequence[bytes],
    codes: NDArray[np.int32],
    event_ids: bytes,
    ends: NDArray[np.int64],
    words: NDArray[np.int64],
    nameless: NDArray[np.bool_],
    uncounted: NDArray[np.bool_],
    *,
    named: bool = True,
) -> RowKeys:
    """Return the keys of n records.

    ``customers`` uint64[c, 2]: hashes of the customers; ``codes`` int32[3, n]: indices into
    customers, meters and dimension texts; ``words`` int64[3, n]: quantity in the meter's scale
    units, event time and period start, µs. A ``nameless`` row gets the empty identity, an
    ``uncounted`` one the empty part and series. ``named``: whether records have event ids; those
    of numbered batches have none (P12).
    """
    count = ends.size
    names = hash_key.hash_names(meters)
    hashes = hash_key.hash_texts(dimension_texts)
    keys = RowKeys(
        np.empty((count if named else 0, 3), np.uint64),
        np.empty((count, 2), np.uint64),
        np.empty((count, 2), np.uint64),
    )
    _key_rows(
        np.frombuffer(event_ids, np.uint8),
        ends,
        codes,
        words.view(np.uint64),
        customers,
        names,
        hashes,
        nameless,
        uncounted,
        keys.identities,
        keys.parts,
        keys.series,
    )
    return keys


def entry_keys(hash_key: HashKey, customers: NDArray[np.uint64], entry: RecordsEntry) -> RowKeys:
    """Return the keys of an entry's records, as they were at decision.

    ``customers`` uint64[c, 2]: hashes of the entry's customers.
    """
    none = np.zeros(len(entry), np.bool_)
    return key_rows(
        hash_key,
        customers,
        [meter.id for meter in entry.meters],
        [dimension_text(pairs) for pairs in entry.dimension_sets],
        entry.codes,
        entry.event_ids,
        entry.ends,
        entry.words,
        none,
        none,
        named=not entry.producers,
    )
