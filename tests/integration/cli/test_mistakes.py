"""Malformed command lines and files: the exact line each one gets, and the exit status."""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path

import pytest

from rating_server.cli.entry import run

PLAN = """
id: api
currency: USD
billing_period: month
meters: [{id: calls, aggregation: sum}, {id: bytes, aggregation: sum, dimensions: [zone]}]
charges: [{id: calls, meter: calls, model: per_unit, unit_price: "0.1"}]
"""
FILES = {
    "plan.yaml": PLAN,
    "usage.json": '{"calls": "3"}',
    "price.yaml": PLAN.replace('"0.1"', "cheap"),
    "two-faults.yaml": PLAN.replace('"0.1"', '"-1"').replace("id: api", "id: API"),
    "twice.yaml": "id: api\ncurrency: USD\nid: api\n",
    "twice.json": '{"id": "api",\n "currency": "USD",\n "id": "b"}',
    "tab.yaml": "id: api\n\tcurrency: USD\n",
    "tag.yaml": "id: !!int 3\n",
    "several.yaml": "id: a\n---\nid: b\n",
    "empty.yaml": "",
    "broken.json": '{"id": \n}',
    "list.yaml": "- 1\n",
    "scenario.yaml": (
        "{kind: scenario, id: s, customer: acme, plans: [{id: p, currency: USD, billing_period: "
        "month, charges: [{id: fee, model: flat_fee, amount: '1'}]}], "
        "timeline: [{at: 2026-01-01T00:00:00Z, subscribe: {plan: q}}]}\n"
    ),
    "empty.jsonl": "\n",
    "broken.jsonl": '{"id": "a"\n',
    "nocase.jsonl": '{"id": "a"}\n',
    "failing.yaml": PLAN.replace(", {id: bytes, aggregation: sum, dimensions: [zone]}", "")
    + 'examples: [{usage: {calls: "3"}, expect: {total: "0.31"}}]\n',
    "meter.json": '{"cals": "3"}',
    "decimals.json": '{"calls": "3.5"}',
    "usage.csv": "meter,quantity\ncalls,1\ncalls,x\n",
    "column.csv": "meter,amount\ncalls,1\n",
    "ragged.csv": "meter,quantity\ncalls\n",
    "zone.csv": "meter,quantity,zone\ncalls,1,eu\n",
    "trace.csv": "at,calls\n2026-01-01,1\n",
    "trace.txt": "at,calls\n2026-01-01,1\n",
    "customers.txt": "\n",
    "huge.json": '{"calls": "9223372036854775807"}',
    "dear.yaml": PLAN.replace('"0.1"', '"999999999999999"'),
}
SERVER = ("--target", "127.0.0.1:1")
NOT_DATA = "hollow: not a data directory, it has no store in it"
MAPPED = ("--time", "at", "--meter", "calls=calls", "--customer", "acme")

