"""Counter hashes by name: which changed, and what their fields are (P7)."""

from __future__ import annotations

from collections.abc import Sequence

from rating_core.metering.counting.counter_names import (
    BUCKET_HASH,
    COUNTER_HASH,
    hash_key_of,
    parse_hash_key,
)
from rating_core.metering.deciding.key_table import ABSENT
from rating_core.metering.shard_state import Folds


class CounterHashes:
    """Remembers the names of the hashes of one machine's counters; rows keep their meaning."""

    def __init__(self) -> None:
        self._names: dict[int, tuple[str, str]] = {}
        self._rows: dict[str, int] = {}

    def changed(self, folds: Folds, after: int) -> Sequence[str]:
        """Return the keys of the hashes changed by entries after version ``after``."""
        names, rows = self._names, folds.counters.changed_parts(after)
        for row in [row for row in rows if row not in names]:
            number, start = folds.counters.part(row)
            customer = folds.directory.customers[number]
            keys = [hash_key_of(customer, start, kind) for kind in (COUNTER_HASH, BUCKET_HASH)]
            names[row] = keys[0], keys[1]
            self._rows.update(dict.fromkeys(keys, row))
        bucketed = folds.counters.with_buckets(rows)
        return [names[row][0] for row in rows] + [names[row][1] for row in bucketed]

    def fields(self, folds: Folds, key: str, after: int) -> Sequence[tuple[str, int]]:
        """Return the fields of a hash that changed after version ``after``, absolute."""
        row = self._rows.get(key)
        if row is None:
            row = folds.part_row(*parse_hash_key(key)[1:])
        if key.startswith(BUCKET_HASH):
            return folds.counters.bucket_fields(row, after)
        return folds.counters.fields(row, after)

    def fields_of(
        self, folds: Folds, hashes: Sequence[tuple[str, int]]
    ) -> Sequence[Sequence[tuple[str, int]]]:
        """Return `fields` of many hashes at once, each with the version that it stands at."""
        rows = [
            self._rows.get(key, ABSENT) if key.startswith(COUNTER_HASH) else ABSENT
            for key, _ in hashes
        ]
        quick = folds.counters.plain_fields(rows, [after for _, after in hashes])
        return [
            self.fields(folds, key, after) if found is None else found
            for (key, after), found in zip(hashes, quick, strict=True)
        ]
