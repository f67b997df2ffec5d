"""Columns of rows to price, and their amounts: what `rate_batches` takes and gives (S11.3).

Columns go to the wire and come back as they lie in memory; nothing is done a row. Without NumPy the
amounts are memoryviews of 64-bit integers; where a batch's columns are NumPy arrays, so are its
answer's.
"""

from __future__ import annotations

import asyncio
import sys
from array import array
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, Literal

import grpc
from google.protobuf.message import DecodeError

from ratewright.columns import (
    Buffer,
    column_field,
    column_values,
    cut_fields,
    field_bytes,
    int64_bytes,
)
from ratewright.v1 import rating_service_pb2 as pb
from rating_client.calls import PlanLike, plan_message, plan_name
from rating_client.errors import Internal

RATE_PATH = "/ratewright.v1.RatingService/RateBatch"

_REQUEST = pb.RateBatchRequest.DESCRIPTOR.fields_by_name
_ANSWER = pb.RateBatchResponse.DESCRIPTOR.fields_by_name
_CHARGES = _ANSWER["charges"].number
_COMMITMENTS = _ANSWER["commitments"].number
_TOTALS = _ANSWER["totals"].number
_STATUSES = _ANSWER["statuses"].number
_INTEGERS = frozenset("bBhHiIlLqQnN")
_LITTLE = sys.byteorder == "little"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RateBatch:
    """Rows to price: row i of every column is row i.

    Columns are lists, tuples, `array.array`s, or anything with the buffer protocol and an integer
    format (NumPy arrays); 64-bit quantities and 32-bit plan indexes are sent as they are. A batch
    may hold as many rows as the server takes, by default 100,000.
    """

    quantities: Sequence[Any]
    """One column for each position of a meter, as many as the plan with the most meters has: the
    usage of that meter of the row's plan, in units of 10^-scale of the meter."""
    plans: Sequence[str | PlanLike] = ()
    """Dictionary of plans: `id`, `plans/id`, `plans/id/versions/n`, or whole plans. Stays in force
    until another batch brings one; the first batch must."""
    plan_index: Any = ()
    """For each row its plan's position in the dictionary; may be empty if there is one plan."""


@dataclass(frozen=True, slots=True)
class RatedPlan:
    """What the columns of one plan mean. ``version`` is 0 for a plan that was sent whole.

    ``meters`` are (id, scale) in order of the quantity columns; ``charges`` and ``commitments`` the
    ids in order of the amount columns; amounts are in units of 10^-``scale`` of ``currency``.
    """

    plan_id: str
    version: int
    currency: str
    scale: int
    meters: tuple[tuple[str, int], ...]
    charges: tuple[str, ...]
    commitments: tuple[str, ...]


@dataclass(frozen=True, slots=True, eq=False)
class RatedBatch:
    """The amounts of one batch's rows, in their order; ``plans`` are those in force.

    ``charges`` and ``commitments`` hold one column a position: amounts after discount, maximum and
    minimum, 0 where the row's plan has no such position. ``statuses`` holds the numbers of
    `RateStatus`, one a row, and is empty if all rows are OK; the amounts of others are 0.
    """

    row_count: int
    charges: tuple[Any, ...]
    commitments: tuple[Any, ...]
    totals: Any
    statuses: Any
    plans: tuple[RatedPlan, ...]

    def out_of_range_rows(self) -> list[int]:
        """Return the rows with an amount that does not fit 64 bits (S1.2)."""
        found = pb.RATE_STATUS_OUT_OF_RANGE
        return [row for row, status in enumerate(self.statuses) if status == found]


