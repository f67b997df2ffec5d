"""Which calls of a usage shard share an entry, and which may overtake others (group commit)."""

from __future__ import annotations

from dataclasses import dataclass

from rating_core.metering.calls import Control, RecordCall
from rating_core.metering.sequencing.sequenced import ProducerCall, SequencedCall

_ROW_BYTES = 24
"""About what one record takes in an entry besides its event id."""
_CONTROL_BYTES = 1024


@dataclass(frozen=True, slots=True, eq=False)
class OrderedRecords(RecordCall):
    """Records whose sender has sent others before them, in an order: none overtakes another.

    So a record comes before what takes it back (S7.6).
    """


def calls_join(first: object, call: object) -> bool:
    """Return whether ``call`` may be decided in one entry with ``first``: records with records.

    Records with ids and those of numbered batches have entries of their own.
    """
    if isinstance(first, RecordCall):
        return isinstance(call, RecordCall)
    return type(first) is type(call) and isinstance(first, ProducerCall)


def call_size(call: object) -> int:
    """Return about how many bytes of entry the call will need."""
    if isinstance(call, RecordCall | SequencedCall):
        return len(call.batch.event_ids) + _ROW_BYTES * len(call.batch)
    return _CONTROL_BYTES


def call_hurries(call: object) -> bool:
    """Return whether ``call`` may overtake: no batch of a stream, nor what numbers them (P12)."""
    return isinstance(call, Control) or type(call) is RecordCall
