"""Records of one customer counted anew, after a change dated before them (S8.6).

Whoever makes the change reads the customer's records from the log, counts them into the parts that
they fall into after it, and lets the control entry carry the result: the state machine holds no
records to count again, and everybody who applies the entry takes the same numbers. Values are
absolute, so nothing that was counted before shines through.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rating_core.counter import BandCount
from rating_core.metering.batch import DimensionSet
from rating_core.metering.calls import Bands, RecountedParts
from rating_core.metering.contracts.parts import spans_from
from rating_core.metering.contracts.subscription import Contract, facts_of
from rating_core.metering.counters import Counters
from rating_core.metering.counting.cells import Cells
from rating_core.metering.counting.counter_table import CounterTable
from rating_core.metering.counting.series_state import SeriesState
from rating_core.metering.deciding.keyed_hash import HashKey
from rating_core.metering.deciding.records_entry import EntryMeter, RecordsEntry
from rating_core.metering.deciding.row_keys import customer_part_key, entry_keys
from rating_core.metering.log.protocol import EMPTY_TOKEN

_SCRATCH_KEY = HashKey(bytes(16))
"""Keys a recount's own tables, which nobody else reads."""
_ORDER_ID = b"-"
LAST = 7
"""Column of `CounterTable.parts`: the latest event time ever counted."""


