"""Production LLM traces through the command line: sums, statements and resends are exact."""

from __future__ import annotations

import csv
import json
import random
from collections import defaultdict
from collections.abc import Iterator
from hashlib import blake2b
from pathlib import Path
from typing import Any

import pytest

from rating_core.catalog import UsageEntry
from rating_core.plan.document import plan_from_document
from rating_core.reference import reference_statement
from rating_core.units import format_units, parse_decimal
from rating_server.cli.demo_server import running_server
from rating_server.cli.entry import run
from rating_server.currency import minor_unit
from rating_server.documents import read_document

ROOT = Path(__file__).resolve().parents[2]
TRACES = ROOT.parent / "shared" / "data" / "azure-llm"
SUMS = {
    "AzureLLMInferenceTrace_conv.csv": (19_366, 22_361_870, 4_088_665),
    "AzureLLMInferenceTrace_code.csv": (8_819, 18_059_974, 245_896),
}
CUSTOMERS = 25
FLAGS = [
    *["--time", "TIMESTAMP", "--customer-hash", str(CUSTOMERS)],
    *["--meter", "input-tokens=ContextTokens", "--meter", "output-tokens=GeneratedTokens"],
]
# Published list prices of gpt-4.1 (2 and 8 USD per million tokens), with a volume tier of our own.
PLAN = """
id: azure
currency: USD
billing_period: month
meters: [{id: input-tokens, aggregation: sum}, {id: output-tokens, aggregation: sum}]
charges:
  - {id: base, model: flat_fee, amount: "5"}
  - id: input
    meter: input-tokens
    model: graduated
    included_units: "10000"
    tiers: [{up_to: "1000000", unit_price: "0.000002"}, {unit_price: "0.0000018"}]
  - {id: output, meter: output-tokens, model: per_unit, unit_price: "0.000008"}
commitments:
  - {id: annual, amount: "12", term: year, discount_percent: "20", covers: [input, output]}
"""

pytestmark = pytest.mark.skipif(not TRACES.is_dir(), reason=f"no traces at {TRACES}")


def _customer(text: str) -> str:
    digest = blake2b(text.encode(), digest_size=8).digest()
    return f"c{int.from_bytes(digest, 'little') % CUSTOMERS:03d}"


@pytest.fixture(scope="module")
def raw() -> dict[str, dict[str, tuple[UsageEntry, ...]]]:
    """The raw rows of both traces by customer and meter, read without the code under test."""
    usage: dict[str, dict[str, list[UsageEntry]]] = defaultdict(lambda: defaultdict(list))
    for name in SUMS:
        with (TRACES / name).open(newline="") as file:
            for row in list(csv.reader(file))[1:]:
                meters = usage[_customer(",".join(row))]
                meters["input-tokens"].append(UsageEntry(parse_decimal(row[1]), ()))
                meters["output-tokens"].append(UsageEntry(parse_decimal(row[2]), ()))
    return {
        customer: {meter: tuple(entries) for meter, entries in meters.items()}
        for customer, meters in usage.items()
    }


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server with an unlimited acceptance window: the traces are of 2023."""
    with running_server(tmp_path_factory.mktemp("azure")) as found:
        yield found


@pytest.fixture(scope="module")
def other_target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A second server, with a store of its own."""
    with running_server(tmp_path_factory.mktemp("shuffled")) as found:
        yield found


def _json(capsys: pytest.CaptureFixture[str], target: str, *arguments: str) -> Any:
    assert run([*arguments, "--target", target, "--format", "json"]) == 0
    return json.loads(capsys.readouterr().out)


def _answers(capsys: pytest.CaptureFixture[str], target: str) -> list[Any]:
    """Return usage and statement of every customer, without the log's version."""
    found = []
    for number in range(CUSTOMERS):
        for command in ("usage", "statement"):
            time = ["--time", "2023-11-16"]
            answer = _json(capsys, target, command, f"c{number:03d}", *time)
            answer.pop("log_version")
            found.append(answer)
    return found


