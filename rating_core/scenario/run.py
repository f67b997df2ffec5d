"""Running a scenario: its steps in order on a virtual clock, through the real machine (S12.2)."""

from __future__ import annotations

from collections.abc import Mapping

from rating_core.errors import OutOfRange
from rating_core.instant import format_instant
from rating_core.metering.batch import RecordStatus, RejectReason
from rating_core.scenario.contract_log import ContractLog, NotFound
from rating_core.scenario.outcome import Difference, ScenarioOutcome, compare, difference
from rating_core.scenario.status_names import CARRIED_OUT
from rating_core.scenario.steps import (
    Action,
    ExpectBalance,
    ExpectStatement,
    ExpectStatus,
    Retract,
    Scenario,
    SendUsage,
    Step,
)

ACCEPTED = RecordStatus.ACCEPTED.name
_INSTANTS = ("earliest", "next")
"""What of a refusal is an instant, µs."""


def run_scenario(scenario: Scenario) -> ScenarioOutcome:
    """Return what came of each expectation; a step that is refused unexpectedly is a difference.

    Records that are not accepted, and no `expect_status` after them, are a warning.
    """
    run = _Run(scenario)
    timeline = scenario.timeline
    for step, following in zip(timeline, [*timeline[1:], None], strict=True):
        checked = following is not None and isinstance(following.action, ExpectStatus)
        run.take(step, status_checked=checked)
    return ScenarioOutcome(tuple(run.differences), tuple(run.warnings))


class _Run:
    def __init__(self, scenario: Scenario) -> None:
        self.differences: list[Difference] = []
        self.warnings: list[str] = []
        self._contract = ContractLog(scenario)
        self._contract.begin(scenario.timeline[0].at)
        self._sent: dict[str, tuple[SendUsage, int]] = {}
        self._statuses: tuple[str, ...] = ()

    def take(self, step: Step, *, status_checked: bool) -> None:
        """Carry one step out. ``status_checked``: the next step looks at its status."""
        self._contract.advance(step.at)
        action = step.action
        try:
            if isinstance(action, ExpectStatus):
                self._expect_status(step.path, action)
            elif isinstance(action, ExpectStatement):
                self._expect_statement(step.path, action)
            elif isinstance(action, ExpectBalance):
                self._expect_balance(step.path, action)
            elif isinstance(action, SendUsage | Retract):
                self._record(step, action, status_checked=status_checked)
            else:
                self._control(step, action, status_checked=status_checked)
        except OutOfRange as error:
            self._differ(step.path, f"OUT_OF_RANGE: {error}")
        except NotFound as error:
            self._differ(step.path, str(error))

    def _differ(self, path: str, message: str) -> None:
        self.differences.append(Difference(path, (message,)))

    # --- what happens ----------------------------------------------------------------------------

    def _record(self, step: Step, action: SendUsage | Retract, *, status_checked: bool) -> None:
        retract = isinstance(action, Retract)
        if isinstance(action, Retract):
            sent, event_time = self._sent[action.event_id]
        else:
            sent, event_time = action, step.at
            if action.event_time is not None:
                event_time = action.event_time
        answer = self._contract.record(sent, event_time, retract=retract)
        self._statuses = tuple(
            _status_name(*codes)
            for codes in zip(answer.status.tolist(), answer.reason.tolist(), strict=True)
        )
        if not retract and (ACCEPTED in self._statuses or sent.event_id not in self._sent):
            # What a retraction repeats: the records that were counted, not a refused attempt.
            self._sent[sent.event_id] = sent, event_time
        if not status_checked and set(self._statuses) != {ACCEPTED}:
            names = ", ".join(dict.fromkeys(self._statuses))
            self.warnings.append(f"{step.path}: {step.name} is {names}; no expect_status follows")

    def _control(self, step: Step, action: Action, *, status_checked: bool) -> None:
        answer = self._contract.control(action)
        self._statuses = (CARRIED_OUT if answer.ok else answer.reason,)
        if not (answer.ok or status_checked):
            words = _words(answer.value)
            message = f"{step.name} is refused: {answer.reason}" + (words and f" ({words})")
            self._differ(step.path, message)

    # --- what is expected ------------------------------------------------------------------------

    def _expect_status(self, path: str, action: ExpectStatus) -> None:
        wanted = action.status
        if self._statuses and all(wanted in _names_of(status) for status in self._statuses):
            return
        got = ", ".join(dict.fromkeys(self._statuses)) or "nothing: no step before it"
        self._differ(path, f"status: expected {wanted}, got {got}")

    def _expect_statement(self, path: str, action: ExpectStatement) -> None:
        start, correction = action.period_start, action.correction
        statement = self._contract.statement(start, correction=correction)
        found = compare(path, action, statement)
        if found is not None:
            self.differences.append(found)

    def _expect_balance(self, path: str, action: ExpectBalance) -> None:
        balance = self._contract.balance(action.grant_id)
        if balance != action.amount:
            message = difference(f"balance of {action.grant_id}", action.amount, balance)
            self._differ(path, message)


def _status_name(status: int, reason: int) -> str:
    name = RecordStatus(status).name
    return f"{name}/{RejectReason(reason).name}" if reason else name


def _names_of(status: str) -> tuple[str, ...]:
    """Return what `expect_status` may call a status: `REJECTED/TOO_OLD` by either word, or both."""
    return status, *status.split("/")


def _words(value: Mapping[str, object]) -> str:
    """Return what a refusal says besides its reason."""
    shown = {
        key: format_instant(item) if key in _INSTANTS and isinstance(item, int) else str(item)
        for key, item in value.items()
    }
    return ", ".join(f"{key} {text}" for key, text in shown.items())
