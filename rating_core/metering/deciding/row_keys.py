"""The keys of every record: identity, payload, counter hash and series, all as keyed hashes.

One function makes them at decision, on apply and in recovery, so the three cannot differ. The log
holds no hash; recovery computes them anew under the store's key.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rating_core.jit import inlined, kernel
from rating_core.metering.batch import EVENT_ID_BYTES_MAX, DimensionSet
from rating_core.metering.deciding.keyed_hash import HashKey, hash_bytes, hash_words
from rating_core.metering.deciding.records_entry import RecordsEntry
from rating_core.metering.ids.slots import PAYLOAD_BITS


@dataclass(frozen=True, slots=True, eq=False)
class RowKeys:
    """Keys of n records: identities uint64[n, 3], parts and series uint64[n, 2].

    Records of numbered batches have no identities: uint64[0, 3] (P12).

    ``parts``: customer and period start, that is, one counter hash; ``series``: one series of it.
    ``origins``: for a retraction the identity of the record that it takes back, otherwise empty;
    ``None`` where no row is one (S7.6). A retraction has an identity of its own, so that the id
    index remembers "counted" and "taken back" as two ids, and forgets neither before the other.
    """

    identities: NDArray[np.uint64]
    parts: NDArray[np.uint64]
    series: NDArray[np.uint64]
    origins: NDArray[np.uint64] | None = None

    def take(self, rows: NDArray[np.int64]) -> RowKeys:
        """Return the keys of ``rows``."""
        return RowKeys(
            self.identities[rows] if self.identities.size else self.identities,
            self.parts[rows],
            self.series[rows],
            None if self.origins is None else self.origins[rows],
        )


def dimension_text(dimensions: DimensionSet) -> bytes:
    """Return the bytes that stand for sorted, non-empty dimensions: lengths, then texts."""
    texts = [text.encode(errors="surrogatepass") for pair in dimensions for text in pair]
    return b"".join(len(text).to_bytes(4, "little") + text for text in texts)


@inlined
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
    # The part and the series of the customer's last record: mostly those of its next one too.
    last_period = np.zeros(customers.shape[0], np.uint64)
    last_part = np.zeros((customers.shape[0], 2), np.uint64)
    last_words = np.full((customers.shape[0], 2), -1, np.int32)
    last_series = np.zeros((customers.shape[0], 2), np.uint64)
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
            _, payload = hash_words(
                high, low, meter_low, dimensions_low, words[0, row], words[1, row]
            )
            identities[row, 2] = payload & PAYLOAD_BITS
        if uncounted[row]:
            parts[row, 0] = zero
            parts[row, 1] = zero
            series[row, 0] = zero
            series[row, 1] = zero
        else:
            code = codes[0, row]
            if last_words[code, 0] < 0 or last_period[code] != words[2, row]:
                last_part[code, 0], last_part[code, 1] = hash_words(
                    high, low, words[2, row], zero, zero, zero
                )
                last_period[code] = words[2, row]
                last_words[code, 0] = -1
            if last_words[code, 0] != meter or last_words[code, 1] != dimensions:
                last_series[code, 0], last_series[code, 1] = hash_words(
                    last_part[code, 0],
                    last_part[code, 1],
                    meters[meter, 0],
                    meter_low,
                    dimension_sets[dimensions, 0],
                    dimensions_low,
                )
                last_words[code, 0] = meter
                last_words[code, 1] = dimensions
            parts[row, 0], parts[row, 1] = last_part[code, 0], last_part[code, 1]
            series[row, 0], series[row, 1] = last_series[code, 0], last_series[code, 1]
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


@kernel
def _add_attributes(
    attributes: NDArray[np.uint64], codes: NDArray[np.int32], identities: NDArray[np.uint64]
) -> None:
    """Mix attributes into the payload hashes; rows of the empty set keep theirs (S7.2)."""
    for row in range(codes.size):
        high, low = attributes[codes[row], 0], attributes[codes[row], 1]
        if (high != 0 or low != 0) and (identities[row, 0] != 0 or identities[row, 1] != 0):
            payload = identities[row, 2]
            zero = np.uint64(0)
            _, payload = hash_words(high, low, payload, zero, zero, zero)
            identities[row, 2] = payload & PAYLOAD_BITS


_RETRACTED = np.array([0x9E3779B97F4A7C15, 0xD1B54A32D192ED03], np.uint64)
"""What turns the identity of a record into that of its retraction; any bits, on all servers."""


def _retract(keys: RowKeys, retraction: NDArray[np.bool_]) -> RowKeys:
    named = retraction & (keys.identities[:, :2] != 0).any(axis=1)
    origins = np.where(named[:, None], keys.identities, np.uint64(0))
    keys.identities[named, :2] ^= _RETRACTED
    return RowKeys(keys.identities, keys.parts, keys.series, origins)


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
    attribute_texts: Sequence[bytes] = (),
    attribute_set: NDArray[np.int32] | None = None,
    retraction: NDArray[np.bool_] | None = None,
    *,
    named: bool = True,
) -> RowKeys:
    """Return the keys of n records.

    ``customers`` uint64[c, 2]: hashes of the customers; ``codes`` int32[3, n]: indices into
    customers, meters and dimension texts; ``words`` int64[3, n]: quantity in the meter's scale
    units, event time and period start, µs. A ``nameless`` row gets the empty identity, an
    ``uncounted`` one the empty part and series. ``attribute_set``: int32[n] into attribute texts
    (S7.2); ``retraction``: bool[n] (S7.6); ``None`` where no row has any.
    ``named``: whether records have event ids; those of numbered batches have none (P12).
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
    if attribute_set is not None and named:
        attributes = hash_key.hash_texts(attribute_texts)
        attributes[[not text for text in attribute_texts]] = 0
        _add_attributes(attributes, attribute_set, keys.identities)
    return _retract(keys, retraction) if retraction is not None and named else keys


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
        [dimension_text(pairs) for pairs in entry.attribute_sets],
        entry.attribute_set,
        entry.retraction,
        named=not entry.producers,
    )
