"""The two kernels that decide records: each row by itself, then all rows in order (S7.3)."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from rating_core.int128 import add_wide, multiply_signed, subtract_wide
from rating_core.jit import inlined, kernel
from rating_core.metering.batch import RecordStatus, RejectReason
from rating_core.metering.contracts.contract_rows import (
    CLOSED_UNTIL,
    END,
    MANY,
    PERIOD,
    PROFILE,
    START,
    TABLES,
)
from rating_core.metering.counting.cells import COUNT, LATEST, MAX, SUM, WEIGHTED_SUM
from rating_core.period import calendar_end, calendar_start
from rating_core.units import INT64_MAX, INT64_MIN

_ACCEPTED = int(RecordStatus.ACCEPTED)
_DUPLICATE = int(RecordStatus.DUPLICATE)
_CONFLICT = int(RecordStatus.CONFLICT)
_REJECTED = int(RecordStatus.REJECTED)
_MALFORMED = int(RejectReason.MALFORMED)
_UNKNOWN_METER = int(RejectReason.UNKNOWN_METER)
_PRECISION = int(RejectReason.QUANTITY_PRECISION)
_OUT_OF_RANGE = int(RejectReason.QUANTITY_OUT_OF_RANGE)
_DIMENSION = int(RejectReason.DIMENSION_INVALID)
_NO_SUBSCRIPTION = int(RejectReason.NO_SUBSCRIPTION)
_IN_FUTURE = int(RejectReason.IN_FUTURE)
_TOO_OLD = int(RejectReason.TOO_OLD)
_CLOSED = int(RejectReason.PERIOD_CLOSED)
_TOO_MANY = int(RejectReason.TOO_MANY_SERIES)
_NOT_FOUND = int(RejectReason.NOT_FOUND)
_NOT_RETRACTABLE = int(RejectReason.NOT_RETRACTABLE)


class Uncommon(NamedTuple):
    """What only some batches have; each array is empty where the batch has nothing of the kind.

    ``values`` int32[n]: row of the value that a record of a unique_count names, or −1;
    ``value_seen`` bool[v] and ``value_count`` int64[p]: which values are known, and how many in
    each period. ``moments`` int64[s, 2]: moment of each series of a weighted_sum, a pair, and
    ``offsets`` int64[n]: µs from a record's period start to its event. ``retraction`` bool[n], and
    of the records that are taken back, the identities, whether they are known, their payloads.
    """

    values: NDArray[np.int32]
    value_seen: NDArray[np.bool_]
    value_count: NDArray[np.int64]
    moments: NDArray[np.int64]
    offsets: NDArray[np.int64]
    retraction: NDArray[np.bool_]
    origins: NDArray[np.uint64]
    origin_found: NDArray[np.bool_]
    origin_payloads: NDArray[np.uint64]


@kernel
def in_scale(quantity: int, multiplier: int, divisor: int) -> tuple[int, int]:
    """Return (quantity × multiplier ÷ divisor, 0), or (0, reason) where it has no exact int64."""
    if divisor > 1:
        if quantity % divisor != 0:
            return 0, _PRECISION
        return quantity // divisor, 0
    limit = INT64_MAX // multiplier
    if quantity > limit or (quantity < -limit and multiplier > 1):
        return 0, _OUT_OF_RANGE
    return quantity * multiplier, 0


@kernel
def _phase_of(phases: NDArray[np.int64], first: int, last: int, instant: int) -> int:
    """Return the last of the phases first … last − 1 that begins by ``instant``, or the first."""
    while last - first > 1:
        middle = (first + last) // 2
        if phases[middle, START] <= instant:
            first = middle
        else:
            last = middle
    return first


@kernel
def _between_borders(
    borders: NDArray[np.int64], border_ends: NDArray[np.int64], table: int, instant: int
) -> tuple[int, int]:
    """Return the two neighbouring borders of a table around ``instant``.

    The table covers what is taken; an instant outside gets the nearest two.
    """
    first = border_ends[table - 1] if table > 0 else 0
    last = border_ends[table] - 1
    while last - first > 1:
        middle = (first + last) // 2
        if borders[middle] <= instant:
            first = middle
        else:
            last = middle
    return borders[first], borders[first + 1]


@kernel
def judge_rows(
    codes: NDArray[np.int32],
    given: NDArray[np.int64],
    flags: NDArray[np.bool_],
    customers: NDArray[np.int64],
    phases: NDArray[np.int64],
    borders: NDArray[np.int64],
    border_ends: NDArray[np.int64],
    meters: NDArray[np.int64],
    set_kinds: NDArray[np.int64],
    fitting: NDArray[np.bool_],
    clamped: NDArray[np.bool_],
    bounds: tuple[int, int],
    words: NDArray[np.int64],
    amounts: NDArray[np.int64],
    early: NDArray[np.uint8],
    late: NDArray[np.uint8],
    unusable: NDArray[np.bool_],
) -> None:
    """Work out what each record needs by itself (S7.3).

    Reads codes int32[3, n], quantity and event time int64[2, n], flags bool[2, n] (out of range,
    imprecise), customers, phases, borders and border_ends (`CustomerRows`), meters int64[m, 5]
    (known, multiplier, divisor, aggregation code, kind k), set_kinds int64[d] (kind j), fitting
    bool[k, j], clamped bool[p, m], bounds (latest and oldest event time). Writes words int64[3, n],
    amounts int64[n], and the first reason that applies: in ``early`` one up to NO_SUBSCRIPTION, in
    ``late`` one from IN_FUTURE to PERIOD_CLOSED.
    """
    latest, oldest = bounds
    # Neighbours mostly share a calendar period: the last one is kept.
    code, begin, end = -1, 0, 0
    for row in range(given.shape[1]):
        customer, meter, dimensions = codes[0, row], codes[1, row], codes[2, row]
        instant = given[1, row]
        quantity, reason = 0, 0
        if meters[meter, 0] == 0:
            reason = _UNKNOWN_METER
        elif flags[1, row]:
            reason = _PRECISION
        elif flags[0, row]:
            # It needs all its decimals, so that a coarser meter cannot take them (S7.3's order).
            reason = _PRECISION if meters[meter, 2] > 1 else _OUT_OF_RANGE
        else:
            quantity, reason = in_scale(given[0, row], meters[meter, 1], meters[meter, 2])
        unusable[row] = reason != 0
        kind = meters[meter, 3]
        amount = 0
        if kind in (SUM, WEIGHTED_SUM):
            amount = quantity
        elif kind == COUNT:
            amount = 1
        start, until = customers[customer, START], customers[customer, END]
        period, closed = customers[customer, PERIOD], customers[customer, CLOSED_UNTIL]
        profile = customers[customer, PROFILE]
        if period == MANY:
            phase = _phase_of(phases, start, until, instant)
            start, until = phases[phase, START], phases[phase, END]
            period, closed = phases[phase, PERIOD], phases[phase, CLOSED_UNTIL]
            profile = phases[phase, PROFILE]
        subscribed = start <= instant < until
        if reason == 0:
            if subscribed and amount < 0 and clamped[profile, meter]:
                reason = _OUT_OF_RANGE
            elif not fitting[meters[meter, 4], set_kinds[dimensions]]:
                reason = _DIMENSION
            elif not subscribed:
                reason = _NO_SUBSCRIPTION
        words[0, row] = quantity
        words[1, row] = instant
        words[2, row] = 0
        if subscribed:
            if period != code or not begin <= instant < end:
                code = int(period)
                if code < TABLES:
                    begin = calendar_start(code, instant)
                    end = calendar_end(code, begin)
                else:
                    begin, end = _between_borders(borders, border_ends, code - TABLES, instant)
            words[2, row] = max(begin, start)
        amounts[row] = amount
        early[row] = reason
        if instant > latest:
            late[row] = _IN_FUTURE
        elif instant <= oldest:
            late[row] = _TOO_OLD
        elif instant < closed:
            late[row] = _CLOSED
        else:
            late[row] = 0


@inlined
def _lookup(
    ids: NDArray[np.int32],
    identities: NDArray[np.uint64],
    high: np.uint64,
    low: np.uint64,
    known: bool,
    payload: np.uint64,
) -> tuple[bool, np.uint64, np.int64]:
    """Return whether an identity is known, its payload, and its slot, free if it is not known."""
    mask = ids.size - 1
    slot = np.int64(low & np.uint64(mask))
    while not known and ids[slot] != 0:
        row = ids[slot] - 1
        if identities[row, 0] == high and identities[row, 1] == low:
            known, payload = True, identities[row, 2]
        else:
            slot = (slot + 1) & mask
    return known, payload, slot


@kernel
def _moved(
    moments: NDArray[np.int64], series: int, quantity: int, offset: int, back: bool
) -> tuple[int, int, bool]:
    """Return the moment after a change of level, a pair, and whether it fits 128 bits (S1.2)."""
    high, low = moments[series, 0], moments[series, 1]
    by_high, by_low = multiply_signed(quantity, offset)
    if back:
        new_high, new_low = subtract_wide(high, low, by_high, by_low)
        fits = (high < 0) == (by_high < 0) or (new_high < 0) == (high < 0)
    else:
        new_high, new_low = add_wide(high, low, by_high, by_low)
        fits = (high < 0) != (by_high < 0) or (new_high < 0) == (high < 0)
    return new_high, new_low, fits


@inlined
def _overflows(value: int, amount: int, back: bool) -> bool:
    """Whether value + amount, or value − amount, leaves int64."""
    if back:
        if amount > 0:
            return bool(value < INT64_MIN + amount)
        return bool(value > INT64_MAX + amount)
    if amount > 0:
        return bool(value > INT64_MAX - amount)
    return bool(value < INT64_MIN - amount)


@kernel
def _is_counted(
    row: int, identities: NDArray[np.uint64], ids: NDArray[np.int32], uncommon: Uncommon
) -> tuple[bool, bool]:
    """Return whether the record that a retraction takes back is known, and with this payload."""
    known, payload, _ = _lookup(
        ids,
        identities,
        uncommon.origins[row, 0],
        uncommon.origins[row, 1],
        uncommon.origin_found[row],
        uncommon.origin_payloads[row],
    )
    return known, bool(payload == identities[row, 2])


@kernel
def _open_series(
    row: int,
    part: int,
    series: int,
    series_count: NDArray[np.int64],
    exists: NDArray[np.bool_],
    max_series: int,
    max_values: int,
    uncommon: Uncommon,
) -> bool:
    """Make room for the record's series and value; whether the limits leave it (S7.3)."""
    value = uncommon.values[row] if uncommon.values.size else -1
    new_value = value >= 0 and not uncommon.value_seen[value]
    if new_value and uncommon.value_count[part] >= max_values:
        return False
    if not exists[series]:
        if series_count[part] >= max_series:
            return False
        exists[series] = True
        series_count[part] += 1
    if new_value:
        uncommon.value_seen[value] = True
        uncommon.value_count[part] += 1
    return True


