"""Copies of the session, and of Redis, each with one rule switched off.

They prove that the simulation bites: each must be caught (test_broken_rules.py).
"""

from __future__ import annotations

from dataclasses import dataclass

from archive_model import BrokenRounds

from rating_core.metering.log.archiver import ArchiveRound
from rating_core.metering.log.protocol import Answer, HistoryLost, LogEntry
from rating_core.metering.session import ShardSession


class SimulatedSession(ShardSession):
    """The session as it is. ``eager`` only leaves out the waiting for company of small calls."""

    eager = False
    coverage = None

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.known = {}
        self.read_anew = {}

    def _learn(self, version, token):
        # Not while it reads anew: what it knew before is what a loss is measured by.
        if not self._former:
            self.known[version] = token
        super()._learn(version, token)

    def _end_reading(self):
        rebuilt = bool(self._former)
        super()._end_reading()
        if rebuilt and not self._former:
            self.read_anew = dict(self._known)
            if not any(isinstance(effect, HistoryLost) for effect in self._effects):
                self.known.update(self.read_anew)

    def _should_group(self):
        return not self.eager and super()._should_group()

    def _confirm(self, batch, *, written):
        self.coverage["entries found in the log after an unknown outcome"] += not written
        super()._confirm(batch, written=written)

    def _commit(self, batch):
        self.coverage["entries sent again"] += batch.uncertain
        super()._commit(batch)

    def _roll_back(self):
        self.coverage["rollbacks"] += 1
        self.coverage["entries rolled back"] += len(self._flight)
        super()._roll_back()

    def _rebuild(self):
        self.coverage["rebuilds"] += 1
        super()._rebuild()


class WithoutCheck(SimulatedSession):
    """P1: an answer without an entry leaves at once if nothing is in flight."""

    def _verify(self, verification, now):
        if self._flight:
            super()._verify(verification, now)
        else:
            self._effects += self._answers_now(verification)

    def _answers_now(self, verification):
        return [Answer(*pair) for pair in self._paired(verification.calls, verification.answers)]


class AnswersRestOnNothing(SimulatedSession):
    """P2: an answer decided on entries in flight stays as it was when they are refused."""

    def _check_failed(self, verification, reply):
        if verification.version > self._machine.version and verification.calls:
            self._release(verification)
            self._gate.wrote(verification.version)
            verification.calls = []
        super()._check_failed(verification, reply)


class DecidesAgain(SimulatedSession):
    """P3: an entry of unknown outcome is decided anew although nothing has taken its place."""

    def _may_resend(self, batch):
        return not batch.uncertain and super()._may_resend(batch)


class Believes(SimulatedSession):
    """P5: what is read is taken to continue our state."""

    def _continues(self, entry: LogEntry):
        return True

    def _diverged(self, reply):
        return False


class SkipsReading(SimulatedSession):
    """P1: a new connection with nothing in flight is used without a look at the head."""

    def on_connected(self):
        if self._flight or self._rebuilding or self._gate.unwritten:
            super().on_connected()
        else:
            self._connected = self._proved = True
            self.flush()


class SameBytes(SimulatedSession):
    """P4: entries hold no nonce, so that two servers may write the same bytes."""

    def __init__(self, machine, boot, level, clock):
        super().__init__(machine, bytes(16), level, clock)

    def _decide(self, calls):
        self._counter = 0
        super()._decide(calls)


class WaitsForNothing(SimulatedSession):
    """P6: committed is taken for replicated."""

    def _answer(self, version, answers, source):
        self._effects += [Answer(*pair) for pair in answers]


class BelievesOldWrites(SimulatedSession):
    """P6: a wait is believed to prove entries that this connection never wrote after."""

    def _end_reading(self):
        self._gate.wrote(self._machine.version)
        super()._end_reading()


class FoldsFromTheMark(SimulatedSession):
    """P7: the fields of a hash are those changed after the mark, not after its own version."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        fold = self._fold
        fold._fields = lambda standing: [
            fold._machine.hash_fields(key, fold._start[0] - 1) for key, _ in standing
        ]


class FoldsIncrements(SimulatedSession):
    """P7: a fold writes what was added since this server's last fold."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        fold, machine, written = self._fold, self._machine, {}

        def increments(key, expected):
            if expected >= machine.version:
                return ()
            fields = [(f, v - written.get((key, f), 0)) for f, v in machine.hash_fields(key, 0)]
            written.update({(key, f): v for f, v in machine.hash_fields(key, 0)})
            return fields

        fold._fields = lambda standing: [increments(*each) for each in standing]


class StartsAnywhere(SimulatedSession):
    """P10: a log that was trimmed is read from where it begins, without what went before."""

    def _behind(self, entry):
        self._machine.version, self._machine.token = entry.version - 1, entry.previous
        self._read_on()


@dataclass(frozen=True)
class Variant:
    """A broken copy: its session, the rules its Redis lacks, the actions that reveal it.

    ``round`` is what its archivers do; ``focus`` gives the faults that are on in its histories,
    with their weights.
    """

    session: type = SimulatedSession
    redis: frozenset = frozenset()
    round: type = ArchiveRound
    focus: dict | None = None


_SPLITS = {"failover": 4, "run": 20, "break": 6, "control": 6, "look": 3, "burst": 6}
_TRIMS = {"archive": 40, "run": 25, "burst": 8, "timer": 14, "break": 4, "crash": 3}
_FORKS = {**_TRIMS, "failover": 6, "reconnect": 14, "run": 35, "replicate": 2, "fork": 4}
_FOLDS = {"failover": 3, "run": 25, "look": 6, "burst": 6, "break": 4, "timer": 12}
BROKEN = {
    "P1": Variant(WithoutCheck),
    "P2": Variant(AnswersRestOnNothing),
    "P3": Variant(DecidesAgain, focus={"stall": 20, "run": 12}),
    "P4": Variant(SameBytes, focus={"control": 14, "run": 20, "break": 6, "burst": 6}),
    "P5": Variant(Believes, focus=_SPLITS),
    "P6": Variant(WaitsForNothing, focus=_SPLITS),
    "P6 old writes": Variant(BelievesOldWrites, focus=_SPLITS),
    "P7 mark": Variant(FoldsFromTheMark, focus=_FOLDS),
    "P7 increments": Variant(FoldsIncrements, focus=_FOLDS),
    "P7 token": Variant(SkipsReading, frozenset({"fold token"}), focus=_FOLDS),
    "P8 trim": Variant(
        redis=frozenset({"trim mark"}), round=BrokenRounds.WithoutMark, focus=_TRIMS
    ),
    "P10 trim token": Variant(redis=frozenset({"trim token", "trim snapshot"}), focus=_FORKS),
    "P10 snapshot": Variant(round=BrokenRounds.WithoutSnapshot, focus=_TRIMS),
    "P10 trim snapshot": Variant(redis=frozenset({"trim snapshot"}), focus=_FORKS),
    "P10 not archived": Variant(round=BrokenRounds.TrimsUnarchived, focus=_TRIMS),
    "P10 damage": Variant(round=BrokenRounds.BelievesNames, focus={**_TRIMS, "spoil": 8}),
    "P10 trims by version": Variant(round=BrokenRounds.TrimsByVersion, focus=_FORKS),
    "P10 names": Variant(redis=frozenset({"archive names"}), focus=_FORKS),
    "P10 recovery": Variant(StartsAnywhere, focus={**_TRIMS, "crash": 8}),
    "P8 cursor": Variant(redis=frozenset({"fold cursor", "fold expected"}), focus=_FOLDS),
}
