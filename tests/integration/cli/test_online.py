"""The commands that talk to a server, against a real one."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

PLAN = """
id: {id}
currency: USD
billing_period: month
meters:
  - {{id: {id}-calls, aggregation: count}}
  - {{id: {id}-bytes, aggregation: sum, scale: 3, dimensions: [zone]}}
charges:
  - {{id: calls, meter: {id}-calls, model: per_unit, unit_price: "0.5"}}
  - {{id: bytes, meter: {id}-bytes, where: {{zone: [eu, ""]}}, model: per_unit, unit_price: "2"}}
"""
Command = Callable[..., Any]


@pytest.fixture
def plan(command: Command, tmp_path: Path, request: pytest.FixtureRequest) -> str:
    """The id of a plan of the test's own, published."""
    name = request.node.name.replace("_", "-").removeprefix("test-")[:20].rstrip("-")
    path = tmp_path / "plan.yaml"
    path.write_text(PLAN.format(id=name))
    assert command("plan", "publish", path).out == f"published {name}@1\n"
    return name


def test_plan_shown_can_be_published_again(command: Command, plan: str, tmp_path: Path) -> None:
    """What `plan show` prints is a plan document; publishing it makes version 2 of the same."""
    shown = command("plan", "show", plan).out
    (tmp_path / "again.yaml").write_text(shown)
    assert command("check", tmp_path / "again.yaml").status == 0
    answer = command("plan", "publish", tmp_path / "again.yaml", "--format", "json")
    assert json.loads(answer.out) == {"id": plan, "version": "2"}
    versions = json.loads(command("plan", "list", plan, "--format", "json").out)
    assert [row["version"] for row in versions] == ["1", "2"]
    first = json.loads(command("plan", "show", f"{plan}@1", "--format", "json").out)
    second = json.loads(command("plan", "show", f"{plan}@2", "--format", "json").out)
    assert first == second


def test_faulty_plan_is_refused_with_all_faults(command: Command, tmp_path: Path) -> None:
    """The server's faults come back one a line, with file and path; nothing is published."""
    path = tmp_path / "bad.yaml"
    text = PLAN.format(id="bad")
    path.write_text(text.replace("billing_period: month", "currency_: EUR"))
    answer = command("plan", "publish", path)
    assert answer.status == 2
    assert "bad.yaml: currency_: unknown key 'currency_'" in answer.err
    path.write_text(PLAN.format(id="bad").replace('"0.5"', '"-1"').replace("USD", "XYZ"))
    answer = command("plan", "publish", path)
    assert answer.status == 2
    assert [line.split(": ")[2] for line in answer.err.splitlines()] == [
        "currency",
        "charges[0].unit_price",
    ]
    assert command("plan", "show", "bad").err == "ratewright: plans/bad does not exist\n"


def test_failing_example_is_not_published(command: Command, tmp_path: Path) -> None:
    """A plan whose example comes out otherwise is refused with status 1 (S2.3)."""
    path = tmp_path / "p.yaml"
    example = 'examples: [{usage: {off-calls: "3"}, expect: {total: "1.4"}}]\n'
    path.write_text(PLAN.format(id="off") + example)
    answer = command("plan", "publish", path)
    assert answer.status == 1
    assert answer.err.endswith("p.yaml: examples[0]: total: expected 1.4, got 1.5\n")


