"""Running a scenario: its steps in order on a virtual clock, through the real machine (S12.2).

Each step becomes the call that a server would make of it, decided by a shard's state machine, and
statements come from the pipeline that prices all others (S4.1).
"""

from __future__ import annotations

from rating_core.bands import plan_bands
from rating_core.catalog import Meter
from rating_core.errors import OutOfRange
from rating_core.metering.batch import RecordStatus, RejectReason
from rating_core.metering.calls import (
    ControlAnswer,
    CountersAnswer,
    CreateSubscription,
    GetCounters,
    RecordCall,
)
from rating_core.pipeline import rate_statement
from rating_core.scenario.outcome import Difference, ScenarioOutcome, compare
from rating_core.scenario.records import batch_of
from rating_core.scenario.steps import (
    ExpectStatement,
    ExpectStatus,
    PlanVersion,
    Retract,
    Scenario,
    SendUsage,
    Step,
    Subscribe,
)
from rating_core.scenario.virtual_log import VirtualLog

ACCEPTED = RecordStatus.ACCEPTED.name
CARRIED_OUT = "OK"
"""Status of a step that is no usage and was carried out."""


def run_scenario(scenario: Scenario) -> ScenarioOutcome:
    """Return what came of each expectation; a step that is refused unexpectedly is a difference."""
    run = _Run(scenario)
    timeline = scenario.timeline
    for step, following in zip(timeline, [*timeline[1:], None], strict=True):
        checked = following is not None and isinstance(following.action, ExpectStatus)
        run.take(step, status_checked=checked)
    return ScenarioOutcome(tuple(run.differences), tuple(run.warnings))


class _Run:
    def __init__(self, scenario: Scenario) -> None:
        meters: dict[str, Meter] = {}
        for held in scenario.plans:
            meters.update({meter.id: meter for meter in held.plan.meters})
        self.differences: list[Difference] = []
        self.warnings: list[str] = []
        self._scenario = scenario
        self._log = VirtualLog(meters)
        self._sent: dict[str, tuple[SendUsage, int]] = {}
        self._statuses: tuple[str, ...] = ()

    def take(self, step: Step, *, status_checked: bool) -> None:
        """Carry one step out. ``status_checked``: the next step looks at its status."""
        self._log.now = step.at
        action = step.action
        if isinstance(action, ExpectStatus):
            self._expect_status(step.path, action)
        elif isinstance(action, ExpectStatement):
            self._expect_statement(step, action)
        elif isinstance(action, SendUsage | Retract):
            self._record(step, action, status_checked=status_checked)
        else:
            answer = self._control(step)
            self._statuses = (CARRIED_OUT if answer.ok else answer.reason,)
            if not (answer.ok or status_checked):
                words = ", ".join(f"{key} {value}" for key, value in answer.value.items())
                message = f"{step.name} is refused: {answer.reason}" + (words and f" ({words})")
                self._differ(step.path, message)

    def _differ(self, path: str, message: str) -> None:
        self.differences.append(Difference(path, (message,)))

    # --- records ---------------------------------------------------------------------------------

    def _record(self, step: Step, action: SendUsage | Retract, *, status_checked: bool) -> None:
        retract = isinstance(action, Retract)
        if isinstance(action, Retract):
            sent, event_time = self._sent[action.event_id]
        else:
            sent, event_time = action, step.at
            if action.event_time is not None:
                event_time = action.event_time
        batch = batch_of(self._scenario.customer, sent, event_time, retract=retract)
        answer = self._log.record(RecordCall(batch))
        self._statuses = tuple(
            _status_name(*codes)
            for codes in zip(answer.status.tolist(), answer.reason.tolist(), strict=True)
        )
        accepted = ACCEPTED in self._statuses
        if not retract and (accepted or sent.event_id not in self._sent):
            # What a retraction repeats: the records that were counted, not a refused attempt.
            self._sent[sent.event_id] = sent, event_time
        if not status_checked and set(self._statuses) != {ACCEPTED}:
            names = ", ".join(dict.fromkeys(self._statuses))
            self.warnings.append(f"{step.path}: {step.name} is {names}; no expect_status follows")

    # --- calls that change what decides ----------------------------------------------------------

    def _control(self, step: Step) -> ControlAnswer:
        if isinstance(step.action, Subscribe):
            return self._subscribe(step.action, step.at)
        return ControlAnswer(False, "NOT_SUPPORTED")

    def _version(self, plan_id: str, version: int, instant: int) -> PlanVersion:
        """Return a plan version; 0: the latest in force for new subscriptions (S8.6)."""
        versions = self._scenario.versions(plan_id)
        if version:
            return versions[version - 1]
        started = [v for v in versions if v.effective_time is None or v.effective_time <= instant]
        return (started or versions[:1])[-1]

    def _subscribe(self, action: Subscribe, at: int) -> ControlAnswer:
        start = at if action.effective is None else action.effective
        held = self._version(action.plan_id, action.version, start)
        plan = held.plan
        call = CreateSubscription(
            customer=self._scenario.customer,
            subscription_id=action.subscription_id,
            plan_id=plan.id,
            plan_version=held.version,
            billing_period=plan.billing_period,
            late_usage=plan.late_usage,
            start_time=start,
            bands=plan_bands(plan),
        )
        return self._log.control(call)

    # --- expectations ----------------------------------------------------------------------------

    def _expect_status(self, path: str, action: ExpectStatus) -> None:
        wanted = action.status
        if self._statuses and all(wanted in _names_of(status) for status in self._statuses):
            return
        got = ", ".join(dict.fromkeys(self._statuses)) or "nothing: no step before it"
        self._differ(path, f"status: expected {wanted}, got {got}")

    def _expect_statement(self, step: Step, action: ExpectStatement) -> None:
        instant = step.at if action.period_start is None else action.period_start
        answer = self._log.ask(GetCounters(self._scenario.customer, instant))
        if not isinstance(answer, CountersAnswer) or answer.subscription is None:
            self._differ(step.path, "no subscription holds that period")
            return
        subscription = answer.subscription
        held = self._version(subscription.plan_id, subscription.plan_version, instant)
        try:
            statement = rate_statement(held.plan, answer.counters)
        except OutOfRange as error:
            self._differ(step.path, f"OUT_OF_RANGE: {error}")
            return
        found = compare(step.path, action, statement)
        if found is not None:
            self.differences.append(found)


def _status_name(status: int, reason: int) -> str:
    name = RecordStatus(status).name
    return f"{name}/{RejectReason(reason).name}" if reason else name


def _names_of(status: str) -> tuple[str, ...]:
    """Return what `expect_status` may call a status: `REJECTED/TOO_OLD` by either word, or both."""
    return status, *status.split("/")
