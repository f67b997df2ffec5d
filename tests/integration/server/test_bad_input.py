"""Bad requests get a canonical code, a reason, and every violation at once; nothing crashes."""

from __future__ import annotations

import random

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from ratewright.v1 import catalog_service_pb2 as catalog
from ratewright.v1 import credit_pb2 as credit
from ratewright.v1 import customer_service_pb2 as customers
from ratewright.v1 import plan_pb2
from ratewright.v1 import rating_service_pb2 as rating
from ratewright.v1 import usage_service_pb2 as usage
from rating_server.usecases.page import encode_token

INVALID = grpc.StatusCode.INVALID_ARGUMENT
MISSING = grpc.StatusCode.NOT_FOUND
NEVER = Timestamp(seconds=-(10**15))

PLAN = plan_pb2.Plan(
    id="inline",
    currency="USD",
    billing_period=plan_pb2.BILLING_PERIOD_MONTH,
    meters=[plan_pb2.PlanMeter(id="inline-units", aggregation=plan_pb2.AGGREGATION_SUM, scale=2)],
    charges=[
        plan_pb2.Charge(
            id="units",
            model=plan_pb2.CHARGE_MODEL_PER_UNIT,
            meter="inline-units",
            unit_price="0.5",
        )
    ],
)


def _changed(**changes: object) -> plan_pb2.Plan:
    plan = plan_pb2.Plan()
    plan.CopyFrom(PLAN)
    for name, value in changes.items():
        setattr(plan, name, value)
    return plan


def _charge(**changes: object) -> plan_pb2.Plan:
    plan = _changed()
    for name, value in changes.items():
        setattr(plan.charges[0], name, value)
    return plan


def _quote(plan: plan_pb2.Plan, *usages: plan_pb2.MeterUsage) -> rating.RateUsageRequest:
    return rating.RateUsageRequest(plan=plan, usage=usages)


def _units(quantity: str, meter: str = "inline-units", **dimensions: str) -> plan_pb2.MeterUsage:
    one = plan_pb2.UsageQuantity(quantity=quantity, dimensions=dimensions, match_all=not dimensions)
    return plan_pb2.MeterUsage(meter=meter, quantities=[one])


def _subscription(**fields: object) -> customers.CreateSubscriptionRequest:
    return customers.CreateSubscriptionRequest(subscription=customers.Subscription(**fields))


