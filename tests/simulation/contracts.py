"""Histories with plan changes and cancellations, dated back and ahead (S8.2, S8.6).

Whoever changes a contract reads the log in between, as the real use case does: on the master, or on
a node that is none any more, at any moment of the history. The oracle keeps records and contracts
apart, and computes what every part holds from all of them, whenever it is asked.
"""

from __future__ import annotations

from decimal import Decimal

from subjects import UsageSubject
from truth import DAY_US, START_US, Truth, Violation

from rating_core.catalog import (
    Aggregation,
    BillingPeriod,
    Charge,
    ChargeModel,
    Meter,
    Plan,
    Timing,
)
from rating_core.metering.calls import CancelSubscription, ChangePlan, GetCounters
from rating_core.metering.contracts.recount_reading import RecountReading
from rating_core.metering.contracts.subscription import subscription_from_facts
from rating_core.metering.counting.counter_names import period_text
from rating_core.metering.log.entry import ControlEntry, decode_body, decode_envelope
from rating_core.metering.log.protocol import LogEntry
from rating_core.metering.shard import UsageShard

HOUR_US = DAY_US // 24
PRICE, FEE = {1: 50, 2: 25, 3: 75}, {1: 100, 2: 300, 3: 700}
"""Cents a unit of `x`, and a period in arrears, by plan version."""
METERS = {name: Meter(name, Aggregation.SUM) for name in "xy"}
PLANS = {
    version: Plan(
        "plan",
        "USD",
        BillingPeriod.WEEK,
        (
            Charge(
                "fee",
                ChargeModel.FLAT_FEE,
                amount=Decimal(FEE[version]) / 100,
                timing=Timing.IN_ARREARS,
            ),
            Charge("x", ChargeModel.PER_UNIT, "x", unit_price=Decimal(PRICE[version]) / 100),
        ),
        meters=(METERS["x"],),
    )
    for version in PRICE
}
CONTROLS = (
    ("change 2 -72", "a", "a-back"),
    ("change 3 -24", "a", "a-back-too"),
    ("change 2 36", "a", "a-ahead"),
    ("change 3 now", "a", "a-now"),
    ("change 3 -300", "a", "a-before"),
    ("change 2 -48", "b", "b-back"),
    ("cancel 24", "a", "a-cancel"),
    ("cancel -24", "b", "b-cancel"),
    ("cancel -500", "b", "b-void"),
    ("close", "a", "close-a"),
)
"""What is changed: to which version, or cancelled, how many hours after the beginning."""


class ContractTruth(Truth):
    """Records and contracts by themselves; what parts hold is computed from both."""

    __slots__ = ("contracts", "monday")

    def __init__(self, monday):
        super().__init__()
        self.monday = monday
        self.contracts = {}

    def after(self, records, control, increments, now):
        new = super().after(records, control, (), now)
        new.monday, new.contracts = self.monday, dict(self.contracts)
        if control:
            op, customer, _, value = control
            if op == "subscribe":
                new.contracts[customer] = ((self.monday, 1),), None
            elif op in ("change", "cancel"):
                new.contracts[customer] = self._changed(customer, increments)
                if value != new.contracts[customer]:
                    raise Violation(f"CONTRACT: {value}, expected {new.contracts[customer]}")
        new.fields, new.totals = new._counted()
        return new

    def _changed(self, customer, facts):
        phases, end = self.contracts[customer]
        if "end_time" in facts:
            end = facts["end_time"]
            return tuple(p for p in phases if p[0] < end) or phases[:1], end
        phase = facts["start_time"], facts["plan_version"]
        kept = [other for other in phases if other[0] != phase[0]]
        return tuple(sorted([*kept, phase])), end

    def part(self, customer, instant):
        """Return start and version of the part that holds an instant, ``None`` without one."""
        phases, end = self.contracts.get(customer, ((), 0))
        held = [phase for phase in phases if phase[0] <= instant]
        return held[-1] if held and (end is None or instant < end) else None

    def covers(self, record):
        return self.part(record[1], record[3]) is not None

    def _counted(self):
        fields, totals = {}, {}
        for record, _ in self.ids.values():
            _, customer, quantity, instant, meter = record
            part = self.part(customer, instant)
            if part is None:
                continue
            key = f"c:{customer}:{period_text(part[0])}"
            for kind, value in (("value", quantity), ("events", 1)):
                field = key, f'["{meter}",[],"{kind}"]'
                fields[field] = fields.get(field, 0) + value
            if part == self.part(customer, START_US):
                totals[customer] = totals.get(customer, 0) + quantity
        return fields, totals

    def held(self, customer):
        """Return the cents of the period, and what each of its parts holds, as its statement."""
        phases, _ = self.contracts[customer]
        phases = [phase for phase in phases if phase[0] < self.monday + 7 * DAY_US]
        units = {phase: {} for phase in phases}
        for record, _ in self.ids.values():
            part = self.part(record[1], record[3])
            if record[1] == customer and part is not None:
                held = units[part]  # all records are of the first week
                held[record[4]] = held.get(record[4], 0) + record[2]
        cents = sum(PRICE[p[1]] * held.get("x", 0) for p, held in units.items())
        parts = [(*p, tuple(sorted(held.items()))) for p, held in sorted(units.items())]
        return cents + FEE[phases[-1][1]], tuple(parts)


