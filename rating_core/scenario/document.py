"""Scenario documents: the tree of a file to a `Scenario`, all faults at once (S12.2, S2.1)."""

from __future__ import annotations

import re
from collections.abc import Callable

from rating_core.catalog import Meter, Plan
from rating_core.errors import ScenarioInvalid
from rating_core.instant import format_instant, read_instant
from rating_core.metering.calls import DAY_US, DEFAULT_GRACE_US, SECOND_US
from rating_core.period import HOUR_US
from rating_core.plan.document import MinorUnit, read_plan
from rating_core.plan.fields import FaultList, Fields, Place, read_text, shown
from rating_core.scenario.step_fields import STEP_NAMES, Names, read_action
from rating_core.scenario.steps import PlanVersion, Scenario, Step
from rating_core.zone import UTC_NAME, ZoneTable

KIND = "scenario"
PLANS_MAX = 1_000
STEPS_MAX = 100_000
_VERSION_KEYS = ("effective_time", "existing_effective_time")

ZoneOf = Callable[[str], ZoneTable | None]
"""Returns the table of the time zone of an IANA name, ``None`` if there is none."""
_UNITS_US = {"s": SECOND_US, "m": 60 * SECOND_US, "h": HOUR_US, "d": DAY_US}
_DURATION = re.compile(r"(\d{1,9})([smhd])", re.ASCII)
UNLIMITED = "unlimited"


def scenario_from_document(document: object, minor_unit: MinorUnit, zone_of: ZoneOf) -> Scenario:
    """Return the scenario that ``document`` describes, a tree of dict, list and str (S12.2).

    `kind`, `id`, `plans`, `customer` and `timeline` are mandatory; `source` and `note` may say
    where it comes from, `acceptance_window` and `grace` what else is in force (S7.5). Raises
    ScenarioInvalid with all faults in document order, with paths such as
    `timeline[3].usage.calls`. What steps refer to is not looked at beside faulty plans.
    """
    faults = FaultList()
    fields = Fields.open(document, Place(), faults)
    if fields is None:
        raise ScenarioInvalid(faults.in_document_order())
    kind = fields.text("kind", required=True)
    if kind is not None and kind != KIND:
        fields.fault("kind", "UNKNOWN_VALUE", f"expected {KIND}, got {kind!r}")
    scenario_id = fields.id("id", required=True)
    fields.text("source")
    _read_note(fields, faults)
    plans = _read_plans(fields, faults, minor_unit)
    customer = fields.text("customer", required=True)
    if customer == "":
        fields.fault("customer", "EMPTY", "expected a text")
    name = fields.text("time_zone") or UTC_NAME
    zone = None if name == UTC_NAME else zone_of(name)
    if name != UTC_NAME and zone is None:
        message = f"expected an IANA name such as Europe/Berlin, got {shown(name)}"
        fields.fault("time_zone", "UNKNOWN_TIME_ZONE", message)
    window = _read_duration(fields, "acceptance_window", None, unlimited=True)
    grace = _read_duration(fields, "grace", DEFAULT_GRACE_US)
    timeline = _read_timeline(fields, faults, _names(plans))
    fields.finish()
    if len(faults) or scenario_id is None or customer is None or plans is None:
        raise ScenarioInvalid(faults.in_document_order())
    return Scenario(
        scenario_id, tuple(plans), customer, tuple(timeline), name, zone, window, grace or 0
    )


def _read_duration(
    fields: Fields, key: str, default: int | None, *, unlimited: bool = False
) -> int | None:
    """Return a duration such as `7d`, `36h`, `90m` in µs; ``None`` for `unlimited`."""
    text = fields.text(key)
    if text is None:
        return default
    if unlimited and text == UNLIMITED:
        return None
    match = _DURATION.fullmatch(text)
    if match is None:
        words = f" or `{UNLIMITED}`" if unlimited else ""
        message = f"expected a duration such as 7d, 36h, 90m{words}, got {shown(text)}"
        fields.fault(key, "NOT_A_DURATION", message)
        return default
    return int(match[1]) * _UNITS_US[match[2]]


def _read_note(fields: Fields, faults: FaultList) -> None:
    """Look at the note, which may be a text or a list of texts."""
    note = fields.take("note")
    if isinstance(note, list):
        for index, item in enumerate(note):
            read_text(item, fields.place("note").item(index), faults)
    elif note is not None:
        read_text(note, fields.place("note"), faults)


def _names(plans: list[PlanVersion] | None) -> Names:
    if plans is None:
        return Names(None, (), ())
    versions: dict[str, list[PlanVersion]] = {}
    charges: dict[str, None] = {}
    lines: dict[str, None] = {}
    for held in plans:
        versions.setdefault(held.plan.id, []).append(held)
        charges.update(dict.fromkeys(charge.id for charge in held.plan.charges))
        lines.update(dict.fromkeys(commitment.id for commitment in held.plan.commitments))
    return Names(versions, tuple(charges), (*charges, *lines))


def _read_plans(
    fields: Fields, faults: FaultList, minor_unit: MinorUnit
) -> list[PlanVersion] | None:
    """Return the plan versions, ``None`` after a fault.

    Inline meters of one id must be one meter (S2).
    """
    plans: list[PlanVersion] = []
    meters: dict[str, Meter] = {}
    before = len(faults)
    for place, item in fields.items("plans", required=True, at_most=PLANS_MAX) or []:
        instants: dict[str, int | None] = dict.fromkeys(_VERSION_KEYS)
        body = item
        if isinstance(item, dict):
            keys = [key for key in _VERSION_KEYS if key in item]
            places = {key: place.key(key, list(item).index(key)) for key in keys}
            instants |= {key: read_instant(item[key], places[key], faults) for key in keys}
            body = {key: value for key, value in item.items() if key not in _VERSION_KEYS}
        plan: Plan | None = read_plan(body, place, faults, minor_unit, meters)
        if plan is None:
            continue
        meters.update({meter.id: meter for meter in plan.meters})
        version = 1 + sum(held.plan.id == plan.id for held in plans)
        plans.append(PlanVersion(plan, version, *(instants[key] for key in _VERSION_KEYS)))
    return plans if plans and len(faults) == before else None


def _read_timeline(fields: Fields, faults: FaultList, names: Names) -> list[Step]:
    steps: list[Step] = []
    latest: int | None = None
    items = fields.items("timeline", required=True, at_most=STEPS_MAX) or []
    for number, (place, item) in enumerate(items):
        step = Fields.open(item, place, faults)
        if step is None:
            continue
        raw = step.take("at", required=True)
        at = None if raw is None else read_instant(raw, step.place("at"), faults)
        if at is not None and at < 0:
            step.fault("at", "OUT_OF_RANGE", "expected the year 1970 or later")
        if at is not None and latest is not None and at < latest:
            message = f"at never decreases: expected {format_instant(latest)} or later"
            step.fault("at", "OUT_OF_ORDER", message)
        latest = latest if at is None else max(at, latest if latest is not None else at)
        given = [name for name in STEP_NAMES if name in step]
        if len(given) != 1:
            expected = ", ".join(sorted(STEP_NAMES))
            message = f"expected one of {expected}, got {' and '.join(given) or 'none'}"
            faults.add(place, "STEP_MISSING" if not given else "STEP_AMBIGUOUS", message)
        actions = [read_action(step, name, faults, names, at or 0, number) for name in given]
        step.finish()
        if at is not None and len(actions) == 1 and actions[0] is not None:
            steps.append(Step(at, place.path, given[0], actions[0]))
    return steps
