"""Contracts over time at the command line: what each command prints and how it ends, to the letter.

`contracts.txt` is a session at a terminal: a line `$ command`, what it prints on both outputs, and
its exit status in brackets. Sections, headed by `#`, follow upon one another.
"""

from __future__ import annotations

import contextlib
import io
import re
import shlex
from pathlib import Path

import pytest

from rating_server.cli.entry import run

SESSION = Path(__file__).with_name("contracts.txt")
HEADING = re.compile(r"^# (.+)\n", re.MULTILINE)
SECTIONS = dict(zip(*[iter(HEADING.split(SESSION.read_text())[1:])] * 2, strict=True))
PLAN = """
id: ct-api
currency: USD
billing_period: month
late_usage: adjust
meters: [{id: ct-calls, aggregation: sum}]
charges:
  - {id: fee, model: flat_fee, amount: "20"}
  - id: usage
    meter: ct-calls
    model: graduated
    tiers: [{up_to: "100", unit_price: "0.5"}, {unit_price: "0.25"}]
"""
HOURLY = """
id: ct-hourly
currency: USD
billing_period: month
meters: [{id: ct-hits, aggregation: sum, buckets: hour}]
charges: [{id: usage, meter: ct-hits, model: per_unit, unit_price: "0.5"}]
commitments: [{id: h, amount: "10", term: hour, true_up: true}]
"""
FILES = {
    "api.yaml": PLAN,
    "dear.yaml": PLAN.replace('"20"', '"30"'),
    "eur.yaml": PLAN.replace("ct-api", "ct-eur").replace("USD", "EUR"),
    "hourly.yaml": HOURLY,
    "own.yaml": 'charges: [{id: fee, amount: "5"}]\n',
    "bad.yaml": 'charges: [{id: fee, amount: "5"}, {id: gone}]\n',
    "twice.yaml": "charges: []\ncharges: []\n",
    "usage.csv": "at,n\n2026-01-10,120\n2026-02-10,10\n",
    "late.csv": "at,n\n2026-01-20,40\n",
}
MASKS = (
    (re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z"), "NOW"),
    (re.compile(r"[\d,]+ records/s"), "N records/s"),
    (re.compile(r'"log_version": "\d+"'), '"log_version": "N"'),
)
"""What differs from run to run."""


def _carried_out(line: str, target: str, folder: Path) -> str:
    """Return a command line as it stands in a session, with what it prints and its status."""
    words = [str(folder / word) if word in FILES else word for word in shlex.split(line)]
    output = io.StringIO()
    with contextlib.redirect_stdout(output), contextlib.redirect_stderr(output):
        status = run(["--target", target, *words])
    printed = output.getvalue().replace(f"{folder}/", "")
    for mask, word in MASKS:
        printed = mask.sub(word, printed)
    return f"$ {line}\n{printed}[{status}]\n"


@pytest.fixture(scope="module")
def session(server: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The session as it goes now, by section: every command once, in order."""
    folder = tmp_path_factory.mktemp("contracts")
    for name, text in FILES.items():
        (folder / name).write_text(text)
    return {
        title: "".join(
            _carried_out(line[2:], server, folder)
            for line in section.splitlines()
            if line.startswith("$ ")
        )
        for title, section in SECTIONS.items()
    }


@pytest.mark.parametrize("title", SECTIONS)
def test_section_of_the_session(session: dict[str, str], title: str) -> None:
    """Outputs in all forms, lines of mistakes and exit statuses are those of the session."""
    assert session[title] == SECTIONS[title]
    assert "Traceback" not in session[title]