def test_records_of_a_file_become_a_statement(command: Command, plan: str, tmp_path: Path) -> None:
    """Wide rows feed two meters; sums, statement and a second ingest are exact."""
    assert (
        command("subscribe", f"{plan}-c", "--plan", f"{plan}@1", "--start", "2026-01-01").status
        == 0
    )
    path = tmp_path / "usage.csv"
    path.write_text(
        "at,size,where\n2026-01-01T00:00:00Z,1.5,eu\n2026-01-31 23:59:59.9999999,0.125,us\n"
        "2026-01-15T12:00:00+14:00,,eu\n2026-01-02,2,\n"
    )
    flags = [
        *["--time", "at", "--customer", f"{plan}-c", "--dimension", "zone=where"],
        *["--meter", f"{plan}-bytes=size"],
    ]
    answer = command("ingest", path, *flags)
    assert (answer.status, answer.err) == (0, "")
    assert answer.out.startswith("status    reason  records\nACCEPTED                3\n")
    calls = [*["--time", "at", "--customer", f"{plan}-c", "--meter", f"{plan}-calls"]]
    assert command("ingest", path, *calls).status == 0
    again = json.loads(command("ingest", path, *flags, "--format", "json").out)
    assert again["statuses"] == [{"status": "DUPLICATE", "reason": "", "records": "3"}]
    usage = command("usage", f"{plan}-c", "--time", "2026-01-31", "--format", "csv").out
    assert sorted(usage.splitlines()) == sorted(
        [
            "meter,dimensions,value,events",
            f"{plan}-bytes,,2.000,1",
            f"{plan}-bytes,zone=eu,1.500,1",
            f"{plan}-bytes,zone=us,0.125,1",
            f"{plan}-calls,,4,4",
        ]
    )
    found = json.loads(
        command("statement", f"{plan}-c", "--time", "2026-01-31", "--format", "json").out
    )
    assert found["total"] == "9.00"
    assert {line["id"]: line["amount"] for line in found["lines"]} == {
        "calls": "2.00",
        "bytes": "7.00",
    }
    shown = command("statement", f"{plan}-c", "--time", "2026-01-31").out
    assert "units: 4 × 0.5 = 2" in shown
    lines = command("statement", f"{plan}-c", "--time", "2026-01-31", "--format", "csv").out
    assert "slice,bytes,units,7,,3.5,2,,,,\n" in lines


def test_rejected_and_unreadable_rows_are_named(
    command: Command, plan: str, tmp_path: Path
) -> None:
    """Every row that is not counted is named with its reason; the others are counted (S7.3)."""
    command("subscribe", f"{plan}-c", "--plan", plan, "--start", "2026-01-01")
    path = tmp_path / "usage.jsonl"
    rows = [
        {"t": "1767225600", "q": "1", "c": f"{plan}-c", "id": "a"},
        {"t": "1767225600.5", "q": 2, "c": f"{plan}-c", "id": "b"},
        {"t": "1767225600", "q": "0.0001", "c": f"{plan}-c", "id": "c"},
        {"t": "1767225600", "q": "1", "c": "nobody", "id": "d"},
        {"t": "1767225600", "q": "5", "c": f"{plan}-c", "id": "a"},
        {"t": "noon", "q": "1", "c": f"{plan}-c", "id": "e"},
        {"t": "1767225600", "q": "1e3", "c": f"{plan}-c", "id": "f"},
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows) + "[]\n{\n")
    answer = command(
        *["ingest", path, "--time", "t", "--time-format", "epoch-s", "--customer-column", "c"],
        *["--meter", f"{plan}-bytes=q", "--event-id-column", "id"],
    )
    assert answer.status == 1
    assert "5 records of 9 rows, 4 rows unreadable" in answer.out
    place = f"ratewright: {path}"
    assert answer.err.splitlines() == [
        f"{place}: row 6: t: expected a number of epoch-s, got 'noon'",
        f"{place}: row 7: expected a decimal number, got '1e3'",
        f"{place}: row 8: expected a JSON object",
        f"{place}: row 9: not JSON: Expecting property name enclosed in double quotes (column 2)",
        f"{place}: row 3: REJECTED QUANTITY_PRECISION (customer {plan}-c, event id c)",
        f"{place}: row 4: REJECTED NO_SUBSCRIPTION (customer nobody, event id d)",
        f"{place}: row 5: CONFLICT (customer {plan}-c, event id a)",
    ]
    usage = json.loads(
        command("usage", f"{plan}-c", "--time", "2026-01-01", "--format", "json").out
    )
    assert [counter["value"] for counter in usage["counters"]] == ["3.000"]


