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
)
from rating_core.metering.directory import (
    CLOSE_PERIOD,
    CONFIGURE,
    DirectoryView,
)
from rating_core.metering.entry import ControlEntry
from rating_core.metering.parts import PartSpan, PeriodSpan, period_at
from rating_core.metering.series_state import Span
from rating_core.metering.subscription_calls import (
    SUBSCRIPTION_CALLS,
    CountedOf,
    Outcome,
    decide_subscription,
    refused,
)
from rating_core.units import INT64_MIN

CountersOf = Callable[[str, Span], tuple[SeriesCounter, ...]]
"""Counters of a customer over a part, staged records included."""


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
    counters_of: CountersOf,
    counted_of: CountedOf,
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
        return decide_subscription(call, view, now, fingerprint, counted_of)
    if isinstance(call, ClosePeriod):
        return _close_period(call, view, now, fingerprint, counters_of)
    raise TypeError(f"a usage shard does not take {type(call).__name__}")


def _configure(
    call: Configure, view: DirectoryView, now: int, all_remembered: bool, fingerprint: str
) -> Outcome:
    if min(call.max_series, call.max_values) < 1 or (
        call.window_us is not None and call.window_us < 1
    ):
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


def _close_period(
    call: ClosePeriod, view: DirectoryView, now: int, fingerprint: str, counters_of: CountersOf
) -> Outcome:
    contract = view.contract(call.customer)
    if not contract:
        return refused("NO_SUBSCRIPTION")
    held = [one for one in contract if one.start_time <= call.period_start]
    subscription = held[-1] if held else contract[0]
    closed_until = view.closed_until(call.customer, subscription.subscription_id)
    if call.period_start < closed_until:
        return refused("PERIOD_CLOSED")
    following = max(closed_until, subscription.start_time)
    if not subscription.holds(following):
        return refused("PERIOD_NOT_NEXT")
    period = period_at(subscription, following)
    if call.period_start != period.start:
        return refused("PERIOD_NOT_NEXT")
    if now < period.end:
        return refused("PERIOD_NOT_ENDED")
    facts: dict[str, object] = {
        "customer": call.customer,
        "subscription_id": subscription.subscription_id,
        "period_start": period.start,
        "period_end": period.end,
    }
    counters = [
        counter_facts(counter) | _place_of(part, period)
        for part in period.parts
        for counter in counters_of(call.customer, part.span)
    ]
    value = {**facts, "counters": counters}
    entry = ControlEntry(CLOSE_PERIOD, call.request_id, fingerprint, facts, value)
    return ControlAnswer(True, "", value), entry


def _place_of(part: PartSpan, period: PeriodSpan) -> dict[str, object]:
    """Return what tells the counters of later parts from those of the first (S8.2)."""
    return {"part_start": part.start} if part.start > period.start else {}


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
