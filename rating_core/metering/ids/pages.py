"""Kernels of a sorted, immutable run of ids: pages that may lie on disk, a filter in memory.

A page is 4096 bytes: 255 slots as in `id_slots`, in order, then one unused word and a check over
the page and its number. Fences hold the first word of each page, so one page is read for an id. The
filter says "not here" for 99 of 100 ids that a run does not hold, with one cache line and 10 bits
an id.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from rating_core.jit import kernel
from rating_core.kernels.lookup import prefetch, word_view
from rating_core.metering.deciding.keyed_hash import rotl, wrap_add
from rating_core.metering.ids.slots import PAYLOAD_BITS, TAG_BITS, first_word, home_of

PAGE_WORDS = 512
PAGE_IDS = 255
FILTER_BITS = 10
"""Bits of the filter for each id."""
BLOCK_WORDS = 8

_CHECK = 511
_CHECK_BEGIN = np.uint64(0x9E3779B97F4A7C15)
_PROBES = 6
_PROBE_BITS = np.uint64(9)
_PROBE_MASK = np.uint64(511)
_WORD_BITS = np.uint64(6)
_BIT_MASK = np.uint64(63)
_ONE = np.uint64(1)
_HALF = np.uint64(32)
_LOWER_HALF = np.uint64(0xFFFFFFFF)
_AHEAD = 16


@kernel
def page_check(pages: NDArray[np.uint64], page: int) -> np.uint64:
    """Return the check of a page: any one changed word changes it, others all but surely."""
    check = wrap_add(_CHECK_BEGIN, np.uint64(page))
    for place in range(_CHECK):
        check = wrap_add(rotl(check ^ pages[page, place], 29), _CHECK_BEGIN)
    return check


@kernel
def block_of(word: np.uint64, blocks: np.uint64) -> Any:
    """Return the first word of the filter's block of an id; ``blocks`` < 2^32."""
    # Pages are in order of the upper half: the lower one spreads over the blocks.
    return np.int64(((word & _LOWER_HALF) * blocks) >> _HALF) * BLOCK_WORDS


@kernel
def probes_of(word: np.uint64, second: np.uint64) -> np.uint64:
    """Return the bits that choose the filter's bits of an id."""
    return np.uint64((word & TAG_BITS) | (second >> _HALF))


@kernel
def _passes(filter_words: NDArray[np.uint64], block: int, probes: np.uint64) -> bool:
    for _ in range(_PROBES):
        bit = probes & _PROBE_MASK
        word = filter_words[block + np.int64(bit >> _WORD_BITS)]
        if not (word >> (bit & _BIT_MASK)) & _ONE:
            return False
        probes >>= _PROBE_BITS
    return True


