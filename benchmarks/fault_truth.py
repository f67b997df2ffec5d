"""The ground truth of the fault tests: which records exist, kept outside of the system."""

from __future__ import annotations

import contextlib
import csv
import io
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.fault_client import CUSTOMERS, customer_of, quantity_of
from rating_client import Client
from rating_server.cli.app import execute

_PERIOD = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass
class Truth:
    """The records that were acknowledged to a client, each once, by its kind and index."""

    indices: dict[str, set[int]] = field(
        default_factory=lambda: {kind: set() for kind in CUSTOMERS}
    )

    unsure: set[int] = field(default_factory=set)
    """Numbered records of the last round of which a killed writer does not know: all, or none."""

    def of(self, customer: str) -> Counter[int]:
        """Return the quantities of a customer's records; a quantity identifies a record."""
        kind = customer.split("-", maxsplit=1)[0]
        return Counter(
            quantity_of(index)
            for index in self.indices[kind]
            if customer_of(kind, index) == customer
        )


def compare(wanted: Counter[int], found: Counter[int]) -> tuple[int, int]:
    """Return how many records are missing, and how many are there too often."""
    return (wanted - found).total(), (found - wanted).total()


def compare_counter(wanted: Counter[int], value: int, events: int) -> tuple[int, int]:
    """Return (lost, doubled) as far as a sum and a number of records can tell."""
    lost, doubled = max(wanted.total() - events, 0), max(events - wanted.total(), 0)
    total = sum(quantity * count for quantity, count in wanted.items())
    if value != total and not lost and not doubled:
        return 1, 1
    return lost, doubled


def command(*words: str) -> tuple[int, str]:
    """Run a `ratewright` command in this process; return its status and what it complained of."""
    out, complaints = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(complaints):
        status = execute([*words])
    return status, complaints.getvalue()


def check(
    truth: Truth, target: str, store_words: tuple[str, ...], folder: Path
) -> tuple[int, int, str]:
    """Compare counters, export and folds with the truth; return (lost, doubled, complaint).

    ``store_words`` are the options that name the store and its archive to a command.
    """
    lost = doubled = 0

    def worse(found: tuple[int, int]) -> None:
        nonlocal lost, doubled
        lost, doubled = max(lost, found[0]), max(doubled, found[1])

    if truth.unsure:
        _resolve(truth, store_words, folder)
    complaint = ""
    with Client(target) as client:
        for customer in (name for names in CUSTOMERS.values() for name in names):
            wanted = truth.of(customer)
            counters = client.get_usage(customer, _PERIOD, timeout=20).counters
            value = sum(int(counter.value) for counter in counters)
            worse(compare_counter(wanted, value, sum(c.event_count for c in counters)))
            found, problem = _exported(customer, store_words, folder / "export.csv")
            worse(compare(wanted, found))
            complaint = complaint or problem
    status, problem = command("verify", *store_words)
    return lost, doubled, complaint or (f"verify: {problem}" if status else "")


def _resolve(truth: Truth, store_words: tuple[str, ...], folder: Path) -> None:
    """Let the export decide about the records that a spool may have taken: all of them or none."""
    found: Counter[int] = Counter()
    for customer in CUSTOMERS["seq"]:
        found += _exported(customer, store_words, folder / "export.csv")[0]
    if any(found[quantity_of(index)] for index in truth.unsure):
        truth.indices["seq"] |= truth.unsure
    truth.unsure = set()


def _exported(customer: str, store_words: tuple[str, ...], out: Path) -> tuple[Counter[int], str]:
    words = ("log", "export", "--customer", customer, "--out", str(out), *store_words)
    status, problem = command(*words)
    if status:
        return Counter(), f"export: {problem}"
    with out.open(newline="") as file:
        return Counter(int(row["quantity"]) for row in csv.DictReader(file)), ""
