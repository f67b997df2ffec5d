"""`ratewright check`: plans with their examples, files of cases, scenarios (S12)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from rating_server.cli.entry import EXIT_BAD_INPUT, EXIT_FAILED
from rating_server.cli.failure import CommandError, complain

if TYPE_CHECKING:
    from rating_core.catalog import Example, Plan


_SUFFIXES = (".yaml", ".yml", ".json", ".jsonl")


@dataclass(slots=True)
class _Tally:
    """Counts of one run. ``unreadable`` says that some file was neither plan nor cases."""

    passed: int = 0
    failed: int = 0
    unreadable: bool = False

    def refuse(self, *lines: str) -> None:
        """Count something that cannot be read as one failure, and say why."""
        self.failed += 1
        self.unreadable = True
        for line in lines:
            complain(line)

    def count(self, name: str, differences: list[str]) -> None:
        """Count one case or example, and say what differs."""
        if not differences:
            self.passed += 1
            return
        self.failed += 1
        for difference in differences:
            complain(f"{name}: {difference}")


@click.command()
@click.argument(
    "files", nargs=-1, required=True, metavar="FILE...", type=click.Path(path_type=Path)
)
def check(files: tuple[Path, ...]) -> None:
    """Check plans and scenarios (YAML, JSON) and cases (*.jsonl), and run them.

    Each valid plan, each of its examples, each case and each scenario counts once. Of a folder all
    files of these kinds below it are taken. Faults, differences and warnings go to standard error;
    the last line says how many passed and failed. Exit status: 0 none failed, 1 some failed, 2
    some file cannot be read.
    """
    tally = _Tally()
    for path in _expanded(files, tally):
        if path.suffix == ".jsonl":
            _check_cases(path, tally)
        else:
            _check_document(path, tally)
    click.echo(f"{tally.passed} passed, {tally.failed} failed")
    if tally.unreadable:
        raise CommandError(status=EXIT_BAD_INPUT)
    if tally.failed:
        raise CommandError(status=EXIT_FAILED)


def _expanded(files: tuple[Path, ...], tally: _Tally) -> Iterator[Path]:
    """Yield the files; for a folder those of known suffixes below it, in order of their paths."""
    for path in files:
        if not path.is_dir():
            yield path
            continue
        found = sorted(f for f in path.rglob("*") if f.suffix in _SUFFIXES and f.is_file())
        if not found:
            tally.refuse(f"{path}: no {', '.join(_SUFFIXES[:-1])} or {_SUFFIXES[-1]} file in it")
        yield from found


def _differences(plan: Plan, example: Example) -> list[str]:
    """Return what is not as expected; empty if the example passes."""
    from rating_core.case import check_example
    from rating_core.errors import OutOfRange
    from rating_server.cli.offline import quote

    try:
        return check_example(quote(plan, example.usage), example)
    except OutOfRange as error:
        return [f"expected a total of {example.total}, got OUT_OF_RANGE: {error}"]


def _check_cases(path: Path, tally: _Tally) -> None:
    from rating_server.documents import DocumentError, parse_json, read_text

    name = str(path)
    try:
        lines = read_text(path).split("\n")
    except DocumentError as error:
        tally.refuse(str(error))
        return
    cases = [(number, line) for number, line in enumerate(lines, 1) if line.strip()]
    if not cases:
        tally.refuse(f"{name}: no case in it")
    for number, line in cases:
        try:
            document = parse_json(line, name, number)
        except DocumentError as error:
            tally.refuse(str(error))
            continue
        _check_case(f"{name}:{number}", document, tally)


def _check_case(name: str, document: object, tally: _Tally) -> None:
    from rating_core.case import case_from_document
    from rating_core.errors import PlanInvalid, UsageInvalid
    from rating_server.currency import minor_unit

    try:
        case = case_from_document(document, minor_unit)
    except (PlanInvalid, UsageInvalid) as error:
        tally.refuse(*[f"{name}: {fault}" for fault in error.faults])
        return
    tally.count(f"{name}: case {case.id}", _differences(case.plan, case.example))


def _check_document(path: Path, tally: _Tally) -> None:
    from rating_server.documents import DocumentError, read_document

    try:
        document = read_document(path)
    except DocumentError as error:
        tally.refuse(str(error))
        return
    if isinstance(document, dict) and document.get("kind") == "scenario":
        _check_scenario(str(path), document, tally)
    elif isinstance(document, dict) and "plan" in document and "charges" not in document:
        _check_case(str(path), document, tally)
    else:
        _check_plan(str(path), document, tally)


def _check_scenario(name: str, document: object, tally: _Tally) -> None:
    from rating_server.cli.scenario_check import load_scenario, run, words_of

    scenario = load_scenario(document)
    if isinstance(scenario, list):
        tally.refuse(*[f"{name}: {line}" for line in scenario])
        return
    outcome = run(scenario)
    for warning in outcome.warnings:
        complain(f"{name}: warning: {warning}")
    tally.count(name, [line for one in outcome.differences for line in words_of(one)])


def _check_plan(name: str, document: object, tally: _Tally) -> None:
    from rating_core.errors import PlanInvalid
    from rating_core.plan.document import plan_from_document, warnings_of
    from rating_server.currency import minor_unit

    try:
        plan = plan_from_document(document, minor_unit)
    except PlanInvalid as error:
        tally.refuse(*[f"{name}: {fault}" for fault in error.faults])
        return
    tally.passed += 1
    for warning in warnings_of(plan):
        complain(f"{name}: warning: {warning}")
    for index, example in enumerate(plan.examples):
        tally.count(f"{name}: examples[{index}]", _differences(plan, example))
