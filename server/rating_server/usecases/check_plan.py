"""Check a plan without storing it: faults, warnings, examples (S2.1, S2.3)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from rating_core.case import check_example
from rating_core.catalog import Meter, Plan
from rating_core.compile import compile_plans
from rating_core.errors import Fault, OutOfRange, PlanInvalid
from rating_core.pipeline import rate_statement
from rating_core.plan.document import plan_from_document, warnings_of
from rating_core.usage import counters_from_usage


@dataclass(frozen=True, slots=True)
class PlanCheck:
    """What is wrong with a plan. ``plan`` is None if there are faults.

    ``examples`` holds the differences of each example, in order; an empty list passed.
    """

    plan: Plan | None
    faults: tuple[Fault, ...]
    warnings: list[str]
    examples: list[list[str]]

    @property
    def publishable(self) -> bool:
        """Whether there are no faults and every example came out as stated."""
        return not self.faults and not any(self.examples)


def check_plan(
    document: Mapping[str, object],
    minor_unit: Callable[[str], int | None],
    known_meters: Mapping[str, Meter],
) -> PlanCheck:
    """Check a plan document; never raises for a bad one."""
    try:
        plan = plan_from_document(document, minor_unit, known_meters)
    except PlanInvalid as error:
        return PlanCheck(None, error.faults, [], [])
    compiled = compile_plans([plan])
    examples: list[list[str]] = []
    for example in plan.examples:
        try:
            statement = rate_statement(plan, counters_from_usage(plan, example.usage), compiled)
        except OutOfRange as error:
            examples.append([str(error)])
        else:
            examples.append(check_example(statement, example))
    return PlanCheck(plan, (), warnings_of(plan), examples)
