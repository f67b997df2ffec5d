"""The generated month of `ratewright demo`: LLM requests shaped on two published traces.

Parameters are fitted to the Azure LLM inference traces of November 2023 (conversation: 19,366
requests of one hour; code: 8,819): the quantiles of their prompt and answer lengths, their shares,
and the burstiness of their requests a minute. The traces name no tenants, so the skew over
customers is Zipf's law. Everything follows from the seed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

from rating_client.bulk_columns import UsageColumns
from rating_server.cli.chunks import Chunk

MONTH_START = datetime(2025, 1, 1, tzinfo=UTC)
MONTH_MINUTES = 31 * 24 * 60
MODELS = (("gpt-4.1", 0.45), ("gpt-4.1-mini", 0.40), ("claude-sonnet-4-5", 0.15))
ZIPF_EXPONENT = 1.0
METERS = ("input-tokens", "output-tokens")

_MINUTE_US = 60_000_000
_PROBABILITIES = (0, 0.01, 0.05, 0.10, 0.25, 0.50, 0.75, 0.90, 0.95, 0.99, 0.999, 1)

Integers = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class RequestClass:
    """One kind of request: its share, token lengths at the probabilities, burstiness.

    ``burst_shape`` is the shape of the gamma distribution of a minute's rate: mean² ÷ (variance −
    mean) of the requests a minute in the trace; the smaller, the burstier.
    """

    name: str
    share: float
    input_tokens: tuple[int, ...]
    output_tokens: tuple[int, ...]
    burst_shape: float


CLASSES = (
    RequestClass(
        "conversation",
        0.687,
        (2, 29, 181, 207, 396, 1020, 1189, 2735, 4083, 4142, 6212, 14050),
        (7, 16, 41, 54, 85, 129, 395, 424, 451, 601, 954, 1000),
        12.9,
    ),
    RequestClass(
        "code",
        0.313,
        (3, 17, 75, 147, 578, 1469, 2745, 5194, 7315, 7436, 7437, 7437),
        (6, 6, 6, 7, 9, 13, 24, 55, 90, 252, 831, 1899),
        0.97,
    ),
)


@dataclass(frozen=True, slots=True)
class Workload:
    """A month of requests in order of time; each makes two records, input and output tokens.

    Arrays have one row a request; ``customer`` and ``model`` are indices, times microseconds.
    """

    seed: int
    customers: tuple[str, ...]
    customer: Integers
    model: Integers
    time_us: Integers
    input_tokens: Integers
    output_tokens: Integers

    @property
    def record_count(self) -> int:
        """Number of records."""
        return 2 * len(self.time_us)

    def chunks(self, records: int) -> Iterator[Chunk]:
        """Yield the records in chunks of about so many."""
        step = max(1, records // 2)
        for start in range(0, len(self.time_us), step):
            yield self._chunk(slice(start, start + step), start)

    def _chunk(self, rows: slice, start: int) -> Chunk:
        """Interleave input and output tokens of each request; a request is a row."""
        count = len(self.time_us[rows])
        numbers = range(start, start + count)
        quantities = np.column_stack([self.input_tokens[rows], self.output_tokens[rows]])
        columns = UsageColumns(
            customers=self.customers,
            meters=[(meter, 0) for meter in METERS],
            dimension_sets=[{"model": model} for model, _ in MODELS],
            customer_index=np.repeat(self.customer[rows], 2),
            meter_index=np.tile(np.arange(2), count),
            dimension_set_index=np.repeat(self.model[rows], 2),
            event_ids=[f"{kind}-{number:08d}" for number in numbers for kind in ("in", "out")],
            quantities=quantities.ravel(),
            event_times_micros=np.repeat(self.time_us[rows], 2),
        )
        return Chunk([number for number in numbers for _ in METERS], columns)


def generate(customers: int, records: int, seed: int) -> Workload:
    """Return a month of ``records`` records (rounded up to whole requests) of so many customers."""
    random = np.random.default_rng(seed)
    requests = (records + 1) // 2
    parts = [_requests_of(kind, requests, random) for kind in CLASSES]
    times, inputs, outputs = (
        np.concatenate([part[column] for part in parts]) for column in range(3)
    )
    order = np.argsort(times, kind="stable")[:requests]
    weights = 1.0 / np.arange(1, customers + 1) ** ZIPF_EXPONENT
    shares = np.array([share for _, share in MODELS])
    digits = max(4, len(str(customers)))
    return Workload(
        seed=seed,
        customers=tuple(f"customer-{number:0{digits}d}" for number in range(1, customers + 1)),
        customer=random.choice(customers, requests, p=weights / weights.sum()),
        model=random.choice(len(MODELS), requests, p=shares),
        time_us=times[order],
        input_tokens=inputs[order],
        output_tokens=outputs[order],
    )


def _requests_of(
    kind: RequestClass, requests: int, random: np.random.Generator
) -> tuple[Integers, Integers, Integers]:
    """Return times and token lengths of one class of requests."""
    is_first = kind is CLASSES[0]
    first = round(requests * CLASSES[0].share)
    count = first if is_first else requests - first
    rates = random.gamma(kind.burst_shape, 1.0, MONTH_MINUTES)
    minutes = random.choice(MONTH_MINUTES, count, p=rates / rates.sum())
    start = int(MONTH_START.timestamp()) * 1_000_000
    times = start + minutes * _MINUTE_US + random.integers(0, _MINUTE_US, count)
    return (
        times,
        _lengths(kind.input_tokens, count, random),
        _lengths(kind.output_tokens, count, random),
    )


def _lengths(quantiles: tuple[int, ...], count: int, random: np.random.Generator) -> Integers:
    """Draw from the distribution with these quantiles, log-linear between them."""
    drawn = np.interp(random.random(count), _PROBABILITIES, np.log(quantiles))
    return np.maximum(1, np.rint(np.exp(drawn))).astype(np.int64)


def description(workload: Workload) -> list[str]:
    """Return the parameters in lines for people."""
    lines = [
        (
            f"seed {workload.seed}, {workload.record_count:,} records of "
            f"{len(workload.customers):,} customers in {MONTH_START:%B %Y}, Zipf exponent "
            f"{ZIPF_EXPONENT}"
        ),
        "models " + ", ".join(f"{name} {share:.0%}" for name, share in MODELS),
    ]
    lines += [
        f"{kind.name} {kind.share:.1%}: tokens in median {kind.input_tokens[5]}, p99 "
        f"{kind.input_tokens[9]}; out median {kind.output_tokens[5]}, p99 "
        f"{kind.output_tokens[9]}; rate a minute gamma of shape {kind.burst_shape}"
        for kind in CLASSES
    ]
    return lines
