"""RateBatch: the amounts of RateUsage, in order, for columns of rows; faults; endless streams."""

from __future__ import annotations

import random
from array import array
from collections.abc import Iterator
from decimal import Decimal

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from ratewright.document import plan_from_document
from ratewright.v1 import catalog_service_pb2 as catalog
from ratewright.v1 import plan_pb2
from ratewright.v1 import rating_service_pb2 as pb

RATE_BATCH = "/ratewright.v1.RatingService/RateBatch"
METERS = [
    {"id": "rb-tokens", "aggregation": "sum", "dimensions": ["model"]},
    {"id": "rb-bytes", "aggregation": "sum", "scale": "3"},
]
TIERS = [
    {"up_to": "10", "unit_price": "0.07", "flat_fee": "1"},
    {"up_to": "1000.5", "unit_price": "0.031"},
    {"unit_price": "0.0000025"},
]


def plan(plan_id: str, **keys) -> plan_pb2.Plan:
    """A plan on the two meters."""
    fixed = {"id": plan_id, "currency": "USD", "billing_period": "month", "meters": METERS}
    return plan_from_document({**fixed, **keys})


def plans() -> list[plan_pb2.Plan]:
    """Plans of several models, bounds, commitments and rounding stages."""
    large = {"where": {"model": ["large"]}, "included_units": "3"}
    return [
        plan(
            "rb-graduated",
            charges=[
                {"id": "base", "model": "flat_fee", "amount": "49"},
                {"id": "t", "meter": "rb-tokens", "model": "graduated", "tiers": TIERS, **large},
                {
                    "id": "b",
                    "meter": "rb-bytes",
                    "model": "per_unit",
                    "unit_price": "0.333",
                    "discount_percent": "12.5",
                    "minimum_amount": "2",
                    "maximum_amount": "500",
                },
            ],
            commitments=[
                {"id": "annual", "amount": "20", "discount_percent": "20", "covers": ["t"]}
            ],
        ),
        plan(
            "rb-volume",
            rounding={"mode": "half_even", "scale": "4", "stage": "statement"},
            charges=[
                {"id": "v", "meter": "rb-bytes", "model": "volume", "tiers": TIERS},
                {
                    "id": "p",
                    "meter": "rb-tokens",
                    "model": "package",
                    "package_size": "7",
                    "package_price": "0.99",
                },
            ],
            maximum_amount="5000",
        ),
        plan(
            "rb-percentage",
            charges=[
                {
                    "id": "pay",
                    "meter": "rb-bytes",
                    "model": "percentage",
                    "percent": "2.9",
                    "fixed_fee_per_event": "0.3",
                    "min_per_event": "0.5",
                    "max_per_event": "50",
                }
            ],
        ),
    ]


def entries() -> list[pb.RateBatchPlan]:
    """The dictionary of the plans, sent whole."""
    return [pb.RateBatchPlan(plan=item) for item in plans()]


def units(amount: str, scale: int) -> int:
    """An amount of a statement in units of 10^-scale."""
    return int(Decimal(amount).scaleb(scale))


def one_plan(**keys) -> pb.RateBatchRequest:
    """A request with the percentage plan and one row, changed by keywords."""
    request = pb.RateBatchRequest(
        batch_number=7,
        row_count=1,
        plans=[pb.RateBatchPlan(plan=plans()[2])],
        quantities=[pb.QuantityColumn(units=[1]), pb.QuantityColumn(units=[1])],
    )
    for name, value in keys.items():
        request.ClearField(name)
        if isinstance(value, list):
            getattr(request, name).extend(value)
        else:
            setattr(request, name, value)
    return request


