"""Answers of control entries: an error answer becomes a failure."""

from __future__ import annotations

from rating_core.instant import format_instant
from rating_core.metering.calls import ControlAnswer
from rating_server.usecases.failure import Failure

_MESSAGES = {
    "REQUEST_ID_REUSED": "this request_id was used for another request",
    "ALREADY_EXISTS": "it exists already",
    "METER_MISMATCH": "the catalogue holds another meter of that id",
    "UNKNOWN_METER": "the catalogue lacks a meter that the plan names",
    "EFFECTIVE_TOO_SOON": "standing subscriptions move 120 s from now at the earliest",
    "CURRENCY_DIFFERS": "an earlier version has another currency: cancel and subscribe anew",
    "ROUNDING_DIFFERS": "an earlier version rounds otherwise: cancel and subscribe anew",
    "NO_SUBSCRIPTION": "the customer has no such subscription",
    "PERIOD_NOT_FOUND": "no billing period of the subscription starts at that instant",
    "PERIOD_NOT_NEXT": "periods are finalised in order, and an earlier one is not finalised yet",
    "PERIOD_NOT_ENDED": "the period may not be finalised yet",
    "NOTHING_TO_CORRECT": "what came after the last period was finalised changes no amount",
    "GRANT_NOT_FOUND": "the subscription has no such grant",
    "ID_RESERVED": "this id is reserved",
    "ID_TAKEN": "two kinds of lines of the subscription would have this id",
    "AMOUNT_PRECISION": "the amount has more decimals than the plan's amounts",
    "UNKNOWN_CHARGE": "no plan of the subscription has such a charge",
    "OUT_OF_RANGE": "a value is out of range",
    "SUBSCRIPTION_NOT_FOUND": "there is no such subscription",
    "NOT_SUBSCRIBED": "the subscription is not active at that instant",
    "ALREADY_CANCELLED": "the subscription ends by then",
    "BILLING_PERIOD_DIFFERS": "the plan has another billing period: cancel, and subscribe anew",
    "PERIOD_FINALIZED": "the period of that instant is finalised",
    "SUBSCRIPTION_OVERLAP": "the customer has a subscription that is active at the same time",
}


def answered(answer: ControlAnswer, **metadata: str) -> ControlAnswer:
    """Return ``answer`` if it is ok; otherwise raise its Failure."""
    if answer.ok:
        return answer
    if "earliest" in answer.value:
        metadata["earliest_time"] = format_instant(answer.value["earliest"])
    message = _MESSAGES.get(answer.reason, answer.reason.lower().replace("_", " "))
    shown = ", ".join(
        f"{key.replace('_', ' ')} {value}" for key, value in metadata.items() if value
    )
    raise Failure(answer.reason, f"{message} ({shown})" if shown else message, **metadata)
