"""What the simulation needs to know of a machine: how to ask it, and what its entries mean."""

from __future__ import annotations

import json
from decimal import Decimal
from functools import lru_cache

import numpy as np
from tiny_machine import TinyMachine
from truth import Truth

from rating_core.catalog import Aggregation, BillingPeriod, Charge, ChargeModel, Meter, Plan
from rating_core.metering import shard
from rating_core.metering.batch import RecordBatch, RecordStatus, RejectReason
from rating_core.metering.calls import (
    DEFAULT_WINDOW_US,
    Configure,
    CreateSubscription,
    GetCounters,
    RecordCall,
)
from rating_core.metering.contracts.ledger_calls import FinalizePeriod
from rating_core.metering.log.entry import ControlEntry, decode_body
from rating_core.metering.shard import UsageShard


class TinySubject:
    """The tiny machine. Its entries are JSON; the meaning of one is read off directly."""

    name = "tiny"
    moving = changing = False
    truth = Truth

    def __init__(self, start):
        entry = {"records": [], "control": ["subscribe", "a", "seed", 0]}
        self.seeds = [(start, json.dumps(entry).encode())]

    two_lanes = False

    def machine(self):
        machine = TinyMachine()
        machine.two_lanes = self.two_lanes
        return machine

    def record_call(self, records):
        return ("records", records)

    def control_call(self, op, customer, request_id):
        return ("control", op, customer, request_id)

    def question(self, customer):
        return customer

    def total(self, answer):
        return answer

    def statuses(self, answer):
        return answer

    def control_outcome(self, answer):
        return answer

    def meaning(self, body):
        """Return (records, control or None, [(hash key, field, increment)]) of an entry's body."""
        entry = json.loads(body)
        records = [tuple(row) for row in entry["records"]]
        increments = [(f"c:{row[1]}", row[4], row[2]) for row in records]
        return records, entry["control"], increments


# Two servers and the truth read the same bytes: decoding them once makes room for more histories.
_decode_once = lru_cache(maxsize=256)(decode_body)
_METERS = {name: Meter(name, Aggregation.SUM) for name in ("x", "y")}
_PLAN = Plan(
    "plan",
    "USD",
    BillingPeriod.WEEK,
    (Charge("x", ChargeModel.PER_UNIT, "x", unit_price=Decimal("0.5")),),
    meters=(_METERS["x"],),
)
_WEEK_US = 7 * 86_400_000_000
_KINDS = {"create_subscription": "subscribe", "finalize_period": "close", "configure": "grant"}


class UsageSubject:
    """The usage shard as it is in production; weekly periods, one sum meter for each field.

    A "grant" of the simulation is a Configure here: it is carried out at most once a request id.
    """

    name = "usage"
    moving = changing = False
    truth = Truth

    def __init__(self, start):
        # 1970-01-01 was a Thursday: the Monday before ``start`` begins the only period in use.
        self._monday = start - (start + 3 * _WEEK_US // 7) % _WEEK_US
        self._start = start
        shard.decode_body = _decode_once
        machine = self.machine()
        seeds = [Configure(grace_us=0), self.control_call("subscribe", "a", "seed")]
        self.seeds = [(start, machine.decide([seed], start).body) for seed in seeds]

    def machine(self):
        return UsageShard(bytes(16), _METERS.get, plan_of=lambda _: _PLAN)

    @staticmethod
    @lru_cache(maxsize=4096)
    def record_call(records):
        """Return the call for these records, each (id, customer, quantity, event time, meter)."""
        count = len(records)
        customers = sorted({record[1] for record in records})
        meters = sorted({record[4] for record in records})
        ids = [record[0].encode() for record in records]
        return RecordCall(
            RecordBatch(
                customers=customers,
                customer=np.array([customers.index(r[1]) for r in records], np.int32),
                meters=meters,
                scales=[0] * len(meters),
                meter=np.array([meters.index(r[4]) for r in records], np.int32),
                dimension_sets=[()],
                dimension_set=np.zeros(count, np.int32),
                event_ids=b"".join(ids),
                event_id_ends=np.cumsum([len(i) for i in ids]).astype(np.int64),
                quantity=np.array([r[2] for r in records], np.int64),
                event_time=np.array([r[3] for r in records], np.int64),
                malformed=np.zeros(count, np.bool_),
            )
        )

    def control_call(self, op, customer, request_id):
        if op == "subscribe":
            return CreateSubscription(
                request_id=request_id,
                customer=customer,
                subscription_id=f"{customer}-1",
                plan_id="plan",
                plan_version=1,
                billing_period=BillingPeriod.WEEK,
                start_time=self._monday,
            )
        if op == "close":
            return FinalizePeriod(
                request_id=request_id, customer=customer, period_start=self._monday
            )
        series = 9000 if request_id else 8000
        return Configure(
            request_id=request_id, window_us=DEFAULT_WINDOW_US, max_series=series, grace_us=0
        )

    def question(self, customer):
        return GetCounters(customer, self._start)

    def total(self, answer):
        return sum(counter.value for counter in answer.counters)

    def statuses(self, answer):
        names = []
        for status, reason in zip(answer.status.tolist(), answer.reason.tolist(), strict=True):
            rejected = status == RecordStatus.REJECTED
            names.append(RejectReason(reason).name if rejected else RecordStatus(status).name)
        return tuple(names)

    def control_outcome(self, answer):
        if not answer.ok:
            return answer.reason, 0
        if "max_series" in answer.value:
            return "CONFIGURED", 0
        if "period_end" in answer.value or answer.value.keys() == {"version", "number"}:
            # What it closed is checked in the entry; the period is its own request id (S9.2).
            return "FINALIZED" if answer.replayed else "CLOSED", 0
        return "OK", self._held(answer.value)

    def meaning(self, body):
        """Return (records, control or None, [(hash key, field, increment)]) of an entry's body."""
        entry = _decode_once(body)
        if isinstance(entry, ControlEntry):
            customer = entry.facts.get("customer", "a")
            held = self._held(entry.value)
            return [], (_KINDS[entry.kind], customer, entry.request_id, held), ()
        ends = [0, *entry.ends.tolist()]
        records, increments = [], []
        for row, (customer, meter, _) in enumerate(entry.codes.T.tolist()):
            quantity, event_time, start = entry.words[:, row].tolist()
            event_id = entry.event_ids[ends[row] : ends[row + 1]].decode()
            owner, name = entry.customers[customer], entry.meters[meter].id
            assert start == self._monday
            records.append((event_id, owner, quantity, event_time, name))
            key = f"c:{owner}:{self._period_text}"
            increments.append((key, f'["{name}",[],"value"]', quantity))
            increments.append((key, f'["{name}",[],"events"]', 1))
        return records, None, increments

    _period_text = "20240930T000000Z"

    @staticmethod
    def _held(value):
        """Return the sum of the counters that a close holds, or the time of a creation."""
        if "usage" in value:
            (part,) = value["usage"]["periods"][-1]["parts"]
            return sum(counter["value"] for counter in part["counters"])
        return value.get("create_time", 0)


class MovingSubject(UsageSubject):
    """The usage shard whose owner changes: sessions are closed when idle, and opened by a call."""

    name = "moving"
    moving = True


SUBJECTS = {"tiny": TinySubject, "usage": UsageSubject, "moving": MovingSubject}
