"""The two kernels that decide records: each row by itself, then all rows in order (S7.3)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rating_core.jit import kernel
from rating_core.metering.batch import RecordStatus, RejectReason
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
def judge_rows(
    codes: NDArray[np.int32],
    given: NDArray[np.int64],
    flags: NDArray[np.bool_],
    customers: NDArray[np.int64],
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
    imprecise), customers int64[c, 5] (`Directory.rows_of`), meters int64[m, 5] (known, multiplier,
    divisor, counts records, kind k), set_kinds int64[d] (kind j), fitting bool[k, j], clamped
    bool[p, m], bounds (latest and oldest event time). Writes words int64[3, n], amounts int64[n],
    and the first reason that applies: in ``early`` one up to NO_SUBSCRIPTION, in ``late`` one from
    IN_FUTURE to PERIOD_CLOSED.
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
            reason = _OUT_OF_RANGE
        else:
            quantity, reason = in_scale(given[0, row], meters[meter, 1], meters[meter, 2])
        unusable[row] = reason != 0
        amount = 1 if meters[meter, 3] else quantity
        start = customers[customer, 0]
        subscribed = start <= instant < customers[customer, 1]
        if reason == 0:
            if subscribed and amount < 0 and clamped[customers[customer, 4], meter]:
                reason = _OUT_OF_RANGE
            elif not fitting[meters[meter, 4], set_kinds[dimensions]]:
                reason = _DIMENSION
            elif not subscribed:
                reason = _NO_SUBSCRIPTION
        words[0, row] = quantity
        words[1, row] = instant
        words[2, row] = 0
        if subscribed:
            if customers[customer, 2] != code or not begin <= instant < end:
                code = int(customers[customer, 2])
                begin = calendar_start(code, instant)
                end = calendar_end(code, begin)
            words[2, row] = max(begin, start)
        amounts[row] = amount
        early[row] = reason
        if instant > latest:
            late[row] = _IN_FUTURE
        elif instant <= oldest:
            late[row] = _TOO_OLD
        elif instant < customers[customer, 3]:
            late[row] = _CLOSED
        else:
            late[row] = 0


@kernel
def settle_rows(
    identities: NDArray[np.uint64],
    found: NDArray[np.bool_],
    payloads: NDArray[np.uint64],
    amounts: NDArray[np.int64],
    early: NDArray[np.uint8],
    late: NDArray[np.uint8],
    unusable: NDArray[np.bool_],
    part_rows: NDArray[np.int32],
    series_rows: NDArray[np.int32],
    series_count: NDArray[np.int64],
    value: NDArray[np.int64],
    exists: NDArray[np.bool_],
    max_series: int,
    ids: NDArray[np.uint64],
    outcome: NDArray[np.uint8],
) -> None:
    """Settle the rows in order: status and reason into ``outcome`` uint8[2, n] (S7.3).

    A row depends on those before it by ``ids`` (the ids that this batch used up), ``value`` and
    ``exists`` of its series and ``series_count`` of its period; all four are changed. A sum that
    would not fit int64 is QUANTITY_OUT_OF_RANGE, which precedes the reasons of time. Records of
    numbered batches have no ``identities`` (uint64[0, 3]): no id is looked up or used (P12).
    """
    mask = ids.shape[0] - 1
    named = identities.shape[0] > 0
    slot = np.int64(0)
    for row in range(amounts.size):
        if named:
            high, low = identities[row, 0], identities[row, 1]
            if high == 0 and low == 0:
                outcome[0, row] = _REJECTED
                outcome[1, row] = _MALFORMED
                continue
            slot = np.int64(low & np.uint64(mask))
            known, payload = found[row], payloads[row]
            while not known and (ids[slot, 0] != 0 or ids[slot, 1] != 0):
                if ids[slot, 0] == high and ids[slot, 1] == low:
                    known, payload = True, ids[slot, 2]
                else:
                    slot = (slot + 1) & mask
            if known:
                same = payload == identities[row, 2] and not unusable[row]
                outcome[0, row] = _DUPLICATE if same else _CONFLICT
                continue
        reason = int(early[row])
        if reason == 0:
            series, amount = series_rows[row], amounts[row]
            part = part_rows[row]
            if amount > 0:
                overflows = value[series] > INT64_MAX - amount
            else:
                overflows = value[series] < INT64_MIN - amount
            if overflows:
                reason = _OUT_OF_RANGE
            elif late[row] != 0:
                reason = int(late[row])
            elif not exists[series]:
                if series_count[part] >= max_series:
                    reason = _TOO_MANY
                else:
                    exists[series] = True
                    series_count[part] += 1
        if reason != 0:
            outcome[0, row] = _REJECTED
            outcome[1, row] = reason
            continue
        value[series] += amount
        if named:
            ids[slot, 0] = identities[row, 0]
            ids[slot, 1] = identities[row, 1]
            ids[slot, 2] = identities[row, 2]
        outcome[0, row] = _ACCEPTED
