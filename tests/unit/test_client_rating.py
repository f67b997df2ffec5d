"""What `rate_batches` sends and how it reads answers, without a server."""

from __future__ import annotations

import subprocess
import sys
from array import array
from decimal import Decimal

import numpy as np
import pytest

from ratewright.v1 import rating_service_pb2 as pb
from rating_client import Internal, PlanDocumentError, RateBatch
from rating_client.rating import RateStream

PLAN = {
    "id": "p",
    "currency": "USD",
    "billing_period": "month",
    "charges": [{"id": "fee", "model": "flat_fee", "amount": "1"}],
}
UNITS = [0, 1, -1, 2**63 - 1, -(2**63), 300]


def sent(batch: RateBatch) -> pb.RateBatchRequest:
    """The request of a batch as protobuf reads it."""
    return pb.RateBatchRequest.FromString(RateStream().request(batch))


@pytest.mark.parametrize(
    "column",
    [
        UNITS,
        tuple(UNITS),
        array("q", UNITS),
        memoryview(array("q", UNITS)),
        np.array(UNITS, np.int64),
        np.array([number for number in UNITS for _ in (0, 1)], np.int64)[::2],
        np.array(UNITS, np.int64)[::-1][::-1],
    ],
    ids=["list", "tuple", "array", "memoryview", "numpy", "strided", "reversed twice"],
)
def test_quantities_of_every_kind_of_column(column):
    """Lists, arrays, views and strided arrays of 64 bits go out as the same numbers."""
    request = sent(RateBatch(quantities=[column], plans=["p"]))
    assert list(request.quantities[0].units) == UNITS
    assert request.row_count == len(UNITS)
    assert request.plans[0].plan_name == "plans/p"


@pytest.mark.parametrize("kind", ["b", "B", "h", "H", "i", "I", "l", "L", "q", "Q"])
def test_columns_of_other_widths(kind):
    """Narrower and unsigned integers are widened, as quantities and as plan indexes."""
    column = array(kind, [3, 0, 100])
    for values in (column, np.array(column)):
        request = sent(RateBatch(quantities=[values], plans=["p"] * 101, plan_index=values))
        assert list(request.quantities[0].units) == [3, 0, 100]
        assert list(request.plan_index) == [3, 0, 100]


@pytest.mark.parametrize("kind", [">i8", ">i4", ">u8", "<i8", "<i2"])
def test_columns_of_other_byte_orders(kind):
    """Numbers are sent, not bytes: big-endian columns are turned round."""
    index = np.array([1, 0, 1], ">u4")
    request = sent(
        RateBatch(quantities=[np.array([1, 2, 300], kind)], plans=["a", "b"], plan_index=index)
    )
    assert list(request.quantities[0].units) == [1, 2, 300]
    assert list(request.plan_index) == [1, 0, 1]


def test_plans_by_name_version_and_whole():
    """A dictionary takes ids, resource names, documents and messages."""
    plans = ["a", "plans/b", "plans/c/versions/2", PLAN, sent_plan()]
    request = sent(RateBatch(quantities=[[1]], plans=plans, plan_index=[4]))
    assert [plan.plan_name for plan in request.plans[:3]] == [
        "plans/a",
        "plans/b",
        "plans/c/versions/2",
    ]
    assert request.plans[3].plan == request.plans[4].plan
    assert request.plans[3].plan.charges[0].id == "fee"


def sent_plan():
    """The message of PLAN."""
    return sent(RateBatch(quantities=[[1]], plans=[PLAN])).plans[0].plan


