"""Reading the steps of a timeline: one function a step, every fault noted (S12.2)."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal

from rating_core.catalog import RESERVED_LINE_IDS, ZERO
from rating_core.contract.values import (
    PRIORITY_DEFAULT,
    Grant,
    GrantKind,
    Promotion,
    PromotionKind,
)
from rating_core.errors import PlanInvalid
from rating_core.instant import read_instant
from rating_core.metering.batch import DimensionSet
from rating_core.metering.catalogue_calls import version_for
from rating_core.plan.fields import FaultList, Fields, IdSpace, Place, listed, read_decimal, shown
from rating_core.plan.overrides import read_overrides
from rating_core.scenario.status_names import known_status, status_names
from rating_core.scenario.steps import (
    Action,
    Cancel,
    ChangePlan,
    ExpectBalance,
    ExpectStatement,
    ExpectStatus,
    Finalize,
    GrantCredit,
    PlanVersion,
    Promote,
    Retract,
    SendUsage,
    StepRecord,
    Subscribe,
    VoidCredit,
)
from rating_core.units import decimals, to_units

ANCHOR_DAY_MAX = 31
COVERS_MAX = 1_000
PERIODS_MAX = 1_000_000
PRIORITY_MAX = 1_000_000
RECORDS_MAX = 10_000
VERSION_MAX = 1_000_000
_HUNDRED = Decimal(100)


@dataclass(slots=True)
class Names:
    """What steps may refer to, gathered while the timeline is read.

    ``plans``: versions by id, ``None`` where the plans are faulty and nothing is checked.
    ``lines``: ids of charges and commitments; ``charges``: those of charges alone.
    """

    plans: Mapping[str, Sequence[PlanVersion]] | None
    charges: Collection[str]
    lines: Collection[str]
    ids: IdSpace = field(default_factory=IdSpace)
    grants: set[str] = field(default_factory=set)
    promotions: set[str] = field(default_factory=set)
    events: set[str] = field(default_factory=set)
    subscriptions: int = 0


@dataclass(frozen=True, slots=True)
class PlanTerms:
    """What a subscription or a change puts the customer on; version 0 after a fault."""

    plan_id: str
    version: int
    effective: int | None
    overrides: str = ""


@dataclass(slots=True)
class StepReader:
    """Reads the body of one step: its ``fields``, at instant ``at``."""

    fields: Fields
    faults: FaultList
    names: Names
    at: int
    number: int
    """The step's place in the timeline, from 0; ids that are not given are made of it."""

    def instant(self, key: str) -> int | None:
        """Return the instant of ``key``, ``None`` if absent or faulty."""
        value = self.fields.take(key)
        return None if value is None else read_instant(value, self.fields.place(key), self.faults)

    def terms(self) -> PlanTerms:
        """Return plan, version, instant and overrides that a subscription or change names."""
        fields = self.fields
        effective = self.instant("effective")
        plan_id = fields.id("plan", required=True) or ""
        version = fields.whole("version", at_most=VERSION_MAX)
        overrides = fields.take("overrides")
        plans = self.names.plans
        if not plan_id or plans is None:
            return PlanTerms(plan_id, 0, effective)
        if plan_id not in plans:
            message = f"expected one of the scenario's plans ({listed(plans)}), got {plan_id}"
            fields.fault("plan", "UNKNOWN_PLAN", message)
            return PlanTerms(plan_id, 0, effective)
        versions = plans[plan_id]
        held: PlanVersion | None = None
        if version is None:
            held = version_for(versions, self.at if effective is None else effective)
        elif 1 <= version <= len(versions):
            held = versions[version - 1]
        if held is None:
            message = f"expected 1 to {len(versions)}, the versions of {plan_id}, got {version}"
            fields.fault("version", "UNKNOWN_VERSION", message)
            return PlanTerms(plan_id, 0, effective)
        text = "" if overrides is None else self._overrides(held, overrides)
        return PlanTerms(plan_id, held.version, effective, text)

    def _overrides(self, held: PlanVersion, document: object) -> str:
        """Return the customer's own prices as canonical JSON (S8.6)."""
        place = self.fields.place("overrides")
        try:
            text, _ = read_overrides(held.plan, document, place.path)
        except PlanInvalid as error:
            for fault in error.faults:
                self.faults.add(Place(fault.path, place.position), fault.reason, fault.message)
            return ""
        return text

    def charges(self, key: str) -> tuple[str, ...]:
        """Return a list of ids of charges; beside faulty plans any."""
        names = []
        known = None if self.names.plans is None else self.names.charges
        for spot, item in self.fields.items(key, at_most=COVERS_MAX) or []:
            if not isinstance(item, str) or (known is not None and item not in known):
                message = f"expected one of {listed(known or ())}, got {shown(item)}"
                self.faults.add(spot, "UNKNOWN_CHARGE", message)
            else:
                names.append(item)
        return tuple(names)


