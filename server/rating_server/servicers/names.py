"""Resource names of what belongs to customers, taken apart."""

from __future__ import annotations

from rating_server.usecases.failure import invalid
from rating_server.usecases.grant_credit import Parent

_NUMBER_DIGITS = 9


def parse_parent(name: str, field: str = "parent") -> Parent:
    """Return the subscription of `customers/{customer}[/subscriptions/{id}]`."""
    match name.split("/"):
        case ["customers", customer] if customer:
            return Parent(customer)
        case ["customers", customer, "subscriptions", subscription_id] if customer:
            return Parent(customer, subscription_id)
    raise invalid(field, "BAD_NAME", "expected customers/{customer}[/subscriptions/{id}]")


def parse_grant_name(name: str) -> tuple[Parent, str]:
    """Return the subscription and the id of a grant's name."""
    parent, _, grant_id = name.rpartition("/grants/")
    if not grant_id or "/" in grant_id:
        text = "expected customers/{customer}[/subscriptions/{id}]/grants/{grant}"
        raise invalid("name", "BAD_NAME", text)
    return parse_parent(parent, "name"), grant_id


def parse_statement_name(name: str) -> tuple[str, str, int]:
    """Return customer, subscription id and number of a statement's name."""
    match name.split("/"):
        case ["customers", customer, "subscriptions", subscription_id, "statements", number]:
            digits = number.isascii() and number.isdigit() and len(number) <= _NUMBER_DIGITS
            # A statement has one name: `01` is none for 1.
            if customer and digits and number == str(int(number)):
                return customer, subscription_id, int(number)
    text = "expected customers/{customer}/subscriptions/{id}/statements/{number}"
    raise invalid("name", "BAD_NAME", text)
