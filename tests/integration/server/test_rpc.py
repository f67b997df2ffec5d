"""The road through the API: a plan, a customer, records, usage, a statement."""

from __future__ import annotations

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from ratewright.v1 import catalog_service_pb2 as catalog
from ratewright.v1 import customer_service_pb2 as customers
from ratewright.v1 import plan_pb2, statement_pb2
from ratewright.v1 import rating_service_pb2 as rating
from ratewright.v1 import usage_service_pb2 as usage

JANUARY = 1_767_225_600  # 2026-01-01T00:00:00Z, as in conftest


def test_a_record_becomes_an_explained_charge(server, road):
    """Records count once, by series and band, and the preview prices and explains them."""
    road.subscribe(server, "road", "acme")
    records = [
        road.record("r1", "acme", "road-tokens", "1500", model="large"),
        road.record("r2", "acme", "road-tokens", "99", model="small"),
        road.record("r3", "acme", "road-payments", "10"),
        road.record("r4", "acme", "road-payments", "100.50"),
        road.record("r5", "acme", "road-payments", "1000"),
        road.record("r6", "acme", "road-calls", "7"),
    ]
    request = usage.RecordUsageRequest(records=records)
    first = [result.status for result in server.usage.RecordUsage(request).results]
    again = [result.status for result in server.usage.RecordUsage(request).results]
    assert first == [usage.RECORD_STATUS_ACCEPTED] * 6
    assert again == [usage.RECORD_STATUS_DUPLICATE] * 6

    at = Timestamp(seconds=JANUARY + 5)
    counted = server.usage.GetUsage(usage.GetUsageRequest(customer="acme", time=at))
    shown = {(c.meter, c.dimensions.get("model", "")): c.value for c in counted.counters}
    assert shown == {
        ("road-tokens", "large"): "1500",
        ("road-tokens", "small"): "99",
        ("road-payments", ""): "1110.50",
        ("road-calls", ""): "1",
    }
    assert counted.period_start.seconds == JANUARY
    assert counted.period_end.seconds == JANUARY + 31 * 86_400

    answer = server.rating.PreviewStatement(
        rating.PreviewStatementRequest(customer="acme", time=at)
    )
    statement = answer.statement
    lines = {line.id: line.amount for line in statement.lines}
    # large: 1000 × 0.01 + 500 × 0.005; pay: max(0.2 + 0.3, 0.5) + (2.01 + 0.3) + min(20.3, 5)
    assert lines == {"base": "49.00", "large": "12.50", "pay": "7.81"}
    assert statement.total == "69.31"
    assert statement.plan_version == 1
    assert statement.unpriced_meters == ["road-calls"]
    tiers = [s for s in statement.lines[1].slices if s.kind == statement_pb2.SLICE_KIND_TIER]
    assert [(s.tier, s.quantity, s.amount) for s in tiers] == [(0, "1000", "10"), (1, "500", "2.5")]


def test_quote_equals_preview(server, road):
    """RateUsage of the counted usage gives the very total that the preview shows."""
    road.subscribe(server, "quoted", "quoted-customer")
    request = usage.RecordUsageRequest(
        records=[road.record("q1", "quoted-customer", "quoted-tokens", "2345", model="large")]
    )
    server.usage.RecordUsage(request)
    at = Timestamp(seconds=JANUARY)
    preview = server.rating.PreviewStatement(
        rating.PreviewStatementRequest(customer="quoted-customer", time=at)
    ).statement
    quantity = plan_pb2.UsageQuantity(quantity="2345", dimensions={"model": "large"})
    quote = server.rating.RateUsage(
        rating.RateUsageRequest(
            plan_name="plans/quoted/versions/1",
            usage=[plan_pb2.MeterUsage(meter="quoted-tokens", quantities=[quantity])],
        )
    ).statement
    assert quote.total == preview.total == "65.73"
    assert [line.amount for line in quote.lines] == [line.amount for line in preview.lines]


def test_statuses_come_record_by_record(server, road):
    """One request may hold records of every status; each gets its own, with its reason."""
    road.subscribe(server, "mixed", "mixed-customer")
    one = road.record("m1", "mixed-customer", "mixed-tokens", "5", model="large")
    other = road.record("m1", "mixed-customer", "mixed-tokens", "6", model="large")
    request = usage.RecordUsageRequest(
        records=[
            one,
            one,
            other,
            road.record("m2", "mixed-customer", "no-such-meter", "5"),
            road.record("m3", "mixed-customer", "mixed-tokens", "5.5", model="large"),
            road.record("m4", "mixed-customer", "mixed-tokens", "5", color="red"),
            road.record("m5", "nobody", "mixed-tokens", "5"),
            road.record("", "mixed-customer", "mixed-tokens", "5"),
            road.record("m6", "mixed-customer", "mixed-payments", "-1"),
        ]
    )
    results = server.usage.RecordUsage(request).results
    reasons = [(result.status, result.reason) for result in results]
    rejected = usage.RECORD_STATUS_REJECTED
    assert reasons == [
        (usage.RECORD_STATUS_ACCEPTED, 0),
        (usage.RECORD_STATUS_DUPLICATE, 0),
        (usage.RECORD_STATUS_CONFLICT, 0),
        (rejected, usage.REJECT_REASON_UNKNOWN_METER),
        (rejected, usage.REJECT_REASON_QUANTITY_PRECISION),
        (rejected, usage.REJECT_REASON_DIMENSION_INVALID),
        (rejected, usage.REJECT_REASON_NO_SUBSCRIPTION),
        (rejected, usage.REJECT_REASON_MALFORMED),
        (rejected, usage.REJECT_REASON_QUANTITY_OUT_OF_RANGE),
    ]


