"""One customer's contract on a virtual log: each step as the call that a server makes (S12.2).

Plans are looked up as a server does: a version, with the customer's own prices where it has any
(S8.6). Statements come from `rate_contract`, as all others do (S4.1).
"""

from __future__ import annotations

from decimal import Decimal

from rating_core.bands import plan_bands
from rating_core.catalog import Meter, Plan
from rating_core.contract.hours import hours_differ
from rating_core.contract.rate import rate_contract
from rating_core.contract.usage import PlanRef
from rating_core.instant import format_instant
from rating_core.metering.calls import (
    CancelSubscription,
    ChangePlan,
    Configure,
    Control,
    ControlAnswer,
    CreateSubscription,
    GetSubscriptions,
    MigratePlan,
    RecordAnswer,
    RecordCall,
    Subscription,
)
from rating_core.metering.catalogue_calls import MOVE_AHEAD_US
from rating_core.metering.contracts.finalize import period_that_ended_last
from rating_core.metering.contracts.ledger_calls import (
    AccountAnswer,
    ContractAnswer,
    CreateGrant,
    CreatePromotion,
    FinalizePeriod,
    GetAccount,
    GetContract,
    VoidGrant,
)
from rating_core.metering.contracts.statement_entry import FinalStatement, read_final_statement
from rating_core.plan.overrides import apply_overrides
from rating_core.scenario import steps
from rating_core.scenario.records import batch_of
from rating_core.scenario.virtual_log import VirtualLog
from rating_core.statement import Statement


class NotFound(LookupError):
    """What an expectation asks for is not there; ``str()`` says what, and what there is."""


