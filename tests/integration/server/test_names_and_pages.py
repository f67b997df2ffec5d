"""A name stands for one statement, a page token for one list; no cell of text is a formula."""

from __future__ import annotations

import csv
import io
from datetime import UTC, datetime
from decimal import Decimal

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from ratewright.v1 import catalog_service_pb2 as catalog
from ratewright.v1 import credit_pb2 as credit
from ratewright.v1 import customer_service_pb2 as customers
from ratewright.v1 import rating_service_pb2 as rating
from ratewright.v1 import usage_service_pb2 as usage
from rating_client import Client
from rating_server.cli.account import view_of_statement
from rating_server.cli.statement_view import print_statement

INVALID = (grpc.StatusCode.INVALID_ARGUMENT, "REQUEST_INVALID")
MONTHS = [datetime(2026, month, 1, tzinfo=UTC) for month in (1, 2)]
FORMULA, OTHER = "=1+1", "pages-other"
NAME = f"customers/{FORMULA}/subscriptions/main/statements/1"


@pytest.fixture(scope="module")
def booked(server, road):
    """Two customers on one plan, each with two grants, promotions and finalised statements."""
    with Client(server.target) as client:
        for customer in (FORMULA, OTHER):
            road.subscribe(server, "pages", customer)
            record = road.record("e1", customer, "pages-tokens", "5", model="@SUM(1)")
            answer = server.usage.RecordUsage(usage.RecordUsageRequest(records=[record]))
            assert not answer.results[0].reason
            for number in "12":
                client.create_grant(customer, f"g{number}", "1", effective=MONTHS[0])
                client.create_promotion(customer, f"p{number}", "percent_off", 10, start=MONTHS[0])
            for start in MONTHS:
                client.finalize_statement(customer, start)
    return server


def _refused(road, call, request):
    with pytest.raises(grpc.RpcError) as caught:
        call(request)
    code, reason, fields = road.error_of(caught.value)
    assert (code, reason) == INVALID
    return fields


@pytest.mark.parametrize(
    ("field", "value", "same"),
    [
        ("customer", OTHER, FORMULA),
        ("subscription_id", "next", "main"),
        ("period_start", MONTHS[0], MONTHS[1]),
    ],
)
def test_what_is_given_beside_a_name_is_as_in_it(booked, road, field, value, same):
    """GetStatement with a name refuses another customer, subscription or period beside it."""
    get = booked.rating.GetStatement
    request = rating.GetStatementRequest(name=NAME, **{field: value})
    assert _refused(road, get, request) == [field]
    assert get(rating.GetStatementRequest(name=NAME, **{field: same})).statement.name == NAME


@pytest.mark.parametrize("number", ["01", "00", "-1", "+1", "1.0", ""])
def test_a_number_has_one_spelling(booked, road, number):
    """A statement's name with its number spelt otherwise is malformed, in every call."""
    name = f"{NAME.removesuffix('1')}{number}"
    for call, request in (
        (booked.rating.GetStatement, rating.GetStatementRequest(name=name)),
        (booked.rating.VerifyStatement, rating.VerifyStatementRequest(name=name)),
    ):
        assert _refused(road, call, request) == ["name"]


def test_a_token_is_of_one_list(booked, road):
    """A page token of another parent, filter or kind of list is refused, its own goes on."""
    of, other = f"customers/{FORMULA}", f"customers/{OTHER}"
    late = Timestamp(seconds=4_000_000_000)
    statements = booked.rating.ListStatements
    listing, grants = rating.ListStatementsRequest, credit.ListGrantsRequest
    token = statements(listing(parent=of, page_size=1)).next_page_token
    page = statements(listing(parent=f"{of}/subscriptions/main", page_token=token))
    assert ([one.name for one in page.statements], page.next_page_token) == ([NAME], "")
    customer_calls, catalogue = booked.customers, booked.catalog
    for call, first, others in (
        (statements, listing(parent=of), [listing(parent=other)]),
        (
            customer_calls.ListGrants,
            grants(parent=of),
            [grants(parent=other), grants(parent=of, time=late)],
        ),
        (
            customer_calls.ListPromotions,
            credit.ListPromotionsRequest(parent=of),
            [credit.ListPromotionsRequest(parent=other)],
        ),
        (
            customer_calls.ListSubscriptions,
            customers.ListSubscriptionsRequest(),
            [customers.ListSubscriptionsRequest(parent=other)],
        ),
        (catalogue.ListMeters, catalog.ListMetersRequest(), [catalog.ListMetersRequest()]),
    ):
        first.page_size = 1
        given = call(first).next_page_token
        first.page_token = given
        call(first)
        for request in others:
            request.page_token = token if call == catalogue.ListMeters else given
            assert _refused(road, call, request) == ["page_token"]


def test_no_cell_of_text_begins_as_a_formula(booked, capsys):
    """Customers and attributes that read as formulas begin no cell of a statement's CSV."""
    with Client(booked.target) as client:
        shown = [client.get_statement(name=NAME), client.get_statement(FORMULA, MONTHS[0])]
    for statement in shown:
        print_statement(view_of_statement(statement), "csv")
        rows = list(csv.reader(io.StringIO(capsys.readouterr().out)))
        assert {"base", "total"} <= {cell for row in rows for cell in row}
        for cell in (cell for row in rows for cell in row if cell[:1] in tuple("=+-@\t\r")):
            assert Decimal(cell) < 0
