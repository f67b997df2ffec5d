"""Deciding control calls: what they change, what they answer, and when they are refused.

A refusal needs no entry. What is carried out is remembered by its request id for ever (P4).
"""

from __future__ import annotations

from collections.abc import Callable

from rating_core.metering.calls import (
    Configure,
    Control,
    ControlAnswer,
)
from rating_core.metering.contracts.directory import (
    CONFIGURE,
    DirectoryView,
)
from rating_core.metering.contracts.finalize import ContractState, decide_ledger_call
from rating_core.metering.contracts.ledger_calls import LedgerCall
from rating_core.metering.contracts.subscription_calls import (
    SUBSCRIPTION_CALLS,
    Outcome,
    Standing,
    decide_subscription,
    refused,
)
from rating_core.metering.log.entry import ControlEntry
from rating_core.units import INT64_MIN

StateOf = Callable[[LedgerCall, int], ContractState | None]
"""What decides about the subscription of a call at an instant, ``None`` where there is none."""


def replayed(
    view_answer: tuple[str, ControlAnswer] | None, fingerprint: str
) -> ControlAnswer | None:
    """Return what a call of a known request id gets: the earlier answer, or a refusal (P4)."""
    if view_answer is None:
        return None
    earlier, answer = view_answer
    if earlier != fingerprint:
        return ControlAnswer(False, "REQUEST_ID_REUSED")
    return ControlAnswer(answer.ok, answer.reason, answer.value, replayed=True)


def decide_control(
    call: Control,
    view: DirectoryView,
    now: int,
    all_remembered: bool,
    standing: Standing,
    state_of: StateOf,
) -> Outcome:
    """Return the answer, and the entry if the call changes anything (P4, P11).

    ``all_remembered``: no id was ever forgotten. TypeError for a call of another machine.
    """
    fingerprint = call.fingerprint()
    earlier = replayed(view.earlier_answer(call.request_id), fingerprint)
    if earlier is not None:
        return earlier, None
    if isinstance(call, Configure):
        return _configure(call, view, now, all_remembered, fingerprint)
    if isinstance(call, SUBSCRIPTION_CALLS):
        return decide_subscription(call, view, now, fingerprint, standing)
    if isinstance(call, LedgerCall):
        return decide_ledger_call(call, state_of(call, now), now, fingerprint)
    raise TypeError(f"a usage shard does not take {type(call).__name__}")


def _configure(
    call: Configure, view: DirectoryView, now: int, all_remembered: bool, fingerprint: str
) -> Outcome:
    windows_fit = call.grace_us >= 0 and (call.window_us is None or call.window_us > 0)
    if min(call.max_series, call.max_values) < 1 or not windows_fit:
        return refused("OUT_OF_RANGE")
    current = view.settings()
    floor = current.floor
    old = current.window_us
    raised = old is not None and (call.window_us is None or call.window_us > old)
    if old is not None and raised and not all_remembered:
        # Ids of records before this instant may be forgotten already (P11, ADR 6).
        floor = max(now - old, INT64_MIN if floor is None else floor)
    value: dict[str, object] = {
        "window_us": call.window_us,
        "max_series": call.max_series,
        "max_values": call.max_values,
        "floor": floor,
        "grace_us": call.grace_us,
    }
    same = (call.window_us, call.max_series, call.max_values, call.grace_us) == (
        current.window_us,
        current.max_series,
        current.max_values,
        current.grace_us,
    )
    if same and current.configured:
        return ControlAnswer(True, "", value), None
    entry = ControlEntry(CONFIGURE, call.request_id, fingerprint, dict(value), value)
    return ControlAnswer(True, "", value), entry
