"""The table of statements in README.md."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

STATEMENT_HEAD = (
    "customers",
    "engine",
    "statements/s",
    "× the loop",
    "µs a customer",
    "CPU, µs",
    "MB",
)


def statement_lines(rows: Sequence[dict[str, Any]]) -> Iterator[tuple[str, ...]]:
    """Yield a line a number of customers and engine; CPU of client, server and store together,
    memory of server and store.
    """
    for row in rows:
        customers = int(row["case"].removeprefix("statements/").partition("-")[0])
        spent = sum(value for name, value in row.items() if name.endswith("_cpu_s"))
        yield (
            f"{customers:,}",
            f"**{row['engine']}**" if row["engine"] == "ratewright" else row["engine"],
            f"{row['statements_per_s']:,}",
            f"{row['ratio_to_loop']:.3g}",
            f"{1e6 / row['statements_per_s']:.3g}",
            f"{spent * 1e6 / customers:.3g}" if spent else "",
            f"{row['server_mb']:,} + {row['store_mb']:,}" if "server_mb" in row else "",
        )