class ContractLog:
    """The customer of a scenario; ``now`` of every call is the virtual clock's, µs."""

    def __init__(self, scenario: steps.Scenario) -> None:
        meters: dict[str, Meter] = {}
        for held in scenario.plans:
            meters.update({meter.id: meter for meter in held.plan.meters})
        self._scenario = scenario
        self._plans = {PlanRef(v.plan.id, v.version): v.plan for v in scenario.plans}
        zone = scenario.zone
        zones = {} if zone is None else {zone.digest: zone}
        self._log = VirtualLog(meters, self._plan_of, zones)
        self._final: dict[int, FinalStatement] = {}
        self._moves = sorted(
            (
                (held.existing_effective_time, held)
                for held in scenario.plans
                if held.existing_effective_time is not None
            ),
            key=lambda move: move[0],
        )

    def _plan_of(self, ref: PlanRef) -> Plan | None:
        if ref not in self._plans:
            plan = self._plans.get(PlanRef(ref.plan_id, ref.version))
            if plan is None:
                return None
            self._plans[ref] = apply_overrides(plan, ref.overrides)
        return self._plans[ref]

    def begin(self, now: int) -> ControlAnswer:
        """Put the scenario's settings in force (S7.5)."""
        earliest = [instant - MOVE_AHEAD_US for instant, _ in self._moves]
        self._log.now = max(0, min([now, *earliest]))
        scenario = self._scenario
        return self._log.control(
            Configure(window_us=scenario.acceptance_window, grace_us=scenario.grace)
        )

    def advance(self, now: int) -> None:
        """Set the clock; versions for standing subscriptions are published on the way (S8.6)."""
        while self._moves and self._moves[0][0] - MOVE_AHEAD_US <= now:
            instant, held = self._moves.pop(0)
            self._log.now = max(self._log.now, instant - MOVE_AHEAD_US)
            plan = held.plan
            self._log.control(
                MigratePlan(
                    plan_id=plan.id,
                    version=held.version,
                    instant=instant,
                    billing_period=plan.billing_period,
                    late_usage=plan.late_usage,
                    bands=plan_bands(plan),
                )
            )
        self._log.now = now

    def record(self, step: steps.SendUsage, event_time: int, *, retract: bool) -> RecordAnswer:
        """Send the records of a step, as retractions on wish (S7)."""
        batch = batch_of(self._scenario.customer, step, event_time, retract=retract)
        return self._log.record(RecordCall(batch))

    # --- subscriptions ---------------------------------------------------------------------------

    def subscriptions(self) -> tuple[Subscription, ...]:
        """Return the customer's subscriptions, the first one first."""
        found: tuple[Subscription, ...] = self._log.ask(
            GetSubscriptions(self._scenario.customer), tuple
        )
        return found

    def subscription_at(self, instant: int) -> Subscription | None:
        """Return the subscription that holds an instant, or else the last that started by then."""
        found = self.subscriptions()
        holding = [one for one in found if one.holds(instant)]
        started = [one for one in found if one.start_time <= instant and not one.void]
        return (holding or started)[-1] if holding or started else None

    def control(self, action: steps.Action) -> ControlAnswer:
        """Carry out a step that changes what decides; TypeError for one that does not."""
        call = self._call(action)
        if isinstance(call, ControlAnswer):
            return call
        answer = self._log.control(call)
        if isinstance(call, FinalizePeriod) and answer.ok and not answer.replayed:
            final = read_final_statement(answer.value)
            self._final[final.version] = final
        return answer

    def _call(self, action: steps.Action) -> Control | ControlAnswer:
        """Return the call of a step, or its refusal where there is nobody to call about."""
        now, customer = self._log.now, self._scenario.customer
        if isinstance(action, steps.Subscribe):
            return self._subscribe(action)
        instant = getattr(action, "effective", None)
        subscription = self.subscription_at(now if instant is None else instant)
        if subscription is None:
            return ControlAnswer(False, "NO_SUBSCRIPTION")
        name = subscription.subscription_id
        match action:
            case steps.ChangePlan():
                return self._change_plan(action, name)
            case steps.Cancel():
                return CancelSubscription(
                    customer=customer, subscription_id=name, end_time=action.effective
                )
            case steps.GrantCredit():
                return CreateGrant(customer=customer, subscription_id=name, grant=action.grant)
            case steps.Promote():
                promotion = action.promotion
                return CreatePromotion(customer=customer, subscription_id=name, promotion=promotion)
            case steps.VoidCredit():
                holder = self._holder(action.grant_id) or name
                return VoidGrant(
                    customer=customer, subscription_id=holder, grant_id=action.grant_id
                )
            case steps.Finalize():
                return self._finalize(action, name)
        raise TypeError(f"not a step that changes anything: {type(action).__name__}")

    def _subscribe(self, action: steps.Subscribe) -> Control | ControlAnswer:
        scenario = self._scenario
        ref = PlanRef(action.plan_id, action.version, action.overrides)
        plan = self._plan(ref)
        start = self._log.now if action.effective is None else action.effective
        differ = hours_differ(plan, scenario.zone, start)
        if differ is not None:
            return ControlAnswer(False, "HOURS_DIFFER", {"why": differ})
        return CreateSubscription(
            customer=scenario.customer,
            subscription_id=action.subscription_id,
            plan_id=ref.plan_id,
            plan_version=ref.version,
            overrides=ref.overrides,
            billing_period=plan.billing_period,
            late_usage=plan.late_usage,
            start_time=start,
            bands=plan_bands(plan),
            time_zone=scenario.time_zone,
            zone=scenario.zone,
            anchor_day=action.anchor_day,
        )

    def _change_plan(self, action: steps.ChangePlan, name: str) -> Control | ControlAnswer:
        ref = PlanRef(action.plan_id, action.version, action.overrides)
        plan = self._plan(ref)
        start = self._log.now if action.effective is None else action.effective
        differ = hours_differ(plan, self._scenario.zone, start)
        if differ is not None:
            return ControlAnswer(False, "HOURS_DIFFER", {"why": differ})
        return ChangePlan(
            customer=self._scenario.customer,
            subscription_id=name,
            effective=action.effective,
            plan_id=ref.plan_id,
            plan_version=ref.version,
            overrides=ref.overrides,
            billing_period=plan.billing_period,
            late_usage=plan.late_usage,
            bands=plan_bands(plan),
        )

    def _plan(self, ref: PlanRef) -> Plan:
        plan = self._plan_of(ref)
        if plan is None:
            raise ValueError(f"the scenario has no plan {ref.plan_id}@{ref.version}")
        return plan

    # --- money -----------------------------------------------------------------------------------

    def _finalize(self, action: steps.Finalize, name: str) -> Control:
        now, start = self._log.now, action.period_start
        if start is not None:
            holder = self.subscription_at(start)
            name = name if holder is None else holder.subscription_id
        elif not action.correction:
            every = self.subscriptions()
            started = [one for one in every if one.start_time <= now and not one.void]
            ended = [(period_that_ended_last(one, now), one.subscription_id) for one in started]
            # Of subscriptions one after another the last has no ended period at first.
            ended = [item for item in ended if item[0].end <= now] or ended
            if ended:
                start, name = ended[-1][0].start, ended[-1][1]
        return FinalizePeriod(
            customer=self._scenario.customer,
            subscription_id=name,
            period_start=start,
            correction=action.correction,
        )

    def statement(self, period_start: int | None, *, correction: bool) -> Statement:
        """Return the statement of a period: the finalised one, else a preview as of now (S9.4).

        ``period_start`` ``None``: the period that holds now. ``correction``: that of what came
        after the last period, the latest finalised one where nothing did. NotFound where there is
        no such period; OutOfRange where an amount does not fit (S1.2).
        """
        now = self._log.now
        instant = now if period_start is None else period_start
        subscription = self.subscription_at(instant)
        if subscription is None:
            raise NotFound("the customer has no subscription by then")
        name, end = subscription.subscription_id, subscription.end_time
        if period_start is None and end is not None:
            instant = min(instant, end - 1)
        answer = self._log.ask(
            GetContract(self._scenario.customer, name, instant, now, correction), ContractAnswer
        )
        if answer.subscription is None:
            raise NotFound(f"the subscription does not hold {format_instant(instant)}")
        if not correction and period_start is not None and answer.start != period_start:
            raise NotFound(
                f"no period starts at {format_instant(period_start)}: "
                f"the one that holds it starts at {format_instant(answer.start)}"
            )
        if answer.statement is not None:
            return self._final[answer.statement.version].statement
        rated = () if answer.usage is None else rate_contract(answer.usage)
        if not rated:
            made = [f for f in self._final.values() if f.correction and f.subscription_id == name]
            if not made:
                raise NotFound("there is nothing to correct")
            return made[-1].statement
        return rated[-1].statement

    def _holder(self, grant_id: str) -> str | None:
        """Return the id of the subscription that a grant belongs to."""
        for one in self.subscriptions():
            account = self._account(one)
            if account.account is not None and grant_id in account.account.grants:
                return one.subscription_id
        return None

    def _account(self, subscription: Subscription) -> AccountAnswer:
        name = subscription.subscription_id
        return self._log.ask(
            GetAccount(self._scenario.customer, name, self._log.now), AccountAnswer
        )

    def balance(self, grant_id: str) -> Decimal:
        """Return what a grant can still pay now, as `GetBalance` does (S10.1).

        NotFound where it was refused.
        """
        for one in self.subscriptions():
            account = self._account(one).account
            if account is not None and grant_id in account.grants:
                return account.balance(account.grants[grant_id], self._log.now)
        raise NotFound(f"there is no grant {grant_id}")