def _subscribe(step: StepReader) -> Action:
    terms = step.terms()
    names = step.names
    name = "main" if not names.subscriptions else f"main-{names.subscriptions + 1}"
    names.subscriptions += 1
    anchor_day = step.fields.whole("anchor_day", at_most=ANCHOR_DAY_MAX)
    if anchor_day == 0:
        step.fields.fault("anchor_day", "OUT_OF_RANGE", "expected a day from 1 to 31")
    return Subscribe(
        subscription_id=step.fields.id("id") or name,
        plan_id=terms.plan_id,
        version=terms.version,
        effective=terms.effective,
        anchor_day=anchor_day,
        overrides=terms.overrides,
    )


def _change_plan(step: StepReader) -> Action:
    terms = step.terms()
    return ChangePlan(terms.plan_id, terms.version, terms.effective, terms.overrides)


def _cancel(step: StepReader) -> Action:
    return Cancel(step.instant("effective"))


def _pairs(fields: Fields, key: str) -> DimensionSet:
    mapping = fields.mapping(key)
    if mapping is None:
        return ()
    named = [(name, mapping.text(name)) for name in mapping.names()]
    return tuple(sorted((name, value) for name, value in named if value))


def _record(step: StepReader, meter: str, document: object, place: Place) -> StepRecord | None:
    """Return one record: a quantity, or `{quantity, dimensions, attributes}` (S6.5)."""
    dimensions: DimensionSet = ()
    attributes: DimensionSet = ()
    if isinstance(document, dict):
        fields = Fields.open(document, place, step.faults)
        if fields is None:
            return None
        dimensions, attributes = _pairs(fields, "dimensions"), _pairs(fields, "attributes")
        place, document = fields.place("quantity"), fields.take("quantity", required=True)
        fields.finish()
        if document is None:
            return None
    number = read_decimal(document, place, step.faults, most_decimals=64, limit=None, signed=True)
    if number is None:
        return None
    scale = decimals(number)
    return StepRecord(meter, to_units(number, scale), scale, dimensions, attributes)


def _usage(step: StepReader, given: Fields) -> Action:
    """``given``: the fields of the step itself, which hold event_id and event_time."""
    fields = step.fields
    items: list[tuple[str, Place, object]] = []
    for meter in fields.names():
        raw, place = fields.take(meter), fields.place(meter)
        if isinstance(raw, list):
            items += [(meter, place.item(index), item) for index, item in enumerate(raw)]
        elif raw is not None:
            items.append((meter, place, raw))
    if not 1 <= len(items) <= RECORDS_MAX:
        message = f"expected 1 to {RECORDS_MAX} records, got {len(items)}"
        step.faults.add(given.place("usage"), "TOO_MANY" if items else "EMPTY", message)
    read = [_record(step, meter, item, spot) for meter, spot, item in items[:RECORDS_MAX]]
    records = [record for record in read if record is not None]
    event_id = given.text("event_id") or f"step-{step.number}"
    step.names.events.add(event_id)
    raw = given.take("event_time")
    time = None if raw is None else read_instant(raw, given.place("event_time"), step.faults)
    return SendUsage(tuple(records), event_id, time)


def _retract(step: StepReader) -> Action:
    event_id = step.fields.text("event_id", required=True) or ""
    if event_id and event_id not in step.names.events:
        message = f"expected the event_id of an earlier usage step, got {shown(event_id)}"
        step.fields.fault("event_id", "UNKNOWN_EVENT", message)
    return Retract(event_id)


def _grant(step: StepReader) -> Action:
    fields = step.fields
    name = fields.id("id", required=True) or ""
    if name:
        step.names.ids.declare(name, fields.place("id"), step.faults)
        step.names.grants.add(name)
    effective, expires = step.instant("effective"), step.instant("expires")
    if effective is None:
        effective = step.at
    if expires is not None and expires <= effective:
        fields.fault("expires", "OUT_OF_RANGE", "expected an instant after the grant's start")
    amount = fields.decimal("amount", required=True)
    kind = fields.choice("kind", GrantKind) or GrantKind.PREPAID
    priority = fields.whole("priority", at_most=PRIORITY_MAX)
    grant = Grant(
        id=name,
        amount=amount if amount is not None else ZERO,
        kind=kind,
        effective=effective,
        expires=expires,
        priority=PRIORITY_DEFAULT if priority is None else priority,
        covers=step.charges("covers"),
        create_time=step.at,
    )
    return GrantCredit(grant)


