"""Keyed 128-bit hashes of ids, dictionaries and counter keys: SipHash-1-3 in kernels.

Who does not know the key cannot make two ids collide; by chance two of 10^12 ids do with a
probability below 10^-14. The key is random and the store's: drawn when it is first used, the same
for all its servers, so that segments of ids can be kept and shared. The log holds no hash (ADR 10).

Deliberate wraps happen only in `wrap_add` and `rotl`. Kernels get plain machine arithmetic for
them; the Python twins mask, so that a run without compilation and with warnings as errors passes.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

import numpy as np
from numba.extending import overload
from numpy.typing import NDArray

from rating_core.jit import inlined, kernel

KEY_BYTES = 16

_MASK = (1 << 64) - 1
_INIT_0 = np.uint64(0x736F6D6570736575)
_INIT_1 = np.uint64(0x646F72616E646F6D ^ 0xEE)
_INIT_2 = np.uint64(0x6C7967656E657261)
_INIT_3 = np.uint64(0x7465646279746573)
_END_LOW = np.uint64(0xEE)
_END_HIGH = np.uint64(0xDD)
_BYTE = np.uint64(8)
_WORD_BYTES = 8
_LENGTH_SHIFT = np.uint64(56)
_LENGTH_MASK = np.uint64(0xFF)
_FIXED_LENGTH = np.uint64(1 << 63)
"""Last word of a message of whole words: no message of bytes ends so with the same words."""

_KNOWN_NAMES = 1 << 14
"""Names, in dictionaries, whose hashes are kept at most, or a sixteenth more."""

Lanes = tuple[np.uint64, np.uint64, np.uint64, np.uint64]


def wrap_add(first: np.uint64, second: np.uint64) -> np.uint64:
    """Return the sum modulo 2^64."""
    return np.uint64((int(first) + int(second)) & _MASK)


def rotl(word: np.uint64, bits: int) -> np.uint64:
    """Return ``word`` rotated left by 1–63 bits."""
    value = int(word)
    return np.uint64(((value << bits) | (value >> (64 - bits))) & _MASK)


def _compiled_wrap_add(first: np.uint64, second: np.uint64) -> Callable[..., np.uint64]:  # noqa: ARG001 - Numba matches overloads by signature
    def implementation(first: np.uint64, second: np.uint64) -> np.uint64:
        return first + second

    return implementation


def _compiled_rotl(word: np.uint64, bits: int) -> Callable[..., np.uint64]:  # noqa: ARG001 - Numba matches overloads by signature
    def implementation(word: np.uint64, bits: int) -> np.uint64:
        return (word << np.uint64(bits)) | (word >> np.uint64(64 - bits))

    return implementation


overload(wrap_add, inline="always")(_compiled_wrap_add)
overload(rotl, inline="always")(_compiled_rotl)


@inlined
def sip_round(v0: np.uint64, v1: np.uint64, v2: np.uint64, v3: np.uint64) -> Lanes:
    """Return the four lanes after one SipRound."""
    v0 = wrap_add(v0, v1)
    v2 = wrap_add(v2, v3)
    v1 = rotl(v1, 13) ^ v0
    v3 = rotl(v3, 16) ^ v2
    v0 = rotl(v0, 32)
    v2 = wrap_add(v2, v1)
    v0 = wrap_add(v0, v3)
    v1 = rotl(v1, 17) ^ v2
    v3 = rotl(v3, 21) ^ v0
    v2 = rotl(v2, 32)
    return v0, v1, v2, v3


@inlined
def sip_begin(key_hi: np.uint64, key_lo: np.uint64) -> Lanes:
    """Return the lanes of a 128-bit hash under a key."""
    return key_lo ^ _INIT_0, key_hi ^ _INIT_1, key_lo ^ _INIT_2, key_hi ^ _INIT_3


@inlined
def sip_word(v0: np.uint64, v1: np.uint64, v2: np.uint64, v3: np.uint64, word: np.uint64) -> Lanes:
    """Return the lanes after one 64-bit word of the message."""
    v0, v1, v2, v3 = sip_round(v0, v1, v2, v3 ^ word)
    return v0 ^ word, v1, v2, v3


@inlined
def sip_end(
    v0: np.uint64, v1: np.uint64, v2: np.uint64, v3: np.uint64
) -> tuple[np.uint64, np.uint64]:
    """Return (high, low) of the hash; never (0, 0), which marks an empty slot of a table."""
    v0, v1, v2, v3 = sip_round(v0, v1, v2 ^ _END_LOW, v3)
    v0, v1, v2, v3 = sip_round(v0, v1, v2, v3)
    v0, v1, v2, v3 = sip_round(v0, v1, v2, v3)
    low = v0 ^ v1 ^ v2 ^ v3
    v0, v1, v2, v3 = sip_round(v0, v1 ^ _END_HIGH, v2, v3)
    v0, v1, v2, v3 = sip_round(v0, v1, v2, v3)
    v0, v1, v2, v3 = sip_round(v0, v1, v2, v3)
    high = v0 ^ v1 ^ v2 ^ v3
    if high == 0 and low == 0:
        low = _END_LOW
    return high, low


@inlined
def hash_bytes(
    key_hi: np.uint64, key_lo: np.uint64, text: NDArray[np.uint8], begin: int, end: int
) -> tuple[np.uint64, np.uint64]:
    """Return (high, low) of the hash of ``text[begin:end]`` under a key."""
    v0, v1, v2, v3 = sip_begin(key_hi, key_lo)
    length = end - begin
    whole = begin + length - length % _WORD_BYTES
    for position in range(begin, whole, _WORD_BYTES):
        word = np.uint64(0)
        for offset in range(_WORD_BYTES):
            word |= np.uint64(text[position + offset]) << np.uint64(8 * offset)
        v0, v1, v2, v3 = sip_word(v0, v1, v2, v3, word)
    word = (np.uint64(length) & _LENGTH_MASK) << _LENGTH_SHIFT
    for offset in range(end - whole):
        word |= np.uint64(text[whole + offset]) << np.uint64(8 * offset)
    v0, v1, v2, v3 = sip_word(v0, v1, v2, v3, word)
    return sip_end(v0, v1, v2, v3)


@inlined
def hash_words(
    key_hi: np.uint64, key_lo: np.uint64, a: np.uint64, b: np.uint64, c: np.uint64, d: np.uint64
) -> tuple[np.uint64, np.uint64]:
    """Return (high, low) of the hash of four 64-bit words under a key."""
    v0, v1, v2, v3 = sip_begin(key_hi, key_lo)
    v0, v1, v2, v3 = sip_word(v0, v1, v2, v3, a)
    v0, v1, v2, v3 = sip_word(v0, v1, v2, v3, b)
    v0, v1, v2, v3 = sip_word(v0, v1, v2, v3, c)
    v0, v1, v2, v3 = sip_word(v0, v1, v2, v3, d)
    v0, v1, v2, v3 = sip_word(v0, v1, v2, v3, _FIXED_LENGTH)
    return sip_end(v0, v1, v2, v3)


@kernel
def _hash_rows(
    key_hi: np.uint64,
    key_lo: np.uint64,
    text: NDArray[np.uint8],
    ends: NDArray[np.int64],
    out: NDArray[np.uint64],
) -> None:
    begin = 0
    for row in range(ends.size):
        end = ends[row]
        out[row, 0], out[row, 1] = hash_bytes(key_hi, key_lo, text, begin, end)
        begin = end


@kernel
def _hash_spans(
    key_hi: np.uint64,
    key_lo: np.uint64,
    text: NDArray[np.uint8],
    spans: NDArray[np.int64],
    out: NDArray[np.uint64],
) -> None:
    for row in range(spans.shape[0]):
        begin, end = spans[row, 0], spans[row, 1]
        out[row, 0], out[row, 1] = hash_bytes(key_hi, key_lo, text, begin, end)


class Hashed(ABC):
    """Names that know their hashes."""

    __slots__ = ()

    @abstractmethod
    def hashes(self, hash_key: HashKey) -> NDArray[np.uint64] | None:
        """Return uint64[n, 2], the hash of each name, or None if they are of another key."""


class HashKey:
    """A store's secret key: 16 random bytes, as two words for kernels."""

    def __init__(self, key: bytes) -> None:
        if len(key) != KEY_BYTES:
            raise ValueError(f"a hash key has {KEY_BYTES} bytes")
        self.high = np.uint64(int.from_bytes(key[8:], "little"))
        self.low = np.uint64(int.from_bytes(key[:8], "little"))
        self._key = key
        self._known: dict[tuple[str, ...], NDArray[np.uint64]] = {}
        self._known_names = 0

    def __eq__(self, other: object) -> bool:
        return isinstance(other, HashKey) and other._key == self._key

    def __hash__(self) -> int:
        return hash(self._key)

    def hash_names(self, names: Sequence[str]) -> NDArray[np.uint64]:
        """Return uint64[n, 2], (high, low) of the hash of the UTF-8 of each name.

        Senders repeat their dictionaries: those seen lately are known. The result is not to be
        changed.
        """
        if isinstance(names, Hashed):
            known = names.hashes(self)
            if known is not None:
                return known
        words = tuple(names)
        hashes = self._known.get(words)
        if hashes is None:
            hashes = self.hash_texts([name.encode(errors="surrogatepass") for name in words])
            if self._known_names > _KNOWN_NAMES:
                self._known, self._known_names = {}, 0
            if len(words) <= _KNOWN_NAMES // 16:
                self._known[words] = hashes
                self._known_names += len(words)
        return hashes

    def hash_spans(self, data: NDArray[np.uint8], spans: NDArray[np.int64]) -> NDArray[np.uint64]:
        """Return uint64[n, 2], the hash of each text that stands at ``spans``, int64[n, 2]."""
        out = np.empty((spans.shape[0], 2), np.uint64)
        _hash_spans(self.high, self.low, data, spans, out)
        return out

    def hash_texts(self, texts: Sequence[bytes]) -> NDArray[np.uint64]:
        """Return uint64[n, 2], (high, low) of the hash of each text."""
        ends = np.cumsum(np.array([len(text) for text in texts], np.int64))
        out = np.empty((len(texts), 2), np.uint64)
        _hash_rows(self.high, self.low, np.frombuffer(b"".join(texts), np.uint8), ends, out)
        return out
