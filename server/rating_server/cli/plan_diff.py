"""`ratewright plan diff`: what differs between two plans, in files or on a server."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from rating_core.catalog import Meter, Plan
from rating_core.errors import PlanInvalid
from rating_core.plan.diff import DifferenceKind, PlanDifference, diff_plans
from rating_core.plan.document import plan_from_document
from rating_server.cli.entry import EXIT_FAILED
from rating_server.cli.failure import CommandError, bad_input, printable
from rating_server.cli.offline import fault_lines
from rating_server.cli.online import PlanReference, connected
from rating_server.cli.output import print_json, print_rows
from rating_server.currency import minor_unit
from rating_server.documents import DocumentError, read_document

_SIGNS = {DifferenceKind.ADDED: "+", DifferenceKind.REMOVED: "-", DifferenceKind.CHANGED: "~"}
_SUFFIXES = (".yaml", ".yml", ".json")


def show_differences(old: str, new: str, target: str, output_format: str) -> None:
    """Print what differs from one plan to another, each a file or `ID[@VERSION]` on a server.

    Differences end the command with status 1, what cannot be read with status 2.
    """
    documents = [_document(name) for name in (old, new)]
    with ExitStack() as stack:
        client = None
        if None in documents:
            client = stack.enter_context(connected(target))
        found = [
            _on_server(client, name) if document is None else document
            for name, document in zip((old, new), documents, strict=True)
        ]
    plans = _plans((old, new), found)
    differences = diff_plans(*plans)
    _show(differences, output_format)
    if differences:
        raise CommandError(status=EXIT_FAILED)


def _is_file(name: str) -> bool:
    return Path(name).exists() or "/" in name or name.lower().endswith(_SUFFIXES)


def _document(name: str) -> object | None:
    """Return the document of a file, ``None`` for a plan on the server."""
    if not _is_file(name):
        return None
    try:
        return read_document(Path(name))
    except DocumentError as error:
        raise bad_input(str(error)) from None


def _on_server(client: Any, name: str) -> object:
    from ratewright.document import plan_to_document

    return plan_to_document(client.get_plan(*PlanReference().convert(name, None, None)))


def _plans(names: tuple[str, str], documents: list[object]) -> list[Plan]:
    """Return both plans; one may name the meters that the other states whole."""
    known: dict[str, Meter] = {}
    plans: dict[str, Plan] = {}
    faults: dict[str, list[str]] = {}
    pairs = list(zip(names, documents, strict=True))
    for name, document in [*pairs, *pairs]:
        try:
            plan = plan_from_document(document, minor_unit, known if name in faults else {})
        except PlanInvalid as error:
            faults[name] = fault_lines(name, error.faults)
        else:
            faults.pop(name, None)
            plans[name] = plan
            known |= {meter.id: meter for meter in plan.meters}
    if faults:
        raise bad_input([line for lines in faults.values() for line in lines])
    return [plans[name] for name in names]


def _show(differences: list[PlanDifference], output_format: str) -> None:
    if output_format == "json":
        print_json([asdict(each) for each in differences])
    elif output_format == "csv":
        columns = ("kind", "path", "old", "new")
        print_rows(output_format, columns, [asdict(each) for each in differences])
    else:
        for each in differences:
            values = " → ".join(value for value in (each.old, each.new) if value)
            click.echo(printable(f"{_SIGNS[each.kind]} {each.path}: {values}"))
