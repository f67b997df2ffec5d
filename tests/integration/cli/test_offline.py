"""`check` and `rate` without a server: exact output, every file looked at."""

from __future__ import annotations

import io
import json
import sys
from importlib.resources import files
from pathlib import Path

import pytest

from rating_server.cli.entry import run

PLAN = """
id: api
currency: USD
billing_period: month
meters: [{id: calls, aggregation: sum, dimensions: [zone]}]
charges:
  - {id: base, model: flat_fee, amount: "49"}
  - id: calls
    meter: calls
    where: {zone: [eu, us]}
    included_units: "10"
    model: graduated
    tiers: [{up_to: "100", unit_price: "0.25"}, {unit_price: "0.125", flat_fee: "5"}]
    maximum_amount: "40"
commitments: [{id: annual, amount: "10", discount_percent: "20", covers: [calls]}]
examples: [{usage: {calls: "20"}, expect: {total: "51.00"}}]
"""
TABLE = """\
quote, plan api
line    step          USD  why
base    model       49.00  fee: 49
calls   model       43.75  included: 10 units
                           tier 1: 100 × 0.25 = 25
                           tier 2: 110 × 0.125 + 5 = 18.75
calls   maximum     -3.75  maximum 40: -3.75
annual  commitment  -2.50  committed: 12.5 × 20 % = -2.5
                           overage: 27.5 at factor 1 adds 0
total               86.50
"""


@pytest.fixture
def plan(tmp_path: Path) -> Path:
    """A plan file."""
    path = tmp_path / "plan.yaml"
    path.write_text(PLAN)
    return path


USAGE = {
    "usage.yaml": """
calls:
  - {quantity: 200, dimensions: {zone: eu}}
  - {quantity: 20, dimensions: {zone: us}}
  - {quantity: 7, dimensions: {zone: mars}}
""",
    "usage.csv": "meter,quantity,zone\ncalls,200,eu\ncalls,20,us\ncalls,7,mars\n",
    "usage.json": '{"calls": [150, "70"]}',
}


@pytest.mark.parametrize("name", USAGE)
def test_rate_explains_every_amount(
    plan: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    """YAML, CSV and JSON usage give the same statement, with the calculation of each line."""
    (tmp_path / name).write_text(USAGE[name])
    assert run(["rate", "--plan", str(plan), "--usage", str(tmp_path / name)]) == 0
    assert capsys.readouterr().out == TABLE


def test_rate_reads_standard_input(
    plan: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """`--usage -` takes a document; JSON output holds amounts as text, slices that add up."""
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"calls: 12\n")))
    assert run(["rate", "--plan", str(plan), "--usage", "-", "--format", "json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["total"] == "49.40"
    assert [(line["id"], line["amount"]) for line in document["lines"]] == [
        ("base", "49.00"),
        ("calls", "0.50"),
        ("annual", "-0.10"),
    ]
    assert document["lines"][1]["slices"] == [
        {"kind": "included", "amount": "0", "quantity": "10"},
        {"kind": "tier", "amount": "0.5", "tier": "1", "quantity": "2", "unit_price": "0.25"},
    ]


def test_check_looks_at_every_file(
    plan: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A file that cannot be read does not hide what the others hold; the worst status wins."""
    case = {
        "id": "c1",
        "plan": {
            "id": "p",
            "currency": "USD",
            "billing_period": "month",
            "charges": [{"id": "fee", "model": "flat_fee", "amount": "1"}],
        },
        "usage": {},
        "expect": {"total": "1"},
    }
    wrong = {**case, "id": "c2", "expect": {"total": "2", "lines": {"fee": "3"}}}
    cases = tmp_path / "cases.jsonl"
    cases.write_text(json.dumps(case) + "\n" + json.dumps(wrong) + "\n")
    assert run(["check", str(cases), str(plan)]) == 1
    printed = capsys.readouterr()
    assert printed.out == "3 passed, 1 failed\n"
    zone = "usage of meter calls with zone = any other value is priced by no charge"
    assert printed.err.splitlines() == [
        f"ratewright: {cases}:2: case c2: total: expected 2, got 1",
        f"ratewright: {cases}:2: case c2: line fee: expected 3, got 1",
        f"ratewright: {plan}: warning: {zone}",
    ]
    cases.write_text(json.dumps(case) + "\n{\n" + json.dumps(wrong) + "\n")
    assert run(["check", str(cases), str(plan)]) == 2
    assert capsys.readouterr().out == "3 passed, 2 failed\n"


def test_demo_plan_and_its_examples_pass(capsys: pytest.CaptureFixture[str]) -> None:
    """The plan that the demo ships comes out as it says."""
    path = files("rating_server.cli") / "data" / "demo_plan.yaml"
    assert run(["check", str(path)]) == 0
    assert capsys.readouterr().out == "4 passed, 0 failed\n"


def test_store_of_an_idle_directory(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Where nothing runs, `store status` says so and `store stop` has nothing to do."""
    status = ["store", "status", "--data-dir", str(tmp_path), "--format", "json"]
    assert run(status) == 0
    assert json.loads(capsys.readouterr().out)["state"] == "STOPPED"
    assert run(["store", "stop", "--data-dir", str(tmp_path)]) == 0
    assert capsys.readouterr().out == "no store runs\n"