class Recount:
    """Counts the records of one customer from ``since`` on into the parts of ``contract``.

    ``contract``: the customer's subscriptions after the change; ``since``: a border of its parts,
    µs. Entries are added in the order of the log.
    """

    def __init__(self, contract: Contract, since: int) -> None:
        self._contract = contract
        self._since = since
        self._customer = contract[0].customer
        self._counters = Counters()
        self._last = since
        self.version = 0
        """Up to which the log was counted."""
        self.token = EMPTY_TOKEN
        """That of the entry of this version."""

    def add(self, entry: RecordsEntry, version: int) -> None:
        """Count the customer's records of an entry read from the log at ``version``."""
        self.version = version
        rows = entry.rows_of(self._customer)
        rows = rows[entry.words[1, rows] >= self._since]
        if not rows.size:
            return
        taken = entry.take(rows)
        instants = taken.words[1]
        self._last = max(self._last, int(instants.max()))
        starts = self._part_starts(instants)
        held = np.flatnonzero(starts >= self._since)
        if not held.size:
            return
        taken = taken.take(held)
        words = np.ascontiguousarray(taken.words)
        words[2] = starts[held]
        taken = replace(taken, words=words)
        hashes = _SCRATCH_KEY.hash_names(taken.customers)
        keys = entry_keys(_SCRATCH_KEY, hashes, taken)
        self._counters.add(
            taken, keys, version, number_of=lambda _: 0, bands_of=partial(bands_at, self._contract)
        )

    def resume(self, recount: RecountedParts) -> None:
        """Go on from what was counted before, in place of what is counted here so far."""
        facts = {"since": recount.since, "last": recount.last, "parts": recount.parts}
        self._last, self.version, self.token = recount.last, recount.version, recount.token
        apply_recount(
            self._counters, _SCRATCH_KEY, self._customer, 0, self._contract, facts, self.version
        )

    def passed(self, version: int, token: bytes) -> None:
        """Note that the log was read up to ``version``, which has that token."""
        self.version, self.token = version, token

    def _part_starts(self, instants: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the start of the part that holds each instant, less than ``since`` for none."""
        low, high = int(instants.min()), int(instants.max())
        low = max(low, self._since)
        spans = [span for one in self._contract for span in spans_from(one, low, high + 1)]
        if not spans:
            return np.full(instants.size, self._since - 1, np.int64)
        starts = np.array([span.start for span in spans], np.int64)
        ends = np.array([span.end for span in spans], np.int64)
        place = np.searchsorted(starts, instants, side="right") - 1
        inside = (place >= 0) & (instants < ends[place])
        return np.where(inside, starts[place], self._since - 1)

    def parts(self) -> RecountedParts:
        """Return what a call of the change carries."""
        counters = self._counters
        parts = []
        for part in range(counters.part_table.count):
            _, start = counters.part(part)
            rows = counters.series_rows(part)
            series = [
                _series_facts(counters, state, rows[state.key])
                for state in counters.states(part, -1, start)
            ]
            parts.append({"start": start, "series": series})
        return RecountedParts(
            version=self.version,
            token=self.token,
            since=self._since,
            last=self._last,
            contract=facts_of(self._contract),
            parts=sorted(parts, key=_start_of),
        )


def continued(
    recount: RecountedParts, contract: Contract, entries: Iterable[RecordsEntry]
) -> RecountedParts:
    """Return a recount with the records of later entries, in the order of the log (S8.6)."""
    fold = Recount(contract, recount.since)
    fold.resume(recount)
    for entry in entries:
        fold.add(entry, fold.version + 1)
    return fold.parts()


def _start_of(part: Mapping[str, Any]) -> int:
    return int(part["start"])


def _series_facts(table: CounterTable, state: SeriesState, row: int) -> dict[str, Any]:
    buckets = [
        [start, _state_facts(table.bucket_state(state, bucket))]
        for start, bucket in table.bucket_starts(row)
    ]
    return {
        "meter": state.meter.to_json(),
        "dimensions": [list(pair) for pair in state.dimensions],
        **_state_facts(state),
        **({"buckets": buckets} if buckets else {}),
    }


def _state_facts(state: SeriesState) -> dict[str, Any]:
    facts: dict[str, Any] = {"value": state.value, "events": state.events}
    if state.moment:
        facts["moment"] = state.moment
    if state.latest is not None:
        facts["latest"] = [state.latest[0], state.latest[1].hex()]
    if state.values:
        facts["values"] = dict(sorted(state.values.items()))
    if state.bands:
        facts["bands"] = {
            charge: [band.floor_events, band.ceiling_events, band.between_sum]
            for charge, band in state.bands.items()
        }
    return facts


def _state(meter: EntryMeter, dimensions: DimensionSet, facts: Mapping[str, Any]) -> SeriesState:
    latest = facts.get("latest")
    return SeriesState(
        meter,
        dimensions,
        facts["value"],
        facts["events"],
        moment=facts.get("moment", 0),
        latest=None if latest is None else (latest[0], bytes.fromhex(latest[1])),
        values=facts.get("values", {}),
        bands={charge: BandCount(*cell) for charge, cell in facts.get("bands", {}).items()},
    )


@dataclass(slots=True)
class _Rows:
    """Records that open the series, buckets and values of a recount; they count nothing."""

    meters: dict[EntryMeter, int] = field(default_factory=dict)
    dimension_sets: dict[DimensionSet, int] = field(default_factory=dict)
    attribute_sets: dict[DimensionSet, int] = field(default_factory=lambda: {(): 0})
    rows: list[tuple[int, int, int, int, int]] = field(default_factory=list)

    def add(self, state: SeriesState, instant: int, start: int) -> None:
        """Add what a cell needs: a record, or one for each value of a unique_count."""
        meter = self.meters.setdefault(state.meter, len(self.meters))
        dimensions = self.dimension_sets.setdefault(state.dimensions, len(self.dimension_sets))
        for value in state.values or [""]:
            attributes: DimensionSet = ((state.meter.of, value),) if value else ()
            code = self.attribute_sets.setdefault(attributes, len(self.attribute_sets))
            self.rows.append((meter, dimensions, code, instant, start))

    def add_all(self, state: _Recounted) -> None:
        """Add what a series and its buckets need."""
        self.add(state.series, min(state.buckets, default=state.start), state.start)
        for start, bucket in state.buckets.items():
            self.add(bucket, start, state.start)

    def entry(self, customer: str) -> RecordsEntry:
        """Return the records as an entry; one at least."""
        columns = np.array(self.rows, np.int64).T
        count = columns.shape[1]
        codes = np.zeros((3, count), np.int32)
        codes[1], codes[2] = columns[0], columns[1]
        words = np.zeros((3, count), np.int64)
        words[1], words[2] = columns[3], columns[4]
        return RecordsEntry(
            customers=[customer],
            meters=list(self.meters),
            dimension_sets=list(self.dimension_sets),
            codes=codes,
            event_ids=_ORDER_ID * count,
            ends=np.arange(1, count + 1, dtype=np.int64),
            words=words,
            attribute_sets=list(self.attribute_sets),
            attribute_set=columns[2].astype(np.int32),
        )


def apply_recount(
    counters: Counters,
    hash_key: HashKey,
    customer: str,
    number: int,
    contract: Contract,
    facts: Mapping[str, Any],
    version: int,
) -> None:
    """Put the recounted parts of a control entry in force at ``version`` (S8.6).

    Every part of the customer from ``since`` on is emptied first; ``contract``: its subscriptions
    after the entry. Raises LookupError, TypeError or ValueError for facts that are no recount.
    """

    bands_of = partial(bands_at, contract)
    for part in counters.parts_from(number, facts["since"]):
        _empty(counters, part, bands_of(customer, counters.part(part)[1]), version)
    opening, states = _Rows(), list(_states(facts))
    for state in states:
        opening.add_all(state)
    if not states:
        return
    entry = opening.entry(customer)
    keys = entry_keys(hash_key, hash_key.hash_names([customer]), entry)
    counters.add(entry, keys, version, number_of=lambda _: number, bands_of=bands_of)
    for start in {state.start for state in states}:
        part = counters.part_row(customer_part_key(hash_key, customer, start))
        counters.parts[part, LAST] = max(int(counters.parts[part, LAST]), facts["last"])
        rows = counters.series_rows(part)
        for state in states:
            if state.start == start:
                _put(counters, rows[state.series.key], state, version)


def bands_at(contract: Contract, _customer: str, instant: int) -> Bands:
    """Return the bands of the plan that the customer is on at an instant, none without one."""
    held = [one for one in contract if one.holds(instant)]
    return held[0].phase_at(instant).bands if held else {}


@dataclass(frozen=True, slots=True)
class _Recounted:
    """One series of the part that begins at ``start``, with its buckets by start."""

    start: int
    series: SeriesState
    buckets: dict[int, SeriesState]


def _states(facts: Mapping[str, Any]) -> Iterator[_Recounted]:
    for part in facts["parts"]:
        for item in part["series"]:
            meter = EntryMeter.from_json(item["meter"])
            dimensions = tuple((name, value) for name, value in item["dimensions"])
            buckets = {
                start: _state(meter, dimensions, bucket)
                for start, bucket in item.get("buckets", ())
            }
            yield _Recounted(part["start"], _state(meter, dimensions, item), buckets)


def _empty(counters: Counters, part: int, bands: Bands, version: int) -> None:
    """Empty all series of a part, and give them the bands of the plan that it is on now."""
    for key, row in counters.series_rows(part).items():
        counters.series.put(row, (0, 0), 0, None, {}, version)
        for _, bucket in counters.bucket_starts(row):
            counters.buckets.put(bucket, (0, 0), 0, None, {}, version)
        counters.open_bands(row, bands.get(key[0], {}))
    counters.touch(part, version)


def _put(counters: Counters, row: int, state: _Recounted, version: int) -> None:
    _put_cell(counters.series, row, state.series, version)
    first = int(counters.series.rows[row, 7])
    for band, charge in enumerate(counters.band_charges.get(row, ()), first):
        cell = state.series.bands.get(charge, BandCount())
        counters.bands[band, 4:] = cell.floor_events, cell.ceiling_events, cell.between_sum
    for start, bucket in counters.bucket_starts(row):
        held = state.buckets.get(start, SeriesState(state.series.meter, state.series.dimensions))
        _put_cell(counters.buckets, bucket, held, version)


def _put_cell(cells: Cells, cell: int, state: SeriesState, version: int) -> None:
    value = state.value, state.events
    cells.put(cell, value, state.moment, state.latest, state.values, version)
