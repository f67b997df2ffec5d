"""Hashes and tables under the ids and counters: exact against Python sets and dicts."""

from __future__ import annotations

import random

import numpy as np
import pytest

from rating_core.metering.deciding.key_table import ABSENT, KeyTable
from rating_core.metering.deciding.keyed_hash import HashKey, rotl, wrap_add
from rating_core.metering.deciding.row_keys import is_utf8
from rating_core.metering.id_index import IdIndex
from rating_core.period import DAY_US

MASK = 2**64 - 1


def reference_hash(key, text):
    """SipHash-1-3 of 128 bits, written from its definition on Python integers."""

    def turn(v, bits):
        return ((v << bits) | (v >> (64 - bits))) & MASK

    def mix(v):
        a, b, c, d = v
        a, c = (a + b) & MASK, (c + d) & MASK
        b, d = turn(b, 13) ^ a, turn(d, 16) ^ c
        a = turn(a, 32)
        c, a = (c + b) & MASK, (a + d) & MASK
        b, d = turn(b, 17) ^ c, turn(d, 21) ^ a
        return [a, b, turn(c, 32), d]

    low, high = (int.from_bytes(part, "little") for part in (key[:8], key[8:]))
    words = (b"somepseu", b"dorandom", b"lygenera", b"tedbytes")
    v = [int.from_bytes(word, "big") ^ k for word, k in zip(words, (low, high) * 2, strict=True)]
    v[1] ^= 0xEE
    padded = text + bytes(7 - len(text) % 8) + bytes([len(text) % 256])
    for begin in range(0, len(padded), 8):
        word = int.from_bytes(padded[begin : begin + 8], "little")
        v[3] ^= word
        v = mix(v)
        v[0] ^= word
    v[2] ^= 0xEE
    for _ in range(3):
        v = mix(v)
    first = v[0] ^ v[1] ^ v[2] ^ v[3]
    v[1] ^= 0xDD
    for _ in range(3):
        v = mix(v)
    return [v[0] ^ v[1] ^ v[2] ^ v[3], first]


def test_hashes_are_siphash():
    """Texts of every length around the word size hash as the definition says."""
    generator = random.Random(1)
    for _ in range(20):
        key = generator.randbytes(16)
        texts = [generator.randbytes(length) for length in (*range(18), 255)]
        assert HashKey(key).hash_texts(texts).tolist() == [reference_hash(key, t) for t in texts]


def test_a_key_has_sixteen_bytes():
    """Any other length is a mistake."""
    with pytest.raises(ValueError, match="16 bytes"):
        HashKey(b"short")


def test_wrapping_primitives_mask():
    """The Python twins compute modulo 2^64."""
    assert wrap_add(np.uint64(MASK), np.uint64(5)) == 4
    assert rotl(np.uint64(1 << 63), 1) == 1


def identities(numbers):
    rows = [[n * 0x9E3779B97F4A7C15 & MASK, n & 7, n] for n in numbers]
    return np.array(rows, np.uint64).reshape(len(rows), 3)


def test_index_agrees_with_a_set():
    """Through many doublings and long probe chains exactly the inserted ids are found."""
    generator = random.Random(2)
    index, known = IdIndex(), set()
    for _ in range(40):
        fresh = list({generator.randrange(1, 10**6) for _ in range(50)} - known)
        index.insert(identities(fresh), 0, None)
        known |= set(fresh)
        asked = generator.sample(sorted(known), 20) + [
            generator.randrange(1, 10**6) for _ in range(20)
        ]
        found, payloads = np.zeros(40, np.bool_), np.zeros(40, np.uint64)
        index.find(identities(asked), found, payloads)
        assert found.tolist() == [number in known for number in asked]
        assert all(p == n for p, n, f in zip(payloads, asked, found, strict=True) if f)
    assert index.count == len(known)


def test_segments_expire_by_their_last_acceptance():
    """A segment goes when its last acceptance is W + 1 day old, not a microsecond earlier (P11)."""
    index, window = IdIndex(), 2 * DAY_US
    index.insert(identities([1]), 10 * DAY_US, window)
    index.insert(identities([2]), 10 * DAY_US + 5, window)
    index.insert(identities([3]), 11 * DAY_US, window)
    index.expire(13 * DAY_US + 4, window)
    assert index.count == 3
    index.expire(13 * DAY_US + 5, window)
    assert index.count == 1
    index.expire(10**18, None)
    assert index.count == 1


def test_long_windows_make_few_segments():
    """A window of 80 days is kept in segments of ten days: look-ups visit about eight."""
    index = IdIndex()
    for day in range(80):
        index.insert(identities([day + 1]), day * DAY_US, 80 * DAY_US)
    assert [segment.count for segment in index.segments()] == [10] * 8


def test_key_table_numbers_rows_in_order():
    """Rows are dense, in order of first insertion; the empty key has none."""
    generator = random.Random(4)
    table, rows = KeyTable(), {}
    for _ in range(30):
        numbers = [generator.randrange(400) for _ in range(25)]
        keys = np.array([[n and 1, n] for n in numbers], np.uint64)
        found, first = table.insert(keys)
        made = []
        for position, number in enumerate(numbers):
            if number and number not in rows:
                rows[number] = len(rows)
                made.append(position)
        assert found.tolist() == [rows.get(number, ABSENT) for number in numbers]
        assert first.tolist() == made
        assert table.find(keys).tolist() == found.tolist()
    assert table.count == len(rows)


def test_utf8_is_checked_like_python_does():
    """Every pair of bytes, and random runs, are UTF-8 exactly when Python decodes them."""
    generator = random.Random(6)
    samples = [bytes([a, b]) for a in range(0xC0, 256) for b in (0x7F, 0x80, 0xBF, 0xC0)]
    samples += [
        bytes([a, b, 0x80, c])
        for a in range(0xDF, 256)
        for b in (0x80, 0x8F, 0x90, 0x9F, 0xA0, 0xBF)
        for c in (0x41, 0x80)
    ]
    samples += ["aé€𝄞".encode()[: generator.randint(0, 10)] for _ in range(50)]
    for sample in samples:
        try:
            sample.decode()
            valid = True
        except UnicodeDecodeError:
            valid = False
        assert is_utf8(np.frombuffer(sample, np.uint8), 0, len(sample)) == valid, sample