@kernel
def fill_pages(
    slots: NDArray[np.uint64],
    begin: int,
    count: int,
    pages: NDArray[np.uint64],
    fences: NDArray[np.uint64],
    filter_words: NDArray[np.uint64],
) -> int:
    """Append the used slots from ``begin`` on to a run of ``count`` ids; return the new count.

    What is appended is greater than what is there.
    """
    blocks = np.uint64(filter_words.shape[0] // BLOCK_WORDS)
    for slot in range(begin, slots.shape[0]):
        word, second = slots[slot, 0], slots[slot, 1]
        if word == 0:
            continue
        page, place = count // PAGE_IDS, 2 * (count % PAGE_IDS)
        if place == 0:
            fences[page] = word
        pages[page, place] = word
        pages[page, place + 1] = second
        block = block_of(word, blocks)
        probes = probes_of(word, second)
        for _ in range(_PROBES):
            bit = probes & _PROBE_MASK
            filter_words[block + np.int64(bit >> _WORD_BITS)] |= _ONE << (bit & _BIT_MASK)
            probes >>= _PROBE_BITS
        count += 1
    return count


@kernel
def seal_pages(pages: NDArray[np.uint64]) -> None:
    """Write the check of every page."""
    for page in range(pages.shape[0]):
        pages[page, _CHECK] = page_check(pages, page)


@kernel
def damaged_page(pages: NDArray[np.uint64]) -> int:
    """Return the number of the first page whose check is wrong, or −1."""
    for page in range(pages.shape[0]):
        if pages[page, _CHECK] != page_check(pages, page):
            return page
    return -1


@kernel
def unpack_pages(pages: NDArray[np.uint64], count: int, out: NDArray[np.uint64]) -> None:
    """Write the ids of a run, in order, as slots, uint64[count, 2]."""
    for index in range(count):
        page, place = index // PAGE_IDS, 2 * (index % PAGE_IDS)
        out[index, 0] = pages[page, place]
        out[index, 1] = pages[page, place + 1]


@kernel
def merge_slots(
    first: NDArray[np.uint64], second: NDArray[np.uint64], out: NDArray[np.uint64]
) -> None:
    """Merge two sorted arrays of slots, without empty ones, into a third."""
    left = right = 0
    for index in range(out.shape[0]):
        take = right >= second.shape[0]
        if not take and left < first.shape[0]:
            word, other = first[left, 0], second[right, 0]
            take = word < other or (word == other and first[left, 1] <= second[right, 1])
        if take:
            out[index, 0], out[index, 1] = first[left, 0], first[left, 1]
            left += 1
        else:
            out[index, 0], out[index, 1] = second[right, 0], second[right, 1]
            right += 1


@kernel
def sift(
    filter_words: NDArray[np.uint64],
    fences: NDArray[np.uint64],
    identities: NDArray[np.uint64],
    found: NDArray[np.bool_],
    rows: NDArray[np.int64],
    pages: NDArray[np.int64],
) -> int:
    """Write the rows that the filter lets pass, and the page of each; return their number."""
    view = word_view(filter_words.view(np.int64))
    blocks = np.uint64(filter_words.shape[0] // BLOCK_WORDS)
    count, passed = identities.shape[0], 0
    page_count = fences.shape[0]
    for row in range(min(_AHEAD, count)):
        prefetch(view, block_of(identities[row, 0], blocks))
    for row in range(count):
        if row + _AHEAD < count:
            prefetch(view, block_of(identities[row + _AHEAD, 0], blocks))
        high, low = identities[row, 0], identities[row, 1]
        if found[row] or (high == 0 and low == 0):
            continue
        word = first_word(high)
        if not _passes(filter_words, block_of(word, blocks), probes_of(word, low)):
            continue
        # The last page that begins before the id: what equals a fence may begin a page earlier.
        page = home_of(word, np.uint64(page_count))
        while page > 0 and fences[page] >= word:
            page -= 1
        while page + 1 < page_count and fences[page + 1] < word:
            page += 1
        rows[passed] = row
        pages[passed] = page
        passed += 1
    return passed


@kernel
def look_up(
    pages: NDArray[np.uint64],
    count: int,
    identities: NDArray[np.uint64],
    rows: NDArray[np.int64],
    row_pages: NDArray[np.int64],
    found: NDArray[np.bool_],
    payloads: NDArray[np.uint64],
) -> Any:
    """Look sifted rows up in their pages; return the number of a damaged page, or −1."""
    for index in range(rows.shape[0]):
        row, page = rows[index], row_pages[index]
        if pages[page, _CHECK] != page_check(pages, page):
            return page
        word, tag = first_word(identities[row, 0]), identities[row, 1] & TAG_BITS
        least, most = page * PAGE_IDS, min((page + 1) * PAGE_IDS, count)
        while least < most:
            middle = (least + most) // 2
            if pages[page, 2 * (middle - page * PAGE_IDS)] < word:
                least = middle + 1
            else:
                most = middle
        while least < count:
            if least // PAGE_IDS != page:
                page += 1
                if pages[page, _CHECK] != page_check(pages, page):
                    return page
            place = 2 * (least - page * PAGE_IDS)
            if pages[page, place] != word:
                break
            if pages[page, place + 1] & TAG_BITS == tag:
                found[row] = True
                payloads[row] = pages[page, place + 1] & PAYLOAD_BITS
                break
            least += 1
    return -1
