"""What a shard's session says to Redis and hears from it, and what it asks of a state machine.

The session (`session.py`) is sans I/O: events in, commands out. The Redis adapter moves bytes, the
simulator plays Redis; both speak the values of this module. All versions are int, all tokens 16
bytes (the empty log is version 0 with ``EMPTY_TOKEN``), all instants int microseconds UTC.

Commands of one session travel in order on one connection, and their replies come back in the same
order; a lost connection voids every reply that is outstanding.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from typing import Protocol

from rating_core.metering.log.archive import (
    ListArchive,
    Listing,
    LoadedSnapshot,
    LoadSnapshot,
    ReadSegment,
    SnapshotName,
)
from rating_core.metering.log.snapshot import Snapshot

EMPTY_TOKEN = bytes(16)


def chain_token(previous: bytes, entry: bytes) -> bytes:
    """Return the chain token of ``entry`` (all its bytes) after the entry of token ``previous``."""
    return hashlib.sha256(previous + entry).digest()[:16]


class AckLevel(IntEnum):
    """What is certain when a status is sent (DESIGN §6)."""

    APPLIED = 1
    DURABLE = 2
    REPLICATED = 3


class Outcome(StrEnum):
    """How Redis answered a commit or a check. Nothing was written unless it is OK."""

    OK = "OK"
    MOVED = "MOVED"
    """The head is not the (version, token) that the call named (P1)."""
    CLOCK = "CLOCK"
    """The call's now is later than max(the head's now, Redis TIME + 5 s) (P11)."""
    YIELD = "YIELD"
    """Another server holds the turn (P14)."""
    FULL = "FULL"
    """Memory or disk is near its limit; commits have stopped (P15)."""


# --- commands to Redis, each with its reply ------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Commit:
    """Append ``entry`` as version + 1 if the head is (version, token)."""

    version: int
    token: bytes
    new_token: bytes
    now: int
    boot: bytes
    entry: bytes


@dataclass(frozen=True, slots=True)
class Check:
    """Ask whether the head is (version, token). ``touch``: write a key if it is (P6)."""

    version: int
    token: bytes
    now: int
    touch: bool


@dataclass(frozen=True, slots=True)
class HeadReply:
    """Reply to Commit and Check: the head as it stands after the call, and Redis TIME."""

    outcome: Outcome
    version: int
    token: bytes
    redis_now: int


@dataclass(frozen=True, slots=True)
class ReadLog:
    """Read entries with version > after, in order, at most ``limit`` of them.

    What was trimmed is not there: then the first entry comes later than after + 1 (P9).
    """

    after: int
    limit: int


@dataclass(frozen=True, slots=True)
class LogEntry:
    """One entry as the log holds it."""

    version: int
    previous: bytes
    entry: bytes


@dataclass(frozen=True, slots=True)
class LogPage:
    """Reply to ReadLog. Fewer entries than the limit: the log ended there at that instant."""

    entries: tuple[LogEntry, ...]


@dataclass(frozen=True, slots=True)
class Turn:
    """Ask for the next turn for this boot id: a key that expires after 20 ms (P14)."""

    boot: bytes


@dataclass(frozen=True, slots=True)
class TurnReply:
    """Reply to Turn."""

    granted: bool


@dataclass(frozen=True, slots=True)
class Wait:
    """Wait until the replicas hold the last write of this connection (P6)."""


@dataclass(frozen=True, slots=True)
class WaitReply:
    """Reply to Wait: whether all of them confirmed before the adapter's time limit."""

    reached: bool


@dataclass(frozen=True, slots=True)
class FoldRead:
    """Read the mark F, the cursor and the folded versions of counter hashes (P7, P8)."""

    keys: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class FoldReadReply:
    """Reply to FoldRead; a hash that does not exist stands at version 0."""

    mark: int
    cursor: int
    versions: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class HashWrite:
    """Set absolute values of the fields that changed after version ``expected`` (P7).

    Where the hash stands at exactly ``expected``, it then stands at the call's version. A hash at
    or beyond the call's version already holds what the call would write and is skipped. At any
    other version the whole call is refused: skipping it would let F pass a hash that lacks entries.
    """

    key: str
    expected: int
    fields: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class FoldWrite:
    """One call of a fold round (P7, P8); each call names the version that its values are of.

    Refused, and nothing written, unless the log holds (version, token), the cursor is ``cursor``
    and every hash stands as `HashWrite` says. Writes the hashes and advances the cursor by one (it
    only ever rises). The call with ``last`` also sets F = max(F, version); it has no writes, and
    its version is the one at which the round began.
    """

    version: int
    token: bytes
    cursor: int
    writes: tuple[HashWrite, ...]
    last: bool


@dataclass(frozen=True, slots=True)
class FoldReply:
    """Reply to FoldWrite. Not ok: the round is void (another server's, or the log changed)."""

    ok: bool
    mark: int
    cursor: int


@dataclass(frozen=True, slots=True)
class Trim:
    """Drop the entries before ``version`` (P8, P10); ``version`` itself stays as the join.

    Refused, and nothing dropped, unless version ≤ F and the log holds (version, token) and
    the entry of ``snapshot``, which is at ``version`` or later. The caller knows that an archive
    holds what goes, and that snapshot.
    """

    version: int
    token: bytes
    snapshot: SnapshotName