CASES = [
    ("no-such-command", ["prise"], 2, "no such command 'prise' (see `ratewright --help`)"),
    (
        "no-such-option",
        ["check", "--fast"],
        2,
        "no such option '--fast' (see `ratewright check --help`)",
    ),
    (
        "no-such-format",
        ["--format", "xml", "check", "plan.yaml"],
        2,
        (
            "invalid value for '--format': 'xml' is not one of 'table', 'json', 'csv' "
            "(see `ratewright --help`)"
        ),
    ),
    ("no-file", ["check"], 2, "missing argument 'FILE...' (see `ratewright check --help`)"),
    ("absent-file", ["check", "none.yaml"], 2, "none.yaml: no such file or directory"),
    ("hollow-folder", ["check", "hollow"], 2, "hollow: no .yaml, .yml, .json or .jsonl file in it"),
    (
        "price-no-number",
        ["check", "price.yaml"],
        2,
        (
            'price.yaml: charges[0].unit_price: expected a decimal number such as "0.25", '
            "got 'cheap'"
        ),
    ),
    (
        "two-faults",
        ["check", "two-faults.yaml"],
        2,
        (
            "two-faults.yaml: id: expected 1 to 63 characters of a-z, 0-9 and -, a letter first, "
            "no - last, got 'API'\n"
            "ratewright: two-faults.yaml: charges[0].unit_price: expected a number of 0 or more, "
            "got '-1'"
        ),
    ),
    ("duplicate-key-yaml", ["check", "twice.yaml"], 2, "twice.yaml:3: the key 'id' stands twice"),
    ("duplicate-key-json", ["check", "twice.json"], 2, "twice.json:3: the key 'id' stands twice"),
    (
        "tab-in-yaml",
        ["check", "tab.yaml"],
        2,
        "tab.yaml:2: not YAML: found a tab character that violates indentation",
    ),
    (
        "yaml-tag",
        ["check", "tag.yaml"],
        2,
        "tag.yaml:1: tags are not supported: tag:yaml.org,2002:int",
    ),
    ("two-documents", ["check", "several.yaml"], 2, "several.yaml: more than one document"),
    ("empty-document", ["check", "empty.yaml"], 2, "empty.yaml: empty"),
    (
        "broken-json",
        ["check", "broken.json"],
        2,
        "broken.json:2: not JSON: Expecting value (column 1)",
    ),
    ("latin-1", ["check", "latin.yaml"], 2, "latin.yaml:2: not UTF-8 text"),
    ("too-large", ["check", "large.yaml"], 2, "large.yaml: larger than 8 MiB"),
    ("no-mapping", ["check", "list.yaml"], 2, "list.yaml: expected a mapping, got list"),
    (
        "scenario",
        ["check", "scenario.yaml"],
        2,
        (
            "scenario.yaml: timeline[0].subscribe.plan: expected one of the scenario's plans (p), "
            "got q"
        ),
    ),
    ("no-case", ["check", "empty.jsonl"], 2, "empty.jsonl: no case in it"),
    (
        "broken-case",
        ["check", "broken.jsonl"],
        2,
        "broken.jsonl:1: not JSON: Expecting ',' delimiter (column 11)",
    ),
    (
        "failing-example",
        ["check", "failing.yaml"],
        1,
        "failing.yaml: examples[0]: total: expected 0.31, got 0.3",
    ),
    (
        "rate-without-usage",
        ["rate", "--plan", "plan.yaml"],
        2,
        "missing option '--usage' (see `ratewright rate --help`)",
    ),
    (
        "unknown-meter",
        ["rate", "--plan", "plan.yaml", "--usage", "meter.json"],
        2,
        "meter.json: usage.cals: expected a meter of this plan; it has: calls, bytes",
    ),
    (
        "too-many-decimals",
        ["rate", "--plan", "plan.yaml", "--usage", "decimals.json"],
        2,
        "decimals.json: usage.calls: meter calls takes at most 0 decimals, got '3.5'",
    ),
    (
        "csv-quantity",
        ["rate", "--plan", "plan.yaml", "--usage", "usage.csv"],
        2,
        "usage.csv:3: calls[1]: expected a decimal number such as \"0.25\", got 'x'",
    ),
    (
        "csv-column",
        ["rate", "--plan", "plan.yaml", "--usage", "column.csv"],
        2,
        "column.csv:1: no column quantity",
    ),
    (
        "csv-ragged",
        ["rate", "--plan", "plan.yaml", "--usage", "ragged.csv"],
        2,
        "ragged.csv:2: expected 2 columns",
    ),
    (
        "csv-dimension",
        ["rate", "--plan", "plan.yaml", "--usage", "zone.csv"],
        2,
        "zone.csv:2: dimensions.zone: meter calls declares no such dimension; it has: none",
    ),
    (
        "amount-out-of-range",
        ["rate", "--plan", "dear.yaml", "--usage", "huge.json"],
        1,
        None,
    ),
    (
        "ingest-no-meter",
        ["ingest", "trace.csv", "--time", "at", "--customer", "a"],
        2,
        "meters: expected one of --meter, --meter-column; got none",
    ),
    (
        "ingest-two-customers",
        ["ingest", "trace.csv", *MAPPED, "--customer-hash", "3"],
        2,
        (
            "customer: expected one of --customer, --customer-column, --customer-hash; "
            "got --customer and --customer-hash"
        ),
    ),
    (
        "ingest-no-time",
        ["ingest", "trace.csv", "--meter", "calls", "--customer", "a"],
        2,
        "--time: the column of the event time is needed",
    ),
    (
        "ingest-bad-meter",
        ["ingest", "trace.csv", "--time", "at", "--customer", "a", "--meter", "calls="],
        2,
        "--meter: expected METER or METER=COLUMN, got 'calls='",
    ),
    (
        "ingest-bad-dimension",
        ["ingest", "trace.csv", *MAPPED, "--dimension", "zone"],
        2,
        "--dimension: expected NAME=COLUMN, got 'zone'",
    ),
    (
        "ingest-suffix",
        ["ingest", "trace.txt", *MAPPED],
        2,
        "trace.txt: neither .csv nor .jsonl: say which by --input-format",
    ),
    (
        "ingest-stdin-source",
        ["ingest", "-", "--input-format", "csv", *MAPPED],
        2,
        "--source: needed with standard input, or else --event-id-column",
    ),
    (
        "ingest-column",
        [*SERVER, "ingest", "trace.csv", "--time", "when", "--meter", "calls", "--customer", "a"],
        2,
        "trace.csv:1: no column 'when'; it has: at, calls",
    ),
    (
        "ingest-no-server",
        [*SERVER, "ingest", "trace.csv", *MAPPED],
        1,
        "127.0.0.1:1: no server answers there; start one with `ratewright serve`",
    ),
    (
        "no-server",
        ["statement", "acme", *SERVER],
        1,
        "127.0.0.1:1: no server answers there; start one with `ratewright serve`",
    ),
    (
        "bad-time",
        ["usage", "acme", "--time", "noon"],
        2,
        (
            "invalid value for '--time': expected a time such as 2026-07-01T00:00:00Z, "
            "got 'noon' (see `ratewright usage --help`)"
        ),
    ),
    (
        "bad-plan-reference",
        ["subscribe", "acme", "--plan", "api@x"],
        2,
        (
            "invalid value for '--plan': expected ID or ID@VERSION, got 'api@x' "
            "(see `ratewright subscribe --help`)"
        ),
    ),
    (
        "subscribe-version-zero",
        ["subscribe", "y", "--plan", "tok@0"],
        2,
        (
            "invalid value for '--plan': expected a version from 1 to 2147483647, "
            "got 'tok@0' (see `ratewright subscribe --help`)"
        ),
    ),
    (
        "subscribe-version-huge",
        ["subscribe", "y", "--plan", "tok@99999999999"],
        2,
        (
            "invalid value for '--plan': expected a version from 1 to 2147483647, "
            "got 'tok@99999999999' (see `ratewright subscribe --help`)"
        ),
    ),
    (
        "plan-show-version-zero",
        ["plan", "show", "tok@0"],
        2,
        (
            "invalid value for 'ID[@VERSION]': expected a version from 1 to 2147483647, "
            "got 'tok@0' (see `ratewright plan show --help`)"
        ),
    ),
    (
        "plan-show-version-huge",
        ["plan", "show", "tok@99999999999"],
        2,
        (
            "invalid value for 'ID[@VERSION]': expected a version from 1 to 2147483647, "
            "got 'tok@99999999999' (see `ratewright plan show --help`)"
        ),
    ),
    (
        "ingest-device-source",
        ["ingest", "/dev/stdin", "--input-format", "csv", *MAPPED],
        2,
        ("--source: needed with /dev/stdin, which is no regular file, or else --event-id-column"),
    ),
    (
        "ingest-fifo-source",
        ["ingest", "fifo.csv", *MAPPED],
        2,
        "--source: needed with fifo.csv, which is no regular file, or else --event-id-column",
    ),
    (
        "no-customer",
        ["subscribe", "--plan", "api", "--from-file", "customers.txt"],
        2,
        "no customer given (see `ratewright subscribe --help`)",
    ),
    (
        "serve-port",
        ["serve", "--port", "x"],
        2,
        "--port: input should be a valid integer, unable to parse string as an integer, got 'x'",
    ),
    (
        "serve-window",
        ["serve", "--acceptance-window", "7"],
        2,
        "--acceptance-window: expected a duration such as 7d, 36h, 90m, or `unlimited`, got '7'",
    ),
    (
        "serve-ports",
        ["serve", "--workers", "3", "--port", "65534"],
        2,
        "--workers: 3 from port 65534 on: there is none above 65535",
    ),
    *(
        (f"{command}-elsewhere", [command, "--data-dir", "hollow"], 2, NOT_DATA)
        for command in ("verify", "rebuild", "doctor")
    ),
    ("store-absent", ["store", "stop", "--data-dir", "none"], 1, "none: no such data directory"),
    ("demo-keep", ["demo", "--keep", "."], 2, "--keep: . exists already"),
]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with one file for each mistake, and nothing on standard input."""
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    (tmp_path / "latin.yaml").write_bytes(b"id: api\nname: caf\xe9\n")
    (tmp_path / "large.yaml").write_bytes(b"#" * (8 * 1024 * 1024 + 1))
    os.mkfifo(tmp_path / "fifo.csv")
    (tmp_path / "hollow").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"")))
    return tmp_path


@pytest.mark.parametrize(
    ("arguments", "status", "line"),
    [case[1:] for case in CASES],
    ids=[case[0] for case in CASES],
)
def test_mistake(
    folder: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    status: int,
    line: str | None,
) -> None:
    """Each mistake gets its exact line on standard error and its exit status, no traceback."""
    assert run(arguments) == status
    errors = capsys.readouterr().err
    assert "Traceback" not in errors
    if line is None:
        assert errors.startswith("ratewright: ")
        assert errors.count("\n") == 1
    else:
        assert errors == f"ratewright: {line}\n"