CASES = [
    # service, method, request, code, reason, violated fields
    ("rating", "RateUsage", rating.RateUsageRequest(), INVALID, "REQUEST_INVALID", ["pricing"]),
    ("rating", "RateUsage", rating.RateUsageRequest(plan_name="llm"), INVALID, "REQUEST_INVALID",
     ["plan_name"]),
    ("rating", "RateUsage", rating.RateUsageRequest(plan_name="plans/x/versions/0"), INVALID,
     "REQUEST_INVALID", ["plan_name"]),
    ("rating", "RateUsage", rating.RateUsageRequest(plan_name="plans/none"), MISSING,
     "PLAN_NOT_FOUND", []),
    ("rating", "RateUsage", _quote(_changed(id="")), INVALID, "PLAN_INVALID", ["plan.id"]),
    ("rating", "RateUsage", _quote(_changed(currency="US")), INVALID, "PLAN_INVALID",
     ["plan.currency"]),
    ("rating", "RateUsage", _quote(_changed(currency="ZZZ")), INVALID, "PLAN_INVALID",
     ["plan.currency"]),
    ("rating", "RateUsage", _quote(_changed(billing_period=0)), INVALID, "PLAN_INVALID",
     ["plan.billing_period"]),
    ("rating", "RateUsage", _quote(_changed(billing_period=99)), INVALID, "PLAN_INVALID",
     ["plan.billing_period"]),
    ("rating", "RateUsage", _quote(_charge(unit_price="1e3")), INVALID, "PLAN_INVALID",
     ["plan.charges[0].unit_price"]),
    ("rating", "RateUsage", _quote(_charge(unit_price="-1")), INVALID, "PLAN_INVALID",
     ["plan.charges[0].unit_price"]),
    ("rating", "RateUsage", _quote(_charge(unit_price="0.0000000000001")), INVALID,
     "PLAN_INVALID", ["plan.charges[0].unit_price"]),
    ("rating", "RateUsage", _quote(_charge(unit_price="9" * 16)), INVALID, "PLAN_INVALID",
     ["plan.charges[0].unit_price"]),
    ("rating", "RateUsage", _quote(_charge(unit_price="NaN", id="Bad Id")), INVALID,
     "PLAN_INVALID", ["plan.charges[0].id", "plan.charges[0].unit_price"]),
    ("rating", "RateUsage", _quote(_charge(model=0)), INVALID, "PLAN_INVALID",
     ["plan.charges[0].model"]),
    ("rating", "RateUsage", _quote(_charge(meter="other")), INVALID, "PLAN_INVALID",
     ["plan.charges[0].meter"]),
    ("rating", "RateUsage", _quote(PLAN, _units("1.234")), INVALID, "USAGE_INVALID",
     ["usage.inline-units[0]"]),
    ("rating", "RateUsage", _quote(PLAN, _units("x")), INVALID, "USAGE_INVALID",
     ["usage.inline-units[0]"]),
    ("rating", "RateUsage", _quote(PLAN, _units("1", meter="none")), INVALID, "USAGE_INVALID",
     ["usage.none"]),
    ("rating", "RateUsage", _quote(PLAN, _units("1", color="red")), INVALID, "USAGE_INVALID",
     ["usage.inline-units[0].dimensions.color"]),
    ("rating", "RateUsage", _quote(PLAN, _units("1"), _units("2")), INVALID, "REQUEST_INVALID",
     ["usage[1].meter"]),
    ("rating", "RateUsage", _quote(PLAN, plan_pb2.MeterUsage(meter="inline-units")), INVALID,
     "REQUEST_INVALID", ["usage[0].quantities"]),
    ("rating", "RateUsage", _quote(_charge(unit_price="9" * 15), _units("9" * 16)),
     grpc.StatusCode.OUT_OF_RANGE, "OUT_OF_RANGE", []),
    ("rating", "PreviewStatement", rating.PreviewStatementRequest(), INVALID, "REQUEST_INVALID",
     ["customer"]),
    ("rating", "PreviewStatement", rating.PreviewStatementRequest(customer="no/body"), INVALID,
     "REQUEST_INVALID", ["customer"]),
    ("rating", "PreviewStatement", rating.PreviewStatementRequest(customer="nobody-at-all"),
     MISSING, "SUBSCRIPTION_NOT_FOUND", []),
    ("usage", "GetUsage", usage.GetUsageRequest(customer="a\nb"), INVALID, "REQUEST_INVALID",
     ["customer"]),
    ("usage", "GetUsage", usage.GetUsageRequest(customer="x" * 129), INVALID, "REQUEST_INVALID",
     ["customer"]),
    ("usage", "GetUsage", usage.GetUsageRequest(customer="x", time=Timestamp(nanos=-1)), INVALID,
     "REQUEST_INVALID", ["time"]),
    ("usage", "RecordUsage", usage.RecordUsageRequest(), INVALID, "REQUEST_INVALID", ["records"]),
    ("usage", "RecordUsage",
     usage.RecordUsageRequest(records=[usage.UsageRecord()] * 1001), INVALID, "REQUEST_INVALID",
     ["records"]),
    ("catalog", "CreateMeter", catalog.CreateMeterRequest(), INVALID, "REQUEST_INVALID",
     ["meter"]),
    ("catalog", "CreateMeter", catalog.CreateMeterRequest(meter=plan_pb2.Meter(id="X")), INVALID,
     "REQUEST_INVALID", ["meter.id", "meter.aggregation"]),
    ("catalog", "CreateMeter",
     catalog.CreateMeterRequest(meter=plan_pb2.Meter(id="m", aggregation=1), request_id="r" * 256),
     INVALID, "REQUEST_INVALID", ["request_id"]),
    ("catalog", "GetMeter", catalog.GetMeterRequest(name="m"), INVALID, "REQUEST_INVALID",
     ["name"]),
    ("catalog", "GetMeter", catalog.GetMeterRequest(name="meters/none"), MISSING,
     "METER_NOT_FOUND", []),
    ("catalog", "ListMeters", catalog.ListMetersRequest(page_size=-1), INVALID, "REQUEST_INVALID",
     ["page_size"]),
    ("catalog", "ListMeters", catalog.ListMetersRequest(page_token="%"), INVALID,
     "REQUEST_INVALID", ["page_token"]),
    ("catalog", "CreatePlan", catalog.CreatePlanRequest(), INVALID, "REQUEST_INVALID", ["plan"]),
    ("catalog", "CreatePlan", catalog.CreatePlanRequest(plan=plan_pb2.Plan()), INVALID,
     "PLAN_INVALID", ["plan.id", "plan.currency", "plan.billing_period", "plan.charges"]),
    ("catalog", "CheckPlan", catalog.CheckPlanRequest(), INVALID, "REQUEST_INVALID", ["plan"]),
    ("catalog", "GetPlan", catalog.GetPlanRequest(name="plans/a/b"), INVALID, "REQUEST_INVALID",
     ["name"]),
    ("catalog", "ListPlans", catalog.ListPlansRequest(parent="plans/a/versions/1"), INVALID,
     "REQUEST_INVALID", ["parent"]),
    ("customers", "CreateSubscription", customers.CreateSubscriptionRequest(), INVALID,
     "REQUEST_INVALID", ["subscription"]),
    ("customers", "CreateSubscription", _subscription(plan_id="p"), INVALID, "REQUEST_INVALID",
     ["subscription.customer"]),
    ("customers", "CreateSubscription", _subscription(customer="c"), INVALID, "REQUEST_INVALID",
     ["subscription.plan_id"]),
    ("customers", "CreateSubscription", _subscription(customer="c", plan_id="none"), MISSING,
     "PLAN_NOT_FOUND", []),
    ("customers", "CreateSubscription",
     _subscription(customer="c", plan_id="p", id="Not An Id", plan_version=-1), INVALID,
     "REQUEST_INVALID", ["subscription.id", "subscription.plan_version"]),
    ("customers", "CreateSubscription",
     _subscription(customer="", plan_id="", start_time=Timestamp(seconds=-10**15)), INVALID,
     "REQUEST_INVALID",
     ["subscription.customer", "subscription.plan_id", "subscription.start_time"]),
    ("customers", "GetSubscription", customers.GetSubscriptionRequest(name="customers/c"), INVALID,
     "REQUEST_INVALID", ["name"]),
    ("customers", "GetSubscription",
     customers.GetSubscriptionRequest(name="customers/c/subscriptions/none"), MISSING,
     "SUBSCRIPTION_NOT_FOUND", []),
    ("customers", "ListSubscriptions", customers.ListSubscriptionsRequest(parent="c"), INVALID,
     "REQUEST_INVALID", ["parent"]),
    # What cannot be read and what is out of range come in one answer.
    ("customers", "CreateSubscription",
     customers.CreateSubscriptionRequest(
         subscription=customers.Subscription(customer="c", time_zone="Mars", anchor_day=32),
         request_id="r" * 256),
     INVALID, "REQUEST_INVALID",
     ["request_id", "subscription.plan_id", "subscription.anchor_day", "subscription.time_zone"]),
    ("customers", "ChangePlan",
     customers.ChangePlanRequest(name="c", effective_time=NEVER, plan_version=-1), INVALID,
     "REQUEST_INVALID", ["name", "effective_time", "plan_version"]),
    ("customers", "CancelSubscription",
     customers.CancelSubscriptionRequest(name="c", end_time=NEVER, request_id="r" * 256), INVALID,
     "REQUEST_INVALID", ["name", "end_time", "request_id"]),
    ("customers", "CreateGrant",
     credit.CreateGrantRequest(
         parent="c", grant=credit.Grant(id="G", amount="x", expire_time=NEVER)),
     INVALID, "REQUEST_INVALID", ["parent", "grant.amount", "grant.expire_time", "grant.id"]),
    ("customers", "CreatePromotion",
     credit.CreatePromotionRequest(
         parent="customers/c", promotion=credit.Promotion(value="1e3", periods=0)),
     INVALID, "REQUEST_INVALID",
     ["promotion.value", "promotion.kind", "promotion.id", "promotion.periods"]),
    ("customers", "GetBalance", credit.GetBalanceRequest(name="c", time=NEVER), INVALID,
     "REQUEST_INVALID", ["time", "name"]),
    ("rating", "PreviewStatement",
     rating.PreviewStatementRequest(time=NEVER, as_of_time=NEVER), INVALID, "REQUEST_INVALID",
     ["time", "as_of_time", "customer"]),
    ("rating", "PreviewStatement",
     rating.PreviewStatementRequest(customer="c", as_of_time=Timestamp(seconds=10**11)), INVALID,
     "REQUEST_INVALID", ["as_of_time"]),
    ("rating", "FinalizeStatement",
     rating.FinalizeStatementRequest(customer="a/b", period_start=NEVER), INVALID,
     "REQUEST_INVALID", ["period_start", "customer"]),
]  # fmt: skip