def test_traces_are_rated_exactly(
    capsys: pytest.CaptureFixture[str],
    target: str,
    tmp_path: Path,
    raw: dict[str, dict[str, tuple[UsageEntry, ...]]],
) -> None:
    """Token sums are those published, statements those of `reference`; a resend changes nothing."""
    path = tmp_path / "plan.yaml"
    path.write_text(PLAN)
    plan = plan_from_document(read_document(path), minor_unit)
    _json(capsys, target, "plan", "publish", str(path))
    names = [f"c{number:03d}" for number in range(CUSTOMERS)]
    _json(capsys, target, "subscribe", *names, "--plan", "azure", "--start", "2023-11-01")
    for name, (rows, _, _) in SUMS.items():
        answer = _json(capsys, target, "ingest", str(TRACES / name), *FLAGS)
        assert answer["statuses"] == [
            {"status": "ACCEPTED", "reason": "", "records": str(2 * rows)}
        ]
    first = _answers(capsys, target)
    totals: dict[str, int] = defaultdict(int)
    for usage in first[::2]:
        for counter in usage["counters"]:
            totals[counter["meter"]] += int(counter["value"])
    assert totals == {
        "input-tokens": sum(sums[1] for sums in SUMS.values()),
        "output-tokens": sum(sums[2] for sums in SUMS.values()),
    }
    for statement in first[1::2]:
        exact = reference_statement(plan, raw[statement["customer"]])
        assert statement["total"] == format_units(exact.total, exact.scale)
        assert [(line["id"], line["amount"]) for line in statement["lines"]] == [
            (line.id, format_units(line.amount, exact.scale)) for line in exact.lines
        ]
    for name, (rows, _, _) in SUMS.items():
        answer = _json(capsys, target, "ingest", str(TRACES / name), *FLAGS)
        assert answer["statuses"] == [
            {"status": "DUPLICATE", "reason": "", "records": str(2 * rows)}
        ]
    assert _answers(capsys, target) == first


def test_the_order_of_the_records_changes_nothing(
    capsys: pytest.CaptureFixture[str],
    other_target: str,
    tmp_path: Path,
    raw: dict[str, dict[str, tuple[UsageEntry, ...]]],
) -> None:
    """Both traces as one file, shuffled, and resent in another order: the counters are the same."""
    rows: list[str] = []
    for name in SUMS:
        header, *lines = (TRACES / name).read_text().splitlines()
        rows += [f"{number}-{name[-8:-4]},{line}" for number, line in enumerate(lines)]
    plan, trace = tmp_path / "plan.yaml", tmp_path / "shuffled.csv"
    plan.write_text(PLAN)
    _json(capsys, other_target, "plan", "publish", str(plan))
    names = [f"c{number:03d}" for number in range(CUSTOMERS)]
    _json(capsys, other_target, "subscribe", *names, "--plan", "azure", "--start", "2023-11-01")
    for seed, status in ((1, "ACCEPTED"), (2, "DUPLICATE")):
        random.Random(seed).shuffle(rows)
        owned = [f"{row},{_customer(row.partition(',')[2])}" for row in rows]
        trace.write_text("\n".join([f"ID,{header},OWNER", *owned]) + "\n")
        flags = [*FLAGS[:2], *FLAGS[4:], "--customer-column", "OWNER", "--event-id-column", "ID"]
        answer = _json(capsys, other_target, "ingest", str(trace), *flags)
        assert answer["statuses"] == [
            {"status": status, "reason": "", "records": str(2 * len(rows))}
        ]
        for usage in _answers(capsys, other_target)[::2]:
            found = {
                one["meter"]: (int(one["value"]), int(one["event_count"]))
                for one in usage["counters"]
            }
            assert found == {
                meter: (sum(entry.quantity for entry in entries), len(entries))
                for meter, entries in raw[usage["customer"]].items()
            }


def test_each_trace_has_its_published_sums() -> None:
    """The figures of the test are those of the files, so that it compares with the truth."""
    for name, (count, tokens_in, tokens_out) in SUMS.items():
        with (TRACES / name).open(newline="") as file:
            rows = list(csv.reader(file))[1:]
        assert len(rows) == count
        assert sum(int(row[1]) for row in rows) == tokens_in
        assert sum(int(row[2]) for row in rows) == tokens_out