def test_rows_cost_what_rate_usage_says(server):
    """Random rows of mixed plans: every charge, commitment and total equals the unary call's."""
    draw = random.Random(3)
    count = 150
    index = [draw.randrange(3) for _ in range(count)]
    tokens = [draw.choice([0, 1, 10, 11, 10 ** draw.randint(1, 9)]) for _ in range(count)]
    sizes = [draw.choice([0, 1, 10_000, 1_000_500, draw.randrange(10**9)]) for _ in range(count)]
    request = pb.RateBatchRequest(
        row_count=count,
        plans=entries(),
        plan_index=index,
        quantities=[pb.QuantityColumn(units=tokens), pb.QuantityColumn(units=sizes)],
    )
    (answer,) = server.rating.RateBatch(iter([request]))
    assert not answer.statuses
    assert [len(answer.charges), len(answer.commitments)] == [3, 1]
    assert [(p.plan_id, p.version, p.scale, list(p.charges)) for p in answer.plans] == [
        ("rb-graduated", 0, 2, ["base", "t", "b"]),
        ("rb-volume", 0, 4, ["v", "p"]),
        ("rb-percentage", 0, 2, ["pay"]),
    ]
    assert [(m.meter, m.scale) for m in answer.plans[1].meters] == [
        ("rb-tokens", 0),
        ("rb-bytes", 3),
    ]
    known = plans()
    for row in range(count):
        rated = answer.plans[index[row]]
        unary = pb.RateUsageRequest(plan=known[index[row]])
        for meter, quantity, scale in (("rb-tokens", tokens, 0), ("rb-bytes", sizes, 3)):
            usage = unary.usage.add(meter=meter)
            text = format(Decimal(quantity[row]).scaleb(-scale), "f")
            usage.quantities.add(quantity=text, match_all=True)
        statement = server.rating.RateUsage(unary).statement
        expected: dict[str, int] = {}
        for line in statement.lines:
            amount = units(line.amount, rated.scale)
            expected[line.id] = expected.get(line.id, 0) + amount
        for ids, columns in (
            (rated.charges, answer.charges),
            (rated.commitments, answer.commitments),
        ):
            found = [column.units[row] for column in columns]
            assert found[: len(ids)] == [expected[name] for name in ids], row
            assert not any(found[len(ids) :])
        assert answer.totals.units[row] == units(statement.total, rated.scale), row


def test_answers_keep_the_order_and_the_dictionary_stays(server):
    """Batches of very different sizes are answered in order; a new dictionary replaces the old."""

    def batches() -> Iterator[pb.RateBatchRequest]:
        for number in range(40):
            rows = 1 + (number * 7919) % 9000
            dictionary = entries()[:1] if number == 0 else entries()[1:2] if number == 20 else []
            column = [number] * rows
            yield pb.RateBatchRequest(
                batch_number=100 - number,
                row_count=rows,
                plans=dictionary,
                quantities=[pb.QuantityColumn(units=column)] * 2,
            )

    answers = list(server.rating.RateBatch(batches()))
    assert [answer.batch_number for answer in answers] == [100 - n for n in range(40)]
    assert [number for number, answer in enumerate(answers) if answer.plans] == [0, 20]
    for number, answer in enumerate(answers):
        assert answer.row_count == len(answer.totals.units) == 1 + (number * 7919) % 9000
        assert len(answer.charges) == (3 if number < 20 else 2)
        assert len(set(answer.totals.units)) == 1


def test_plans_of_the_catalogue_are_named(server):
    """A name without a version takes the latest when the dictionary comes, and says which."""
    for _ in range(2):
        draft = plans()[0]
        draft.id = "rb-stored"
        server.catalog.CreatePlan(catalog.CreatePlanRequest(plan=draft))
    names = ["plans/rb-stored", "plans/rb-stored/versions/1"]
    request = one_plan(
        plans=[pb.RateBatchPlan(plan_name=name) for name in names],
        plan_index=[0, 1],
        row_count=2,
        quantities=[pb.QuantityColumn(units=[5, 5])] * 2,
    )
    (answer,) = server.rating.RateBatch(iter([request]))
    assert [plan.version for plan in answer.plans] == [2, 1]
    assert answer.totals.units[0] == answer.totals.units[1]


