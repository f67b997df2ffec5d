"""`ratewright plan`: the catalogue of plans on a server."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from ratewright.document import PlanDocumentError, plan_from_document, plan_to_document
from rating_server.cli.failure import CommandError, bad_input, complain
from rating_server.cli.online import (
    InstantType,
    PlanReference,
    connected,
    instant_words,
)
from rating_server.cli.output import (
    format_option,
    print_json,
    print_rows,
    target_option,
)
from rating_server.documents import DocumentError, read_document

_REFERENCE = PlanReference()


@click.group()
def plan() -> None:
    """Publish, list, show and compare plans."""


def _read_plan(path: Path) -> Any:
    """Return the plan message of a file; ends the command with a line per fault (status 2)."""
    try:
        document = read_document(path)
        if not isinstance(document, dict):
            raise bad_input(f"{path}: expected a mapping")
        return plan_from_document(document)
    except DocumentError as error:
        raise bad_input(str(error)) from None
    except PlanDocumentError as error:
        raise bad_input([f"{path}: {fault}" for fault in error.faults]) from None


def publish_plan(
    client: Any,
    path: Path,
    effective: datetime | None = None,
    existing_effective: datetime | None = None,
) -> Any:
    """Publish a plan file, with its effective times (S8.6), and return the server's answer.

    Faults end the command with status 2, examples that come out otherwise with status 1; nothing
    is published then.
    """
    message = _read_plan(path)
    checked = client.check_plan(message)
    faults = [
        f"{path}: {fault.path}: {fault.message}" if fault.path else f"{path}: {fault.message}"
        for fault in checked.faults
    ]
    if faults:
        raise bad_input(faults)
    differences = [
        f"{path}: examples[{index}]: {difference}"
        for index, example in enumerate(checked.examples)
        for difference in example.differences
    ]
    if differences:
        raise CommandError(*differences)
    return client.create_plan(
        message, effective_time=effective, existing_effective_time=existing_effective
    )


@plan.command()
@click.argument("file", type=click.Path(path_type=Path), metavar="FILE")
@click.option(
    "--effective",
    type=InstantType(),
    help="From when on new subscriptions take it, by their start [default: all from now on].",
)
@click.option(
    "--existing-effective",
    type=InstantType(),
    help="When standing subscriptions move to it, 120 s ahead or more [default: never].",
)
@target_option
@format_option
def publish(
    file: Path,
    effective: datetime | None,
    existing_effective: datetime | None,
    target: str,
    output_format: str,
) -> None:
    """Publish a plan file as the next version of its id; its examples must come out."""
    with connected(target) as client:
        answer = publish_plan(client, file, effective, existing_effective)
    for warning in answer.warnings:
        complain(f"{file}: warning: {warning}")
    row = {"id": answer.plan.id, "version": str(answer.plan.version)}
    if output_format == "table":
        click.echo(f"published {row['id']}@{row['version']}")
    elif output_format == "json":
        print_json(row)
    else:
        print_rows(output_format, list(row), [row])


@plan.command(name="list")
@click.argument("plan_id", required=False, metavar="[ID]")
@target_option
@format_option
def list_(plan_id: str | None, target: str, output_format: str) -> None:
    """List the latest version of every plan, or all versions of one."""
    columns = (
        "id",
        "version",
        "currency",
        "billing_period",
        "charges",
        "created",
        "effective",
        "existing_effective",
    )
    with connected(target) as client:
        rows = [_plan_row(message) for message in client.list_plans(plan_id)]
    print_rows(output_format, columns, rows, right=("version", "charges"))


def _plan_row(message: Any) -> dict[str, str]:
    document = plan_to_document(message)
    return {
        "id": message.id,
        "version": str(message.version),
        "currency": message.currency,
        "billing_period": str(document.get("billing_period", "")),
        "charges": str(len(message.charges)),
        "created": _time_words(message, "create_time"),
        "effective": _time_words(message, "effective_time"),
        "existing_effective": _time_words(message, "existing_effective_time"),
    }


def _time_words(message: Any, field: str) -> str:
    """Return an instant of a plan's message, "" where it is not set."""
    if not message.HasField(field):
        return ""
    return instant_words(getattr(message, field).ToDatetime(tzinfo=UTC))


@plan.command()
@click.argument("reference", type=_REFERENCE, metavar="ID[@VERSION]")
@target_option
@format_option
def show(reference: tuple[str, int | None], target: str, output_format: str) -> None:
    """Show a plan version (default: the latest): as YAML, as JSON, or its charges as CSV.

    What `--format table` and `--format json` print can be checked and published again.
    """
    with connected(target) as client:
        message = client.get_plan(*reference)
    document = plan_to_document(message)
    if output_format == "json":
        print_json(document)
    elif output_format == "csv":
        columns = ("id", "model", "meter", "unit_price", "amount", "tiers")
        charges = [
            {
                **{key: str(value) for key, value in charge.items() if isinstance(value, str)},
                "tiers": str(len(charge.get("tiers", []))),
            }
            for charge in document.get("charges", [])
        ]
        print_rows(output_format, columns, charges)
    else:
        import yaml

        click.echo(
            f"# {message.id}@{message.version}, created {_time_words(message, 'create_time')}"
        )
        click.echo(yaml.safe_dump(document, sort_keys=False, allow_unicode=True), nl=False)


@plan.command()
@click.argument("old", metavar="A")
@click.argument("new", metavar="B")
@click.option("--json", "as_json", is_flag=True, help="As `--format json`.")
@target_option
@format_option
def diff(old: str, new: str, *, as_json: bool, target: str, output_format: str) -> None:
    """Show which prices and keys differ from plan A to plan B.

    Each is a file (YAML, JSON) or a plan on the server, ID[@VERSION]. The exit status is 0 if they
    price alike, 1 if something differs, 2 if one cannot be read.
    """
    from rating_server.cli.plan_diff import show_differences

    show_differences(old, new, target, "json" if as_json else output_format)
