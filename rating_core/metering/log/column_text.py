"""Columns of integers as text inside the JSON of an entry: little-endian bytes in base64.

A column is `[dtype, count, base, text]`: values less `base` in the least unsigned width that holds
them, or `<i8` as they are.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from rating_core.errors import LogCorrupt

_UNSIGNED = ((1 << 8, "|u1"), (1 << 16, "<u2"), (1 << 32, "<u4"))
_DTYPES = ("|u1", "<u2", "<u4", "<i8")


def pack_column(values: NDArray[np.int64]) -> list[object]:
    """Return int64[n] as JSON values."""
    base, dtype, raw = 0, "<i8", values.astype("<i8", copy=False)
    if values.size:
        low, high = int(values.min()), int(values.max())
        for limit, narrow in _UNSIGNED:
            if high - low < limit:
                base, dtype, raw = low, narrow, (values - low).astype(narrow)
                break
    return [dtype, int(values.size), base, base64.b64encode(raw.tobytes()).decode()]


def unpack_column(packed: Sequence[object]) -> NDArray[np.int64]:
    """Return what `pack_column` packed, int64[n]; LogCorrupt for anything else."""
    try:
        dtype, count, base, text = packed
        if dtype not in _DTYPES or not isinstance(base, int) or not isinstance(text, str):
            raise LogCorrupt("a column of an unknown form")
        raw = np.frombuffer(base64.b64decode(text, validate=True), dtype)
        if raw.size != count:
            raise LogCorrupt("a column of another length than it says")
        column: NDArray[np.int64] = raw.astype(np.int64) + np.int64(base)
    except (ValueError, TypeError, OverflowError, binascii.Error) as error:
        raise LogCorrupt(f"a column cannot be read: {error}") from error
    return column