def test_columns_in_other_legal_forms(server):
    """Values one by one, in pieces, and the plan index likewise, are the same batch."""
    dictionary = pb.RateBatchRequest(batch_number=1, row_count=2, plans=entries()[1:])
    index = b"\x25\x00\x00\x00\x00" + b"\x22\x04\x01\x00\x00\x00"
    values = b"".join(b"\x09" + array("q", [value]).tobytes() for value in (10, 20))
    pieces = b"".join(b"\x0a\x08" + array("q", [value]).tobytes() for value in (3, 4))
    columns = b"".join(b"\x2a" + bytes([len(data)]) + data for data in (values, pieces))
    send = server.connect().stream_stream(
        RATE_BATCH, response_deserializer=pb.RateBatchResponse.FromString
    )
    (odd,) = send(iter([dictionary.SerializeToString() + index + columns]))
    plain = pb.RateBatchRequest(
        batch_number=1,
        row_count=2,
        plans=entries()[1:],
        plan_index=[0, 1],
        quantities=[pb.QuantityColumn(units=[10, 20]), pb.QuantityColumn(units=[3, 4])],
    )
    (even,) = server.rating.RateBatch(iter([plain]))
    assert odd == even


def test_a_row_that_does_not_fit_has_a_status(server):
    """OUT_OF_RANGE rows have amounts of 0 and do not disturb the others."""
    document = plan(
        "rb-dear",
        charges=[
            {"id": "t", "meter": "rb-tokens", "model": "per_unit", "unit_price": "900000000"},
            {"id": "fee", "model": "flat_fee", "amount": "1"},
        ],
    )
    request = one_plan(
        plans=[pb.RateBatchPlan(plan=document)],
        row_count=3,
        quantities=[
            pb.QuantityColumn(units=[1, 2**63 - 1, 2]),
            pb.QuantityColumn(units=[0, 0, 0]),
        ],
    )
    (answer,) = server.rating.RateBatch(iter([request]))
    assert list(answer.statuses) == [
        pb.RATE_STATUS_OK,
        pb.RATE_STATUS_OUT_OF_RANGE,
        pb.RATE_STATUS_OK,
    ]
    assert [list(column.units) for column in answer.charges] == [
        [90_000_000_000, 0, 180_000_000_000],
        [100, 0, 100],
    ]
    assert list(answer.totals.units) == [90_000_000_100, 0, 180_000_000_100]


def fault_of(server, *requests: pb.RateBatchRequest) -> tuple[str, str, str, list[str]]:
    """Code, reason, batch number and fields of the error that ends a stream."""
    with pytest.raises(grpc.RpcError) as caught:
        list(server.rating.RateBatch(iter(requests)))
    number, reason, fields = "", "", []
    for detail in rpc_status.from_call(caught.value).details:
        info, bad = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
        if detail.Unpack(info):
            number, reason = info.metadata["batch_number"], info.reason
        elif detail.Unpack(bad):
            fields = [violation.field for violation in bad.field_violations]
    return caught.value.code().name, reason, number, fields


NAMED = pb.RateBatchPlan(plan_name="plans/rb-nowhere")
BAD = plan("rb-bad", charges=[{"id": "t", "meter": "rb-tokens", "model": "per_unit"}])
ROWS = [pb.QuantityColumn(units=[1, 2])]


@pytest.mark.parametrize(
    ("changes", "reason", "fields"),
    [
        ({"plans": []}, "BATCH_INVALID", ["plans"]),
        ({"row_count": 0}, "BATCH_INVALID", ["row_count"]),
        ({"row_count": -1}, "BATCH_INVALID", ["row_count"]),
        ({"row_count": 100_001}, "BATCH_INVALID", ["row_count"]),
        (
            {"plan_index": [0, 0], "quantities": ROWS},
            "BATCH_INVALID",
            ["plan_index", "quantities", "quantities[0].units"],
        ),
        ({"plan_index": [1]}, "BATCH_INVALID", ["plan_index"]),
        ({"quantities": ROWS * 2}, "BATCH_INVALID", ["quantities[0].units", "quantities[1].units"]),
        (
            {"plans": [pb.RateBatchPlan(), pb.RateBatchPlan(plan_name="x")]},
            "BATCH_INVALID",
            ["plans[0].pricing", "plans[1].plan_name"],
        ),
        (
            {"plans": [pb.RateBatchPlan(plan=BAD), pb.RateBatchPlan(plan=plan("Rb"))]},
            "PLAN_INVALID",
            ["plans[0].plan.charges[0].unit_price", "plans[1].plan.id", "plans[1].plan.charges"],
        ),
    ],
)
def test_faults_are_all_named_with_their_batch(server, changes, reason, fields):
    """INVALID_ARGUMENT names every fault of the batch, and the batch."""
    assert fault_of(server, one_plan(**changes)) == ("INVALID_ARGUMENT", reason, "7", fields)