@pytest.mark.parametrize(
    ("batch", "error", "words"),
    [
        (RateBatch(quantities=[]), ValueError, "at least one row"),
        (RateBatch(quantities=[[]]), ValueError, "at least one row"),
        (RateBatch(quantities=[[1], [1, 2]]), ValueError, "one length"),
        (RateBatch(quantities=[[1]], plan_index=[0, 0]), ValueError, "one length"),
        (RateBatch(quantities=[[2**63]]), ValueError, r"quantities\[0\].*64 bits"),
        (RateBatch(quantities=[np.array([2**63], np.uint64)]), ValueError, "64 bits"),
        (RateBatch(quantities=[[1]], plan_index=[-1]), ValueError, "plan_index.*32 bits"),
        (RateBatch(quantities=[[1]], plan_index=np.array([-1])), ValueError, "32 bits"),
        (RateBatch(quantities=[[1]], plan_index=np.array([2**32])), ValueError, "32 bits"),
        (RateBatch(quantities=[[1.5]]), TypeError, "integers"),
        (RateBatch(quantities=[[Decimal(1)]]), TypeError, "integers"),
        (RateBatch(quantities=[np.array([1.5])]), TypeError, "integers"),
        (RateBatch(quantities=[[1, True]]), TypeError, "integers, got a bool"),
        (RateBatch(quantities=[[1]], plan_index=[False]), TypeError, "plan_index: .* got a bool"),
        (RateBatch(quantities=[np.array([True])]), TypeError, "integers"),
        (RateBatch(quantities=[np.array(["2026"], "M8[s]")]), TypeError, "got datetime64"),
        (RateBatch(quantities=["12"]), TypeError, "integers, got str"),
        (RateBatch(quantities=[np.array([1], object)]), TypeError, "integers"),
        (RateBatch(quantities=[np.zeros((2, 2), np.int64)]), TypeError, "one dimension"),
        (RateBatch(quantities=[[1]], plans=[{"nonsense": 1}]), PlanDocumentError, "nonsense"),
    ],
)
def test_bad_columns_are_refused_before_they_are_sent(batch, error, words):
    """Wrong lengths, types and ranges raise with the column's name."""
    with pytest.raises(error, match=words):
        RateStream().request(batch)


def answer(number: int, *, plans: bool = False, statuses: tuple[int, ...] = ()) -> bytes:
    """An answer of three rows."""
    rated = pb.RatedPlan(plan_id="p", version=3, currency="USD", scale=2, charges=["a", "b"])
    rated.meters.add(meter="calls", scale=1)
    return pb.RateBatchResponse(
        batch_number=number,
        row_count=3,
        plans=[rated] if plans else [],
        charges=[pb.AmountColumn(units=[1, 2, 3]), pb.AmountColumn(units=[0, -1, 2**63 - 1])],
        totals=pb.AmountColumn(units=[1, 1, -(2**63)]),
        statuses=statuses,
    ).SerializeToString()


def test_answers_come_as_memoryviews_or_numpy_arrays():
    """Columns are views of 64-bit integers; for a batch of NumPy arrays, arrays to write on."""
    stream = RateStream()
    stream.request(RateBatch(quantities=[[1, 2, 3]], plans=["p"]))
    stream.request(RateBatch(quantities=[np.arange(3)]))
    first = stream.answer(answer(0, plans=True))
    assert isinstance(first.totals, memoryview)
    assert first.totals.tolist() == [1, 1, -(2**63)]
    assert [column.tolist() for column in first.charges] == [[1, 2, 3], [0, -1, 2**63 - 1]]
    assert first.commitments == ()
    assert len(first.statuses) == 0
    (plan,) = first.plans
    assert (plan.plan_id, plan.version, plan.scale, plan.charges) == ("p", 3, 2, ("a", "b"))
    assert plan.meters == (("calls", 1),)
    second = stream.answer(answer(1, statuses=(1, 2, 1)))
    assert second.charges[1].dtype == np.int64
    second.charges[1][0] = 5
    assert second.plans == first.plans
    assert second.statuses.tolist() == [1, 2, 1]
    assert second.out_of_range_rows() == [1]


def test_an_answer_out_of_order_or_unreadable_is_an_internal_error():
    """The client does not hand out amounts that may belong to other rows."""
    for data in (answer(1), b"\xff", pb.RateBatchResponse(row_count=1).SerializeToString()):
        stream = RateStream()
        stream.request(RateBatch(quantities=[[1, 2, 3]], plans=["p"]))
        with pytest.raises(Internal):
            stream.answer(data)
    with pytest.raises(Internal):
        RateStream().answer(answer(0))


def test_the_client_works_without_numpy():
    """Requests and answers are made in a process in which numpy cannot be imported."""
    code = f"""
import sys
sys.modules["numpy"] = None
from array import array
from rating_client import RateBatch
from rating_client.rating import RateStream
stream = RateStream()
stream.request(RateBatch(quantities=[array("q", [1, 2, 3])], plans=["p"]))
print(stream.answer({answer(0)!r}).totals.tolist())
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str([1, 1, -(2**63)])