class RateStream:
    """Numbers, encodes and decodes the batches of one stream, without I/O.

    Requests may be made in one thread and answers read in another.
    """

    def __init__(self) -> None:
        self._sent = 0
        self._answered = 0
        self._plans: tuple[RatedPlan, ...] = ()
        self._numpy: deque[Any] = deque()

    def request(self, batch: RateBatch) -> bytes:
        """Return the bytes of a batch's request.

        Raises ValueError for columns of different lengths and numbers beyond their bits, TypeError
        for columns that hold no integers, PlanDocumentError for a faulty plan document.
        """
        rows = _row_count(batch)
        head = pb.RateBatchRequest(batch_number=self._sent, row_count=rows)
        for plan in batch.plans:
            if isinstance(plan, str):
                head.plans.add(plan_name=plan_name(plan, None))
            else:
                head.plans.add(plan=plan_message(plan))
        pieces: list[Buffer] = [head.SerializeToString()]
        if len(batch.plan_index):
            index = _column_bytes(batch.plan_index, "I", "plan_index")
            pieces += field_bytes(_REQUEST["plan_index"].number, [index])
        for position, column in enumerate(batch.quantities):
            values = _column_bytes(column, "q", f"quantities[{position}]")
            pieces += column_field(_REQUEST["quantities"].number, values)
        request = b"".join(pieces)
        self._numpy.append(_numpy_of(batch))
        self._sent += 1
        return request

    def answer(self, data: bytes) -> RatedBatch:
        """Return the amounts in the bytes of the next answer; Internal if it is not that."""
        try:
            head, fields = _cut_answer(data)
        except DecodeError:
            text = f"the answer of batch {self._answered} cannot be read"
            raise Internal(text, code=grpc.StatusCode.INTERNAL) from None
        if head.batch_number != self._answered or not self._numpy:
            text = f"the answer of batch {self._answered} is missing, got {head.batch_number}"
            raise Internal(text, code=grpc.StatusCode.INTERNAL)
        self._answered += 1
        numpy = self._numpy.popleft()
        if head.plans:
            self._plans = tuple(map(_rated_plan, head.plans))
        statuses = fields[_STATUSES][0] if fields[_STATUSES] else memoryview(b"")
        return RatedBatch(
            row_count=head.row_count,
            charges=tuple(_amounts(column, numpy) for column in fields[_CHARGES]),
            commitments=tuple(_amounts(column, numpy) for column in fields[_COMMITMENTS]),
            totals=_amounts(fields[_TOTALS][0], numpy),
            statuses=statuses if numpy is None else numpy.frombuffer(statuses, "u1"),
            plans=self._plans,
        )


def _row_count(batch: RateBatch) -> int:
    columns = chain((batch.plan_index,) if len(batch.plan_index) else (), batch.quantities)
    lengths = [len(column) for column in columns]
    if not lengths or not lengths[0]:
        raise ValueError("expected at least one row")
    if any(length != lengths[0] for length in lengths):
        raise ValueError(f"expected columns of one length, got {lengths}")
    return lengths[0]


def _numpy_of(batch: RateBatch) -> Any:
    """Return the module numpy if the batch's columns are its arrays, else None.

    The client never imports it: a caller that has arrays has imported it.
    """
    columns = [*batch.quantities, batch.plan_index]
    return sys.modules.get("numpy") if _is_numpy(columns[0]) else None


def _is_numpy(column: Any) -> bool:
    return type(column).__module__.partition(".")[0] == "numpy"


def _column_bytes(column: Any, code: Literal["q", "I"], what: str) -> Buffer:
    """Return a column's values as little-endian bytes of the array type ``code``."""
    if isinstance(column, list | tuple | range):
        return _packed(column, code, what)
    if _is_numpy(column) and not column.dtype.isnative:
        column = column.astype(column.dtype.newbyteorder("="))
    try:
        view = memoryview(column)
    except (TypeError, ValueError):
        kind = getattr(column, "dtype", type(column).__name__)
        raise TypeError(f"{what}: expected integers, got {kind}") from None
    letter = (view.format or "").lstrip("@=<")
    if view.ndim != 1 or letter not in _INTEGERS:
        raise TypeError(f"{what}: expected one dimension of integers, got format {view.format!r}")
    wide = view.itemsize == 8 and letter.islower()
    if _LITTLE and (wide if code == "q" else view.itemsize == 4 and letter.isupper()):
        return view.cast("B") if view.c_contiguous else view.tobytes()
    if code == "I" and _LITTLE and _is_numpy(column):
        if column.size and (column.min() < 0 or column.max() >= 1 << 32):
            raise ValueError(f"{what}: a number is beyond its 32 bits")
        return memoryview(column.astype("<u4")).cast("B")
    return _packed(view.tolist(), code, what)