def test_an_unknown_plan_and_a_later_batch(server):
    """NOT_FOUND names the batch that brought the plan, not one that waited for it as well."""
    unknown = one_plan(plans=[NAMED])
    later = one_plan(plans=[], batch_number=8)
    assert fault_of(server, unknown, later, later) == ("NOT_FOUND", "PLAN_NOT_FOUND", "7", [])
    assert fault_of(server, one_plan(), later, one_plan(batch_number=9, row_count=5))[2] == "9"


def test_bytes_that_are_no_batch(server):
    """Garbage, at the top or within a column, is INVALID_ARGUMENT, not UNKNOWN."""
    send = server.connect().stream_stream(RATE_BATCH)
    head = one_plan(quantities=[]).SerializeToString()
    for data in (b"\xff\xff", b"\x0b", head + b"\x2a\x03\x0a\x08\x01", head + b"\x2a\x02\x0a\x05"):
        with pytest.raises(grpc.RpcError) as caught:
            list(send(iter([data])))
        assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT


def test_an_answer_that_would_be_too_large_is_refused(server):
    """A plan of many charges multiplies the columns: the limit is named before anything breaks."""
    many = [{"id": f"c{n}", "model": "flat_fee", "amount": "1"} for n in range(120)]
    request = one_plan(
        plans=[pb.RateBatchPlan(plan=plan("rb-wide", charges=many))],
        row_count=10_000,
        quantities=[pb.QuantityColumn(units=[0] * 10_000)] * 2,
    )
    assert fault_of(server, request) == ("INVALID_ARGUMENT", "BATCH_INVALID", "7", ["row_count"])


def test_what_the_catalogue_says_of_a_meter_decides_each_time(server):
    """A plan that came whole is refused once its meter exists with another scale (S2)."""
    own = [{"id": "rb-late", "aggregation": "sum"}]
    charge = {"id": "t", "meter": "rb-late", "model": "per_unit", "unit_price": "1"}
    request = one_plan(
        plans=[pb.RateBatchPlan(plan=plan("rb-own", charges=[charge], meters=own))],
        quantities=[pb.QuantityColumn(units=[5])],
    )
    (answer,) = server.rating.RateBatch(iter([request]))
    assert list(answer.totals.units) == [500]
    meter = plan_pb2.Meter(id="rb-late", aggregation=plan_pb2.AGGREGATION_SUM, scale=3)
    server.catalog.CreateMeter(catalog.CreateMeterRequest(meter=meter))
    fault = fault_of(server, request)
    assert fault == ("INVALID_ARGUMENT", "PLAN_INVALID", "7", ["plans[0].plan.meters[0]"])


def test_a_dictionary_of_too_many_tiers_is_refused(server):
    """What would take too much memory is refused before it is compiled, with the bound."""
    tiers = [{"up_to": str(n + 1), "unit_price": "1"} for n in range(999)] + [{"unit_price": "1"}]
    charges = [
        {"id": f"c{n}", "meter": "rb-tokens", "model": "graduated", "tiers": tiers}
        for n in range(10)
    ]
    large = pb.RateBatchPlan(plan=plan("rb-large", charges=charges))
    assert large.ByteSize() * 26 < 8 << 20
    request = one_plan(plans=[large] * 26)
    with pytest.raises(grpc.RpcError) as caught:
        list(server.rating.RateBatch(iter([request])))
    assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert "26 plans of 260000 tiers" in caught.value.details()
