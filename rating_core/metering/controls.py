"""Deciding control calls: what they change, what they answer, and when they are refused.

A refusal needs no entry. What is carried out is remembered by its request id for ever (P4).
"""

from __future__ import annotations

from collections.abc import Callable

from rating_core.counter import SeriesCounter
from rating_core.metering.calls import (
    ClosePeriod,
    Configure,
    Control,
    ControlAnswer,
    CreateSubscription,
    Subscription,
)
from rating_core.metering.directory import (
    CLOSE_PERIOD,
    CONFIGURE,
    CREATE_SUBSCRIPTION,
    DirectoryView,
    subscription_facts,
)
from rating_core.metering.entry import ControlEntry
from rating_core.metering.series_state import Span
from rating_core.period import INSTANT_MAX, INSTANT_MIN, period_bounds
from rating_core.units import INT64_MIN

Outcome = tuple[ControlAnswer, ControlEntry | None]
CountersOf = Callable[[str, Span], tuple[SeriesCounter, ...]]
"""Counters of a customer over a billing period, staged records included."""


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
    call: Control, view: DirectoryView, now: int, all_remembered: bool, counters_of: CountersOf
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
    if isinstance(call, CreateSubscription):
        return _create_subscription(call, view, now, fingerprint)
    if isinstance(call, ClosePeriod):
        return _close_period(call, view, now, fingerprint, counters_of)
    raise TypeError(f"a usage shard does not take {type(call).__name__}")


def span_of(subscription: Subscription, instant: int) -> Span:
    """Return the billing period of a subscription that holds ``instant``, µs (S8.1)."""
    start, end = period_bounds(subscription.billing_period, instant)
    return Span(max(start, subscription.start_time), end, end - start)


def _refused(reason: str) -> Outcome:
    return ControlAnswer(False, reason), None


def _configure(
    call: Configure, view: DirectoryView, now: int, all_remembered: bool, fingerprint: str
) -> Outcome:
    if min(call.max_series, call.max_values) < 1 or (
        call.window_us is not None and call.window_us < 1
    ):
        return _refused("OUT_OF_RANGE")
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
    }
    same = (call.window_us, call.max_series, call.max_values) == (
        current.window_us,
        current.max_series,
        current.max_values,
    )
    if same and current.configured:
        return ControlAnswer(True, "", value), None
    entry = ControlEntry(CONFIGURE, call.request_id, fingerprint, dict(value), value)
    return ControlAnswer(True, "", value), entry


def _create_subscription(
    call: CreateSubscription, view: DirectoryView, now: int, fingerprint: str
) -> Outcome:
    if not INSTANT_MIN <= call.start_time <= INSTANT_MAX or not call.customer:
        return _refused("OUT_OF_RANGE")
    existing = view.subscription(call.customer)
    if existing is not None:
        same_id = existing.subscription_id == call.subscription_id
        return _refused("ALREADY_EXISTS" if same_id else "SUBSCRIPTION_OVERLAP")
    subscription = Subscription(
        customer=call.customer,
        subscription_id=call.subscription_id,
        plan_id=call.plan_id,
        plan_version=call.plan_version,
        billing_period=call.billing_period,
        late_usage=call.late_usage,
        start_time=call.start_time,
        end_time=None,
        create_time=now,
        bands=call.bands,
    )
    facts = subscription_facts(subscription)
    entry = ControlEntry(CREATE_SUBSCRIPTION, call.request_id, fingerprint, facts, facts)
    return ControlAnswer(True, "", facts), entry


def _close_period(
    call: ClosePeriod, view: DirectoryView, now: int, fingerprint: str, counters_of: CountersOf
) -> Outcome:
    subscription = view.subscription(call.customer)
    if subscription is None:
        return _refused("NO_SUBSCRIPTION")
    closed_until = view.closed_until(call.customer)
    if call.period_start < closed_until:
        return _refused("PERIOD_CLOSED")
    span = span_of(subscription, max(closed_until, subscription.start_time))
    start, end = span.start, span.end
    if call.period_start != start:
        return _refused("PERIOD_NOT_NEXT")
    if now < end:
        return _refused("PERIOD_NOT_ENDED")
    facts: dict[str, object] = {"customer": call.customer, "period_start": start, "period_end": end}
    counters = [counter_facts(counter) for counter in counters_of(call.customer, span)]
    value = {**facts, "counters": counters}
    entry = ControlEntry(CLOSE_PERIOD, call.request_id, fingerprint, facts, value)
    return ControlAnswer(True, "", value), entry


def counter_facts(counter: SeriesCounter) -> dict[str, object]:
    """Return a counter as JSON values; a band is [floor events, ceiling events, sum between].

    With what only some aggregations have (S6.3), so that late usage is judged by all that the
    close closed (S9.2): ``latest`` [event time, order key in hex], ``values`` sorted, ``exact``.
    """
    more: dict[str, object] = {}
    if counter.latest is not None:
        more["latest"] = [counter.latest[0], counter.latest[1].hex()]
    if counter.values is not None:
        more["values"] = sorted(counter.values)
    if counter.exact is not None:
        more["exact"] = f"{counter.exact.numerator}/{counter.exact.denominator}"
    return {
        "meter": counter.meter,
        "dimensions": [list(pair) for pair in counter.dimensions or ()],
        "value": counter.value,
        "events": counter.events,
        "bands": {
            charge: [band.floor_events, band.ceiling_events, band.between_sum]
            for charge, band in counter.bands.items()
        },
        **more,
    }