def test_standard_input_needs_and_uses_its_source(
    command: Command, plan: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Records of standard input count once under one --source, again under another."""
    command("subscribe", f"{plan}-c", "--plan", plan, "--start", "2026-01-01")
    flags = ["--input-format", "csv", "--time", "t", "--meter-column", "m"]
    flags += ["--customer", f"{plan}-c"]

    def ingest(source: str) -> str:
        text = f"t,m\n2026-01-01,{plan}-calls\n2026-01-02,{plan}-calls\n"
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text.encode())))
        answer = command("ingest", "-", *flags, "--source", source, "--format", "json")
        status: str = json.loads(answer.out)["statuses"][0]["status"]
        return status

    assert [ingest("day-1"), ingest("day-1"), ingest("day-2")] == [
        "ACCEPTED",
        "DUPLICATE",
        "ACCEPTED",
    ]
    usage = command("usage", f"{plan}-c", "--time", "2026-01-01", "--format", "csv").out
    assert usage.endswith(f"{plan}-calls,,4,4\n")


def test_subscribe_is_idempotent_and_names_failures(
    command: Command, plan: str, tmp_path: Path
) -> None:
    """The same command changes nothing; another plan for the same customer is refused."""
    names = tmp_path / "customers"
    names.write_text(f"{plan}-1\n{plan}-2\n\n{plan}-2\n")
    first = command("subscribe", "--plan", plan, "--start", "2026-01-01", "--from-file", names)
    assert first.out == "2 subscribed, 0 were already, 0 failed\n"
    second = command("subscribe", "--plan", plan, "--start", "2026-01-01", "--from-file", names)
    assert second.out == "0 subscribed, 2 were already, 0 failed\n"
    third = command("subscribe", f"{plan}-1", f"{plan}-3", "--plan", plan)
    assert (third.status, third.out) == (1, "1 subscribed, 0 were already, 1 failed\n")
    assert third.err.startswith(f"ratewright: {plan}-1: ")
    assert third.err.count("\n") == 1


def test_a_pipe_is_read_once_and_whole(command: Command, plan: str, tmp_path: Path) -> None:
    """A named FIFO and a descriptor's path give every record, without waiting for a second open."""
    command("subscribe", f"{plan}-c", "--plan", plan, "--start", "2026-01-01")
    text = "t\n" + "2026-01-01\n" * 20_000
    flags = ["--input-format", "csv", "--time", "t", "--meter", f"{plan}-calls"]
    flags += ["--customer", f"{plan}-c", "--format", "json"]
    fifo = tmp_path / "records"
    os.mkfifo(fifo)
    reading, writing = os.pipe()
    for place, opened, source in (
        (fifo, fifo, "fifo"),
        (Path(f"/dev/fd/{reading}"), writing, "descriptor"),
    ):
        writer = threading.Thread(target=lambda end=opened: _write_all(end, text), daemon=True)
        writer.start()
        answer = command("ingest", place, *flags, "--source", source)
        writer.join(20)
        assert not writer.is_alive()
        assert (answer.status, answer.err) == (0, "")
        assert json.loads(answer.out)["statuses"] == [
            {"status": "ACCEPTED", "reason": "", "records": "20000"}
        ]
    os.close(reading)


def _write_all(end: Path | int, text: str) -> None:
    with open(end, "w") as file:  # noqa: PTH123 - a descriptor has no path
        file.write(text)


def test_a_time_out_of_range_does_not_stop_the_others(
    command: Command, plan: str, tmp_path: Path
) -> None:
    """A row with an impossible epoch number is unreadable, the rows around it are counted."""
    command("subscribe", f"{plan}-c", "--plan", plan, "--start", "2026-01-01")
    path = tmp_path / "usage.csv"
    path.write_text("t\n1767225600\n99999999999999\n253402300799\n1767225601\n")
    flags = ["--time", "t", "--time-format", "epoch-s", "--customer", f"{plan}-c"]
    answer = command("ingest", path, *flags, "--meter", f"{plan}-calls")
    assert answer.status == 1
    assert "3 records of 4 rows, 1 rows unreadable" in answer.out
    assert answer.err.splitlines()[0] == (
        f"ratewright: {path}: row 2: t: expected a number of epoch-s in the years 1 to 9999, "
        "got '99999999999999'"
    )


def test_an_interrupted_ingest_says_what_is_acknowledged(
    command: Command, server: str, plan: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C: one line with the records so far, status 130; starting again counts the rest once."""
    command("subscribe", f"{plan}-c", "--plan", plan, "--start", "2026-01-01")
    flags = ["ingest", "-", "--input-format", "csv", "--time", "t", "--source", "s"]
    flags += ["--meter", f"{plan}-calls", "--customer", f"{plan}-c"]
    process = subprocess.Popen(
        [sys.executable, "-m", "rating_server.cli.entry", "--target", server, *flags],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    text = "t\n" + "2026-01-01\n" * 10_000
    process.stdin.write(text)
    process.stdin.flush()
    expires = time.monotonic() + 60
    usage = ""
    while not usage.endswith(",8192,8192\n"):
        assert time.monotonic() < expires, usage
        usage = command("usage", f"{plan}-c", "--time", "2026-01-01", "--format", "csv").out
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert (process.returncode, out) == (130, "")
    assert err == (
        "ratewright: -: interrupted; records acknowledged so far: 8,192 ACCEPTED; the same command "
        "again sends the rest and counts nothing twice\n"
    )
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text.encode())))
    answer = command(*flags, "--format", "json")
    assert [(row["status"], row["records"]) for row in json.loads(answer.out)["statuses"]] == [
        ("ACCEPTED", "1808"),
        ("DUPLICATE", "8192"),
    ]


LEVELS = """
id: {id}
currency: USD
billing_period: month
meters:
  - {{id: {id}-users, aggregation: unique_count, of: user, buckets: day}}
charges:
  - {{id: users, meter: {id}-users, model: per_unit, unit_price: "2"}}
"""


def test_attributes_retraction_and_history(command: Command, tmp_path: Path) -> None:
    """A file's attributes are counted, shown by the day, and taken back by the same command."""
    plan = tmp_path / "plan.yaml"
    plan.write_text(LEVELS.format(id="hist"))
    assert command("plan", "publish", plan).status == 0
    command("subscribe", "hist-c", "--plan", "hist", "--start", "2026-01-01")
    file = tmp_path / "events.csv"
    file.write_text("t,who\n2026-01-02,ann\n2026-01-02,bob\n2026-01-03,ann\n")
    ingest = ["ingest", file, "--time", "t", "--customer", "hist-c", "--meter", "hist-users"]
    ingest += ["--attribute", "user=who", "--format", "csv"]
    assert command(*ingest).out.splitlines()[1:] == ["ACCEPTED,,3"]
    month = ["--from", "2026-01-01", "--to", "2026-02-01"]
    days = command("usage", "hist-c", "--history", *month, "--format", "csv").out.splitlines()
    assert days == [
        "start,end,meter,dimensions,value,events",
        "2026-01-02T00:00:00Z,2026-01-03T00:00:00Z,hist-users,,2,2",
        "2026-01-03T00:00:00Z,2026-01-04T00:00:00Z,hist-users,,1,1",
    ]
    one = command("usage", "hist-c", "--history", *month, "--meter", "hist-users")
    assert "2026-01-03" in one.out
    assert command(*ingest, "--retract").out.splitlines()[1:] == ["ACCEPTED,,3"]
    assert command(*ingest, "--retract").out.splitlines()[1:] == ["DUPLICATE,,3"]
    assert command(*ingest).out.splitlines()[1:] == ["DUPLICATE,,3"]
    found = json.loads(command("usage", "hist-c", "--history", *month, "--format", "json").out)
    assert found["buckets"] == []
    assert command("usage", "hist-c", "--time", "2026-01-01", "--history").status == 2
    assert command("usage", "hist-c", "--meter", "hist-users").status == 2
