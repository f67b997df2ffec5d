"""A log without a store: entries are committed as they are decided, on a virtual clock (S12.2)."""

from __future__ import annotations

from collections.abc import Mapping

from rating_core.catalog import Meter
from rating_core.metering.calls import Control, ControlAnswer, RecordAnswer, RecordCall
from rating_core.metering.entry import encode_envelope
from rating_core.metering.id_index import IdIndex
from rating_core.metering.protocol import chain_token
from rating_core.metering.shard import UsageShard

_HASH_KEY = bytes(16)
_BOOT = bytes(16)


class _LastingIds(IdIndex):
    """Remembers every id: a scenario tells resends apart however late they come (S7.1)."""

    def expire(self, now: int, window_us: int | None) -> None:  # noqa: ARG002 (no window counts)
        """Forget nothing, as with a window without end."""
        super().expire(now, None)

    def remembers_all(self, now: int, window_us: int | None) -> bool:  # noqa: ARG002 (as above)
        """Return True: no id is ever forgotten."""
        return super().remembers_all(now, None)


class VirtualLog:
    """One shard's state machine with its log in memory; every call is committed at once (P1).

    ``now`` is the virtual clock, µs; it is set from outside and never decreases.
    """

    def __init__(self, meters: Mapping[str, Meter]) -> None:
        self.now = 0
        self._machine = UsageShard(_HASH_KEY, meters.get)
        self._machine.ids = _LastingIds()

    def record(self, call: RecordCall) -> RecordAnswer:
        """Return a status for each record (S7.3)."""
        answer = self._submit(call)
        if not isinstance(answer, RecordAnswer):
            raise TypeError(f"expected statuses, got {type(answer).__name__}")
        return answer

    def control(self, call: Control) -> ControlAnswer:
        """Return whether the call is carried out, and why not (P4)."""
        answer = self._submit(call)
        if not isinstance(answer, ControlAnswer):
            raise TypeError(f"expected an answer, got {type(answer).__name__}")
        return answer

    def ask(self, question: object) -> object:
        """Return the answer to a question about committed state."""
        return self._machine.query(question)

    def _submit(self, call: object) -> object:
        machine = self._machine
        decision = machine.decide([call], self.now)
        if decision.body is not None:
            version = machine.version + 1
            entry = encode_envelope(_BOOT, version, self.now, decision.body)
            machine.stage(decision, self.now)
            machine.confirm(version, chain_token(machine.token, entry))
        (answer,) = decision.answers
        return answer
