"""Copies of the usage shard, and of whoever reads the log for it, with one rule switched off.

They prove that the histories with changes of contracts bite (test_contract_changes.py).
"""

from __future__ import annotations

from dataclasses import replace

from rating_core.metering.contracts.recount_reading import RecountReading
from rating_core.metering.contracts.subscription import RECOUNT
from rating_core.metering.log.entry import ControlEntry
from rating_core.metering.shard import UsageShard


class BelievesVersions(UsageShard):
    """P5: what was counted from a log that a failover took is taken for what this log holds."""

    def _counted(self, customer):
        return replace(super()._counted(customer), knows=lambda *_: True)


class ForgetsWhatCame(UsageShard):
    """S8.6: records that came after the log was read are not added."""

    def _counted(self, customer):
        return replace(super()._counted(customer), staged=False, version=0)


class BooksNothing(UsageShard):
    """S8.6: a change dated back leaves the counters as they were."""

    def _commit(self, entry, keys, now, version, token):
        if isinstance(entry, ControlEntry) and RECOUNT in entry.facts:
            facts = {key: fact for key, fact in entry.facts.items() if key != RECOUNT}
            entry = replace(entry, facts=facts)
        super()._commit(entry, keys, now, version, token)


class ReadsAnyLog(RecountReading):
    """P5: entries are taken in the order of their versions, whatever chain they are of."""

    def take(self, entry):
        self._fold.passed(entry.version - 1, entry.previous)
        return super().take(entry)

    def parts(self):
        token = bytes.fromhex(self._needed["token"])
        return replace(self._fold.parts(), version=self.until, token=token)


_SPLITS = {"failover": 8, "run": 20, "break": 6, "burst": 10, "reconnect": 20, "replicate": 2}
FOCUS = {**_SPLITS, "contract": 30, "recount": 30}
MACHINES = {
    "recount token": BelievesVersions,
    "recount newer": ForgetsWhatCame,
    "recount booking": BooksNothing,
}
READINGS = {"recount chain": ReadsAnyLog}
