"""Reading the log for a change that needs records counted anew, up to where its shard stood (S8.6).

The shard's refusal names version and token of its committed state. What is read counts only if it
leads there: entries are of one chain, and the last one has that token. A log that lost entries in a
failover meanwhile leads elsewhere (P5).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rating_core.metering.calls import RecountedParts
from rating_core.metering.contracts.recount import Recount
from rating_core.metering.contracts.subscription import Contract
from rating_core.metering.deciding.records_entry import RecordsEntry
from rating_core.metering.log.entry import decode_body, decode_envelope
from rating_core.metering.log.protocol import LogEntry, chain_token

_SAME = ("instant", "since", "contract")
"""What of a refusal says what is counted, and not how far."""


class RecountReading:
    """The records that a refusal asks for. ``needed``: its value; ``contract``: with their zones.

    Entries are taken in the order of the log, those with versions above ``version`` up to
    ``until``; old ones may be left out at the beginning.
    """

    def __init__(self, needed: Mapping[str, Any], contract: Contract) -> None:
        self.contract = contract
        self._needed = needed
        self._fold = Recount(contract, needed["since"])

    @property
    def version(self) -> int:
        """Up to which the log was read."""
        return self._fold.version

    @property
    def until(self) -> int:
        """Up to which it has to be read."""
        return int(self._needed["version"])

    def goes_on(self, needed: Mapping[str, Any]) -> bool:
        """Whether a later refusal asks for the same, further on; then that is what is needed."""
        same = all(needed[key] == self._needed[key] for key in _SAME)
        if not same or needed["version"] < self.version:
            return False
        self._needed = needed
        return True

    def take(self, entry: LogEntry) -> bool:
        """Count an entry; False if it does not continue what was read: the log is another (P5)."""
        fold = self._fold
        if fold.version and (entry.version, entry.previous) != (fold.version + 1, fold.token):
            return False
        body = decode_body(decode_envelope(entry.entry).body)
        if isinstance(body, RecordsEntry):
            fold.add(body, entry.version)
        fold.passed(entry.version, chain_token(entry.previous, entry.entry))
        return True

    def parts(self) -> RecountedParts | None:
        """Return what the call carries, ``None`` if the log does not lead to where it has to."""
        fold = self._fold
        reached = fold.version == self.until and fold.token.hex() == self._needed["token"]
        return fold.parts() if reached else None
