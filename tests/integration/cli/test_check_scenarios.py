"""`ratewright check` on scenarios: what it prints where one fails, and whole folders (S12.2)."""

from __future__ import annotations

from pathlib import Path

import pytest

from rating_server.cli.entry import run

SCENARIO = """
kind: scenario
id: tiers
plans:
  - id: api
    currency: USD
    billing_period: month
    meters: [{id: calls, aggregation: sum}]
    charges:
      - id: calls
        meter: calls
        model: graduated
        tiers: [{up_to: "100", unit_price: "0.10"}, {unit_price: "0.05"}]
        discount_percent: "10"
      - {id: base, model: flat_fee, amount: "5"}
customer: acme
time_zone: Europe/Berlin
timeline:
  - {at: 2026-01-01T00:00:00Z, subscribe: {plan: api}}
  - {at: 2026-01-10T00:00:00Z, usage: {calls: "150"}}
  - {at: 2026-01-31T22:59:59Z, expect_statement: {total: "EXPECTED", lines: {calls: "11.25"}}}
  - {at: 2026-01-31T23:00:00Z, expect_statement: {total: "5"}}
"""
DIFFERENCE = """\
ratewright: odd.yaml: timeline[2]: total: expected 16, got 16.25
ratewright: odd.yaml:   calls (model) 12.50 USD
ratewright: odd.yaml:     tier 1: 100 × 0.1 = 10
ratewright: odd.yaml:     tier 2: 50 × 0.05 = 2.5
ratewright: odd.yaml:   calls (discount) -1.25 USD
ratewright: odd.yaml:     discount: 10 % = -1.25
ratewright: odd.yaml:   base (model) 5.00 USD
ratewright: odd.yaml:     fee: 5
"""


DUE = """
kind: scenario
id: due
plans:
  - id: api
    currency: USD
    billing_period: month
    credits: after_total
    charges: [{id: base, model: flat_fee, amount: "5"}]
customer: acme
timeline:
  - {at: 2026-01-01T00:00:00Z, subscribe: {plan: api}}
  - {at: 2026-01-01T00:00:00Z, grant: {id: gift, amount: "3"}}
  - {at: 2026-01-01T00:00:00Z, expect_statement: {total: "5", amount_due: "1", lines: {gift: "-4"}}}
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a scenario that fails, and below it one that passes and a plan."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "odd.yaml").write_text(SCENARIO.replace("EXPECTED", "16"))
    (tmp_path / "below").mkdir()
    (tmp_path / "below" / "fine.yml").write_text(SCENARIO.replace("EXPECTED", "16.250"))
    (tmp_path / "below" / "notes.txt").write_text("nothing to check")
    (tmp_path / "below" / "plan.json").write_text(
        '{"id": "fee", "currency": "USD", "billing_period": "month",'
        ' "charges": [{"id": "fee", "model": "flat_fee", "amount": "1"}]}'
    )
    return tmp_path


def test_failing_scenario_explains_its_amounts(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The difference is told with the lines that make it up; the local month ends at 23:00 UTC."""
    assert run(["check", str(folder / "odd.yaml")]) == 1
    printed = capsys.readouterr()
    assert printed.out == "0 passed, 1 failed\n"
    assert printed.err.replace(f"{folder}/", "") == DIFFERENCE


def test_credits_after_the_total_are_explained(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """They are no lines of the total, yet a difference in them shows how they came about."""
    path = folder / "due.yaml"
    path.write_text(DUE)
    assert run(["check", str(path)]) == 1
    lines = capsys.readouterr().err.replace(f"ratewright: {path}: ", "").splitlines()
    assert lines[:3] == [
        "timeline[2]: amount_due: expected 1, got 2",
        "timeline[2]: line gift: expected -4, got -3",
        "  gift (credit) -3.00 USD",
    ]


def test_folder_is_taken_whole(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """All plans, cases and scenarios below a folder count; other files are none of its business."""
    assert run(["check", str(folder / "below")]) == 0
    assert capsys.readouterr().out == "2 passed, 0 failed\n"
    assert run(["check", str(folder)]) == 1
    assert capsys.readouterr().out == "2 passed, 1 failed\n"


def test_record_that_does_not_count_is_a_warning(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A warning goes to standard error and fails nothing."""
    path = folder / "below" / "fine.yml"
    text = path.read_text()
    path.write_text(text + '  - {at: 2026-02-01T00:00:00Z, usage: {seats: "1"}}\n')
    assert run(["check", str(path)]) == 0
    printed = capsys.readouterr()
    assert printed.out == "1 passed, 0 failed\n"
    assert printed.err.endswith(
        "warning: timeline[4]: usage is REJECTED/UNKNOWN_METER; no expect_status follows\n"
    )
