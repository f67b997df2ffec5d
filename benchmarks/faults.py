"""Fault tests on real processes: whatever dies, every record is counted once, and none twice.

A round writes new records, with event ids and by a sequenced producer at once, over two servers;
in the middle something breaks, and is mended. Then a client sends again what was not acknowledged.
After that every counter, the export of the log, and the fold of it, must equal the ground truth.
"""

from __future__ import annotations

import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.fault_client import Job, notes_of, written_of
from benchmarks.fault_faults import FAULTS, Fault
from benchmarks.fault_installations import INSTALLATIONS, Installation
from benchmarks.fault_parts import eventually
from benchmarks.fault_truth import check
from benchmarks.measure import Row
from rating_client import RecordStatus

RECORDS = 2_000
QUICK_RECORDS = 800
SEED = 20261122
_COUNTED = (RecordStatus.ACCEPTED, RecordStatus.DUPLICATE)
_RESENDS = 3
_LIMIT_S = 90.0


class Sender:
    """A client process, and what its notes say."""

    def __init__(self, folder: Path, name: str, job: Job) -> None:
        self.job = job
        self.before: Sender | None = None
        """A killed sender whose spool this one has taken over."""
        self.notes = Path(job.notes)
        path = folder / f"{name}.json"
        job.save(path)
        words = [sys.executable, "-m", "benchmarks.fault_client", str(path)]
        with (folder / "clients.log").open("ab") as log:
            self.process = subprocess.Popen(words, stderr=log, start_new_session=True)

    def acknowledged(self) -> set[int]:
        """Return the records that are known to be counted; SystemExit for any other final word."""
        if self.job.spool:
            return self._taken()
        found = set()
        for first, statuses, _ in notes_of(self.notes):
            for row, status in enumerate(statuses):
                if status in _COUNTED:
                    found.add(self.job.indices[first + row])
                elif status != RecordStatus.RETRY:
                    raise SystemExit(f"a record got the status {RecordStatus(status).name}")
        return found

    def _taken(self) -> set[int]:
        """Return what the spools have taken: all of it is counted if the last writer ended well."""
        if self.process.poll() != 0:
            return set()
        earlier = self.before
        found = set(self.job.indices)
        if earlier is not None:
            found |= set(earlier.job.indices[: written_of(earlier.notes)[0]])
        return found

    def progress(self) -> int:
        """Return how many records have a status."""
        return sum(len(statuses) for _, statuses, _ in notes_of(self.notes))

    def resent(self) -> int:
        """Return how many records were sent again, by the writer itself."""
        return sum(
            len(statuses) * (attempts - 1)
            for _, statuses, attempts in notes_of(self.notes)
            if attempts > 1
        )