@pytest.mark.parametrize(
    ("service", "method", "request_", "code", "reason", "fields"),
    CASES,
    ids=[f"{number:02d}-{case[1]}-{case[4]}" for number, case in enumerate(CASES)],
)
def test_a_bad_request_gets_its_exact_error(
    server, road, service, method, request_, code, reason, fields
):
    """Every row: the code, the reason, and all violated fields."""
    with pytest.raises(grpc.RpcError) as caught:
        getattr(getattr(server, service), method)(request_)
    assert road.error_of(caught.value) == (code, reason, fields)


def _batch(**changes: object) -> usage.IngestUsageRequest:
    columns: dict[str, object] = {
        "customers": ["c"],
        "meters": [usage.BatchMeter(meter="m")],
        "event_ids": b"ab",
        "event_id_lengths": [1, 1],
        "quantities": [1, 2],
        "event_times_micros": [1, 2],
    }
    columns.update(changes)
    return usage.IngestUsageRequest(batch_number=1, batch=usage.UsageBatch(**columns))


BATCHES = [
    (usage.IngestUsageRequest(), ["batch"]),
    (_batch(event_id_lengths=[1, 2]), ["batch.event_id_lengths"]),
    (_batch(event_id_lengths=[-1, 3]), ["batch.event_id_lengths"]),
    (_batch(quantities=[1]), ["batch.quantities"]),
    (_batch(quantities=[1], event_times_micros=[]),
     ["batch.quantities", "batch.event_times_micros"]),
    (_batch(customers=[]), ["batch.customer_index"]),
    (_batch(customers=["a", "b"]), ["batch.customer_index"]),
    (_batch(customer_index=[0, 1]), ["batch.customer_index"]),
    (_batch(meter_index=[0, 2**32 - 1]), ["batch.meter_index"]),
    (_batch(dimension_set_index=[0, 0]), ["batch.dimension_set_index"]),
    (_batch(dimension_sets=[usage.DimensionSet()] * 2), ["batch.dimension_set_index"]),
    (_batch(meters=[usage.BatchMeter(meter="m", scale=13)]), ["batch.meters[0].scale"]),
]  # fmt: skip