def _void(step: StepReader) -> Action:
    return VoidCredit(_known_grant(step))


def _known_grant(step: StepReader) -> str:
    name = step.fields.id("grant", required=True) or ""
    if name and name not in step.names.grants:
        message = f"expected the id of an earlier grant ({listed(sorted(step.names.grants))})"
        step.fields.fault("grant", "UNKNOWN_GRANT", f"{message}, got {name}")
    return name


def _promote(step: StepReader) -> Action:
    fields = step.fields
    given = fields.id("id")
    name = given or f"promotion-{len(step.names.promotions) + 1}"
    step.names.ids.declare(name, fields.place("id"), step.faults)
    step.names.promotions.add(name)
    periods, until = fields.whole("periods", at_most=PERIODS_MAX), step.instant("until")
    if periods is not None and until is not None:
        fields.fault("until", "NOT_ALLOWED", "either periods or until, not both")
    kind = fields.choice("kind", PromotionKind, required=True)
    percent = kind in (PromotionKind.PERCENT_OFF, PromotionKind.OVERAGE_PERCENT_OFF)
    read_value = fields.percent if percent else fields.decimal
    value = read_value("value", required=True)
    if percent and value is not None and value > _HUNDRED:
        fields.fault("value", "TOO_LARGE", "expected at most 100")
    promotion = Promotion(
        id=name,
        kind=kind or PromotionKind.PERCENT_OFF,
        value=value if value is not None else ZERO,
        instant=step.at,
        charges=step.charges("charges"),
        periods=periods,
        until=until,
    )
    return Promote(promotion)


def _finalize(step: StepReader) -> Action:
    return Finalize(step.instant("period_start"), step.fields.boolean("correction"))


def _expect_statement(step: StepReader) -> Action:
    fields, names = step.fields, step.names
    period_start = step.instant("period_start")
    total = fields.decimal("total", limit=None, signed=True)
    due = fields.decimal("amount_due", limit=None, signed=True)
    expected = fields.mapping("lines")
    known = {*names.lines, *names.grants, *names.promotions, *RESERVED_LINE_IDS}
    lines = []
    for name in [] if expected is None else expected.names():
        amount = None if expected is None else expected.decimal(name, limit=None, signed=True)
        if expected is not None and name not in known and names.plans is not None:
            message = "expected the id of a charge, a commitment, a grant or a promotion"
            expected.fault(name, "UNKNOWN_LINE", f"{message}, got {shown(name)}")
        if amount is not None:
            lines.append((name, amount))
    if not any(key in fields for key in ("total", "amount_due", "lines")):
        fields.fault("total", "MISSING", "total, amount_due or lines is required")
    return ExpectStatement(
        period_start, total, due, tuple(lines), step.fields.boolean("correction")
    )


def _expect_balance(step: StepReader) -> Action:
    grant = _known_grant(step)
    amount = step.fields.decimal("amount", required=True, limit=None, signed=True)
    return ExpectBalance(grant, amount if amount is not None else ZERO)


BODIES: Mapping[str, Callable[[StepReader], Action]] = {
    "subscribe": _subscribe,
    "change_plan": _change_plan,
    "cancel": _cancel,
    "retract": _retract,
    "grant": _grant,
    "void": _void,
    "promote": _promote,
    "finalize": _finalize,
    "expect_statement": _expect_statement,
    "expect_balance": _expect_balance,
}
"""Steps whose body is a mapping with keys of its own."""
STEP_NAMES = (*BODIES, "usage", "expect_status")


def read_action(
    given: Fields, name: str, faults: FaultList, names: Names, at: int, number: int
) -> Action | None:
    """Return the action ``name`` of a step whose fields are ``given``; ``None`` after a fault."""
    before = len(faults)
    if name == "expect_status":
        status = given.text(name)
        if status is not None and not known_status(status):
            given.fault(name, "UNKNOWN_VALUE", f"expected {status_names()}; got {shown(status)}")
            return None
        return None if status is None else ExpectStatus(status)
    fields = given.mapping(name)
    if fields is None:
        return None
    step = StepReader(fields, faults, names, at, number)
    if name == "usage":
        action = _usage(step, given)
    else:
        action = BODIES[name](step)
        fields.finish()
    return action if len(faults) == before else None
