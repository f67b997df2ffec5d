"""The steps of a scenario as values (S12.2). Instants are int µs UTC, amounts exact `Decimal`."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from rating_core.catalog import Plan
from rating_core.contract.values import Grant, Promotion
from rating_core.metering.batch import DimensionSet
from rating_core.metering.calls import DEFAULT_GRACE_US
from rating_core.zone import UTC_NAME, ZoneTable


@dataclass(frozen=True, slots=True)
class Subscribe:
    """Put the customer on a plan from ``effective`` on, by default the step's instant (S7.7).

    ``version``: the one in force for new subscriptions at that instant, unless the file names one
    (S8.6). ``overrides``: the customer's own prices, canonical JSON, empty for none.
    """

    subscription_id: str
    plan_id: str
    version: int
    effective: int | None = None
    anchor_day: int | None = None
    overrides: str = ""


@dataclass(frozen=True, slots=True)
class StepRecord:
    """One record of a usage step: ``quantity`` in 10^-``scale`` units of the meter (S7)."""

    meter: str
    quantity: int
    scale: int
    dimensions: DimensionSet = ()
    attributes: DimensionSet = ()


@dataclass(frozen=True, slots=True)
class SendUsage:
    """Send records, all of one event time, by default the step's instant.

    With one record ``event_id`` is its id, with several theirs are `<event_id>/1`, `<event_id>/2`…
    """

    records: tuple[StepRecord, ...]
    event_id: str
    event_time: int | None = None


@dataclass(frozen=True, slots=True)
class Retract:
    """Send what an earlier step sent under this id once more, as retractions (S7.6)."""

    event_id: str


@dataclass(frozen=True, slots=True)
class ChangePlan:
    """Move the subscription to a plan from ``effective`` on, by default the step's instant."""

    plan_id: str
    version: int
    effective: int | None = None
    overrides: str = ""


@dataclass(frozen=True, slots=True)
class Cancel:
    """End the subscription at ``effective``, by default the step's instant (S8.2)."""

    effective: int | None = None


@dataclass(frozen=True, slots=True)
class GrantCredit:
    """Give the customer a credit grant (S10.1)."""

    grant: Grant


@dataclass(frozen=True, slots=True)
class VoidCredit:
    """End a grant at once (S10.1)."""

    grant_id: str


@dataclass(frozen=True, slots=True)
class Promote:
    """Give the customer a promotion (S10.3)."""

    promotion: Promotion


@dataclass(frozen=True, slots=True)
class Finalize:
    """Finalise a period; ``None``: the one that ended last (S9.2).

    ``correction``: the statement of what came after the last period was finalised (S9.3).
    """

    period_start: int | None = None
    correction: bool = False


@dataclass(frozen=True, slots=True)
class ExpectStatement:
    """Compare a statement: the finalised one, else a preview at the step's instant (S9.4).

    ``period_start`` ``None``: the period that holds the instant. What is ``None`` or not among
    ``lines`` is not compared. ``correction``: the correction statement after the last period.
    """

    period_start: int | None = None
    total: Decimal | None = None
    amount_due: Decimal | None = None
    lines: tuple[tuple[str, Decimal], ...] = ()
    correction: bool = False


@dataclass(frozen=True, slots=True)
class ExpectBalance:
    """Compare what is left of a grant at the step's instant."""

    grant_id: str
    amount: Decimal


@dataclass(frozen=True, slots=True)
class ExpectStatus:
    """Compare the status of the last step that is no expectation, or its reason (S7.3)."""

    status: str


Action = (
    Subscribe
    | SendUsage
    | Retract
    | ChangePlan
    | Cancel
    | GrantCredit
    | VoidCredit
    | Promote
    | Finalize
    | ExpectStatement
    | ExpectBalance
    | ExpectStatus
)


@dataclass(frozen=True, slots=True)
class Step:
    """What happens at an instant. ``path``: where it stands in the file, as `timeline[3]`."""

    at: int
    path: str
    name: str
    action: Action


@dataclass(frozen=True, slots=True)
class PlanVersion:
    """A plan of the scenario; plans of one id are its versions 1, 2, … in file order (S8.6).

    ``effective_time``: new subscriptions take it from then on, ``None`` for always.
    ``existing_effective_time``: standing ones move to it then, ``None`` for never.
    """

    plan: Plan
    version: int
    effective_time: int | None = None
    existing_effective_time: int | None = None


@dataclass(frozen=True, slots=True)
class Scenario:
    """One scenario file: plans, a customer in a time zone, and what happens in order (S12.2).

    ``zone``: the table of ``time_zone``, ``None`` for UTC. ``acceptance_window``: W in µs, ``None``
    for unlimited, so that an id is known however late it comes; ``grace``: µs after a period's end
    at which it may be finalised (S7.5).
    """

    id: str
    plans: tuple[PlanVersion, ...]
    customer: str
    timeline: tuple[Step, ...]
    time_zone: str = UTC_NAME
    zone: ZoneTable | None = None
    acceptance_window: int | None = None
    grace: int = DEFAULT_GRACE_US