class ContractSubject(UsageSubject):
    """The usage shard, with contracts that change; prices by version."""

    name = "contracts"
    changing = True
    machine_class = UsageShard
    reading_class = RecountReading

    def truth(self):
        return ContractTruth(self._monday)

    def machine(self):
        return self.machine_class(bytes(16), METERS.get, plan_of=lambda ref: PLANS[ref.version])

    def control_call(self, op, customer, request_id, recount=None):
        name, *words = op.split()
        if name not in ("change", "cancel"):
            return super().control_call(op, customer, request_id)
        instant, parts = (None, None) if recount is None else recount
        if instant is None and words[-1] != "now":
            instant = START_US + int(words[-1]) * HOUR_US
        common = {
            "request_id": request_id,
            "asked": {"op": op},
            "customer": customer,
            "subscription_id": f"{customer}-1",
            "recount": parts,
        }
        if name == "cancel":
            return CancelSubscription(**common, end_time=instant)
        return ChangePlan(
            **common,
            effective=instant,
            plan_id="plan",
            plan_version=int(words[0]),
            billing_period=BillingPeriod.WEEK,
        )

    def control_outcome(self, answer):
        if answer.ok and "billing_period" in answer.value:
            return "OK", self._held(answer.value)
        return super().control_outcome(answer)

    def meaning(self, body):
        entry = decode_body(body)
        if not isinstance(entry, ControlEntry):
            records, control, _ = self._records_meaning(entry)
            return records, control, ()
        if entry.kind not in ("change_plan", "cancel_subscription"):
            return super().meaning(body)
        op = "change" if entry.kind == "change_plan" else "cancel"
        control = op, entry.facts["customer"], entry.request_id, self._held(entry.value)
        return [], control, entry.facts

    @staticmethod
    def _records_meaning(entry):
        ends, records = [0, *entry.ends.tolist()], []
        for row, (customer, meter, _) in enumerate(entry.codes.T.tolist()):
            quantity, event_time, _ = entry.words[:, row].tolist()
            event_id = entry.event_ids[ends[row] : ends[row + 1]].decode()
            owner, name = entry.customers[customer], entry.meters[meter].id
            records.append((event_id, owner, quantity, event_time, name))
        return records, None, ()

    @staticmethod
    def _held(value):
        if "usage" in value:
            parts = []
            for part in value["usage"]["periods"][-1]["parts"]:
                units = {c["meter"]: c["value"] for c in part["counters"] if c["events"]}
                held = tuple(sorted(units.items()))
                parts.append((part["start"], part["plan_ref"]["version"], held))
            return value["statement"]["total"], tuple(parts)
        if "billing_period" in value and "customer" in value:
            made = subscription_from_facts(value)
            phases = tuple((p.start_time, p.plan_ref.version) for p in made.phases)
            return phases, made.end_time
        return value.get("create_time", 0)

    def check(self, world):
        """Hold a machine that reads the whole log against the oracle, statements included."""
        state, truth, machine = world.head(), world.head_truth(), self.machine()
        for version, (token, _, entry) in enumerate(state.log, 1):
            envelope = decode_envelope(entry)
            machine.apply(envelope.body, envelope.now, version, token)
        for customer in truth.contracts:
            _, parts = truth.held(customer)
            for start, version, held in parts:
                answer = machine.query(GetCounters(customer, start))
                if answer.subscription is None and not held:
                    continue  # void
                units = {c.meter: c.value for c in answer.counters if c.events}
                found = answer.plan_ref.version, tuple(sorted(units.items()))
                if found != (version, held):
                    raise Violation(f"PART: {customer} {found}, the records say {version} {held}")


def read_log(answer, state, reading_class):
    """Return what the use case makes of a refusal and a log: instant, and parts or ``None``."""
    contract = tuple(subscription_from_facts(facts, {}) for facts in answer.value["contract"])
    reading = reading_class(answer.value, contract)
    for version, (_, previous, entry) in enumerate(state.log, 1):
        if version > reading.until or not reading.take(LogEntry(version, previous, entry)):
            break
    return answer.value["instant"], reading.parts()
