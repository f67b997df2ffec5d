"""Answers of control entries: an error answer becomes a failure."""

from __future__ import annotations

from rating_core.metering.calls import ControlAnswer
from rating_server.usecases.failure import Failure

_MESSAGES = {
    "REQUEST_ID_REUSED": "this request_id was used for another request",
    "ALREADY_EXISTS": "it exists already",
    "METER_MISMATCH": "the catalogue holds another meter of that id",
    "UNKNOWN_METER": "the catalogue lacks a meter that the plan names",
    "EFFECTIVE_TOO_SOON": "standing subscriptions move 120 s from now at the earliest",
    "CURRENCY_DIFFERS": "an earlier version has another currency: cancel and subscribe anew",
    "BILLING_PERIOD_DIFFERS": "the plans have different billing periods: cancel, subscribe anew",
    "ROUNDING_DIFFERS": "an earlier version rounds otherwise: cancel and subscribe anew",
    "SUBSCRIPTION_OVERLAP": "the customer has a subscription that is active at the same time",
}


def answered(answer: ControlAnswer, **metadata: str) -> ControlAnswer:
    """Return ``answer`` if it is ok; otherwise raise its Failure."""
    if answer.ok:
        return answer
    message = _MESSAGES.get(answer.reason, answer.reason.lower().replace("_", " "))
    shown = ", ".join(f"{key} {value}" for key, value in metadata.items() if value)
    raise Failure(answer.reason, f"{message} ({shown})" if shown else message, **metadata)