def test_request_ids_replay_the_earlier_answer(server, road):
    """The same request id and body get the earlier answer; another body is an error."""
    request = catalog.CreatePlanRequest(plan=road.plan("replayed"), request_id="once")
    first = server.catalog.CreatePlan(request)
    again = server.catalog.CreatePlan(request)
    assert (first.replayed, again.replayed) == (False, True)
    assert again.plan == first.plan
    other = catalog.CreatePlanRequest(plan=road.plan("replayed-b"), request_id="once")
    with pytest.raises(grpc.RpcError) as caught:
        server.catalog.CreatePlan(other)
    assert road.error_of(caught.value)[:2] == (grpc.StatusCode.ALREADY_EXISTS, "REQUEST_ID_REUSED")
    third = server.catalog.CreatePlan(catalog.CreatePlanRequest(plan=road.plan("replayed")))
    assert third.plan.version == 2

    # Defaults (now, the latest version) do not make the same request another one.
    subscription = customers.Subscription(customer="replay", plan_id="replayed")
    create = customers.CreateSubscriptionRequest(subscription=subscription, request_id="sub-once")
    made = server.customers.CreateSubscription(create)
    replayed = server.customers.CreateSubscription(create)
    assert replayed.replayed
    assert replayed.subscription == made.subscription


def test_get_and_list(server, road):
    """Everything created can be got by name and is listed page by page."""
    for customer in ("list-a", "list-b", "list-c"):
        road.subscribe(server, "listed", customer)
    got = server.catalog.GetPlan(catalog.GetPlanRequest(name="plans/listed")).plan
    assert got.name == "plans/listed/versions/1"
    meter = server.catalog.GetMeter(catalog.GetMeterRequest(name="meters/listed-tokens")).meter
    assert list(meter.dimensions) == ["model"]
    name = "customers/list-b/subscriptions/main"
    found = server.customers.GetSubscription(customers.GetSubscriptionRequest(name=name))
    assert found.subscription.plan_id == "listed"
    seen: list[tuple[str, int]] = []
    token = ""
    while True:
        page = server.customers.ListSubscriptions(
            customers.ListSubscriptionsRequest(page_size=2, page_token=token)
        )
        assert len(page.subscriptions) <= 2
        seen += [(item.customer, item.start_time.seconds) for item in page.subscriptions]
        token = page.next_page_token
        if not token:
            break
    assert seen == sorted(set(seen))
    assert {"list-a", "list-b", "list-c"} <= {customer for customer, _ in seen}
    plans = server.catalog.ListPlans(catalog.ListPlansRequest(page_size=1000)).plans
    assert "listed" in [plan.id for plan in plans]
    meters = server.catalog.ListMeters(catalog.ListMetersRequest()).meters
    assert "listed-calls" in [item.id for item in meters]


def test_check_plan_reports_all_faults_and_failed_examples(server, road):
    """CheckPlan stores nothing and names every fault; publishing a failing example is refused."""
    plan = road.plan("checked")
    plan.charges[1].tiers[0].up_to = "abc"
    plan.charges[2].percent = "-1"
    faults = server.catalog.CheckPlan(catalog.CheckPlanRequest(plan=plan)).faults
    assert [fault.path for fault in faults] == ["charges[1].tiers[0].up_to", "charges[2].percent"]
    wrong = road.plan("checked")
    example = wrong.examples.add(total="1")
    example.usage.add(meter="checked-tokens").quantities.add(
        quantity="1", dimensions={"model": "large"}
    )
    answer = server.catalog.CheckPlan(catalog.CheckPlanRequest(plan=wrong))
    assert [result.passed for result in answer.examples] == [False]
    with pytest.raises(grpc.RpcError) as caught:
        server.catalog.CreatePlan(catalog.CreatePlanRequest(plan=wrong))
    code, reason, fields = road.error_of(caught.value)
    assert (code, reason) == (grpc.StatusCode.INVALID_ARGUMENT, "EXAMPLE_FAILED")
    assert fields == ["plan.examples[0]"]
    with pytest.raises(grpc.RpcError) as caught:
        server.catalog.GetPlan(catalog.GetPlanRequest(name="plans/checked"))
    assert road.error_of(caught.value)[:2] == (grpc.StatusCode.NOT_FOUND, "PLAN_NOT_FOUND")