class Round:
    """One round: its records, its clients, and its random numbers."""

    def __init__(self, number: int, installation: Installation, records: int) -> None:
        self.number = number
        self.at = installation
        self.rng = random.Random(SEED + number)
        begin = installation.next_index
        installation.next_index += records
        self.indices = list(range(begin, begin + records))
        self.senders: list[Sender] = []
        self.resent = 0
        self.unsure: set[int] = set()
        """Numbered records that a spool may have taken, all or none, when its writer was killed."""

    def send(self, kind: str, indices: list[int], target: int = 0, **more: object) -> Sender:
        """Start a client process that writes these records to a server."""
        name = f"{self.number}-{len(self.senders)}-{kind}"
        notes = str(self.at.folder / f"{name}.notes")
        targets = self.at.targets()
        job = Job(targets[target % len(targets)], kind, indices, notes, limit=_LIMIT_S)
        for field, value in more.items():
            setattr(job, field, value)
        sender = Sender(self.at.folder, name, job)
        self.senders.append(sender)
        return sender

    def until_acknowledged(self, share: float) -> None:
        """Wait until so much of the records with ids was acknowledged."""
        wanted = int(share * len(self.indices))
        ids = [sender for sender in self.senders if sender.job.kind == "ids"]
        eventually(
            lambda: (
                any(sender.progress() >= wanted for sender in ids)
                or not any(sender.process.poll() is None for sender in ids)
            ),
            "records are acknowledged",
        )

    def take_over(self, killed: Sender) -> None:
        """Start a client on the spool of a killed one, with the records that it did not take."""
        sure, most = written_of(killed.notes)
        begin = sure
        if killed.job.kind == "seq":
            # Written again they would be other records, if the spool has them.
            self.unsure |= set(killed.job.indices[sure:most])
            begin = max(sure, most)
        sender = self.send(killed.job.kind, killed.job.indices[begin:], spool=killed.job.spool)
        sender.before = killed

    def acknowledged(self, kind: str) -> set[int]:
        """Return all acknowledged records of a kind."""
        found = [s.acknowledged() for s in self.senders if s.job.kind == kind]
        return set().union(*found)

    def join(self) -> None:
        """Wait for the clients; those that cannot end in time are an error."""
        for sender in self.senders:
            try:
                sender.process.wait(_LIMIT_S + 30)
            except subprocess.TimeoutExpired:
                sender.process.kill()
                sender.process.wait()
                raise SystemExit(f"a client hangs: {sender.job.kind}") from None

    def resend(self) -> None:
        """Send again what was not acknowledged, until all is."""
        for _ in range(_RESENDS):
            missing = sorted(set(self.indices) - self.acknowledged("ids"))
            if not missing:
                break
            self.resent += len(missing)
            self.rng.shuffle(missing)
            self.send("ids", missing, self.rng.randrange(2))
            self.join()
        for kind in ("ids", "seq"):
            if missing := set(self.indices) - self.acknowledged(kind) - self.unsure:
                logs = sorted(self.at.folder.glob("*.log"))
                tails = "\n".join(f"{log.name}: {log.read_text()[-1_500:]}" for log in logs)
                raise SystemExit(f"{len(missing)} {kind} records are never acknowledged\n{tails}")
            unsure = self.unsure if kind == "seq" else set()
            self.at.truth.indices[kind].update(set(self.indices) - unsure)
        self.at.truth.unsure = self.unsure


def _play(number: int, fault: Fault, at: Installation, records: int) -> Row:
    """Play one round and return its row."""
    began = time.monotonic()
    this = Round(number, at, records)
    note = fault.play(this, at)
    at.heal()
    this.join()
    acknowledged = sum(len(this.acknowledged(kind)) for kind in ("ids", "seq"))
    this.resend()
    this.resent += sum(sender.resent() for sender in this.senders)
    checking = time.monotonic()
    lost, doubled, complaint = check(
        at.truth, at.targets()[number % len(at.targets())], at.store_words(), at.folder
    )
    row: Row = {
        "round": number,
        "fault": fault.name,
        "records": 2 * records,
        "acknowledged": acknowledged,
        "resent": this.resent,
        "lost": lost,
        "doubled": doubled,
        "installation": at.name,
        "seconds": round(time.monotonic() - began, 1),
        "seconds_checking": round(time.monotonic() - checking, 1),
    }
    if note:
        row["note"] = note
    if complaint:
        row["complaint"] = complaint
    return row


def run(rounds: int = 0, only: str = "", quick: bool = False) -> Iterator[Row]:
    """Yield a row for each round: all faults in turn, in an order drawn anew each time.

    ``rounds`` 0: each fault once in each installation. ``only``: faults whose names begin so.
    ``quick``: a few cheap ones, once, with fewer records. Installations take turns, each new
    each time, so that checking does not get slower.
    """
    chosen = [
        fault for fault in FAULTS if fault.name.startswith(only) and (fault.quick or not quick)
    ]
    if not chosen:
        raise SystemExit(f"no fault begins with {only!r}")
    left = rounds or sum(len(fault.where(quick)) for fault in chosen)
    rng = random.Random(SEED)
    number = 0
    while left:
        for kind in INSTALLATIONS:
            faults = [fault for fault in chosen if kind in fault.where(quick)]
            rng.shuffle(faults)
            turns = min(left, len(faults))
            left -= turns
            for row in _visit(kind, faults[:turns], number, QUICK_RECORDS if quick else RECORDS):
                yield row
                number += 1


def _visit(
    kind: type[Installation], faults: list[Fault], number: int, records: int
) -> Iterator[Row]:
    """Play these faults on one new installation."""
    if not faults:
        return
    with tempfile.TemporaryDirectory(prefix="rw-f-") as name:
        installation = kind(Path(name))
        try:
            installation.start()
            for at, fault in enumerate(faults, number):
                yield _play(at, fault, installation, records)
        finally:
            installation.stop()
