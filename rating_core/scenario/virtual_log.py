"""A log without a store: entries are committed as they are decided, on a virtual clock (S12.2)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TypeVar

from rating_core.catalog import Meter, Plan
from rating_core.contract.usage import PlanRef
from rating_core.metering.calls import (
    CancelSubscription,
    ChangePlan,
    Control,
    ControlAnswer,
    CreateSubscription,
    RecordAnswer,
    RecordCall,
)
from rating_core.metering.contracts.recount_reading import RecountReading
from rating_core.metering.contracts.subscription import subscription_from_facts
from rating_core.metering.log.entry import encode_envelope
from rating_core.metering.log.protocol import LogEntry, chain_token
from rating_core.metering.shard import UsageShard
from rating_core.zone import ZoneTable

_HASH_KEY = bytes(16)
_BOOT = bytes(16)
Answer = TypeVar("Answer")


class VirtualLog:
    """One shard's state machine with its log in memory; every call is committed at once (P1).

    ``zones``: tables of the zones in use, by digest; ``now`` is the virtual clock, µs, set from
    outside, and never decreases.
    """

    def __init__(
        self,
        meters: Mapping[str, Meter],
        plan_of: Callable[[PlanRef], Plan | None],
        zones: Mapping[str, ZoneTable],
    ) -> None:
        self.now = 0
        self._zones = zones
        self._machine = UsageShard(_HASH_KEY, meters.get, plan_of=plan_of)
        self._entries: list[LogEntry] = []

    def record(self, call: RecordCall) -> RecordAnswer:
        """Return a status for each record (S7.3)."""
        return _expected(RecordAnswer, self._submit(call))

    def control(self, call: Control) -> ControlAnswer:
        """Return whether the call is carried out, and why not (P4).

        A change dated before counted records brings them counted anew (S8.6).
        """
        answer = _expected(ControlAnswer, self._submit(call))
        if answer.reason != "RECOUNT_NEEDED" or not isinstance(
            call, CreateSubscription | ChangePlan | CancelSubscription
        ):
            return answer
        contract = tuple(
            subscription_from_facts(facts, self._zones) for facts in answer.value["contract"]
        )
        reading = RecountReading(answer.value, contract)
        for entry in self._entries:
            reading.take(entry)
        return _expected(ControlAnswer, self._submit(replace(call, recount=reading.parts())))

    def ask(self, question: object, kind: type[Answer]) -> Answer:
        """Return the answer, of type ``kind``, to a question about committed state."""
        return _expected(kind, self._machine.query(question))

    def _submit(self, call: object) -> object:
        machine = self._machine
        decision = machine.decide([call], self.now)
        if decision.body is not None:
            version = machine.version + 1
            entry = encode_envelope(_BOOT, version, self.now, decision.body)
            self._entries.append(LogEntry(version, machine.token, entry))
            machine.stage(decision, self.now)
            machine.confirm(version, chain_token(machine.token, entry))
        (answer,) = decision.answers
        return answer


def _expected(kind: type[Answer], answer: object) -> Answer:
    if not isinstance(answer, kind):
        raise TypeError(f"expected {kind.__name__}, got {type(answer).__name__}")
    return answer
