"""A sorted, immutable run of ids: what a closed or spilled table becomes, in memory or in a file.

Whoever calls gives the memory: a bytearray, or a mapped file. Nothing here opens one. The layout
(`RWI1`) is described in docs/reference/log-format.md: a header of 4096 bytes with a digest, pages
with a check each, fences, filter. What is damaged raises IdsDamaged; it never gives a wrong answer.
"""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from rating_core.errors import IdsDamaged
from rating_core.metering.ids.pages import (
    BLOCK_WORDS,
    FILTER_BITS,
    PAGE_IDS,
    PAGE_WORDS,
    damaged_page,
    fill_pages,
    look_up,
    merge_slots,
    seal_pages,
    sift,
    unpack_pages,
)
from rating_core.metering.ids.slots import LAST_KEY

PAGE_BYTES = 8 * PAGE_WORDS
_MAGIC = b"RWI1"
_HEAD = struct.Struct("<4sI")
_DIGEST_BYTES = 32
_BLOCK_BITS = 64 * BLOCK_WORDS
_CHUNK_IDS = 1 << 18
"""About how many ids are merged at a time: what a merge needs of memory does not grow."""
_READ_ERRORS = (LookupError, TypeError, ValueError, OverflowError, RecursionError, struct.error)

Buffer = Any
"""bytes, bytearray, memoryview or mmap: a contiguous buffer; typing has no name for it in 3.11."""


class IdSource(Protocol):
    """What holds ids in order: a table or a run."""

    count: int

    def rows_between(self, least: int, most: int) -> NDArray[np.uint64]:
        """Return the slots, in order, whose first words are in [least, most]."""

    def check(self) -> None:
        """Read everything; IdsDamaged if something is damaged."""