def _packed(values: Sequence[int], code: Literal["q", "I"], what: str) -> bytes:
    if bool in set(map(type, values)):
        raise TypeError(f"{what}: expected integers, got a bool")
    try:
        packed = array(code, values)
    except OverflowError:
        bits = "64" if code == "q" else "32"
        raise ValueError(f"{what}: a number is beyond its {bits} bits") from None
    except TypeError:
        raise TypeError(f"{what}: expected integers") from None
    return int64_bytes(packed)


def _cut_answer(data: bytes) -> tuple[pb.RateBatchResponse, dict[int, list[memoryview]]]:
    """Return an answer without its columns, and these as bytes of 8 each (statuses: 1).

    Raises DecodeError.
    """
    numbers = (_CHARGES, _COMMITMENTS, _TOTALS, _STATUSES)
    cut = cut_fields(data, numbers)
    if cut is None or len(cut.fields[_TOTALS]) != 1 or len(cut.fields[_STATUSES]) > 1:
        raise DecodeError("not one column of totals")
    fields = cut.fields
    for number in (_CHARGES, _COMMITMENTS, _TOTALS):
        fields[number] = [column_values(column, _read_units) for column in fields[number]]
    return pb.RateBatchResponse.FromString(cut.rest), fields


def _read_units(data: bytes) -> Sequence[int]:
    return pb.AmountColumn.FromString(data).units


def _amounts(values: memoryview, numpy: Any) -> Any:
    if numpy is not None:
        # A copy: the bytes of a message lie at odd addresses, and cannot be written.
        return numpy.frombuffer(values, "<i8").astype("i8")
    if _LITTLE:
        return values.cast("q")
    swapped = array("q", values.tobytes())
    swapped.byteswap()
    return memoryview(swapped)


def _rated_plan(message: pb.RatedPlan) -> RatedPlan:
    return RatedPlan(
        plan_id=message.plan_id,
        version=message.version,
        currency=message.currency,
        scale=message.scale,
        meters=tuple((meter.meter, meter.scale) for meter in message.meters),
        charges=tuple(message.charges),
        commitments=tuple(message.commitments),
    )


class SentBatches:
    """Turns an iterator of batches into requests, and keeps the error that it ends with.

    gRPC would report the caller's own exception as a broken call; so requests just end there, the
    batches before it are answered, and then `check` raises it.
    """

    def __init__(self, stream: RateStream) -> None:
        self._stream = stream
        self._error: BaseException | None = None

    def requests(self, batches: Iterable[RateBatch]) -> Iterator[bytes]:
        """Yield the request of each batch."""
        try:
            for batch in batches:
                yield self._stream.request(batch)
        except GeneratorExit:
            raise
        except BaseException as error:  # noqa: BLE001 - raised again by `check`
            self._error = error

    async def requests_async(
        self, batches: Iterable[RateBatch] | AsyncIterable[RateBatch]
    ) -> AsyncIterator[bytes]:
        """Yield the request of each batch."""
        if not isinstance(batches, AsyncIterable):
            for request in self.requests(batches):
                yield request
            return
        try:
            async for batch in batches:
                yield self._stream.request(batch)
        except (GeneratorExit, asyncio.CancelledError):
            raise
        except BaseException as error:  # noqa: BLE001 - raised again by `check`
            self._error = error

    def check(self) -> None:
        """Raise what the iterator of batches, or a batch in it, raised."""
        if self._error is not None:
            raise self._error