@pytest.mark.parametrize(("request_", "fields"), BATCHES)
def test_a_bad_batch_names_its_columns(server, road, request_, fields):
    """A batch whose columns do not fit each other ends its stream with every faulty column."""
    with pytest.raises(grpc.RpcError) as caught:
        list(server.usage.IngestUsage(iter([request_])))
    assert road.error_of(caught.value) == (INVALID, "BATCH_INVALID", fields)


@pytest.mark.parametrize("dictionary", ["customers", "meters", "dimension_sets"])
def test_a_dictionary_of_too_many_words_is_refused(server, road, dictionary):
    """Words cost time whether records use them or not: at most as many as records."""
    words = {
        "customers": ["c"],
        "meters": [usage.BatchMeter(meter="m")],
        "dimension_sets": [usage.DimensionSet()],
    }
    request = _batch(**{dictionary: words[dictionary] * 100_001})
    with pytest.raises(grpc.RpcError) as caught:
        list(server.usage.IngestUsage(iter([request])))
    assert road.error_of(caught.value)[1:] == ("BATCH_INVALID", [f"batch.{dictionary}"])


def test_a_batch_of_too_many_records_is_refused(server, road):
    """More than the limit of records is an error that says the limit."""
    count = 100_001
    request = _batch(event_ids=b"x" * count, event_id_lengths=[1] * count)
    with pytest.raises(grpc.RpcError) as caught:
        list(server.usage.IngestUsage(iter([request])))
    assert road.error_of(caught.value)[1:] == ("BATCH_INVALID", ["batch.event_id_lengths"])
    assert "at most 100000 records" in caught.value.details()


