"""Statements, credits, promotions on the real server: once, whatever is killed (S9, S10)."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from rating_client import (
    AlreadyExists,
    AsyncClient,
    Client,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    RatewrightError,
    UsageRecord,
)

JANUARY = datetime(2026, 1, 1, tzinfo=UTC)
FEBRUARY = datetime(2026, 2, 1, tzinfo=UTC)
PLAN = {
    "id": "api",
    "currency": "USD",
    "billing_period": "month",
    "late_usage": "adjust",
    "meters": [{"id": "calls", "aggregation": "sum"}],
    "charges": [{"id": "calls", "meter": "calls", "model": "per_unit", "unit_price": "0.01"}],
}


def used(customer, event_id, quantity, day=9):
    return UsageRecord(
        event_id=event_id,
        customer=customer,
        meter="calls",
        event_time=JANUARY + timedelta(days=day),
        quantity=quantity,
    )


@pytest.fixture(scope="module")
def client(server):
    with Client(server.target) as client:
        client.create_plan(PLAN)
        yield client


def test_late_usage_and_a_credit_as_in_the_scenario(client):
    """1200 calls pay 10 by credit and 2 in money; 100 late ones are 1.00 of the next statement."""
    client.create_subscription("acme", "api", start_time=JANUARY)
    client.create_grant(
        "acme", "g1", "10", kind="bonus", priority=1, effective=JANUARY, expires=FEBRUARY
    )
    client.record_usage([used("acme", "e1", 1200)])
    preview = client.preview_statement("acme", JANUARY)
    first = client.finalize_statement("acme", JANUARY)
    assert (preview.total, first.total) == (Decimal("2.00"), Decimal("2.00"))
    assert first.amount_by_id() == {"calls": Decimal("12.00"), "g1": Decimal("-10.00")}
    assert first.name == "customers/acme/subscriptions/main/statements/0"
    assert client.finalize_statement("acme", JANUARY) == first
    assert client.get_statement(name=first.name) == first
    assert client.preview_statement("acme", JANUARY) == first
    before = first.finalize_time
    client.record_usage([used("acme", "e2", 100, day=30)])
    second = client.finalize_statement("acme", FEBRUARY)
    assert second.amount_by_id()["late"] == second.total == Decimal("1.00")
    booked = [(one.total, one.total_before_credits) for one in client.list_statements("acme")]
    assert booked == [(Decimal("2.00"), Decimal("13.00")), (Decimal("1.00"), Decimal("0.00"))]
    assert client.get_balance("acme", "g1") == 0
    assert client.get_balance("acme", time=before - timedelta(microseconds=1)) == 10
    for statement in (first, second):
        assert client.verify_statement(statement.name, from_log=True).differences == ()
    past = client.preview_statement("acme", JANUARY, as_of=before - timedelta(microseconds=1))
    assert (past.name, past.total) == ("", Decimal("2.00"))


def test_refusals_say_what_is_wrong(client):
    """Order, grace, names, ids: a refusal has code, reason and the instant to wait for."""
    start = datetime.now(UTC) - timedelta(days=70)
    client.create_subscription("globex", "api", start_time=start)
    with pytest.raises(FailedPrecondition) as refused:
        client.finalize_statement("globex")
    assert refused.value.reason == "PERIOD_NOT_NEXT"
    client.create_subscription("initech", "api")
    with pytest.raises(FailedPrecondition) as refused:
        client.finalize_statement("initech")
    assert refused.value.reason == "PERIOD_NOT_ENDED"
    assert refused.value.metadata["earliest"].endswith("Z")
    with pytest.raises(NotFound):
        client.finalize_statement("nobody")
    with pytest.raises(NotFound):
        client.get_statement("initech")
    with pytest.raises(AlreadyExists) as refused:
        client.create_grant("initech", "calls", "1")
    assert refused.value.reason == "ID_TAKEN"
    for name, amount in (("late", "1"), ("g2", "0.001"), ("Bad", "1")):
        with pytest.raises(InvalidArgument):
            client.create_grant("initech", name, amount)
    client.create_promotion("initech", "p1", "percent_off", 10, periods=2)
    assert [one.id for one in client.list_promotions("initech")] == ["p1"]
    client.create_grant("initech", "g3", "5")
    assert client.void_grant("initech", "g3").grant.balance == "0.00"
    with pytest.raises(NotFound) as refused:
        client.get_balance("initech", "g3", time=start)
    assert refused.value.reason == "GRANT_NOT_FOUND"
    assert refused.value.metadata["create_time"].endswith("Z")
    assert list(client.list_grants("initech", time=start)) == []
    assert client.get_balance("initech", time=start) == 0


def test_the_same_request_again_is_answered_as_the_first_time(client):
    """Grant and promotion from now on, resent with their request id: once; changed: refused."""
    client.create_subscription("umbrella", "api", start_time=JANUARY)
    granted = [client.create_grant("umbrella", "g", "5", request_id="r1") for _ in range(2)]
    assert [one.replayed for one in granted] == [False, True]
    assert granted[0].grant == granted[1].grant
    promoted = [
        client.create_promotion("umbrella", "p", "percent_off", 10, request_id="r2")
        for _ in range(2)
    ]
    assert [one.replayed for one in promoted] == [False, True]
    assert promoted[0].promotion == promoted[1].promotion
    with pytest.raises(AlreadyExists) as refused:
        client.create_grant("umbrella", "g", "6", request_id="r1")
    assert refused.value.reason == "REQUEST_ID_REUSED"
    voided = client.void_grant("umbrella", "g", request_id="r3").grant
    client.cancel_subscription("umbrella", end_time=FEBRUARY)
    client.create_subscription("umbrella", "api", subscription_id="next", start_time=FEBRUARY)
    again = client.void_grant("umbrella", "g", request_id="r3")
    assert (again.replayed, again.grant) == (True, voided)


def test_the_asyncio_client_does_the_same(server, client):
    """The asyncio twin finalises, reads and verifies."""
    client.create_subscription("hooli", "api", start_time=JANUARY)

    async def run():
        async with AsyncClient(server.target) as twin:
            made = await twin.finalize_statement("hooli", JANUARY)
            assert await twin.get_statement("hooli") == made
            assert [one.number async for one in twin.list_statements("hooli")] == [0]
            return await twin.verify_statement(made.name)

    assert asyncio.run(run()).differences == ()


def test_a_kill_while_many_are_finalised_doubles_and_loses_nothing(server, client):
    """After kill -9 in the middle, twice, every statement is there once, every grant drawn once."""
    customers = [f"many-{number}" for number in range(240)]
    for number, customer in enumerate(customers):
        client.create_subscription(customer, "api", start_time=JANUARY)
        if number % 8 == 0:
            client.create_grant(customer, "g", "0.40", effective=JANUARY)
    client.record_usage([used(c, f"u-{c}", 30 + n) for n, c in enumerate(customers)])

    def finalize():
        with Client(server.target) as other:
            try:
                for _ in other.finalize_statements(FEBRUARY, plan_id="api"):
                    begun.set()
            except RatewrightError:
                begun.set()

    for store_too in (False, True):
        begun = threading.Event()
        running = threading.Thread(target=finalize)
        running.start()
        begun.wait(30)
        if store_too:
            os.kill(server.store_pid(), signal.SIGKILL)
        server.end(signal.SIGKILL)
        running.join(30)
        server.start()
    begun = threading.Event()
    finalize()
    for number, customer in enumerate(customers):
        (statement,) = client.list_statements(customer)
        amount = Decimal(30 + number) / 100
        paid = min(amount, Decimal("0.40")) if number % 8 == 0 else Decimal(0)
        assert statement.total_before_credits == amount
        assert statement.total == amount - paid
        if number % 8 == 0:
            assert client.get_balance(customer, "g") == Decimal("0.40") - paid
            whole = client.get_statement(name=statement.name)
            assert sum(line.amount for line in whole.lines) == whole.total
        if number % 60 < 2:  # one by one, and in columns
            assert client.verify_statement(statement.name, from_log=True).differences == ()