@dataclass(frozen=True, slots=True)
class TrimReply:
    """Reply to Trim."""

    ok: bool
    mark: int


ArchiveRead = ListArchive | LoadSnapshot | ReadSegment
"""Commands of a session that the archive answers, not Redis; in order with the others."""
Command = Commit | Check | ReadLog | Turn | Wait | FoldRead | FoldWrite | ArchiveRead
Reply = (
    HeadReply
    | LogPage
    | TurnReply
    | WaitReply
    | FoldReadReply
    | FoldReply
    | TrimReply
    | Listing
    | LoadedSnapshot
)


# --- commands to the surroundings ----------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Answer:
    """The final answer of one call or query; it may leave now."""

    ticket: int
    answer: object


@dataclass(frozen=True, slots=True)
class Refuse:
    """The call was not decided and will not be; nothing is known of it (statuses RETRY).

    ``reason``: FULL (P15), CLOCK (this server's clock is wrong), CLOSED (the session ended).
    """

    ticket: int
    reason: str


@dataclass(frozen=True, slots=True)
class SetTimer:
    """Call ``on_timer(name)`` after ``delay`` µs; one timer a name, a new one replaces it."""

    name: str
    delay: int


@dataclass(frozen=True, slots=True)
class Reconnect:
    """Drop this connection and make a new one; then call ``on_connected``."""

    reason: str


@dataclass(frozen=True, slots=True)
class HistoryLost:
    """Entries that were committed are in the log no more: a failover, or a crash, lost them (P5).

    ``version`` and ``token`` are those of the last entry that was known, ``kept`` the version up to
    which the log is still the same; 0 also if that is too far back to be known. ``answered`` is the
    last version on which an answer of this session rested; at ``kept`` or before it, nothing that
    was acknowledged here is lost. The session has rebuilt its state. What stood in the entries
    counts again when it is sent again, or when their writer, who may not know yet that they were
    committed, appends them once more (P3). Not told where the log was trimmed beyond the loss
    before this session read it.
    """

    kept: int
    version: int
    token: bytes
    answered: int


Effect = Answer | Refuse | SetTimer | Reconnect | HistoryLost


# --- the state machine ---------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Decision:
    """One answer per call, in order, and the body of the entry they need, if any.

    ``staged`` is the machine's own decoded form of ``body``, so that staging decodes nothing.
    """

    answers: tuple[object, ...]
    body: bytes | None
    staged: object = None


Fields = Sequence[tuple[str, int]]
"""Fields of a hash and their values."""


class Machine(Protocol):
    """A deterministic state that is a fold of one log (a usage shard, or the catalogue).

    Committed state stands at (version, token). Entries of this server that are in flight are
    staged on top of it, oldest first, and only `decide` sees them (P1).
    """

    version: int
    token: bytes
    now: int
    """The greatest now of all committed entries."""

    def reset(self) -> None:
        """Return to the empty log: version 0, EMPTY_TOKEN, now 0, nothing staged."""

    def decide(self, calls: Sequence[object], now: int) -> Decision:
        """Decide calls on committed plus staged state at instant ``now``; changes nothing."""

    def stage(self, decision: Decision, now: int) -> None:
        """Put the decision's entry on top of the staged ones."""

    def unstage(self) -> None:
        """Drop every staged entry."""

    def confirm(self, version: int, token: bytes) -> None:
        """Make the oldest staged entry committed, as (version, token)."""

    def apply(self, body: bytes, now: int, version: int, token: bytes) -> None:
        """Apply an entry read from the log. Nothing may be staged. LogCorrupt if undecodable."""

    def query(self, question: object) -> object:
        """Answer a question about committed state only."""

    def joins(self, first: object, call: object) -> bool:
        """Whether ``call`` may be decided in one entry with ``first``: records may, control not."""

    def size(self, call: object) -> int:
        """Return about how many bytes of entry the call will need."""

    def hurries(self, call: object) -> bool:
        """Whether ``call``, if it is small, may be decided before others that came earlier.

        Not one of several that a sender has sent in an order, as the batches of a stream are.
        """

    def changed_hashes(self, after: int) -> Sequence[str]:
        """Return the keys of counter hashes that committed entries after version ``after`` touch.

        Right for every ``after``, also one before a mark given to `folded` (a Redis that lost its
        last writes may stand at an earlier mark again): then it may return more, never fewer.
        """

    def hash_fields(self, key: str, after: int) -> Sequence[tuple[str, int]]:
        """Return the fields of a hash that changed after version ``after``, at committed values."""

    def fields_of(self, hashes: Sequence[tuple[str, int]]) -> Sequence[Sequence[tuple[str, int]]]:
        """Return `hash_fields` of many hashes at once, each with the version that it stands at."""

    def folded(self, mark: int) -> None:
        """Forget which hashes changed at or before ``mark``: all reflect it (P8)."""

    def snapshot(self) -> Snapshot:
        """Return the committed state at (version, token): all folds (P10)."""

    def restore(self, snapshot: Snapshot) -> None:
        """Become the state of a snapshot, nothing staged; SnapshotInvalid if it is not ours (P10).

        After an error the state is the empty log's.
        """
