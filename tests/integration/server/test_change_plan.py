"""What a customer is on over time, on a real server: plan changes, cancellation, zones (S8)."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from rating_client import AsyncClient, Client, RatewrightError, UsageRecord

JANUARY = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture(scope="module")
def client(server):
    """A client of the shared server, with two plans of one meter and one of another period."""
    with Client(server.target) as made:
        for plan_id, price, period in (
            ("change-old", "1", "month"),
            ("change-new", "2", "month"),
            ("change-week", "1", "week"),
            ("change-euro", "1", "month"),
            ("change-extra", "1", "month"),
        ):
            made.create_plan(
                {
                    "id": plan_id,
                    "currency": "EUR" if plan_id == "change-euro" else "USD",
                    "billing_period": period,
                    "meters": [{"id": "change-calls", "aggregation": "sum"}],
                    "charges": [
                        {
                            "id": "extra" if plan_id == "change-extra" else "calls",
                            "meter": "change-calls",
                            "model": "per_unit",
                            "unit_price": price,
                        }
                    ],
                },
                request_id=f"plan-{plan_id}",
            )
        yield made


def count(client, customer, *days):
    """Count 10 units on each day of January, once a day however often it is called."""
    records = [
        UsageRecord(
            event_id=f"d{day}",
            customer=customer,
            meter="change-calls",
            quantity=10,
            event_time=JANUARY + timedelta(days=day - 1, hours=1),
        )
        for day in days
    ]
    return [outcome.status.name for outcome in client.record_usage(records)]


def used(client, customer, day):
    """Return what is counted in the part that holds a day of January."""
    usage = client.get_usage(customer, JANUARY + timedelta(days=day - 1))
    return sum(int(counter.value) for counter in usage.counters)


def reason_of(caught):
    """Return the reason that an error names."""
    return caught.value.reason


def test_a_plan_changes_from_an_instant_on(client):
    """The instant belongs to the new part, what is counted before stays, any instant is told."""
    client.create_subscription("chg-1", "change-old", start_time=JANUARY)
    middle = JANUARY + timedelta(days=14)
    made = client.change_plan(
        "chg-1", "change-new", effective_time=middle, request_id="chg-1-change"
    )
    again = client.change_plan(
        "chg-1", "change-new", effective_time=middle, request_id="chg-1-change"
    )
    assert (made.replayed, again.replayed) == (False, True)
    assert again.subscription == made.subscription
    phases = [(p.plan_id, p.start_time.ToDatetime(UTC)) for p in made.subscription.phases]
    assert phases == [("change-old", JANUARY), ("change-new", middle)]
    before = client.get_subscription("chg-1", time=middle - timedelta(microseconds=1))
    assert before.plan_id == "change-old"
    assert client.get_subscription("chg-1", time=middle).plan_id == "change-new"
    assert count(client, "chg-1", 2, 14, 15, 20) == ["ACCEPTED"] * 4
    assert (used(client, "chg-1", 2), used(client, "chg-1", 20)) == (20, 20)
    shown = [client.get_usage("chg-1", middle + shift) for shift in (timedelta(-1), timedelta(0))]
    assert [(usage.period_start, usage.period_end) for usage in shown] == [
        (JANUARY, middle),
        (middle, datetime(2026, 2, 1, tzinfo=UTC)),
    ]


def test_a_change_dated_back_splits_what_is_counted(client):
    """Records before and after the change are counted in their parts, once, also if sent again."""
    client.create_subscription("chg-2", "change-old", start_time=JANUARY)
    count(client, "chg-2", *range(1, 31))
    assert used(client, "chg-2", 3) == 300
    client.change_plan("chg-2", "change-new", effective_time=JANUARY + timedelta(days=10))
    assert (used(client, "chg-2", 3), used(client, "chg-2", 20)) == (100, 200)
    client.change_plan("chg-2", "change-old", effective_time=JANUARY + timedelta(days=20))
    assert [used(client, "chg-2", day) for day in (3, 15, 25)] == [100, 100, 100]
    assert set(count(client, "chg-2", *range(1, 31))) == {"DUPLICATE"}
    assert count(client, "chg-2", 31) == ["ACCEPTED"]
    assert [used(client, "chg-2", day) for day in (3, 15, 31)] == [100, 100, 110]


def test_a_cancelled_subscription_takes_no_more_and_another_may_follow(client):
    """The instant of cancellation is outside; a dated-back one takes out what came after."""
    client.create_subscription("chg-3", "change-old", start_time=JANUARY)
    count(client, "chg-3", 1, 2, 3, 4)
    end = JANUARY + timedelta(days=2)
    made = client.cancel_subscription("chg-3", end_time=end)
    assert made.subscription.end_time.ToDatetime(UTC) == end
    assert used(client, "chg-3", 1) == 20
    assert count(client, "chg-3", 5) == ["REJECTED"]
    with pytest.raises(RatewrightError) as caught:
        client.cancel_subscription("chg-3", end_time=end)
    assert reason_of(caught) == "ALREADY_CANCELLED"
    # What was taken out is in the log still: a later subscription that holds it counts it.
    client.create_subscription(
        "chg-3", "change-new", start_time=JANUARY + timedelta(days=3), subscription_id="second"
    )
    assert used(client, "chg-3", 4) == 10
    with pytest.raises(RatewrightError) as caught:
        client.create_subscription("chg-3", "change-new", start_time=end, subscription_id="third")
    assert reason_of(caught) == "SUBSCRIPTION_OVERLAP"
    listed = [one.id for one in client.list_subscriptions("chg-3")]
    assert listed == ["main", "second"]


def test_a_subscription_by_mistake_is_void(client):
    """Cancelled by its start it holds nothing any more, and another takes its place."""
    client.create_subscription("chg-9", "change-old", start_time=JANUARY)
    count(client, "chg-9", 3)
    made = client.cancel_subscription("chg-9", end_time=JANUARY - timedelta(days=1))
    assert made.subscription.end_time.ToDatetime(UTC) == JANUARY
    assert count(client, "chg-9", 4) == ["REJECTED"]
    client.create_subscription("chg-9", "change-new", start_time=JANUARY, subscription_id="right")
    assert count(client, "chg-9", 3, 4) == ["DUPLICATE", "ACCEPTED"]
    assert used(client, "chg-9", 3) == 20
    assert client.preview_statement("chg-9", JANUARY).total == 40


def test_mistakes_get_their_reason(client):
    """What cannot be changed is refused with a reason, and nothing happens."""
    client.create_subscription("chg-4", "change-old", start_time=JANUARY)
    before = client.get_subscription("chg-4")
    for plan_id, reason in (
        ("change-week", "BILLING_PERIOD_DIFFERS"),
        ("change-euro", "CURRENCY_DIFFERS"),
        ("change-none", "PLAN_NOT_FOUND"),
    ):
        with pytest.raises(RatewrightError) as caught:
            client.change_plan("chg-4", plan_id)
        assert reason_of(caught) == reason
    with pytest.raises(RatewrightError) as caught:
        client.change_plan("chg-4", "change-new", effective_time=JANUARY - timedelta(days=1))
    assert reason_of(caught) == "NOT_SUBSCRIBED"
    client.create_grant("chg-4", "extra", "5")
    with pytest.raises(RatewrightError) as caught:
        client.change_plan("chg-4", "change-extra")
    assert (reason_of(caught), caught.value.metadata["id"]) == ("ID_TAKEN", "extra")
    with pytest.raises(RatewrightError) as caught:
        client.cancel_subscription("chg-4", subscription_id="other")
    assert reason_of(caught) == "SUBSCRIPTION_NOT_FOUND"
    for terms in ({"time_zone": "Mars/Olympus"}, {"anchor_day": 32}, {"overrides": "{"}):
        with pytest.raises(RatewrightError) as caught:
            client.create_subscription("chg-5", "change-old", **terms)
        assert reason_of(caught) == "REQUEST_INVALID"
    assert client.get_subscription("chg-4") == before


def test_a_zone_and_an_anchor_set_the_borders(client):
    """Periods start at the local midnight of the anchor day, in summer and in winter."""
    client.create_subscription(
        "chg-6",
        "change-old",
        start_time=JANUARY,
        time_zone="Europe/Berlin",
        anchor_day=31,
    )
    found = client.get_subscription("chg-6")
    assert (found.time_zone, found.anchor_day) == ("Europe/Berlin", 31)
    usage = client.get_usage("chg-6", datetime(2026, 4, 10, tzinfo=UTC))
    assert usage.period_start == datetime(2026, 3, 30, 22, tzinfo=UTC)
    assert usage.period_end == datetime(2026, 4, 29, 22, tzinfo=UTC)
    # 27 February 23:30 UTC is already 28 February in Berlin, where the next period begins.
    records = [
        UsageRecord(
            event_id=f"border-{minute}",
            customer="chg-6",
            meter="change-calls",
            quantity=1,
            event_time=datetime(2026, 2, 27, 22, minute, tzinfo=UTC) + timedelta(minutes=30),
        )
        for minute in (29, 30)
    ]
    assert [outcome.status.name for outcome in client.record_usage(records)] == ["ACCEPTED"] * 2
    for instant in (datetime(2026, 2, 20, tzinfo=UTC), datetime(2026, 3, 1, tzinfo=UTC)):
        counters = client.get_usage("chg-6", instant).counters
        assert [int(counter.value) for counter in counters] == [1]


def test_own_prices_are_part_of_what_a_customer_is_on(client):
    """Overrides come with the subscription, change with the plan, and price what they are for."""
    own = {"charges": [{"id": "calls", "unit_price": "0.5"}]}
    client.create_subscription("chg-7", "change-old", start_time=JANUARY, overrides=own)
    assert '"0.5"' in client.get_subscription("chg-7").overrides
    client.change_plan("chg-7", effective_time=JANUARY + timedelta(days=10))
    assert client.get_subscription("chg-7").overrides == ""
    with pytest.raises(RatewrightError) as caught:
        client.change_plan("chg-7", overrides={"charges": [{"id": "nothing"}]})
    assert reason_of(caught) == "PLAN_INVALID"


def test_asyncio_client(server, client):
    """The asyncio client has the same methods."""

    async def run():
        async with AsyncClient(server.target) as other:
            await other.create_subscription("chg-8", "change-old", start_time=JANUARY)
            later = JANUARY + timedelta(days=40)
            await other.change_plan("chg-8", "change-new", effective_time=later)
            await other.cancel_subscription("chg-8", end_time=later + timedelta(days=40))
            return await other.get_subscription("chg-8", time=later)

    found = asyncio.run(run())
    assert found.plan_id == "change-new"
    assert found.HasField("end_time")
