"""Deciding usage records: one status each, by the precedence of S7.3, without a loop in Python.

Passes over columns work out all that a row needs by itself: its quantity in the meter's scale, its
period, its keys, what earlier entries know of its id. One last pass goes through the rows in order,
because there a row depends on those before it: equal ids, sums, numbers of series.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rating_core.catalog import Aggregation, Meter
from rating_core.metering.batch import (
    DimensionSet,
    RecordBatch,
    RecordStatus,
    RejectReason,
)
from rating_core.metering.calls import SECOND_US
from rating_core.metering.contracts.contract_rows import CustomerRows, clamped_meters
from rating_core.metering.counting.cells import named_values
from rating_core.metering.deciding.event_ids import as_int64, take_ids
from rating_core.metering.deciding.judge import Uncommon, judge_rows, settle_rows
from rating_core.metering.deciding.key_table import ABSENT, KeyTable, slots_for
from rating_core.metering.deciding.keyed_hash import HashKey
from rating_core.metering.deciding.records_entry import EntryMeter, RecordsEntry
from rating_core.metering.deciding.row_keys import RowKeys, key_rows, mark_bad_ids
from rating_core.metering.deciding.standing import BatchKeys, Provisional, StagedRecords, Standing
from rating_core.metering.deciding.word_tables import prepared, word_tables
from rating_core.metering.deciding.words import compact, compact_names

FUTURE_US = 60 * SECOND_US
"""An event time later than this after now is IN_FUTURE (S7.3)."""

_ACCEPTED = int(RecordStatus.ACCEPTED)
_DIMENSION = int(RejectReason.DIMENSION_INVALID)
Identities = NDArray[np.uint64]
Found = NDArray[np.bool_]
Payloads = NDArray[np.uint64]
MeterOf = Callable[[str], Meter | None]


@dataclass(frozen=True, slots=True, eq=False)
class Limits:
    """What bounds acceptance: now (µs), the oldest event time that is not taken, most series.

    ``max_values``: most values of unique_count meters; both of one customer and period.
    """

    now: int
    oldest: int
    max_series: int
    max_values: int


@dataclass(frozen=True, slots=True, eq=False)
class _Rows:
    """What a row needs by itself. ``unusable``: its payload has no form in the meter's scale."""

    words: NDArray[np.int64]
    amounts: NDArray[np.int64]
    early: NDArray[np.uint8]
    late: NDArray[np.uint8]
    unusable: NDArray[np.bool_]


