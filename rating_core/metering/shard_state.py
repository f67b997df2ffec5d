"""All folds of a usage shard as one value: its digest, its snapshot, and back (P10).

Whoever adds a fold that decides adds it here twice: to `state_digest` and to the snapshot's
sections (or parts, if it is large). A test holds restored state against the digest.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import partial
from itertools import islice

from rating_core.errors import LogCorrupt, SnapshotInvalid
from rating_core.metering.calls import (
    BucketsAnswer,
    CountersAnswer,
    GetBuckets,
    GetCounters,
    canonical_json,
)
from rating_core.metering.contracts.directory import Directory, DirectoryView
from rating_core.metering.contracts.ledger import Ledger
from rating_core.metering.contracts.parts import period_at
from rating_core.metering.counters import Counters
from rating_core.metering.counting.bucket_history import list_buckets
from rating_core.metering.counting.counter_dump import load_counters, take_counters
from rating_core.metering.counting.series_state import counters_of
from rating_core.metering.deciding.keyed_hash import HashKey
from rating_core.metering.deciding.row_keys import customer_part_key
from rating_core.metering.id_index import IdIndex
from rating_core.metering.log.snapshot import Encoded, Snapshot, Taken
from rating_core.metering.sequencing.producers import Producers

KIND = "usage"
_KEY_PROBE = "ratewright snapshot"
_SECTIONS = ("key", "directory", "counters", "ids", "producers", "ledger")
_READ_ERRORS = (LookupError, TypeError, ValueError, AttributeError, OverflowError, LogCorrupt)


@dataclass(frozen=True, slots=True)
class Folds:
    """What a usage shard has folded from its log up to one version, under one hash key."""

    hash_key: HashKey
    directory: Directory
    ids: IdIndex
    counters: Counters
    producers: Producers
    ledger: Ledger

    def part_row(self, customer: str, start: int) -> int:
        """Return the row of a customer's period among the counters, or ABSENT."""
        return self.counters.part_row(customer_part_key(self.hash_key, customer, start))

    @classmethod
    def empty(cls, hash_key: HashKey) -> Folds:
        """Return the folds of the empty log."""
        directory = Directory(hash_key)
        ledger = Ledger(directory.numbers)
        return cls(hash_key, directory, IdIndex(), Counters(), Producers(), ledger)


def state_digest(version: int, token: bytes, now: int, folds: Folds) -> bytes:
    """Return 32 bytes that are equal where two machines of one hash key decide alike."""
    directory, counters = folds.directory, folds.counters

    def fields(number: int, start: int) -> list[list[tuple[str, int]]]:
        part = folds.part_row(directory.customers[number], start)
        return [counters.fields(part, -1), counters.bucket_fields(part, -1)]

    document = {
        "log": [version, token.hex(), now],
        "directory": directory.document(),
        "producers": folds.producers.document(),
        "ledger": hashlib.sha256(folds.ledger.dump()).hexdigest(),
        "counters": [
            [customer, start, changed, fields(customer, start)]
            for customer, start, changed in counters.part_versions()
        ],
    }
    return hashlib.sha256(canonical_json(document) + folds.ids.digest()).digest()


def counters_answer(
    question: GetCounters, folds: Folds, version: int, token: bytes
) -> CountersAnswer:
    """Return the counters that a question asks for, as of (version, token)."""
    view = DirectoryView(folds.directory, ())
    subscription = view.subscription_at(question.customer, question.instant)
    if subscription is None:
        return CountersAnswer(None, 0, 0, False, (), version, token)
    period = period_at(subscription, question.instant)
    part = next(part for part in period.parts if question.instant < part.end)
    number = folds.directory.numbers[question.customer]
    states = folds.counters.states(
        folds.part_row(question.customer, part.start), number, part.start
    )
    closed_until = view.closed_until(question.customer, subscription.subscription_id)
    return CountersAnswer(
        subscription=subscription,
        period_start=period.start,
        period_end=period.end,
        closed=period.end <= closed_until,
        counters=counters_of(states, part.span),
        part_start=part.start,
        part_end=part.end,
        plan_ref=part.plan_ref,
        version=version,
        token=token,
        meters={state.meter.id: state.meter for state in states},
    )


def buckets_answer(question: GetBuckets, folds: Folds, version: int, token: bytes) -> BucketsAnswer:
    """Return the time buckets that a question asks for, as of (version, token)."""
    view = DirectoryView(folds.directory, ())
    contract = view.contract(question.customer)
    if not contract:
        return BucketsAnswer(None, (), version, token)
    asked = view.subscription_at(question.customer, question.end)
    start = question.start
    if start is None:
        start = question.end if asked is None else period_at(asked, question.end).start
    found = list_buckets(
        folds.counters,
        partial(folds.part_row, question.customer),
        folds.directory.numbers[question.customer],
        contract,
        start,
        question.end,
        question.meter,
        question.after,
    )
    buckets = tuple(islice(found, question.limit))
    shown = {bucket.counter.meter for bucket in buckets}
    meters = {meter.id: meter for meter in folds.counters.words.meters if meter.id in shown}
    return BucketsAnswer(asked or contract[-1], buckets, version, token, meters)


def take_snapshot(version: int, token: bytes, now: int, folds: Folds) -> Snapshot:
    """Return the snapshot of committed folds at (version, token) (P10).

    What changes is copied; it is encoded when it is read, wherever that is.
    """
    ids, parts = folds.ids.take()
    sections: dict[str, Taken] = {
        "key": partial(_key_probe, folds.hash_key),
        "directory": folds.directory.take(),
        "counters": take_counters(folds.counters),
        "ids": ids,
        "producers": folds.producers.take(),
        "ledger": folds.ledger.take(),
    }
    return Snapshot(KIND, version, token, now, Encoded(sections), Encoded(parts))


def restored_folds(snapshot: Snapshot, hash_key: HashKey) -> Folds:
    """Return the folds of a snapshot; SnapshotInvalid unless all of it is understood (P10)."""
    sections = snapshot.sections
    if snapshot.kind != KIND or sorted(sections) != sorted(_SECTIONS):
        raise SnapshotInvalid(f"not a snapshot of this version: {snapshot.kind}, {list(sections)}")
    if sections["key"] != _key_probe(hash_key):
        raise SnapshotInvalid("snapshot was made under another hash key")
    folds = Folds.empty(hash_key)
    try:
        folds.directory.load(sections["directory"])
        load_counters(folds.counters, sections["counters"])
        folds.ids.load(sections["ids"], snapshot.parts)
        folds.producers.load(sections["producers"])
        folds.ledger.load(sections["ledger"])
    except _READ_ERRORS as error:
        raise SnapshotInvalid(f"snapshot does not fit: {error}") from error
    return folds


def _key_probe(hash_key: HashKey) -> bytes:
    # Identities and counter keys in a snapshot mean nothing under another key. The probe tells
    # keys apart and gives none away.
    return hash_key.hash_names([_KEY_PROBE]).tobytes()
