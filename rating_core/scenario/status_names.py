"""The names that `expect_status` may expect of a step (S7.3, S12.2)."""

from __future__ import annotations

from rating_core.metering.batch import RecordStatus, RejectReason

CARRIED_OUT = "OK"
"""Status of a step that sends no records and was carried out."""
REFUSALS = frozenset(
    {
        "ALREADY_CANCELLED",
        "ALREADY_EXISTS",
        "AMOUNT_PRECISION",
        "BILLING_PERIOD_DIFFERS",
        "EFFECTIVE_TOO_SOON",
        "GRANT_NOT_FOUND",
        "HOURS_DIFFER",
        "ID_RESERVED",
        "ID_TAKEN",
        "NOTHING_TO_CORRECT",
        "NOT_SUBSCRIBED",
        "NO_SUBSCRIPTION",
        "OUT_OF_RANGE",
        "PERIOD_FINALIZED",
        "PERIOD_NOT_ENDED",
        "PERIOD_NOT_FOUND",
        "PERIOD_NOT_NEXT",
        "SUBSCRIPTION_NOT_FOUND",
        "SUBSCRIPTION_OVERLAP",
        "UNKNOWN_CHARGE",
    }
)
"""Why a step that sends no records may be refused."""
_STATUSES = tuple(
    status.name
    for status in RecordStatus
    if status not in (RecordStatus.UNSPECIFIED, RecordStatus.RETRY)
)
_REASONS = tuple(reason.name for reason in RejectReason if reason)


def known_status(name: str) -> bool:
    """Whether a step can have the status: of records, `REJECTED/TOO_OLD` in any of three ways."""
    status, _, reason = name.partition("/")
    if reason:
        return status == RecordStatus.REJECTED.name and reason in _REASONS
    return name in {*_STATUSES, *_REASONS, CARRIED_OUT, *REFUSALS}


def status_names() -> str:
    """Return in words what `known_status` knows."""
    return (
        f"{', '.join(_STATUSES)} or a reason of it such as TOO_OLD, "
        f"{CARRIED_OUT}, or the reason of a refusal such as PERIOD_NOT_ENDED"
    )
