"""What the next records cost, given what was counted before (S11.1)."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from rating_core.bulk import BulkPlans, rate_chunk
from rating_core.bulk_columns import check_columns
from rating_core.counter_rows import CounterRows, counter_rows, plain
from rating_core.kernels.fast64 import PlanIndex
from rating_core.kernels.marginal import add_quantities, amount_differences, count_in_order
from rating_core.limbs import Int64Array
from rating_core.threads import CHUNK_ROWS, check_threads, run_chunks

_BLOCK_ROWS = 4 * CHUNK_ROWS
"""Rows that are counted in order before their prices are computed side by side."""


class DeltasInOrder(NamedTuple):
    """The price of each record (n int64), and the counters after all of them (one a customer)."""

    deltas: Int64Array
    counters_after: Int64Array


def rate_delta(
    bulk: BulkPlans,
    plan_index: PlanIndex | int,
    charge: int,
    counter_before: Int64Array,
    quantity: Int64Array,
    *,
    threads: int = 1,
) -> Int64Array:
    """Return round(F(before + quantity)) − round(F(before)) for each of n rows (S11.1).

    F is the final amount of the charge at position ``charge`` of each row's plan: after discount,
    maximum and minimum. ``plan_index`` is n int32 or int64, or one plan for all rows;
    ``counter_before`` and ``quantity`` are n int64 in the meter's scale units, of any sign. Deltas
    are in units of 10^-scale; `OUT_OF_RANGE_AMOUNT` where before + quantity or one of the two
    amounts does not fit int64 (S1.2). A flat fee does not depend on usage: 0.

    Raises TypeError for other types, ValueError for other shapes, for plans and charges that do not
    exist, and for `percentage`, whose price does not follow from one counter (S3.4).
    """
    row_count = check_columns(counter_before=counter_before, quantity=quantity)
    check_threads(threads)
    rows = counter_rows(bulk, plan_index, charge, row_count)
    deltas = np.empty(row_count, dtype=np.int64)

    def rate(start: int, end: int) -> None:
        before, quantities = plain(counter_before[start:end]), plain(quantity[start:end])
        after = np.empty(end - start, dtype=np.int64)
        add_quantities(before, quantities, after)
        _write_deltas(
            rows, rows.plans(start, end), before, quantities, after, out=deltas[start:end]
        )

    run_chunks(rate, row_count, threads)
    return deltas


def _write_deltas(
    rows: CounterRows,
    plans: PlanIndex,
    before: Int64Array,
    quantities: Int64Array,
    after: Int64Array,
    *,
    out: Int64Array,
) -> None:
    """Write the deltas of one chunk to ``out``, whose counters were added up before."""
    amounts = np.empty(len(before), dtype=np.int64)
    rate_chunk(rows.bulk, rows.charge, before, plans, rows.plan, amounts)
    rate_chunk(rows.bulk, rows.charge, after, plans, rows.plan, out)
    amount_differences(before, quantities, amounts, out)


def rate_deltas_in_order(
    bulk: BulkPlans,
    plan_index: PlanIndex | int,
    charge: int,
    customer: Int64Array,
    quantity: Int64Array,
    counter_before: Int64Array,
    *,
    threads: int = 1,
) -> DeltasInOrder:
    """Return the price of each record of a column that holds many customers' records in order.

    ``customer`` (n int64) is the place of each record's customer in ``counter_before`` (one int64 a
    customer, which is left as it is). ``plan_index`` names one plan for all, or one a record, the
    same for all records of a customer. A customer's deltas add up to round(F(total)) −
    round(F(before)), to the last digit (S11.1). A quantity that its counter cannot take is not
    counted, and its delta is `OUT_OF_RANGE_AMOUNT`; a record that an amount does not fit for has
    that delta too, but is counted (S1.2).

    Raises as `rate_delta` does, and ValueError for customers that ``counter_before`` lacks.
    """
    row_count = check_columns(customer=customer, quantity=quantity)
    check_columns(counter_before=counter_before)
    check_threads(threads)
    rows = counter_rows(bulk, plan_index, charge, row_count)
    counters = counter_before.copy()
    if row_count and (customer.min() < 0 or customer.max() >= len(counters)):
        raise ValueError(f"customer must be from 0 to {len(counters) - 1}")
    deltas = np.empty(row_count, dtype=np.int64)
    before = np.empty(min(row_count, _BLOCK_ROWS), dtype=np.int64)
    after = np.empty_like(before)
    for first in range(0, row_count, _BLOCK_ROWS):
        last = min(first + _BLOCK_ROWS, row_count)
        added = plain(quantity[first:last])
        count_in_order(plain(customer[first:last]), added, counters, before, after)

        def rate(start: int, end: int, first: int = first, added: Int64Array = added) -> None:
            here = slice(start, end)
            plans = rows.plans(first + start, first + end)
            out = deltas[first + start : first + end]
            _write_deltas(rows, plans, before[here], added[here], after[here], out=out)

        run_chunks(rate, last - first, threads)
    return DeltasInOrder(deltas, counters)