@kernel
def settle_rows(
    identities: NDArray[np.uint64],
    found: NDArray[np.bool_],
    payloads: NDArray[np.uint64],
    amounts: NDArray[np.int64],
    kinds: NDArray[np.int64],
    meter: NDArray[np.int32],
    early: NDArray[np.uint8],
    late: NDArray[np.uint8],
    unusable: NDArray[np.bool_],
    part_rows: NDArray[np.int32],
    series_rows: NDArray[np.int32],
    series_count: NDArray[np.int64],
    value: NDArray[np.int64],
    exists: NDArray[np.bool_],
    limits: tuple[int, int],
    uncommon: Uncommon,
    ids: NDArray[np.int32],
    outcome: NDArray[np.uint8],
) -> None:
    """Settle the rows in order: status and reason into ``outcome`` uint8[2, n] (S7.3).

    A row depends on those before it by ``ids`` (int32[s], open addressing: 1 + the row of each id
    that this batch used up, a power of two of slots), ``value`` and ``exists`` of its series,
    ``series_count`` of its period, and what is ``uncommon``; all are changed. A sum that would not
    fit is QUANTITY_OUT_OF_RANGE, which precedes the reasons of time.
    ``kinds[meter]`` is the aggregation, ``limits`` the most series and values of a period. Records
    of numbered batches have no ``identities`` (uint64[0, 3]): no id is looked up or used (P12).
    """
    named = identities.shape[0] > 0
    # An array that is taken out of a tuple in the loop would be counted once a row.
    retracting, valued = uncommon.retraction.size > 0, uncommon.values.size > 0
    slot = np.int64(0)
    for row in range(amounts.size):
        back = retracting and uncommon.retraction[row]
        counted = True
        if named:
            high, low = identities[row, 0], identities[row, 1]
            if high == 0 and low == 0:
                outcome[0, row] = _REJECTED
                outcome[1, row] = _MALFORMED
                continue
            known, payload, slot = _lookup(ids, identities, high, low, found[row], payloads[row])
            if back:
                # S7.6: another payload than the stored one is a conflict.
                counted, same = _is_counted(row, identities, ids, uncommon)
                if counted and not (same and not unusable[row]):
                    known, payload = True, ~identities[row, 2]
            if known:
                same = payload == identities[row, 2] and not unusable[row]
                outcome[0, row] = _DUPLICATE if same else _CONFLICT
                continue
        reason = int(early[row])
        series, part, amount = series_rows[row], part_rows[row], amounts[row]
        kind = kinds[meter[row]]
        moment_high, moment_low = 0, 0
        if reason == 0:
            fits = not _overflows(value[series], amount, back)
            if fits and kind == WEIGHTED_SUM:
                moment_high, moment_low, fits = _moved(
                    uncommon.moments, series, amount, uncommon.offsets[row], back
                )
            if not fits:
                reason = _OUT_OF_RANGE
            elif late[row] != 0:
                reason = int(late[row])
            elif not counted:
                reason = _NOT_FOUND
            elif back:
                if kind in (MAX, LATEST):
                    reason = _NOT_RETRACTABLE
            elif (valued or not exists[series]) and not _open_series(
                row, part, series, series_count, exists, limits[0], limits[1], uncommon
            ):
                reason = _TOO_MANY
        if reason != 0:
            outcome[0, row] = _REJECTED
            outcome[1, row] = reason
            continue
        if back:
            value[series] -= amount
        else:
            value[series] += amount
        if kind == WEIGHTED_SUM:
            uncommon.moments[series, 0] = moment_high
            uncommon.moments[series, 1] = moment_low
        if named:
            ids[slot] = row + 1
        outcome[0, row] = _ACCEPTED
