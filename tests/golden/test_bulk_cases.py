"""Golden cases and the shared vectors through `rate_batch`: all that its rows can say (S11.3)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rating_core.bulk import compile_bulk, rate_batch
from rating_core.case import Case, case_from_document
from rating_core.catalog import ChargeModel
from rating_core.counter import combined_value
from rating_core.errors import RowStatus
from rating_core.units import to_units
from rating_core.usage import counters_from_usage
from rating_server.currency import minor_unit

HERE = Path(__file__).resolve()
VECTORS = HERE.parents[3] / "shared" / "vectors"
"""Beside the repository where there are any; a newcomer has the golden cases alone."""
FILES = [*sorted((HERE.parent / "cases").glob("*.jsonl")), *sorted(VECTORS.glob("*.jsonl"))]
SEVERAL_EVENTS = "several events, or none, of a meter that is priced by the event"
DIMENSIONS = "quantities of some values of a dimension"
INEXPRESSIBLE = {
    "aggregations.jsonl": {
        DIMENSIONS: [
            "max-over-series-is-the-greatest",
            "max-of-matching-series-only",
            "max-sees-included-units-once",
            "latest-over-series-is-the-latest",
            "latest-of-matching-series-only",
            "unique-count-of-several-numbers-adds",
            "unique-count-of-matching-series-only",
            "weighted-sum-adds-over-series",
        ],
    },
    "peers.jsonl": {
        SEVERAL_EVENTS: [
            "lago-pct-mm-01",
            "lago-pct-mm-03",
            "lago-pct-pia-e1",
        ],
    },
    "percentage.jsonl": {
        SEVERAL_EVENTS: [
            "percentage-and-fixed-fee-per-event",
            "percentage-no-events",
            "percentage-floor",
            "percentage-ceiling",
            "percentage-floor-is-ceiling",
            "percentage-negative-sum-pays-fixed-fees-only",
            "percentage-refund-lowers-the-sum",
            "percentage-at-the-floor-exactly",
            "percentage-at-the-ceiling-exactly",
            "percentage-zero-percent-below-the-floor",
            "percentage-fixed-fee-above-the-ceiling",
            "percentage-floor-below-the-fixed-fee",
            "percentage-free-amount-and-events",
            "percentage-free-amount-alone",
            "percentage-free-events-alone",
            "percentage-refunds-lower-the-free-sum",
        ],
    },
    "usage.jsonl": {
        SEVERAL_EVENTS: [
            "percentage-of-matching-events",
        ],
        DIMENSIONS: [
            "where-one-value",
            "where-any-of-two-values",
            "where-two-dimensions",
            "where-lacking-dimension-is-empty-text",
            "where-absent-matches-every-series",
            "where-matches-nothing",
            "charges-see-usage-independently",
            "included-units-are-shared-by-matching-series",
            "tiers-apply-to-the-sum-of-matching-series",
            "same-series-twice-adds-up",
            "negative-series-offsets-another",
        ],
    },
}
"""Which cases no row can say, by file and reason."""


def cases_of(file: Path) -> list[Case]:
    """The cases of a file, with scalars as text, as every reader of documents has them (S1.1)."""
    words = {True: "true", False: "false"}

    def as_text(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        return {key: words[value] if isinstance(value, bool) else value for key, value in pairs}

    rows = file.read_text(encoding="utf-8").splitlines()
    documents = [json.loads(row, parse_int=str, object_pairs_hook=as_text) for row in rows]
    return [case_from_document(document, minor_unit) for document in documents]


def quantities_of(case: Case) -> list[int] | str:
    """A quantity for each meter of the case's plan, or why there is no such row."""
    by_event = {each.meter for each in case.plan.charges if each.model is ChargeModel.PERCENTAGE}
    row = []
    for meter in case.plan.meters:
        entries = case.example.usage.get(meter.id, ())
        if meter.id in by_event and len(entries) != 1:
            return SEVERAL_EVENTS
        if any(entry.dimensions is not None for entry in entries):
            return DIMENSIONS
        counters = counters_from_usage(case.plan, {meter.id: entries})
        row.append(combined_value(meter.aggregation, counters))
    return row


@pytest.mark.parametrize("file", FILES, ids=lambda file: f"{file.parent.name}/{file.name}")
def test_bulk_rating_gives_the_expected_amounts(file: Path) -> None:
    """One batch of all the file's plans: totals, charges and commitments are those expected."""
    cases = cases_of(file)
    rows = {case.id: quantities_of(case) for case in cases}
    left_out = {name: row for name, row in rows.items() if isinstance(row, str)}
    named = INEXPRESSIBLE.get(file.name, {})
    assert left_out == {name: reason for reason, names in named.items() for name in names}
    rated = [case for case in cases if case.id not in left_out]
    bulk = compile_bulk([case.plan for case in rated])
    quantities = np.zeros((len(rated), bulk.meter_count), np.int64)
    for place, case in enumerate(rated):
        quantities[place, : len(rows[case.id])] = rows[case.id]
    amounts = rate_batch(bulk, np.arange(len(rated)), quantities)
    for place, case in enumerate(rated):
        plan, scale = case.plan, case.plan.rounding.scale
        assert amounts.statuses[place] == RowStatus.OK, case.id
        assert amounts.totals[place] == to_units(case.example.total, scale), case.id
        ids = [charge.id for charge in plan.charges]
        found = dict(zip(ids, amounts.charges[place].tolist(), strict=False))
        ids = [commitment.id for commitment in plan.commitments]
        found |= dict(zip(ids, amounts.commitments[place].tolist(), strict=False))
        for name, amount in case.example.lines:
            if name in found:
                assert found[name] == to_units(amount, scale), (case.id, name)
