"""All counters of a shard as the section of a snapshot, and back (P10, log-format.md)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from rating_core.catalog import Aggregation
from rating_core.metering.counting.cells import grown
from rating_core.metering.counting.counter_table import CounterTable
from rating_core.metering.deciding.records_entry import EntryMeter
from rating_core.metering.log.snapshot import Arrays, Taken, take_state, unpack_state


def dump_counters(table: CounterTable) -> bytes:
    """Return the section of a snapshot that holds all counters."""
    return take_counters(table)()


def take_counters(table: CounterTable) -> Taken:
    """Take all counters for a snapshot, to be encoded later."""
    meters, dimension_sets = list(table.words.meters), list(table.dimension_sets)
    band_charges = list(table.band_charges.items())
    arrays: Arrays = {
        "part_keys": table.part_table.keys(),
        "series_keys": table.series_table.keys(),
        "bucket_keys": table.bucket_table.keys(),
        "parts": table.parts[: table.part_table.count],
        "bands": table.bands[: table.band_count],
    }
    documents: dict[str, Callable[[], Any]] = {}
    for name, cells, count in (
        ("series", table.series, table.series_table.count),
        ("buckets", table.buckets, table.bucket_table.count),
    ):
        documents[name], held = cells.take(count)
        arrays |= {f"{name}_{part}": array for part, array in held.items()}

    def document() -> dict[str, Any]:
        return {
            "meters": [meter.to_json() for meter in meters],
            "dimension_sets": dimension_sets,
            "band_charges": [[row, *charges] for row, charges in band_charges],
            **{name: made() for name, made in documents.items()},
        }

    return take_state(document, arrays)


def load_counters(table: CounterTable, section: bytes) -> None:
    """Take what `dump_counters` gave into an empty table. Every hash counts as changed (P7)."""
    document, arrays = unpack_state(section)
    for keys, name in (
        (table.part_table, "part_keys"),
        (table.series_table, "series_keys"),
        (table.bucket_table, "bucket_keys"),
    ):
        keys.insert(arrays[name])
    table.parts = grown(arrays["parts"], 16)
    table.bands = arrays["bands"]
    table.band_count = table.bands.shape[0]
    for name, cells in (("series", table.series), ("buckets", table.buckets)):
        held = {key.removeprefix(f"{name}_"): array for key, array in arrays.items()}
        cells.load(document[name], held)
    for item in document["meters"]:
        meter = EntryMeter.from_json(item)
        table.words.numbers[meter] = len(table.words.meters)
        table.words.meters.append(meter)
    for number, pairs in enumerate(document["dimension_sets"]):
        dimensions = tuple((name, value) for name, value in pairs)
        table.words.dimension_sets[dimensions] = number
        table.dimension_sets.append(dimensions)
    for row, *charges in document["band_charges"]:
        table.band_charges[row] = tuple(charges)
    weighted = [m.aggregation is Aggregation.WEIGHTED_SUM for m in table.words.meters]
    rows = table.series.rows[: table.series_table.count]
    if any(weighted):
        table.enter_levels(np.flatnonzero(np.array(weighted)[rows[:, 1]]).tolist())
    table.all_changed()
