"""Cases: a plan, usage, and what it must cost (S12.1); and the same check for a plan's examples."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal

from rating_core.catalog import Example, Meter, Plan
from rating_core.errors import PlanInvalid, UsageInvalid
from rating_core.plan.document import NO_METERS, MinorUnit, read_example, read_plan
from rating_core.plan.fields import FaultList, Fields, Place
from rating_core.statement import Statement
from rating_core.units import format_decimal


@dataclass(frozen=True, slots=True)
class Case:
    """One case of a case file: price ``example.usage`` on ``plan``, compare with the rest."""

    id: str
    plan: Plan
    example: Example


def case_from_document(
    document: object, minor_unit: MinorUnit, known_meters: Mapping[str, Meter] = NO_METERS
) -> Case:
    """Return the case that ``document`` describes: `id`, `plan`, `usage`, `expect` (S12.1).

    `source` and `note` may say where it comes from. Raises PlanInvalid if the plan has faults,
    otherwise UsageInvalid if anything else has; either holds all faults, with paths such as
    `plan.charges[0].model` and `usage.tokens`. What `usage` and `expect` hold is not read beside a
    faulty plan, which says what they may hold.
    """
    faults = FaultList()
    fields = Fields.open(document, Place(), faults)
    if fields is None:
        raise UsageInvalid(faults.in_document_order())
    case_id = fields.text("id", required=True)
    if case_id == "":
        fields.fault("id", "EMPTY", "expected a text")
    plan_document = fields.take("plan", required=True)
    fields.text("source")
    fields.text("note")
    plan: Plan | None = None
    if plan_document is not None:
        plan = read_plan(plan_document, fields.place("plan"), faults, minor_unit, known_meters)
    example = None
    if plan is None:
        fields.take("usage", required=True)
        fields.take("expect", required=True)
    else:
        meters = {meter.id: meter for meter in plan.meters}
        lines = [charge.id for charge in plan.charges]
        lines += [commitment.id for commitment in plan.commitments]
        example = read_example(fields, faults, meters, list(plan.charges), lines)
    fields.finish()
    if plan is None and plan_document is not None:
        raise PlanInvalid(faults.in_document_order())
    if case_id is None or plan is None or example is None or len(faults):
        raise UsageInvalid(faults.in_document_order())
    return Case(case_id, plan, example)


def check_example(statement: Statement, example: Example) -> list[str]:
    """Return the differences between a statement and what an example expects; none: empty.

    Amounts compare as numbers ("50" equals "50.00"). A charge id stands for the sum of the lines
    of that charge, any other id for its line; lines that the example leaves out are not compared,
    a line that the statement lacks counts as 0 (S4.2).
    """
    differences: list[str] = []
    total = statement.amount(statement.total)
    if total != example.total:
        differences.append(_difference("total", example.total, total))
    amounts = statement.amount_by_id()
    for name, expected in example.lines:
        amount = amounts.get(name, Decimal(0))
        if amount != expected:
            differences.append(_difference(f"line {name}", expected, amount))
    return differences


def _difference(what: str, expected: Decimal, got: Decimal) -> str:
    return f"{what}: expected {format_decimal(expected)}, got {format_decimal(got)}"