class RecordDecision:
    """Decides one batch step by step; `shard` feeds in what committed and staged state know."""

    def __init__(
        self,
        batch: RecordBatch,
        hash_key: HashKey,
        customer_hashes: NDArray[np.uint64],
        meter_of: MeterOf,
        customer_rows: CustomerRows,
        limits: Limits,
        *,
        named: bool = True,
    ) -> None:
        """``named``: whether records have event ids; those of numbered batches have none (P12)."""
        count = len(batch)
        self._batch = batch
        self._meters = [meter_of(name) for name in batch.meters]
        self._dimensions = [prepared(pairs) for pairs in batch.dimension_sets]
        self._attributes = [prepared(pairs) for pairs in batch.attribute_sets]
        self._limits = limits
        self._ends = as_int64(batch.event_id_ends)
        self._codes = np.empty((3, count), np.int32)
        self._codes[0], self._codes[1] = batch.customer, batch.meter
        self._codes[2] = batch.dimension_set
        self._nameless = batch.malformed.astype(np.bool_)
        if named:
            text = np.frombuffer(batch.event_ids, np.uint8)
            mark_bad_ids(text, self._ends, batch.event_ids.isascii(), self._nameless)
        self._rows = self._judge(customer_rows)
        if not named:
            nameless = self._nameless
            if batch.retraction is not None:
                # S7.6: what a retraction takes back is named by its id.
                nameless = nameless | batch.retraction
            self._rows.early[nameless] = RejectReason.MALFORMED
        self.keys = key_rows(
            hash_key,
            customer_hashes,
            batch.meters,
            [each.text for each in self._dimensions],
            self._codes,
            batch.event_ids,
            self._ends,
            self._rows.words,
            self._nameless,
            self._rows.early != 0,
            [each.text for each in self._attributes],
            batch.attribute_set,
            batch.retraction,
            named=named,
        )
        ids = self.keys.identities.shape[0]
        self.found = np.zeros(ids, np.bool_)
        self.payloads = np.zeros(ids, np.uint64)
        retracting = ids if self.keys.origins is not None else 0
        self.origin_found = np.zeros(retracting, np.bool_)
        self.origin_payloads = np.zeros(retracting, np.uint64)
        self._parts, self._series = KeyTable(count), KeyTable(count)
        self._part_rows, part_first = self._parts.insert(self.keys.parts)
        self._series_rows, series_first = self._series.insert(self.keys.series)
        self._values, values = self._name_values()
        self.distinct = BatchKeys(
            self.keys.parts[part_first], self.keys.series[series_first], values
        )
        self.weighted = any(m and m.aggregation is Aggregation.WEIGHTED_SUM for m in self._meters)

    def _name_values(self) -> tuple[KeyTable, NDArray[np.uint64]]:
        """Find the values that records of unique_count meters name, as rows of a table (S6.3)."""
        self._value_rows = np.zeros(0, np.int32)
        if not any(m and m.aggregation is Aggregation.UNIQUE_COUNT for m in self._meters):
            return KeyTable(), np.zeros((0, 2), np.uint64)
        sets = [each.pairs for each in self._attributes]
        named = named_values(self._meters, self._codes[1], sets, self._batch.attribute_set)
        table = KeyTable(named.rows.size)
        if not named.rows.size:
            return table, np.zeros((0, 2), np.uint64)
        keys = named.keys(self.keys.series)
        self._value_rows = np.full(len(self._batch), ABSENT, np.int32)
        self._value_rows[named.rows], first = table.insert(keys)
        return table, keys[first]

    def find(self, look_up: Callable[[Identities, Found, Payloads], None]) -> None:
        """Have ids looked up in one place; what was found before stays (S7.1)."""
        look_up(self.keys.identities, self.found, self.payloads)
        if self.keys.origins is not None:
            look_up(self.keys.origins, self.origin_found, self.origin_payloads)

    def _judge(self, customers: CustomerRows) -> _Rows:
        batch = self._batch
        count = len(batch)
        given = np.empty((2, count), np.int64)
        given[0], given[1] = batch.quantity, batch.event_time
        flags = np.zeros((2, count), np.bool_)
        if batch.out_of_range is not None:
            flags[0] = batch.out_of_range
        if batch.imprecise is not None:
            flags[1] = batch.imprecise
        rows = _Rows(
            np.empty((3, count), np.int64),
            np.empty(count, np.int64),
            np.empty(count, np.uint8),
            np.empty(count, np.uint8),
            np.empty(count, np.bool_),
        )
        clamped = clamped_meters(customers, batch.meters)
        names = tuple(each.names for each in self._dimensions)
        table, set_kinds, fitting = word_tables(tuple(self._meters), tuple(batch.scales), names)
        self._kinds = np.ascontiguousarray(table[:, 3])
        judge_rows(
            self._codes,
            given,
            flags,
            customers.rows,
            customers.phases,
            customers.borders,
            customers.border_ends,
            table,
            set_kinds,
            fitting,
            clamped,
            (self._limits.now + FUTURE_US, self._limits.oldest),
            rows.words,
            rows.amounts,
            rows.early,
            rows.late,
            rows.unusable,
        )
        unfit = np.array([each.names is None for each in self._attributes])
        if batch.attribute_set is not None and unfit.any():
            known = (rows.early == 0) | (rows.early > _DIMENSION)
            rows.early[unfit[batch.attribute_set] & known] = _DIMENSION
        return rows

    def settle(self, standing: Standing) -> tuple[NDArray[np.uint8], StagedRecords | None]:
        """Return uint8[2, n], status and reason of each record, and what is to be staged.

        ``standing`` is what stands before this batch; it is changed to what stands after it.
        """
        rows = self._rows
        series_count, value, exists = standing.series_count, standing.value, standing.exists
        uncommon = self._uncommon(standing)
        outcome = np.zeros((2, len(self._batch)), np.uint8)
        # At most two of five slots are used: most look-ups end at the first one.
        ids = np.zeros(slots_for(2 * self.found.size, 8), np.int32)
        settle_rows(
            self.keys.identities,
            self.found,
            self.payloads,
            rows.amounts,
            self._kinds,
            self._codes[1],
            rows.early,
            rows.late,
            rows.unusable,
            self._part_rows,
            self._series_rows,
            series_count,
            value,
            exists,
            (self._limits.max_series, self._limits.max_values),
            uncommon,
            ids,
            outcome,
        )
        accepted = np.flatnonzero(outcome[0] == _ACCEPTED)
        if not accepted.size:
            return outcome, None
        provisional = Provisional(
            ids,
            self.keys.identities,
            self._parts,
            series_count,
            self._series,
            value,
            exists,
            self._values,
            uncommon,
        )
        return outcome, StagedRecords(
            self._entry(accepted), self._accepted_keys(accepted), provisional
        )

    def _uncommon(self, standing: Standing) -> Uncommon:
        words, retraction, origins = self._rows.words, self._batch.retraction, self.keys.origins
        return Uncommon(
            values=self._value_rows,
            value_seen=standing.value_seen,
            value_count=standing.value_count,
            moments=standing.moments,
            offsets=words[1] - words[2] if self.weighted else np.zeros(0, np.int64),
            retraction=np.zeros(0, np.bool_) if retraction is None else retraction,
            origins=np.zeros((0, 3), np.uint64) if origins is None else origins,
            origin_found=self.origin_found,
            origin_payloads=self.origin_payloads,
        )

    def _accepted_keys(self, accepted: NDArray[np.int64]) -> RowKeys:
        return self.keys if accepted.size == len(self._batch) else self.keys.take(accepted)

    def _entry(self, accepted: NDArray[np.int64]) -> RecordsEntry:
        batch, codes, words, ends = self._batch, self._codes, self._rows.words, self._ends
        event_ids = batch.event_ids
        if accepted.size != len(batch):
            codes, words = codes[:, accepted], words[:, accepted]
            event_ids, ends = take_ids(event_ids, ends, accepted)
        attributes, retraction = batch.attribute_set, batch.retraction
        if attributes is not None:
            attributes = attributes[accepted]
        if retraction is not None:
            retraction = retraction[accepted]
        sets, attributes = self._kept_attributes(attributes)
        columns = np.empty_like(codes)
        customers, columns[0] = compact_names(batch.customers, codes[0])
        meters, columns[1] = compact(self._meters, codes[1])
        dimension_sets, columns[2] = compact(self._dimensions, codes[2])
        return RecordsEntry(
            customers=customers,
            meters=[EntryMeter.of_meter(meter) for meter in meters if meter is not None],
            dimension_sets=[each.pairs for each in dimension_sets],
            codes=columns,
            event_ids=event_ids,
            ends=ends,
            words=np.ascontiguousarray(words),
            attribute_sets=sets,
            attribute_set=attributes,
            retraction=retraction if retraction is not None and retraction.any() else None,
        )

    def _kept_attributes(
        self, codes: NDArray[np.int32] | None
    ) -> tuple[list[DimensionSet], NDArray[np.int32] | None]:
        """Return the attribute sets that are used; no column where all of them are empty."""
        if codes is None:
            return [()], None
        kept, codes = compact(self._attributes, codes)
        sets = [attributes.pairs for attributes in kept]
        return (sets, codes) if any(sets) else ([()], None)
