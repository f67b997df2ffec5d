"""The demo as users run it: it proves every total, notices a wrong one, and leaves nothing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest

from rating_client.values import Statement, StatementLine
from rating_core.catalog import UsageEntry
from rating_core.plan.document import plan_from_document
from rating_server.cli.demo_check import compare
from rating_server.cli.demo_workload import generate
from rating_server.currency import minor_unit
from rating_server.documents import parse_yaml

PLAN = """
id: own
currency: EUR
billing_period: day
meters: [{id: calls, aggregation: count}, {id: gigabytes, aggregation: sum, scale: 6}]
charges:
  - {id: calls, meter: calls, model: package, package_size: "2", package_price: "0.01"}
  - {id: gigabytes, meter: gigabytes, model: percentage, percent: "3", min_per_event: "0.02"}
"""


def _demo(directory: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the demo in a process of its own whose temporary directory is ``directory``."""
    return subprocess.run(
        [sys.executable, "-m", "rating_server.cli.entry", "demo", *arguments],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
        env={**os.environ, "TMPDIR": str(directory), "RATEWRIGHT_REDIS_URL": "redis://none:1"},
    )


def _complaints(errors: str) -> str:
    """Return what stands on standard error besides why the start takes long, on a slow machine."""
    return errors.replace("compiling the kernels, once (a minute or two)\n", "")


def _processes_in(directory: Path) -> list[str]:
    """Return the command lines of all processes that name the directory."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if str(directory) in words:
            found.append(words)
    return found


def test_generated_month(tmp_path: Path) -> None:
    """A generated month agrees for every customer, resends are duplicates, nothing is left."""
    done = _demo(tmp_path, "--records", "40000", "--customers", "60", "--seed", "7")
    assert (done.returncode, _complaints(done.stderr)) == (0, "")
    assert "40,000 records of 60 customers in January 2025" in done.stdout
    assert "streamed 40,000 records in 5 batches: 40,000 ACCEPTED" in done.stdout
    assert "resent 1 of 5 batches: 8,192 DUPLICATE" in done.stdout
    assert "60 of 60 totals agree" in done.stdout
    assert list(tmp_path.iterdir()) == []
    assert _processes_in(tmp_path) == []


def test_ended_demo_leaves_nothing(tmp_path: Path) -> None:
    """SIGTERM in the middle of the run stops server and store and removes their files."""
    with subprocess.Popen(
        [sys.executable, "-m", "rating_server.cli.entry", "demo", "--customers", "20"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    ) as process:
        assert process.stdout is not None
        assert any("subscribed 20 customers" in line for line in process.stdout)
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=120)
    assert (process.returncode, _complaints(errors)) == (130, "")
    assert list(tmp_path.iterdir()) == []
    assert _processes_in(tmp_path) == []


def test_own_file(tmp_path: Path) -> None:
    """A file and a plan of one's own run the same way, each customer and day a statement."""
    (tmp_path / "plan.yaml").write_text(PLAN)
    rows = [f"2024-02-{1 + n % 3:02d}T0{n % 10}:00:00Z,u{n % 4},{n}.{n:03d}\n" for n in range(60)]
    (tmp_path / "calls.csv").write_text(
        "at,who,size\n" + "".join(rows) + "never,u1,1\n2024-02-01,u1,-1\n"
    )
    place = tmp_path / "temporary"
    place.mkdir()
    done = _demo(
        place,
        *["--plan", str(tmp_path / "plan.yaml"), "--usage", str(tmp_path / "calls.csv")],
        *["--time", "at", "--customer-column", "who"],
        *["--meter", "calls", "--meter", "gigabytes=size"],
    )
    assert done.returncode == 0, done.stderr
    assert _complaints(done.stderr).splitlines() == [
        f"ratewright: {tmp_path}/calls.csv: row 61: at: expected an ISO 8601 time, got 'never'",
        "ratewright: row 62: REJECTED QUANTITY_OUT_OF_RANGE (customer u1)",
    ]
    assert "streamed 122 records in 1 batches: 121 ACCEPTED, 1 REJECTED" in done.stdout
    assert "12 of 12 totals agree" in done.stdout
    assert list(place.iterdir()) == []


def test_difference_is_noticed() -> None:
    """A total, or a line under the right total, that differs from `reference` is reported."""
    plan = plan_from_document(parse_yaml(PLAN, "plan"), minor_unit)
    account = ("u1", 0)
    usage = {account: {"calls": [UsageEntry(Decimal(1), ())] * 3}}

    def statement(calls: str, gigabytes: str) -> Statement:
        lines = (
            StatementLine("calls", "model", Decimal(calls)),
            StatementLine("gigabytes", "model", Decimal(gigabytes)),
        )
        start = datetime(1970, 1, 1, tzinfo=UTC)
        total = Decimal(calls) + Decimal(gigabytes)
        return Statement("u1", "own", 1, "main", "EUR", 2, start, start, lines, total)

    right, total_off, line_off = [
        compare(plan, usage, {account: statement(*amounts)}, lambda _: None)
        for amounts in (("0.02", "0"), ("0.03", "0"), ("0.01", "0.01"))
    ]
    assert right == []
    assert [item.words for item in total_off] == ["total 0.03, reference 0.02"]
    assert line_off[0].words.startswith("lines ")


@pytest.mark.parametrize("seed", [1, 2])
def test_workload_follows_from_its_seed(seed: int) -> None:
    """The same seed gives the same records, in order of time, inside the month."""
    one, other = generate(50, 10_001, seed), generate(50, 10_001, seed)
    assert one.record_count == 10_002
    assert (one.time_us == other.time_us).all()
    assert (one.input_tokens == other.input_tokens).all()
    assert (one.customer == other.customer).all()
    assert (one.time_us[1:] >= one.time_us[:-1]).all()
    assert datetime.fromtimestamp(int(one.time_us[-1]) // 1_000_000, UTC).month == 1
    assert (generate(50, 10_001, seed + 10).time_us != one.time_us).any()