def test_a_message_over_the_limit_is_refused(server):
    """A request larger than the limit gets RESOURCE_EXHAUSTED, and the server lives on."""
    request = _batch(event_ids=b"x" * (9 * 1024 * 1024))
    with pytest.raises(grpc.RpcError) as caught:
        list(server.usage.IngestUsage(iter([request])))
    assert caught.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert server.catalog.ListMeters(catalog.ListMetersRequest()) is not None


def test_random_bytes_are_the_callers_mistake(server):
    """Bytes that do not parse get INVALID_ARGUMENT from every method, never UNKNOWN."""
    rng = random.Random(20261121)
    channel = server.connect()
    codes = set()
    for _ in range(200):
        data = rng.randbytes(rng.randrange(1, 200))
        service, method = rng.choice(
            [
                ("UsageService", "RecordUsage"),
                ("RatingService", "RateUsage"),
                ("CatalogService", "CheckPlan"),
                ("CustomerService", "ListSubscriptions"),
            ]
        )
        call = channel.unary_unary(f"/ratewright.v1.{service}/{method}")
        codes.add(call.future(data).code())
    assert codes <= {grpc.StatusCode.OK, INVALID, MISSING}
    stream = channel.stream_stream("/ratewright.v1.UsageService/IngestUsage")
    for _ in range(50):
        with pytest.raises(grpc.RpcError) as caught:
            list(stream(iter([b"\xff" + rng.randbytes(20)])))
        assert caught.value.code() == INVALID


def test_odd_records_are_refused_one_by_one(server, road):
    """Records with impossible ids, times, quantities are MALFORMED or out of range, alone."""
    road.subscribe(server, "odd", "odd-customer")
    good = road.record("fine", "odd-customer", "odd-calls", "1")
    odd = [
        road.record("x" * 256, "odd-customer", "odd-calls", "1"),
        road.record("a", "odd-customer", "odd-calls", "one"),
        road.record("b", "odd-customer", "odd-calls", "1e5"),
        road.record("c", "", "odd-calls", "1"),
        road.record("d", "odd/customer", "odd-calls", "1"),
        usage.UsageRecord(event_id="e", customer="odd-customer", meter="odd-calls"),
    ]
    big = [
        road.record("f", "odd-customer", "odd-payments", "9" * 19),
        road.record("g", "odd-customer", "odd-payments", "9" * 18),
    ]
    fine = [road.record("h", "odd-customer", "odd-payments", "0.0000000000001")]
    answer = server.usage.RecordUsage(usage.RecordUsageRequest(records=[*odd, *big, *fine, good]))
    reasons = [result.reason for result in answer.results]
    assert reasons == [usage.REJECT_REASON_MALFORMED] * 6 + [
        usage.REJECT_REASON_QUANTITY_OUT_OF_RANGE,
        usage.REJECT_REASON_QUANTITY_OUT_OF_RANGE,
        usage.REJECT_REASON_QUANTITY_PRECISION,
        0,
    ]


@pytest.mark.parametrize("token", ['[Infinity,"w",[]]', "[" * 9000, "[1]", '[1e999,"w",[]]'])
def test_a_token_of_no_list_is_the_callers_mistake(server, road, token):
    """Whatever a page token holds, the answer is INVALID_ARGUMENT."""
    page_token = encode_token(token, ("usage", "tokens", None, None, ""))
    request = usage.ListUsageRequest(customer="tokens", page_token=page_token)
    with pytest.raises(grpc.RpcError) as caught:
        server.usage.ListUsage(request)
    assert road.error_of(caught.value) == (INVALID, "REQUEST_INVALID", ["page_token"])


def test_an_instant_whose_period_no_timestamp_ends_is_refused(server, road):
    """The period of December 9999 ends in a year that no message can hold."""
    road.subscribe(server, "last-year", "last-year")
    request = usage.GetUsageRequest(customer="last-year")
    request.time.FromJsonString("9999-12-31T23:59:59Z")
    with pytest.raises(grpc.RpcError) as caught:
        server.usage.GetUsage(request)
    assert road.error_of(caught.value) == (INVALID, "REQUEST_INVALID", ["time"])