@dataclass(frozen=True, slots=True)
class RunLayout:
    """Where the sections of a run of ``count`` ids lie: offsets and ``size`` in bytes."""

    count: int

    @property
    def pages(self) -> int:
        """Number of pages."""
        return -(-self.count // PAGE_IDS)

    @property
    def filter_words(self) -> int:
        """Number of words of the filter: whole blocks, one at least."""
        return max(1, -(-self.count * FILTER_BITS // _BLOCK_BITS)) * BLOCK_WORDS

    @property
    def fences_at(self) -> int:
        """Offset of the fences; the pages begin behind the header."""
        return PAGE_BYTES * (1 + self.pages)

    @property
    def filter_at(self) -> int:
        """Offset of the filter."""
        return self.fences_at + 8 * self.pages

    @property
    def size(self) -> int:
        """Bytes of the whole run."""
        return self.filter_at + 8 * self.filter_words


class IdRun:
    """A run in ``content``: identities, uint64[n, 3], are looked up as in a table.

    ``resident``: whether the pages count as memory. ``will_need`` is told which pages are about to
    be read, so that a file's can be fetched at once.
    """

    def __init__(
        self,
        content: Buffer,
        segment: tuple[int, int],
        count: int,
        *,
        resident: bool,
        will_need: Callable[[NDArray[np.int64]], None] | None = None,
    ) -> None:
        layout = RunLayout(count)
        self.content = content
        self.segment = segment
        self.count = count
        self.resident = resident
        self._will_need = will_need
        pages = np.frombuffer(content, np.uint64, layout.pages * PAGE_WORDS, PAGE_BYTES)
        self._pages: NDArray[np.uint64] = pages.reshape(-1, PAGE_WORDS)
        self._fences = np.frombuffer(content, np.uint64, layout.pages, layout.fences_at)
        self._filter = np.frombuffer(content, np.uint64, layout.filter_words, layout.filter_at)
        if not resident:
            # Every look-up reads these: they must not depend on what the system keeps of a file.
            self._fences, self._filter = self._fences.copy(), self._filter.copy()
        for words in (self._pages, self._fences, self._filter):
            # One type for the kernels, whatever the buffer is.
            words.flags.writeable = False

    def find(
        self,
        identities: NDArray[np.uint64],
        found: NDArray[np.bool_],
        payloads: NDArray[np.uint64],
    ) -> None:
        """Set ``found`` and ``payloads`` of what the run holds; IdsDamaged if a page is."""
        rows = np.empty(identities.shape[0], np.int64)
        pages = np.empty(identities.shape[0], np.int64)
        passed = sift(self._filter, self._fences, identities, found, rows, pages)
        if not passed:
            return
        rows, pages = rows[:passed], pages[:passed]
        if self._will_need is not None:
            self._will_need(pages)
        bad = look_up(self._pages, self.count, identities, rows, pages, found, payloads)
        if bad >= 0:
            raise IdsDamaged(f"page {bad} of a run of {self.count} ids is damaged")

    def rows_between(self, least: int, most: int) -> NDArray[np.uint64]:
        """Return the slots, in order, whose first words are in [least, most]."""
        bounds = np.array([least, most], np.uint64)
        first = max(int(np.searchsorted(self._fences, bounds[0], "left")) - 1, 0)
        last = int(np.searchsorted(self._fences, bounds[1], "right"))
        pages = self._pages[first:last]
        out = np.empty((min(last * PAGE_IDS, self.count) - first * PAGE_IDS, 2), np.uint64)
        unpack_pages(pages, out.shape[0], out)
        rows: NDArray[np.uint64] = out[(out[:, 0] >= bounds[0]) & (out[:, 0] <= bounds[1])]
        return rows

    def check(self) -> None:
        """Read every page; IdsDamaged if one is damaged."""
        bad = damaged_page(self._pages)
        if bad >= 0:
            raise IdsDamaged(f"page {bad} of a run of {self.count} ids is damaged")

    def bytes_held(self) -> int:
        """Return the bytes of memory in use: fences and filter, and pages that are resident."""
        held = self._fences.nbytes + self._filter.nbytes
        return held + self._pages.nbytes if self.resident else held


def write_run(sources: Sequence[IdSource], segment: tuple[int, int], buffer: Buffer) -> None:
    """Write the run of all ids of ``sources`` into ``buffer``: zeros, of the layout's size."""
    layout = RunLayout(sum(source.count for source in sources))
    words = np.frombuffer(buffer, np.uint64)
    pages = words[PAGE_WORDS : layout.fences_at // 8].reshape(-1, PAGE_WORDS)
    fences = words[layout.fences_at // 8 : layout.filter_at // 8]
    filter_words = words[layout.filter_at // 8 : layout.size // 8]
    for source in sources:
        source.check()
    chunks = -(-layout.count // _CHUNK_IDS)
    count = 0
    for chunk in range(chunks):
        least = (chunk << 64) // chunks
        most = (chunk + 1 << 64) // chunks - 1
        merged: NDArray[np.uint64] | None = None
        for source in sources:
            rows = source.rows_between(least, most)
            merged = rows if merged is None else _merged(merged, rows)
        if merged is not None:
            count = fill_pages(merged, 0, count, pages, fences, filter_words)
    seal_pages(pages)
    index = hashlib.sha256(memoryview(buffer)[layout.fences_at : layout.size]).hexdigest()
    facts = {"count": count, "index": index, "segment": list(segment)}
    text = json.dumps(facts, separators=(",", ":")).encode()
    header = (_HEAD.pack(_MAGIC, len(text)) + text).ljust(PAGE_BYTES - _DIGEST_BYTES, b"\0")
    words[:PAGE_WORDS] = np.frombuffer(header + hashlib.sha256(header).digest(), np.uint64)


def _merged(first: NDArray[np.uint64], second: NDArray[np.uint64]) -> NDArray[np.uint64]:
    out = np.empty((first.shape[0] + second.shape[0], 2), np.uint64)
    merge_slots(first, second, out)
    return out


def read_run(
    content: Buffer,
    *,
    resident: bool,
    will_need: Callable[[NDArray[np.int64]], None] | None = None,
) -> IdRun:
    """Return the run in ``content``; IdsDamaged unless header, fences and filter are whole.

    Pages are checked when they are read.
    """
    try:
        header = bytes(memoryview(content)[:PAGE_BYTES])
        whole, digest = header[:-_DIGEST_BYTES], header[-_DIGEST_BYTES:]
        magic, length = _HEAD.unpack_from(header)
        if magic != _MAGIC or hashlib.sha256(whole).digest() != digest:
            raise IdsDamaged("not a run of ids, or its header is damaged")
        facts = json.loads(header[_HEAD.size : _HEAD.size + length])
        count, (days, number) = int(facts["count"]), facts["segment"]
        layout = RunLayout(count)
        if len(content) != layout.size:
            raise IdsDamaged(f"a run of {count} ids has {len(content)} bytes")
        index = hashlib.sha256(memoryview(content)[layout.fences_at :]).hexdigest()
        if index != facts["index"]:
            raise IdsDamaged("the filter of a run of ids is damaged")
        return IdRun(
            content, (int(days), int(number)), count, resident=resident, will_need=will_need
        )
    except _READ_ERRORS as error:
        raise IdsDamaged(f"a run of ids cannot be read: {error}") from error


class IdRows:
    """The ids of a table as they are now, while the table goes on changing: an `IdSource`."""

    def __init__(self, source: IdSource) -> None:
        self._rows = all_rows(source)
        self.count = source.count

    def rows_between(self, least: int, most: int) -> NDArray[np.uint64]:
        """Return the slots, in order, whose first words are in [least, most]."""
        words = self._rows[:, 0]
        first = int(np.searchsorted(words, np.uint64(least), "left"))
        return self._rows[first : int(np.searchsorted(words, np.uint64(most), "right"))]

    def check(self) -> None:
        """Memory of our own is not checked; runs are."""


def merged_run(sources: Sequence[IdSource], segment: tuple[int, int]) -> IdRun:
    """Return the run of all ids of ``sources``, in memory."""
    content = bytearray(RunLayout(sum(source.count for source in sources)).size)
    write_run(sources, segment, content)
    return read_run(bytes(content), resident=True)


def all_rows(source: IdSource) -> NDArray[np.uint64]:
    """Return all slots of a source in order, uint64[count, 2]."""
    return source.rows_between(0, int(LAST_KEY))
